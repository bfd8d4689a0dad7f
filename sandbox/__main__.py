"""`python -m sandbox` is `belljar`."""

from sandbox.cli import main

main()
