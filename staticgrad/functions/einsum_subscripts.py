"""The subscripts of an einsum, read: one label per axis and operand, and those of the result.

Labels are letters as written, and digits for the axes that ``...`` stands for, counted from the
last one. Knows text, no values.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.records import dataclass

_DOTS = "..."
#: The letters that stand for numbers, in alphabetical order as they are sorted.
_LETTERS = ascii_uppercase + ascii_lowercase


@dataclass(frozen=True)
class Subscripts:
    """``inputs`` has a tuple of labels per operand; ``output`` the labels of the result."""

    inputs: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]

    @classmethod
    def of(cls, text: str, ranks: Sequence[int]) -> Subscripts:
        """Read ``text`` for operands of ``ranks`` axes.

        Raises:
            ArgumentError: it cannot be read, or does not fit the operands.
        """
        left, arrow, right = text.replace(" ", "").partition("->")
        parts = left.split(",")
        if len(parts) != len(ranks):
            raise ArgumentError(
                f"einsum: {text!r} names {len(parts)} operands, there are {len(ranks)}"
            )
        inputs = tuple(_labels(p, rank, text) for p, rank in zip(parts, ranks, strict=True))
        stretched = max((sum(map(str.isdigit, labels)) for labels in inputs), default=0)
        if arrow:
            dots = _counted(stretched) if _DOTS in right else ()
            output = _written(right, dots, text)
        else:
            flat = [label for labels in inputs for label in labels]
            once = sorted({x for x in flat if flat.count(x) == 1 and not x.isdigit()})
            output = (*_counted(stretched), *once)
        _check_output(inputs, output, text)
        return cls(inputs, output)


def check_text(subscripts: object) -> None:
    """Refuse what is no text.

    Raises:
        ArgumentError: in the user's terms.
    """
    if not isinstance(subscripts, str):
        raise ArgumentError(
            f"einsum: the subscripts come first, got {subscripts!r}",
            hint='einsum("ij,jk->ik", a, b)',
        )


def _labels(part: str, rank: int, text: str) -> tuple[str, ...]:
    """The labels of one operand."""
    letters = len(part.replace(_DOTS, ""))
    if letters > rank or (letters < rank and _DOTS not in part):
        raise ArgumentError(
            f"einsum: {part!r} in {text!r} names {letters} axes, the operand has {rank}"
        )
    return _written(part, _counted(rank - letters), text)


def _counted(count: int) -> tuple[str, ...]:
    """Labels for the axes of ``...``: the last one is 0."""
    if count > 10:
        raise ArgumentError("einsum: '...' stands for at most ten axes")
    return tuple(str(k) for k in reversed(range(count)))


def _written(part: str, dots: tuple[str, ...], text: str) -> tuple[str, ...]:
    before, found, after = part.partition(_DOTS)
    letters = before + after
    if not (letters == "" or (letters.isascii() and letters.isalpha())):
        raise ArgumentError(f"einsum: {part!r} in {text!r} is not letters and '...'")
    return (*before, *(dots if found else ()), *after)


def _check_output(inputs: Sequence[tuple[str, ...]], output: tuple[str, ...], text: str) -> None:
    known = {label for labels in inputs for label in labels}
    for label in output:
        if label not in known:
            raise ArgumentError(f"einsum: {label!r} of the result in {text!r} is in no operand")
        if output.count(label) > 1:
            raise ArgumentError(f"einsum: {label!r} is twice in the result of {text!r}")


def in_letters(first: Any, others: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The subscripts as text, and the operands, of either form of ``einsum``.

    Lists of numbers, one behind each operand and perhaps one for the result, become letters.
    What is neither form stays as it is.
    """
    if isinstance(first, str):
        return first, others
    given = (first, *others)
    pairs = len(given) // 2
    lists = [*given[1 : 2 * pairs : 2], *given[2 * pairs :]]
    texts = []
    for places in lists:
        known = isinstance(places, list | tuple) and all(_is_place(place) for place in places)
        if not known:
            return first, others  # said by whoever reads the text
        texts.append("".join(_DOTS if p is Ellipsis else _LETTERS[p] for p in places))
    inputs = ",".join(texts[:pairs])
    return (f"{inputs}->{texts[pairs]}" if len(given) % 2 else inputs), given[: 2 * pairs : 2]


def _is_place(data: object) -> bool:
    return data is Ellipsis or (isinstance(data, int) and 0 <= data < len(_LETTERS))
