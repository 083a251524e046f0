"""Ops that run graphs of their own: a loop of so many iterations, one while a test holds, a branch.

A body is a closed graph (``ir/bodies.py``). What a user's function closed over are operands of the
op like any other: a loop hands the same *invariants* to every iteration. The functions that make
bodies of Python functions stand in ``functions/loops.py``; rules over batches in
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

from staticgrad.errors import (
    DTypeError,
    GradientError,
    OpDefinitionError,
    RankError,
    ShapeError,
)
from staticgrad.language.ir.bodies import body_input, body_of, closed_under, inline_body
from staticgrad.language.ir.forms import BodyForm, Form, ReshapeForm
from staticgrad.language.ir.graph import BodyOp, Graph, Input, Node, Symbolic, ancestors
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.rounded import round_results
from staticgrad.language.ops.arithmetic import add
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.loop_sums import Iteration, OverTime, Stacked, after_loop, shares_of
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.building import current, here, within
from staticgrad.support.upward import up

NUMBER = TensorType(I64, ())
TRUTH = TensorType(BOOL, ())

#: A cotangent or tangent, or None if it is zero.
Derivative = Any

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
    def interpret(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Compute the result in NumPy with an interpreter of the bodies. Sizes are integers."""

    def reference(self, *arrays: Any) -> Any:
        return single(self.interpret(_Literal(), *arrays))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a loop, while or branch op: by the loop that runs backwards, or cases."""
        cts = ct if isinstance(ct, tuple) else (ct,)
        result_cotangents = [
            None if isinstance(cotangent, float) else cotangent for cotangent in cts
        ]
        needs_cotangent = [
            need and arg.dtype.is_float for need, arg in zip(needed, args, strict=True)
        ]
        results = out if isinstance(out, tuple) else (out,)
        order = min((r.node.order for r in results if isinstance(r, Symbolic)), default=0)
        return self.pulled_back(result_cotangents, args, needs_cotangent, order)

    @abstractmethod
    def pulled_back(
        self, cts: Sequence[Derivative], args: Sequence[Any], needed: Sequence[bool], order: int
    ) -> tuple[Derivative, ...]:
        """Return the cotangents of the operands, given those of the results.

        ``order``: the order of differentiation of the loop or branch, and so of what runs it again
        for values that its derivative reads.
        """

    def jvp(self, tangents: Sequence[Derivative], out: Any, *args: Any) -> Any:
        """Return the tangents, computed together with the results of the bodies."""
        return single(self.pushed_forward(tangents, args))

    def summed_in_blocks(self, share: Any) -> Any:
        """By loops over blocks of what a loop of the present derivative stacks."""
        return after_loop(share, _match_stacked, run_loop) if isinstance(share, Symbolic) else share

    @abstractmethod
    def pushed_forward(
        self, tangents: Sequence[Derivative], args: Sequence[Any]
    ) -> tuple[Derivative, ...]:
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
        """Infer the result types of a loop: its carries, then stacked outputs."""
        inner = [NUMBER]
        for place, kind in enumerate(types):
            sliced = self.carries <= place < self.carries + self.slices
            inner.append(self._slice_of(kind) if sliced else kind)
        _check_inputs(self, self.body, inner)
        outputs = output_types(self.body)
        if outputs[: self.carries] != [*types[: self.carries]]:
            raise self.refuse(_carry_types_text(types[: self.carries], outputs))
        if isinstance(self.iterations, int) and self.iterations < 0:
            raise self.refuse(f"{self.iterations} iterations")
        stacked = [
            kind.with_shape((self.iterations, *kind.shape)) for kind in outputs[self.carries :]
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
        self, cts: Sequence[Derivative], args: Sequence[Any], needed: Sequence[bool], order: int
    ) -> tuple[Derivative, ...]:
        """By a loop that runs the other way."""
        return BackwardIteration(self, cts, needed).cotangents(args, order)

    def pushed_forward(
        self, tangents: Sequence[Derivative], args: Sequence[Any]
    ) -> tuple[Derivative, ...]:
        """By a loop with more carries, slices and invariants."""
        return loop_tangents(self, tangents, args)

    def interpret(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Interpret a loop's body iteration by iteration."""
        ends = self.carries, self.carries + self.slices
        carries, sliced, invariants = (
            arrays[: ends[0]],
            arrays[ends[0] : ends[1]],
            arrays[ends[1] :],
        )
        iterations = int(self.iterations)
        stacks = [interpreter.empty(t, iterations) for t in output_types(self.body)[self.carries :]]
        states = [carries]
        for i in reversed(range(iterations)) if self.reverse else range(iterations):
            inputs = [np.asarray(i), *states[-1], *(x[i] for x in sliced), *invariants]
            results = interpreter.run(self.body, inputs)
            carries = tuple(results[: self.carries])
            states = [*states, carries] if self.logged else [carries]
            for stack, array in zip(stacks, results[self.carries :], strict=True):
                stack[i] = array
        last = list(carries)
        for place in self.logged:
            rows = [state[place] for state in states]
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
        """Infer the result types of a while loop: its carries and the iteration count."""
        for body in self.bodies:
            _check_inputs(self, body, [NUMBER, *types])
        if output_types(self.test) != [TRUTH]:
            raise self.refuse(
                f"the test gives {_types_text(output_types(self.test))}, not one bool"
            )
        outputs = output_types(self.body)
        if outputs != [*types[: self.carries]]:
            raise self.refuse(_carry_types_text(types[: self.carries], outputs))
        return single((*outputs, NUMBER))

    def pulled_back(
        self, cts: Sequence[Derivative], args: Sequence[Any], needed: Sequence[bool], order: int
    ) -> tuple[Derivative, ...]:
        """Return the cotangents of the loop of ``most`` iterations."""
        loop, first = as_bounded_loop(self), zeros_like_type(NUMBER, args[0])
        cts = [None, *cts[: self.carries]]
        return loop.pulled_back(cts, [first, *args], [False, *needed], order)[1:]

    def pushed_forward(
        self, tangents: Sequence[Derivative], args: Sequence[Any]
    ) -> tuple[Derivative, ...]:
        """By a while with more carries and invariants."""
        return tangents_of_while(self, tangents, args)

    def interpret(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Interpret a while loop: test, body, test, body."""
        carries, invariants, done = arrays[: self.carries], arrays[self.carries :], 0
        while self.most is None or done < int(self.most):
            inputs = [np.asarray(done), *carries, *invariants]
            if not interpreter.run(self.test, inputs)[0]:
                break
            carries, done = tuple(interpreter.run(self.body, inputs)), done + 1
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
        """Infer the result types of a branch; all cases must agree."""
        if index != NUMBER:
            raise DTypeError(f"{self.name}: the index is {index}, not {NUMBER}")
        if not self.cases:
            raise self.refuse("there is no case")
        for case in self.cases:
            _check_inputs(self, case, types)
            if output_types(case) != output_types(self.cases[0]):
                texts = [_types_text(output_types(body)) for body in (self.cases[0], case)]
                raise self.refuse(f"one case gives {texts[0]}, another {texts[1]}")
        return single(tuple(output_types(self.cases[0])))

    def pulled_back(
        self, cts: Sequence[Derivative], args: Sequence[Any], needed: Sequence[bool], order: int
    ) -> tuple[Derivative, ...]:
        """By a branch of the derivatives of the cases."""
        return branch_cotangents(self, cts, args, needed)

    def pushed_forward(
        self, tangents: Sequence[Derivative], args: Sequence[Any]
    ) -> tuple[Derivative, ...]:
        """By a branch whose cases give tangents alone."""
        return branch_tangents(self, tangents, args)

    def interpret(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """The case taken."""
        place = min(max(int(arrays[0]), 0), len(self.cases) - 1)
        return tuple(interpreter.run(self.cases[place], arrays[1:]))


class _Literal:
    """Runs bodies in which every size is an integer."""

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """Interpret a body graph node by node."""
        array_by_key = dict(zip((value.key for value in body.inputs), arrays, strict=True))
        for node in body.nodes:
            if isinstance(node.op, Input):
                continue
            run = round_results(node.op.reference, node.op, [a.type for a in node.args], node.types)
            result = run(*[array_by_key[arg.key] for arg in node.args])
            results = result if isinstance(result, tuple) else (result,)
            array_by_key.update(((node, i), np.asarray(array)) for i, array in enumerate(results))
        return [array_by_key[value.key] for value in body.outputs.values()]

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
    """Check that operands have the types of the inputs of a loop's or branch's body."""
    expected = [value.type for value in body.inputs]
    if expected != [*types]:
        raise op.refuse(
            f"a body takes {_types_text(expected)}, the operands give {_types_text(types)}"
        )
    if body.parameters or body.updates:
        raise op.refuse("a body reads or writes a parameter: it is an operand instead")


def _types_text(types: Sequence[TensorType]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"


def _carry_types_text(carries: Sequence[TensorType], outputs: Sequence[TensorType]) -> str:
    return f"the carries {_types_text(carries)} become {_types_text(outputs)}"


# -- derivatives ----------------------------------------------------------------------------------


def _cotangents_in_body(
    pairs: Sequence[tuple[Symbolic, Symbolic]], wrt: Sequence[Symbolic]
) -> list[Derivative]:
    """Return the cotangents of ``wrt``, given pairs of a value and its cotangent."""
    cotangents: list[Derivative] = up("staticgrad.autodiff.reverse").pull_back_stably(pairs, wrt)
    return cotangents


def _tangents_in_body(
    results: Sequence[Symbolic], pairs: Sequence[tuple[Symbolic, Symbolic]]
) -> list[Derivative]:
    """Return the tangents of ``results``, given pairs of a value and its tangent."""
    tangents: list[Derivative] = up("staticgrad.autodiff.forward").push_forward(results, pairs)
    return tangents


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


def close_body(number: Sequence[Symbolic], inputs: Roles, results: Roles) -> Graph:
    """A body of these inputs and outputs, under canonical names."""
    outs = dict(_name_roles(results))
    inside = body_of([*number, *(value for _, group in inputs for value in group)], outs)
    named_inputs = [*(("i", value) for value in number), *_name_roles(inputs)]
    fresh = [body_input(name, v.type, v.node.origin, v.node.order) for name, v in named_inputs]
    return body_of(fresh, dict(zip(outs, inline_body(inside, fresh), strict=True)))


def _name_roles(roles: Roles) -> list[tuple[str, Symbolic]]:
    """Name the inputs of a loop's or branch's body by role and number: c0, c1, x0."""
    count: dict[str, int] = {}
    named = []
    for prefix, group in roles:
        first = count.get(prefix, 0)
        named += [(f"{prefix}{place}", value) for place, value in enumerate(group, first)]
        count[prefix] = first + len(group)
    return named


def apply(op: Op, operands: Sequence[Any]) -> list[Any]:
    """The results of an op, however many."""
    result: Any = op(*operands)
    return [*result] if isinstance(result, tuple) else [result]


def reading(outputs: Iterable[Symbolic], inputs: Sequence[Symbolic]) -> list[int]:
    """The places of those inputs that the outputs depend on."""
    past = set(ancestors(outputs))
    return [place for place, value in enumerate(inputs) if value.node in past]


def derivative_or_zeros(derivative: Derivative, type: TensorType, like: Any = None) -> Any:
    """Return a cotangent or tangent of that type: ``found``, else zeros of the kind of ``like``."""
    return zeros_like_type(type, like) if derivative is None else derivative


def run_loop(
    body: Iteration,
    iterations: Size,
    first: Sequence[Any],
    slices: Sequence[Any],
    reverse: bool,
) -> Sequence[Any]:
    """Build a loop over ``body`` outside of users' code; return the last carries."""
    inputs = Inputs()
    carries = inputs.like("c", [value.type for value in first])
    rows = inputs.like("x", [value.type.with_shape(value.shape[1:]) for value in slices])
    grown = {f"c{n}": value for n, value in enumerate(body(carries, rows))}
    graph = body_of([inputs.number, *carries, *rows], grown)
    return apply(Loop(graph, iterations, len(first), len(slices), reverse), [*first, *slices])


def _match_stacked(value: Symbolic) -> Stacked | None:
    """Match a reshape of what the derivative's loop stacks; None if it is none."""
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
        active_carries: the carries that have a cotangent in some iteration.
        shares: the cotangents of the inputs in one iteration, by place, given those of what moves.
        sliced, summed: the slices and the invariants that have one.
    """

    def __init__(self, op: Loop, cts: Sequence[Derivative], needed: Sequence[bool]) -> None:
        self.op, self.cts, self.needed = op, cts, needed
        self.inputs = Inputs()
        kinds = [value.type for value in op.body.inputs[1:]]
        self.body_inputs = self.inputs.like("v", kinds)
        results = inline_body(op.body, [self.inputs.number, *self.body_inputs], current().order)
        self.next, outs = results[: op.carries], results[op.carries :]
        self.seeded = [k for k, ct in enumerate(cts[op.carries :]) if ct is not None]
        self.seeded_outs = [outs[k] for k in self.seeded]
        self.seeds = self.inputs.like("s", [value.type for value in self.seeded_outs])
        self.arriving = self.inputs.like("t", kinds[: op.carries])
        live = _live_carries(op, needed)
        self.wrt = [k for k in range(len(kinds)) if (k in live if k < op.carries else needed[k])]

        def propagate(moving: set[int]) -> set[int]:
            """Return the live carries that get a cotangent if the ``moving`` ones have one."""
            pairs = [(self.next[k], self.arriving[k]) for k in sorted(moving)]
            pairs += zip(self.seeded_outs, self.seeds, strict=True)
            targets = [self.body_inputs[k] for k in self.wrt]
            zeros = [None] * len(targets)
            cotangents = _cotangents_in_body(pairs, targets) if pairs and targets else zeros
            self.shares = dict(zip(self.wrt, cotangents, strict=True))
            return {k for k in live if self.shares[k] is not None}

        arrive = {k for k in range(op.carries) if cts[k] is not None and k in live}
        self.active_carries = sorted(closed_under(propagate, arrive))
        self.ends = op.carries, op.carries + op.slices
        with_cotangent = [k for k in self.wrt if self.shares[k] is not None]
        self.sliced = [k for k in with_cotangent if self.ends[0] <= k < self.ends[1]]
        self.summed = [k for k in with_cotangent if k >= self.ends[1]]

    def cotangents(self, args: Sequence[Any], order: int) -> tuple[Derivative, ...]:
        """Return the operands' cotangents by building the backward loop.

        ``order``: that of the loop itself, which also stacks what the backward loop reads.
        """
        if not (self.active_carries or self.sliced or self.summed):
            return (None,) * len(args)
        sums = _SumsOfInvariants(
            {k: self.shares[k] for k in self.summed}, self.body_inputs[: self.ends[1]]
        )
        sliced = [self.shares[k] for k in self.sliced]
        results = [*sliced, *sums.extra_outputs(sliced)]
        carried = [
            *[
                derivative_or_zeros(self.shares.get(k), self.body_inputs[k].type)
                for k in self.active_carries
            ],
            *sums.grown,
        ]
        # The forward values that the loop reads: carries and slices, then invariants.
        read = reading([*carried, *results], self.body_inputs)
        late = [k for k in range(self.ends[1]) if self.body_inputs[k].key in sums.late.read]
        per_iteration = sorted({k for k in read if k < self.ends[1]}.union(late))
        invariants = [k for k in read if k >= self.ends[1]]
        body = close_body(
            [self.inputs.number],
            [
                ("c", [*(self.arriving[k] for k in self.active_carries), *sums.totals]),
                ("x", [self.body_inputs[k] for k in per_iteration] + self.seeds),
                ("p", [self.body_inputs[k] for k in invariants]),
            ],
            [("c", carried), ("y", results)],
        )
        op, slices = self.op, len(per_iteration) + len(self.seeds)
        back = Loop(body, op.iterations, len(carried), slices, not op.reverse)
        first = [
            derivative_or_zeros(self.cts[k], args[k].type, args[k]) for k in self.active_carries
        ]
        first += sums.zeros(args)
        # The carries with which iterations began, stacked, then the slices.
        begun = [k for k in per_iteration if k < op.carries]
        with within(order=order):
            stacked = apply(with_stacked_carries(op, begun), args) if begun else []
        stacks = stacked[len(op.body.outputs) :] + [
            args[k] for k in per_iteration if k >= self.ends[0]
        ]
        seeds = [self.cts[op.carries + k] for k in self.seeded]
        outputs = apply(back, [*first, *stacks, *seeds, *(args[k] for k in invariants)])
        by_value = {
            self.body_inputs[k].key: stack for k, stack in zip(per_iteration, stacks, strict=True)
        }
        by_value |= {v.key: f for v, f in zip(results, outputs[len(carried) :], strict=True)}
        where = dict(zip(self.active_carries, outputs, strict=False))
        where |= {k: by_value[value.key] for k, value in zip(self.sliced, sliced, strict=True)}
        for k, term in sums.terms(outputs[len(self.active_carries) : len(carried)]):
            where[k] = add(where[k], term) if k in where else term
        late_sums = sums.late.results(by_value, op.iterations, back.reverse, run_loop)
        for k, total in late_sums.items():
            where[k] = add(total, where[k]) if k in where else total
        return tuple(where.get(k) if self.needed[k] else None for k in range(len(args)))


class _SumsOfInvariants:
    """The cotangents of invariants, which are sums over the iterations.

    Attributes:
        late: those that are made after the loop, of what it stacks.
        totals: carries with the sums so far of all others.
        grown: the same after an iteration.
    """

    def __init__(self, shares: Mapping[int, Symbolic], stacked: Sequence[Symbolic]) -> None:
        self.late = OverTime(shares, [*stacked])
        carried = sorted(self.late.carried.items())
        self._parts = [(k, share) for k, total in carried for share in shares_of(total)]
        values: list[Any] = [share.value for _, share in self._parts]
        self.totals = Inputs().like("t", [value.type for value in values])
        self.grown = [add(t, v) for t, v in zip(self.totals, values, strict=True)]

    def extra_outputs(self, stacked: Sequence[Symbolic]) -> list[Symbolic]:
        """Return the values to stack for the sums after the loop that are not in ``there``."""
        keys = {value.key for value in stacked}
        return [value for key, value in self.late.outputs.items() if key not in keys]

    def zeros(self, args: Sequence[Any]) -> list[Any]:
        """Return the initial totals, given the operands of the loop."""
        return [zeros_like_type(share.value.type, args[k]) for k, share in self._parts]

    def terms(self, totals: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yield for each total its operand number and its term of the cotangent."""
        for (place, share), total in zip(self._parts, totals, strict=True):
            yield place, share.term(total)


def _live_carries(op: Loop, needed: Sequence[bool]) -> set[int]:
    """Return the carries whose cotangents reach an operand that needs one."""
    inputs, results = op.body.inputs[1:], [*op.body.outputs.values()]
    invariants = [v for k, v in enumerate(inputs) if k >= op.carries and needed[k]]

    def reached_from(live: set[int]) -> set[int]:
        active = {value.key for value in (*(inputs[k] for k in live), *invariants)}
        for node in op.body.nodes:
            if node.op.differentiable and any(arg.key in active for arg in node.args):
                active.update(v.key for v in node.values if v.dtype.is_float)
        return {k for k in range(op.carries) if results[k].key in active}

    live = closed_under(reached_from, {k for k in range(op.carries) if needed[k]})
    return {k for k in live if inputs[k].dtype.is_float}


def with_stacked_carries(op: Loop, places: Sequence[int]) -> Loop:
    """Return the loop that also stacks the carries at the begin of each iteration."""
    begun = op.body.inputs[1 : 1 + op.carries]
    outputs = dict(op.body.outputs)
    output_count = len(outputs) - op.carries
    outputs.update({f"y{output_count + k}": begun[place] for k, place in enumerate(places)})
    body = Graph.of_parts(
        nodes=op.body.nodes, inputs=op.body.inputs, parameters=(), outputs=outputs,
        name=op.body.name,
    )  # fmt: skip
    return Loop(body, op.iterations, op.carries, op.slices, op.reverse)


class ForwardBody:
    """A body with the tangents of what moves, by place among its inputs.

    Attributes:
        active: the inputs that have a tangent, in some iteration.
        active_carries: the carries of these.
        result_tangents: the tangents of the results, or None.
    """

    def __init__(
        self, body: Graph, carries: int, has_tangent: Sequence[bool], numbered: bool
    ) -> None:
        inputs = Inputs()
        kinds = [value.type for value in body.inputs[numbered:]]
        self.number, self.body_inputs = inputs.number, inputs.like("v", kinds)
        self.tangents = inputs.like("t", kinds)
        self.results = inline_body(
            body, [*[self.number] * numbered, *self.body_inputs], current().order
        )

        def propagate(places: set[int]) -> set[int]:
            pairs = [(self.body_inputs[k], self.tangents[k]) for k in sorted(places)]
            zeros: list[Derivative] = [None] * len(self.results)
            self.result_tangents = _tangents_in_body(self.results, pairs) if pairs else zeros
            return {k for k in range(carries) if self.result_tangents[k] is not None}

        first = {k for k, has in enumerate(has_tangent) if has and kinds[k].dtype.is_float}
        self.active = closed_under(propagate, first)
        self.active_carries = [k for k in range(carries) if k in self.active]

    def next(self) -> list[Symbolic]:
        """The tangents of the next carries, of those that move."""
        return [
            derivative_or_zeros(self.result_tangents[k], self.body_inputs[k].type)
            for k in self.active_carries
        ]

    def role(self, start: int, end: int | None) -> list[Symbolic]:
        """Inputs from place to place, then the tangents of those that have one."""
        places = range(*slice(start, end).indices(len(self.body_inputs)))
        tangents = [self.tangents[k] for k in places if k in self.active]
        return [*(self.body_inputs[k] for k in places), *tangents]


def with_tangents(
    start: int,
    end: int | None,
    args: Sequence[Any],
    tangents: Sequence[Derivative],
    places: Iterable[int],
) -> list[Any]:
    """Merge operands with their tangents, for a loop's forward-mode body."""
    span = range(*slice(start, end).indices(len(args)))
    active = [k for k in span if k in set(places)]
    return [
        *(args[k] for k in span),
        *(derivative_or_zeros(tangents[k], args[k].type, args[k]) for k in active),
    ]


def loop_tangents(
    op: Loop, tangents: Sequence[Derivative], args: Sequence[Any]
) -> tuple[Derivative, ...]:
    """Push tangents through a loop: carries and slices get tangents beside them."""
    iteration = ForwardBody(op.body, op.carries, [t is not None for t in tangents], True)
    ends = op.carries, op.carries + op.slices
    outs = [
        k
        for k in range(op.carries, len(iteration.results))
        if iteration.result_tangents[k] is not None
    ]
    if not iteration.active_carries and not outs:
        return (None,) * len(iteration.results)
    slices = iteration.role(ends[0], ends[1])
    body = close_body(
        [iteration.number],
        [("c", iteration.role(0, ends[0])), ("x", slices), ("p", iteration.role(ends[1], None))],
        [
            ("c", [*iteration.results[: ends[0]], *iteration.next()]),
            ("y", [iteration.result_tangents[k] for k in outs]),
        ],
    )
    pushed = Loop(
        body, op.iterations, ends[0] + len(iteration.active_carries), len(slices), op.reverse
    )
    operands = [
        *with_tangents(0, ends[0], args, tangents, iteration.active),
        *with_tangents(ends[0], ends[1], args, tangents, iteration.active),
        *with_tangents(ends[1], None, args, tangents, iteration.active),
    ]
    results = apply(pushed, operands)[ends[0] :]
    where = dict(zip([*iteration.active_carries, *outs], results, strict=True))
    return tuple(where.get(k) for k in range(len(iteration.results)))


def tangents_of_while(
    op: While, tangents: Sequence[Derivative], args: Sequence[Any]
) -> tuple[Derivative, ...]:
    """Push tangents through a while loop; the iteration count has none."""
    iteration = ForwardBody(op.body, op.carries, [t is not None for t in tangents], True)
    if not iteration.active_carries:
        return (None,) * (op.carries + 1)
    roles = [("c", iteration.role(0, op.carries)), ("p", iteration.role(op.carries, None))]
    test = inline_body(op.test, [iteration.number, *iteration.body_inputs], current().order)
    tested = close_body([iteration.number], roles, [("y", test)])
    pushed = While(
        body_of(tested.inputs, {"go": tested.outputs["y0"]}),
        close_body([iteration.number], roles, [("c", [*iteration.results, *iteration.next()])]),
        op.carries + len(iteration.active_carries),
        op.most,
    )
    operands = [
        *with_tangents(0, op.carries, args, tangents, iteration.active),
        *with_tangents(op.carries, None, args, tangents, iteration.active),
    ]
    results = apply(pushed, operands)[op.carries :]
    where = dict(zip(iteration.active_carries, results, strict=False))
    return tuple(where.get(k) for k in range(op.carries + 1))


def branch_cotangents(
    op: Branch, cts: Sequence[Derivative], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Derivative, ...]:
    """Differentiate a branch: a branch of the cases' vjps; the index has no cotangent."""
    wrt = [k for k, need in enumerate(needed[1:]) if need]
    seeded = [k for k, ct in enumerate(cts) if ct is not None]
    if not wrt or not seeded:
        return (None,) * len(args)
    case_gradients = []
    for case in op.cases:
        inputs = Inputs()
        values = inputs.like("v", [value.type for value in case.inputs])
        results = inline_body(case, values, current().order)
        seeds = inputs.like("s", [results[k].type for k in seeded])
        pairs = [(results[k], seed) for k, seed in zip(seeded, seeds, strict=True)]
        shares = _cotangents_in_body(pairs, [values[k] for k in wrt])
        case_gradients.append((values, seeds, dict(zip(wrt, shares, strict=True))))
    with_cotangent = [
        k for k in wrt if any(shares[k] is not None for _, _, shares in case_gradients)
    ]
    if not with_cotangent:
        return (None,) * len(args)
    cases = []
    for values, seeds, shares_of_case in case_gradients:
        outs = [derivative_or_zeros(shares_of_case[k], args[1 + k].type) for k in with_cotangent]
        cases.append(close_body([], [("p", [*values, *seeds])], [("y", outs)]))
    cotangents = apply(Branch(tuple(cases)), [*args, *(cts[k] for k in seeded)])
    where = dict(zip(with_cotangent, cotangents, strict=True))
    return (None, *(where.get(k) for k in range(len(args) - 1)))


def branch_tangents(
    op: Branch, tangents: Sequence[Derivative], args: Sequence[Any]
) -> tuple[Derivative, ...]:
    """Push tangents through a branch: a branch of the cases' jvps."""
    has_tangent = [t is not None for t in tangents[1:]]
    bodies = [ForwardBody(case, 0, has_tangent, False) for case in op.cases]
    count = len(bodies[0].results)
    with_tangent = [
        k for k in range(count) if any(case.result_tangents[k] is not None for case in bodies)
    ]
    if not with_tangent:
        return (None,) * count
    cases = []
    for case in bodies:
        outs = [
            derivative_or_zeros(case.result_tangents[k], case.results[k].type) for k in with_tangent
        ]
        cases.append(close_body([], [("p", case.role(0, None))], [("y", outs)]))
    operands = with_tangents(0, None, args[1:], tangents[1:], bodies[0].active)
    results = apply(Branch(tuple(cases)), [args[0], *operands])
    where = dict(zip(with_tangent, results, strict=True))
    return tuple(where.get(k) for k in range(count))


def as_bounded_loop(op: While) -> Loop:
    """Convert a while loop to a loop of at most ``most`` iterations, which counts those done.

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
    body_inputs = inputs.like("v", [value.type for value in op.body.inputs[1:]])
    carries = body_inputs[: op.carries]
    operands = [inputs.number, done, *body_inputs]

    def case(results: Callable[[list[Symbolic]], Sequence[Symbolic]]) -> Graph:
        values = Inputs().like("v", [value.type for value in operands])
        return close_body([], [("p", values)], [("y", results(values))])

    def skip(values: list[Symbolic]) -> Sequence[Symbolic]:
        return values[1 : 2 + op.carries]

    def iteration(values: list[Symbolic]) -> Sequence[Symbolic]:
        inner = inline_body(op.body, [values[0], *values[2:]], current().order)
        return [add(values[1], 1), *inner]  # type: ignore[list-item]

    def test_then_run(values: list[Symbolic]) -> Sequence[Symbolic]:
        (go,) = inline_body(op.test, [values[0], *values[2:]], current().order)
        return apply(Branch((case(skip), case(iteration))), [astype(go, "int64"), *values])

    running = astype(equal(inputs.number, done), "int64")
    next_carries = apply(Branch((case(skip), case(test_then_run))), [running, *operands])
    body = close_body(
        [inputs.number],
        [("c", [done, *carries]), ("p", body_inputs[op.carries :])],
        [("c", next_carries)],
    )
    return Loop(body, op.most, 1 + op.carries, 0)
