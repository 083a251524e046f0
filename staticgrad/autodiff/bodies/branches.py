"""The derivative of a branch: a branch of the derivatives of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.autodiff.bodies.loops_forwards import ForwardBody, with_tangents
from staticgrad.autodiff.bodies.making import Found, Inputs, apply, closed, found_or_zeros
from staticgrad.autodiff.reverse import pulled_back_stably
from staticgrad.building import current
from staticgrad.ir.bodies import inlined
from staticgrad.ops.loops import Branch


def cotangents(
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


def tangents(op: Branch, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
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
