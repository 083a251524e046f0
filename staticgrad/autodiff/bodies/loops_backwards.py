"""The reverse of a loop: a loop that runs the other way.

Its body is the forward body, built again over the carries with which each iteration began, followed
by its gradient; those carries are stacked by a forward loop that differs from the one
differentiated in these outputs alone. It carries the cotangents of the carries and adds up those of
the invariants, as far as these are not sums that are made after the loop (``sums_over_time.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from staticgrad.analysis.closure import closed_under
from staticgrad.autodiff.bodies.making import (
    Found,
    Inputs,
    apply,
    closed,
    found_or_zeros,
    reading,
)
from staticgrad.autodiff.reverse import pulled_back_stably
from staticgrad.autodiff.sums_of_rows import shares_of
from staticgrad.autodiff.sums_over_time import OverTime
from staticgrad.building import current
from staticgrad.ir.bodies import inlined
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Symbolic
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.loops import Loop


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
            self.shares = self._shares(moving)
            return {k for k in live if self.shares[k] is not None}

        arrive = {k for k in range(op.carries) if cts[k] is not None and k in live}
        self.moving = sorted(closed_under(moved, arrive))
        self.ends = op.carries, op.carries + op.slices
        there = [k for k in self.wanted if self.shares[k] is not None]
        self.sliced = [k for k in there if self.ends[0] <= k < self.ends[1]]
        self.summed = [k for k in there if k >= self.ends[1]]

    def _shares(self, moving: set[int]) -> dict[int, Found]:
        """The cotangents of the inputs in one iteration, given those of what moves."""
        pairs = [(self.next[k], self.arriving[k]) for k in sorted(moving)]
        pairs += zip(self.seeded_outs, self.seeds, strict=True)
        targets = [self.given[k] for k in self.wanted]
        found = pulled_back_stably(pairs, targets) if pairs and targets else [None] * len(targets)
        return dict(zip(self.wanted, found, strict=True))

    def cotangents(self, args: Sequence[Any]) -> tuple[Found, ...]:
        """The cotangents of the operands, by the loop that runs the other way."""
        if not (self.moving or self.sliced or self.summed):
            return (None,) * len(args)
        sums = _SumsOfInvariants(
            {k: self.shares[k] for k in self.summed}, self.given[: self.ends[1]]
        )
        sliced = [self.shares[k] for k in self.sliced]
        results = [*sliced, *sums.stacked_beside(sliced)]
        carried = [*self._departing(), *sums.grown]
        kept, rest = self._read([*carried, *results], sums)
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
        stacks = self._stacks(kept, args)
        seeds = [self.cts[op.carries + k] for k in self.seeded]
        found = apply(back, [*first, *stacks, *seeds, *(args[k] for k in rest)])
        by_value = {self.given[k].key: stack for k, stack in zip(kept, stacks, strict=True)}
        by_value |= {v.key: f for v, f in zip(results, found[len(carried) :], strict=True)}
        where = dict(zip(self.moving, found, strict=False))
        where |= {k: by_value[value.key] for k, value in zip(self.sliced, sliced, strict=True)}
        for k, term in sums.terms(found[len(self.moving) : len(carried)]):
            where[k] = functions.add(where[k], term) if k in where else term
        for k, total in sums.late.results(by_value, op.iterations, back.reverse).items():
            where[k] = functions.add(total, where[k]) if k in where else total
        return tuple(where.get(k) if self.needed[k] else None for k in range(len(args)))

    def _departing(self) -> list[Any]:
        """The cotangents of what moves, as an iteration hands them to the one before it."""
        return [found_or_zeros(self.shares.get(k), self.given[k].type) for k in self.moving]

    def _read(self, values: Sequence[Any], sums: _SumsOfInvariants) -> tuple[list[int], list[int]]:
        """What the loop reads of the forward iterations: carries and slices, and the invariants."""
        read = reading(values, self.given)
        late = [k for k in range(self.ends[1]) if self.given[k].key in sums.late.read]
        kept = sorted({k for k in read if k < self.ends[1]}.union(late))
        return kept, [k for k in read if k >= self.ends[1]]

    def _stacks(self, kept: Sequence[int], args: Sequence[Any]) -> list[Any]:
        """The carries with which iterations began, stacked, then the slices."""
        carries = [k for k in kept if k < self.op.carries]
        stacked = apply(with_stacked_carries(self.op, carries), args) if carries else []
        return [
            *stacked[len(self.op.body.outputs) :],
            *(args[k] for k in kept if k >= self.ends[0]),
        ]


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
        self.grown = [functions.add(t, v) for t, v in zip(self.totals, values, strict=True)]

    def stacked_beside(self, there: Sequence[Symbolic]) -> list[Symbolic]:
        """What has to be stacked for the sums after the loop, beside what is there."""
        keys = {value.key for value in there}
        return [value for key, value in self.late.outputs.items() if key not in keys]

    def zeros(self, args: Sequence[Any]) -> list[Any]:
        """With which the totals begin, given the operands of the loop."""
        return [zeros_like_type(share.value.type, args[k]) for k, share in self._parts]

    def terms(self, totals: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """What each total adds to the cotangent at its place."""
        for (place, share), total in zip(self._parts, totals, strict=True):
            yield place, share.term(total)


def _live_carries(op: Loop, needed: Sequence[bool]) -> set[int]:
    """The carries whose cotangent reaches an operand that needs one."""
    given = op.body.inputs[1:]
    rest = [v for k, v in enumerate(given) if k >= op.carries and needed[k]]

    def reached_from(live: set[int]) -> set[int]:
        found = _reached(op.body, [*(given[k] for k in sorted(live)), *rest])
        return {k for k in found if k < op.carries}

    live = closed_under(reached_from, {k for k in range(op.carries) if needed[k]})
    return {k for k in live if given[k].dtype.is_float}


def _reached(body: Graph, starts: Sequence[Symbolic]) -> set[int]:
    """The places of the outputs to which a differentiable path leads from one of ``starts``."""
    active = {value.key for value in starts}
    for node in body.nodes:
        if node.op.differentiable and any(arg.key in active for arg in node.args):
            active.update(v.key for v in node.values if v.dtype.is_float)
    return {place for place, v in enumerate(body.outputs.values()) if v.key in active}


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
