"""Ops that run graphs of their own: a loop of so many iterations, one while a test holds, a branch.

A body is a closed graph (``ir/bodies.py``). What a user's function closed over are operands of the
op like any other: a loop hands the same *invariants* to every iteration. The functions that make
bodies of Python functions stand in ``functions/loops/loops.py``; rules over batches in
``batching.py``.

Derivatives are made of the derivatives of the bodies. A loop backwards is a loop that runs the
other way. Its body is the forward body, built again over the carries with which each iteration
began, followed by its gradient; those carries are stacked by a forward loop that differs from the
one differentiated in these outputs alone. It carries the cotangents of the carries and adds up
those of the invariants, as far as these are not sums that are made after the loop
(``loop_sums.py``). Tangents of loops ride along as carries, slices and invariants. The derivative
of a branch is a branch of the derivatives of its cases. A bounded ``while`` is differentiated as a
loop of that many iterations, of which the last do nothing. All of them are ordinary ops, and
differentiate again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np

from staticgrad.language.ir.bodies import body_input, body_of, closed_under, inlined
from staticgrad.language.ir.forms import BodyForm, Form, ReshapeForm
from staticgrad.language.ir.graph import BodyOp, Graph, Input, Node, Symbolic, ancestors
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.rounded import rounded
from staticgrad.language.ops.arithmetic import add
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.loop_sums import Iteration, OverTime, Stacked, after_loop, shares_of
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.building import current, here
from staticgrad.support.errors import (
    DTypeError,
    GradientError,
    OpDefinitionError,
    RankError,
    ShapeError,
)
from staticgrad.support.upward import up

NUMBER = TensorType(I64, ())
TRUTH = TensorType(BOOL, ())

#: A cotangent or tangent, or None if it is zero.
Found = Any

#: Groups of values by the prefix of their names; groups of one prefix are numbered through.
Roles = Sequence[tuple[str, Sequence[Symbolic]]]


class Interpreter(Protocol):
    """The interface of an interpreter that runs bodies on arrays."""

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of a body, given its inputs."""

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Room for a result of every iteration."""


class _ControlFlow(BodyOp):
    """A loop or branch: how its bodies run, and are differentiated."""

    flops = 0

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: nothing promotes."""
        return lift_all(args)

    @abstractmethod
    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Compute the result in NumPy with an interpreter of the bodies. Sizes are integers."""

    def reference(self, *arrays: Any) -> Any:
        return single(self.interpreted(_Literal(), *arrays))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        cts = ct if isinstance(ct, tuple) else (ct,)
        given = [None if isinstance(each, float) else each for each in cts]
        wanted = [need and arg.dtype.is_float for need, arg in zip(needed, args, strict=True)]
        return self.pulled_back(given, args, wanted)

    @abstractmethod
    def pulled_back(
        self, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Found, ...]:
        """Return the cotangents of the operands, given those of the results."""

    def jvp(self, tangents: Sequence[Found], out: Any, *args: Any) -> Any:
        """Return the tangents, computed together with the results of the bodies."""
        return single(self.pushed_forward(tangents, args))

    def summed_in_blocks(self, share: Any) -> Any:
        """By loops over blocks of what a loop of the present derivative stacks."""
        return after_loop(share, _stacked, run_loop) if isinstance(share, Symbolic) else share

    @abstractmethod
    def pushed_forward(self, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
        """Return the tangents of the results, given those of the operands."""

    def refuse(self, what: str, at: Node | None = None) -> OpDefinitionError:
        """The error for operands and bodies that do not fit each other."""
        return OpDefinitionError(f"{self.name}: {what}", at=at.origin if at else None)


class Loop(_ControlFlow, name="loop"):
    """A body run ``iterations`` times: carries go from iteration to iteration, slices in and
    outputs out by iteration.

    Operands are the first ``carries`` carries, then ``slices`` arrays with ``iterations`` slices
    along their first axis, then invariants. The body takes the number of the iteration (int64), the
    carries, a slice of each array, and the invariants; it gives the next carries, then outputs.
    Results are the last carries, then each output stacked along a new first axis. With ``reverse``
    the number of the iteration falls from iterations - 1 to 0: it always is the index of the slice
    read and written. Without an iteration the last carries are the first ones.

    In graphs of which kernels are made, carries may be ``logged``: the result holds every
    intermediate carry, ``iterations + 1`` rows; the first, or with ``reverse`` the last, is the
    initial one.
    """

    kink = "as in the body"
    body: Graph
    iterations: Size
    carries: int
    slices: int
    reverse: bool = False
    logged: tuple[int, ...] = ()

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.body,)

    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        (body,) = bodies
        return replace(self, body=body)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return BodyForm(
            "loop", self.iterations, self.carries, self.slices, self.reverse, self.logged
        )

    def infer(self, *types: TensorType) -> tuple[TensorType, ...] | TensorType:
        inner = [NUMBER]
        for place, kind in enumerate(types):
            sliced = self.carries <= place < self.carries + self.slices
            inner.append(self._slice_of(kind) if sliced else kind)
        _check_inputs(self, self.body, inner)
        given = output_types(self.body)
        if given[: self.carries] != [*types[: self.carries]]:
            raise self.refuse(
                f"the carries {_listed(types[: self.carries])} become {_listed(given)}"
            )
        if isinstance(self.iterations, int) and self.iterations < 0:
            raise self.refuse(f"{self.iterations} iterations")
        stacked = [
            kind.with_shape((self.iterations, *kind.shape)) for kind in given[self.carries :]
        ]
        last = [
            kind.with_shape((self.iterations + 1, *kind.shape)) if place in self.logged else kind
            for place, kind in enumerate(types[: self.carries])
        ]
        return single((*last, *stacked))

    def _slice_of(self, kind: TensorType) -> TensorType:
        if not kind.shape:
            raise RankError(f"{self.name}: {kind} has no axis of slices")
        text = f"{self.name}: {kind.shape[0]} slices in {kind}, and {self.iterations} iterations"
        if not dims.equal(kind.shape[0], self.iterations, text):
            raise ShapeError(text)
        return kind.with_shape(kind.shape[1:])

    def pulled_back(
        self, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Found, ...]:
        """By a loop that runs the other way."""
        return BackwardIteration(self, cts, needed).cotangents(args)

    def pushed_forward(self, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
        """By a loop with more carries, slices and invariants."""
        return loop_tangents(self, moved, args)

    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Iteration after iteration."""
        ends = self.carries, self.carries + self.slices
        carries, sliced, rest = arrays[: ends[0]], arrays[ends[0] : ends[1]], arrays[ends[1] :]
        iterations = int(self.iterations)
        stacks = [interpreter.empty(t, iterations) for t in output_types(self.body)[self.carries :]]
        states = [carries]
        for i in reversed(range(iterations)) if self.reverse else range(iterations):
            given = [np.asarray(i), *states[-1], *(each[i] for each in sliced), *rest]
            found = interpreter.run(self.body, given)
            carries = tuple(found[: self.carries])
            states = [*states, carries] if self.logged else [carries]
            for stack, array in zip(stacks, found[self.carries :], strict=True):
                stack[i] = array
        last = list(carries)
        for place in self.logged:
            rows = [each[place] for each in states]
            last[place] = np.stack(rows[::-1] if self.reverse else rows)
        return (*last, *stacks)


