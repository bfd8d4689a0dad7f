"""A study for readers: terminal tables, Markdown, one HTML file; what an agent wrote is never rendered raw."""

from analysis.report.html import render_html
from analysis.report.markdown import render_markdown
from analysis.report.terminal import print_summary

__all__ = ["print_summary", "render_html", "render_markdown"]
