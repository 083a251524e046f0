"""Graphs over a batch: every node by the rule of its op, those of bodies too.

What ``vmap`` is made of. A closed graph and operands, some with a batch axis in front: its nodes
are built again in order, those that depend on no such operand as they are, the others by
``Op.batching_rule``. An op without a rule of its own runs as a loop over the batch, one element an
iteration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, singledispatch
from typing import Any, Final

import numpy as np

from staticgrad.errors import OpDefinitionError
from staticgrad.errors.wording import quote
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Constant, Graph, Input, Node, Symbolic, ancestors
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.basic import full, full_like
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.indexing import take
from staticgrad.language.ops.logic import equal, greater_equal, less_equal, logical_and
from staticgrad.language.ops.loops import NUMBER, Branch, Loop, While
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import broadcast_to, reshape, swapaxes
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.reduce import Max, reduce_axes
from staticgrad.language.ops.selection import maximum, where
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size, bounds
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.building import here, within

#: Ops that never raise; of finite operands, derivatives of every order are finite, overflow apart.
_NAMES: Final = """
    abs add again at_least at_most bit_and bit_not bit_or bit_xor broadcast cast ceil checkpoint
    checkpoint_name concat
    constant cos cumsum eq erf floor ge gt input iota le logical_and logical_not logical_or
    logical_xor lt matmul max maximum min minimum mul ne neg pad random_bits reshape rint sigmoid
    sign sin size slice stop_gradient sub sum tanh transpose trunc where
"""
_TAME: Final = frozenset(_NAMES.split())


def is_tame(body: Graph) -> bool:
    """Return whether every op of a body is, and of the bodies of its loops."""
    return all(
        node.op.name in _TAME or (isinstance(node.op, Loop) and is_tame(node.op.body))
        for node in body.nodes
    )


def for_all(
    takes: Any, tame: bool, args: Sequence[Any], over: Sequence[bool], size: Size
) -> list[Any]:
    """Replace the elements that do not take a branch's case by values harmless to its body."""
    if tame:
        return [
            select_elements(takes, arg, full_like(arg, 0)) if has and arg.dtype.is_float else arg
            for arg, has in zip(args, over, strict=True)
        ]
    number = iota((size,), like=takes)
    taker = _largest(where(takes, number, full_like(number, 0)))
    replaced = []
    for arg, has in zip(args, over, strict=True):
        if has:
            substitute = broadcast_to(take(arg, taker, axis=0), arg.shape)
            arg = select_elements(takes, arg, stop_gradient(substitute))
        replaced.append(arg)
    return replaced


def takers(index: Any, place: int, count: int) -> Any:
    """Return which elements of a batch take case ``place`` of ``count``, by their indices."""
    if place == 0:
        return less_equal(index, 0)
    if place == count - 1:
        return greater_equal(index, place)
    return equal(index, place)


def select_elements(flags: Any, new: Any, old: Any) -> Any:
    """``new`` for the elements of the batch that ``flags`` marks, else ``old``."""
    shape = (flags.shape[0], *(1,) * (new.ndim - 1))
    return where(reshape(flags, shape), new, old)


#: A value of a graph over a batch, and whether it has the batch axis.
Batched = tuple[Any, bool]


def over_batch(
    body: Graph, operands: Sequence[Any], over: Sequence[bool], size: Size
) -> list[Batched]:
    """Batch a closed graph (vmap): its outputs for operands that have a batch axis in front."""
    pair_by_key: dict[tuple[Node, int], Batched] = {
        value.key: pair
        for value, pair in zip(body.inputs, zip(operands, over, strict=True), strict=True)
    }
    kind = binding_kind(tuple(operands))
    for node in body.nodes:
        if isinstance(node.op, Input):
            continue
        pairs = [pair_by_key[arg.key] for arg in node.args]
        if any(has for _, has in pairs):
            _build(node, pairs, pair_by_key, size)
        else:
            results = _copy_unbatched(node, [value for value, _ in pairs], kind)
            pair_by_key.update(((node, k), (value, False)) for k, value in enumerate(results))
    return [pair_by_key[value.key] for value in body.outputs.values()]


