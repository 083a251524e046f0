"""The statements of a function of the kernel language, as records.

The reader of sources (:mod:`reader`) and the nests of kernels make them; :mod:`frontend` writes
LLVM IR for them. A name is an object of its own, so that no two values share one by accident;
variables of sources go by their texts.
"""

from __future__ import annotations

from typing import Any

from staticgrad.records import NamedTuple


class Name:
    """A value, or a variable that is assigned again.

    ``depth``: the number of blocks around the one that defines it. ``at``: the pointer and the
    place that a derived pointer consists of.
    """

    __slots__ = ("at", "depth", "is_variable", "text")

    def __init__(self, text: str, depth: int, is_variable: bool = False) -> None:
        self.text, self.depth, self.is_variable = text, depth, is_variable
        self.at: tuple[Name, Offset] | None = None

    def __repr__(self) -> str:
        return self.text


class Offset(NamedTuple):
    """Elements behind a pointer: a sum of products of words, and a constant."""

    terms: tuple[tuple[Name, Name | int], ...]
    constant: int = 0


Arg = Name | Offset | int | float | bool


class Apply(NamedTuple):
    """An operation of the kernel language, or a call of a function; an argument may be another."""

    name: str
    args: tuple[Any, ...]


class Let(NamedTuple):
    """A name gets the value of an operation."""

    name: Name
    value: Apply


class Do(NamedTuple):
    """An operation without a value: a store, a prefetch."""

    value: Apply


class For(NamedTuple):
    """A counted loop; ``assigned``: the variables that its body assigns."""

    counter: Name
    start: Name | int
    stop: Name | int
    step: Name | int
    body: Block
    assigned: tuple[Name, ...]


class Repeat(NamedTuple):
    """A loop that runs as long as a test of words holds."""

    test: Apply
    body: Block
    assigned: tuple[Name, ...]


class When(NamedTuple):
    """A choice between two blocks."""

    test: Apply
    body: Block
    orelse: Block = ()


class Text(NamedTuple):
    """Lines of a source, at no indentation.

    ``bound``: what names of theirs stand for.
    """

    lines: tuple[str, ...]
    bound: tuple[tuple[str, Name | int], ...] = ()


Statement = Let | Do | For | Repeat | When | Text
Block = tuple[Statement, ...]
