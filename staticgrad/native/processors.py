"""How many processors this process may use: its affinity, and the quota of its container.

A container's limit is no affinity: the kernel lets all threads of a control group run until
together they have used their share of a period, and then none of them. Threads beyond the share
would only stop each other, so the share, rounded down, is the limit (control groups 1 and 2). Two
hardware threads of one core share its arithmetic, so cores are counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from staticgrad.native.control_groups import GROUPS, MOUNTS, limits

_CORES: Final = Path("/sys/devices/system/cpu")


def threads(asked: int | Literal["auto"]) -> int:
    """The number of threads that a setting stands for; a number stands for itself."""
    return allowed() if asked == "auto" else asked


def allowed() -> int:
    """How many threads of this process can compute at the same time without sharing a core."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not on every system
        usable = set(range(os.cpu_count() or 1))
    found = _cores(usable, _CORES)
    limit = quota(GROUPS, MOUNTS)
    return max(1, found if limit is None else min(found, int(limit)))


def _cores(usable: Iterable[int], folder: Path) -> int:
    """How many cores these processors belong to."""
    found = set()
    for number in usable:
        try:
            siblings = (folder / f"cpu{number}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(number)
        found.add(siblings)
    return len(found)


def quota(groups: Path, mounts: Path) -> float | None:
    """The least share of processors that the control groups of the process have; None: no limit."""
    return min(limits("cpu", _second_share, _first_share, groups, mounts), default=None)


def _second_share(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _first_share(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
