"""Loops and branches of define-by-run tensors: Python runs them, and the tape records each trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgrad.functions.draws import Draws
from staticgrad.functions.trees import flatten, unflatten
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import binding_kind
from staticgrad.ir.session import body_of_a
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import is_weak


def is_eager(leaves: Sequence[Any]) -> bool:
    """Whether values compute at once."""
    return binding_kind(tuple(leaves)).computes


def run_loop(
    trip: Callable[[Any, Any, Any], tuple[Any, Any]],
    init: Any,
    slices: Sequence[Any],
    trips: Any,
    reverse: bool,
) -> tuple[Any, Any]:
    """As ``for``; of no trips the outputs have the types that a trip over zeros would give."""
    first, tree = flatten(init)
    kind = binding_kind((*first, *slices))
    # Numbers stay what they are: they take the dtype of what they meet.
    carry = unflatten(tree, [leaf if is_weak(leaf) else _lifted(kind, leaf) for leaf in first])
    stacks: list[list[Any]] = []
    shape = None
    draws = Draws()
    for i in reversed(range(trips)) if reverse else range(trips):
        with draws.trip(i), body_of_a("a loop"):
            carry, output = trip(kind.lift(i), carry, [each[i] for each in slices])
        leaves, shape = flatten(output)
        stacks.append(leaves)
    carry = unflatten(flatten(carry)[1], [_lifted(kind, leaf) for leaf in flatten(carry)[0]])
    if shape is None:
        zeros = [functions.zeros_like(functions.sum(each, 0)) for each in slices]
        leaves, shape = flatten(trip(kind.lift(0), carry, zeros)[1])
        empty = [functions.stack([_lifted(kind, leaf)], 0)[:0] for leaf in leaves]
        return carry, unflatten(shape, empty)
    if reverse:
        stacks.reverse()
    rows = [[_lifted(kind, leaf) for leaf in column] for column in zip(*stacks, strict=True)]
    return carry, unflatten(shape, [functions.stack(row, 0) for row in rows])


def run_while(test: Callable[[Any], Any], body: Callable[[Any], Any], init: Any, most: Any) -> Any:
    """As ``while``."""
    carry, done, draws = init, 0, Draws()
    while most is None or done < most:
        with draws.trip(done), body_of_a("a loop"):
            if not bool(_number(test(carry))):
                break
            carry, done = body(carry), done + 1
    return carry


def run_branch(index: Any, cases: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Any:
    """As ``if``."""
    place = min(max(int(_number(index)), 0), len(cases) - 1)
    with body_of_a("a branch"):
        return cases[place](*operands)


def _lifted(kind: type[Any], leaf: Any) -> Any:
    return leaf if isinstance(leaf, Value) else kind.lift(leaf)


def _number(value: Any) -> Any:
    """The one number of a tensor, or of what is a number already."""
    return value.item() if hasattr(value, "item") else value
