"""Loops and branches over values: scan, fori_loop, map, while_loop, cond, switch.

Each calls its functions once, with symbolic values for those of an iteration, and builds
one node from the result (``ops/loops.py``), so a program of a thousand iterations is as
large as a program of one. Values and parameters that a function closes over become operands:
gradients with respect to them work as usual. Carries, slices and results are trees: dicts, lists,
tuples, named tuples and None. With eager tensors the functions run in Python, once per iteration;
if carries or operands are Python numbers, a trace beside that finds the dtypes that they have in a
graph.

A body that reads ``x[i]`` with the loop index i gets the row as a slice, as of ``scan``: a slice
needs no lookup, and its cotangent is stacked row by row. The cotangent of an array that all
iterations read is accumulated as a whole in each of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence, Set
from contextvars import ContextVar
from functools import partial
from typing import Any

from staticgrad.errors import (
    ArgumentError,
    CarryError,
    DTypeError,
    RankError,
    ShapeError,
    StaticgradError,
)
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import kind_of, quote
from staticgrad.functions import aggregate
from staticgrad.functions.call_types import R, T
from staticgrad.functions.creation import zeros_like
from staticgrad.functions.operand_kinds import by_all_operands
from staticgrad.functions.streams import Draws, loop_at_once
from staticgrad.functions.tracing import (
    Trace,
    Traced,
    as_carries,
    as_results,
    becomes,
    call_traced,
    check_carries,
    check_cases,
    check_structure,
    label_values,
    named_after,
    not_a_pair,
)
from staticgrad.language.calls.execution import holding, in_graphs
from staticgrad.language.ir.bodies import body_input, body_of, rebuilt
from staticgrad.language.ir.forms import Gather
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic, constant
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.nodes import body_of_a
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import is_weak
from staticgrad.language.ops.indexing import concatenate, flip, part, stack
from staticgrad.language.ops.limits import reached_end
from staticgrad.language.ops.logic import not_equal
from staticgrad.language.ops.loops import Branch, Loop, While
from staticgrad.language.ops.movement import expand_dims, moveaxis, reshape, squeeze
from staticgrad.language.ops.operands import as_value, axis_of, known_integer
from staticgrad.language.ops.selection import where
from staticgrad.language.trees import (
    Tree,
    check_slices,
    flatten,
    map_leaves,
    unflatten,
    with_complex_values,
)
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import BEYOND, MOST_SIZE, TensorType
from staticgrad.language.types.dim import Dim, Size, minimum
from staticgrad.language.types.dtype import BOOL, F32, F64, I64, DType
from staticgrad.support.records import NamedTuple


def check_function(what: str, function: Any, *arguments: str) -> None:
    """Check that ``function`` is callable with the given arguments."""
    is_value = isinstance(function, Value)
    if is_value or not callable(function):
        raise ArgumentError(
            f"{called_name()}: {what} is {'a value' if is_value else kind_of(function)},"
            " not a function",
            hint=f"def {what}({', '.join(arguments)}): ..., or a lambda",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function of C, which says nothing
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ArgumentError(
            f"{called_name()}: {quote(function)} takes {signature}, and is called with"
            f" ({', '.join(arguments)})",
            hint=f"def {what}({', '.join(arguments)}): ..., whether it reads all of them or not",
        ) from None


def iterations_of(number: Any) -> Size:
    """Check a number of iterations, or a bound of it, and return it."""
    if isinstance(number, Dim):
        return number
    count = None if isinstance(number, bool) else known_integer(number)
    if count is not None:
        if count > MOST_SIZE:
            raise ArgumentError(f"{called_name()}: {quote(count)} iterations: {BEYOND}")
        return count
    raise ArgumentError(
        f"{called_name()}: {quote(number)} is {kind_of(number)}, not an integer or a named size",
        hint="a number that only a run knows: sg.while_loop, or sg.fori_loop(0, value, ...)",
    )


def bounded_iterations(most: Any) -> Size:
    """A bound on the number of iterations."""
    bound = iterations_of(most)
    if not isinstance(bound, Dim) and bound < 0:
        raise ArgumentError(f"{called_name()}: max_steps must be >= 0, got {bound}")
    return bound


def iterations_over(values: Sequence[Any], length: Any) -> Size:
    """Return the number of slices; ``length`` must agree, or gives it if there are no slices."""
    for value in values:
        if not value.shape:
            hint = "a list is a tree of values: np.array([1.0, 2.0]) and sg.stack([a, b]) are one"
            raise RankError(f"{called_name()}: {value!r} has no axis of slices", hint=hint)
    if length is None and not values:
        raise ArgumentError(
            f"{called_name()}: neither slices nor a length say how many iterations there are",
            hint="length=100 runs 100 iterations; xs= gives each iteration its row of an array",
        )
    iterations = values[0].shape[0] if length is None else iterations_of(length)
    if isinstance(iterations, int) and iterations < 0:
        raise ArgumentError(f"{called_name()}: length={iterations}: it is 0 or more")
    for value in values:
        count = value.shape[0]
        if isinstance(count, int) and isinstance(iterations, int) and count != iterations:
            expected = (
                f"{values[0]!r} has {iterations}" if length is None else f"length is {iterations}"
            )
            hint = "an iteration takes a row of each: all have as many, x[:n] has the first n"
            raise ShapeError(
                f"{called_name()}: {value!r} has {count} slices, {expected}", hint=hint
            )
    return iterations


def check_bound(number: Any, kind: type[Any]) -> Any:
    """Return a bound that is computed at run time, as an int64 value of a kind."""
    value = as_value(number, kind)
    if not value.dtype.is_integer:
        raise DTypeError(
            f"{called_name()}: the bound {quote(number)} is {value.type}, not an integer"
        )
    if value.shape:
        raise ArgumentError(
            f"{called_name()}: the bound {quote(number)} is {value.type}, not one element"
        )
    return astype(value, I64)


def check_one(what: str, value: Any) -> None:
    """Refuse a condition or an index of several elements."""
    if value.shape:
        raise ArgumentError(
            f"{called_name()}: {what} is {value.type}, not one element",
            hint="sg.where(condition, a, b) chooses by element; .any() and .all() make one of many",
        )


#: True while a trial iteration runs, outside of any loop, to find what the body reads.
_unmade: ContextVar[bool] = ContextVar("_unmade", default=False)


def is_eager(leaves: Sequence[Any]) -> bool:
    """Return whether values compute at once."""
    return binding_kind(tuple(leaves)).computes


@loop_at_once()
def run_loop(
    iteration: Callable[[Any, Any, Any], tuple[Any, Any]],
    init: Any,
    slices: Sequence[Any],
    iterations: Any,
    reverse: bool,
) -> tuple[Any, Any]:
    """Run a loop as ``for``; without iterations the outputs have the types that an iteration over
    zeros gives."""
    first, tree = flatten(with_complex_values(init))
    kind = binding_kind((*first, *slices))
    carry = unflatten(tree, [leaf if is_weak(leaf) else _lift_leaf(kind, leaf) for leaf in first])
    stacks: list[list[Any]] = []
    shape = None
    draws = Draws()
    for i in reversed(range(iterations)) if reverse else range(iterations):
        with draws.iteration(i), body_of_a("a loop"):
            next_carry, output = iteration(kind.lift(i), carry, [x[i] for x in slices])
        carry = _follow_carry(kind, carry, next_carry)
        leaves, shape = flatten(output)
        stacks.append(leaves)
    carry = unflatten(flatten(carry)[1], [_lift_leaf(kind, leaf) for leaf in flatten(carry)[0]])
    if shape is None:
        zeros = [_row_of_zeros(x) for x in slices]
        with draws.iteration(0), body_of_a("a loop"):
            next_carry, output = iteration(kind.lift(0), carry, zeros)
        leaves, shape = flatten(output)
        outputs = [_lift_leaf(kind, leaf) for leaf in leaves]
        output_zeros = [where(False, leaf, zeros_like(leaf)) for leaf in outputs]
        empty = [stack([leaf], 0)[:0] for leaf in output_zeros]
        return _link_carry(kind, carry, next_carry), unflatten(shape, empty)
    if reverse:
        stacks.reverse()
    rows = [[_lift_leaf(kind, leaf) for leaf in column] for column in zip(*stacks, strict=True)]
    return carry, unflatten(shape, [stack(row, 0) for row in rows])


def _follow_carry(kind: type[Any], carry: Any, next_carry: Any) -> Any:
    """Return an eager loop's next carry, Python numbers with the dtypes of the carry before."""
    leaves, tree = flatten(next_carry)
    if not any(map(is_weak, leaves)):
        return next_carry
    old_leaves, shape = flatten(carry)
    if shape != tree:
        return next_carry
    return unflatten(
        tree,
        [
            kind.lift(leaf, old.dtype)
            if isinstance(old, Value) and becomes(leaf, old.type)
            else leaf
            for leaf, old in zip(leaves, old_leaves, strict=True)
        ],
    )


