"""Steps of optimizers, in place: next values are written over old ones, a block at a time.

The rule of an optimizer is written over values. Here it has been run on values of a graph, so that
what it reads and writes is known before anything changes. What it computes element by element, by
operations that round correctly, is done in blocks, straight into the arrays: a step needs no second
copy of a parameter. Everything else (norms, means, whether all is finite) is computed before. All
writes are one call, which no interrupt divides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from math import prod
from operator import setitem
from typing import Any, Final

import numpy as np

from staticgrad.eager.tape import no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ImmutableError, ShapeError
from staticgrad.language.ir.graph import ancestors
from staticgrad.language.ir.nodes import Node, Symbolic
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ops.arithmetic import Abs, Add, Div, Mul, Neg, Sign, Sub
from staticgrad.language.ops.selection import Where
from staticgrad.language.ops.transcendental import Sqrt

#: Ops that NumPy computes in place, and for a block as for the whole array.
_UFUNCS: Final[Mapping[type[Op], Any]] = {
    Add: np.add, Sub: np.subtract, Mul: np.multiply, Div: np.true_divide, Neg: np.negative,
    Abs: np.absolute, Sign: np.sign, Sqrt: np.sqrt,
}  # fmt: skip
#: Elements of a block: three blocks of float32 fit into the L1 cache, and a call of NumPy takes
#: less time than its elements do.
_BLOCK: Final = 4096

Arrays = Mapping[Node, Array]
_set_item: Final[Any] = setitem


def prepare_step(writes: Sequence[tuple[Array, Any]], leaves: Arrays) -> Callable[[], object]:
    """Compute an optimizer's values that need whole arrays; return the call that writes all."""
    for array, value in writes:
        if value.shape != array.shape:
            raise ShapeError(f"a step of an array of shape {array.shape} gives {value.shape}")
        if not array.flags.writeable:
            raise ImmutableError("a step of an array that is read-only", hint="array.copy()")
    roots = [(array, value.node) for array, value in writes if isinstance(value, Symbolic)]
    nodes = sorted(ancestors([Symbolic(node) for _, node in roots]), key=lambda n: n.serial)
    in_place = _elementwise(nodes, leaves) if _are_apart(roots, leaves) else set()
    arrays = _compute_nodes(nodes, in_place, leaves, {node for _, node in roots})
    representatives: dict[
        Node, Node
    ] = {}  # what each node in blocks stands for, where a condition is known now
    for node in nodes:
        if node in in_place:
            chosen = node
            if type(node.op) is Where:
                condition, yes, no = node.args
                chosen = yes.node if arrays[condition.node] else no.node
            representatives[node] = representatives.get(chosen, chosen)
    computed = [(a, np.asarray(v)) for a, v in writes if not isinstance(v, Symbolic)]
    blocks = []
    for array, node in roots:
        node = representatives.get(node, node)
        if node not in arrays:
            blocks.append((array, node))
        elif (value := arrays[node]) is not array:  # an array of a leaf may be written before
            computed.append((array, value.copy() if node in leaves else value))
    rooms: list[Array] = []
    calls = [
        _stream_blocks(*part, representatives, arrays, rooms)
        for part in _split_step(blocks, nodes, representatives, arrays, leaves)
    ]
    places, values = [place for place, _ in computed], [value for _, value in computed]

    def write() -> None:
        every = chain(chain.from_iterable(calls), map(_set_item, places, repeat(...), values))
        with np.errstate(all="ignore"):
            deque(every, maxlen=0)

    return write


def _are_apart(roots: Sequence[tuple[Array, Node]], leaves: Arrays) -> bool:
    every = {id(a): a for a in (*leaves.values(), *(array for array, _ in roots)) if a.size}
    ends = sorted(np.lib.array_utils.byte_bounds(array) for array in every.values())
    return all(ends[k][1] <= ends[k + 1][0] for k in range(len(ends) - 1))


def _elementwise(nodes: Sequence[Node], leaves: Arrays) -> set[Node]:
    """Select the nodes of an optimizer's step that run in blocks: elementwise up to the writes."""
    elementwise: set[Node] = set()
    for node in nodes:
        if node in leaves or not node.types[0].shape:
            continue
        result_type, operands = node.types[0], node.args
        if type(node.op) is Where and not node.args[0].type.shape:
            operands = node.args[1:]
        elif (
            type(node.op) not in _UFUNCS
            or result_type.dtype.is_storage
            or result_type.dtype.kind == "b"
        ):
            continue
        fit = [
            a.type.dtype is result_type.dtype and a.type.shape in ((), result_type.shape)
            for a in operands
        ]
        if all(fit) and not any(a.index for a in node.args):
            elementwise.add(node)
    for node in reversed(nodes):
        if node not in elementwise:
            elementwise.difference_update([arg.node for arg in node.args])
    return elementwise


def _compute_nodes(
    nodes: Sequence[Node], in_place: set[Node], leaves: Arrays, roots: set[Node]
) -> dict[Node, Array]:
    """Evaluate the nodes of an optimizer's step that do not run in blocks; free dead tensors."""
    last = {arg.node: node for node in nodes if node not in in_place for arg in node.args}
    retained = roots.union(arg.node for node in in_place for arg in node.args)
    tensors: dict[Node, tuple[Tensor, ...]] = {n: (Tensor.of(a),) for n, a in leaves.items()}
    with no_grad():
        for node in nodes:
            if node in leaves or node in in_place:
                continue
            outs = Tensor.bind(node.op, tuple([tensors[arg.node][arg.index] for arg in node.args]))
            tensors[node] = outs if isinstance(outs, tuple) else (outs,)
            for read in {arg.node for arg in node.args} - retained:
                if last[read] is node and read not in leaves:
                    del tensors[read]
    return {node: outs[0].array for node, outs in tensors.items()}


