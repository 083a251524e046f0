"""Words for calls that are traced again: what differs from the call before, and what to write."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Self

from staticgrad.errors.wording import quote
from staticgrad.programs.arguments import CallArguments
from staticgrad.support.records import NamedTuple


class CallOutline(NamedTuple):
    """Outline of a call: element types and ranks of arrays, static parts, ids of functions."""

    dtypes: Mapping[str, str]
    ranks: Mapping[str, int]
    statics: Mapping[str, str]
    functions: Mapping[str, int]

    @classmethod
    def of(cls, arguments: CallArguments, inputs: Collection[str] = ()) -> Self:
        """Return the outline of a call; the numbers ``inputs`` are no static arguments."""
        kinds = zip(arguments.arrays, arguments.dtypes, arguments.shapes, strict=True)
        arrays = [(name, dtype.name, len(shape)) for name, dtype, shape in kinds]
        return cls(
            {name: dtype for name, dtype, _ in arrays},
            {name: rank for name, _, rank in arrays},
            {name: quote(value) for name, value in arguments.statics.items() if name not in inputs},
            {name: id(value) for name, value in arguments.statics.items() if callable(value)},
        )


class Change(NamedTuple):
    """Change of a call from the one before.

    Attributes:
        name: of the argument, with the place in it; empty if it is not one alone.
        what: differs, in words.
        cure: what to write to trace once.
    """

    name: str
    what: str
    cure: str

    def __str__(self) -> str:
        """Say what changed."""
        return f"{self.name} {self.what}" if self.name else self.what


def find_change(old: CallOutline, new: CallOutline) -> Change:
    """Return what differs in a call from the one before."""
    added, missing = new.dtypes.keys() - old.dtypes.keys(), old.dtypes.keys() - new.dtypes.keys()
    if added or missing:
        owner = min(added or missing).partition(".")[0]
        if (owner in new.dtypes) != (owner in old.dtypes):
            return _find_change_of_kind(owner, old, new)
        counts = [sum(n.partition(".")[0] == owner for n in call.dtypes) for call in (new, old)]
        if counts[0] == counts[1]:
            return Change(owner, "has other keys", "the same keys at each call keep the program")
        return Change(
            owner,
            f"has {counts[0]} arrays, after {counts[1]}",
            "one array, np.stack(...), may have any number of rows",
        )
    for name, dtype in new.dtypes.items():
        if dtype != old.dtypes[name]:
            return Change(
                name,
                f"is {dtype}, after {old.dtypes[name]}",
                f"{name}.astype({old.dtypes[name]!r}) keeps the program",
            )
    for name, rank in new.ranks.items():
        if rank != old.ranks[name]:
            return Change(
                name,
                f"has {rank} axes, after {old.ranks[name]}",
                "the same axes at each call keep the program, of size 1 where there is one element",
            )
    if new.statics.keys() != old.statics.keys():
        names = {*new.statics} ^ {*old.statics}
        owner = min(names).partition(".")[0]
        counts = [sum(n.partition(".")[0] == owner for n in call.statics) for call in (new, old)]
        if counts[0] != counts[1]:
            return Change(
                owner,
                f"has {counts[0]} numbers or other static parts, after {counts[1]}",
                f"one array, np.array({owner}), may have any number of rows",
            )
    for name, text in new.statics.items():
        if text != old.statics.get(name):
            owner = name.partition(".")[0]
            return Change(
                name,
                f"is {text}, after {old.statics.get(name, 'none')}",
                f"static={owner!r} says that a program for each value is meant",
            )
    for name, identity in new.functions.items():
        if identity != old.functions.get(name):
            return Change(
                name,
                f"is another {new.statics.get(name, 'function')}",
                "a function that is defined once, with what changes as an argument, keeps the"
                " program",
            )
    return Change(
        "",
        "of other containers",
        "the same ones at each call keep the program",
    )


def _find_change_of_kind(name: str, old: CallOutline, new: CallOutline) -> Change:
    """Return the change of an argument that is an array in one of two calls alone."""

    def describe(call: CallOutline) -> str:
        if name in call.dtypes:
            return f"an array of {call.dtypes[name]}"
        if any(path.startswith(f"{name}.") for path in call.dtypes):
            return "a container of arrays"
        return call.statics.get(name, "no array")

    kinds = describe(new), describe(old)
    dtype = new.dtypes.get(name) or old.dtypes[name]
    number = new.statics.get(name) or old.statics.get(name, "")
    return Change(
        name,
        f"is {kinds[0]}, after {kinds[1]}",
        f"np.{dtype}({name}) at each call keeps the program"
        if number.lstrip("-")[:1].isdigit()
        else "the same kind at each call keeps the program",
    )
