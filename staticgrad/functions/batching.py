"""``vmap``: functions of single elements, applied to batches of them.

The function is called once, with placeholder values of one element each, as the body of a loop is.
What it builds is built again over the batch, op by op (``ops/batching.py``). The result is an
ordinary graph without a loop: it fuses, differentiates and maps again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from operator import index
from typing import Any

from staticgrad.errors import ArgumentError, AxisError
from staticgrad.errors.wording import quote
from staticgrad.functions.streams import loop_at_once
from staticgrad.functions.tracing import (
    Trace,
    Traced,
    as_results,
    call_traced,
    label_values,
)
from staticgrad.language.calls.execution import holding, present
from staticgrad.language.ir.bodies import body_of
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.op import Constant
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.batching import over_batch
from staticgrad.language.ops.movement import moveaxis, with_size
from staticgrad.language.ops.operands import as_value, check_equal, describe_operands, size_of
from staticgrad.language.ops.positions import iota
from staticgrad.language.trees import (
    Tree,
    check_slices,
    flatten,
    is_record,
    paths,
    unflatten,
    with_complex_values,
)
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Dim, Size


def over_elements(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    axes: tuple[Any, Any],
    size: Any,
) -> Any:
    """Return what a function gives for each element of a batch, stacked."""
    in_axes, out_axes = axes
    batches = _Batches(args, kwargs, in_axes, size)
    with loop_at_once() if batches.is_eager else nullcontext():
        return batches.result(f, out_axes)


class _Batches:
    """One call of a mapped function: its arguments, and which of them have a batch axis.

    ``operands`` has the leaves that are operands, by place: those with a batch axis, which is the
    first one now (``over``), and tensors without one.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], in_axes: Any, size: Any):
        self.leaves, self.tree = flatten(with_complex_values((args, kwargs)))
        self.kind = binding_kind(tuple(self.leaves))
        names = _names(self.tree)
        axes: dict[int, int] = {}
        values: dict[int, Any] = {}
        for place, axis in enumerate(_axes_of_arguments(self.tree, in_axes)):
            if axis is not None:
                value = as_value(self.leaves[place], self.kind)
                axes[place], values[place] = _check_axis(names[place], value, axis), value
            elif self.is_eager and isinstance(self.leaves[place], Value):
                values[place] = self.leaves[place]
        self.over = [place in axes for place in values]
        sizes = [(names[place], values[place].shape[axis]) for place, axis in axes.items()]
        if size is not None:
            sizes.insert(0, ("axis_size", size_of(size)))
        self.size = _common_size(sizes, [values[place] for place in axes])
        self.operands = {
            place: with_size(moveaxis(value, axes[place], 0), 0, self.size)
            if place in axes
            else value
            for place, value in values.items()
        }

    @property
    def is_eager(self) -> bool:
        return self.kind.computes

    def result(self, f: Callable[..., Any], out_axes: Any) -> Any:
        """Return what a function gives over the batch."""
        trace = Trace()
        inputs = {
            place: trace.input(f"x{place}", _element(value.type) if has else value.type)
            for (place, value), has in zip(self.operands.items(), self.over, strict=True)
        }
        leaves = [inputs.get(place, leaf) for place, leaf in enumerate(self.leaves)]
        args, kwargs = unflatten(self.tree, leaves)
        holder = _CapturedTensors(trace)
        with holding(holder) if self.is_eager else nullcontext():
            leaves, tree = call_traced(functools.partial(f, *args, **kwargs))
        body_inputs = (trace.first, *inputs.values(), *holder.inputs)
        trace.parts.append(Traced(body_inputs, tuple(as_results(leaves))))
        (part,), captured = trace.close(once=not self.is_eager, folds=True)
        outer = map(self._lift_constant, captured) if self.is_eager else captured
        operands = present((*self.operands.values(), *holder.tensors, *outer))
        number = iota((self.size,), like=operands[0] if operands else None)
        is_batched = [True, *self.over, *[False] * (len(operands) - len(self.over))]
        body = body_of(part.inputs, label_values("y", part.results))
        outs = over_batch(body, [number, *operands], is_batched, self.size)
        axes = _expand_axes("out_axes", out_axes, tree)
        named_outs = zip(paths(tree, "the result"), outs, axes, strict=True)
        return unflatten(
            tree, [self._move_batch_axis(name, *out, axis) for name, out, axis in named_outs]
        )

    def _lift_constant(self, value: Any) -> Any:
        op = value.node.op
        return self.kind.lift(op.data.array, op.data.dtype) if isinstance(op, Constant) else value

    def _move_batch_axis(self, name: str, value: Any, has: bool, axis: int | None) -> Any:
        """Move the batch axis of a ``vmap`` result to the requested position."""
        if axis is None:
            if has:
                raise ArgumentError(
                    f"vmap: out_axes is None for {name}, which depends on the element",
                    hint="None marks what all elements share",
                    related=describe_operands(value),
                )
            return value
        (batch,) = in_front(self.size, [value], [has])
        rank = batch.ndim
        if not -rank <= axis < rank:
            raise AxisError(
                f"vmap: out_axes is {axis} for {name}, which has {rank} axes with that of elements",
                related=describe_operands(value),
            )
        return moveaxis(batch, 0, axis)