class While(_ControlFlow, name="while"):
    """A body run as long as a test of its carries holds, ``most`` times if that is said.

    Operands are the first ``carries`` carries, then invariants. Test and body take the number of
    the iteration (int64), the carries and the invariants; the test gives a bool, the body the next
    carries. Results are the last carries, and the number of iterations (int64). The reverse
    derivative runs a loop of ``most`` iterations, so it needs that number.
    """

    kink = "as in the body: the number of iterations counts as given"
    test: Graph
    body: Graph
    carries: int
    most: Size | None = None

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.test, self.body)

    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        test, body = bodies
        return replace(self, test=test, body=body)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return BodyForm("while", self.most, self.carries)

    def infer(self, *types: TensorType) -> tuple[TensorType, ...] | TensorType:
        for body in self.bodies:
            _check_inputs(self, body, [NUMBER, *types])
        if output_types(self.test) != [TRUTH]:
            raise self.refuse(f"the test gives {_listed(output_types(self.test))}, not one bool")
        given = output_types(self.body)
        if given != [*types[: self.carries]]:
            raise self.refuse(
                f"the carries {_listed(types[: self.carries])} become {_listed(given)}"
            )
        return single((*given, NUMBER))

    def pulled_back(
        self, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Found, ...]:
        """As of the loop of ``most`` iterations."""
        loop, first = bounded(self), zeros_like_type(NUMBER, args[0])
        cts = [None, *cts[: self.carries]]
        return loop.pulled_back(cts, [first, *args], [False, *needed])[1:]

    def pushed_forward(self, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
        """By a while with more carries and invariants."""
        return tangents_of_while(self, moved, args)

    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Test, body, test, body."""
        carries, rest, done = arrays[: self.carries], arrays[self.carries :], 0
        while self.most is None or done < int(self.most):
            given = [np.asarray(done), *carries, *rest]
            if not interpreter.run(self.test, given)[0]:
                break
            carries, done = tuple(interpreter.run(self.body, given)), done + 1
        return (*carries, np.asarray(done))


class Branch(_ControlFlow, name="branch"):
    """One of several bodies, by an index that is held between the first and the last.

    Operands are the index (int64), then what every case takes; cases give equal types. Only the
    case that is taken runs.
    """

    kink = "as in the case that is taken"
    cases: tuple[Graph, ...]

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.cases

    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        return replace(self, cases=tuple(bodies))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return BodyForm("branch")

    def infer(self, index: TensorType, *types: TensorType) -> tuple[TensorType, ...] | TensorType:
        if index != NUMBER:
            raise DTypeError(f"{self.name}: the index is {index}, not {NUMBER}")
        if not self.cases:
            raise self.refuse("there is no case")
        for case in self.cases:
            _check_inputs(self, case, types)
            if output_types(case) != output_types(self.cases[0]):
                both = [_listed(output_types(each)) for each in (self.cases[0], case)]
                raise self.refuse(f"one case gives {both[0]}, another {both[1]}")
        return single(tuple(output_types(self.cases[0])))

    def pulled_back(
        self, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Found, ...]:
        """By a branch of the derivatives of the cases."""
        return branch_cotangents(self, cts, args, needed)

    def pushed_forward(self, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
        """By a branch whose cases give tangents alone."""
        return branch_tangents(self, moved, args)

    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """The case taken."""
        place = min(max(int(arrays[0]), 0), len(self.cases) - 1)
        return tuple(interpreter.run(self.cases[place], arrays[1:]))


class _Literal:
    """Runs bodies in which every size is an integer."""

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """Node after node."""
        known = dict(zip((value.key for value in body.inputs), arrays, strict=True))
        for node in body.nodes:
            if isinstance(node.op, Input):
                continue
            run = rounded(node.op.reference, node.op, [a.type for a in node.args], node.types)
            found = run(*[known[arg.key] for arg in node.args])
            results = found if isinstance(found, tuple) else (found,)
            known.update(((node, i), np.asarray(array)) for i, array in enumerate(results))
        return [known[value.key] for value in body.outputs.values()]

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Return an empty array for ``iterations`` values of the declared shape."""
        return np.empty((iterations, *(int(size) for size in of.shape)), of.dtype.numpy)


def single(results: tuple[Any, ...]) -> Any:
    """Return what ops give: the result itself where there is one."""
    return results[0] if len(results) == 1 else results


def output_types(body: Graph) -> list[TensorType]:
    """Return the types of a body's outputs, in order."""
    return [value.type for value in body.outputs.values()]


def _check_inputs(op: _ControlFlow, body: Graph, types: Sequence[TensorType]) -> None:
    wanted = [value.type for value in body.inputs]
    if wanted != [*types]:
        raise op.refuse(f"a body takes {_listed(wanted)}, the operands give {_listed(types)}")
    if body.parameters or body.updates:
        raise op.refuse("a body reads or writes a parameter: it is an operand instead")


def _listed(types: Sequence[TensorType]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"


def _changed(carries: Sequence[TensorType], given: Sequence[TensorType]) -> str:
    return f"the carries {_listed(carries)} become {_listed(given)}"


# -- derivatives ----------------------------------------------------------------------------------


def _cotangents_in_body(
    pairs: Sequence[tuple[Symbolic, Symbolic]], wrt: Sequence[Symbolic]
) -> list[Found]:
    """Return the cotangents of ``wrt``, given pairs of a value and its cotangent."""
    found: list[Found] = up("staticgrad.autodiff.reverse").pulled_back_stably(pairs, wrt)
    return found


def _tangents_in_body(
    results: Sequence[Symbolic], pairs: Sequence[tuple[Symbolic, Symbolic]]
) -> list[Found]:
    """Return the tangents of ``results``, given pairs of a value and its tangent."""
    found: list[Found] = up("staticgrad.autodiff.forward").pushed_forward(results, pairs)
    return found


class Inputs:
    """The inputs of a body that is being made, by role; those that nothing reads can be dropped."""

    def __init__(self) -> None:
        self.number = self.new("i", NUMBER)

    def new(self, label: str, type: TensorType) -> Symbolic:
        """One more."""
        return body_input(label, type, *here())

    def like(self, prefix: str, types: Iterable[TensorType]) -> list[Symbolic]:
        """One for each type."""
        return [self.new(f"{prefix}{place}", kind) for place, kind in enumerate(types)]


def closed(number: Sequence[Symbolic], given: Roles, results: Roles) -> Graph:
    """A body of these inputs and outputs, under canonical names."""
    outs = dict(_named(results))
    inside = body_of([*number, *(value for _, group in given for value in group)], outs)
    wanted = [*(("i", value) for value in number), *_named(given)]
    fresh = [body_input(name, v.type, v.node.origin, v.node.order) for name, v in wanted]
    return body_of(fresh, dict(zip(outs, inlined(inside, fresh), strict=True)))


def _named(roles: Roles) -> list[tuple[str, Symbolic]]:
    count: dict[str, int] = {}
    named = []
    for prefix, group in roles:
        first = count.get(prefix, 0)
        named += [(f"{prefix}{place}", value) for place, value in enumerate(group, first)]
        count[prefix] = first + len(group)
    return named


def apply(op: Op, operands: Sequence[Any]) -> list[Any]:
    """The results of an op, however many."""
    found: Any = op(*operands)
    return [*found] if isinstance(found, tuple) else [found]


def reading(outputs: Iterable[Symbolic], inputs: Sequence[Symbolic]) -> list[int]:
    """The places of those inputs that the outputs depend on."""
    past = set(ancestors(outputs))
    return [place for place, value in enumerate(inputs) if value.node in past]


def found_or_zeros(found: Found, type: TensorType, like: Any = None) -> Any:
    """Return a cotangent or tangent of that type: ``found``, else zeros of the kind of ``like``."""
    return zeros_like_type(type, like) if found is None else found


def run_loop(
    body: Iteration,
    iterations: Size,
    first: Sequence[Any],
    slices: Sequence[Any],
    reverse: bool,
) -> Sequence[Any]:
    """Run a loop whose ``body`` gives the next carries; return the last ones."""
    inputs = Inputs()
    carries = inputs.like("c", [value.type for value in first])
    rows = inputs.like("x", [value.type.with_shape(value.shape[1:]) for value in slices])
    grown = {f"c{n}": value for n, value in enumerate(body(carries, rows))}
    graph = body_of([inputs.number, *carries, *rows], grown)
    return apply(Loop(graph, iterations, len(first), len(slices), reverse), [*first, *slices])


def _stacked(value: Symbolic) -> Stacked | None:
    """Return a value as a reshape of what a loop of the present derivative stacks, or None."""
    stack = value
    while isinstance(stack.node.form, ReshapeForm):
        (stack,) = stack.node.args
    op = stack.node.op
    if not isinstance(op, Loop) or stack.index < op.carries:
        return None
    if stack.node.order != current().order:
        return None
    for end in range(1, stack.ndim):
        if product(stack.shape[:end]) == value.shape[0]:
            return Stacked(stack, op.iterations, op.reverse, stack.shape[1:end])
    return None


class BackwardIteration:
    """One iteration of a loop backwards, and the loop that makes them.

    Places count the operands of the loop: carries, then slices, then invariants.

    Attributes:
        moving: the carries that have a cotangent in some iteration.
        shares: the cotangents of the inputs in one iteration, by place, given those of what moves.
        sliced, summed: the slices and the invariants that have one.
    """

    def __init__(self, op: Loop, cts: Sequence[Found], needed: Sequence[bool]) -> None:
        self.op, self.cts, self.needed = op, cts, needed
        self.inputs = Inputs()
        kinds = [value.type for value in op.body.inputs[1:]]
        self.given = self.inputs.like("v", kinds)
        found = inlined(op.body, [self.inputs.number, *self.given], current().order)
        self.next, outs = found[: op.carries], found[op.carries :]
        self.seeded = [k for k, ct in enumerate(cts[op.carries :]) if ct is not None]
        self.seeded_outs = [outs[k] for k in self.seeded]
        self.seeds = self.inputs.like("s", [value.type for value in self.seeded_outs])
        self.arriving = self.inputs.like("t", kinds[: op.carries])
        live = _live_carries(op, needed)
        self.wanted = [k for k in range(len(kinds)) if (k in live if k < op.carries else needed[k])]

        def moved(moving: set[int]) -> set[int]:
            pairs = [(self.next[k], self.arriving[k]) for k in sorted(moving)]
            pairs += zip(self.seeded_outs, self.seeds, strict=True)
            targets = [self.given[k] for k in self.wanted]
            none = [None] * len(targets)
            found = _cotangents_in_body(pairs, targets) if pairs and targets else none
            self.shares = dict(zip(self.wanted, found, strict=True))
            return {k for k in live if self.shares[k] is not None}

        arrive = {k for k in range(op.carries) if cts[k] is not None and k in live}
        self.moving = sorted(closed_under(moved, arrive))
        self.ends = op.carries, op.carries + op.slices
        there = [k for k in self.wanted if self.shares[k] is not None]
        self.sliced = [k for k in there if self.ends[0] <= k < self.ends[1]]
        self.summed = [k for k in there if k >= self.ends[1]]

    def cotangents(self, args: Sequence[Any]) -> tuple[Found, ...]:
        """The cotangents of the operands, by the loop that runs the other way."""
        if not (self.moving or self.sliced or self.summed):
            return (None,) * len(args)
        sums = _SumsOfInvariants(
            {k: self.shares[k] for k in self.summed}, self.given[: self.ends[1]]
        )
        sliced = [self.shares[k] for k in self.sliced]
        results = [*sliced, *sums.stacked_beside(sliced)]
        carried = [
            *[found_or_zeros(self.shares.get(k), self.given[k].type) for k in self.moving],
            *sums.grown,
        ]
        # The forward values that the loop reads: carries and slices, then invariants.
        read = reading([*carried, *results], self.given)
        late = [k for k in range(self.ends[1]) if self.given[k].key in sums.late.read]
        kept = sorted({k for k in read if k < self.ends[1]}.union(late))
        rest = [k for k in read if k >= self.ends[1]]
        body = closed(
            [self.inputs.number],
            [
                ("c", [*(self.arriving[k] for k in self.moving), *sums.totals]),
                ("x", [self.given[k] for k in kept] + self.seeds),
                ("p", [self.given[k] for k in rest]),
            ],
            [("c", carried), ("y", results)],
        )
        op, slices = self.op, len(kept) + len(self.seeds)
        back = Loop(body, op.iterations, len(carried), slices, not op.reverse)
        first = [found_or_zeros(self.cts[k], args[k].type, args[k]) for k in self.moving]
        first += sums.zeros(args)
        # The carries with which iterations began, stacked, then the slices.
        begun = [k for k in kept if k < op.carries]
        stacked = apply(with_stacked_carries(op, begun), args) if begun else []
        stacks = stacked[len(op.body.outputs) :] + [args[k] for k in kept if k >= self.ends[0]]
        seeds = [self.cts[op.carries + k] for k in self.seeded]
        found = apply(back, [*first, *stacks, *seeds, *(args[k] for k in rest)])
        by_value = {self.given[k].key: stack for k, stack in zip(kept, stacks, strict=True)}
        by_value |= {v.key: f for v, f in zip(results, found[len(carried) :], strict=True)}
        where = dict(zip(self.moving, found, strict=False))
        where |= {k: by_value[value.key] for k, value in zip(self.sliced, sliced, strict=True)}
        for k, term in sums.terms(found[len(self.moving) : len(carried)]):
            where[k] = add(where[k], term) if k in where else term
        after = sums.late.results(by_value, op.iterations, back.reverse, run_loop)
        for k, total in after.items():
            where[k] = add(total, where[k]) if k in where else total
        return tuple(where.get(k) if self.needed[k] else None for k in range(len(args)))


class _SumsOfInvariants:
    """The cotangents of invariants, which are sums over the iterations.

    Attributes:
        late: those that are made after the loop, of what it stacks.
        totals: carries with the sums so far of all others.
        grown: the same after an iteration.
    """

    def __init__(self, shares: Mapping[int, Symbolic], there: Sequence[Symbolic]) -> None:
        self.late = OverTime(shares, [*there])
        rest = sorted(self.late.rest.items())
        self._parts = [(k, share) for k, total in rest for share in shares_of(total)]
        values: list[Any] = [share.value for _, share in self._parts]
        self.totals = Inputs().like("t", [value.type for value in values])
        self.grown = [add(t, v) for t, v in zip(self.totals, values, strict=True)]

    def stacked_beside(self, there: Sequence[Symbolic]) -> list[Symbolic]:
        """Return the values to stack for the sums after the loop that are not in ``there``."""
        keys = {value.key for value in there}
        return [value for key, value in self.late.outputs.items() if key not in keys]

    def zeros(self, args: Sequence[Any]) -> list[Any]:
        """Return the initial totals, given the operands of the loop."""
        return [zeros_like_type(share.value.type, args[k]) for k, share in self._parts]

    def terms(self, totals: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yield for each total its operand number and its term of the cotangent."""
        for (place, share), total in zip(self._parts, totals, strict=True):
            yield place, share.term(total)


def _live_carries(op: Loop, needed: Sequence[bool]) -> set[int]:
    """The carries whose cotangent reaches an operand that needs one."""
    given, results = op.body.inputs[1:], [*op.body.outputs.values()]
    rest = [v for k, v in enumerate(given) if k >= op.carries and needed[k]]

    def reached_from(live: set[int]) -> set[int]:
        active = {value.key for value in (*(given[k] for k in live), *rest)}
        for node in op.body.nodes:
            if node.op.differentiable and any(arg.key in active for arg in node.args):
                active.update(v.key for v in node.values if v.dtype.is_float)
        return {k for k in range(op.carries) if results[k].key in active}

    live = closed_under(reached_from, {k for k in range(op.carries) if needed[k]})
    return {k for k in live if given[k].dtype.is_float}


def with_stacked_carries(op: Loop, kept: Sequence[int]) -> Loop:
    """The loop that also gives the carries with which each iteration began, stacked: those
    ``kept``."""
    begun = op.body.inputs[1 : 1 + op.carries]
    outputs = dict(op.body.outputs)
    own = len(outputs) - op.carries
    outputs.update({f"y{own + k}": begun[place] for k, place in enumerate(kept)})
    body = Graph.of_parts(
        nodes=op.body.nodes, inputs=op.body.inputs, parameters=(), outputs=outputs,
        name=op.body.name,
    )  # fmt: skip
    return Loop(body, op.iterations, op.carries, op.slices, op.reverse)


class ForwardBody:
    """A body with the tangents of what moves, by place among its inputs.

    Attributes:
        moved: the inputs that have a tangent, in some iteration.
        moving: the carries of these.
        found: the tangents of the results, or None.
    """

    def __init__(
        self, body: Graph, carries: int, has_tangent: Sequence[bool], numbered: bool
    ) -> None:
        inputs = Inputs()
        kinds = [value.type for value in body.inputs[numbered:]]
        self.number, self.given = inputs.number, inputs.like("v", kinds)
        self.tangents = inputs.like("t", kinds)
        self.results = inlined(body, [*[self.number] * numbered, *self.given], current().order)

        def moved(places: set[int]) -> set[int]:
            pairs = [(self.given[k], self.tangents[k]) for k in sorted(places)]
            none: list[Found] = [None] * len(self.results)
            self.found = _tangents_in_body(self.results, pairs) if pairs else none
            return {k for k in range(carries) if self.found[k] is not None}

        first = {k for k, has in enumerate(has_tangent) if has and kinds[k].dtype.is_float}
        self.moved = closed_under(moved, first)
        self.moving = [k for k in range(carries) if k in self.moved]

    def next(self) -> list[Symbolic]:
        """The tangents of the next carries, of those that move."""
        return [found_or_zeros(self.found[k], self.given[k].type) for k in self.moving]

    def role(self, start: int, end: int | None) -> list[Symbolic]:
        """Inputs from place to place, then the tangents of those that have one."""
        places = range(*slice(start, end).indices(len(self.given)))
        moved = [self.tangents[k] for k in places if k in self.moved]
        return [*(self.given[k] for k in places), *moved]


def with_tangents(
    start: int, end: int | None, args: Sequence[Any], moved: Sequence[Found], places: Iterable[int]
) -> list[Any]:
    """Operands from place to place, then the tangents of those at ``places``."""
    own = range(*slice(start, end).indices(len(args)))
    wanted = [k for k in own if k in set(places)]
    return [
        *(args[k] for k in own),
        *(found_or_zeros(moved[k], args[k].type, args[k]) for k in wanted),
    ]


def loop_tangents(op: Loop, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
    """The tangents of the results of a loop."""
    iteration = ForwardBody(op.body, op.carries, [t is not None for t in moved], True)
    ends = op.carries, op.carries + op.slices
    outs = [k for k in range(op.carries, len(iteration.results)) if iteration.found[k] is not None]
    if not iteration.moving and not outs:
        return (None,) * len(iteration.results)
    slices = iteration.role(ends[0], ends[1])
    body = closed(
        [iteration.number],
        [("c", iteration.role(0, ends[0])), ("x", slices), ("p", iteration.role(ends[1], None))],
        [
            ("c", [*iteration.results[: ends[0]], *iteration.next()]),
            ("y", [iteration.found[k] for k in outs]),
        ],
    )
    pushed = Loop(body, op.iterations, ends[0] + len(iteration.moving), len(slices), op.reverse)
    operands = [
        *with_tangents(0, ends[0], args, moved, iteration.moved),
        *with_tangents(ends[0], ends[1], args, moved, iteration.moved),
        *with_tangents(ends[1], None, args, moved, iteration.moved),
    ]
    found = apply(pushed, operands)[ends[0] :]
    where = dict(zip([*iteration.moving, *outs], found, strict=True))
    return tuple(where.get(k) for k in range(len(iteration.results)))


def tangents_of_while(op: While, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
    """The tangents of the results of a while, and of the number of its iterations, which has
    none."""
    iteration = ForwardBody(op.body, op.carries, [t is not None for t in moved], True)
    if not iteration.moving:
        return (None,) * (op.carries + 1)
    roles = [("c", iteration.role(0, op.carries)), ("p", iteration.role(op.carries, None))]
    test = inlined(op.test, [iteration.number, *iteration.given], current().order)
    tested = closed([iteration.number], roles, [("y", test)])
    pushed = While(
        body_of(tested.inputs, {"go": tested.outputs["y0"]}),
        closed([iteration.number], roles, [("c", [*iteration.results, *iteration.next()])]),
        op.carries + len(iteration.moving),
        op.most,
    )
    operands = [
        *with_tangents(0, op.carries, args, moved, iteration.moved),
        *with_tangents(op.carries, None, args, moved, iteration.moved),
    ]
    found = apply(pushed, operands)[op.carries :]
    where = dict(zip(iteration.moving, found, strict=False))
    return tuple(where.get(k) for k in range(op.carries + 1))


def branch_cotangents(
    op: Branch, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Found, ...]:
    """The cotangents of the operands; the one that chooses has none."""
    wanted = [k for k, need in enumerate(needed[1:]) if need]
    seeded = [k for k, ct in enumerate(cts) if ct is not None]
    if not wanted or not seeded:
        return (None,) * len(args)
    made = []
    for case in op.cases:
        inputs = Inputs()
        given = inputs.like("v", [value.type for value in case.inputs])
        results = inlined(case, given, current().order)
        seeds = inputs.like("s", [results[k].type for k in seeded])
        pairs = [(results[k], seed) for k, seed in zip(seeded, seeds, strict=True)]
        shares = _cotangents_in_body(pairs, [given[k] for k in wanted])
        made.append((given, seeds, dict(zip(wanted, shares, strict=True))))
    there = [k for k in wanted if any(shares[k] is not None for _, _, shares in made)]
    if not there:
        return (None,) * len(args)
    cases = []
    for given, seeds, shares_of_case in made:
        outs = [found_or_zeros(shares_of_case[k], args[1 + k].type) for k in there]
        cases.append(closed([], [("p", [*given, *seeds])], [("y", outs)]))
    found = apply(Branch(tuple(cases)), [*args, *(cts[k] for k in seeded)])
    where = dict(zip(there, found, strict=True))
    return (None, *(where.get(k) for k in range(len(args) - 1)))


def branch_tangents(op: Branch, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
    """The tangents of the results."""
    given = [t is not None for t in moved[1:]]
    made = [ForwardBody(case, 0, given, False) for case in op.cases]
    count = len(made[0].results)
    there = [k for k in range(count) if any(case.found[k] is not None for case in made)]
    if not there:
        return (None,) * count
    cases = []
    for case in made:
        outs = [found_or_zeros(case.found[k], case.results[k].type) for k in there]
        cases.append(closed([], [("p", case.role(0, None))], [("y", outs)]))
    operands = with_tangents(0, None, args[1:], moved[1:], made[0].moved)
    found = apply(Branch(tuple(cases)), [args[0], *operands])
    where = dict(zip(there, found, strict=True))
    return tuple(where.get(k) for k in range(count))


def bounded(op: While) -> Loop:
    """The loop of ``most`` iterations that does the same, carrying the number of iterations done
    before.

    It has stopped where an iteration's number is not that of the iterations done; then nothing
    runs.
    """
    if op.most is None:
        raise GradientError(
            "a loop stores the carries of all iterations for its gradient, and max_steps= does not"
            " say how many there may be",
            hint="sg.fori_loop(0, n, body, init, max_steps=100) where n is a value;"
            " sg.while_loop(test, body, init, max_steps=100); sg.jvp needs no bound",
        )
    inputs = Inputs()
    done = inputs.new("c", inputs.number.type)
    given = inputs.like("v", [value.type for value in op.body.inputs[1:]])
    carries = given[: op.carries]
    operands = [inputs.number, done, *given]

    def case(results: Callable[[list[Symbolic]], Sequence[Symbolic]]) -> Graph:
        values = Inputs().like("v", [value.type for value in operands])
        return closed([], [("p", values)], [("y", results(values))])

    def unchanged(values: list[Symbolic]) -> Sequence[Symbolic]:
        return values[1 : 2 + op.carries]

    def iteration(values: list[Symbolic]) -> Sequence[Symbolic]:
        inner = inlined(op.body, [values[0], *values[2:]], current().order)
        return [add(values[1], 1), *inner]  # type: ignore[list-item]

    def tested(values: list[Symbolic]) -> Sequence[Symbolic]:
        (go,) = inlined(op.test, [values[0], *values[2:]], current().order)
        return apply(Branch((case(unchanged), case(iteration))), [astype(go, "int64"), *values])

    running = astype(equal(inputs.number, done), "int64")
    found = apply(Branch((case(unchanged), case(tested))), [running, *operands])
    body = closed(
        [inputs.number], [("c", [done, *carries]), ("p", given[op.carries :])], [("c", found)]
    )
    return Loop(body, op.most, 1 + op.carries, 0)