def _row_of_zeros(x: Any) -> Any:
    total = aggregate.sum(x, 0)
    return total if total.dtype == x.dtype else zeros_like(x, shape=total.shape)


def _link_carry(kind: type[Any], carry: Any, next_carry: Any) -> Any:
    """Keep a loop's unchanged carry linked to its operands, with zero gradients.

    Graphs give these gradients, too, since their loops may have any number of iterations. The
    cotangent is masked, so that an infinite derivative of the iteration is not multiplied by zero.
    """
    leaves, tree = flatten(carry)
    linked_leaves = []
    for leaf, next_leaf in zip(
        leaves, map(partial(_lift_leaf, kind), flatten(next_carry)[0]), strict=False
    ):
        linked = leaf.dtype.is_float and (next_leaf.dtype, next_leaf.shape) == (
            leaf.dtype,
            leaf.shape,
        )
        linked_leaves.append(where(False, next_leaf, leaf) if linked else leaf)
    return unflatten(tree, [*linked_leaves, *leaves[len(linked_leaves) :]])


@loop_at_once()
def run_while(
    test: Callable[[Any], Any], body: Callable[[Any], Any], init: Any, max_steps: Any
) -> Any:
    """Run a loop as ``while``; with a bound and no iterations its gradients are 0, as in a graph.

    An iteration that is not made draws, so that what is drawn behind the loop is what a graph
    draws.
    """
    leaves, tree = flatten(with_complex_values(init))
    kind = binding_kind(tuple(leaves))
    carry = unflatten(tree, [leaf if is_weak(leaf) else _lift_leaf(kind, leaf) for leaf in leaves])
    done = 0
    draws = reached = Draws()
    endless = max_steps is None and _unmade.get()  # it might not end
    while not endless and (max_steps is None or done < max_steps):
        with draws.iteration(done), body_of_a("a loop"):
            if not bool(_number(test(carry))):
                break
            carry, done = _follow_carry(kind, carry, body(carry)), done + 1
            reached = Draws()
    if done:
        reached.advance()  # the test of the iteration that was not made began again
        return carry
    linked = _link_reads(test, body, carry, draws)
    return carry if max_steps is None else linked


