"""Derivatives of ops that run bodies, made of the derivatives of the bodies.

A loop backwards is a loop that runs the other way. Its body is the forward body, built again over
the carries with which each iteration began, followed by its gradient; those carries are stacked by
a forward loop that differs from the one differentiated in these outputs alone. It carries the
cotangents of the carries and adds up those of the invariants, as far as these are not sums that are
made after the loop (``sums.py``). Tangents of loops ride along as carries, slices and invariants.

The derivative of a branch is a branch of the derivatives of its cases. A bounded ``while`` is
differentiated as a loop of that many iterations, of which the last do nothing. All of them are
ordinary ops, and differentiate again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from staticgrad.analysis.liveness import closed_under
from staticgrad.autodiff.forward import pushed_forward
from staticgrad.autodiff.reverse import pulled_back_stably
from staticgrad.autodiff.sums import OverTime, shares_of
from staticgrad.language.ir.bodies import body_input, body_of, inlined
from staticgrad.language.ir.graph import Graph, Symbolic, ancestors
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.arithmetic import add
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.loops import NUMBER, Branch, Loop, While
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.building import current, here
from staticgrad.support.errors import GradientError

#: A cotangent or tangent, or None if it is zero.
Found = Any

#: Groups of values by the prefix of their names; groups of one prefix are numbered through.
Roles = Sequence[tuple[str, Sequence[Symbolic]]]


def cotangents(
    op: Op, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Found, ...]:
    """The cotangents of the operands (None: none)."""
    match op:
        case Loop():
            return BackwardIteration(op, cts, needed).cotangents(args)
        case While():
            loop, first = bounded(op), zeros_like_type(NUMBER, args[0])
            given = [first, *args], [False, *needed]
            return cotangents(loop, [None, *cts[: op.carries]], *given)[1:]
        case Branch():
            return branch_cotangents(op, cts, args, needed)
    raise GradientError(f"op {op.name} has no derivative rule")


def tangents(op: Op, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
    """The tangents of the results (None: zero), given those of the operands (None: zero)."""
    match op:
        case Loop():
            return loop_tangents(op, moved, args)
        case While():
            return tangents_of_while(op, moved, args)
        case Branch():
            return branch_tangents(op, moved, args)
    raise GradientError(f"op {op.name} has no derivative rule")


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
            found = pulled_back_stably(pairs, targets) if pairs and targets else none
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
        for k, total in sums.late.results(by_value, op.iterations, back.reverse).items():
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
            self.found = pushed_forward(self.results, pairs) if pairs else none
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
        shares = pulled_back_stably(pairs, [given[k] for k in wanted])
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
