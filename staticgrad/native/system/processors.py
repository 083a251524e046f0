"""Processors and memory that this process may use, limits of its container included.

The limits are those of control groups, versions 1 and 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from staticgrad.native.system.caches import sysctl_number

GROUPS: Final = Path("/proc/self/cgroup")
MOUNTS: Final = Path("/proc/self/mountinfo")
#: The limit that a group's folder says; None: none.
Limit = Callable[[Path], float | None]


def limits(
    controller: str, second: Limit, first: Limit, groups: Path = GROUPS, mounts: Path = MOUNTS
) -> Iterator[float]:
    """Yield the limits of a cgroup controller for every group that this process is in.

    Args:
        controller: its name in version 1.
        second: reads a folder of version 2.
        first: reads a folder of version 1.
        groups: the file with the groups of the process.
        mounts: the file with what is mounted where.
    """
    try:
        group_lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
        mounted = [line.split() for line in mounts.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return
    for words in mounted:
        if "-" not in words or len(words) < 5:
            continue
        fields = words[words.index("-") + 1 :]
        kind, options = fields[0], fields[-1].split(",")
        for number, controllers, path in (group for group in group_lines if len(group) == 3):
            if kind == "cgroup2" and number == "0":
                yield from _along(Path(words[4]), words[3], path, second)
            elif (
                kind == "cgroup" and controller in controllers.split(",") and controller in options
            ):
                yield from _along(Path(words[4]), words[3], path, first)


def _along(mount: Path, root: str, path: str, limit: Limit) -> Iterator[float]:
    """Yield the limits of a cgroup and of its ancestors, as far as they are visible."""
    try:
        inside = PurePosixPath(path).relative_to(root)
    except ValueError:  # the group is not below what is mounted: a container sees its own as root
        inside = PurePosixPath()
    for folder in (inside, *inside.parents):
        try:
            bound = limit(mount / folder)
        except (OSError, ValueError):
            continue
        if bound is not None and bound > 0:
            yield bound


_CORES: Final = Path("/sys/devices/system/cpu")


def threads(asked: int | Literal["auto"]) -> int:
    """The number of threads that a setting stands for; a number stands for itself."""
    return allowed_processors() if asked == "auto" else asked


def allowed_processors() -> int:
    """Return how many threads of this process can compute at once without sharing a core."""
    if sys.platform == "darwin":
        return count_named_cores(sysctl_number) or os.cpu_count() or 1
    cores = _count_cores(os.sched_getaffinity(0), _CORES)
    limit = quota(GROUPS, MOUNTS)
    return max(1, cores if limit is None else min(cores, int(limit)))


def count_named_cores(number_of: Callable[[str], int]) -> int | None:
    """Return the physical cores that macOS says it has; None if it does not say."""
    return number_of("hw.physicalcpu") or None


def _count_cores(usable: Iterable[int], folder: Path) -> int:
    """Count the physical cores that these logical processors belong to."""
    cores = set()
    for number in usable:
        try:
            siblings = (folder / f"cpu{number}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(number)
        cores.add(siblings)
    return len(cores)


def quota(groups: Path, mounts: Path) -> float | None:
    """The least share of processors that the control groups of the process have; None: no limit."""
    return min(limits("cpu", _second_share, _first_share, groups, mounts), default=None)


def _second_share(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _first_share(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())


def allowed_memory(groups: Path = GROUPS, mounts: Path = MOUNTS) -> int | None:
    """Bytes of physical memory, or fewer where a control group allows fewer; None: not known."""
    bounds = [int(limit) for limit in limits("memory", _second, _first, groups, mounts)]
    with suppress(AttributeError, OSError, ValueError):  # not on every system
        bounds.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((bound for bound in bounds if bound > 0), default=None)


def _second(folder: Path) -> float | None:
    limit = (folder / "memory.max").read_text().strip()
    return None if limit == "max" else int(limit)


def _first(folder: Path) -> float | None:
    return int((folder / "memory.limit_in_bytes").read_text())
