"""NumPy's indexing syntax, ``x[...]``, and its functions that join and split values.

Keys are integers, slices with any step, ``...``, ``None``, integer arrays, and constant masks. An
index beyond a literal size is an error when the graph is built; beyond a named size, or in an
array, at run time. Each of several arrays is checked and wrapped along its own axis; then they are
combined to one array of row indices.

Values are joined and split under NumPy's names: append, insert, stack and split families, block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from math import prod
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, cast, overload

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    IndexOutOfRange,
    ShapeError,
    UnknownAttributeError,
)
from staticgrad.errors.tracebacks import boundary, called_name, make_boundaries
from staticgrad.errors.wording import kind_of, quote
from staticgrad.functions import creation
from staticgrad.functions.creation import full
from staticgrad.functions.operand_kinds import by_all_operands
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.value import Value
from staticgrad.language.ops import basic
from staticgrad.language.ops.arithmetic import add, isinf, multiply, subtract
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike, Elementwise, broadcast, lift_operand
from staticgrad.language.ops.indexing import (
    IndexCopy,
    Pad,
    ScatterExtreme,
    ScatterIntoAxis,
    concatenate,
    flip,
    list_values,
    normalize_indices,
    part,
    slice_value,
    take,
)
from staticgrad.language.ops.movement import broadcast_to, expand_dims, moveaxis, reshape, swapaxes
from staticgrad.language.ops.operands import (
    as_value,
    as_values,
    axis_of,
    describe_operands,
    integer,
    known_integer,
    number_of_parts,
    shape_text,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.selection import maximum, minimum, where
from staticgrad.language.ops.sorting import argsort
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, array_of
from staticgrad.language.types.dim import Dim, Size, floordiv, is_at_least
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.docstrings import like
from staticgrad.support.records import dataclass

#: No axis of a value with elements is as long: more bytes than processors address.
_BEYOND: Final = 1 << 48
_PLAIN_BOUNDS: Final = frozenset({int, NoneType})


@dataclass
class Selection(Generic[AnyValue]):
    """A key as it was read: the slice per axis of x, and the shape that this part takes.

    ``arrays``: the axes of that shape that index arrays read, and these. ``advanced``: positions in
    the key of integers and arrays.
    """

    x: AnyValue
    starts: list[Size] = field(default_factory=list)
    lengths: list[Size] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    shape: list[Size] = field(default_factory=list)
    arrays: list[tuple[int, Any]] = field(default_factory=list)
    advanced: list[int] = field(default_factory=list)

    def part(self) -> AnyValue:
        """The slices alone, index arrays left out."""
        return _part(self.x, *self.parameters)

    @property
    def parameters(self) -> tuple[Shape, Shape, tuple[int, ...], Shape]:
        """Starts, lengths and steps of the slices, and the shape of the result."""
        return tuple(self.starts), tuple(self.lengths), tuple(self.steps), tuple(self.shape)

    @property
    def place(self) -> int:
        """The position of the index arrays' axes, as in NumPy: first if other axes split them."""
        is_split = self.advanced[-1] - self.advanced[0] >= len(self.advanced)
        return 0 if is_split else self.arrays[0][0]


def _part(
    x: AnyValue, starts: Shape, lengths: Shape, steps: tuple[int, ...], shape: Shape
) -> AnyValue:
    """Return a slice of x under another shape."""
    return basic.reshape(slice_value(x, starts, lengths, steps), shape)


#: Shape and plain key -> starts, lengths, steps of the slice, and the shape of the result.
_selections: Final[dict[Any, tuple[Shape, Shape, tuple[int, ...], Shape]]] = {}
_MOST_SELECTIONS: Final = 4096


def _plain_key(key: Any) -> tuple[Any, ...] | None:
    """Return a key of integers, slices of integers, None and ``...`` as a hashable tuple.

    None: it has other entries.
    """
    entries: list[Any] = []
    for item in key if key.__class__ is tuple else (key,):
        if item.__class__ is slice:
            limits = (item.start, item.stop, item.step)
            if not _PLAIN_BOUNDS.issuperset(map(type, limits)):
                return None
            entries.append(limits)
        elif item.__class__ is int or item is None or item is Ellipsis:
            entries.append(item)
        else:
            return None
    return tuple(entries)


def getitem(x: ArrayLike[AnyValue], key: Any) -> AnyValue:
    """Return ``x[key]`` as in NumPy: integers, slices, ``...``, ``None``, integer arrays, masks.

    Slices clip; a named size becomes an expression of that size. A slice of one element
    (``x[:1]``, ``x[-1:]``, ``x[k : k + 1]``) has the literal size 1, which broadcasts: its element
    must exist, as for an integer, and an empty axis is an error of the run. An array or value
    of integers reads along its axis as ``take`` does; several broadcast and read together. A slice
    ``i : i + k`` at a value i of a graph reads k elements, and raises IndexOutOfRange in a run in
    which they are not all there; negative i counts from the end. A mask is an array of bools
    known now, or a tensor of bools; no value of a graph.

    Args:
        key: what stands in the brackets.

    Raises:
        IndexOutOfRange: an integer outside a literal size (a named size, and a slice of one place
            of it, are checked in the run).
        ArgumentError: a mask whose contents are only known in a run, or an invalid index.

    >>> sg.getitem([1.0, 2.0, 3.0], slice(1, None))
    array([2., 3.])
    """
    plain_key = _plain_key(key)
    if plain_key is not None and isinstance(x, Value):
        place = (x.shape, plain_key)
        parameters = _selections.get(place)
        if parameters is None:
            parameters = selection(x, key).parameters
            if all(size.__class__ is int for size in x.shape):
                if len(_selections) >= _MOST_SELECTIONS:
                    _selections.clear()
                _selections[place] = parameters
        return _part(x, *parameters)
    while (window := _window_of(x, key)) is not None:
        axis, places, key = window
        x = take(x, places, axis)
    selected = selection(x, key)
    part = selected.part()
    if not selected.arrays:
        return part
    if len(selected.arrays) == 1:
        ((axis, indices),) = selected.arrays
        result = take(part, indices, axis)
    else:
        rows, places = rows_and_places(part, selected.arrays)
        axis, result = 0, take(rows, places, 0)
    if axis == selected.place:
        return result
    count = result.ndim - part.ndim + len(selected.arrays)
    return moveaxis(result, _run_of(axis, count), _run_of(selected.place, count))