def _link_reads(
    test: Callable[[Any], Any], body: Callable[[Any], Any], carry: Any, draws: Draws
) -> Any:
    """Link the carry of a loop without iterations to its body's operands.

    The iteration is traced once for that. If it raises, as an iteration that is never reached may,
    there are no such edges.
    """
    leaves, tree = flatten(carry)
    kind = binding_kind(tuple(leaves))
    token = _unmade.set(True)
    try:
        with draws.iteration(0), body_of_a("a loop"):
            test(carry)
            next_carry = body(carry)
    except (StaticgradError, ArithmeticError, LookupError, ValueError):
        return carry
    finally:
        _unmade.reset(token)
    lifted = unflatten(tree, [_lift_leaf(kind, leaf) for leaf in leaves])
    linked_leaves, _ = flatten(_link_carry(kind, lifted, next_carry))
    results = [
        new if isinstance(old, Value) else old
        for old, new in zip(leaves, linked_leaves, strict=True)
    ]
    return unflatten(tree, results)


def run_branch(
    index: Any, cases: Sequence[Callable[..., Any]], leaves: Sequence[Any], tree: Tree
) -> Any:
    """Run one case, chosen as by ``if``; Python numbers have the dtypes that they have in a graph.

    If a graph refuses the functions, they stay Python numbers.
    """
    kind = binding_kind((index, *leaves))

    def trace() -> list[Symbolic]:
        """Trace all cases; the operands follow the results."""
        values = [as_value(leaf) for leaf in map(_stand_in, leaves)]
        return [*_trace_branch(cases, unflatten(tree, values))[2][0], *values]

    place = min(max(int(_number(index)), 0), len(cases) - 1)
    dtypes = None
    if any(map(is_weak, leaves)):
        dtypes = _find_dtypes(trace)
        leaves = _lift_numbers(kind, leaves, dtypes and dtypes[-len(leaves) :])
    with body_of_a("a branch"):
        results, shape = flatten(cases[place](*unflatten(tree, leaves)))
    if any(map(is_weak, results)):
        dtypes = dtypes or _find_dtypes(trace)
        results = _lift_numbers(kind, results, dtypes and dtypes[: len(results)])
    return unflatten(shape, results)


def _lift_leaf(kind: type[Any], leaf: Any) -> Any:
    return leaf if isinstance(leaf, Value) else kind.lift(leaf)


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


class FirstCarries:
    """First carries of a loop as values, whose dtypes a trace of the body may still change.

    A Python number has no fixed dtype: it takes the one that an iteration gives it. A float
    begins as float32, and is float64 if nothing in the loop is float32. Each change requires
    another trace, and each number changes a bounded number of times, since dtypes only grow.

    Attributes:
        values: the carries of the next trace, one for each leaf.
    """

    def __init__(self, leaves: Sequence[Any]) -> None:
        self._leaves = leaves
        self._weak = [is_weak(leaf) for leaf in leaves]
        self._narrow = [k for k, leaf in enumerate(leaves) if self._weak[k] and type(leaf) is float]
        self.values: list[Symbolic] = as_results(leaves)
        for place in self._narrow:
            self.values[place] = constant(leaves[place], F32)

    def follow(self, ends: Sequence[Symbolic]) -> bool:
        """Give numbers the dtypes in which an iteration ends; whether any changed."""
        grown = [
            place
            for place, (value, end) in enumerate(zip(self.values, ends, strict=True))
            if self._weak[place] and end.dtype != value.dtype and not end.shape
        ]
        for place in grown:
            self._settle(place, ends[place].dtype)
        return bool(grown)

    def widen_beside(self, others: Set[DType]) -> bool:
        """Make floats float64 unless a carry of fixed dtype, or one of ``others`` (the dtypes of
        everything else that the loop reads), is float32; return whether any changed."""
        strong = {v.dtype for place, v in enumerate(self.values) if place not in self._narrow}
        return F32 not in strong | others and self.widen_floats()

    def widen_floats(self) -> bool:
        """Make floats that are still float32 by default float64; whether there are any."""
        narrow = self._narrow
        for place in narrow:
            self._settle(place, F64)
        return bool(narrow)

    def _settle(self, place: int, dtype: DType) -> None:
        self._weak[place] = False
        self._narrow = [index for index in self._narrow if index != place]
        self.values[place] = constant(self._leaves[place], dtype)


