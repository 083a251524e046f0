"""What the control groups of the process allow (versions 1 and 2): the limits of its container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

GROUPS: Final = Path("/proc/self/cgroup")
MOUNTS: Final = Path("/proc/self/mountinfo")
#: The limit that a group's folder says; None: none.
Limit = Callable[[Path], float | None]


def limits(
    controller: str, second: Limit, first: Limit, groups: Path = GROUPS, mounts: Path = MOUNTS
) -> Iterator[float]:
    """The limits of a controller, of all groups that the process is in and that can be seen.

    Args:
        controller: its name in version 1.
        second: reads a folder of version 2.
        first: reads a folder of version 1.
        groups: the file with the groups of the process.
        mounts: the file with what is mounted where.
    """
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
                yield from _along(Path(words[4]), words[3], path, second)
            elif (
                kind == "cgroup" and controller in controllers.split(",") and controller in options
            ):
                yield from _along(Path(words[4]), words[3], path, first)


def _along(mount: Path, root: str, path: str, limit: Limit) -> Iterator[float]:
    """The limits of a group and of those that it is in, as far as they can be seen."""
    try:
        inside = PurePosixPath(path).relative_to(root)
    except ValueError:  # the group is not below what is mounted: a container sees its own as root
        inside = PurePosixPath()
    for folder in (inside, *inside.parents):
        try:
            found = limit(mount / folder)
        except (OSError, ValueError):
            continue
        if found is not None and found > 0:
            yield found