def _window_of(x: Any, key: Any) -> tuple[int, Any, Any] | None:
    """Match ``x[i : i + k]`` at a graph's value i: its axis, start and the other keys."""
    keys = key if isinstance(key, tuple) else (key,)
    for position, item in enumerate(keys):
        if not isinstance(item, slice) or not _is_of_run(item.start):
            continue
        length = _known_difference(item.stop, item.start) if _is_of_run(item.stop) else None
        step = 1 if item.step is None else known_integer(item.step)
        if length is None or step is None or step < 1:
            continue
        if any(entry is Ellipsis for entry in keys[:position]):
            axis = as_value(x).ndim - sum(map(_axes_of, keys[position:]))
        else:
            axis = sum(map(_axes_of, keys[:position]))
        value = as_value(x)
        if axis < 0 or axis >= value.ndim:
            continue
        offsets = np.arange(0, length, step, dtype=np.int64)
        first = take(iota((value.shape[axis],), like=value), item.start)  # negative: from the end
        other_keys = (*keys[:position], slice(None), *keys[position + 1 :])
        return axis, first + offsets if offsets.size else offsets, other_keys
    return None


def _is_of_run(bound: Any) -> bool:
    return isinstance(bound, Value) and not bound.computes and bound.dtype.is_integer


def _axes_of(item: Any) -> int:
    """Return how many axes of x one entry of a key takes."""
    if item is None or item is Ellipsis:
        return 0
    is_mask = getattr(item, "dtype", None) in (BOOL, np.bool_)
    return int(item.ndim) if is_mask and item.ndim else 1


def _known_difference(a: Any, b: Any) -> int | None:
    """Return ``a - b`` of scalar integers where it is the same number in every run."""
    (terms, number), (others, subtrahend) = _linear_form(a, 1), _linear_form(b, 1)
    for key, factor in others.items():
        terms[key] = terms.get(key, 0) - factor
    return number - subtrahend if not any(terms.values()) else None


def _linear_form(value: Any, factor: int, depth: int = 8) -> tuple[dict[Any, int], int]:
    """Write an integer value as a sum of multiples of other values plus a number."""
    node = getattr(value, "node", None)
    constant = _constant_of(value)
    if constant is not None:
        return {}, factor * constant
    name = node.op.name if node is not None else ""
    args: Sequence[Any] = node.args if node is not None else ()
    if name == "cast" and args[0].dtype.is_integer and depth:
        return _linear_form(args[0], factor, depth - 1)
    if name in ("add", "sub") and depth:
        sign = factor if name == "add" else -factor
        (terms, number), (other_terms, other_number) = (
            _linear_form(args[0], factor, depth - 1),
            _linear_form(args[1], sign, depth - 1),
        )
        for key, coefficient in other_terms.items():
            terms[key] = terms.get(key, 0) + coefficient
        return terms, number + other_number
    if name == "mul" and depth:
        for scale, term in (args, args[::-1]):
            times = _constant_of(scale)
            if times is not None:
                return _linear_form(term, factor * times, depth - 1)
    return {_structure(value, depth): factor}, 0


def _constant_of(value: Any) -> int | None:
    """Return the integer that a value of a graph is in every run."""
    op = value.node.op if hasattr(value, "node") else None
    data = getattr(op, "data", None)
    if data is None or op is None or op.name != "constant" or data.array.ndim:
        return None
    return int(data.array)


def _structure(value: Any, depth: int) -> Any:
    """Return a key that equal expressions have in common."""
    node = value.node
    if not depth or not node.args or not isinstance(node.op, Elementwise):
        return value.key
    return (node.op, value.index, *(_structure(arg, depth - 1) for arg in node.args))


def selection(x: ArrayLike[AnyValue], key: Any) -> Selection[AnyValue]:
    """``key``, read for x. Raises as ``getitem``."""
    value = as_value(x)
    items = _expand_masks(value, key if isinstance(key, tuple) else (key,))
    result = Selection(value)
    # The key with one entry per axis of x (and `None` for each new one).
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise ArgumentError("an index takes one '...', not two", related=describe_operands(value))
    used = len([item for item in items if item is not None and item is not Ellipsis])
    if used > value.ndim:
        raise AxisError(
            f"{used} indices for {value.ndim} {'axis' if value.ndim == 1 else 'axes'}:"
            f" {value.type}",
            related=describe_operands(value),
        )
    fill = [slice(None)] * (value.ndim - used)
    dots_position = dots[0] if dots else len(items)
    for position, item in enumerate([*items[:dots_position], *fill, *items[dots_position + 1 :]]):
        _read_entry(result, position, item)
    return result


def _run_of(first: int, count: int) -> list[int]:
    return list(range(first, first + count))


