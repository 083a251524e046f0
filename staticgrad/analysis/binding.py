"""Binding a run to a graph: feeds to inputs, integers to named sizes, guards to true or false.

The oracle and the compiled step refuse the same feeds with the same words, for both come here.
Every check stands before the first value is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    FeedDTypeError,
    FeedError,
    FeedShapeError,
    MissingFeedError,
    Related,
    SizeGuardError,
    StaticgradError,
    SymbolicValueError,
    UnknownFeedError,
)
from staticgrad.errors.wording import did_you_mean, kind_of, quote, why_no_array
from staticgrad.language.ir.graph import Graph, Input, Symbolic
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.pairs import SymbolicComplex, whole_type
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import (
    TensorType,
    array_of,
    columns_of,
    convert_array,
    typical_value,
)
from staticgrad.language.types.dim import (
    Dim,
    FloorDiv,
    Guard,
    MaxSize,
    Named,
    Size,
    evaluate,
    named_sizes,
)
from staticgrad.language.types.dtype import DType, complex_of, kind_of_elements
from staticgrad.support.records import dataclass

Feeds = Mapping[Any, Any]
_LINE_UP = (
    "axes meet from the last to the first: keepdims=True keeps one that is reduced,\n"
    "x[..., None] adds one of size 1"
)
_ONE_PLACE = (
    "an index, and a slice of one place (x[:1], x[-1:], x[k : k + 1]), need it in every run;\n"
    "sg.dim(name, min=...) promises that it is there"
)


def bind_feeds(graph: Graph, feeds: Feeds, floats: DType | None = None) -> dict[str, Array]:
    """Return the feeds as arrays by input name, in native byte order and the input's dtype."""
    arrays = name_feeds(graph, feeds)
    bound = {}
    for value in graph.inputs:
        dtype = fed_type(value).dtype
        if floats is not None and dtype.is_float:
            dtype = complex_of(floats) if dtype.is_complex else floats
        array = feed_array(value, arrays[input_label(value)])
        with np.errstate(all="ignore"):
            fits = array.dtype == dtype.numpy
            bound[input_label(value)] = array if fits else convert_array(array, dtype)
    return bound


def name_feeds(graph: Graph, feeds: Feeds) -> dict[str, Any]:
    """Return the unchanged feed of every input, by the input's name."""
    inputs = {input_label(value): value for value in graph.inputs}
    feed_by_name = _by_name(graph, inputs, feeds)
    missing = [name for name in inputs if name not in feed_by_name]
    if missing:
        raise MissingFeedError(
            f"no feed for input {', '.join(map(repr, missing))}",
            hint=f"feed every input: {', '.join(map(repr, inputs))}",
            related=[_describe_input(inputs[name]) for name in missing],
        )
    return feed_by_name


def named_inputs(graph: Graph, inputs_or_names: Any, what: str) -> tuple[str, ...]:
    """Return the names of a graph's inputs that are given by name or as values."""
    if isinstance(inputs_or_names, str | Value) or not isinstance(inputs_or_names, Iterable):
        raise ArgumentError(
            f"{what}={quote(inputs_or_names)} is {kind_of(inputs_or_names)}, not a list of inputs",
            hint=f'{what}=["x"], or {what}=[x]',
        )
    inputs = {input_label(value): value for value in graph.inputs}
    return tuple(_feed_name(graph, inputs, key) for key in inputs_or_names)


def feed_array(value: Symbolic, data: Any) -> Array:
    """Convert a feed to an array whose dtype converts to the input's, in any layout.

    No copy where NumPy sees the data as an array: a buffer, ``__array__``, ``__dlpack__``.
    """
    if isinstance(data, bool | int | float | complex | list | tuple):  # Python numbers are weak
        data = _weak_array(value, data)
    array, dtype = _as_seen(value, data), fed_type(value).dtype
    if array.dtype != dtype.numpy and not _converts(array.dtype, dtype):
        raise _no_conversion(value, data, array)
    return array