class _CapturedTensors:
    """Tensors that a mapped function closes over, and the inputs that stand for them."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._captured: dict[int, tuple[Any, Any]] = {}

    def __call__(self, tensor: Any) -> Any:
        if id(tensor) not in self._captured:
            value = self._trace.input(f"t{len(self._captured)}", tensor.type)
            # as old as the trace: what is traced inside of it reads this from outside
            value.node.serial = self._trace.first.node.serial
            self._captured[id(tensor)] = tensor, value
        return self._captured[id(tensor)][1]

    @property
    def tensors(self) -> list[Any]:
        return [tensor for tensor, _ in self._captured.values()]

    @property
    def inputs(self) -> list[Any]:
        return [value for _, value in self._captured.values()]


def _element(kind: TensorType) -> TensorType:
    return kind.with_shape(kind.shape[1:])


def _names(tree: Tree) -> list[str]:
    positional, named = tree.parts
    numbered = [(f"argument {k + 1}", part) for k, part in enumerate(positional.parts)]
    parts = [*numbered, *zip(named.keys, named.parts, strict=True)]
    return [path for name, part in parts for path in paths(part, name)]


def _axes_of_arguments(tree: Tree, in_axes: Any) -> list[int | None]:
    """Return the batch axis of each leaf of ``vmap``'s arguments, or None."""
    positional, named = tree.parts
    count = len(positional.parts)
    entries = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * count
    if len(entries) != count:
        entry = "entry" if len(entries) == 1 else "entries"
        raise ArgumentError(
            f"vmap: in_axes has {len(entries)} {entry}, and the function is called with {count}"
            f" argument{'s' * (count != 1)}{' by position' * bool(named.keys)}",
            hint=f"{' and '.join(map(str, named.keys))} by name: elements are along the first axis;"
            " in_axes has an entry for each argument by position"
            if named.keys
            else "one for each argument by position, None where all elements share it",
        )
    axes: list[int | None] = []
    for place, (entry, part) in enumerate(zip(entries, positional.parts, strict=True)):
        axes += _expand_axes(f"in_axes[{place}]", entry, part)
    return [*axes, *[0] * named.count]


def _expand_axes(what: str, entry: Any, tree: Tree) -> list[int | None]:
    """Expand ``in_axes`` or ``out_axes`` to one axis for each leaf of a tree."""
    if entry is None:
        return [None] * tree.count
    if is_record(entry) and type(entry) is tree.kind:
        parts = zip(tree.keys, tree.parts, strict=True)
        axes_by_part = [
            _expand_axes(f"{what}.{key}", getattr(entry, key), part) for key, part in parts
        ]
        return [axis for axes in axes_by_part for axis in axes]
    if isinstance(entry, dict | list | tuple):
        keys = tuple(entry) if isinstance(entry, dict) else tuple(range(len(entry)))
        same_keys = isinstance(entry, dict) == (tree.kind is dict) and {*keys} == {*tree.keys}
        if tree.kind in (object, None) or not same_keys:
            raise ArgumentError(
                f"vmap: {what} is {quote(entry)}, for {tree} (? stands for a value)"
            )
        parts = zip(tree.keys, tree.parts, strict=True)
        return [
            axis
            for key, part in parts
            for axis in _expand_axes(f"{what}[{key!r}]", entry[key], part)
        ]
    check_slices(tree)
    try:
        if isinstance(entry, bool):
            raise TypeError
        return [index(entry)] * tree.count
    except TypeError:
        raise ArgumentError(f"vmap: {what} is {quote(entry)}, neither an axis nor None") from None


def _check_axis(name: str, value: Value, axis: int) -> int:
    """Check a batch axis of ``vmap``; return it as a non-negative int."""
    if not -value.ndim <= axis < value.ndim:
        raise AxisError(
            f"vmap: {name} is {value.type}, without an axis {axis} of elements",
            hint="in_axes=None for an argument that all elements share",
            related=describe_operands(value),
        )
    return axis % value.ndim


def _common_size(sizes: Sequence[tuple[str, Size]], values: Sequence[Value]) -> Size:
    """Return the batch size on which all arguments of ``vmap`` agree; a number if known."""
    if not sizes:
        raise ArgumentError(
            "vmap: no argument has an axis of elements",
            hint="in_axes= names one for an argument, or axis_size= says how many there are",
        )
    name, size = next(((n, s) for n, s in sizes if not isinstance(s, Dim)), sizes[0])
    for argument, count in sizes:
        text = f"vmap: {argument} has {count} elements, {name} has {size}"
        hint = "in_axes=None for an argument that all elements share"
        check_equal(text, count, size, *values, hint=hint)
    return size
