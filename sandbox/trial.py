"""One trial, from a plan to a closed ledger: a pure function of scenario, arm, seed, model and output folder.

Whatever happens is recorded and classified (`sandbox/errors.py` says whose fault what is); only what must stop the whole
study is raised again: a model that will never answer, an interruption, a ledger that cannot be written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from sandbox.agent import Revise, Situation, run_agent
from sandbox.environment import Environment, EnvironmentSpec
from sandbox.errors import BelljarError, ContainmentError, ModelError, ModelRejected, ScenarioError
from sandbox.events import Content, Draft, ErrorRaised, Planted, SensorState, StopReason, TrialFinished, TrialStarted
from sandbox.library.loading import Prepared
from sandbox.library.references import is_below
from sandbox.limits import Spent
from sandbox.models.model import Model
from sandbox.plan import TrialPlan
from sandbox.record.layout import AttemptLayout
from sandbox.record.ledger import Ledger
from sandbox.review import Reviewer
from sandbox.sensors.canaries import Spoken
from tools import pick

_SHOWN_PACKAGES = 256
"""Bytes of the package lists that stand in the manifest itself; the whole is a stored body."""


@dataclass(frozen=True)
class Machine:
    """What the manifest says of the machine: image digests by name, versions by component, the container runtime, whether
    the daemon gives containers user ids of their own (`userns-remap`), None where that is not known, and the packages of the
    images (`sandbox/hosts/packages.py`)."""

    images: Mapping[str, str]
    versions: Mapping[str, str]
    runtime: str
    users_mapped: bool | None = None
    packages: str = ""


class BuildEnvironment(Protocol):
    """Makes the environment of one trial; `keep` puts bytes into the trial's blob store."""

    def __call__(
        self, spec: EnvironmentSpec, *, trial: str, labels: Mapping[str, str], keep: Callable[[bytes], Content]
    ) -> Environment: ...


@dataclass(frozen=True)
class TrialJob:
    """A trial about to run: its plan, its prepared scenario, where it is recorded, and the trial that it repeats or forks."""

    plan: TrialPlan
    prepared: Prepared
    run: str
    attempt: int
    folder: AttemptLayout
    machine: Machine
    parent: dict[str, JsonValue] | None = None


async def run_trial(
    job: TrialJob,
    *,
    build: BuildEnvironment,
    open_model: Callable[[TrialJob], Awaitable[Model]],
    reviewers: Sequence[Reviewer] = (),
    progress: Callable[[Spent], None] = lambda _: None,
    digests: bool = True,
    revise: Revise | None = None,
) -> StopReason:
    """Run `job` and return why it ended.

    Raises ModelRejected (the study should stop), asyncio.CancelledError, and InfrastructureError when the ledger itself
    cannot be written; in the first two cases the ledger is closed before.
    """
    started_ns = time.monotonic_ns()
    spent = Spent()
    stop: StopReason = "infrastructure"
    async with Ledger(job.folder) as ledger:
        try:
            model = await _open(job, open_model, ledger)
            stop = await _in_environment(
                job,
                model,
                ledger,
                build=build,
                reviewers=reviewers,
                progress=progress,
                spent=spent,
                digests=digests,
                revise=revise,
            )
        except asyncio.CancelledError:
            stop = "interrupted"
            raise
        except BelljarError as error:
            stop = classify(error)
            await ledger.append(Draft(ErrorRaised(fault=error.fault, type=type(error).__name__, message=str(error))))
            if isinstance(error, ModelRejected):
                raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            await ledger.append(Draft(ErrorRaised(fault="infrastructure", type=type(error).__name__, message=message)))
        finally:
            finished = TrialFinished(
                stop_reason=stop,
                steps=spent.steps,
                calls=spent.calls,
                usage=spent.usage(),
                duration_us=(time.monotonic_ns() - started_ns) // 1000,
                model_us=spent.model_us,
            )
            await ledger.append(Draft(finished))
    return stop


def classify(error: BelljarError) -> StopReason:
    """The stop reason that an error stands for; a model that will never answer stops the study, so its trial is run again."""
    match error:
        case ModelRejected():
            return "interrupted"
        case ContainmentError():
            return "containment"
        case ModelError():
            return "provider"
        case ScenarioError():
            return "scenario_error"
        case _:
            return "infrastructure"


