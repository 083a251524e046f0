"""How many processors this process may use: its affinity, and the quota of its container.

A container's limit is no affinity: the kernel lets all threads of a control group run until
together they have used their share of a period, and then none of them. Threads beyond the share
would only stop each other, so the share, rounded down, is the limit (control groups 1 and 2). Two
hardware threads of one core share its arithmetic, so cores are counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Literal

_GROUPS: Final = Path("/proc/self/cgroup")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_CORES: Final = Path("/sys/devices/system/cpu")
#: The share of processors that a group's folder says; None: no limit.
_Share = Callable[[Path], float | None]


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
    limit = quota(_GROUPS, _MOUNTS)
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
    return min(_shares(groups, mounts), default=None)


def _shares(groups: Path, mounts: Path) -> Iterator[float]:
    try:
        own = [line.split(":", 2) for line in groups.read_text().splitlines()]
        mounted = [line.split() for line in mounts.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return
    for words in mounted:
        if "-" not in words or len(words) < 5:
            continue
        behind = words[words.index("-") + 1 :]
        kind, options = behind[0], behind[-1].split(",")
        for number, controllers, path in (group for group in own if len(group) == 3):
            if kind == "cgroup2" and number == "0":
                yield from _along(Path(words[4]), words[3], path, _second_share)
            elif kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options:
                yield from _along(Path(words[4]), words[3], path, _first_share)


def _along(mount: Path, root: str, path: str, share: _Share) -> Iterator[float]:
    """The shares of a group and of those that it is in, as far as they can be seen."""
    try:
        inside = PurePosixPath(path).relative_to(root)
    except ValueError:  # the group is not below what is mounted: a container sees its own as root
        inside = PurePosixPath()
    for folder in (inside, *inside.parents):
        try:
            found = share(mount / folder)
        except (OSError, ValueError):
            continue
        if found is not None and found > 0:
            yield found


def _second_share(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _first_share(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