def _expand_masks(x: Value, key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replace constant masks in an index by the positions where they hold."""
    items: list[Any] = []
    for item in key:
        is_mask = isinstance(item, Value) and bool(item.computes) and item.dtype is BOOL
        candidate = np.asarray(item) if is_mask and item.ndim else item
        array = (
            array_of(candidate, "getitem: a key")
            if isinstance(candidate, np.ndarray | list)
            else None
        )
        if array is not None and array.dtype == np.bool_ and array.ndim:
            items += [
                _MaskAxis(places, n) for places, n in zip(array.nonzero(), array.shape, strict=True)
            ]
        else:
            items.append(item)
    return tuple(items)


@dataclass(frozen=True)
class _MaskAxis:
    """One axis of a mask: the indices at which it is True, and its size."""

    places: Any
    size: int


def _read_entry(plan: Selection[Any], position: int, item: Any) -> None:
    """Add one entry of ``x[key]`` to the selection."""
    if item is None:
        plan.shape.append(1)
        return
    axis = len(plan.starts)
    size = plan.x.shape[axis]
    if isinstance(item, slice):
        start, length, step = _slice_of(plan.x, item, size)
        plan.shape.append(length)
    elif isinstance(item, Dim) or _is_integer(item):
        start, length, step = _index_of(plan.x, item, axis), 1, 1
        plan.advanced.append(position)
    else:
        start, length, step = 0, size, 1
        if isinstance(item, _MaskAxis):
            if plan.x.shape[axis] != item.size:
                raise ShapeError(
                    f"a mask of size {item.size} for axis {axis} of size {plan.x.shape[axis]}",
                    related=describe_operands(plan.x),
                )
            item = item.places
        plan.arrays.append((len(plan.shape), _index_array(plan.x, item)))
        plan.shape.append(size)
        plan.advanced.append(position)
    plan.starts.append(start)
    plan.lengths.append(length)
    plan.steps.append(step)


def _is_integer(item: Any) -> bool:
    if isinstance(item, bool | np.bool_ | Value):
        return False
    return isinstance(item, int | np.integer) or (
        isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu"
    )


def _index_of(x: Value, item: Any, axis: int) -> Size:
    """Return a single integer index of an axis, counted from the start."""
    size = x.shape[axis]
    index: Size = item if isinstance(item, Dim) else int(item)
    if isinstance(index, int) and index < 0:
        index = size + index
    if is_at_least(-1, index) or is_at_least(index, size):
        raise IndexOutOfRange(
            f"index {item} is out of range for axis {axis} of size {size}",
            hint=f"its indices go from 0 to {size - 1}" if size != 0 else "it has no elements",
            related=describe_operands(x),
        )
    return index


def _slice_of(x: Value, item: slice, size: Size) -> tuple[Size, Size, int]:
    """Return a slice of an axis as (start, length, step), clipped as in Python."""
    step = 1 if item.step is None else _clip_integer("step", item.step, _BEYOND, x)
    if step == 0:
        raise ArgumentError("a slice takes no step of 0", related=describe_operands(x))
    start, stop = (
        None if bound is None else _read_bound(x, bound, size) for bound in (item.start, item.stop)
    )
    if step > 0:
        first: Size = 0 if start is None else dims.maximum(start, 0)
        spans = [size - first] if stop is None else [size - first, stop - first]
    else:
        first = size - 1 if start is None else dims.minimum(start, size - 1)
        spans = [first + 1] if stop is None else [first + 1, first - stop]
    counts = [dims.maximum(floordiv(span + (abs(step) - 1), abs(step)), 0) for span in spans]
    length = counts[0] if len(counts) == 1 else dims.minimum(*counts)
    if isinstance(length, Dim):
        place = _only_place(start, stop, step, size)
        if place is not None:
            return place, 1, 1
    is_beyond = step > 0 and is_at_least(first, _BEYOND)
    return (0, 0, 1) if length == 0 or is_beyond else (first, length, step)


def _clip_integer(what: str, data: Any, limit: int, x: Value) -> int:
    number = known_integer(data)
    if number is None:
        number = integer(what, data, x)  # which says what is wrong
    return min(max(number, -limit), limit)


def _only_place(start: Size | None, stop: Size | None, step: int, size: Size) -> Size | None:
    """Return the one index that a slice contains, or None if it may contain more.

    Where clipping would move a start whose steps reach beyond one place, it is None, too.
    """
    if step > 0:
        first: Size = 0 if start is None else start
        span, margin = (size if stop is None else stop) - first, first
    else:
        first = size - 1 if start is None else start
        span, margin = first - (-1 if stop is None else stop), size - 1 - first
    if not isinstance(span, int) or not 1 <= span <= abs(step):
        return None
    return first if span == 1 or is_at_least(margin, 0) else None


def _read_bound(x: Value, bound: Any, size: Size) -> Size:
    """Return a slice's bound as an index; negative ones count from the end."""
    if isinstance(bound, Dim):
        return bound
    if isinstance(bound, Value) and not bound.computes:
        raise ArgumentError(
            f"getitem: the end {quote(bound)} of a slice is only known in a run",
            hint="x[i : i + 3] takes so many from a start of the run\n"
            "a traced function has a Python int when it is traced: f(x, int(n))",
            related=describe_operands(x, bound),
        )
    number = _clip_integer("index", bound, 1 << 63, x)
    return size + number if number < 0 else number


def _index_array(x: Value, item: Any) -> Any:
    """Convert an index entry to an array or value of integers."""
    array = item if isinstance(item, Value) else array_of(item, "getitem: a key")
    if not isinstance(array, Value) and array.size == 0 and isinstance(item, list | tuple):
        array = array.astype(np.int64)
    kind = array.dtype.kind
    if kind == "b":
        raise ArgumentError(
            "a bool mask has a result whose size is only known in a run",
            hint="sg.compress(mask, x, 0, size=n) returns n entries, sg.extract(mask, x, size=n) n"
            " elements\nsg.where(mask, x, 0) has the shape of x; x.at[:, mask].set(0) sets what one"
            " mask chooses",
            related=describe_operands(x, array),
        )
    if kind not in "iu":
        raise ArgumentError(
            f"{quote(item)} is not an index",
            hint=_hint_for_index(item),
            related=describe_operands(x, array),
        )
    return array


def _hint_for_index(item: Any) -> str:
    if isinstance(item, str):
        return (
            "parts are named by position: x[0], x[1:3], x[..., None]\n"
            "of a data frame, pass its columns by name: {name: frame[name] for name in frame}"
        )
    if isinstance(item, float):
        return f"whole numbers: {int(item)}" if item.is_integer() else "whole numbers: k // 2"
    return "convert it: astype('int64')"


def rows_and_places(x: AnyValue, arrays: Sequence[tuple[int, Any]]) -> tuple[AnyValue, AnyValue]:
    """Return x with the indexed axes first and merged into one, and the indices into that axis.

    A single array whose contents a run gives is returned unchanged: the lookup checks it.
    """
    broadcast("getitem", [np.shape(a) if not isinstance(a, Value) else a.shape for _, a in arrays])
    axes = [axis for axis, _ in arrays]
    sizes = [x.shape[axis] for axis in axes]
    other_sizes = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    rows = reshape(moveaxis(x, axes, _run_of(0, len(axes))), (prod(sizes), *other_sizes))
    is_value = isinstance(arrays[0][1], Value)
    if is_value and len(arrays) == 1:
        return rows, arrays[0][1]
    total: Any = None
    for (_, indices), size in zip(arrays, sizes, strict=True):
        axis_indices = _within(indices, size)
        if total is None:
            total = axis_indices
            continue
        by_row = np.int64(size) if isinstance(size, int) else size_value(size, I64)
        total = total * by_row + axis_indices
    return rows, binding_kind((x,)).lift(total) if isinstance(total, np.ndarray) else total


def _within(indices: Any, size: Size) -> Any:
    if not isinstance(indices, Value) and not isinstance(size, Dim):
        return normalize_indices(array_of(indices, "getitem: a key"), size)
    value = as_value(indices)
    return take(iota((size,), like=value), value, 0)


#: Further names of updates -> the call to write.
_ALIASES: Final = {
    **{"mul": "multiply(y)", "sub": "subtract(y)", "maximum": "max(y)", "minimum": "min(y)"},
    **dict.fromkeys(("div", "divide"), "multiply(1 / y)"),
    **dict.fromkeys(("pow", "power"), "set(x[key] ** y)"),
}


def _attribute_error(owner: str, name: str, hint: str) -> AttributeError:
    if name.startswith("_"):
        return AttributeError(name)
    return UnknownAttributeError(f"{owner} has no {name!r}", hint=hint)


@make_boundaries
@dataclass(frozen=True, eq=False)
class At:
    """The elements of ``x`` by key: ``x.at[key]`` is a ``Place``."""

    x: Value

    def __getitem__(self, key: Any) -> Place:
        return Place(self.x, key)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            raise _attribute_error("x.at", name, f"the key comes first: x.at[key].{name}(y)")


@make_boundaries
@dataclass(frozen=True, eq=False)
class Place:
    """Some elements of ``x``: read them, or make a copy of x in which they differ."""

    x: Value
    key: Any

    if not TYPE_CHECKING:

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            hint = "x.at[key] has get, set, add, subtract, multiply, max and min"
            if name in _ALIASES:
                hint = f"x.at[key].{_ALIASES[name]}"
            elif name == "apply":
                hint = "x.at[key].set(f(x[key])); of a mask sg.where(mask, f(x), x)"
            raise _attribute_error("x.at[key]", name, hint)

    def get(self) -> Value:
        """``x[key]``."""
        return self.x[self.key]

    @public
    def set(self, values: ArrayLike) -> Value:
        """x with the elements replaced, in the dtype of x; of equal places the last one counts.

        A mask that is only known in a run takes one value for all of its places.
        """
        return self._update(values, lambda x, new: new)

    @public
    def add(self, values: ArrayLike) -> Value:
        """x with ``values`` added to the elements, as often as the key names them, in order."""
        return self._accumulate(values, add)

    @public
    def subtract(self, values: ArrayLike) -> Value:
        """x with ``values`` subtracted from the elements, as ``add``."""
        return self._accumulate(values, subtract)

    def _accumulate(self, values: ArrayLike, of_two: Callable[..., Any]) -> Value:
        """Update ``x.at[key]`` by sums of all values sent to an element."""

        def in_place(chosen: Selection[Any], new: Any) -> Value:
            new = reshape(new, tuple(chosen.lengths))
            padded: Value = Pad(chosen.x.shape, tuple(chosen.starts), tuple(chosen.steps))(new)
            return cast(Value, of_two(chosen.x, padded))

        def of_rows(rows: Any, flat: Any, updates: Any) -> Any:
            return of_two(rows, ScatterIntoAxis(0, rows.shape[0])(updates, flat))

        return self._update(values, of_two, of_rows, in_place)

    @public
    def multiply(self, values: ArrayLike) -> Value:
        """x with the elements multiplied by ``values``; by the product of those of one element."""

        def of_rows(rows: Any, flat: Any, updates: Any) -> Any:
            ones = creation.ones(rows.shape, rows.dtype, like=rows)
            products = _running_products(flat, updates, rows.shape[0])
            return rows * IndexCopy(0)(*reversed(products), ones)

        return self._update(values, multiply, of_rows)

    @public
    def max(self, values: ArrayLike) -> Value:
        """x with each element that is below one of its ``values`` replaced by the largest of them.

        Gradients go to what won: to the last of equal values, and by halves where that equals the
        element. NaN wins.
        """
        return self._extreme(values, maximum, largest=True)

    @public
    def min(self, values: ArrayLike) -> Value:
        """x with each element above one of its ``values`` replaced by the smallest. As ``max``."""
        return self._extreme(values, minimum, largest=False)

    def _extreme(self, values: ArrayLike, of_two: Callable[..., Any], largest: bool) -> Value:
        """Update ``x.at[key]`` by the max or min of the values sent to an element."""

        def of_rows(rows: Any, flat: Any, updates: Any) -> Any:
            extremes = ScatterExtreme("max" if largest else "min", 0, rows.shape[0])(updates, flat)
            updated = of_two(rows, extremes)
            if updated.dtype.is_float:  # where nothing was sent, rows have the whole derivative
                updated = where(isinf(extremes) & ((extremes < 0) == largest), rows, updated)
            return updated

        return self._update(values, of_two, of_rows)

    def _update(
        self,
        values: ArrayLike,
        of_two: Callable[..., Any],
        of_rows: Callable[[Any, Any, Any], Any] | None = None,
        in_place: Callable[[Selection[Any], Any], Value] | None = None,
    ) -> Value:
        """Update x at a key by ``of_two``(elements, values).

        For index arrays, which may name an element several times, by ``of_rows``; None: the last
        one counts.
        """
        if (window := _window_of(self.x, self.key)) is not None:
            axis, places, other_keys = window
            inside = Place(take(self.x, places, axis), other_keys)
            new = inside._update(values, of_two, of_rows, in_place)
            return IndexCopy(axis, distinct=True)(new, places, self.x)
        if (masked := self._update_masked(values, of_two)) is not None:
            return masked
        chosen = selection(self.x, self.key)
        old = self.get()
        new = broadcast_to(self._lift_values(values), old.shape)
        if not chosen.arrays:
            if in_place is not None:
                return in_place(chosen, new)
            return _write_selection(chosen, reshape(of_two(old, new), tuple(chosen.shape)))
        rows, places = rows_and_places(chosen.part(), chosen.arrays)
        if of_rows is None or (prod(places.shape) == 1 and in_place is None):
            new = astype(of_two(old, new), self.x.dtype)
            written = _write_places(chosen, rows, new, places)
        else:
            written = _restore_axes(chosen, of_rows(rows, *_flat_updates(chosen, new, places)))
        return _write_selection(chosen, written)

    def _lift_values(self, values: ArrayLike) -> Value:
        return lift_operand("at", binding_kind((self.x,)), values, self.x.dtype)

    def _update_masked(
        self, values: ArrayLike, of_two: Callable[[Value, Value], Value]
    ) -> Value | None:
        """Update x where a mask computed in the run holds; None for other keys."""
        key = self.key if isinstance(self.key, tuple) else (self.key,)
        masks = [k for k, item in enumerate(key) if _is_mask_of_run(item)]
        others = [item for item in key if not _is_mask_of_run(item)]
        only_slices = all(isinstance(item, slice) or item is Ellipsis or _is_integer(item)
                    for item in others)  # fmt: skip
        if len(masks) != 1 or not only_slices:
            return None
        mask_position = masks[0]
        mask = key[mask_position]
        part = self
        if others:  # the part that the mask is of, as a whole
            full_slices = [slice(None)] * mask.ndim
            part = Place(self.x, (*key[:mask_position], *full_slices, *key[mask_position + 1 :]))
        old = part.get() if others else self.x
        slices_after = len([item for item in key[mask_position + 1 :] if isinstance(item, slice)])
        slices_before = len([item for item in key[:mask_position] if isinstance(item, slice)])
        first = (
            old.ndim - slices_after - mask.ndim
            if Ellipsis in map(_dots, key[:mask_position])
            else slices_before
        )
        mask_sizes, trailing_sizes = (
            old.shape[first : first + mask.ndim],
            old.shape[first + mask.ndim :],
        )
        if mask.shape != mask_sizes:
            raise ShapeError(
                f"a mask {shape_text(mask.shape)} for axes {shape_text(mask_sizes)}",
                hint="a mask has the sizes of the axes that it replaces",
                related=describe_operands(self.x, mask),
            )
        new = self._lift_values(values)
        if new.ndim > len(trailing_sizes):
            raise ShapeError(
                f"values {shape_text(new.shape)} for the true elements of a mask: their number is"
                " known when it runs",
                hint="one value for all of them; of values by place sg.where(mask, values, x)",
                related=describe_operands(new, mask),
            )
        expanded_mask = reshape(mask, (*mask_sizes, *(1,) * len(trailing_sizes)))
        changed = where(expanded_mask, of_two(old, broadcast_to(new, trailing_sizes)), old)
        return part.set(changed) if others else changed


def _is_mask_of_run(item: Any) -> bool:
    is_value = isinstance(item, Value) and not item.computes
    return is_value and item.dtype is BOOL and item.ndim > 0


def _dots(item: Any) -> Any:
    return Ellipsis if item is Ellipsis else None


def _flat_updates(
    chosen: Selection[AnyValue], new: AnyValue, places: AnyValue
) -> tuple[AnyValue, AnyValue]:
    """Return an index update as flat positions and a row for each."""
    rank = places.ndim
    front = moveaxis(new, list(range(chosen.place, chosen.place + rank)), list(range(rank)))
    flat = reshape(places, (places.size,))
    return flat, reshape(front, (places.size, *front.shape[rank:]))


def _write_places(
    chosen: Selection[AnyValue], rows: AnyValue, new: AnyValue, places: AnyValue
) -> AnyValue:
    """Write ``new`` into the part of x that slices choose, at the places of index arrays.

    ``rows`` is that part with the axes of the arrays in front, as one. If they are adjacent, they
    stay where they are, so that a run may write in place.
    """
    x, axes, rank = chosen.part(), [axis for axis, _ in chosen.arrays], places.ndim
    inside = places is not chosen.arrays[0][1]  # then ``rows_and_places`` has checked them
    if axes != _run_of(axes[0], len(axes)):
        flat, updates = _flat_updates(chosen, new, places)
        return _restore_axes(chosen, IndexCopy(0, inside)(updates, flat, rows))
    first, others = axes[0], x.shape[axes[-1] + 1 :]
    joined = reshape(x, (*x.shape[:first], rows.shape[0], *others))
    updates = moveaxis(new, _run_of(chosen.place, rank), _run_of(first, rank))
    return reshape(IndexCopy(first, inside)(updates, places, joined), x.shape)


def _running_products(flat: AnyValue, updates: AnyValue, size: Size) -> tuple[AnyValue, AnyValue]:
    """Sort positions, and return the running product of each one's rows."""
    flat = take(iota((size,), like=flat), flat)  # checks them; none is negative from here on
    order = argsort(flat)
    flat, updates = take(flat, order), take(updates, order, 0)

    def multiply_next(carry: tuple[Any, Any], x: tuple[Any, Any]) -> tuple[Any, Any]:
        (product, last_place), (row, place) = carry, x
        product = row * where(place == last_place, product, 1)
        return (product, place), product

    first = creation.ones(updates.shape[1:], updates.dtype, like=updates)
    from staticgrad.functions.loops import scan

    _, products = scan(multiply_next, (first, full((), -1, flat.dtype, like=flat)), (updates, flat))
    return flat, products


def _restore_axes(chosen: Selection[AnyValue], rows: AnyValue) -> AnyValue:
    axes = [axis for axis, _ in chosen.arrays]
    other_sizes = tuple(size for axis, size in enumerate(chosen.shape) if axis not in axes)
    unmerged = reshape(rows, (*(chosen.shape[axis] for axis in axes), *other_sizes))
    return moveaxis(unmerged, list(range(len(axes))), axes)


def counted_from_zero(indices: AnyValue, size: Size) -> AnyValue:
    """Return indices as int64, none of which counts from the end: those below 0 are ``size``.

    Raises:
        DTypeError: for indices that are neither integers nor bools.
    """
    if not indices.dtype.is_integer and indices.dtype is not BOOL:
        text = f"{called_name()}: takes integers, not {indices.dtype.numpy}"
        raise DTypeError(text, hint="convert: astype('int64')", related=describe_operands(indices))
    as_int64 = astype(indices, I64)  # narrow integers may not reach the size
    return where(as_int64 < 0, size, as_int64)


def _write_selection(chosen: Selection[AnyValue], part: AnyValue) -> AnyValue:
    """Write a part into x where a key of slices selects."""
    x, lengths = chosen.x, tuple(chosen.lengths)
    part = reshape(part, lengths)
    covers_all = all(s == 0 for s in chosen.starts) and all(s == 1 for s in chosen.steps)
    if covers_all and lengths == x.shape:
        return part
    place = Pad(x.shape, tuple(chosen.starts), tuple(chosen.steps))
    inside = place(full(lengths, np.True_, like=x))
    return where(inside, place(part), x)


def at(x: ArrayLike) -> At:
    """Elements of x to be read, set or added to: ``sg.at(x)[2:].set(0)``, or ``x.at[2:]``.

    Args:
        x: a value, or an array.

    Returns:
        What takes a key, as ``x[key]`` does, and then ``get``, ``set``, ``add`` and the others of
        ``At``; each gives a new value, x itself never changes.

    >>> sg.evaluate(sg.at([1, 2, 3])[1:].set(0))
    array([1, 0, 0])
    """
    return At(as_value(x))


class _Widened(Protocol):
    """A function of one value, or of several, which gives a tuple."""

    @overload
    def __call__(self, x: ArrayLike[AnyValue], /) -> AnyValue: ...
    @overload
    def __call__(
        self, x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], /, *more: ArrayLike[AnyValue]
    ) -> tuple[AnyValue, ...]: ...