class Sliced(NamedTuple):
    """A body that takes rows: the arrays that they are rows of, behind slices that were there, and
    the remaining unsliced operands."""

    body: Graph
    slices: list[Symbolic]
    captured: list[Symbolic]


def with_slices(
    body: Graph, carries: int, slices: int, captured: Sequence[Symbolic], iterations: Size
) -> Sliced:
    """The body of a loop of so many iterations, with rows in the place of arrays."""
    first = 1 + carries + slices
    capture_inputs = body.inputs[first:]
    rows: dict[Node, int] = {}
    row_captures: list[int] = []
    for place, (value, capture) in enumerate(zip(capture_inputs, captured, strict=True)):
        readers = _readers_of_rows(body, value)
        if readers and capture.shape[0] == iterations:
            rows |= dict.fromkeys(readers, len(row_captures))
            row_captures.append(place)
    if not row_captures:
        return Sliced(body, [], [*captured])
    other_captures = [place for place in range(len(capture_inputs)) if place not in row_captures]
    replacements = {value.key: _like(value, value.node.label) for value in body.inputs[:first]}
    replacements |= {
        capture_inputs[k].key: _like(capture_inputs[k], f"p{n}")
        for n, k in enumerate(other_captures)
    }
    fresh = [_like(next(iter(n for n, at in rows.items() if at == k)).values[0], f"x{slices + k}")
             for k in range(len(row_captures))]  # fmt: skip
    inputs = [*replacements.values()]
    inputs[first:first] = fresh
    replacements |= {(node, 0): fresh[at] for node, at in rows.items()}
    outputs = rebuilt(body, replacements)
    return Sliced(
        body_of(inputs, outputs),
        [captured[k] for k in row_captures],
        [captured[k] for k in other_captures],
    )


def _readers_of_rows(body: Graph, value: Symbolic) -> list[Node]:
    """Return the gathers that read row i of ``value`` in iteration i of a body."""
    number = body.inputs[0]
    readers = [n for n in body.nodes if any(arg.key == value.key for arg in n.args)]
    for node in readers:
        form = node.form
        row = isinstance(form, Gather) and form.axis == 0
        if not row or [arg.key for arg in node.args] != [value.key, number.key]:
            return []
    stays = any(output.key == value.key for output in body.outputs.values())
    return [] if stays else readers


def _like(value: Symbolic, label: str) -> Symbolic:
    return body_input(label, value.type, value.node.origin, value.node.order)


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

    It computes ``for x in xs: carry, y = f(carry, x)`` as one node of the graph for any length.

    Args:
        f: takes the carry and a slice of ``xs``, and returns the next carry and an output; called
            once, to build the body. None stands for no output.
        init: the first carry, a tree of values, arrays and numbers. A carry keeps its shapes and
            dtypes; a Python number takes the dtype that the iteration gives it.
        xs: a tree of values with equal first axes; None: the slices are None.
        length: the number of iterations; by default the size of those axes. It may be a named size.
        reverse: run from the last slice to the first; outputs have the indices of their slices.

    Returns:
        The last carry, and the outputs stacked along a new first axis. Without slices the carry
        is the first one.

    Raises:
        CarryError: a carry changes its type or its containers, at the line that does it.
        ArgumentError: there are neither slices nor a length.
        ShapeError, RankError: first axes that differ, or none.

    >>> x = sg.input("x", (4,), "float64")
    >>> last, sums = scan(lambda total, each: (total + each, total + each), 0.0, x)
    >>> sg.evaluate(sums, {"x": [1.0, 2.0, 3.0, 4.0]})
    array([ 1.,  3.,  6., 10.])
    """
    return _build_scan(f, init, xs, length, reverse)


def _build_scan(
    f: Any, init: Any, xs: Any, length: Any = None, reverse: bool = False
) -> tuple[Any, Any]:
    """Check ``scan``'s arguments and build its loop."""
    check_function("f", f, "carry", "x")
    init = with_complex_values(init)
    slices, shape = flatten(with_complex_values(xs))
    check_slices(shape)
    kind = binding_kind((*flatten(init)[0], *slices))
    values = [as_value(x, kind) for x in slices]
    iterations = iterations_over(values, length)

    def iteration(_: Any, carry: Any, rows: Sequence[Any]) -> tuple[Any, Any]:
        result: Any = f(carry, unflatten(shape, rows))
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise not_a_pair(result)
        return result[0], result[1]

    return _build_loop(named_after(f, iteration), init, values, iterations, reverse)


