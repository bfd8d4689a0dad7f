"""Finding parts of known bytes inside other bytes: any run of `RUN` bytes of a known file is recognised, wherever it begins.

Every `WINDOW` bytes of the known are hashed at each offset, the unknown is probed at every `RUN - WINDOW + 1`th: a run of RUN
bytes holds one probe at least. A hit is then compared byte by byte, so hashing decides nothing. Windows that also stand in
files which are no secret, that repeat themselves, or that occur often, are no sign of anything and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

WINDOW = 24
RUN = 48
SHORTEST = 12
"""Known bytes shorter than this say nothing; those shorter than RUN must be found whole."""

_STEP = RUN - WINDOW + 1
_OFTEN = 4
_CHECKS = 64
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)

Hashes = npt.NDArray[np.uint64]


class Fingerprints:
    """Recognises each of `known` by its name; what also stands in `common` is left out."""

    def __init__(self, known: Mapping[str, bytes], common: Iterable[bytes] = ()) -> None:
        self._short = {name: data.strip() for name, data in known.items() if SHORTEST <= len(data.strip()) < RUN}
        self._long = {name: data for name, data in known.items() if len(data.strip()) >= RUN}
        ordinary = np.concatenate([np.empty(0, np.uint64), *(_hashes(data, 1) for data in common)])
        self._indexes = {name: _index(data, ordinary) for name, data in self._long.items()}

    def found_in(self, data: bytes) -> list[str]:
        """The names of the known of which `data` holds a part, in the order they were given."""
        probes = _hashes(data, _STEP) if len(data) >= WINDOW else np.empty(0, np.uint64)
        names = {name for name, whole in self._short.items() if whole in data}
        names |= {name for name in self._indexes if self._hit(name, data, probes)}
        return [name for name in (*self._long, *self._short) if name in names]

    def _hit(self, name: str, data: bytes, probes: Hashes) -> bool:
        hashes, offsets = self._indexes[name]
        if not len(hashes) or not len(probes):
            return False
        places = np.searchsorted(hashes, probes)
        places[places == len(hashes)] = 0
        hits = np.flatnonzero(hashes[places] == probes)[:_CHECKS]
        whole = self._long[name]
        return any(_run(whole, int(offsets[places[hit]]), data, int(hit) * _STEP) >= RUN for hit in hits)


def _index(data: bytes, ordinary: Hashes) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of a file's telling windows, sorted, and where each stands in it."""
    hashes = _hashes(data, 1)
    first = np.ndarray((len(hashes),), "<u8", data, 0, (1,))
    second = np.ndarray((len(hashes),), "<u8", data, 8, (1,))
    third = np.ndarray((len(hashes),), "<u8", data, 16, (1,))
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    telling = ~((first == second) & (second == third)) & (counts[which] <= _OFTEN) & ~np.isin(hashes, ordinary)
    offsets = np.flatnonzero(telling)
    order = np.argsort(hashes[offsets], kind="stable")
    return hashes[offsets][order], offsets[order]


def _hashes(data: bytes, step: int) -> Hashes:
    """One number for each window of `data`, at every `step`th offset."""
    count = (len(data) - WINDOW) // step + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    words = [np.ndarray((count,), "<u8", data, 8 * part, (step,)) * _FACTORS[part] for part in range(3)]
    mixed = words[0] ^ (words[1] >> np.uint64(7)) ^ (words[1] << np.uint64(57)) ^ (words[2] >> np.uint64(23))
    return np.asarray(mixed ^ (words[2] << np.uint64(41)), dtype=np.uint64)


def _run(whole: bytes, at: int, data: bytes, place: int) -> int:
    """How long the two agree around a window that may be theirs, as far as it matters."""
    if whole[at : at + WINDOW] != data[place : place + WINDOW]:
        return 0
    back = 0
    while back < RUN and back < at and back < place and whole[at - back - 1] == data[place - back - 1]:
        back += 1
    ahead = WINDOW
    while ahead < RUN and at + ahead < len(whole) and place + ahead < len(data) and whole[at + ahead] == data[place + ahead]:
        ahead += 1
    return back + ahead
