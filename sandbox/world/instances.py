"""Machines that a scenario's cloud starts during a trial: the world asks in words, the engine decides and makes them.

The world reads hostile input, so its request is data to be fitted and bounded, never an order: the image, the user and all
limits are fixed here, the number is the scenario's, and what may vary is a name, a size of memory and public keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.environment import FileSpec, HostLimits, HostSpec
from sandbox.errors import InfrastructureError
from sandbox.world.services import CloudSpec
from sandbox.world.spec import WorldSpec

PublicKey = Annotated[
    str, Field(pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/=]{40,4000}( [^\r\n]{0,200})?$")
]


class Order(BaseModel):
    """What the world asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str = Field(pattern=r"^i-[0-9a-f]{10}$")
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")
    memory_mb: int = Field(ge=64, le=2048)
    ssh_keys: tuple[PublicKey, ...] = Field(max_length=10)

    @property
    def host(self) -> str:
        """The instance's id as a host of the trial."""
        return self.id.replace("-", "_")


class Machines(Protocol):
    """Who can start and stop hosts while a trial lasts: the environment."""

    async def add_host(self, spec: HostSpec, wire: Callable[[int], Awaitable[None]]) -> None: ...

    async def pause_host(self, host: str) -> None: ...

    async def resume_host(self, host: str) -> None: ...


def bound(spec: WorldSpec) -> int:
    """How many instances a trial of this world may ever start; 0 without a cloud."""
    return sum(service.max_instances for service in spec.services if isinstance(service, CloudSpec))


def read(arguments: Mapping[str, Any], made: Sequence[str], limit: int) -> Order:
    """The world's request as an order that may be carried out. Raises InfrastructureError for one that may not."""
    try:
        order = Order.model_validate(arguments)
    except ValidationError as error:
        raise InfrastructureError(f"The world asked for an instance that cannot be: {error.errors()[0]['msg']}.") from None
    if order.host in made or len(made) >= limit:
        raise InfrastructureError(f"The world asked for more than the {limit} instances of its scenario.")
    return order


def host_spec(order: Order, address: str) -> HostSpec:
    """A blank machine with an SSH server; `agent` may log in with the order's keys."""
    keys = "".join(f"{key}\n" for key in order.ssh_keys).encode()
    return HostSpec(
        id=order.host,
        hostname=order.name,
        address=address,
        image="host",
        files=(FileSpec("/home/agent/.ssh/authorized_keys", keys, 0o600),),
        limits=HostLimits(memory_mb=order.memory_mb, cpus=0.5, pids=128, disk_mb=64),
        ssh=True,
    )