@by_all_operands
def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[[Any, Any], R],
    init_val: Any,
    max_steps: Any = None,
) -> R:
    """Run ``for i in range(lower, upper): carry = body_fun(i, carry)`` as one node of the graph.

    Args:
        lower, upper: integers, named sizes, or integer values of one element, which only a
            run knows.
        body_fun: takes the number of the iteration (int64, 0-d) and the carry, returns the next
        carry.
        init_val: the first carry, a tree.
        max_steps: the maximum number of iterations; an integer or a named size. If a bound is a
            value, reverse-mode gradients require it, as for ``while_loop``. Bounds that lie further
            apart end the run with an error.

    Raises:
        CarryError: as ``scan``.
        ConvergenceError: in the run, there are more than ``max_steps`` iterations.
        DTypeError: a bound that is a value of another dtype than integer.
        ArgumentError: a bound that is not one integer; ``max_steps`` with known
            bounds.

    >>> x = sg.input("x", (), "float64")
    >>> sg.evaluate(fori_loop(0, 3, lambda i, y: y * x + i, 1.0), {"x": 2.0})
    array(12.)
    """
    check_function("body_fun", body_fun, "i", "carry")
    if isinstance(lower, Value) or isinstance(upper, Value):
        kind = binding_kind((lower, upper))
        first, last = (check_bound(bound, kind) for bound in (lower, upper))

        def test(carry: Any) -> Any:
            return carry[0] < last

        def step(carry: Any) -> Any:
            return carry[0] + 1, body_fun(carry[0], carry[1])

        if max_steps is not None:
            bound = bounded_iterations(max_steps)
            is_bounded = reached_end(
                "fori_loop.fori_loop.range", bound, last - first <= bound, last - first
            )
            last = where(is_bounded, last, first)  # the check is computed wherever the bound is
        return while_loop(test, named_after(body_fun, step), (first, init_val), max_steps)[1]
    if max_steps is not None:
        raise ArgumentError(
            "fori_loop: both bounds are known, and max_steps= bounds the number of iterations",
            hint="leave max_steps= out: it is for bounds that are values",
        )
    start, end = iterations_of(lower), iterations_of(upper)
    iterations = dims.maximum(end - start, 0)

    def iteration(i: Any, carry: Any, _: Any) -> tuple[Any, Any]:
        return body_fun(i if start == 0 else i + start, carry), None

    return _build_loop(named_after(body_fun, iteration), init_val, [], iterations, False)[0]


@by_all_operands
def map_slices(f: Callable[[Any], R], xs: Any) -> R:
    """Apply ``f`` to every slice of ``xs`` along its first axis and stack the results: ``sg.map``.

    It runs one slice at a time, in one node of the graph; broadcasting is faster if it applies.

    Args:
        f: takes a slice of each, in the containers of ``xs``.
        xs: a value, or values in containers, of equal first sizes.

    >>> sg.map(lambda row: row @ row, np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([ 5., 25.])
    """
    check_function("f", f, "x")

    def iteration(_: Any, x: Any) -> tuple[Any, Any]:
        return None, f(x)

    return _build_scan(named_after(f, iteration), None, xs)[1]


map_slices.__name__ = map_slices.__qualname__ = "map"  # as users, messages and pickles call it


@by_all_operands
def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], R],
    init_val: Any,
    max_steps: Any = None,
) -> R:
    """Run ``while cond_fun(carry): carry = body_fun(carry)`` as one node of the graph.

    Args:
        cond_fun: takes the carry, returns one bool.
        body_fun: takes the carry, returns the next one.
        init_val: the first carry, a tree.
        max_steps: the maximum number of iterations; an integer or a named size.
            Reverse-mode gradients require it: they store every iteration's carry; ``jvp`` does
            not.

    Raises:
        CarryError: as ``scan``. DTypeError: the test gives no bool.
        ArgumentError: ``max_steps`` is not an integer, or below 0.

    >>> x = sg.input("x", (), "float64")
    >>> sg.evaluate(while_loop(lambda y: y < 100.0, lambda y: y * y, x), {"x": 3.0})
    array(6561.)
    """
    check_function("cond_fun", cond_fun, "carry")
    check_function("body_fun", body_fun, "carry")
    bound = None if max_steps is None else bounded_iterations(max_steps)
    leaves, tree = flatten(with_complex_values(init_val))

    def build(trace: Trace, carries: list[Symbolic], kinds: Sequence[TensorType]) -> Any:
        """Trace the test and body of a while loop."""
        carry = unflatten(tree, carries)
        tests, _ = call_traced(cond_fun, carry)
        test = as_results(tests)
        if len(test) != 1 or test[0].type != TensorType(BOOL, ()):
            description = test[0].type if len(test) == 1 else f"{len(test)} values"
            raise DTypeError(
                f"while_loop: the test gives {description}, not one bool",
                hint="a comparison of one element, or (...).any(), (...).all()",
                at=test[0].node.origin if test else None,
            )
        ends, shape = call_traced(body_fun, carry)
        check_structure(shape, tree)
        following = as_carries(ends, kinds)
        inputs = (trace.first, *carries)
        trace.parts += [Traced(inputs, tuple(test)), Traced(inputs, tuple(following))]
        return following

    if is_eager(leaves):
        first = unflatten(tree, _type_numbers(leaves, tree, build))
        return run_while(cond_fun, body_fun, first, bound)
    ((test, step), captured), carries = _trace_loop(leaves, tree, build)
    op = While(
        body_of(test.inputs, {"go": test.results[0]}),
        body_of(step.inputs, label_values("c", step.results)),
        len(carries),
        bound,
    )
    return unflatten(tree, _apply(op, carries, captured)[: len(carries)])


