"""Tangents of loops: they ride along as carries, slices and invariants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from staticgrad.analysis.closure import closed_under
from staticgrad.autodiff.bodies.making import (
    Found,
    Inputs,
    apply,
    closed,
    found_or_zeros,
)
from staticgrad.autodiff.forward import pushed_forward
from staticgrad.building import current
from staticgrad.ir.bodies import body_of, inlined
from staticgrad.ir.graph import Graph, Symbolic
from staticgrad.ops.loops import Loop, While


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
            self.found = self._pushed(places)
            return {k for k in range(carries) if self.found[k] is not None}

        first = {k for k, has in enumerate(has_tangent) if has and kinds[k].dtype.is_float}
        self.moved = closed_under(moved, first)
        self.moving = [k for k in range(carries) if k in self.moved]

    def _pushed(self, places: set[int]) -> Sequence[Found]:
        """The tangents of the results, given those of the inputs at ``places``."""
        pairs = [(self.given[k], self.tangents[k]) for k in sorted(places)]
        return pushed_forward(self.results, pairs) if pairs else [None] * len(self.results)

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


def tangents(op: Loop, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
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
    pushed = While(
        _named_go(closed([iteration.number], roles, [("y", test)])),
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


def _named_go(test: Graph) -> Graph:
    """A test, whose result has a name of its own."""
    (value,) = test.outputs.values()
    return body_of(test.inputs, {"go": value})
