"""Rewrites of loops: invariant factors, branches, strip-mining, stacks shared with carries.

They run just before kernels are made, so that derivatives and other passes see one loop.

**Factors.** A product packs a transposed factor as it reads it. In a loop that would happen in
every iteration. A loop-invariant factor is transposed once, before the first iteration, and read in
that layout. ``products.pack_panels`` uses another layout.

**Strip-mining.** A kernel does not return before its last iteration, and signals are handled only
then. So a loop without a fixed end, or one of many iterations, becomes two loops. The inner one
runs a chunk, a limited number of iterations, and is a kernel (``lowering/loops/time_loops.py``).
The outer one, which the driver runs, continues as long as the inner one makes all of its
iterations. Loops whose iterations are not one kernel are unchanged.

**Shared stacks.** The gradient of a loop reads the carries at the beginning of each iteration, and
often those at its end: the same values, an iteration later. Two stacks would take twice the bytes,
and a copy each in every iteration, besides the two buffers of the carry. Here one array has a row
for the carry at the beginning of each iteration, which the iteration reads in place, and a row for
the final carry. Each iteration writes the row of the next one. A stack is all rows except the last
one, or except the first one. Loops that may become one kernel, whose carries are in registers, are
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any, Final, cast

from passes.late.base import LatePass, late_pass
from staticgrad.analysis.cost import ROWS, all_seconds
from staticgrad.analysis.liveness import ValueKey
from staticgrad.functions.creation import constant
from staticgrad.language.ir.bodies import body_input, body_of, inline_body, rebuilt
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import (
    Assemble,
    CallForm,
    Contract,
    Identity,
    Pointwise,
    Reduce,
    ReshapeForm,
    View,
)
from staticgrad.language.ir.graph import (
    Constant,
    Graph,
    Node,
    ParameterLeaf,
    Symbolic,
    bodies_of,
)
from staticgrad.language.ir.kernels.stages import LONE, STREAMED
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.indexing import Slice
from staticgrad.language.ops.logic import equal, less, less_equal, logical_and
from staticgrad.language.ops.loops import NUMBER, TRUTH, Branch, Loop, While
from staticgrad.language.ops.movement import Reshape, swapaxes
from staticgrad.language.ops.selection import where
from staticgrad.language.types.arrays import TensorType, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64
from staticgrad.support.building import here
from staticgrad.support.config import limits
from staticgrad.support.records import dataclass, replace

#: Least iterations for which transposing pays: it takes as long as packing in some of them.
FEWEST_ITERATIONS: Final = 8
#: Rows of an iteration's product up to which packing takes a noticeable part of it: with 65 to 512
#: rows a transposed copy gains and loses nothing (.98 to 1.05; Emerald Rapids, 2026-12).
MOST_ROWS: Final = 64
#: Elements of a matrix whose products with few columns are computed transposed, at least.
LEAST_ELEMENTS: Final = 1 << 12
#: Elements of a factor that stay in L2, from where a product reads them.
MOST_ELEMENTS: Final = 1 << 17


@dataclass(frozen=True)
class Arrangement:
    """A layout to which a late pass rewrites loop-invariant matrices that a loop's products read.

    ``fewest_iterations``: the least number for which the layout conversion pays.
    ``is_profitable``: True if all readers of an input of the body are products that gain, given the
    number of iterations. ``arrange``: converts the matrix before the first iteration;
    ``arranged_type``: its type in the body. ``product``: the op that replaces a product in the
    loop.
    """

    fewest_iterations: int
    is_profitable: Callable[[Symbolic, Sequence[Node], int], bool]
    arrange: Callable[[Symbolic], Symbolic]
    arranged_type: Callable[[TensorType], TensorType]
    product: Callable[[MatMul], Op]


def arrange_invariants(graph: Graph, order: Arrangement) -> Graph:
    """Rewrite loops to read invariant matrices in another layout, copied in front of the loop."""

    def arrange_operands(
        node: Node, op: Loop, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a loop with its invariant matrices in another layout; None if it does not pay."""
        if hint_value(op.iterations) < order.fewest_iterations:
            return None
        places = _find_arrangeable(op, order)
        if not places:
            return None
        operands = list(args)
        for place in places:
            operands[place] = order.arrange(args[place])
        arranged = replace(op, body=_arrange_body(op.body, {1 + place for place in places}, order))
        return rebuild(node, tuple(operands), op=arranged).values

    return graph.replace_ops(Loop, arrange_operands)


