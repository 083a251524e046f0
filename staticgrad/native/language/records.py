"""The statements of a function of the kernel language, as records.

The reader of sources (:mod:`reader`) and the nests of kernels make them; :mod:`frontend` writes
LLVM IR for them. A name is an object of its own, so that no two values share one by accident;
variables of sources go by their texts.
"""

from __future__ import annotations

from typing import Any, Protocol

from staticgrad.support.records import NamedTuple


class Operations(Protocol):
    """Builder that appends operations and returns their results."""

    def op(self, name: str, *args: Any) -> Any:
        """Return the value of an operation."""


class Name:
    """A value, or a variable that is assigned again; words have arithmetic.

    ``depth``: the number of blocks around the one that defines it. ``at``: the pointer and the
    place that a derived pointer consists of. ``builder``: where results of arithmetic are put.
    """

    __slots__ = ("at", "builder", "depth", "is_variable", "text")

    def __init__(
        self, text: str, depth: int, is_variable: bool = False, builder: Operations | None = None
    ) -> None:
        self.text, self.depth, self.is_variable, self.builder = text, depth, is_variable, builder
        self.at: tuple[Name, Offset] | None = None

    def __repr__(self) -> str:
        return self.text

    def _op(self, name: str, *args: Word) -> Word:
        assert self.builder is not None
        result: Word = self.builder.op(name, *args)
        return result

    def __add__(self, other: Word) -> Word:
        return self if _is(other, 0) else self._op("add", self, other)

    def __sub__(self, other: Word) -> Word:
        return self if _is(other, 0) else self._op("sub", self, other)

    def __rsub__(self, other: int) -> Word:
        return self._op("sub", other, self)

    def __mul__(self, other: Word) -> Word:
        if _is(other, 0) or _is(other, 1):
            return self if other else 0
        return self._op("mul", self, other)

    def __floordiv__(self, other: Word) -> Word:
        return self if _is(other, 1) else self._op("floordiv", self, other)

    def __rfloordiv__(self, other: int) -> Word:
        return self._op("floordiv", other, self)

    def __mod__(self, other: Word) -> Word:
        return 0 if _is(other, 1) else self._op("mod", self, other)

    def __rmod__(self, other: int) -> Word:
        return self._op("mod", other, self)

    __radd__, __rmul__ = __add__, __mul__


def _is(value: object, number: int) -> bool:
    return type(value) is int and value == number


class Offset(NamedTuple):
    """Elements behind a pointer: a sum of products of words, and a constant."""

    terms: tuple[tuple[Name, Name | int], ...]
    constant: int = 0


Word = Name | int
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


class If(NamedTuple):
    """A choice between two blocks."""

    test: Apply
    body: Block
    orelse: Block = ()


Statement = Let | Do | For | Repeat | If
Block = tuple[Statement, ...]
