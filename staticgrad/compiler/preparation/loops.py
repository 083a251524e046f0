"""Rewrites of loops: loop-invariant factors, stretches of iterations, stacks shared with carries.

They run just before kernels are made, so that derivatives and other passes see one loop.

**Factors.** A product packs a transposed factor as it reads it. In a loop that would happen in
every iteration. A loop-invariant factor is transposed once, before the first iteration, and read in
that layout. ``with_panels`` uses another layout.

**Stretches.** A kernel does not return before its last iteration, and signals wait for that. So a
loop without a fixed end, or one of many iterations, becomes two loops. The inner one makes a
limited number of iterations and is a kernel (``lowering/loops/time_loops.py``). The outer one, the
driver's, continues as long as the inner one makes all of its iterations. Loops whose iterations are
no kernel are unchanged.

**Shared stacks.** The gradient of a loop reads the carries at the beginning of each iteration, and
often those at its end: the same values, an iteration later. Two stacks would take twice the bytes,
and a copy each in every iteration, besides the two buffers of the carry. Here one array has a row
for the carry at the beginning of each iteration, which the iteration reads in place, and a row for
the final carry. Each iteration writes the row of the next one. A stack is all rows except the last
one, or except the first one. Loops that may become one kernel, whose carries are in registers, are
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from staticgrad.analysis.cost import ROWS, all_seconds
from staticgrad.language.functions.creation import constant
from staticgrad.language.ir.bodies import body_input, body_of, inlined, rebuilt
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
from staticgrad.language.ir.graph import Graph, Node, Symbolic, bodies_of
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
from staticgrad.support.records import dataclass, replace

#: Iterations for which that pays: transposing takes the time of packing in some of them.
FEWEST_ITERATIONS: Final = 8
#: Rows of an iteration's product up to which packing takes a noticeable part of it.
MOST_ROWS: Final = 64
#: Elements that stay in the second-level cache, from where a product reads them.
MOST_ELEMENTS: Final = 1 << 17


@dataclass(frozen=True)
class Arrangement:
    """An order of a matrix's elements in which products read it in iterations that do not change
    it.

    ``fewest_iterations``: for which that pays: bringing the matrix into the order takes time that
    some gain. ``pays``: whether all readers of a body's input are products that gain, given the
    number of iterations. ``arranged``: the matrix in the order, before the first iteration;
    ``stored``: its type in the body. ``product``: what replaces a product in the loop.
    """

    fewest_iterations: int
    pays: Callable[[Symbolic, Sequence[Node], int], bool]
    arranged: Callable[[Symbolic], Symbolic]
    stored: Callable[[TensorType], TensorType]
    product: Callable[[MatMul], Op]


def with_arranged(graph: Graph, order: Arrangement) -> Graph:
    """Return the graph whose loops take such matrices in an order; each element is what it was."""

    def rewritten(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if hint_value(op.iterations) < order.fewest_iterations:
            return None
        places = _places(op, order)
        if not places:
            return None
        operands = list(args)
        for place in places:
            operands[place] = order.arranged(args[place])
        arranged = replace(op, body=_body(op.body, {1 + place for place in places}, order))
        return Node(arranged, tuple(operands), node.types, node.origin, node.order).values

    return graph.replace_ops(Loop, rewritten)


def _places(op: Loop, order: Arrangement) -> list[int]:
    """Return the places of the operands that an iteration reads as factors in the order, and not
    otherwise."""
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
        if value.key not in results and nodes and order.pays(value, nodes, iterations)
    ]


def _body(body: Graph, arranged: set[int], order: Arrangement) -> Graph:
    """Return the body that takes these inputs in the order."""
    new: dict[tuple[Node, int], Symbolic] = {}
    for place, value in enumerate(body.inputs):
        kind, node = value.type, value.node
        kind = order.stored(kind) if place in arranged else kind
        new[value.key] = body_input(node.label, kind, node.origin, node.order)
    keys = {body.inputs[place].key for place in arranged}
    products = {
        node: order.product(node.op)
        for node in body.nodes
        if isinstance(node.op, MatMul) and node.args[1].key in keys
    }
    return body_of(new.values(), rebuilt(body, new, changed=products))


def _pays_transposed(value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
    small = value.ndim == 2 and hint_value(value.type.size) <= MOST_ELEMENTS
    return small and all(
        isinstance(node.op, MatMul)
        and node.op.transpose_b
        and node.args[1].key == value.key != node.args[0].key
        and hint_value(node.types[0].shape[-2]) <= MOST_ROWS
        for node in readers
    )


#: Products that would pack a transposed factor in every iteration read it as it lies.
_TRANSPOSED: Final = Arrangement(
    FEWEST_ITERATIONS,
    _pays_transposed,
    lambda value: cast(Symbolic, swapaxes(value, -1, -2)),
    lambda kind: kind.with_shape(kind.shape[::-1]),
    lambda op: replace(op, transpose_b=False),
)


def with_transposed_invariants(graph: Graph) -> Graph:
    """Return the graph whose loops take such matrices transposed; each element is what it was."""
    return with_arranged(graph, _TRANSPOSED)


#: How nodes touch memory that may run for a case that is not taken.
_PURE: Final = (Pointwise, View, ReshapeForm, Identity, Reduce, Contract)
#: Operations of all cases of a branch, at most, that take no longer than to leave a kernel for one.
_FEW_OPERATIONS: Final = 4096


def with_selected_cases(graph: Graph) -> Graph:
    """Return the graph whose loops compute all cases of a cheap branch, and select the results.

    Results are bitwise those of the case that is taken, and the others have no effect: they look
    up no places, and have no loops or calls.
    """

    def chosen(_: Node, op: Branch, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        cases = [case.replace_ops(Branch, chosen) for case in op.cases]
        nodes = [node for case in cases for node in case.nodes if not node.is_leaf]
        work = sum(node.op.flops * hint_value(node.types[0].size) for node in nodes)
        if work > _FEW_OPERATIONS or not all(isinstance(node.form, _PURE) for node in nodes):
            return None
        *before, found = [inlined(case, args[1:]) for case in cases]
        for number, case in reversed([*enumerate(before)]):
            below: Any = less_equal(args[0], number)
            pairs = zip(case, found, strict=True)
            found = [where(below, one, other) for one, other in pairs]
        return found

    def rewritten(node: Node, op: Any, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        bodies = [body.replace_ops(Branch, chosen) for body in op.bodies]
        if all(new is old for new, old in zip(bodies, op.bodies, strict=True)):
            return None
        made = Node(op.with_bodies(bodies), args, node.types, node.origin, node.order)
        return made.values

    return graph.replace_ops((Loop, While), rewritten)


#: Iterations of a stretch, at most; of what is no longer, there is but one.
_MOST: Final = 4096
#: And at least, so that it pays to keep what is carried.
_FEWEST: Final = 16
#: Predicted seconds of a stretch: programs begin and end in native code while iterations take
#: little beyond that (``runtime/entry.py``).
_LONGEST: Final = 5e-5


def with_tested_iterations(graph: Graph, fuse: Callable[[Graph], Schedule]) -> Graph:
    """Return the graph with long tested loops in stretches; ``fuse`` gives schedules."""

    def rewritten(node: Node, op: While, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if _is_short(op):
            return None
        length = _MOST
        seconds = _seconds(fuse(_stretch(node, length)))
        if seconds is None:
            return None
        while length > _FEWEST and seconds * length > _LONGEST * _MOST:
            length //= 2
        return _in_stretches(node, args, _stretch(node, length))

    return graph.replace_ops(While, rewritten)


def _is_short(op: While) -> bool:
    return isinstance(op.most, int) and op.most <= _MOST


def _seconds(stretch: Schedule) -> float | None:
    kernels = [step for step in stretch.steps if not step.bodies()]
    if len(kernels) != len(stretch.steps):
        return None
    arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
    return sum(all_seconds(kernels, arguments, ROWS))


class _StretchInputs:
    """The inputs of a stretch: its number, the loop's carries, how many iterations were made,
    whether there may be another one, and what stays."""

    def __init__(self, node: Node) -> None:
        assert isinstance(node.op, While)
        carries = node.op.carries
        types = [arg.type for arg in node.args]
        self.number = body_input("i", NUMBER, *here())
        self.carries = [_input("c", *each) for each in enumerate(types[:carries])]
        self.done, self.goes = _input("c", carries, NUMBER), _input("c", carries + 1, TRUTH)
        self.rest = [_input("p", *each) for each in enumerate(types[carries:])]
        self.all = [self.number, *self.carries, self.done, self.goes, *self.rest]


def _input(role: str, number: int, kind: TensorType) -> Symbolic:
    return body_input(f"{role}{number}", kind, *here())


def _stretch(node: Node, length: int) -> Graph:
    op, outer = node.op, _StretchInputs(node)
    assert isinstance(op, While)
    inner = While(_from_there(node, op.test), _from_there(node, op.body), op.carries, length)
    found: Any = inner(*outer.carries, outer.done, *outer.rest)
    *carries, made = found
    goes = equal(made, length)
    values = [*carries, outer.done + made, goes]
    return body_of(outer.all, {f"c{number}": value for number, value in enumerate(values)})


def _from_there(node: Node, body: Graph) -> Graph:
    op, types = node.op, [arg.type for arg in node.args]
    assert isinstance(op, While)
    i = body_input("i", NUMBER, *here())
    carries = [_input("c", *each) for each in enumerate(types[: op.carries])]
    done, *rest = [_input("p", *each) for each in enumerate([NUMBER, *types[op.carries :]])]
    number: Any = done + i
    given: list[Any] = inlined(body, [number, *carries, *rest])
    if body is op.test and op.most is not None:
        before: Any = less(number, op.most)
        given = [logical_and(given[0], before)]
    return body_of([i, *carries, done, *rest], dict(zip(body.outputs, given, strict=True)))


def _in_stretches(node: Node, args: Sequence[Symbolic], stretch: Graph) -> Sequence[Symbolic]:
    """Return the results of the loop, a stretch at a time."""
    op, inputs = node.op, _StretchInputs(node)
    assert isinstance(op, While)
    test = body_of(inputs.all, {"go": inputs.goes})
    loop = While(test, stretch, op.carries + 2)
    first: list[Any] = [*args[: op.carries], constant(0, I64), constant(True)]
    found: Any = loop(*first, *args[op.carries :])
    results: Sequence[Symbolic] = found[: op.carries + 1]
    return results


#: Multiplications per row from which a body is not written out as one kernel: with additions about
#: as many expressions as ``staticgrad.compiler.lowering.loops.driven.MOST``.
HEAVY: Final = 3000
#: Elements of an array whose rows read each other from which on workers share its kernels.
STENCIL: Final = 1 << 15


def with_logged_carries(graph: Graph) -> Graph:
    """Return the graph whose loops over several kernels store their carries in the stacks."""
    roots = {value.key for value in graph.roots}

    def logged(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not _is_driven(op.body):
            return None
        stacks = _stacks(node, op, roots)
        return _logged(node, op, args, stacks) if stacks else None

    return graph.replace_ops(Loop, logged)


def _is_driven(body: Graph) -> bool:
    """Return whether a body surely has several kernels, or one that workers share: it has a large
    product, a routine, or a stencil over many rows."""
    carried = {value.node for value in body.inputs if value.node.label.startswith("c")}
    for node in body.nodes:
        if node.is_leaf:
            continue
        if any(arg.node in carried for arg in node.args):
            carried.add(node)
        if isinstance(node.form, CallForm) or any(map(_is_driven, bodies_of(node))):
            return True
        if isinstance(node.op, MatMul) and _multiplications(node, carried) >= HEAVY:
            return True
        if isinstance(node.form, Assemble) and node in carried and _moves_rows(node):
            return True
    return False


def _moves_rows(node: Node) -> bool:
    """Return whether an assembly moves rows of a large array: rows read each other."""
    (whole,) = node.types
    many = hint_value(whole.size) >= STENCIL
    return many and any(arg.shape[:1] != whole.shape[:1] for arg in node.args)


def _multiplications(node: Node, carried: set[Node]) -> int:
    """Those of a product for what may be a row of the loop: no other than one of its first factor,
    where that alone depends on what is carried."""
    assert isinstance(node.op, MatMul)
    *_, rows, columns = map(hint_value, node.types[0].shape)
    inner = hint_value(node.args[0].shape[-2 if node.op.transpose_a else -1])
    first, second = (arg.node in carried for arg in node.args)
    return (columns if first and not second else min(rows, columns)) * inner


def _stacks(node: Node, op: Loop, roots: set[tuple[Node, int]]) -> dict[int, tuple[int, bool]]:
    """Stacks of carried values: of each result its carry, and whether it is what iterations end
    with."""
    outs = [*op.body.outputs.values()]
    begun = {value.key: place for place, value in enumerate(op.body.inputs[1 : 1 + op.carries])}
    ended = {value.key: place for place, value in enumerate(outs[: op.carries])}
    found: dict[int, tuple[int, bool]] = {}
    for place, value in enumerate(outs[op.carries :], op.carries):
        if (node, place) in roots:
            continue
        if value.key in begun:
            found[place] = begun[value.key], False
        elif value.key in ended:
            found[place] = ended[value.key], True
    return found


def _logged(
    node: Node, op: Loop, args: tuple[Symbolic, ...], stacks: dict[int, tuple[int, bool]]
) -> list[Symbolic]:
    carries = tuple(sorted({carry for carry, _ in stacks.values()}))
    outs = [*op.body.outputs.values()]
    kept = [place for place in range(op.carries, len(outs)) if place not in stacks]
    named = {f"c{n}": value for n, value in enumerate(outs[: op.carries])}
    named |= {f"y{n}": outs[place] for n, place in enumerate(kept)}
    loop = replace(op, body=body_of(op.body.inputs, named), logged=carries)
    types = loop.infer(*[arg.type for arg in args])
    assert isinstance(types, tuple) or len(named) == 1
    types = types if isinstance(types, tuple) else (types,)
    made = Node(loop, args, types, node.origin, node.order).values
    results: list[Any] = [*made[: op.carries], *[made[0]] * (len(outs) - op.carries)]
    for n, place in enumerate(kept, op.carries):
        results[place] = made[n]
    for place, (carry, ends) in stacks.items():
        results[place] = _rows(made[carry], int(ends != op.reverse), op.iterations)
    for carry in carries:
        last = _rows(made[carry], 0 if op.reverse else op.iterations, 1)
        results[carry] = Reshape(last.shape[1:])(last)
    return results


def _rows(log: Symbolic, begin: Size, count: Size) -> Any:
    starts = (begin, *(0 for _ in log.shape[1:]))
    return Slice(starts, (count, *log.shape[1:]), (1,) * log.ndim)(log)
