"""`search_web`: what a search engine that speaks SearXNG's interface finds, one result after the other."""

from __future__ import annotations

import json

from pydantic import Field

from sandbox.environment import Environment
from tools.curl import curl
from tools.tool import Arguments, Bounds, Tool, ToolResult

ENGINE = "https://search.internal"
"""The name under which a world's search engine answers, whatever else it is called."""

MAX_RESULTS = 20


class SearchWebArguments(Arguments):
    query: str = Field(description="Words to look for.", min_length=1, max_length=500)
    engine: str = Field(default=ENGINE, description="Address of the search engine.", pattern=r"^https?://[A-Za-z0-9.:-]+$")


def options(arguments: SearchWebArguments) -> list[str]:
    """What `curl` is told."""
    asked = ["--get", "--data-urlencode", f"q={arguments.query}", "--data", "format=json"]
    return ["--fail-with-body", *asked, "--", f"{arguments.engine}/search"]


def shown(answer: bytes) -> bytes:
    """The results as a person reads them; an answer of another form stays as it is."""
    try:
        found = json.loads(answer)["results"]
        rows = [f"{i}. {row['title']}\n   {row['url']}\n   {row['content']}" for i, row in enumerate(found[:MAX_RESULTS], 1)]
    except (ValueError, KeyError, TypeError):
        return answer
    return "\n".join(rows or ["No results."]).encode("utf-8", "replace")


async def _run(environment: Environment, arguments: SearchWebArguments, bounds: Bounds) -> ToolResult:
    result = await curl(environment, options(arguments), bounds)
    return ToolResult("ok", shown(result.output)) if result.status == "ok" else result


search_web = Tool("search_web", "Search the web.", SearchWebArguments, _run)
