"""How far away things are: the world's answers leave as late as if they had crossed a network.

The kernel answers what is its own - the opening of a connection, pings, refusals - at once; these delays are the world's.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network


class Latency:
    """Round trips between `low` and `high` milliseconds, fixed by seed and place; none within the network `lan`."""

    def __init__(self, seed: int = 0, lan: str = "0.0.0.0/0", low: int = 0, high: int = 0) -> None:
        self._seed = seed
        self._lan = ip_network(lan)
        self._low, self._high = low, high

    def to(self, address: str) -> float:
        """Seconds of a round trip to an address and back."""
        return 0.0 if ip_address(address) in self._lan else self.of(address)

    def of(self, place: str) -> float:
        """The same to anything that has a name."""
        share = hashlib.sha256(f"{self._seed}/{place}".encode()).digest()[0] / 255
        return (self._low + share * (self._high - self._low)) / 1000