class _Stacked(Protocol):
    """A function of several values, which it joins."""

    @overload
    def __call__(self, values: Sequence[AnyValue], *, dtype: Any = None) -> AnyValue: ...
    @overload
    def __call__(self, values: Sequence[Any], *, dtype: Any = None) -> Any: ...


def _as_widened(function: Callable[..., Any]) -> _Widened:
    return function


def _as_stacked(function: Callable[..., Any]) -> _Stacked:
    return function


@_as_widened
def atleast_1d(*values: ArrayLike[AnyValue]) -> AnyValue | tuple[AnyValue, ...]:
    """x, a 0-d value as a vector of one; of several values a tuple.

    >>> sg.atleast_1d(3.0)
    array([3.])
    """
    return _apply_to_each(_wide, values)


@_as_widened
def atleast_2d(*values: ArrayLike[AnyValue]) -> AnyValue | tuple[AnyValue, ...]:
    """x with at least two axes: a vector becomes a row; of several values a tuple.

    >>> sg.atleast_2d([1.0, 2.0])
    array([[1., 2.]])
    """
    return _apply_to_each(with_two_axes, values)


def _apply_to_each(
    function: Callable[[ArrayLike[AnyValue]], AnyValue], values: Sequence[ArrayLike[AnyValue]]
) -> AnyValue | tuple[AnyValue, ...]:
    results = tuple(function(value) for value in as_values(*values))
    return results[0] if len(results) == 1 else results


