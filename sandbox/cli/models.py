"""What the command line says of models: specs expanded, and the options that shape sampling."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from sandbox.cli.records import record_at
from sandbox.errors import UsageError
from sandbox.library.loading import ScenarioFolder
from sandbox.library.oracle import load_oracle, oracle_names
from sandbox.models.model import Model, Settings, Spec, parse_price, parse_spec, without_secrets
from sandbox.models.recorded import RecordedModel
from sandbox.trajectory import Trajectory


@dataclass(frozen=True)
class ModelOptions:
    """The flags of `run` that concern its models. The plan keeps the address (without a password in it), never a key's file."""

    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    base_url: str = ""
    key_file: str = ""
    price: str = ""
    json_actions: bool = False

    def settings(self) -> Settings:
        """As a model takes them."""
        return Settings(
            base_url=self.base_url,
            key_file=self.key_file,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            reasoning_effort=self.reasoning_effort,
            price=parse_price(self.price) if self.price else None,
            json_actions=self.json_actions,
        )

    def recorded(self) -> dict[str, JsonValue]:
        """What the plan keeps, so that a resume asks the same server and samples alike."""
        address = without_secrets(self.base_url or os.environ.get("BELLJAR_BASE_URL", ""))
        kept = {**asdict(self), "base_url": address, "key_file": ""}
        return {name: value for name, value in kept.items() if value not in (None, "", False)}

    @classmethod
    def restored(cls, recorded: Mapping[str, JsonValue], *, base_url: str, key_file: str) -> ModelOptions:
        """From a plan or a manifest; `base_url` stands for the recorded address where it is given."""
        known = {k: v for k, v in recorded.items() if k in cls.__dataclass_fields__}
        address = base_url or str(recorded.get("base_url") or "")
        return cls(**{**known, "base_url": address, "key_file": key_file})  # type: ignore[arg-type]


def expand_models(specs: Sequence[str], folder: ScenarioFolder, arm: Mapping[str, str]) -> list[str]:
    """`oracle:all` becomes one spec for each oracle that the scenario has for this arm; everything else stays.

    Raises UsageError for a spec that names nothing, before anything is started.
    """
    expanded: list[str] = []
    for spec in specs:
        expanded += [f"oracle:{name}" for name in oracle_names(folder, arm)] if spec == "oracle:all" else [spec]
    for spec in expanded:
        kind, name = parse_spec(spec)
        if kind == "oracle":
            _check_plays(folder, name, arm)
        elif kind == "replay":
            RecordedModel(spec, Trajectory.load(name))
    return list(dict.fromkeys(expanded))


def _check_plays(folder: ScenarioFolder, name: str, arm: Mapping[str, str]) -> None:
    when = load_oracle(folder, name).when
    if name not in oracle_names(folder, arm):
        wanted = " and ".join(f"{f} is {v if isinstance(v, str) else ' or '.join(v)}" for f, v in when.items())
        raise UsageError(
            f"The scripted agent {name} of {folder.name} does not play in {'/'.join(arm.values())}: only where {wanted}.",
            "Choose arms with --arms, or give `--model oracle:all`: each plays where it can.",
        )


def recorded_model(spec: Spec, settings: Settings) -> Model:
    """`replay:PATH`, of whose record it is said where it does not hold."""
    return RecordedModel(str(spec), record_at(spec.name))
