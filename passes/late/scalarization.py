"""Compute the elements of small axes as values of their own.

Vectors of three, quaternions, colours, matrices of 2 x 2: an axis of constant size up to four is no
axis to loop over. A cross product is a stack of three formulas, each of which reads slices; the
next formula slices the stack; and gradients add up pads of slices. With an axis, each stack is an
array that one kernel writes and another one reads. Here a value whose axes are partly small becomes
that many values, its *components*: a slice of a stack is a component, a sum over the axis is a few
additions, and one kernel computes the whole chain::

    n = stack([a1 * b2 - a2 * b1, ...], axis=-1)           n0 = a1 * b2 - a2 * b1
    s = sum(n * n, axis=-1)                           ->   s = n0 * n0 + n2 * n2 + n1 * n1
    m = n[:, 1] / s                                        m = n1 / s

Values in memory are read by slices of one element, and values that others read whole are stacked.

Each op has the same operands as before, element by element, and the additions of a sum stand in the
order of the sum (``staticgrad.language.ir.summation``): results stay bitwise identical.

Components cost more kernel text, and reads with a stride. So ``lowering.fuse`` keeps the rewrite
only if the schedule is predicted to take less time than without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import product
from math import prod
from typing import Any, Final, cast

import numpy as np

from passes.base import Fixpoint
from passes.cse import CommonSubexpressions
from passes.fold import Fold
from passes.late.base import LatePass
from passes.simplify import Simplify
from staticgrad.language.ir.copies import rebuild, same_values
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.nodes import ancestors, leaf_node
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.summation import decompose, in_lanes, lanes
from staticgrad.language.ops.arithmetic import Add, MultiplyAdd
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, Slice, Take
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.language.ops.positions import Iota
from staticgrad.language.ops.reduce import Max, Min, Reduction, Sum
from staticgrad.language.ops.selection import Maximum, Minimum
from staticgrad.language.types.arrays import ArrayData, Shape
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import F32
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple

#: The largest axis whose elements become values of their own, but for parts of rows.
_LARGEST_AXIS: Final = 4
#: The largest axis of rows of parameters, of which gradients of parts are pads.
_MOST_PARTS: Final = 16
#: Components of a value, at most: those of two such rows.
_MOST_COMPONENTS: Final = 2 * _MOST_PARTS

#: What is known of single components: products with 1, masks that are true everywhere.
_SIMPLIFICATION: Final = Fixpoint((Simplify(), CommonSubexpressions(border=True), Fold()))

#: A position along the small axes of a value.
_Index = tuple[int, ...]
#: What builds the component of a node's result at a position.
_Build = Callable[[_Index], Symbolic]


class Scalarization(LatePass, name="scalarization"):
    """Rewrite values with small axes as one value for each element along them.

    Options:
        largest: the largest axis whose elements become values of their own.
    """

    largest: int = _LARGEST_AXIS

    def __call__(self, program: Graph) -> Graph:
        if not program.has((Concat, Pad, Slice, Take, MatMul)):
            return program
        axes = _Axes(self.largest)
        if not any(map(axes.has_components, program.nodes)):
            return program
        components = _Scalarization(program, axes).rewrite()
        if components is program:
            return program
        return cast(Graph, _SIMPLIFICATION(components).without_dead_nodes())


def find_larger_axes(graph: Graph) -> int:
    """Return the largest axis of which pads have a few elements, if components may be so many.

    The gradient of a row of eleven parameters, of which formulas read parts, is a sum of such pads.
    0 if all axes of pads are small or large.
    """
    axes = [
        size
        for node in graph.nodes
        if isinstance(node.op, Pad)
        for size, part in zip(node.op.shape, node.args[0].shape, strict=True)
        if isinstance(size, int) and _LARGEST_AXIS < size <= _MOST_PARTS and part != size
        if isinstance(part, int) and part <= _LARGEST_AXIS
    ]
    return max(axes, default=0)


def _positions(shape: Shape, axes: Sequence[int]) -> Iterator[_Index]:
    """Yield the positions along some axes of constant size, in C order."""
    return product(*[range(cast(int, shape[axis])) for axis in axes])


def _sizes(shape: Shape, axes: Sequence[int]) -> Shape:
    return tuple(shape[axis] for axis in axes)


class _Axes:
    """The axes of shapes: small ones, of a constant size up to the largest, and large ones."""

    def __init__(self, largest: int) -> None:
        self._largest = largest

    def is_small(self, size: Size) -> bool:
        return isinstance(size, int) and 1 <= size <= self._largest

    def small_axes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(axis for axis, size in enumerate(shape) if self.is_small(size))

    def large_axes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(axis for axis, size in enumerate(shape) if not self.is_small(size))

    def count(self, shape: Shape) -> int:
        """Return the number of components of a value."""
        return prod(cast(int, shape[axis]) for axis in self.small_axes(shape))

    def is_wide(self, size: Size) -> bool:
        """Return whether an axis has several elements, each in a component of its own."""
        return self.is_small(size) and size != 1

    def runs(self, shape: Shape) -> list[tuple[int, ...]]:
        """Return the small axes in front of, between and behind large ones."""
        runs: list[tuple[int, ...]] = [()]
        for axis, size in enumerate(shape):
            if self.is_small(size):
                runs[-1] += (axis,)
            else:
                runs.append(())
        return runs

    def vanishes(self, computed: Node, read: Node) -> bool:
        """Return whether a stack, slice or product of components is no array between two nodes."""
        if isinstance(computed.op, Concat | Pad):
            return self.cuts(computed.types[0].shape, computed.args[0].shape)
        if isinstance(computed.op, MatMul) or isinstance(read.op, MatMul):
            return True
        if isinstance(read.op, Slice):
            return self.cuts(read.args[0].shape, read.types[0].shape) and not _is_view(computed)
        return False

    def cuts(self, shape: Shape, part: Shape) -> bool:
        """Return whether a part is smaller along a small axis."""
        return any(
            self.is_small(size) and size != cut for size, cut in zip(shape, part, strict=True)
        )

    def broadcasts(self, shape: Shape, operand: Shape) -> bool:
        """Return whether the sizes of an operand are those of the result where these are small."""
        sizes = shape[len(shape) - len(operand) :]
        return all(
            not self.is_small(size) or own_size in (1, size)
            for size, own_size in zip(sizes, operand, strict=True)
        )

    def stack(self, parts: Mapping[_Index, Symbolic], shape: Shape) -> Symbolic:
        """Return the array of all components, which are stacked along their axes."""
        runs = [run for run in self.runs(shape) if run]
        arrays = dict(parts)
        done = self.large_axes(shape)
        for run in reversed(runs):
            joined: dict[_Index, list[Symbolic]] = {}
            for index, part in arrays.items():
                joined.setdefault(index[: len(index) - len(run)], []).append(part)
            done = tuple(sorted((*done, run[0])))
            place = done.index(run[0])
            arrays = {}
            for index, terms in joined.items():
                (sizes,) = {term.shape for term in terms}
                thin = (*sizes[:place], 1, *sizes[place:])
                rows = [_reshape(term, thin) for term in terms]
                arrays[index] = rows[0] if len(rows) == 1 else cast(Symbolic, Concat(place)(*rows))
        return _reshape(arrays[()], shape)

    def order_of(self, op: Reduction, x: Symbolic) -> tuple[list[_Join], Op | None] | None:
        """Return along which small axes components are joined, and what reduces the others.

        What is joined first stands last. None if the order of a sum is another one.
        """
        large = self.large_axes(x.shape)
        large_axes = tuple(large.index(axis) for axis in op.axes if axis in large)
        last = replace(op, axes=large_axes) if large_axes else None
        if not (isinstance(op, Sum) and x.dtype.is_float):
            return [_Join(tuple(axis for axis in op.axes if axis not in large), False)], last
        if x.dtype.itemsize < F32.itemsize:
            return None  # a sum of 16-bit floats is rounded once
        rows, columns = decompose(x.ndim, op.axes)
        stages = [
            _Join(tuple(axis for axis in axes if x.shape[axis] != 1), by_lanes)
            for axes, by_lanes in ((columns, bool(rows)), (rows, True))
        ]
        stages = [stage for stage in stages if stage.axes]
        ones = _Join(tuple(axis for axis in op.axes if x.shape[axis] == 1), False)
        reduced_last = [stage for stage in stages if {*large}.intersection(stage.axes)]
        if not reduced_last:
            return [ones, *stages], None
        # What is added up first stands last: components are joined before the rest is reduced.
        if reduced_last != stages[:1]:
            return None
        (stage,) = reduced_last
        order = decompose(len(large), large_axes)
        if len(large_axes) != len(stage.axes):
            return None
        if order != ((large_axes, ()) if stage.by_lanes else ((), large_axes)):
            return None
        return [ones, *stages[1:]], last

    def has_components(self, node: Node) -> bool:
        return len(node.types) == 1 and 1 < self.count(node.types[0].shape) <= _MOST_COMPONENTS


class _Scalarization:
    """A rewrite of the nodes of a graph whose results have components."""

    def __init__(self, graph: Graph, axes: _Axes) -> None:
        self._graph, self._axes = graph, axes
        self._builds: dict[Node, _Build] = {}
        for node in graph.nodes:
            build = self._build_of(node)
            if build is not None:
                self._builds[node] = build
        self._arrays: dict[tuple[Node, int], Symbolic] = {}
        self._parts: dict[Node, dict[_Index, Symbolic]] = {}
        self._reads: dict[tuple[Any, ...], Symbolic] = {}

    # -- the graph ---------------------------------------------------------------------------------

    def rewrite(self) -> Graph:
        """Return the graph of components, or the graph itself where no stack or slice vanishes."""
        builds = self._gaining_regions()
        if not builds:
            return self._graph
        for node in self._graph.nodes:
            with within(node.origin, node.order):
                if node in builds:
                    self._parts[node] = {
                        index: builds[node](index)
                        for index in _positions(
                            node.types[0].shape, self._axes.small_axes(node.types[0].shape)
                        )
                    }
                else:
                    self._rebuild(node)
        roots = {value.key: self._read_whole(value) for value in self._graph.roots}
        leaves = [node for node in self._graph.nodes if node.is_leaf]
        nodes = dict.fromkeys([*leaves, *ancestors(roots.values())])
        return self._graph.with_nodes(sorted(nodes, key=lambda node: node.serial), roots)

    def _gaining_regions(self) -> dict[Node, _Build]:
        """Return the nodes of connected parts of the graph in which a stack or slice vanishes."""
        region: dict[Node, Node] = {}

        def leader(node: Node) -> Node:
            while region[node] is not node:
                region[node] = region[region[node]]
                node = region[node]
            return node

        gains: list[Node] = []
        for node in self._builds:
            region[node] = node
            for arg in node.args:
                if arg.node in self._builds:
                    region[leader(arg.node)] = leader(node)
                    if self._axes.vanishes(arg.node, node):
                        gains.append(node)
        gaining = {leader(node) for node in gains}
        return {node: build for node, build in self._builds.items() if leader(node) in gaining}

    def _rebuild(self, node: Node) -> None:
        """Copy a node that reads what has components, over the stacks of these."""
        if node.is_leaf:
            return
        args = tuple([self._read_whole(arg) for arg in node.args])
        if not same_values(args, node.args):
            self._arrays.update(
                {(node, value.index): value for value in rebuild(node, args).values}
            )

    def _read_whole(self, value: Symbolic) -> Symbolic:
        """Return a value as one array: a stack of its components if it has any."""
        if value.key not in self._arrays and value.node in self._parts:
            node = value.node
            with within(node.origin, node.order):
                self._arrays[value.key] = self._axes.stack(self._parts[node], value.shape)
        return self._arrays.get(value.key, value)

    def _read(self, value: Symbolic, index: Mapping[int, int]) -> Symbolic:
        """Return the elements of a value at a position along some axes, which are dropped."""
        key = (value.key, *sorted(index.items()))
        if key not in self._reads:
            self._reads[key] = self._build_read(value, index)
        return self._reads[key]

    def _build_read(self, value: Symbolic, index: Mapping[int, int]) -> Symbolic:
        parts = self._parts.get(value.node)
        if parts is None:
            return _element(self._read_whole(value), index)
        small = self._axes.small_axes(value.shape)
        component = parts[tuple(index.get(axis, 0) for axis in small)]
        place = {axis: k for k, axis in enumerate(self._axes.large_axes(value.shape))}
        component = _element(component, {place[a]: i for a, i in index.items() if a in place})
        return _reshape(component, _sizes(value.shape, _others(value.ndim, index)))

    # -- what each op does with components ---------------------------------------------------------

    def _build_of(self, node: Node) -> _Build | None:
        """Return what builds the components of a node's result, or None where nothing does."""
        if node.is_leaf or len(node.types) != 1:
            return None
        shape = node.types[0].shape
        if not any(map(self._axes.small_axes, (shape, *[arg.shape for arg in node.args]))):
            return None
        if self._axes.count(shape) > _MOST_COMPONENTS:
            return None
        match node.op:
            case Elementwise():
                return self._elementwise(node)
            case Broadcast():
                return self._broadcast(node, node.op)
            case Reshape():
                return self._reshape(node)
            case Transpose():
                return self._transpose(node, node.op)
            case Slice():
                return self._slice(node, node.op)
            case Pad():
                return self._pad(node, node.op)
            case Concat():
                return self._concat(node, node.op)
            case Take():
                return self._take(node, node.op)
            case Iota():
                return self._iota(node, node.op)
            case MatMul():
                return self._product(node, node.op)
            case Sum() | Max() | Min():
                return self._reduction(node, node.op)
        return None

    def _elementwise(self, node: Node) -> _Build | None:
        shape = node.types[0].shape
        small = self._axes.small_axes(shape)
        places: list[dict[int, int]] = []  # for each operand: its axis -> the axis of the result
        for arg in node.args:
            offset = len(shape) - arg.ndim
            places.append({axis - offset: axis for axis in small if axis >= offset})
            if not self._axes.broadcasts(shape, arg.shape):
                return None

        def build(index: _Index) -> Symbolic:
            at = dict(zip(small, index, strict=True))
            args = [
                self._read(
                    arg, {a: at[axis] if arg.shape[a] != 1 else 0 for a, axis in place.items()}
                )
                for arg, place in zip(node.args, places, strict=True)
            ]
            if isinstance(node.op, Add) and node.types[0].dtype.is_float:
                return _add(node, *args)
            return rebuild(node, tuple(args)).values[0]

        return build

    def _broadcast(self, node: Node, op: Broadcast) -> _Build | None:
        (x,) = node.args
        shape = op.shape
        small, large = self._axes.small_axes(shape), self._axes.large_axes(shape)
        places = {a: axis for a, axis in enumerate(op.axes) if axis in small}
        axes = tuple(large.index(axis) for axis in op.axes if axis in large)
        if not all(x.shape[a] in (1, shape[axis]) for a, axis in places.items()):
            return None
        if any(self._axes.is_wide(x.shape[a]) for a in range(x.ndim) if a not in places):
            return None

        def build(index: _Index) -> Symbolic:
            at = dict(zip(small, index, strict=True))
            part = self._read(
                x, {a: at[axis] if x.shape[a] != 1 else 0 for a, axis in places.items()}
            )
            target = _sizes(shape, large)
            return part if part.shape == target else cast(Symbolic, Broadcast(target, axes)(part))

        return build

    def _reshape(self, node: Node) -> _Build | None:
        (x,) = node.args
        shape = node.types[0].shape
        old, new = self._axes.runs(x.shape), self._axes.runs(shape)
        if _sizes(x.shape, self._axes.large_axes(x.shape)) != _sizes(
            shape, self._axes.large_axes(shape)
        ):
            return None
        lengths = [
            tuple(prod(cast(Any, _sizes(s, run))) for run in runs)
            for s, runs in ((x.shape, old), (shape, new))
        ]
        if lengths[0] != lengths[1]:
            return None
        small = self._axes.small_axes(shape)

        def build(index: _Index) -> Symbolic:
            at = dict(zip(small, index, strict=True))
            place: dict[int, int] = {}
            for old_axes, new_axes in zip(old, new, strict=True):
                flat = 0
                for axis in new_axes:
                    flat = flat * cast(int, shape[axis]) + at[axis]
                for axis in reversed(old_axes):
                    flat, place[axis] = divmod(flat, cast(int, x.shape[axis]))
            return self._read(x, place)

        return build

    def _transpose(self, node: Node, op: Transpose) -> _Build:
        (x,) = node.args
        shape = node.types[0].shape
        small = self._axes.small_axes(shape)
        large = [op.perm[axis] for axis in self._axes.large_axes(shape)]
        order = tuple(sorted(large).index(axis) for axis in large)

        def build(index: _Index) -> Symbolic:
            part = self._read(x, {op.perm[axis]: i for axis, i in zip(small, index, strict=True)})
            in_order = order == tuple(range(len(order)))
            return part if in_order else cast(Symbolic, Transpose(order)(part))

        return build

    def _slice(self, node: Node, op: Slice) -> _Build | None:
        (x,) = node.args
        small, large = self._axes.small_axes(op.lengths), self._axes.large_axes(op.lengths)
        if not all(
            isinstance(op.starts[axis], int) and isinstance(x.shape[axis], int) for axis in small
        ):
            return None
        if any(self._axes.is_wide(x.shape[axis]) for axis in large):  # of which no element is left
            return None

        def build(index: _Index) -> Symbolic:
            place = {
                axis: cast(int, op.starts[axis]) + op.steps[axis] * i
                for axis, i in zip(small, index, strict=True)
            }
            part = self._read(x, place)
            starts, lengths = _sizes(op.starts, large), _sizes(op.lengths, large)
            steps = tuple(op.steps[axis] for axis in large)
            is_whole = lengths == part.shape and all(step == 1 for step in steps)
            return part if is_whole else cast(Symbolic, Slice(starts, lengths, steps)(part))

        return build

    def _pad(self, node: Node, op: Pad) -> _Build | None:
        (x,) = node.args
        small, large = self._axes.small_axes(op.shape), self._axes.large_axes(op.shape)
        if not all(
            isinstance(op.starts[axis], int) and isinstance(x.shape[axis], int) for axis in small
        ):
            return None
        if any(self._axes.is_wide(x.shape[axis]) for axis in large):
            return None
        target = _sizes(op.shape, large)

        def build(index: _Index) -> Symbolic:
            place: dict[int, int] = {}
            for axis, i in zip(small, index, strict=True):
                place[axis], between = divmod(i - cast(int, op.starts[axis]), op.steps[axis])
                if between or not 0 <= place[axis] < cast(int, x.shape[axis]):
                    return cast(Symbolic, zeros_like_type(x.type.with_shape(target), x))
            part = self._read(x, place)
            starts, steps = _sizes(op.starts, large), tuple(op.steps[axis] for axis in large)
            is_whole = part.shape == target and all(step == 1 for step in steps)
            return part if is_whole else cast(Symbolic, Pad(target, starts, steps)(part))

        return build

    def _concat(self, node: Node, op: Concat) -> _Build | None:
        shape = node.types[0].shape
        small, large = self._axes.small_axes(shape), self._axes.large_axes(shape)
        if not all(isinstance(arg.shape[axis], int) for arg in node.args for axis in small):
            return None
        if op.axis in large:
            if any(self._axes.is_wide(arg.shape[op.axis]) for arg in node.args):
                return None
            inner = Concat(large.index(op.axis))
        sizes = [arg.shape[op.axis] for arg in node.args]

        def build(index: _Index) -> Symbolic:
            place = dict(zip(small, index, strict=True))
            if op.axis in large:
                return cast(Symbolic, inner(*[self._read(arg, place) for arg in node.args]))
            for arg, size in zip(node.args, sizes, strict=True):
                if place[op.axis] < cast(int, size):
                    return self._read(arg, place)
                place[op.axis] -= cast(int, size)
            raise AssertionError(f"position {index} is beyond {node.types[0]}")

        return build

    def _take(self, node: Node, op: Take) -> _Build | None:
        """Select components by constant indices; a gather of rows reads all of a row at once."""
        x, indices = node.args
        size = x.shape[op.axis]
        small = self._axes.small_axes(node.types[0].shape)
        of_indices = range(op.axis, op.axis + indices.ndim)
        if not isinstance(indices.node.op, Constant) or not isinstance(size, int):
            return None
        numbers = indices.node.op.data.array
        if not ({*of_indices} <= {*small} and ((-size <= numbers) & (numbers < size)).all()):
            return None

        def build(index: _Index) -> Symbolic:
            at = dict(zip(small, index, strict=True))
            number = int(numbers[tuple(at[axis] for axis in of_indices)])
            place = {a: i for a, i in at.items() if a < op.axis}
            place |= {a - indices.ndim + 1: i for a, i in at.items() if a >= of_indices.stop}
            return self._read(x, {**place, op.axis: number % size})

        return build

    def _iota(self, node: Node, op: Iota) -> _Build:
        small, large = self._axes.small_axes(op.shape), self._axes.large_axes(op.shape)
        target = _sizes(op.shape, large)

        def build(index: _Index) -> Symbolic:
            if op.axis in large:
                return cast(Symbolic, Iota(target, large.index(op.axis), op.dtype)())
            position = np.asarray(index[small.index(op.axis)], op.dtype.numpy)
            number = Symbolic(leaf_node(Constant(ArrayData(position)), node.origin, node.order))
            return cast(Symbolic, Broadcast(target, ())(number)) if target else number

        return build

    def _product(self, node: Node, op: MatMul) -> _Build | None:
        """Build the elements of a small matrix, or of small rows: each is a chain of terms."""
        a, b = node.args
        shape = node.types[0].shape
        row, inner = (-1, -2) if op.transpose_a else (-2, -1)
        inner_b, column = (-1, -2) if op.transpose_b else (-2, -1)
        terms, small = a.shape[inner], self._axes.small_axes(shape)
        sides = (a.shape[row], b.shape[column])
        if not (
            self._axes.is_wide(terms)
            and terms == b.shape[inner_b]
            and any(map(self._axes.is_wide, sides))
        ):
            return None  # one of a row or a column is a vector, whose terms have another order
        if 1 in sides or op.factors is not None or a.dtype.itemsize < F32.itemsize:
            return None
        batch = shape[:-2]
        if not (
            self._axes.broadcasts(batch, a.shape[:-2])
            and self._axes.broadcasts(batch, b.shape[:-2])
        ):
            return None

        def read_factor(x: Symbolic, at: Mapping[int, int], place: Mapping[int, int]) -> Symbolic:
            """Read a factor at a position of the batch, and of its last two axes."""
            offset = len(shape) - x.ndim
            index = {
                axis - offset: i if x.shape[axis - offset] != 1 else 0
                for axis, i in at.items()
                if offset <= axis < len(batch)
            }
            part = self._read(x, index | {x.ndim + axis: i for axis, i in place.items()})
            is_one = len(place) == 2 and part.ndim > 0 and not all(map(self._axes.is_wide, sides))
            return _reshape(part, (*part.shape, 1)) if is_one else part

        def build(index: _Index) -> Symbolic:
            at = dict(zip(small, index, strict=True))
            of_row = {row: at[len(batch)]} if len(batch) in at else {}
            of_column = {column: at[len(batch) + 1]} if len(batch) + 1 in at else {}
            total = cast(Symbolic, zeros_like_type(a.type.with_shape(()), a))
            for k in range(cast(int, terms)):
                left = read_factor(a, at, {inner: k, **of_row})
                right = read_factor(b, at, {inner_b: k, **of_column})
                if a.dtype.is_float:
                    total = cast(Symbolic, MultiplyAdd()(left, right, total))
                else:
                    total = cast(Symbolic, total + left * right)
            return total

        return build

    def _reduction(self, node: Node, op: Reduction) -> _Build | None:
        (x,) = node.args
        order = self._axes.order_of(op, x)
        if order is None or x.dtype.is_bool:
            return None
        joins, last = order
        join: Any = {"sum": Add, "max": Maximum, "min": Minimum}[op.kind]()
        width = lanes(x.dtype)
        small = [axis for axis in self._axes.small_axes(x.shape) if axis not in op.axes]

        def combine(place: dict[int, int], joins_left: Sequence[_Join]) -> Symbolic:
            if not joins_left:
                return self._read(x, place)
            (axes, by_lanes), *inner_joins = joins_left
            terms = [
                combine({**place, **dict(zip(axes, at, strict=True))}, inner_joins)
                for at in _positions(x.shape, axes)
            ]
            if by_lanes:
                return in_lanes(terms, width, lambda a, b: cast(Symbolic, join(a, b)))
            return reduce(lambda a, b: cast(Symbolic, join(a, b)), terms)

        def build(index: _Index) -> Symbolic:
            part = combine(dict(zip(small, index, strict=True)), joins)
            return cast(Symbolic, last(part)) if last is not None else part

        return build