def _find_arrangeable(op: Loop, order: Arrangement) -> list[int]:
    """Find the loop operands that the pass may copy to this layout: only factors of products."""
    body = op.body
    places = range(op.carries + op.slices, len(body.inputs) - 1)
    readers: dict[Symbolic, list[Node]] = {body.inputs[1 + place]: [] for place in places}
    by_key = {value.key: value for value in readers}
    for node in body.nodes:
        for arg in node.args:
            if arg.key in by_key:
                readers[by_key[arg.key]].append(node)
    results = {value.key for value in body.outputs.values()}
    iterations = hint_value(op.iterations)
    return [
        place
        for place, (value, nodes) in zip(places, readers.items(), strict=True)
        if value.key not in results and nodes and order.is_profitable(value, nodes, iterations)
    ]


def _arrange_body(body: Graph, arranged: set[int], order: Arrangement) -> Graph:
    """Rewrite a loop's body to read these inputs in the other layout."""
    new: dict[tuple[Node, int], Symbolic] = {}
    for place, value in enumerate(body.inputs):
        kind, node = value.type, value.node
        kind = order.arranged_type(kind) if place in arranged else kind
        new[value.key] = body_input(node.label, kind, node.origin, node.order)
    keys = {body.inputs[place].key for place in arranged}
    products = {
        node: order.product(node.op)
        for node in body.nodes
        if isinstance(node.op, MatMul) and node.args[1].key in keys
    }
    return body_of(new.values(), rebuilt(body, new, changed=products))