def _split_step(
    roots: Sequence[tuple[Array, Node]],
    nodes: Sequence[Node],
    representatives: Mapping[Node, Node],
    arrays: Mapping[Node, Array],
    leaves: Arrays,
) -> Iterable[tuple[list[Node], list[tuple[Array, Node]]]]:
    """Split an optimizer's step into parts that share no array, by union-find."""
    holders = {id(array): node for node, array in leaves.items()}
    needed = {node for _, node in roots}
    links = [(node, holders[id(a)]) for a, node in roots if id(a) in holders]
    for node in reversed(nodes):
        if node in needed:
            read = [representatives.get(arg.node, arg.node) for arg in node.args]
            needed.update(operand for operand in read if operand not in arrays)
            links += [(node, operand) for operand in read if operand.types[0].shape]
    first: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        while (above := first.get(node, node)) is not node:
            first[node] = first.get(above, above)
            node = above
        return node

    for left, right in links:
        first[find(left)] = find(right)
    parts: dict[Node, tuple[list[Node], list[tuple[Array, Node]]]] = {}
    for node in nodes:
        if node in needed:
            parts.setdefault(find(node), ([], []))[0].append(node)
    for array, node in roots:
        parts[find(node)][1].append((array, node))
    return parts.values()


def _stream_blocks(
    nodes: Sequence[Node],
    writes: Sequence[tuple[Array, Node]],
    representatives: Mapping[Node, Node],
    arrays: Mapping[Node, Array],
    rooms: list[Array],
) -> Iterable[object]:
    """Return an iterator of ufunc calls, each step of which computes and writes one block."""
    operands = [[representatives.get(arg.node, arg.node) for arg in node.args] for node in nodes]
    last: dict[Any, int] = {x: place for place, args in enumerate(operands) for x in args}
    targets: dict[Node, list[Array]] = {}
    for array, node in writes:
        targets.setdefault(node, []).append(array)
    read = {operand: arrays[operand] for operand in last if operand in arrays}
    cut = _Cut([*(a for a in read.values() if a.ndim), *(array for array, _ in writes)])
    holders: dict[int, Any] = {id(array): operand for operand, array in read.items()}
    where = {operand: cut.blocks(array) for operand, array in read.items()}
    spare: list[Any] = []
    steps, copies, used = [], [], 0
    for place, (node, args) in enumerate(zip(nodes, operands, strict=True)):
        spare += [where[x] for x in {*args} if x not in arrays and last[x] == place]
        target_arrays = targets.get(node, [])
        # Where the old value of an array is read no more, the new one is computed into it.
        into = next((a for a in target_arrays if last.get(holders.get(id(a)), -1) <= place), None)
        if into is not None:
            where[node] = cut.blocks(into)
        elif spare:
            where[node] = spare.pop()
        else:
            where[node] = cut.scratch(node.types[0].dtype.numpy, rooms, used)
            used += 1
        steps.append(
            map(_UFUNCS[type(node.op)], *[chain(*where[x]) for x in args], chain(*where[node]))
        )
        others = [cut.blocks(array) for array in target_arrays if array is not into]
        copies += [
            map(np.positive, chain(*where[node]), chain(*destination)) for destination in others
        ]
        if target_arrays:
            last[node] = len(nodes)  # it stays where it is
    return zip(*steps, *copies, strict=True)


#: Sequences of arrays, one behind the other.
_Blocks = tuple[Any, ...]


class _Cut:
    """Arrays of one shape, cut into the same blocks: of elements, or of rows."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        size, shape = arrays[0].size, arrays[0].shape
        self.is_flat = all(array.flags.c_contiguous for array in arrays)
        self.shape = (size,) if self.is_flat else shape
        row = size // max(self.shape[0], 1)
        self.rows_per_block = max(min(_BLOCK // max(row, 1), self.shape[0]), 1)
        self.block_count = self.shape[0] // self.rows_per_block

    def blocks(self, array: Array) -> _Blocks:
        """Return the views of an array's blocks, and the remainder; a number for each block."""
        if not array.ndim:
            return ([array] * (self.block_count + 1),)
        flat = array.reshape(self.shape) if self.is_flat else array
        equal, remainder = (
            flat[: self.block_count * self.rows_per_block],
            flat[self.block_count * self.rows_per_block :],
        )
        if self.is_flat:
            return equal.reshape(self.block_count, self.rows_per_block), [remainder]
        return [
            equal[k : k + self.rows_per_block] for k in range(0, len(equal), self.rows_per_block)
        ], [remainder]

    def scratch(self, dtype: Any, rooms: list[Array], number: int) -> _Blocks:
        """Return a scratch block, which all streams of an optimizer's step reuse."""
        shape = (self.rows_per_block, *self.shape[1:])
        nbytes = prod(shape) * dtype.itemsize
        if number == len(rooms):
            rooms.append(np.empty(0, np.uint8))
        if rooms[number].size < nbytes:
            rooms[number] = np.empty(nbytes, np.uint8)
        room = rooms[number][:nbytes].view(dtype).reshape(shape)
        remainder = room[: self.shape[0] - self.block_count * self.rows_per_block]
        again = np.lib.stride_tricks.as_strided(
            room, (self.block_count, *shape), (0, *room.strides), writeable=True
        )
        return again, [remainder]
