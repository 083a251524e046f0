"""Loops and branches over values: scan, fori_loop, map, while_loop, cond, switch.

Each calls the functions that it is given once, with values that stand for those of an iteration,
and builds one node of what they build (``ops/loops.py``), so that a program of a thousand
iterations has the size of one. Values and parameters that a function closes over become operands:
gradients with respect to them are as of any. Carries, slices and results are trees: dicts, lists,
tuples, named tuples and None. Of eager tensors the functions run in Python, iteration by iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from staticgrad.errors import ArgumentError, CarryError, DTypeError
from staticgrad.errors.wording import kind_of
from staticgrad.functions.call_types import R, T
from staticgrad.functions.draws import Draws
from staticgrad.functions.loops.arguments import (
    bound_of,
    bounded_iterations,
    check_function,
    check_one,
    iterations_of,
    iterations_over,
)
from staticgrad.functions.loops.eager import (
    is_eager,
    run_branch,
    run_loop,
    run_while,
)
from staticgrad.functions.loops.first_carries import FirstCarries
from staticgrad.functions.loops.iteration_slices import with_slices
from staticgrad.functions.operand_kinds import by_all_operands
from staticgrad.functions.tracing import (
    Trace,
    Traced,
    as_carries,
    as_results,
    called,
    check_carries,
    check_cases,
    check_structure,
    labelled,
    named_after,
    not_a_pair,
)
from staticgrad.functions.trees import Tree, flatten, mapped, unflatten
from staticgrad.ir.bodies import body_of
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Symbolic
from staticgrad.ir.kinds import binding_kind
from staticgrad.ir.op import Op
from staticgrad.ir.value import Value
from staticgrad.ops.loops import Branch, Loop, While
from staticgrad.ops.operands import as_value
from staticgrad.types import dim as dims
from staticgrad.types.dim import Size
from staticgrad.types.dtype import BOOL, I64
from staticgrad.types.tensor import TensorType

#: What a traced loop calls: the iteration's number, its carry and its slices give carry and
#: outputs.
Iteration = Callable[[Any, Any, Any], tuple[Any, Any]]


@by_all_operands
def scan(
    f: Callable[[Any, Any], tuple[R, T]],
    init: Any,
    xs: Any = None,
    length: Any = None,
    reverse: bool = False,
) -> tuple[R, T]:
    """Run ``f`` along the first axis of ``xs``, carrying a state from iteration to iteration.

    As ``for x in xs: carry, y = f(carry, x)``, as one node of the graph whatever the length.

    Args:
        f: takes the carry and a slice of ``xs``, and returns the next carry and an output; called
            once, to build the body. None stands for no output.
        init: the first carry, a tree of values, arrays and numbers. A carry keeps its shapes and
            dtypes; a Python number takes the dtype that the iteration gives it.
        xs: a tree of values with equal first axes; None: the slices are None.
        length: the number of iterations; by default the size of those axes. It may be a named size.
        reverse: from the last slice to the first; outputs stand where their slices stand.

    Returns:
        The last carry, and the outputs stacked along a new first axis. Of no slices the last carry
        is the first one.

    Raises:
        CarryError: a carry changes its type or its containers, at the line that does it.
        ArgumentError: neither slices nor a length.
        ShapeError, RankError: first axes that differ, or none.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (4,), "float64")
    >>> last, sums = scan(lambda total, each: (total + each, total + each), 0.0, x)
    >>> sg.evaluate(sums, {"x": [1.0, 2.0, 3.0, 4.0]})
    array([ 1.,  3.,  6., 10.])
    """
    return _scan("scan", f, init, xs, length, reverse)


def _scan(
    name: str, f: Any, init: Any, xs: Any, length: Any = None, reverse: bool = False
) -> tuple[Any, Any]:
    check_function(name, "f", f, "carry", "x")
    slices, shape = flatten(xs)
    kind = binding_kind((*flatten(init)[0], *slices))
    values = [as_value(name, each, kind) for each in slices]
    iterations = iterations_over(name, values, length)

    def iteration(_: Any, carry: Any, each: Sequence[Any]) -> tuple[Any, Any]:
        found: Any = f(carry, unflatten(shape, each))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise not_a_pair(name, found)
        return found[0], found[1]

    return _loop(name, named_after(f, iteration), init, values, iterations, reverse)


@by_all_operands
def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[[Any, Any], R],
    init_val: Any,
    max_steps: Any = None,
) -> R:
    """``for i in range(lower, upper): carry = body_fun(i, carry)``, as one node of the graph.

    Args:
        lower, upper: integers, named sizes, or integer values of one element, whose numbers only a
            run knows.
        body_fun: takes the number of the iteration (int64, 0-d) and the carry, returns the next
        carry.
        init_val: the first carry, a tree.
        max_steps: stop after so many iterations; an integer or a named size. Where a bound is a
            value, gradients in reverse mode need it, as those of ``while_loop``.

    Returns:
        The last carry; the first one if there is no iteration.

    Raises:
        CarryError: as ``scan``.
        DTypeError: a bound that is a value of no integers.
        ArgumentError: a bound that is no integer or of several elements; ``max_steps`` of known
            bounds.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> sg.evaluate(fori_loop(0, 3, lambda i, y: y * x + i, 1.0), {"x": 2.0})
    array(12.)
    """
    check_function("fori_loop", "body_fun", body_fun, "i", "carry")
    if isinstance(lower, Value) or isinstance(upper, Value):
        kind = binding_kind((lower, upper))
        first, last = (bound_of("fori_loop", each, kind) for each in (lower, upper))

        def test(carry: Any) -> Any:
            return carry[0] < last

        def step(carry: Any) -> Any:
            return carry[0] + 1, body_fun(carry[0], carry[1])

        return while_loop(test, named_after(body_fun, step), (first, init_val), max_steps)[1]
    if max_steps is not None:
        raise ArgumentError(
            "fori_loop: both bounds are known, and max_steps= bounds the number of iterations",
            hint="leave max_steps= out: it is for bounds that are values",
        )
    start, end = iterations_of("fori_loop", lower), iterations_of("fori_loop", upper)
    iterations = dims.maximum(end - start, 0)

    def iteration(i: Any, carry: Any, _: Any) -> tuple[Any, Any]:
        return body_fun(i if start == 0 else i + start, carry), None

    return _loop("fori_loop", named_after(body_fun, iteration), init_val, [], iterations, False)[0]


@by_all_operands
def map_slices(f: Callable[[Any], R], xs: Any) -> R:
    """``f`` of every slice of ``xs`` along its first axis, stacked: ``sg.map``.

    One slice at a time, in one node of the graph; what broadcasts is better written without it.

    Args:
        f: takes a slice of each, in the containers of ``xs``.
        xs: a value, or values in containers, of equal first sizes.

    Returns:
        What ``f`` gives, with the axis of slices in front.

    Raises:
        ArgumentError: there are no slices.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (3, 2), "float64")
    >>> sg.evaluate(sg.map(lambda row: row.sum(), x), {"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]})
    array([ 3.,  7., 11.])
    """
    check_function("map", "f", f, "x")

    def iteration(_: Any, each: Any) -> tuple[Any, Any]:
        return None, f(each)

    return _scan("map", named_after(f, iteration), None, xs)[1]


map_slices.__name__ = map_slices.__qualname__ = "map"  # as users, messages and pickles call it


@by_all_operands
def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], R],
    init_val: Any,
    max_steps: Any = None,
) -> R:
    """``while cond_fun(carry): carry = body_fun(carry)``, as one node of the graph.

    Args:
        cond_fun: takes the carry, returns one bool.
        body_fun: takes the carry, returns the next one.
        init_val: the first carry, a tree.
        max_steps: stop after so many iterations whatever the test says; an integer or a named size.
            Needed for gradients in reverse mode, which keep every iteration's carry; ``jvp`` does
            not.

    Returns:
        The last carry.

    Raises:
        CarryError: as ``scan``. DTypeError: the test gives no bool.
        ArgumentError: ``max_steps`` is no integer, or below 0.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> sg.evaluate(while_loop(lambda y: y < 100.0, lambda y: y * y, x), {"x": 3.0})
    array(6561.)
    """
    check_function("while_loop", "cond_fun", cond_fun, "carry")
    check_function("while_loop", "body_fun", body_fun, "carry")
    bound = None if max_steps is None else bounded_iterations("while_loop", max_steps)
    leaves, tree = flatten(init_val)
    if is_eager(leaves):
        return run_while(cond_fun, body_fun, init_val, bound)

    def build(trace: Trace, carries: list[Symbolic], kinds: Sequence[TensorType]) -> Any:
        carry = unflatten(tree, carries)
        tests, _ = called("while_loop", cond_fun, carry)
        test = as_results("while_loop", tests)
        if len(test) != 1 or test[0].type != TensorType(BOOL, ()):
            found = test[0].type if len(test) == 1 else f"{len(test)} values"
            raise DTypeError(
                f"while_loop: the test gives {found}, not one bool",
                hint="a comparison of one element, or (...).any(), (...).all()",
                at=test[0].node.origin if test else None,
            )
        ends, shape = called("while_loop", body_fun, carry)
        check_structure("while_loop", shape, tree)
        following = as_carries("while_loop", ends, kinds)
        given = (trace.first, *carries)
        trace.parts += [Traced(given, tuple(test)), Traced(given, tuple(following))]
        return following

    ((test, step), captured), carries = _traced("while_loop", leaves, tree, build)
    op = While(
        body_of(test.given, {"go": test.results[0]}),
        body_of(step.given, labelled("c", step.results)),
        len(carries),
        bound,
    )
    return unflatten(tree, _applied(op, carries, captured)[: len(carries)])


@by_all_operands
def cond(pred: Any, true_fun: Callable[..., R], false_fun: Callable[..., R], *operands: Any) -> R:
    """``true_fun(*operands) if pred else false_fun(*operands)``; only the one that is taken runs.

    ``where`` computes both and chooses by element; this chooses one computation for the whole.

    Args:
        pred: one bool (or integer: true if not 0); of Python's bools the function is called now.
        true_fun, false_fun: take the operands, and return trees of equal types.
        operands: trees; the functions may as well close over values.

    Returns:
        What the branch that is taken gives.

    Raises:
        CarryError: the functions give other types or containers.
        ArgumentError: ``pred`` is not one element.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> y = cond(x > 0.0, lambda: sg.sqrt(x), lambda: 0.0 * x)
    >>> sg.evaluate(y, {"x": -4.0})
    array(-0.)
    """
    given = [f"operand {place}" for place in range(len(operands))]
    check_function("cond", "true_fun", true_fun, *given)
    check_function("cond", "false_fun", false_fun, *given)
    if isinstance(pred, bool):
        return (true_fun if pred else false_fun)(*operands)
    value = as_value("cond", pred, binding_kind((pred, *flatten(list(operands))[0])))
    check_one("cond", "the condition", value)
    if value.dtype.is_float:
        raise DTypeError(
            f"cond: the condition is {value.type}, neither a bool nor an integer",
            hint="compare it: x > 0, x != 0",
        )
    chosen = functions.astype(functions.not_equal(value, 0) if value.dtype != BOOL else value, I64)
    return _branch("cond", chosen, (false_fun, true_fun), operands)


@by_all_operands
def switch(index: Any, branches: Sequence[Callable[..., R]], *operands: Any) -> R:
    """``branches[index](*operands)``; only the one that is taken runs.

    Args:
        index: one integer; below 0 it counts as 0, beyond the last branch as that.
        branches: functions of the operands that return trees of equal types.
        operands: trees; the functions may as well close over values.

    Returns:
        What the branch gives.

    Raises:
        CarryError: the functions give other types or containers.
        ArgumentError: no branches, or ``index`` is not one integer.

    >>> import staticgrad as sg
    >>> i, x = sg.input("i", (), "int64"), sg.input("x", (), "float64")
    >>> y = switch(i, [lambda: x, lambda: -x, lambda: x * x])
    >>> [float(sg.evaluate(y, {"i": i, "x": 3.0})) for i in (0, 1, 7)]
    [3.0, -3.0, 9.0]
    """
    given: Any = branches
    if not isinstance(given, Iterable):
        what = "one function" if callable(given) else kind_of(given)
        raise ArgumentError(f"switch: branches is {what}", hint="switch(i, [f, g], ...)")
    functions_ = tuple(branches)
    for case in functions_:
        check_function("switch", "a branch", case, *["operand"] * len(operands))
    if not functions_:
        raise ArgumentError("switch: there are no branches")
    if isinstance(index, int) and not isinstance(index, bool):
        return functions_[min(max(index, 0), len(functions_) - 1)](*operands)
    value = as_value("switch", index, binding_kind((index, *flatten(list(operands))[0])))
    check_one("switch", "the index", value)
    if not value.dtype.is_integer:
        raise DTypeError(f"switch: the index is {value.type}, not an integer")
    return _branch("switch", functions.astype(value, I64), functions_, operands)


# -- building -------------------------------------------------------------------------------------


def _loop(
    name: str,
    iteration: Iteration,
    init: Any,
    slices: Sequence[Any],
    iterations: Size,
    reverse: bool,
) -> tuple[Any, Any]:
    """The last carry and the stacked outputs of a loop."""
    leaves, tree = flatten(init)
    if is_eager([*leaves, *slices]):
        return run_loop(iteration, init, slices, iterations, reverse)
    shapes: list[Tree] = []
    outputs: list[Symbolic] = []
    given: list[Symbolic] = []

    def build(trace: Trace, carries: list[Symbolic], kinds: Sequence[TensorType]) -> Any:
        given[:] = [
            trace.input(f"x{place}", value.type.with_shape(value.shape[1:]))
            for place, value in enumerate(slices)
        ]
        found, shape = called(name, iteration, trace.first, unflatten(tree, carries), given)
        ends_tree, shapes[:] = shape.parts[0], [shape.parts[1]]
        check_structure(name, ends_tree, tree)
        following = as_carries(name, found[: tree.count], kinds)
        outputs[:] = as_results(name, found[tree.count :])
        trace.parts.append(Traced((trace.first, *carries, *given), (*following, *outputs)))
        return following

    ((part,), captured), carries = _traced(name, leaves, tree, build, slices)
    count = len(carries)
    if not count and not outputs:
        return init, unflatten(shapes[0], [])
    ends, rest = part.results[:count], part.results[count:]
    named = {**labelled("c", ends), **labelled("y", rest)}
    body, rows, others = with_slices(
        body_of(part.given, named), count, len(slices), captured, iterations
    )
    op = Loop(body, iterations, count, len(slices) + len(rows), reverse)
    found = _applied(op, [*carries, *slices, *rows], others)
    return unflatten(tree, found[:count]), unflatten(shapes[0], found[count:])


def _traced(
    name: str,
    leaves: Sequence[Any],
    tree: Tree,
    build: Callable[[Trace, list[Symbolic], Sequence[TensorType]], list[Symbolic]],
    slices: Sequence[Value] = (),
) -> tuple[tuple[list[Traced], list[Symbolic]], list[Symbolic]]:
    """What ``build`` traces, closed, with first carries whose types stay; and those carries.

    The functions are traced again where a Python number takes another dtype than it began with.
    """
    first = FirstCarries(name, leaves)
    draws = Draws()
    while True:
        draws.again()
        trace = Trace()
        kinds = [value.type for value in first.values]
        carries = [trace.input(f"c{place}", kind) for place, kind in enumerate(kinds)]
        try:
            ends = build(trace, carries, kinds)
        except CarryError:  # of a loop inside, perhaps of a float that began as float32
            if not first.widen():
                raise
            continue
        if first.follow(ends):
            continue
        check_carries(name, tree, first.values, ends, trace)
        closed = trace.close(once=True)
        if not first.widen_beside({value.dtype for value in (*slices, *closed[1])}):
            return closed, first.values


def _branch(
    name: str, index: Any, cases: Sequence[Callable[..., Any]], operands: Sequence[Any]
) -> Any:
    """The result of one of several functions."""
    leaves, _ = flatten(list(operands))
    if is_eager([index, *leaves]):
        return run_branch(index, cases, operands)
    given = mapped(lambda leaf: as_value(name, leaf), list(operands))
    trace = Trace()
    found = [called(name, case, *given) for case in cases]
    for _, shape in found:
        check_structure(name, shape, found[0][1])
    kinds: list[TensorType | None] = [
        next((value.type for value in each if isinstance(value, Symbolic)), None)
        for each in zip(*(own for own, _ in found), strict=True)
    ]
    results: list[list[Symbolic]] = []
    for own, _ in found:
        values = [
            as_results(name, [leaf])[0] if kind is None else as_carries(name, [leaf], [kind])[0]
            for leaf, kind in zip(own, kinds, strict=True)
        ]
        check_cases(name, found[0][1], results[0] if results else values, values)
        results.append(values)
        trace.parts.append(Traced((), tuple(values)))
    if not results[0]:
        return unflatten(found[0][1], [])
    closed, captured = trace.close(once=False)
    op = Branch(tuple(body_of(part.given, labelled("y", part.results)) for part in closed))
    return unflatten(found[0][1], _applied(op, [index], captured))


def _applied(op: Op, own: Sequence[Any], captured: Sequence[Symbolic]) -> list[Any]:
    found: Any = op(*own, *captured)
    return [*found] if isinstance(found, tuple) else [found]