def _no_conversion(value: Symbolic, data: Any, array: Array) -> FeedDTypeError:
    """Return the error for a feed whose dtype does not convert to the input's."""
    name, input_dtype = input_label(value), fed_type(value).dtype.name
    what = {"O": "object", "U": "text", "S": "bytes"}.get(array.dtype.kind, array.dtype)
    if array.dtype.kind in "OUS" and not isinstance(data, np.ndarray):
        what = kind_of(data)
    hint = f"convert it: feed.astype({input_dtype!r})"
    if array.dtype.kind == "O":
        hint = (
            "an array of numbers: no None, no nested objects, no integers above 2**64\n"
            "of a generator np.array(list(x)), of Decimal np.array(x, 'float64')"
        )
    elif array.dtype.kind in "US":
        hint = "texts are not read as numbers, nor as names of files"
    elif array.dtype.kind == "c":
        hint = "feed its .real; or a complex input: sg.input(name, shape, 'complex128')"
    return FeedDTypeError(
        f"feed {name!r} is {what}, the input takes {input_dtype}",
        hint=hint,
        related=[_describe_input(value)],
    )


def _as_seen(value: Symbolic, data: Any) -> Array:
    if isinstance(data, Value):
        raise _symbolic_feed(value, data)
    return array_of(data, f"feed {input_label(value)!r}", FeedDTypeError, [_describe_input(value)])


def _symbolic_feed(value: Symbolic, data: Any) -> FeedDTypeError:
    """Return the error for a feed that is a symbolic value or a tensor of the tape."""
    node = getattr(data, "node", None)
    if node is None:
        return FeedDTypeError(
            f"feed {input_label(value)!r} is a tensor of the tape, not an array",
            hint="feed its array: t.data",
            related=[_describe_input(value)],
        )
    return FeedDTypeError(
        f"feed {input_label(value)!r} is symbolic, {data!r}: it has no numbers before a run",
        hint="feed an array; what one graph computes, f.run(...), can be fed to another",
        related=[_describe_input(value), ("fed", str(data.type), node.origin)],
    )


