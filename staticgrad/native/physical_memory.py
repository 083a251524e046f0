"""How many bytes of memory this process may have: the machine's, and the limit of its container."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from staticgrad.native.control_groups import GROUPS, MOUNTS, limits


def allowed(groups: Path = GROUPS, mounts: Path = MOUNTS) -> int | None:
    """Bytes of physical memory, or fewer where a control group allows fewer; None: not known."""
    found = [int(limit) for limit in limits("memory", _second, _first, groups, mounts)]
    with suppress(AttributeError, OSError, ValueError):  # not on every system
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((each for each in found if each > 0), default=None)


def _second(folder: Path) -> float | None:
    limit = (folder / "memory.max").read_text().strip()
    return None if limit == "max" else int(limit)


def _first(folder: Path) -> float | None:
    return int((folder / "memory.limit_in_bytes").read_text())