def _wide(x: ArrayLike[AnyValue]) -> AnyValue:
    value = as_value(x)
    return value if value.ndim else reshape(value, (1,))


def _of_one_kind(values: Any) -> tuple[Any, ...]:
    """Return the values of a list: arrays beside a tensor are tensors."""
    return as_values(*list_values(values))


def with_two_axes(x: ArrayLike[AnyValue]) -> AnyValue:
    """x with at least two axes."""
    value = _wide(x)
    return value if value.ndim > 1 else expand_dims(value, 0)


@_as_widened
def atleast_3d(*values: ArrayLike[AnyValue]) -> AnyValue | tuple[AnyValue, ...]:
    """x with at least three axes: a vector becomes [1, n, 1], a matrix [m, n, 1].

    >>> sg.atleast_3d([1.0, 2.0])
    array([[[1.],
            [2.]]])
    """
    return _apply_to_each(_deep, values)


def _deep(x: ArrayLike[AnyValue]) -> AnyValue:
    value = with_two_axes(x)
    return value if value.ndim > 2 else expand_dims(value, 2)


@_as_stacked
def vstack(values: Sequence[ArrayLike[AnyValue]], *, dtype: Any = None) -> AnyValue:
    """Matrices, or vectors as rows, one below the other, in ``dtype`` if it is given.

    Otherwise as ``concatenate``.

    >>> sg.row_stack(([1.0, 2.0], [3.0, 4.0]))
    array([[1., 2.],
           [3., 4.]])
    """
    wide = [with_two_axes(value) for value in _of_one_kind(values)]
    return concatenate(wide, 0, dtype=dtype)