def _pays_transposed(value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
    """Return True if transposing a small matrix in front of the loop pays for all readers."""
    small = value.ndim == 2 and hint_value(value.type.size) <= MOST_ELEMENTS
    return small and all(
        isinstance(node.op, MatMul)
        and node.op.transpose_b
        and node.args[1].key == value.key != node.args[0].key
        and hint_value(node.types[0].shape[-2]) <= MOST_ROWS
        for node in readers
    )


#: The layout for products that would pack a transposed factor in every iteration.
_TRANSPOSED: Final = Arrangement(
    FEWEST_ITERATIONS,
    _pays_transposed,
    lambda value: cast(Symbolic, swapaxes(value, -1, -2)),
    lambda kind: kind.with_shape(kind.shape[::-1]),
    lambda op: replace(op, transpose_b=False),
)


@late_pass("transposed-factors", keeps="close")
def transpose_invariants(graph: Graph) -> Graph:
    """Rewrite loops to read transposed factors in C order; elements are unchanged.

    Products of a weight and few columns are those of few rows and a transposed one, as in loops.
    """
    graph = graph.replace_ops(Loop, _exchange_in_body)
    weights = {
        Symbolic(node).key for node in graph.nodes if isinstance(node.op, ParameterLeaf | Constant)
    }
    if weights:
        graph = graph.replace_ops(MatMul, partial(_exchange_factors, weights))
    return arrange_invariants(graph, _TRANSPOSED)


def _exchange_in_body(
    node: Node, op: Loop, args: tuple[Symbolic, ...]
) -> Sequence[Symbolic] | None:
    """Rewrite products of invariant matrices and few columns in the body of a loop."""
    if hint_value(op.iterations) < FEWEST_ITERATIONS:
        return None
    first = 1 + op.carries + op.slices
    invariant = {value.key for value in op.body.inputs[first:]}
    body = op.body.replace_ops(MatMul, partial(_exchange_factors, invariant))
    return None if body is op.body else rebuild(node, args, op=replace(op, body=body)).values


def _exchange_factors(
    matrices: Container[ValueKey], node: Node, op: MatMul, factors: tuple[Symbolic, ...]
) -> Sequence[Symbolic] | None:
    """Rewrite a product of one of the matrices and few columns as a transposed one of few rows.

    Few columns fill a part of a vector, and few rows read the matrix in the order of its elements.
    """
    matrix, columns = node.args
    kind = node.types[0]
    plain = kind.rank == matrix.ndim == 2 and kind.dtype.is_float and not kind.dtype.is_storage
    if op.factors is not None or op.down or not plain:
        return None
    few = isinstance(kind.shape[1], int) and LONE <= kind.shape[1] <= STREAMED
    if not few or hint_value(matrix.type.size) < LEAST_ELEMENTS:
        return None
    if matrix.key not in matrices or columns.key in matrices:
        return None
    transposed: Any = MatMul(not op.transpose_b, not op.transpose_a)(*factors[::-1])
    return (swapaxes(transposed, 0, 1),)


#: Forms of nodes that may run speculatively, for a case that is not taken.
_PURE: Final = (Pointwise, View, ReshapeForm, Identity, Reduce, Contract)
#: Operations of all cases of a branch, at most: they take no longer than leaving the kernel for
#: one.
_FEW_OPERATIONS: Final = 4096


@late_pass("if-conversion")
def select_branches(graph: Graph) -> Graph:
    """Rewrite cheap branches in loops as selects (if-conversion): the graph computes all cases.

    This is if-conversion. Results are bitwise those of the case that is taken, and the others have
    no effect: they have no look-ups, loops or calls.
    """

    def select_case(_: Node, op: Branch, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a branch node as all cases and selects of results; None if expensive."""
        cases = [case.replace_ops(Branch, select_case) for case in op.cases]
        nodes = [node for case in cases for node in case.nodes if not node.is_leaf]
        work = sum(node.op.flops * hint_value(node.types[0].size) for node in nodes)
        if work > _FEW_OPERATIONS or not all(isinstance(node.form, _PURE) for node in nodes):
            return None
        *earlier_cases, selected = [inline_body(case, args[1:]) for case in cases]
        for number, case in reversed([*enumerate(earlier_cases)]):
            is_below: Any = less_equal(args[0], number)
            pairs = zip(case, selected, strict=True)
            selected = [where(is_below, value, later_value) for value, later_value in pairs]
        return selected

    def select_in_bodies(
        node: Node, op: Any, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite the cheap branches in the bodies of a loop node as selects."""
        bodies = [body.replace_ops(Branch, select_case) for body in op.bodies]
        if all(new is old for new, old in zip(bodies, op.bodies, strict=True)):
            return None
        return rebuild(node, args, op=op.with_bodies(bodies)).values

    return graph.replace_ops((Loop, While), select_in_bodies)


#: Predicted seconds of a chunk, at most: then programs can begin and end in native code
#: (``runtime/entry.py``).
_MOST_SECONDS: Final = 5e-5


class StripMining(LatePass, name="strip-mining"):
    """Rewrite long while loops as loops over chunks; a run handles signals between two chunks.

    ``schedule`` makes the schedule of a chunk, whose predicted time chooses the chunk's length.
    The compiler passes its own. Without one, as in ``staticgrad opt -p late``, loops do not change.
    """

    schedule: Callable[[Graph], Schedule] | None = None

    def __call__(self, graph: Graph) -> Graph:
        """Return the graph whose long while loops run a chunk per iteration."""
        return graph if self.schedule is None else graph.replace_ops(While, self._strip_mine)

    def _strip_mine(
        self, node: Node, op: While, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a while loop as a loop over chunks that take limited time; None if not needed."""
        assert self.schedule is not None
        if _is_short(op):
            return None
        length = limits().chunk_iterations
        chunk = self.schedule(_build_chunk(node, length))
        kernels = [step for step in chunk.steps if not step.bodies()]
        if len(kernels) != len(chunk.steps):
            return None
        arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
        seconds = sum(all_seconds(kernels, arguments, ROWS, in_place=True))
        while length > 1 and seconds * length > _MOST_SECONDS * limits().chunk_iterations:
            length //= 2
        return _build_outer_loop(node, args, _build_chunk(node, length))

    def options(self) -> dict[str, Any]:
        """Return no option: text names no function."""
        return {}


def _is_short(op: While) -> bool:
    return isinstance(op.most, int) and op.most <= limits().chunk_iterations


class _ChunkInputs:
    """The inputs of a chunk: its index, the carries of the loop, the number of iterations so far,
    a flag that more may follow, and the loop invariants."""

    def __init__(self, node: Node) -> None:
        assert isinstance(node.op, While)
        carries = node.op.carries
        types = [arg.type for arg in node.args]
        self.number = body_input("i", NUMBER, *here())
        self.carries = [_new_input("c", *carry) for carry in enumerate(types[:carries])]
        self.done = _new_input("c", carries, NUMBER)
        self.continues = _new_input("c", carries + 1, TRUTH)
        self.invariants = [_new_input("p", *invariant) for invariant in enumerate(types[carries:])]
        self.all = [self.number, *self.carries, self.done, self.continues, *self.invariants]


def _new_input(role: str, number: int, kind: TensorType) -> Symbolic:
    return body_input(f"{role}{number}", kind, *here())


def _build_chunk(node: Node, length: int) -> Graph:
    """Build the body graph of the outer loop: up to ``length`` iterations of the while loop."""
    op, outer = node.op, _ChunkInputs(node)
    assert isinstance(op, While)
    inner = While(
        _shift_iterations(node, op.test), _shift_iterations(node, op.body), op.carries, length
    )
    results: Any = inner(*outer.carries, outer.done, *outer.invariants)
    *carries, iterations = results
    continues = equal(iterations, length)
    values = [*carries, outer.done + iterations, continues]
    return body_of(outer.all, {f"c{number}": value for number, value in enumerate(values)})


def _shift_iterations(node: Node, body: Graph) -> Graph:
    """Return a body whose iteration number starts at the number of iterations done."""
    op, types = node.op, [arg.type for arg in node.args]
    assert isinstance(op, While)
    i = body_input("i", NUMBER, *here())
    carries = [_new_input("c", *carry) for carry in enumerate(types[: op.carries])]
    done, *invariants = [
        _new_input("p", *operand) for operand in enumerate([NUMBER, *types[op.carries :]])
    ]
    number: Any = done + i
    results: list[Any] = inline_body(body, [number, *carries, *invariants])
    if body is op.test and op.most is not None:
        is_below_most: Any = less(number, op.most)
        results = [logical_and(results[0], is_below_most)]
    return body_of([i, *carries, done, *invariants], dict(zip(body.outputs, results, strict=True)))


def _build_outer_loop(node: Node, args: Sequence[Symbolic], chunk: Graph) -> Sequence[Symbolic]:
    """Build the strip-mined while loop, which runs one chunk per iteration."""
    op, inputs = node.op, _ChunkInputs(node)
    assert isinstance(op, While)
    test = body_of(inputs.all, {"go": inputs.continues})
    loop = While(test, chunk, op.carries + 2)
    first: list[Any] = [*args[: op.carries], constant(0, I64), constant(True)]
    carries_and_flag: Any = loop(*first, *args[op.carries :])
    results: Sequence[Symbolic] = carries_and_flag[: op.carries + 1]
    return results


#: Multiplications per row from which a body is not unrolled into one kernel: with additions about
#: as many expressions as ``staticgrad.compiler.lowering.loops.driven.MOST``.
HEAVY: Final = 3000
#: Elements of an array, whose rows read each other, from which on several workers run its kernels.
STENCIL: Final = 1 << 15


@late_pass("shared-stacks")
def share_stacks_with_carries(graph: Graph) -> Graph:
    """Rewrite loops to store their carries directly in the stacks of all iterations."""
    roots = {value.key for value in graph.roots}

    def share_stacks(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not _is_driven(op.body):
            return None
        outputs = [*op.body.outputs.values()]
        begin_values = {
            value.key: place for place, value in enumerate(op.body.inputs[1 : 1 + op.carries])
        }
        end_values = {value.key: place for place, value in enumerate(outputs[: op.carries])}
        # results that stack a carry, with True if after the iteration
        stacks: dict[int, tuple[int, bool]] = {}
        for place, value in enumerate(outputs[op.carries :], op.carries):
            if (node, place) in roots:
                continue
            if value.key in begin_values:
                stacks[place] = begin_values[value.key], False
            elif value.key in end_values:
                stacks[place] = end_values[value.key], True
        return _build_logged_loop(node, op, args, stacks) if stacks else None

    return graph.replace_ops(Loop, share_stacks)


def _is_driven(body: Graph) -> bool:
    """Return True if a loop's body has several kernels, or one that several workers run.

    It does if it has a large product, a library call, or a stencil over many rows.
    """
    carried = {value.node for value in body.inputs if value.node.label.startswith("c")}
    for node in body.nodes:
        if node.is_leaf:
            continue
        if any(arg.node in carried for arg in node.args):
            carried.add(node)
        if isinstance(node.form, CallForm) or any(map(_is_driven, bodies_of(node))):
            return True
        if isinstance(node.op, MatMul) and _count_multiplications(node, carried) >= HEAVY:
            return True
        if isinstance(node.form, Assemble) and node in carried and _moves_rows(node):
            return True
    return False


def _moves_rows(node: Node) -> bool:
    """Return whether an assembled large array has moved rows: rows read each other."""
    (assembled,) = node.types
    many = hint_value(assembled.size) >= STENCIL
    return many and any(arg.shape[:1] != assembled.shape[:1] for arg in node.args)


def _count_multiplications(node: Node, carried: set[Node]) -> int:
    """Count the multiplications of a product for each row of a loop.

    A row of the loop is a row of the first factor, if only that one depends on carries.
    """
    assert isinstance(node.op, MatMul)
    *_, rows, columns = map(hint_value, node.types[0].shape)
    inner = hint_value(node.args[0].shape[-2 if node.op.transpose_a else -1])
    first, second = (arg.node in carried for arg in node.args)
    return (columns if first and not second else min(rows, columns)) * inner


def _build_logged_loop(
    node: Node, op: Loop, args: tuple[Symbolic, ...], stacks: dict[int, tuple[int, bool]]
) -> list[Symbolic]:
    """Build the loop node that stores all values of some carries, and slices of its results."""
    carries = tuple(sorted({carry for carry, _ in stacks.values()}))
    outputs = [*op.body.outputs.values()]
    unshared = [place for place in range(op.carries, len(outputs)) if place not in stacks]
    named = {f"c{n}": value for n, value in enumerate(outputs[: op.carries])}
    named |= {f"y{n}": outputs[place] for n, place in enumerate(unshared)}
    loop = replace(op, body=body_of(op.body.inputs, named), logged=carries)
    types = loop.infer(*[arg.type for arg in args])
    assert isinstance(types, tuple) or len(named) == 1
    types = types if isinstance(types, tuple) else (types,)
    values = rebuild(node, args, op=loop, types=types).values
    results: list[Any] = [*values[: op.carries], *[values[0]] * (len(outputs) - op.carries)]
    for n, place in enumerate(unshared, op.carries):
        results[place] = values[n]
    for place, (carry, ends) in stacks.items():
        results[place] = _slice_rows(values[carry], int(ends != op.reverse), op.iterations)
    for carry in carries:
        last = _slice_rows(values[carry], 0 if op.reverse else op.iterations, 1)
        results[carry] = Reshape(last.shape[1:])(last)
    return results


def _slice_rows(log: Symbolic, begin: Size, count: Size) -> Any:
    starts = (begin, *(0 for _ in log.shape[1:]))
    return Slice(starts, (count, *log.shape[1:]), (1,) * log.ndim)(log)