@by_all_operands
def cond(pred: Any, true_fun: Callable[..., R], false_fun: Callable[..., R], *operands: Any) -> R:
    """``true_fun(*operands) if pred else false_fun(*operands)``; only the one that is taken runs.

    ``where`` computes both and chooses by element; this chooses one computation for the whole.

    Args:
        pred: one bool (or integer: true if not 0); of Python's bools the function is called now.
        true_fun, false_fun: take the operands, and return trees of equal types.
        operands: trees; the functions may as well close over values.

    Raises:
        CarryError: the functions give other types or containers.
        ArgumentError: ``pred`` is not one element.

    >>> x = sg.input("x", (), "float64")
    >>> y = cond(x > 0.0, lambda: sg.sqrt(x), lambda: 0.0 * x)
    >>> sg.evaluate(y, {"x": -4.0})
    array(-0.)
    """
    names = [f"operand {place}" for place in range(len(operands))]
    check_function("true_fun", true_fun, *names)
    check_function("false_fun", false_fun, *names)
    if isinstance(pred, bool):
        return (true_fun if pred else false_fun)(*operands)
    value = as_value(pred, binding_kind((pred, *flatten(list(operands))[0])))
    check_one("the condition", value)
    if value.dtype.is_float:
        raise DTypeError(
            f"cond: the condition is {value.type}, neither a bool nor an integer",
            hint="compare it: x > 0, x != 0",
        )
    chosen = astype(not_equal(value, 0) if value.dtype != BOOL else value, I64)
    return _build_branch(chosen, (false_fun, true_fun), operands)


@by_all_operands
def switch(index: Any, branches: Sequence[Callable[..., R]], *operands: Any) -> R:
    """``branches[index](*operands)``; only the one that is taken runs.

    Args:
        index: one integer; below 0 it counts as 0, beyond the last branch as that.
        branches: functions of the operands that return trees of equal types.
        operands: trees; the functions may as well close over values.

    Raises:
        CarryError: the functions give other types or containers.
        ArgumentError: no branches, or ``index`` is not one integer.

    >>> i, x = sg.input("i", (), "int64"), sg.input("x", (), "float64")
    >>> y = switch(i, [lambda: x, lambda: -x, lambda: x * x])
    >>> [float(sg.evaluate(y, {"i": i, "x": 3.0})) for i in (0, 1, 7)]
    [3.0, -3.0, 9.0]
    """
    unchecked: Any = branches
    if not isinstance(unchecked, Iterable):
        what = "one function" if callable(unchecked) else kind_of(unchecked)
        raise ArgumentError(f"switch: branches is {what}", hint="switch(i, [f, g], ...)")
    functions_ = tuple(branches)
    for case in functions_:
        check_function("a branch", case, *["operand"] * len(operands))
    if not functions_:
        raise ArgumentError("switch: there are no branches")
    if isinstance(index, int) and not isinstance(index, bool):
        return functions_[min(max(index, 0), len(functions_) - 1)](*operands)
    value = as_value(index, binding_kind((index, *flatten(list(operands))[0])))
    check_one("the index", value)
    if not value.dtype.is_integer:
        raise DTypeError(f"switch: the index is {value.type}, not an integer")
    return _build_branch(astype(value, I64), functions_, operands)


# -- building -------------------------------------------------------------------------------------


def _build_loop(
    iteration: Iteration,
    init: Any,
    slices: Sequence[Any],
    iterations: Size,
    reverse: bool,
) -> tuple[Any, Any]:
    """Build a loop over an iteration function: last carry, stacked outputs."""
    leaves, tree = flatten(with_complex_values(init))
    shapes: list[Tree] = []
    outputs: list[Symbolic] = []
    row_inputs: list[Symbolic] = []

    def build(trace: Trace, carries: list[Symbolic], kinds: Sequence[TensorType]) -> Any:
        """Trace one iteration of a scan on rows of its slices."""
        row_inputs[:] = [
            trace.input(f"x{place}", value.type.with_shape(value.shape[1:]))
            for place, value in enumerate(slices)
        ]
        results, shape = call_traced(iteration, trace.first, unflatten(tree, carries), row_inputs)
        ends_tree, shapes[:] = shape.parts[0], [shape.parts[1]]
        check_structure(ends_tree, tree)
        following = as_carries(results[: tree.count], kinds)
        outputs[:] = as_results(results[tree.count :])
        trace.parts.append(Traced((trace.first, *carries, *row_inputs), (*following, *outputs)))
        return following

    if is_eager([*leaves, *slices]):
        first = unflatten(tree, _type_numbers(leaves, tree, build, slices))
        return run_loop(iteration, first, slices, iterations, reverse)
    ((part,), captured), carries = _trace_loop(leaves, tree, build, slices)
    count = len(carries)
    if not count and not outputs:
        return init, unflatten(shapes[0], [])
    ends, body_outputs = part.results[:count], part.results[count:]
    named = {**label_values("c", ends), **label_values("y", body_outputs)}
    body, rows, others = with_slices(
        body_of(part.inputs, named), count, len(slices), captured, iterations
    )
    op = Loop(body, iterations, count, len(slices) + len(rows), reverse)
    results = _apply(op, [*carries, *slices, *rows], others)
    return unflatten(tree, results[:count]), unflatten(shapes[0], results[count:])


