"""JSON Schemas of the files that an author writes, for editors that complete and check as one types."""

from __future__ import annotations

import json

from pydantic import BaseModel

from sandbox.library.oracle import Oracle
from sandbox.scenario import Scenario

FILES: dict[str, type[BaseModel]] = {"scenario.schema.json": Scenario, "oracle.schema.json": Oracle}
"""The schemas that lie in `scenarios/`, by file name."""


def schema_text(model: type[BaseModel]) -> str:
    """The schema of one kind of file, as it is written to a file."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(found, indent=1) + "\n"
