"""The named sizes of a traced function's arguments: those that have changed between calls.

At first every size is literal. An axis that comes with a second size has a name from then on, and
axes whose sizes changed together share one, so that further sizes compile nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: The size of each axis of all arguments, one after the other: a number or a name.
Spec = tuple[int | str, ...]


def spec_of(seen: Sequence[Sequence[int]], labels: Sequence[str], said: Mapping[int, str]) -> Spec:
    """The sizes, named where they differ among the calls."""
    names: dict[tuple[int, ...], str] = {}
    spec: list[int | str] = []
    for place, column in enumerate(zip(*seen, strict=True)):
        if place in said:
            spec.append(said[place])
        elif len(set(column)) == 1:
            spec.append(column[0])
        else:
            spec.append(names.setdefault(column, labels[place]))
    return tuple(spec)


def fits(spec: Spec, sizes: Sequence[int]) -> bool:
    """Return whether a program of these sizes takes arguments of those sizes."""
    known: dict[str, int] = {}
    return len(spec) == len(sizes) and all(
        known.setdefault(wanted, size) == size if isinstance(wanted, str) else wanted == size
        for wanted, size in zip(spec, sizes, strict=True)
    )


def shapes_of(spec: Spec, ranks: Sequence[int]) -> list[Spec]:
    """The sizes by argument."""
    found, start = [], 0
    for rank in ranks:
        found.append(spec[start : start + rank])
        start += rank
    return found