def _trace_loop(
    leaves: Sequence[Any],
    tree: Tree,
    build: Callable[[Trace, list[Symbolic], Sequence[TensorType]], list[Symbolic]],
    slices: Sequence[Value] = (),
) -> tuple[tuple[list[Traced], list[Symbolic]], list[Symbolic]]:
    """Trace a loop's body until the types of its carries are stable.

    The functions are traced again where a Python number takes another dtype than it began with.
    """
    first = FirstCarries(leaves)
    draws = Draws()
    while True:
        draws.restore()
        trace = Trace()
        kinds = [value.type for value in first.values]
        carries = [trace.input(f"c{place}", kind) for place, kind in enumerate(kinds)]
        try:
            ends = build(trace, carries, kinds)
        except CarryError:  # of a loop inside, perhaps of a float that began as float32
            if not first.widen_floats():
                raise
            continue
        if first.follow(ends):
            continue
        check_carries(tree, first.values, ends, trace)
        closed = trace.close(once=True)
        if not first.widen_beside({value.dtype for value in (*slices, *closed[1])}):
            return closed, first.values


def _type_numbers(
    leaves: Sequence[Any],
    tree: Tree,
    build: Callable[[Trace, list[Symbolic], Sequence[TensorType]], list[Symbolic]],
    slices: Sequence[Value] = (),
) -> list[Any]:
    """Return the first carries of an eager loop, Python numbers as tensors of the graph's dtypes.

    If the functions take tensors alone, because an ``if`` or ``float`` reads an element, numbers
    stay Python numbers in the first iteration, and the other operands decide their dtypes.
    """
    if not any(map(is_weak, leaves)):
        return [*leaves]
    values = map(_stand_in, leaves)
    rows = map(_stand_in, slices)
    dtypes = _find_dtypes(lambda: _trace_loop([*values], tree, build, [*rows])[1])
    return _lift_numbers(binding_kind((*leaves, *slices)), leaves, dtypes)


def _find_dtypes(trace: Callable[[], Sequence[Symbolic]]) -> list[DType] | None:
    """Return the dtypes of what a trace builds, for a program that runs at once.

    Values of a graph stand for the tensors that the traced functions read. None where the functions
    do not take them.
    """
    draws = Draws()
    try:
        with in_graphs(), holding(_stand_in):
            return [value.dtype for value in trace()]
    except Exception:  # of the user's functions, which run at once, too
        return None
    finally:
        draws.restore()


def _stand_in(leaf: Any) -> Any:
    """Return an input of a graph of a tensor's type; return anything else unchanged."""
    if not isinstance(leaf, Value) or not leaf.computes:
        return leaf
    return Symbolic.bind(Input("tensor", leaf.type), ())


def _lift_numbers(
    kind: type[Any], leaves: Sequence[Any], dtypes: Sequence[DType] | None
) -> list[Any]:
    """Return leaves with their Python numbers as values of the dtypes, if there are any."""
    if dtypes is None:
        return [*leaves]
    return [
        kind.lift(leaf, dtype) if is_weak(leaf) else leaf
        for leaf, dtype in zip(leaves, dtypes, strict=True)
    ]


