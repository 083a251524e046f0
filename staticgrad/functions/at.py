"""``x.at[key].set(y)``: a copy of x with some elements set, or added to.

A key is what ``x[key]`` takes. Regular keys become a pad and a select; index arrays a scatter:
duplicates add up in order (``add``), or the last one stays (``set``). Values never change; a
planner may still write in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from staticgrad.errors import UnknownAttributeError
from staticgrad.functions.getitem import Selection, rows_and_places, selection
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue, binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand, lifted
from staticgrad.ops.indexing import ScatterIntoAxis
from staticgrad.ops.movement import broadcast_to, moveaxis, reshape
from staticgrad.ops.operands import as_value
from staticgrad.ops.positions import iota
from staticgrad.ops.selection import where
from staticgrad.ops.slices import Pad
from staticgrad.records import dataclass
from staticgrad.types.dtype import I64

#: JAX's names of further updates -> the operator.
_SIGNS: Final = {
    **{"multiply": "*", "mul": "*", "divide": "/", "div": "/", "power": "**", "pow": "**"},
    **{"subtract": "-", "sub": "-"},
}


def _no_attribute(owner: str, name: str, hint: str) -> AttributeError:
    if name.startswith("_"):
        return AttributeError(name)
    return UnknownAttributeError(f"{owner} has no {name!r}", hint=hint)


@dataclass(frozen=True, eq=False)
class At:
    """The elements of ``x`` by key: ``x.at[key]`` is a ``Place``."""

    x: Value

    def __getitem__(self, key: Any) -> Place:
        return Place(self.x, key)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        def __getattr__(self, name: str) -> NoReturn:
            raise _no_attribute("x.at", name, f"the key comes first: x.at[key].{name}(y)")


@dataclass(frozen=True, eq=False)
class Place:
    """Some elements of ``x``: read them, or make a copy of x in which they differ."""

    x: Value
    key: Any

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            sign = _SIGNS.get(name)
            hint = "x.at[key] has get, set and add"
            if sign is not None:
                hint = f"x.at[key].set(x[key] {sign} y)"
            elif name in ("min", "max"):
                least = "-sg.inf" if name == "max" else "sg.inf"
                hint = (
                    f"where no place is named twice: x.at[key].set(sg.{name}imum(x[key], y))\n"
                    f"of each place i: sg.where(key == i, y, {least}).{name}(), "
                    "for all by i = sg.arange(n)[:, None] and axis=1"
                )
            raise _no_attribute("x.at[key]", name, hint)

    def get(self) -> Value:
        """``x[key]``."""
        return self.x[self.key]

    def set(self, values: Operand) -> Value:
        """x with the elements replaced, in the dtype of x; of equal places the last one counts.

        With index arrays that are only known in a run, every index is compared with those after it.

        Raises:
            ShapeError: values that do not broadcast to the shape of ``x[key]``.
        """
        chosen = selection(self.x, self.key)
        new = self._values(values)
        if not chosen.arrays:
            return _put(chosen, reshape(new, tuple(chosen.shape)))
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        flat, many = _flat_updates(chosen, new, places)
        lost = _overwritten(flat)
        wide = (flat.shape[0], *(1,) * (many.ndim - 1))
        kept = where(reshape(lost, wide), np.zeros((), many.dtype.numpy), many)
        added = _scattered(kept, flat, rows)
        counted = functions.astype(functions.logical_not(lost), I64)
        hit = _scattered(counted, flat, rows) > 0
        hit = reshape(hit, (hit.shape[0], *(1,) * (rows.ndim - 1)))
        return _put(chosen, _back(chosen, where(hit, added, rows)))

    def add(self, values: Operand) -> Value:
        """x with ``values`` added to the elements, as often as the key names them, in order.

        Raises:
            ShapeError: values that do not broadcast to the shape of ``x[key]``.
            DTypeError: bools.
        """
        chosen = selection(self.x, self.key)
        new = self._values(values)
        if not chosen.arrays:
            new = reshape(new, tuple(chosen.lengths))
            placed = Pad(self.x.shape, tuple(chosen.starts), tuple(chosen.steps))(new)
            return self.x + placed
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        flat, many = _flat_updates(chosen, new, places)
        return _put(chosen, _back(chosen, rows + _scattered(many, flat, rows)))

    def _values(self, values: Operand) -> Value:
        """``values`` in the dtype of x and the shape of ``x[key]``."""
        value = lifted("at", binding_kind((self.x,)), values, self.x.dtype)
        return broadcast_to(value, self.get().shape)


def _flat_updates(
    chosen: Selection[AnyValue], new: AnyValue, places: AnyValue
) -> tuple[AnyValue, AnyValue]:
    """Places along one axis, and for each the row that goes there."""
    rank = places.ndim
    front = moveaxis(new, list(range(chosen.place, chosen.place + rank)), list(range(rank)))
    flat = reshape(places, (places.size,))
    return flat, reshape(front, (places.size, *front.shape[rank:]))


def _scattered(updates: AnyValue, flat: AnyValue, rows: AnyValue) -> AnyValue:
    return ScatterIntoAxis(0, rows.shape[0])(updates, flat)


def _overwritten(flat: AnyValue) -> AnyValue:
    """Which entries name a place that a later entry names too."""
    count = flat.shape[0]
    same = reshape(flat, (count, 1)) == reshape(flat, (1, count))
    later = iota((count, count), 1, like=flat) > iota((count, count), 0, like=flat)
    return functions.any(functions.logical_and(same, later), 1)


def _back(chosen: Selection[AnyValue], rows: AnyValue) -> AnyValue:
    """Rows as the part of x that they were made of."""
    axes = [axis for axis, _ in chosen.arrays]
    rest = tuple(size for axis, size in enumerate(chosen.shape) if axis not in axes)
    apart = reshape(rows, (*(chosen.shape[axis] for axis in axes), *rest))
    return moveaxis(apart, list(range(len(axes))), axes)


def _put(chosen: Selection[AnyValue], part: AnyValue) -> AnyValue:
    """x with ``part`` in place of the sliced part."""
    x, lengths = chosen.x, tuple(chosen.lengths)
    part = reshape(part, lengths)
    whole = all(s == 0 for s in chosen.starts) and all(s == 1 for s in chosen.steps)
    if whole and lengths == x.shape:
        return part
    place = Pad(x.shape, tuple(chosen.starts), tuple(chosen.steps))
    inside = place(functions.full(lengths, np.True_, like=x))
    return where(inside, place(part), x)


def at(x: Operand) -> At:
    """Elements of x to be read, set or added to: ``sg.at(x)[2:].set(0)``, or ``x.at[2:]``.

    Args:
        x: a value, or an array.

    Returns:
        What takes a key, as ``x[key]`` does, and then ``get``, ``set``, ``add`` and the others of
        ``At``; each gives a new value, x itself never changes.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.at([1, 2, 3])[1:].set(0))
    array([1, 0, 0])
    """
    return At(as_value("at", x))