def substitute_batches(
    values: Sequence[Symbolic], batches: Mapping[tuple[Node, int], Batched], size: Size
) -> list[Batched]:
    """Substitute batches for elements in the graphs of values (vmap).

    Each with whether it has the axis; without it, it is another element, which all share. Nothing
    else is built again: what does not depend on an element is shared by all.
    """
    pair_by_key: dict[tuple[Node, int], Batched] = dict(batches)
    nodes = ancestors(values, oldest=min(node.serial for node, _ in batches))
    for node in sorted(nodes, key=lambda node: node.serial):
        if all((node, index) in batches for index in range(len(node.types))):
            continue
        pairs = [pair_by_key.get(arg.key, (arg, False)) for arg in node.args]
        if any(has for _, has in pairs):
            _build(node, pairs, pair_by_key, size)
        elif any(arg.key in pair_by_key for arg in node.args):
            copies = _copy_unbatched(node, [value for value, _ in pairs], Symbolic)
            pair_by_key.update(((node, k), (value, False)) for k, value in enumerate(copies))
        pair_by_key.update(batches)  # of a node some of whose results are replaced
    return [pair_by_key.get(value.key, (value, False)) for value in values]


def _build(
    node: Node, pairs: Sequence[Batched], pair_by_key: dict[tuple[Node, int], Batched], size: Size
) -> None:
    """Batch a node (vmap) some of whose operands have the batch axis, and note its results."""
    with within(node.origin, node.order):
        results = _batch_by_rule(
            node, [value for value, _ in pairs], [has for _, has in pairs], size
        )
    pair_by_key.update(((node, k), (value, True)) for k, value in enumerate(results))


def _copy_unbatched(node: Node, args: Sequence[Any], kind: Any) -> Sequence[Any]:
    """Rebuild a node that no batched operand reaches, unchanged."""
    if kind.computes:
        if isinstance(node.op, Constant):
            return [kind.lift(node.op.data.array)]
        # an op without operands would bind to a graph
        return _tuple(node.op(*args) if args else kind.bind(node.op, ()))
    if isinstance(node.op, Constant):
        return node.values
    return rebuild(node, tuple(args)).values


def _batch_by_rule(
    node: Node, args: Sequence[Any], over: Sequence[bool], size: Size
) -> Sequence[Any]:
    """Batch a node by its op's batching rule, and check the result's shape."""
    result = batch_op(node.op, size, args, over)
    if result is None:
        return one_by_one(node, args, over, size)
    results = _tuple(result)
    expected = [kind.with_shape((size, *kind.shape)) for kind in node.types]
    if [getattr(result, "type", None) for result in results] != expected:
        raise OpDefinitionError(
            f"{node.op.name}: batching_rule gives {', '.join(quote(result) for result in results)},"
            f" not {', '.join(map(str, expected))}",
            hint="the results of the op with the batch axis in front",
        )
    return results


def one_by_one(node: Node, args: Sequence[Any], over: Sequence[bool], size: Size) -> Sequence[Any]:
    """Batch a node without a batching rule: a loop over the batch, one element an iteration."""
    number = body_input("i", NUMBER, *here())
    inputs: list[Symbolic] = []
    slices: list[Symbolic] = []
    invariants: list[Symbolic] = []
    for arg, has in zip(node.args, over, strict=True):
        role, label = (slices, "x") if has else (invariants, "p")
        inputs.append(body_input(f"{label}{len(role)}", arg.type, *here()))
        role.append(inputs[-1])
    copy = rebuild(node, tuple(inputs))
    outputs = {f"y{place}": value for place, value in enumerate(copy.values)}
    loop = Loop(body_of([number, *slices, *invariants], outputs), size, 0, len(slices))
    sliced = [arg for arg, has in zip(args, over, strict=True) if has]
    shared = [arg for arg, has in zip(args, over, strict=True) if not has]
    return _tuple(loop(*sliced, *shared))


def _tuple(results: Any) -> tuple[Any, ...]:
    return tuple(results) if isinstance(results, tuple | list) else (results,)


# -- ops that run bodies --------------------------------------------------------------------------


