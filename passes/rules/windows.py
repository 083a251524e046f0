"""Rules over windows: elementwise work that may as well be done behind a pool, which has fewer.

The maximum of a window of max(x, 0) is that of x, or 0. Where it is not above 0, no cotangent goes
to any tap, so it does not matter which of them is said to be the largest.
"""

from __future__ import annotations

from typing import Any, Final

from passes.rewrite import Match, Rule, holes, rule, some
from staticgrad import functions as sg
from staticgrad.language.ops.selection import Relu
from staticgrad.language.ops.windows import WindowMax, WindowPlace, WindowPut
from staticgrad.language.types.dim import is_at_least

x, y = holes("x y")
_POSITIVE: Final = Relu()(x)


def _lies_inside(match: Match) -> bool:
    """Return True if all windows of a pool overlap the image, so no maximum is of a border."""
    pool = match.op("pool")
    axes = pool.axes(pool.image(match.x), pool.extents)
    return all(
        axis.before == 0 and is_at_least(axis.image, axis.step * (axis.windows - 1) + 1)
        for axis in axes
    )


def _is_gradient(match: Match) -> bool:
    """Return whether cotangents go to the places of the same windows."""
    put, image = match.op("put"), match.op("pool").image(match.x)
    return bool(_lies_inside(match) and match.op("pool").same_windows(WindowPut, image) == put)


def _positive_behind(match: Match) -> Any:
    largest = match.op("pool")(match.x)
    return Relu()(largest)


def _gradient_behind(match: Match) -> Any:
    pool = match.op("pool")
    largest = pool.same_windows(WindowMax, pool.extents)(match.x)
    return match.op("put")(sg.where(largest <= 0, 0, match.y), pool(match.x))


def _windows(x: Any, step: int = 2) -> tuple[Any, WindowMax]:
    """A row of elements, and its windows of two, of which some may be left over."""
    row = sg.reshape(x, (x.size,))
    return row, WindowMax((2,), (step,), (1,), (0,), ((x.size - 2) // step + 1,))


def _pool_example(x: Any) -> Any:
    row, pool = _windows(x)
    return pool(Relu()(row))


def _gradient(x: Any, y: Any) -> Any:
    """Windows overlap here."""
    row, pool = _windows(x, 1)
    positive = Relu()(row)
    place = pool.place(positive)
    cotangents = sg.reshape(y, (x.size,))[1:]
    return sg.where(positive <= 0, 0, pool.same_windows(WindowPut, row.shape)(cotangents, place))


RULES: Final[tuple[Rule, ...]] = (
    rule(
        "positive-behind-maximum",
        some(WindowMax, _POSITIVE, name="pool"),
        _positive_behind,
        where=_lies_inside,
        dtypes="f",
        examples=(_pool_example,),
    ),
    rule(
        "gradient-of-positive-behind-maximum",
        sg.where(
            _POSITIVE <= 0, 0,
            some(WindowPut, y, some(WindowPlace, _POSITIVE, name="pool"), name="put"),
        ),
        _gradient_behind,
        where=_is_gradient,
        dtypes="f",
        examples=(_gradient,),
    ),
)  # fmt: skip