@_as_stacked
@like(vstack)
def hstack(values: Sequence[ArrayLike[AnyValue]], *, dtype: Any = None) -> AnyValue:
    """Arrays side by side: along axis 1, vectors along their own. Otherwise as ``concatenate``.

    >>> sg.hstack(([1.0, 2.0], [3.0]))
    array([1., 2., 3.])
    """
    wide = [_wide(value) for value in _of_one_kind(values)]
    return concatenate(wide, 0 if wide[0].ndim == 1 else 1, dtype=dtype)


@overload
def dstack(values: Sequence[AnyValue]) -> AnyValue: ...
@overload
def dstack(values: Sequence[Any]) -> Any: ...
def dstack(values: Sequence[ArrayLike[AnyValue]]) -> AnyValue:
    """Join arrays along axis 2; vectors become [1, n, 1], matrices [m, n, 1].

    >>> sg.dstack(([1.0, 2.0], [3.0, 4.0]))
    array([[[1., 3.],
            [2., 4.]]])
    """
    return concatenate([_deep(value) for value in _of_one_kind(values)], 2)


@overload
def column_stack(values: Sequence[AnyValue]) -> AnyValue: ...
@overload
def column_stack(values: Sequence[Any]) -> Any: ...
def column_stack(values: Sequence[ArrayLike[AnyValue]]) -> AnyValue:
    """Vectors as the columns of a matrix; matrices side by side.

    >>> sg.column_stack(([1.0, 2.0], [3.0, 4.0]))
    array([[1., 3.],
           [2., 4.]])
    """
    wide = [_wide(value) for value in _of_one_kind(values)]
    return concatenate([v if v.ndim > 1 else expand_dims(v, 1) for v in wide], 1)