class _Join(NamedTuple):
    """Small axes along which components are combined, and whether in the order of lanes."""

    axes: tuple[int, ...]
    by_lanes: bool


# -- values -------------------------------------------------------------------------------------


def _add(node: Node, a: Symbolic, b: Symbolic) -> Symbolic:
    """Add components; of several zeros between the terms of a sum, as pads have, one is left.

    x + 0.0 is x but for -0.0, so (x + 0.0) + y is (x + y) + 0.0.
    """
    for x, y in ((a, b), (b, a)):
        if isinstance(x.node.op, Add) and _is_zero(x.node.args[1]):
            if _is_zero(y):
                return x
            inner, zero = x.node.args
            return rebuild(node, (_add(node, inner, y), zero)).values[0]
    return rebuild(node, (b, a) if _is_zero(a) else (a, b)).values[0]


def _is_zero(value: Symbolic) -> bool:
    """Return whether all elements are the number 0.0, and not -0.0."""
    node = value.node
    while isinstance(node.op, Broadcast):
        node = node.args[0].node
    if not isinstance(node.op, Constant) or node.types[0].rank:
        return False
    number = node.op.data.array
    return bool(number == 0 and not np.signbit(number))


def _others(ndim: int, index: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(ndim) if axis not in index)


def _reshape(value: Symbolic, shape: Shape) -> Symbolic:
    while isinstance(value.node.op, Reshape) and value.shape != shape:
        (value,) = value.node.args
    return value if value.shape == shape else cast(Symbolic, Reshape(shape)(value))