def bind_sizes(
    graph: Graph, shapes: Mapping[str, Sequence[int]], sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return the value of every named size from the shapes of the feeds, after all checks."""
    bindings = {name: _SizeBinding(value, "sizes", None) for name, value in (sizes or {}).items()}
    axes = [
        axis
        for value in graph.inputs
        if input_label(value) in shapes
        for axis in _axes(value, shapes)
    ]
    composite = [axis for axis in axes if not _bind_axis(axis, bindings)]
    _solve_sizes(composite, bindings)
    values = {name: binding.value for name, binding in bindings.items()}
    declared = graph.sizes
    unbound = [name for name in declared if name not in values]
    if unbound:
        raise FeedShapeError(
            f"no feed determines the size {', '.join(map(repr, unbound))}",
            hint="give an input an axis of that size, or pass its value: sizes={...}\n"
            "an input that nothing reads is listed by hand: sg.Graph(outputs, inputs=[...])",
        )
    for axis in composite:
        _check_axis(axis, values)
    check_sizes(graph, values)
    return {name: values[name] for name in declared}


def check_sizes(graph: Graph, values: Mapping[str, int]) -> None:
    """Check the bounds of the named sizes, then every guard of the graph, on these values."""
    for named in graph.sizes.values():
        broken = _broken_bound(named, values[named.name])
        if broken:
            raise SizeGuardError(
                f"size {named.name!r} is {values[named.name]}, declared with {broken}",
                related=[_describe_input(v) for v in graph.inputs if _mentions(v, named.name)],
            )
    for guard, node in graph.guards:
        if not guard.holds(values):
            names = dict.fromkeys(n.name for s in (guard.left, guard.right) for n in named_sizes(s))
            raise SizeGuardError(
                guard.text,
                details=[f"{name} = {values[name]} in this run" for name in names],
                hint=_hint_of(guard),
                at=node.origin,
                related=[
                    _describe_input(v) for v in graph.inputs if any(_mentions(v, n) for n in names)
                ],
            )


#: Values up to which one is sought for a named size that a condition of the graph excludes.
_TYPICAL_AT_MOST: Final = 256


def typical_sizes(graph: Graph, fixed: Mapping[str, int]) -> dict[str, int]:
    """Return typical values of the named sizes that are not ``fixed``.

    These are the hints, or 64; where conditions of the graph exclude them, others that meet all
    conditions, or more of them. They depend on nothing but the arguments.
    """
    typical = {n: typical_value(named) for n, named in graph.sizes.items() if n not in fixed}

    def count_violations(values: Mapping[str, int]) -> int:
        every = {**values, **fixed}
        bounds = sum(bool(_broken_bound(graph.sizes[n], value)) for n, value in values.items())
        return bounds + sum(not guard.holds(every) for guard, _ in graph.guards)

    least, best = count_violations(typical), typical
    for value in dict.fromkeys([*typical.values(), *fixed.values()]):
        values = dict.fromkeys(typical, value)
        count = count_violations(values)
        for _ in graph.guards if least else ():  # change one size at a time
            candidates = [{**values, n: v} for n in values for v in range(_TYPICAL_AT_MOST + 1)]
            changed = min(candidates, key=count_violations, default=values)
            if count_violations(changed) >= count:
                break
            values, count = changed, count_violations(changed)
        if count < least:
            least, best = count, values
    return best


def _hint_of(guard: Guard) -> str:
    if guard.relation == "==" and "must agree" in guard.text:
        return _LINE_UP
    return _ONE_PLACE if "is out of range" in guard.text else ""


def concrete_shape(shape: Iterable[Size], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape with the values of the named sizes put in."""
    return tuple(s if isinstance(s, int) else evaluate(s, sizes) for s in shape)


@dataclass(frozen=True)
class _SizeBinding:
    """The value of a named size and who said so; ``value_of`` is None when the caller did."""

    value: int
    said_by: str
    value_of: Symbolic | None


@dataclass(frozen=True)
class _Axis:
    """One axis of one feed: what was declared, what came."""

    value: Symbolic
    position: int
    extent: int
    shape: tuple[int, ...]

    @property
    def declared_size(self) -> Size:
        return self.value.shape[self.position]

    def _fits_reversed(self) -> bool:
        pairs = list(zip(fed_type(self.value).shape, reversed(self.shape), strict=True))
        return len(pairs) > 1 and all(isinstance(s, Dim) or s == size for s, size in pairs)

    def error(self, headline: str, second_input: Symbolic | None = None) -> FeedShapeError:
        """Return the error about a feed's axis whose length contradicts the input's shape."""
        return FeedShapeError(
            headline,
            details=[f"feed {input_label(self.value)!r} has shape {self.shape}"],
            hint="its axes the other way round would fit: x.T" if self._fits_reversed() else "",
            related=[
                _describe_input(v)
                for v in dict.fromkeys((self.value, second_input))
                if v is not None
            ],
        )


def fed_type(value: Symbolic) -> TensorType:
    """The type of an input's feeds: complex, where the input has both parts."""
    op: Any = value.node.op
    return whole_type(value.type) if getattr(op, "is_complex", False) else value.type


def input_label(value: Symbolic) -> str:
    """The name by which an input is fed."""
    return value.node.label


def _describe_input(value: Symbolic) -> Related:
    return input_label(value), str(fed_type(value)), value.node.origin


def _mentions(value: Symbolic, name: str) -> bool:
    return any(named.name == name for extent in value.shape for named in named_sizes(extent))


def _by_name(graph: Graph, inputs: Mapping[str, Symbolic], feeds: Any) -> dict[str, Any]:
    """Return the feeds keyed by input name, given a dict by name or value, or a table."""
    if not isinstance(feeds, Mapping):
        columns = columns_of(feeds)
        if columns is not None:  # named columns; those that nothing reads are left out
            return {name: column for name, column in columns.items() if name in inputs}
        first = next(iter(inputs), "x")
        raise FeedError(
            f"the feeds are {kind_of(feeds)}, not a dict",
            hint=f'by name or by input: {{"{first}": array}}, {{{first}: array}}',
        )
    feed_by_name: dict[str, Any] = {}
    for key, data in feeds.items():
        name = _feed_name(graph, inputs, key)
        if name in feed_by_name:
            raise UnknownFeedError(f"input {name!r} is fed twice, by name and by value")
        feed_by_name[name] = data
    return feed_by_name


def _feed_name(graph: Graph, inputs: Mapping[str, Symbolic], key: Any) -> str:
    """Return the input's name for a key of the feeds, or raise an error."""
    if isinstance(key, SymbolicComplex) and key.stored is not None:
        key = key.stored
    if isinstance(key, str) and key in inputs:
        return key
    if isinstance(key, Symbolic) and isinstance(key.node.op, Input):
        name = input_label(key)
        if name in inputs and inputs[name].node is key.node:
            return name
        namesake = [_describe_input(inputs[name])] if name in inputs else []
        raise UnknownFeedError(
            f"the graph does not read input {name!r}"
            + ", but another of that name" * len(namesake),
            hint=f"{'feed it by its name' if namesake else 'leave it out'}; {_list_inputs(inputs)}",
            related=[_describe_input(key), *namesake],
        )
    for parameter in graph.parameters:
        if key == parameter.name or getattr(key, "node", None) is parameter.node:
            raise UnknownFeedError(
                f"{parameter.name!r} is a parameter: it has its value already",
                hint=f"set it before the run: {parameter.name}.value = array\n"
                f"{_list_inputs(inputs)}",
                related=[_describe_input(parameter)],
            )
    if not isinstance(key, str):
        raise UnknownFeedError(
            f"{quote(key)} is not an input: feeds are keyed by input or by an input's name",
            hint=_list_inputs(inputs),
            related=[("it", str(key.type), key.node.origin)] if isinstance(key, Symbolic) else [],
        )
    raise UnknownFeedError(
        f"the graph has no input {key!r}",
        hint=f"{did_you_mean(key, inputs)}{_list_inputs(inputs)}\n"
        "an input that nothing reads is listed by hand: sg.Graph(outputs, inputs=[...])",
    )


def _list_inputs(inputs: Mapping[str, Symbolic]) -> str:
    return f"the graph's inputs are {', '.join(map(repr, inputs)) or 'none'}"


def _converts(source: np.dtype[Any], target: DType) -> bool:
    kind = kind_of_elements(source)
    if kind in "fc":
        return target.is_complex or (kind == "f" and target.is_float)
    return kind in "biu" and np.can_cast(source, target.numpy, "same_kind")


def _weak_array(value: Symbolic, data: Any) -> Array:
    """Convert a feed to an array as NumPy does, or raise an error about its dtype."""
    try:
        array = array_of(
            data, f"feed {input_label(value)!r}", FeedDTypeError, [_describe_input(value)]
        )
        dtype = fed_type(value).dtype
        if (array.dtype.kind in "iu" and dtype.is_integer) or array.size == 0:
            return np.asarray(data, dtype.numpy)
    except SymbolicValueError:
        raise _symbolic_feed(value, _first_value(data)) from None
    except StaticgradError:
        raise
    except (ValueError, OverflowError) as error:
        raise FeedDTypeError(
            f"feed {input_label(value)!r} is not an array of {value.dtype.numpy.name}:"
            f" {why_no_array(error)}",
            related=[_describe_input(value)],
        ) from None
    return array


def _first_value(data: Any) -> Any:
    """The first symbolic value in nested lists."""
    while isinstance(data, list | tuple):
        data = next(x for x in data if isinstance(x, list | tuple | Value))
    return data


def _axes(value: Symbolic, shapes: Mapping[str, Sequence[int]]) -> list[_Axis]:
    """Return the axes of a feed to bind to named sizes; raise an error for another rank."""
    shape = tuple(shapes[input_label(value)])
    rank = fed_type(value).rank
    if len(shape) != rank:
        axes = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
        raise FeedShapeError(
            f"feed {input_label(value)!r} has {axes}, the input has {rank}",
            details=[f"its shape is {shape}"],
            hint=_how_many_axes(shape, value),
            related=[_describe_input(value)],
        )
    return [_Axis(value, i, int(extent), shape) for i, extent in enumerate(shape)]


def _how_many_axes(shape: tuple[int, ...], value: Symbolic) -> str:
    rank = fed_type(value).rank
    if len(shape) + 1 == rank:
        return "one row is a batch of one: x[None]" if isinstance(value.shape[0], Dim) else ""
    if len(shape) == rank + 1 and shape[-1] == 1:
        return "without its last axis, of size 1: x[..., 0]"
    return "merge axes: x.reshape(len(x), -1)" if len(shape) > rank > 1 else ""


def _bind_axis(axis: _Axis, bindings: dict[str, _SizeBinding]) -> bool:
    """Bind or check a feed's axis of literal or named size; False: it needs other sizes."""
    declared = axis.declared_size
    if isinstance(declared, int):
        if axis.extent != declared:
            raise axis.error(
                f"axis {axis.position} of feed {input_label(axis.value)!r} is {axis.extent},"
                f" the input says {declared}"
            )
        return True
    name = _plain_name(declared)
    if name is None:
        return False
    first = bindings.setdefault(
        name, _SizeBinding(axis.extent, input_label(axis.value), axis.value)
    )
    if first.value != axis.extent:
        raise axis.error(
            f"size {name!r} is {first.value} in {first.said_by!r}"
            f" and {axis.extent} in {input_label(axis.value)!r}",
            first.value_of,
        )
    return True


def _plain_name(size: Dim) -> str | None:
    """The name of a size that is nothing but a name."""
    (monomial, coefficient), *more = size.terms
    if more or coefficient != 1 or len(monomial) != 1 or not isinstance(monomial[0], Named):
        return None
    return monomial[0].name


def _solve_sizes(axes: Sequence[_Axis], bindings: dict[str, _SizeBinding]) -> None:
    """Solve for sizes that occur only in expressions (``2*n + 1``), one unknown at a time."""
    waiting = list(axes)
    while waiting:
        later = [axis for axis in waiting if not _solve_axis(axis, bindings)]
        if len(later) == len(waiting):
            return
        waiting = later


def _solve_axis(axis: _Axis, bindings: dict[str, _SizeBinding]) -> bool:
    """Solve a linear expression with one unknown size; True if nothing is left to solve."""
    size = axis.declared_size
    assert isinstance(size, Dim)
    unknown = {n.name for n in named_sizes(size) if n.name not in bindings}
    if len(unknown) != 1:
        return not unknown
    (name,) = unknown
    if any(_inside(atom, name) for monomial, _ in size.terms for atom in monomial):
        return False
    at = [evaluate(size, {**{k: v.value for k, v in bindings.items()}, name: x}) for x in (0, 1, 2)]
    slope = at[1] - at[0]
    if slope == 0 or at[2] - at[1] != slope:
        return False
    size_value, remainder = divmod(axis.extent - at[0], slope)
    if remainder or size_value < 0:
        raise axis.error(
            f"axis {axis.position} of feed {input_label(axis.value)!r} is {axis.extent},"
            f" which is {size} for no {name}"
        )
    bindings[name] = _SizeBinding(size_value, input_label(axis.value), axis.value)
    return True


def _inside(atom: object, name: str) -> bool:
    return isinstance(atom, FloorDiv | MaxSize) and any(
        named.name == name for named in named_sizes(Dim({(atom,): 1}))
    )


def _check_axis(axis: _Axis, values: Mapping[str, int]) -> None:
    expected = evaluate(axis.declared_size, values)
    if expected != axis.extent:
        raise axis.error(
            f"axis {axis.position} of feed {input_label(axis.value)!r} is {axis.extent},"
            f" the input says {axis.declared_size} = {expected}"
        )


def _broken_bound(named: Named, value: int) -> str:
    """Return the bound of a named size that a value violates, as text."""
    if value < named.min:
        return f"min={named.min}"
    if named.max is not None and value > named.max:
        return f"max={named.max}"
    if value % named.multiple_of:
        return f"multiple_of={named.multiple_of}"
    return ""
