"""Words for calls that are traced again: what differs from the call before, and what to write."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from staticgrad.errors.wording import quote
from staticgrad.programs.arguments import CallArguments
from staticgrad.support.records import NamedTuple


class CallOutline(NamedTuple):
    """Outline of a call: element types and ranks by array, and static arguments."""

    dtypes: Mapping[str, str]
    ranks: Mapping[str, int]
    statics: Mapping[str, Any]

    @classmethod
    def of(cls, arguments: CallArguments, inputs: Collection[str] = ()) -> Self:
        """Return the outline of a call; the numbers ``inputs`` are no static arguments."""
        kinds = zip(arguments.arrays, arguments.dtypes, arguments.shapes, strict=True)
        arrays = [(name, dtype.name, len(shape)) for name, dtype, shape in kinds]
        return cls(
            {name: dtype for name, dtype, _ in arrays},
            {name: rank for name, _, rank in arrays},
            {name: quote(value) for name, value in arguments.statics.items() if name not in inputs},
        )


def describe_change(old: CallOutline, new: CallOutline) -> tuple[str, str]:
    """Return what differs in a call from the one before, and what to write to trace once."""
    added, missing = new.dtypes.keys() - old.dtypes.keys(), old.dtypes.keys() - new.dtypes.keys()
    if added or missing:
        owner = min(added or missing).partition(".")[0]
        counts = [sum(n.partition(".")[0] == owner for n in call.dtypes) for call in (new, old)]
        if counts[0] == counts[1]:
            return f"{owner} has other keys", "the same keys at each call keep the program"
        return (
            f"{owner} has {counts[0]} arrays, after {counts[1]}",
            "one array, np.stack(...), may have any number of rows",
        )
    for name, dtype in new.dtypes.items():
        if dtype != old.dtypes[name]:
            return (
                f"{name} is {dtype}, after {old.dtypes[name]}",
                f"{name}.astype({old.dtypes[name]!r}) keeps the program",
            )
    for name, rank in new.ranks.items():
        if rank != old.ranks[name]:
            return (
                f"{name} has {rank} axes, after {old.ranks[name]}",
                "the same axes at each call keep the program, of size 1 where there is one element",
            )
    for name, text in new.statics.items():
        if text != old.statics.get(name):
            owner = name.partition(".")[0]
            return (
                f"{name} is {text}, after {old.statics.get(name, 'none')}",
                f"static={owner!r} says that a program for each value is meant",
            )
    return (
        "of other containers or other places of nonzero elements",
        "the same ones at each call keep the program",
    )
