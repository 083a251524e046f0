"""``x.at[key].set(y)``: a copy of x with some elements replaced or combined with others.

A key is what ``x[key]`` takes. Regular keys become a pad and a select; index arrays a scatter. For
duplicate indices values add up in order (``add``), multiply (``multiply``), or the last one
(``set``) or the largest (``max``) wins. A mask that only a run knows is a key here, too: a select.
Values never change; a planner may still write in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import numpy as np

from staticgrad.errors import DTypeError, ShapeError, UnknownAttributeError
from staticgrad.errors.tracebacks import boundary, bounded
from staticgrad.functions.getitem import Selection, rows_and_places, selection
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue, binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand, lifted
from staticgrad.ops.indexing import ScatterIntoAxis, take
from staticgrad.ops.movement import broadcast_to, moveaxis, reshape
from staticgrad.ops.operands import as_value, related, shape_text
from staticgrad.ops.positions import iota
from staticgrad.ops.scatter_extremes import ScatterExtreme, last_entries
from staticgrad.ops.selection import where
from staticgrad.ops.slices import Pad
from staticgrad.records import dataclass
from staticgrad.types.dim import Size, bounds
from staticgrad.types.dtype import BOOL

#: Further names of updates -> the update.
_ALIASES: Final = {
    **{"mul": "multiply", "div": "divide", "pow": "power", "sub": "subtract"},
    **{"maximum": "max", "minimum": "min"},
}


def _no_attribute(owner: str, name: str, hint: str) -> AttributeError:
    if name.startswith("_"):
        return AttributeError(name)
    return UnknownAttributeError(f"{owner} has no {name!r}", hint=hint)


@bounded
@dataclass(frozen=True, eq=False)
class At:
    """The elements of ``x`` by key: ``x.at[key]`` is a ``Place``."""

    x: Value

    def __getitem__(self, key: Any) -> Place:
        return Place(self.x, key)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            raise _no_attribute("x.at", name, f"the key comes first: x.at[key].{name}(y)")


@bounded
@dataclass(frozen=True, eq=False)
class Place:
    """Some elements of ``x``: read them, or make a copy of x in which they differ."""

    x: Value
    key: Any

    if not TYPE_CHECKING:

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            hint = "x.at[key] has get, set, add, subtract, multiply, divide, power, max and min"
            if name in _ALIASES:
                hint = f"x.at[key].{_ALIASES[name]}(y)"
            elif name == "apply":
                hint = "x.at[key].set(f(x[key])); of a mask sg.where(mask, f(x), x)"
            raise _no_attribute("x.at[key]", name, hint)

    def get(self) -> Value:
        """``x[key]``."""
        return self.x[self.key]

    @public
    def set(self, values: Operand) -> Value:
        """x with the elements replaced, in the dtype of x; of equal places the last one counts.

        A mask that is only known in a run takes one value for all of its places.
        """
        if (masked := self._masked(values, lambda x, new: new)) is not None:
            return masked
        chosen = selection(self.x, self.key)
        new = self._values(values)
        if not chosen.arrays:
            return _put(chosen, reshape(new, tuple(chosen.shape)))
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        flat, many = _flat_updates(chosen, new, places)
        return _put(chosen, _back(chosen, _with_last(rows, flat, many)))

    @public
    def add(self, values: Operand) -> Value:
        """x with ``values`` added to the elements, as often as the key names them, in order."""
        return self._summed(values, functions.add)

    @public
    def subtract(self, values: Operand) -> Value:
        """x with ``values`` subtracted from the elements, as ``add``."""
        return self._summed(values, functions.subtract)

    def _summed(self, values: Operand, of_two: Callable[..., Any]) -> Value:
        if (masked := self._masked(values, of_two)) is not None:
            return masked
        chosen = selection(self.x, self.key)
        new = self._values(values)
        if not chosen.arrays:
            new = reshape(new, tuple(chosen.lengths))
            placed: Value = Pad(self.x.shape, tuple(chosen.starts), tuple(chosen.steps))(new)
            return cast(Value, of_two(self.x, placed))
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        flat, many = _flat_updates(chosen, new, places)
        return _put(chosen, _back(chosen, of_two(rows, _scattered(many, flat, rows))))

    @public
    def multiply(self, values: Operand) -> Value:
        """x with the elements multiplied by ``values``; by the product of those of one element."""
        return self._by_products(values, functions.multiply)

    @public
    def divide(self, values: Operand) -> Value:
        """x with the elements divided by ``values``; by the product of those of one element."""
        if not self.x.dtype.is_float:
            raise DTypeError(
                f"x.at[key].divide: quotients of {self.x.dtype} are floating",
                hint='x.astype("float64") first, or x.at[key].set(x[key] // y)',
                related=related(self.x),
            )
        return self._by_products(values, functions.divide)

    @public
    def power(self, values: Operand) -> Value:
        """Return x with the elements raised to ``values``; repeated elements to their product."""
        return self._by_products(values, functions.power)

    def _by_products(self, values: Operand, of_two: Callable[..., Any]) -> Value:
        """x with ``of_two`` of each element and the product of its values."""
        if (masked := self._masked(values, of_two)) is not None:
            return masked
        chosen = selection(self.x, self.key)
        new = self._values(values)
        if not chosen.arrays:
            return _put(chosen, reshape(of_two(self.get(), new), tuple(chosen.shape)))
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        flat, many = _flat_updates(chosen, new, places)
        ones = functions.ones(rows.shape, rows.dtype, like=rows)
        total = _with_last(ones, *_running_products(flat, many, rows.shape[0]))
        return _put(chosen, _back(chosen, of_two(rows, total)))

    @public
    def max(self, values: Operand) -> Value:
        """x with each element that is below one of its ``values`` replaced by the largest of them.

        Gradients go to what won: to the last of equal values, and by halves where that equals the
        element. NaN wins.
        """
        return self._extreme(values, functions.maximum, largest=True)

    @public
    def min(self, values: Operand) -> Value:
        """x with each element above one of its ``values`` replaced by the smallest. As ``max``."""
        return self._extreme(values, functions.minimum, largest=False)

    def _extreme(self, values: Operand, of_two: Callable[..., Any], largest: bool) -> Value:
        if (masked := self._masked(values, of_two)) is not None:
            return masked
        chosen = selection(self.x, self.key)
        new = self._values(values)
        if not chosen.arrays:
            return _put(chosen, reshape(of_two(self.get(), new), tuple(chosen.shape)))
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        flat, many = _flat_updates(chosen, new, places)
        found = ScatterExtreme("max" if largest else "min", 0, rows.shape[0])(many, flat)
        after = of_two(rows, found)
        if after.dtype.is_float:  # where nothing was sent, rows have the whole derivative
            after = where(functions.isinf(found) & ((found < 0) == largest), rows, after)
        return _put(chosen, _back(chosen, after))

    def _values(self, values: Operand) -> Value:
        """``values`` in the dtype of x and the shape of ``x[key]``."""
        return broadcast_to(self._lifted(values), self.get().shape)

    def _lifted(self, values: Operand) -> Value:
        """``values`` in the dtype of x."""
        return lifted("at", binding_kind((self.x,)), values, self.x.dtype)

    def _masked(self, values: Operand, of_two: Callable[[Value, Value], Value]) -> Value | None:
        """x with ``of_two(x, values)`` where a mask of the run holds; None of any other key."""
        mask = self.key[0] if isinstance(self.key, tuple) and len(self.key) == 1 else self.key
        if not isinstance(mask, Value) or mask.computes or mask.dtype is not BOOL or not mask.ndim:
            return None
        first, rest = self.x.shape[: mask.ndim], self.x.shape[mask.ndim :]
        if mask.shape != first:
            raise ShapeError(
                f"a mask {shape_text(mask.shape)} for axes {shape_text(first)}",
                hint="a mask has the sizes of the first axes",
                related=related(self.x, mask),
            )
        new = self._lifted(values)
        if new.ndim > len(rest):
            raise ShapeError(
                f"values {shape_text(new.shape)} for the places of a mask: only a run knows how"
                " many there are",
                hint="one value for all of them; of values by place sg.where(mask, values, x)",
                related=related(new, mask),
            )
        wide = reshape(mask, (*first, *(1,) * len(rest)))
        return where(wide, of_two(self.x, broadcast_to(new, rest)), self.x)


def _flat_updates(
    chosen: Selection[AnyValue], new: AnyValue, places: AnyValue
) -> tuple[AnyValue, AnyValue]:
    """Places along one axis, and for each the row that goes there."""
    rank = places.ndim
    front = moveaxis(new, list(range(chosen.place, chosen.place + rank)), list(range(rank)))
    flat = reshape(places, (places.size,))
    return flat, reshape(front, (places.size, *front.shape[rank:]))


def _with_last(rows: AnyValue, flat: AnyValue, many: AnyValue) -> AnyValue:
    """``rows`` with each that ``flat`` names replaced by the last of its rows of ``many``."""
    if not bounds(flat.shape[0])[0]:  # there may be none, and then a place reads this row
        none = functions.zeros((1, *many.shape[1:]), many.dtype, like=many)
        many = functions.concatenate((many, none))
    last = last_entries(flat, rows.shape[0])
    found = take(many, functions.maximum(last, 0), 0)
    hit = reshape(last >= 0, (last.shape[0], *(1,) * (rows.ndim - 1)))
    return where(hit, found, rows)


def _running_products(flat: AnyValue, many: AnyValue, size: Size) -> tuple[AnyValue, AnyValue]:
    """Sorted places, and the product of each place's rows of ``many`` so far, in their order."""
    flat = take(iota((size,), like=flat), flat)  # checks them; none is negative from here on
    order = functions.argsort(flat)
    flat, many = take(flat, order), take(many, order, 0)

    def further(carry: tuple[Any, Any], each: tuple[Any, Any]) -> tuple[Any, Any]:
        (product, before), (row, place) = carry, each
        product = row * where(place == before, product, 1)
        return (product, place), product

    first = functions.ones(many.shape[1:], many.dtype, like=many)
    _, products = functions.scan(
        further, (first, functions.full((), -1, flat.dtype, like=flat)), (many, flat)
    )
    return flat, products


def _scattered(updates: AnyValue, flat: AnyValue, rows: AnyValue) -> AnyValue:
    return ScatterIntoAxis(0, rows.shape[0])(updates, flat)


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

    >>> sg.evaluate(sg.at([1, 2, 3])[1:].set(0))
    array([1, 0, 0])
    """
    return At(as_value("at", x))