def append(
    x: ArrayLike[AnyValue], values: ArrayLike[AnyValue], axis: int | None = None
) -> AnyValue:
    """x, then ``values`` along ``axis``; both flattened for None. Raises as ``concatenate``.

    Args:
        values: what comes behind it.
        axis: along which; None flattens both.

    >>> sg.evaluate(sg.append([1, 2], 3))
    array([1, 2, 3])
    """
    return concatenate([x, values], axis)


def delete(x: ArrayLike[AnyValue], obj: Any, axis: int | None = None) -> AnyValue:
    """Leave out the entries at the indices ``obj`` along ``axis``.

    Args:
        obj: a position in x, a slice, a list of positions or a mask, known when the graph is built.
        axis: along which, of a literal size; None flattens x.

    Raises:
        ArgumentError: ``obj`` is a value or not an index; several indices in a named size.
        IndexOutOfRange: a position that x does not have.

    >>> sg.evaluate(sg.delete([1, 2, 3, 4], [0, 2]))
    array([2, 4])
    """
    value = as_value(x)
    if axis is None:
        value, axis = reshape(value, (-1,)), 0
    place = axis_of(axis, value)
    size = value.shape[place]
    is_one = not isinstance(obj, Value | slice) and np.ndim(obj) == 0
    positions: Any = [integer("obj", obj)] if is_one else _positions(obj, size)
    if isinstance(size, Dim):
        if not is_one or not -1 <= positions[0] <= 0:
            raise ArgumentError(
                f"delete: several entries of an axis of named size {size}",
                hint="slices and sg.concatenate",
                related=describe_operands(value),
            )
        leading = (slice(None),) * place
        return value[(*leading, slice(None, -1) if positions[0] else slice(1, None))]
    try:
        remaining = np.delete(np.arange(size), positions)
    except IndexError as error:
        raise IndexOutOfRange(f"delete: {error}") from None
    return take(value, remaining, axis=place)


def rollaxis(x: ArrayLike[AnyValue], axis: int, start: int = 0) -> AnyValue:
    """Move ``axis`` back until it stands before the axis that is at ``start`` now.

    >>> sg.rollaxis(np.ones((3, 4, 5, 6)), 3, 1).shape
    (3, 6, 4, 5)
    """
    value = as_value(x)
    place = axis_of(axis, value)
    target_axis = value.ndim if start == value.ndim else axis_of(start, value)
    return moveaxis(value, place, target_axis - (place < target_axis))