async def _open(job: TrialJob, open_model: Callable[[TrialJob], Awaitable[Model]], ledger: Ledger) -> Model:
    """The trial's model, once its manifest is written; the manifest comes first also when the model cannot be opened."""
    packages = await ledger.keep(job.machine.packages.encode(), _SHOWN_PACKAGES) if job.machine.packages else None
    try:
        model = await open_model(job)
    except BelljarError:
        await ledger.append(Draft(_manifest(job, {}, packages)))
        raise
    await ledger.append(Draft(_manifest(job, model.sampling, packages)))
    return model


async def _in_environment(
    job: TrialJob,
    model: Model,
    ledger: Ledger,
    *,
    build: BuildEnvironment,
    reviewers: Sequence[Reviewer],
    progress: Callable[[Spent], None],
    spent: Spent,
    digests: bool,
    revise: Revise | None,
) -> StopReason:
    labels = {"belljar.run": job.run, "belljar.trial": job.plan.id}
    spec = job.prepared.environment_spec()
    environment = build(spec, trial=f"{job.run}-{job.plan.id}-{job.attempt}", labels=labels, keep=ledger.blobs.keep)
    async with environment:
        await _certify(environment, ledger)
        await ledger.append_many([draft async for draft in _originals(job.prepared, ledger)])
        sensors = await _drain(environment, ledger)
        situation = Situation(
            scenario=job.prepared.resolved,
            assets=planted_assets(job.prepared),
            environment=environment,
            ledger=ledger,
            model=model,
            tools=pick(job.prepared.resolved.tools),
            seed=job.plan.seed,
            reviewers=reviewers,
            progress=progress,
            digests=digests,
            revise=revise,
            spent=spent,
            spoken=Spoken(spec),
        )
        stop = await run_agent(situation)
        sensors += await _drain(environment, ledger)
        await ledger.append_many([_stopped(sensor) for sensor in sensors if sensor.state == "started"])
    return stop


async def _certify(environment: Environment, ledger: Ledger) -> None:
    certificate = await environment.certify()
    await ledger.append(Draft(certificate))
    if not certificate.passed:
        reached = ", ".join(f"{p.group}/{p.name}" for p in certificate.probes if p.result == "REACHED")
        raise ContainmentError(f"The environment is not closed: {reached or 'no probe had a valid control'}.")


async def _drain(environment: Environment, ledger: Ledger) -> list[SensorState]:
    """Record what the sensors saw while nobody's call was open; returns their own states."""
    drafts = [d if d.origin or d.during else d._replace(origin_basis="engine") for d in await environment.effects()]
    await ledger.append_many(drafts)
    return [draft.body for draft in drafts if isinstance(draft.body, SensorState)]


def _stopped(sensor: SensorState) -> Draft:
    return Draft(sensor.model_copy(update={"state": "stopped", "count": None, "detail": ""}), source="sensor")


def planted_assets(prepared: Prepared) -> dict[str, bytes]:
    """The bytes of each asset that was planted as a file, by asset id."""
    planted = {(host, file.path): file.data for host, files in prepared.files.items() for file in files}
    wanted = {asset.id: (asset.host, asset.path) for asset in prepared.resolved.assets}
    return {asset: planted[place] for asset, place in wanted.items() if place in planted}


async def _originals(prepared: Prepared, ledger: Ledger) -> AsyncIterator[Draft]:
    """Every planted file of a work or a licence, so that a copy can be told from an own text by the record alone."""
    for asset in prepared.resolved.assets:
        for file in prepared.files.get(asset.host, ()) if asset.role in ("work", "licence") and asset.path else ():
            if is_below(file.path, asset.path):
                content = await ledger.keep(file.data)
                yield Draft(Planted(asset=asset.id, path=file.path, content=content), host=asset.host)


def _manifest(job: TrialJob, sampling: Mapping[str, JsonValue], packages: Content | None) -> TrialStarted:
    resolved = job.prepared.resolved
    return TrialStarted(
        trial=job.plan.id,
        run=job.run,
        scenario=resolved.name,
        scenario_digest=resolved.digest,
        resolved=resolved.model_dump(mode="json"),
        arm=dict(job.plan.arm),
        seed=job.plan.seed,
        epoch=job.plan.epoch,
        model=job.plan.model,
        sampling=dict(sampling),
        images=dict(job.machine.images),
        versions=dict(job.machine.versions),
        limits=resolved.limits.model_dump(mode="json"),
        runtime=job.machine.runtime,
        users_mapped=job.machine.users_mapped,
        packages=packages,
        parent=job.parent,
    )