def _element(value: Symbolic, index: Mapping[int, int]) -> Symbolic:
    """Return the elements of an array at a position along some axes, which are dropped."""
    if not index:
        return value
    left = _others(value.ndim, index)
    shape = _sizes(value.shape, left)
    node = value.node
    if isinstance(node.op, Constant):
        array = node.op.data.array[
            tuple(index.get(axis, slice(None)) for axis in range(value.ndim))
        ]
        if array.size <= _MOST_COMPONENTS:
            return Symbolic(leaf_node(Constant(ArrayData(array)), node.origin, node.order))
    if isinstance(node.op, Broadcast) and not any(axis in index for axis in node.op.axes):
        x = node.args[0]
        axes = tuple(left.index(axis) for axis in node.op.axes)
        return x if x.shape == shape else cast(Symbolic, Broadcast(shape, axes)(x))
    starts = tuple(index.get(axis, 0) for axis in range(value.ndim))
    lengths = tuple(1 if axis in index else size for axis, size in enumerate(value.shape))
    part = value if lengths == value.shape else Slice(starts, lengths, (1,) * value.ndim)(value)
    return _reshape(cast(Symbolic, part), shape)


def _is_view(node: Node) -> bool:
    """Return whether a node moves elements of a leaf alone."""
    while isinstance(node.op, Reshape | Transpose | Broadcast | Slice):
        node = node.args[0].node
    return node.is_leaf