def insert(
    x: ArrayLike[AnyValue], obj: Any, values: ArrayLike[AnyValue], axis: int | None = None
) -> AnyValue:
    """Insert ``values`` before the indices ``obj`` along ``axis``, in the dtype of x.

    Args:
        obj: a position in x; or a slice, a list of positions or a mask, in an axis of a literal
            size. Known when the graph is built.
        values: the new elements. They broadcast to the shape of x with as many entries along
            ``axis`` as there are positions; before one position there may be several.
        axis: along which; None flattens x.

    Raises:
        ArgumentError: ``obj`` is a value or not an index; several indices in a named size.
        IndexOutOfRange: a position that x does not have.

    >>> sg.evaluate(sg.insert([1, 2, 3], [1, 3], [7, 8]))
    array([1, 7, 2, 3, 8])
    """
    kind = binding_kind((x, values))
    value = as_value(x, kind)
    if axis is None:
        value, axis = reshape(value, (-1,)), 0
    place = axis_of(axis, value)
    new = astype(as_value(values, kind), value.dtype)
    new = reshape(new, (*(1,) * (value.ndim - new.ndim), *new.shape))
    size = value.shape[place]
    is_one = not isinstance(obj, Value | slice) and np.ndim(obj) == 0
    if is_one:  # NumPy has their entries along the first axis then
        new = moveaxis(new, 0, place)
    positions: Any = integer("obj", obj) if is_one else _positions(obj, size)
    count = new.shape[place] if is_one or len(positions) == 1 else len(positions)
    new = broadcast_to(new, (*value.shape[:place], count, *value.shape[place + 1 :]))
    if isinstance(size, Dim) or isinstance(count, Dim):
        leading = (slice(None),) * place
        parts = [
            value[(*leading, slice(positions))],
            new,
            value[(*leading, slice(positions, None))],
        ]
        return concatenate(parts, place)
    try:
        where = positions if is_one or len(positions) != 1 else int(positions[0])
        order = np.insert(np.arange(size), where, size + np.arange(count))
    except IndexError as error:
        raise IndexOutOfRange(f"insert: {error}") from None
    return take(concatenate([value, new], place), order, axis=place)


def _positions(obj: Any, size: Any) -> Any:
    """Return the positions that ``insert`` or ``delete`` names by slice, list or mask."""
    if isinstance(obj, Value):
        raise ArgumentError(
            f"{called_name()}: obj must be known when the graph is built, got a symbolic value",
            hint="positions are known when the graph is built: a number, a slice, a list",
        )
    if isinstance(size, Dim):
        raise ArgumentError(
            f"{called_name()}: obj is {quote(obj)}, and the axis has the named size {size}",
            hint="one position: sg.insert(x, 2, row, axis=0)",
        )
    if isinstance(obj, slice):
        return np.arange(*obj.indices(size))
    positions = np.asarray(obj)
    if positions.dtype.kind == "b" and positions.ndim == 1:
        return np.flatnonzero(positions)
    if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
        raise ArgumentError(
            f"{called_name()}: obj is {quote(obj)}, {kind_of(obj)}, no list of positions"
        )
    return positions.astype(np.int64)


@by_all_operands
def block(blocks: Any) -> Value:
    """Blocks, in lists nested as the axes are, put together: innermost lists side by side.

    Args:
        blocks: a value, or a list of lists of values; those of a list fit side by side.

    Returns:
        One value, with as many axes as lists are nested, or as its blocks have.

    >>> sg.evaluate(sg.block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 3))]]))
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 1., 1.]])
    """
    depth = _depth(blocks)
    rank = max(depth, *(v.ndim for v in _blocks(blocks)))
    return _assemble_blocks(blocks, rank, depth)


def _depth(blocks: Any) -> int:
    if not isinstance(blocks, list):
        return 0
    depths = {_depth(block) for block in blocks}
    if len(depths) != 1:
        raise ArgumentError("block: lists that are empty, or nested to different depths")
    return 1 + depths.pop()


def _blocks(blocks: Any) -> list[Value]:
    if not isinstance(blocks, list):
        return [as_value(blocks)]
    return [value for block in blocks for value in _blocks(block)]


def _assemble_blocks(blocks: Any, rank: int, depth: int) -> Value:
    if isinstance(blocks, list):
        return concatenate(
            [_assemble_blocks(block, rank, depth - 1) for block in blocks], rank - depth
        )
    value = as_value(blocks)
    return reshape(value, (1,) * (rank - value.ndim) + value.shape)


def unstack(x: ArrayLike[AnyValue], axis: int = 0) -> tuple[AnyValue, ...]:
    """The parts of x at each place of ``axis``, which they lose; its size must be literal.

    >>> sg.unstack([[1.0, 2.0], [3.0, 4.0]])
    (array([1., 2.]), array([3., 4.]))
    """
    value = as_value(x)
    place = axis_of(axis, value)
    size = integer("the size of the axis", value.shape[place], value)
    count = number_of_parts(size, value) if size else 0
    other_sizes = tuple(size for k, size in enumerate(value.shape) if k != place)
    return tuple([reshape(part(value, place, k, 1), other_sizes) for k in range(count)])


def flipud(x: ArrayLike[AnyValue]) -> AnyValue:
    """x upside down: axis 0 in reverse order. Raises AxisError.

    >>> sg.flipud([[1.0, 2.0], [3.0, 4.0]])
    array([[3., 4.],
           [1., 2.]])
    """
    return flip(x, 0)


def fliplr(x: ArrayLike[AnyValue]) -> AnyValue:
    """x left to right: axis 1 in reverse order. Raises AxisError.

    >>> sg.fliplr([[1.0, 2.0], [3.0, 4.0]])
    array([[2., 1.],
           [4., 3.]])
    """
    return flip(x, 1)


def matrix_transpose(x: ArrayLike[AnyValue]) -> AnyValue:
    """x with its last two axes exchanged: [..., m, n] becomes [..., n, m].

    >>> sg.matrix_transpose([[1.0, 2.0], [3.0, 4.0]])
    array([[1., 3.],
           [2., 4.]])
    """
    return swapaxes(x, -1, -2)


NUMPY_NAMES["row_stack"] = "vstack"
NUMPY_NAMES.update(
    {
        f"linalg.{n}": n
        for n in ("matmul", "tensordot", "vecdot", "cross", "matrix_transpose", "outer")
    }
)