@singledispatch
def batch_op(op: Op, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """The results of an op over a batch, by its own rule; of one that runs bodies, by an op that
    runs them over the batch."""
    return op.batching_rule(size, args, over)


class _BodyOverBatch:
    """A body over a batch: new inputs, some with the axis, and what it gives for them."""

    def __init__(self, body: Graph, over: Sequence[bool], size: Size) -> None:
        self.size, self.over = size, over
        self.inputs = [
            body_input(
                value.node.label,
                value.type.with_shape((size, *value.type.shape)) if has else value.type,
                value.node.origin,
                value.node.order,
            )
            for value, has in zip(body.inputs, over, strict=True)
        ]
        self.labels = [*body.outputs]
        self.results = over_batch(body, self.inputs, over, size)

    @property
    def gives(self) -> list[bool]:
        """Return which results have the axis."""
        return [has for _, has in self.results]

    def graph(self, over: Sequence[bool]) -> Graph:
        """The body, its results with the axis where ``over`` says so."""
        results = [
            in_front(self.size, [value], [has or not needs_axis])[0]
            for (value, has), needs_axis in zip(self.results, over, strict=True)
        ]
        return body_of(self.inputs, dict(zip(self.labels, results, strict=True)))


def _batch_until_stable(
    body: Graph, over: Sequence[bool], size: Size, first: int, carries: int
) -> _BodyOverBatch:
    """Batch a loop's body until the set of batched carries is a fixpoint.

    ``first`` inputs stand in front of so many ``carries``.
    """
    now = list(over)
    while True:
        batched_body = _BodyOverBatch(body, now, size)
        following = list(now)
        for place, has in enumerate(batched_body.gives[:carries]):
            following[first + place] = now[first + place] or has
        if following == now:
            return batched_body
        now = following


@batch_op.register
def _batch_loop(op: Loop, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """Batch a loop: slices and stacked outputs have the batch after the axis of iterations."""
    ends = op.carries, op.carries + op.slices
    batched_body = _batch_until_stable(op.body, [False, *over], size, 1, op.carries)
    has = batched_body.over[1:]
    first = [
        in_front(size, [arg], [has_axis or not needs_axis])[0]
        for arg, has_axis, needs_axis in zip(args[: ends[0]], over, has, strict=False)
    ]
    slices = [
        swapaxes(arg, 0, 1) if has_axis else arg
        for arg, has_axis in zip(args[ends[0] : ends[1]], over[ends[0] : ends[1]], strict=True)
    ]
    gives = [*has[: op.carries], *batched_body.gives[op.carries :]]
    results = _tuple(replace(op, body=batched_body.graph(gives))(*first, *slices, *args[ends[1] :]))
    stacks = [
        swapaxes(stack, 0, 1) if has_axis else stack
        for stack, has_axis in zip(results[op.carries :], gives[op.carries :], strict=True)
    ]
    return _single(in_front(size, [*results[: op.carries], *stacks], gives))


@batch_op.register
def _batch_while(op: While, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """Batch a while loop: as it is if the test has no batch axis, else by ``_until_all``."""
    batched_body = _batch_until_stable(op.body, [False, *over], size, 1, op.carries)
    test = _BodyOverBatch(op.test, batched_body.over, size)
    if test.gives[0]:
        return _loop_until_all_end(op, size, args, over)
    has = batched_body.over[1:]
    first = [
        in_front(size, [arg], [has_axis or not needs_axis])[0]
        for arg, has_axis, needs_axis in zip(args[: op.carries], over, has, strict=False)
    ]
    bodies = test.graph([False]), batched_body.graph(has[: op.carries])
    results = _tuple(op.with_bodies(bodies)(*first, *args[op.carries :]))
    return _single(in_front(size, results, [*has[: op.carries], False]))


def _loop_until_all_end(op: While, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """Batch a while loop with a batched test: run while any holds, freeze the finished elements.

    Two carries come first: which elements go on, and the iterations that each has done.
    """
    count = op.carries
    carries = in_front(size, args[:count], over[:count])
    invariants, has = args[count:], [*[True] * count, *over[count:]]
    iterations = full((size,), _NUMBER_0, args[0])
    number = full((), _NUMBER_0, args[0])
    ((going, _),) = over_batch(op.test, [number, *carries, *invariants], [False, *has], size)
    i = body_input("i", NUMBER, *here())
    flags = body_input("c0", TensorType(BOOL, (size,)), *here())
    done = body_input("c1", TensorType(I64, (size,)), *here())
    carry_inputs = [body_input(f"c{k + 2}", arg.type, *here()) for k, arg in enumerate(carries)]
    more = [body_input(f"p{k}", arg.type, *here()) for k, arg in enumerate(invariants)]
    inputs = [i, flags, done, *carry_inputs, *more]
    operands, has_axes = [*carry_inputs, *more], [True] * count + has[count:]
    if size != 0:
        operands = for_all(flags, is_tame(op.body) and is_tame(op.test), operands, has_axes, size)
    pairs = over_batch(op.body, [i, *operands], [False, *has_axes], size)
    results = in_front(size, [value for value, _ in pairs], [has_axis for _, has_axis in pairs])
    next_carries = [
        select_elements(flags, new, old) for new, old in zip(results, carry_inputs, strict=True)
    ]
    ((holds, _),) = over_batch(
        op.test, [i + 1, *results, *operands[count:]], [False, *has_axes], size
    )
    following = [
        logical_and(flags, holds),
        done + astype(flags, I64),
        *next_carries,
    ]
    body = body_of(inputs, {f"c{k}": value for k, value in enumerate(following)})
    still: Any = _any(flags)
    test = body_of(inputs, {"go": still})
    loop = While(test, body, count + 2, op.most)
    ends = _tuple(loop(going, iterations, *carries, *invariants))
    return _single([*ends[2 : 2 + count], ends[1]])


@batch_op.register
def _batch_branch(op: Branch, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """Batch a branch: with a batched index, run all cases and select by element."""
    if not over[0]:
        bodies = [_BodyOverBatch(case, over[1:], size) for case in op.cases]
        has = [any(flags) for flags in zip(*(body.gives for body in bodies), strict=True)]
        branch = Branch(tuple([body.graph(has) for body in bodies]))
        return _single(in_front(size, _tuple(branch(*args)), has))
    results_by_case = [_case_for_all(op, place, size, args, over) for place in range(len(op.cases))]
    ends = results_by_case[-1]
    for place in reversed(range(len(results_by_case) - 1)):
        takes = takers(args[0], place, len(results_by_case))
        ends = [
            select_elements(takes, a, b) for a, b in zip(results_by_case[place], ends, strict=True)
        ]
    return _single(ends)


def _case_for_all(
    op: Branch, place: int, size: Size, args: Sequence[Any], over: Sequence[bool]
) -> list[Any]:
    """Run one case of a batched branch for all elements, harmless for those that do not take it."""
    case, operands, has = op.cases[place], args[1:], over[1:]

    def results(values: Sequence[Any]) -> list[Any]:
        pairs = over_batch(case, values, has, size)
        return in_front(size, [value for value, _ in pairs], [has_axis for _, has_axis in pairs])

    if len(op.cases) == 1 or size == 0:
        return results(operands)
    takes = takers(args[0], place, len(op.cases))
    if is_tame(case):
        return results(for_all(takes, True, operands, has, size))
    flags = body_input("p0", TensorType(BOOL, (size,)), *here())
    inputs = [
        flags,
        *(body_input(f"p{k + 1}", arg.type, *here()) for k, arg in enumerate(operands)),
    ]
    case_results = results(for_all(flags, False, inputs[1:], has, size))
    zeros: list[Any] = [
        full(value.shape, np.zeros((), value.dtype.numpy), flags) for value in case_results
    ]
    bodies = [
        body_of(inputs, dict(zip(case.outputs, outputs, strict=True)))
        for outputs in (zeros, case_results)
    ]
    index = astype(_any(takes), I64)
    return [*_tuple(Branch(tuple(bodies))(index, takes, *operands))]


def _single(results: Sequence[Any]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)


#: The number 0 of int64.
_NUMBER_0: Final = np.zeros((), np.int64)


def _any(flags: Any) -> Any:
    """Return whether any element is true."""
    return reduce_axes(partial(Max, neutral=True), flags, tuple(range(flags.ndim)), keepdims=False)


def _largest(numbers: Any) -> Any:
    """The largest of the numbers of a vector; 0 if it is empty."""
    (size,) = numbers.shape
    kind = Max if bounds(size)[0] else partial(Max, neutral=True)
    return maximum(kind((0,))(numbers), 0)
