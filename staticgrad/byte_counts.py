"""Numbers of bytes as a user writes them: 2000000, ``"2MB"`` (10**6), ``"2MiB"`` (2**20)."""

from __future__ import annotations

import re
from operator import index
from typing import Any, Final

_UNITS: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_WRITTEN: Final = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([a-z]*)\s*", re.IGNORECASE)

#: What a message says about the spelling.
SPELLING: Final = "write 2000000, '2MB' (10**6) or '2MiB' (2**20); B, kB, MB, GB, KiB, MiB, GiB"


def read_bytes(raw: Any) -> int | None:
    """The number of bytes that a whole number or a text with a unit stands for; None: neither."""
    match = _WRITTEN.fullmatch(raw) if isinstance(raw, str) else None
    if match is not None and match[2].lower() in _UNITS:
        return int(float(match[1]) * _UNITS[match[2].lower()])
    try:
        found = -1 if isinstance(raw, bool) else index(raw)
    except TypeError:
        return None
    return found if found >= 0 else None