def _build_branch(index: Any, cases: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Any:
    """Build a branch that runs one of several functions by index."""
    leaves, tree = flatten(list(operands))
    if is_eager([index, *leaves]):
        return run_branch(index, cases, leaves, tree)
    trace, shape, results = _trace_branch(cases, list(operands))
    if not results[0]:
        return unflatten(shape, [])
    closed, captured = trace.close(once=False)
    op = Branch(tuple(body_of(part.inputs, label_values("y", part.results)) for part in closed))
    return unflatten(shape, _apply(op, [index], captured))


def _trace_branch(
    cases: Sequence[Callable[..., Any]], operands: list[Any]
) -> tuple[Trace, Tree, list[list[Symbolic]]]:
    """Trace the functions of a branch: the trace, their containers, and the results of each."""
    arguments = map_leaves(lambda leaf: as_value(leaf), operands)
    trace = Trace()
    case_results = [call_traced(case, *arguments) for case in cases]
    tree = case_results[0][1]
    for _, shape in case_results:
        check_structure(shape, tree)
    kinds: list[TensorType | None] = [
        next((value.type for value in alternatives if isinstance(value, Symbolic)), None)
        for alternatives in zip(*(case_leaves for case_leaves, _ in case_results), strict=True)
    ]
    results: list[list[Symbolic]] = []
    for case_leaves, _ in case_results:
        values = [
            as_results([leaf])[0] if kind is None else as_carries([leaf], [kind])[0]
            for leaf, kind in zip(case_leaves, kinds, strict=True)
        ]
        check_cases(tree, results[0] if results else values, values)
        results.append(values)
        trace.parts.append(Traced((), tuple(values)))
    return trace, tree, results


def _apply(op: Op, operands: Sequence[Any], captured: Sequence[Symbolic]) -> list[Any]:
    results: Any = op(*operands, *captured)
    return [*results] if isinstance(results, tuple) else [results]


@by_all_operands
def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Combine elements along an axis with ``fn``: result i is elems[0] ... elems[i], in log depth.

    The tree, and so the rounding of the result, depends only on the length (G. E. Blelloch 1990:
    pairs are combined, then the scan of half the length gives every second result). Along a
    named axis size a loop combines one element after the other instead.

    Args:
        fn: associative; takes two trees of arrays with any number of elements along ``axis`` and
            combines them element by element.
        elems: a tree of values with equal sizes along ``axis``.
        reverse: combine from the end: result i is elems[n - 1] ... elems[i].

    Raises:
        ArgumentError: the sizes differ.
        CarryError: the function gives another shape or other containers.

    >>> x = sg.input("x", (5,), "float64")
    >>> sg.evaluate(associative_scan(sg.maximum, x), {"x": [1.0, 3.0, 2.0, 5.0, 4.0]})
    array([1., 3., 3., 5., 5.])
    """
    check_function("fn", fn, "left", "right")
    leaves, tree = flatten(with_complex_values(elems))
    values = [as_value(leaf) for leaf in leaves]
    if not values:
        raise ArgumentError("associative_scan: there are no elements")
    axes = [axis_of(axis, value) for value in values]
    sizes = [value.shape[place] for value, place in zip(values, axes, strict=True)]
    if len(set(sizes)) != 1:
        raise ArgumentError(f"associative_scan: the sizes {', '.join(map(str, sizes))} differ")
    if reverse:
        values = [flip(v, place) for v, place in zip(values, axes, strict=True)]

    def combine(left: list[Any], right: list[Any]) -> list[Any]:
        """Apply ``associative_scan``'s function to two elements; check its result."""
        results, shape = flatten(fn(unflatten(tree, left), unflatten(tree, right)))
        check_structure(shape, tree)
        for value, expected in zip(results, right, strict=True):
            if getattr(value, "shape", ()) != expected.shape:
                raise CarryError(
                    f"associative_scan: the function gives {quote(value)} of two {quote(expected)}",
                    hint="it combines element by element along the axis: shapes stay",
                )
        return results

    size = sizes[0]
    if isinstance(size, Dim):
        results = _scan_sequentially(named_after(fn, combine), values, axes)
    else:
        results = _scan_prefixes(combine, values, axes, size)
    if reverse:
        results = [flip(v, place) for v, place in zip(results, axes, strict=True)]
    return unflatten(tree, results)


def _scan_sequentially(
    combine: Callable[[list[Any], list[Any]], list[Any]], values: list[Any], axes: Sequence[int]
) -> list[Any]:
    """Compute an associative scan one element after the other, in a loop."""

    def expand_rows(rows: list[Any]) -> list[Any]:
        return [expand_dims(row, place) for row, place in zip(rows, axes, strict=True)]

    def combine_next(so_far: list[Any], element: list[Any]) -> tuple[list[Any], list[Any]]:
        results = combine(expand_rows(so_far), expand_rows(element))
        rows = [squeeze(v, place) for v, place in zip(results, axes, strict=True)]
        return rows, rows

    rows = [moveaxis(v, place, 0) for v, place in zip(values, axes, strict=True)]
    count = rows[0].shape[0]
    head_count = minimum(count, 1)  # the sum over it is the first element, or 0 if there is none
    first = [
        aggregate.any(row, 0) if row.dtype.is_bool else aggregate.sum(row, 0, dtype=row.dtype)
        for row in [part(row, 0, 0, head_count) for row in rows]
    ]
    others = [part(row, 0, head_count, count - head_count) for row in rows]
    _, tail = scan(named_after(combine, combine_next), first, others)
    columns = (concatenate([a[None], b]) for a, b in zip(first, tail, strict=True))
    return [
        moveaxis(part(column, 0, 0, count), 0, place)
        for column, place in zip(columns, axes, strict=True)
    ]


def _scan_prefixes(
    combine: Callable[[list[Any], list[Any]], list[Any]],
    values: list[Any],
    axes: Sequence[int],
    size: int,
) -> list[Any]:
    """Compute an associative scan by recursive halving, in logarithmic depth."""
    if size < 2:
        return values

    def slice_parts(parts: list[Any], start: int, stop: int | None, step: int) -> list[Any]:
        return [
            part[(slice(None),) * place + (slice(start, stop, step),)]
            for part, place in zip(parts, axes, strict=True)
        ]

    pairs = combine(slice_parts(values, 0, size - 1, 2), slice_parts(values, 1, None, 2))
    odd = _scan_prefixes(combine, pairs, axes, size // 2)
    even = slice_parts(values, 0, 1, 1)
    if size > 2:
        even_tail = combine(
            slice_parts(odd, 0, (size - 1) // 2, 1), slice_parts(values, 2, None, 2)
        )
        even = [
            concatenate([first, more], place)
            for first, more, place in zip(even, even_tail, axes, strict=True)
        ]
    return [_interleave(*operands) for operands in zip(even, odd, axes, strict=True)]


def _interleave(even: Any, odd: Any, axis: int) -> Any:
    """Interleave the even and odd elements of an associative scan."""
    count = odd.shape[axis]
    leading = (slice(None),) * axis
    pairs = stack([even[(*leading, slice(0, count))], odd], axis + 1)
    shape = (*odd.shape[:axis], 2 * count, *odd.shape[axis + 1 :])
    interleaved = reshape(pairs, shape)
    if even.shape[axis] == count:
        return interleaved
    return concatenate([interleaved, even[(*leading, slice(count, None))]], axis)
