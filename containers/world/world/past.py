"""When what lies in a world from its start was made: in the months before `LONG_AGO`, the same moment in every trial."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

LONG_AGO = int(datetime(2025, 6, 3, 8, 31, tzinfo=UTC).timestamp())
MONTHS = 10 * 30 * 24 * 3600


def moment(*names: str) -> int:
    """Seconds since 1970, decided by what the thing is called."""
    digest = hashlib.sha256("\n".join(names).encode()).digest()
    return LONG_AGO - int.from_bytes(digest[:4]) % MONTHS
