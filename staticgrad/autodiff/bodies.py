"""Derivatives of ops that run bodies, made of the derivatives of the bodies.

The reverse of a loop is a loop that runs the other way. Its body is the forward body, built again
over the carries with which each trip began, followed by its gradient; those carries are stacked by
a forward loop that differs from the one differentiated in these outputs alone. It carries the
cotangents of the carries and adds up those of the invariants. Tangents ride along as carries.
A bounded ``while`` is differentiated as a loop of that many trips, of which the last do nothing.
The derivative of a branch is a branch. All of them are ordinary ops, and differentiate again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch
from typing import Any

from staticgrad.autodiff.forward import pushed_forward
from staticgrad.autodiff.reverse import pulled_back_stably
from staticgrad.autodiff.sums_of_rows import shares_of
from staticgrad.autodiff.sums_over_time import OverTime
from staticgrad.building import current, here
from staticgrad.errors import GradientError
from staticgrad.ir.bodies import body_input, body_of, inlined
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Symbolic, ancestors
from staticgrad.ir.op import Op
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.loops import NUMBER, Branch, Loop, While
from staticgrad.types.tensor import TensorType

#: A cotangent or tangent, or None: there is none.
Found = Any


@singledispatch
def cotangents(op: Op, cts: Sequence[Any], args: Sequence[Any], needed: Sequence[bool]) -> Any:
    """One cotangent (or None) per operand, given those of the results (None: unused)."""
    raise GradientError(f"op {op.name} has no derivative rule")


@singledispatch
def tangents(op: Op, moved: Sequence[Any], args: Sequence[Any]) -> Any:
    """One tangent (or None) per result, given those of the operands (None: zero)."""
    raise GradientError(f"op {op.name} has no derivative rule")


class _Inputs:
    """The inputs of a body that is being made, by role; those that nothing reads can be dropped."""

    def __init__(self) -> None:
        self.number = self.new("i", NUMBER)

    def new(self, label: str, type: TensorType) -> Symbolic:
        """One more."""
        return body_input(label, type, *here())

    def like(self, prefix: str, types: Iterable[TensorType]) -> list[Symbolic]:
        """One for each type."""
        return [self.new(f"{prefix}{place}", kind) for place, kind in enumerate(types)]


def closed(
    number: Sequence[Symbolic],
    roles: Sequence[tuple[str, Sequence[Symbolic]]],
    results: Sequence[tuple[str, Sequence[Symbolic]]],
) -> Graph:
    """A body of these inputs and outputs, under canonical names.

    Args:
        number: the number of the trip, where there is one.
        roles: groups of inputs by prefix; groups of one prefix are numbered through.
        results: the same of outputs.
    """
    given: list[Symbolic] = []
    wanted: list[tuple[str, Symbolic]] = []
    count: dict[str, int] = {}
    for prefix, group in roles:
        for value in group:
            place = count[prefix] = count.get(prefix, -1) + 1
            wanted.append((f"{prefix}{place}", value))
    for label, value in wanted:
        origin, order = value.node.origin, value.node.order
        given.append(body_input(label, value.type, origin, order))
    old = [*number, *(value for _, group in roles for value in group)]
    outs: dict[str, Symbolic] = {}
    count = {}
    for prefix, group in results:
        for value in group:
            place = count[prefix] = count.get(prefix, -1) + 1
            outs[f"{prefix}{place}"] = value
    inside = body_of(old, outs)
    fresh = [body_input("i", each.type, each.node.origin, each.node.order) for each in number]
    new = inlined(inside, [*fresh, *given])
    return body_of([*fresh, *given], dict(zip(outs, new, strict=True)))


def apply(op: Op, operands: Sequence[Any]) -> list[Any]:
    """The results of an op, however many."""
    found: Any = op(*operands)
    return [*found] if isinstance(found, tuple) else [found]


def reading(outputs: Iterable[Symbolic], inputs: Sequence[Symbolic]) -> list[int]:
    """The places of those inputs that the outputs depend on."""
    past = set(ancestors(outputs))
    return [place for place, value in enumerate(inputs) if value.node in past]


def reached(body: Graph, starts: Iterable[Symbolic]) -> set[int]:
    """The places of the outputs to which a differentiable path leads from one of ``starts``."""
    active = {value.key for value in starts}
    for node in body.nodes:
        if node.op.differentiable and any(arg.key in active for arg in node.args):
            active.update(v.key for v in node.values if v.dtype.is_float)
    return {place for place, v in enumerate(body.outputs.values()) if v.key in active}


# -- loops, backwards -----------------------------------------------------------------------------


def with_stacked_carries(op: Loop, kept: Sequence[int]) -> Loop:
    """The loop that also gives the carries with which each trip began, stacked: those ``kept``."""
    begun = op.body.inputs[1 : 1 + op.carries]
    outputs = dict(op.body.outputs)
    own = len(outputs) - op.carries
    outputs.update({f"y{own + k}": begun[place] for k, place in enumerate(kept)})
    body = Graph.of_parts(
        nodes=op.body.nodes, inputs=op.body.inputs, parameters=(), outputs=outputs,
        name=op.body.name,
    )  # fmt: skip
    return Loop(body, op.trips, op.carries, op.slices, op.reverse)


@cotangents.register
def _(
    op: Loop, cts: Sequence[Any], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Found, ...]:
    back = _Backward(op, cts, needed)
    return back.applied(args)


class _Backward:
    """The body of the loop that runs the other way, and how its operands are found.

    ``moving`` are the places of the carries that have a cotangent; ``shares`` the cotangents of the
    body's inputs in one trip, by place among them (without the number of the trip).
    """

    def __init__(self, op: Loop, cts: Sequence[Any], needed: Sequence[bool]) -> None:
        self.op, self.cts, self.needed = op, cts, needed
        inputs = _Inputs()
        kinds = [value.type for value in op.body.inputs[1:]]
        self.number, self.given = inputs.number, inputs.like("v", kinds)
        found = inlined(op.body, [self.number, *self.given], current().order)
        self.next, outs = found[: op.carries], found[op.carries :]
        self.seeded = [k for k, ct in enumerate(cts[op.carries :]) if ct is not None]
        self.seeds = inputs.like("s", [outs[k].type for k in self.seeded])
        self.seeded_outs = [outs[k] for k in self.seeded]
        live = self._live()
        self.moving = {k for k in range(op.carries) if cts[k] is not None and k in live}
        self.arriving = inputs.like("t", kinds[: op.carries])
        self.wanted = [k for k in range(len(kinds)) if (k in live if k < op.carries else needed[k])]
        while True:
            shares = self._shares()
            more = {k for k in live if shares.get(k) is not None} - self.moving
            if not more:
                break
            self.moving |= more
        self.shares = shares

    def _live(self) -> set[int]:
        """The carries whose cotangent reaches an operand that needs one."""
        op = self.op
        given = op.body.inputs[1:]
        live = {k for k in range(op.carries) if self.needed[k]}
        rest = [
            v
            for v, need in zip(given[op.carries :], self.needed[op.carries :], strict=True)
            if need
        ]
        while True:
            found = reached(op.body, [*(given[k] for k in live), *rest])
            more = {k for k in found if k < op.carries} - live
            if not more:
                return {k for k in live if given[k].dtype.is_float}
            live |= more

    def _shares(self) -> dict[int, Found]:
        """The cotangents of the inputs in one trip, given those of what moves."""
        pairs = [(self.next[k], self.arriving[k]) for k in sorted(self.moving)]
        pairs += zip(self.seeded_outs, self.seeds, strict=True)
        targets = [self.given[k] for k in self.wanted]
        found = pulled_back_stably(pairs, targets) if pairs and targets else [None] * len(targets)
        return dict(zip(self.wanted, found, strict=True))

    def applied(self, args: Sequence[Any]) -> tuple[Found, ...]:
        """The cotangents of the operands."""
        op, shares = self.op, self.shares
        ends = op.carries, op.carries + op.slices
        moving = sorted(self.moving)
        sliced = [k for k in range(ends[0], ends[1]) if shares.get(k) is not None]
        summed = [k for k in range(ends[1], len(args)) if shares.get(k) is not None]
        if not (moving or sliced or summed):
            return (None,) * len(args)
        there = self.given[: ends[1]]
        late = OverTime({k: shares[k] for k in summed}, there)
        added = sorted(late.rest)
        parts = [(k, share) for k in added for share in shares_of(late.rest[k])]
        totals = _Inputs().like("t", [share.value.type for _, share in parts])
        before = [shares.get(k) for k in moving]
        going: list[Any] = [
            zeros_like_type(self.given[k].type) if share is None else share
            for k, share in zip(moving, before, strict=True)
        ]
        sums: list[Any] = [
            functions.add(t, share.value) for t, (_, share) in zip(totals, parts, strict=True)
        ]
        outs = [share for k in sliced if (share := shares[k]) is not None]
        extra = [value for key, value in late.outputs.items() if key not in {o.key for o in outs}]
        read = reading([*going, *sums, *outs, *extra], self.given)
        rest = [k for k in read if k >= ends[1]]
        wanted = [k for k in range(ends[1]) if k in read or self.given[k].key in late.read]
        kept = [k for k in wanted if k < ends[0]]
        body = closed(
            [self.number],
            [
                ("c", [*(self.arriving[k] for k in moving), *totals]),
                ("x", [self.given[k] for k in wanted] + self.seeds),
                ("p", [self.given[k] for k in rest]),
            ],
            [("c", [*going, *sums]), ("y", [*outs, *extra])],
        )
        count = len(moving) + len(parts)
        back = Loop(body, op.trips, count, len(wanted) + len(self.seeds), not op.reverse)
        first = [self._first(k, args) for k in moving]
        first += [zeros_like_type(share.value.type, args[k]) for k, share in parts]
        stacks = self._stacks(kept, args) + [args[k] for k in wanted if k >= ends[0]]
        by_value = {self.given[k].key: stack for k, stack in zip(wanted, stacks, strict=True)}
        stacks += [self.cts[op.carries + k] for k in self.seeded]
        found = apply(back, [*first, *stacks, *(args[k] for k in rest)])
        by_value |= {v.key: f for v, f in zip([*outs, *extra], found[count:], strict=True)}
        where = dict(zip(moving, found, strict=False))
        where |= zip(sliced, found[count:], strict=False)
        for (k, share), total in zip(parts, found[len(moving) : count], strict=True):
            term = share.term(total)
            where[k] = functions.add(where[k], term) if k in where else term
        for k, total in late.results(by_value, op.trips, back.reverse).items():
            where[k] = functions.add(total, where[k]) if k in where else total
        return tuple(where.get(k) if self.needed[k] else None for k in range(len(args)))

    def _stacks(self, kept: Sequence[int], args: Sequence[Any]) -> list[Any]:
        """The carries with which trips began."""
        if not kept:
            return []
        return apply(with_stacked_carries(self.op, kept), args)[len(self.op.body.outputs) :]

    def _first(self, place: int, args: Sequence[Any]) -> Any:
        ct = self.cts[place]
        return zeros_like_type(args[place].type, args[place]) if ct is None else ct


# -- loops, forwards ------------------------------------------------------------------------------


class _Forward:
    """The body of a loop with the tangents of what moves, by place among its inputs.

    ``moving`` are the places of the carries that have a tangent, in the end.
    """

    def __init__(self, body: Graph, carries: int, given: Sequence[bool], numbered: bool) -> None:
        inputs = _Inputs()
        kinds = [value.type for value in body.inputs[numbered:]]
        self.number, self.given = inputs.number, inputs.like("v", kinds)
        self.tangents = inputs.like("t", kinds)
        self.results = inlined(body, [*[self.number] * numbered, *self.given], current().order)
        self.moved = {k for k, there in enumerate(given) if there and kinds[k].dtype.is_float}
        while True:
            pairs = [(self.given[k], self.tangents[k]) for k in sorted(self.moved)]
            self.found = (
                pushed_forward(self.results, pairs) if pairs else [None] * len(self.results)
            )
            more = {k for k in range(carries) if self.found[k] is not None} - self.moved
            if not more:
                break
            self.moved |= more
        self.moving = [k for k in range(carries) if k in self.moved]

    def next(self, place: int) -> Any:
        """The tangent of the next carry."""
        found = self.found[place]
        return zeros_like_type(self.given[place].type) if found is None else found

    def role(self, start: int, end: int | None) -> list[Symbolic]:
        """Inputs from place to place, then the tangents of those that have one."""
        places = range(*slice(start, end).indices(len(self.given)))
        moved = [self.tangents[k] for k in places if k in self.moved]
        return [*(self.given[k] for k in places), *moved]


def _with_tangents(
    start: int, end: int | None, args: Sequence[Any], moved: Sequence[Any], places: Iterable[int]
) -> list[Any]:
    """Operands from place to place, then the tangents of those at ``places``."""
    own = range(*slice(start, end).indices(len(args)))
    wanted = [k for k in own if k in set(places)]
    return [*(args[k] for k in own), *(_or_zeros(moved[k], args[k]) for k in wanted)]


def _or_zeros(tangent: Any, value: Any) -> Any:
    return zeros_like_type(value.type, value) if tangent is None else tangent


@tangents.register
def _(op: Loop, moved: Sequence[Any], args: Sequence[Any]) -> tuple[Found, ...]:
    trip = _Forward(op.body, op.carries, [t is not None for t in moved], True)
    ends = op.carries, op.carries + op.slices
    outs = [k for k in range(op.carries, len(trip.results)) if trip.found[k] is not None]
    if not trip.moving and not outs:
        return (None,) * len(trip.results)
    body = closed(
        [trip.number],
        [
            ("c", trip.role(0, ends[0])),
            ("x", trip.role(ends[0], ends[1])),
            ("p", trip.role(ends[1], None)),
        ],
        [
            ("c", [*trip.results[: ends[0]], *(trip.next(k) for k in trip.moving)]),
            ("y", [value for k in outs if (value := trip.found[k]) is not None]),
        ],
    )
    slices = len(trip.role(ends[0], ends[1]))
    pushed = Loop(body, op.trips, ends[0] + len(trip.moving), slices, op.reverse)
    operands = [
        *_with_tangents(0, ends[0], args, moved, trip.moved),
        *_with_tangents(ends[0], ends[1], args, moved, trip.moved),
        *_with_tangents(ends[1], None, args, moved, trip.moved),
    ]
    found = apply(pushed, operands)[ends[0] :]
    where = dict(zip([*trip.moving, *outs], found, strict=True))
    return tuple(where.get(k) for k in range(len(trip.results)))


# -- while ----------------------------------------------------------------------------------------


@tangents.register
def _(op: While, moved: Sequence[Any], args: Sequence[Any]) -> tuple[Found, ...]:
    trip = _Forward(op.body, op.carries, [t is not None for t in moved], True)
    if not trip.moving:
        return (None,) * (op.carries + 1)
    roles = [("c", trip.role(0, op.carries)), ("p", trip.role(op.carries, None))]
    test = inlined(op.test, [trip.number, *trip.given], current().order)
    ends = [*trip.results, *(trip.next(k) for k in trip.moving)]
    pushed = While(
        _named_go(closed([trip.number], roles, [("y", test)])),
        closed([trip.number], roles, [("c", ends)]),
        op.carries + len(trip.moving),
        op.most,
    )
    operands = [
        *_with_tangents(0, op.carries, args, moved, trip.moved),
        *_with_tangents(op.carries, None, args, moved, trip.moved),
    ]
    found = apply(pushed, operands)[op.carries :]
    where = dict(zip(trip.moving, found, strict=False))
    return tuple(where.get(k) for k in range(op.carries + 1))


def _named_go(test: Graph) -> Graph:
    """A test, whose result has a name of its own."""
    (value,) = test.outputs.values()
    return body_of(test.inputs, {"go": value})


@cotangents.register
def _(
    op: While, cts: Sequence[Any], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Found, ...]:
    if op.most is None:
        raise GradientError(
            "while_loop keeps the carries of all trips for its gradient, and most= does not say how"
            " many there may be",
            hint="sg.while_loop(test, body, init, most=100); sg.jvp needs no bound, and sg.scan and"
            " sg.fori_loop have one",
        )
    loop = as_loop(op)
    zero = zeros_like_type(NUMBER, args[0])
    found = cotangents(loop, [None, *cts[: op.carries]], [zero, *args], [False, *needed])
    return tuple(found[1:])


def as_loop(op: While) -> Loop:
    """The loop of ``most`` trips that does the same, carrying the number of trips done before.

    It has stopped where a trip's number is not that of the trips done; then nothing runs.
    """
    assert op.most is not None
    inputs = _Inputs()
    kinds = [value.type for value in op.body.inputs[1:]]
    done, given = inputs.new("c", NUMBER), inputs.like("v", kinds)
    carries = given[: op.carries]
    operands = [inputs.number, done, *given]

    def case(results: Callable[[list[Symbolic]], Sequence[Symbolic]]) -> Graph:
        own = _Inputs()
        values = own.like("v", [value.type for value in operands])
        return closed([], [("p", values)], [("y", results(values))])

    def unchanged(values: list[Symbolic]) -> Sequence[Symbolic]:
        return values[1 : 2 + op.carries]

    def trip(values: list[Symbolic]) -> Sequence[Symbolic]:
        inner = inlined(op.body, [values[0], *values[2:]], current().order)
        return [functions.add(values[1], 1), *inner]  # type: ignore[list-item]

    def tested(values: list[Symbolic]) -> Sequence[Symbolic]:
        (go,) = inlined(op.test, [values[0], *values[2:]], current().order)
        return apply(
            Branch((case(unchanged), case(trip))), [functions.astype(go, "int64"), *values]
        )

    running = functions.astype(functions.equal(inputs.number, done), "int64")
    found = apply(Branch((case(unchanged), case(tested))), [running, *operands])
    body = closed(
        [inputs.number],
        [("c", [done, *carries]), ("p", given[op.carries :])],
        [("c", found)],
    )
    return Loop(body, op.most, 1 + op.carries, 0)


# -- branches -------------------------------------------------------------------------------------


@cotangents.register
def _(
    op: Branch, cts: Sequence[Any], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Found, ...]:
    wanted = [k for k, need in enumerate(needed[1:]) if need]
    seeded = [k for k, ct in enumerate(cts) if ct is not None]
    if not wanted or not seeded:
        return (None,) * len(args)
    made = []
    for case in op.cases:
        inputs = _Inputs()
        given = inputs.like("v", [value.type for value in case.inputs])
        results = inlined(case, given, current().order)
        seeds = inputs.like("s", [results[k].type for k in seeded])
        pairs = [(results[k], seed) for k, seed in zip(seeded, seeds, strict=True)]
        made.append((given, seeds, pulled_back_stably(pairs, [given[k] for k in wanted])))
    there = [k for k in range(len(wanted)) if any(shares[k] is not None for _, _, shares in made)]
    if not there:
        return (None,) * len(args)
    kinds = [args[1 + wanted[k]].type for k in there]
    cases = []
    for given, seeds, shares in made:
        outs: list[Any] = [
            zeros_like_type(kind) if (share := shares[k]) is None else share
            for k, kind in zip(there, kinds, strict=True)
        ]
        cases.append(closed([], [("p", [*given, *seeds])], [("y", outs)]))
    found = apply(Branch(tuple(cases)), [*args, *(cts[k] for k in seeded)])
    where = {1 + wanted[k]: share for k, share in zip(there, found, strict=True)}
    return tuple(where.get(k) for k in range(len(args)))


@tangents.register
def _(op: Branch, moved: Sequence[Any], args: Sequence[Any]) -> tuple[Found, ...]:
    given = [t is not None for t in moved[1:]]
    made = [_Forward(case, 0, given, False) for case in op.cases]
    count = len(made[0].results)
    there = [k for k in range(count) if any(case.found[k] is not None for case in made)]
    if not there:
        return (None,) * count
    cases = []
    for case in made:
        outs: list[Any] = [
            zeros_like_type(case.results[k].type) if (out := case.found[k]) is None else out
            for k in there
        ]
        cases.append(closed([], [("p", case.role(0, None))], [("y", outs)]))
    operands = _with_tangents(0, None, args[1:], moved[1:], made[0].moved)
    found = apply(Branch(tuple(cases)), [args[0], *operands])
    where = dict(zip(there, found, strict=True))
    return tuple(where.get(k) for k in range(count))
