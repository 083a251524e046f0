"""Loops and branches of define-by-run tensors: Python runs them, and the tape records each
iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from staticgrad.errors import StaticgradError
from staticgrad.functions.draws import Draws, loop_at_once
from staticgrad.functions.trees import flatten, unflatten
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import binding_kind
from staticgrad.ir.session import body_of_a
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import is_weak

#: Whether an iteration is run that no loop makes: for what it reads.
_unmade: ContextVar[bool] = ContextVar("_unmade", default=False)


def is_eager(leaves: Sequence[Any]) -> bool:
    """Whether values compute at once."""
    return binding_kind(tuple(leaves)).computes


@loop_at_once()
def run_loop(
    iteration: Callable[[Any, Any, Any], tuple[Any, Any]],
    init: Any,
    slices: Sequence[Any],
    iterations: Any,
    reverse: bool,
) -> tuple[Any, Any]:
    """As ``for``; of no iterations the outputs have the types that an iteration over zeros would
    give."""
    first, tree = flatten(init)
    kind = binding_kind((*first, *slices))
    # Numbers stay what they are: they take the dtype of what they meet.
    carry = unflatten(tree, [leaf if is_weak(leaf) else _lifted(kind, leaf) for leaf in first])
    stacks: list[list[Any]] = []
    shape = None
    draws = Draws()
    for i in reversed(range(iterations)) if reverse else range(iterations):
        with draws.iteration(i), body_of_a("a loop"):
            carry, output = iteration(kind.lift(i), carry, [each[i] for each in slices])
        leaves, shape = flatten(output)
        stacks.append(leaves)
    carry = unflatten(flatten(carry)[1], [_lifted(kind, leaf) for leaf in flatten(carry)[0]])
    if shape is None:
        zeros = [_row_of_zeros(each) for each in slices]
        with draws.iteration(0), body_of_a("a loop"):
            moved, output = iteration(kind.lift(0), carry, zeros)
        leaves, shape = flatten(output)
        made = [_lifted(kind, leaf) for leaf in leaves]
        none = [functions.where(False, leaf, functions.zeros_like(leaf)) for leaf in made]
        empty = [functions.stack([leaf], 0)[:0] for leaf in none]
        return _unmoved(kind, carry, moved), unflatten(shape, empty)
    if reverse:
        stacks.reverse()
    rows = [[_lifted(kind, leaf) for leaf in column] for column in zip(*stacks, strict=True)]
    return carry, unflatten(shape, [functions.stack(row, 0) for row in rows])


def _row_of_zeros(each: Any) -> Any:
    """A row of an array without rows: the sum over them, which has a gradient."""
    total = functions.sum(each, 0)
    return total if total.dtype == each.dtype else functions.zeros_like(each, shape=total.shape)


def _unmoved(kind: type[Any], carry: Any, moved: Any) -> Any:
    """A carry that no iteration has moved; what an iteration would read has a gradient, of zeros.

    So it has in a graph, whose loop may have any number of iterations. The cotangent is masked, so
    that no infinite derivative of the iteration that was not made meets a zero.
    """
    leaves, tree = flatten(carry)
    found = []
    for leaf, after in zip(leaves, map(partial(_lifted, kind), flatten(moved)[0]), strict=False):
        linked = leaf.dtype.is_float and (after.dtype, after.shape) == (leaf.dtype, leaf.shape)
        found.append(functions.where(False, after, leaf) if linked else leaf)
    return unflatten(tree, [*found, *leaves[len(found) :]])


@loop_at_once()
def run_while(
    test: Callable[[Any], Any], body: Callable[[Any], Any], init: Any, max_steps: Any
) -> Any:
    """As ``while``; of no iterations a loop with a bound has gradients of zeros, as in a graph.

    An iteration that is not made draws, so that what is drawn behind the loop is what a graph
    draws.
    """
    leaves, tree = flatten(init)
    kind = binding_kind(tuple(leaves))
    carry = unflatten(tree, [leaf if is_weak(leaf) else _lifted(kind, leaf) for leaf in leaves])
    done = 0
    draws = reached = Draws()
    endless = max_steps is None and _unmade.get()  # nobody knows whether it would end
    while not endless and (max_steps is None or done < max_steps):
        with draws.iteration(done), body_of_a("a loop"):
            if not bool(_number(test(carry))):
                break
            carry, done = body(carry), done + 1
            reached = Draws()
    if done:
        reached.further()  # the test of the iteration that was not made began again
        return carry
    linked = _linked(test, body, carry, draws)
    return carry if max_steps is None else linked


def _linked(
    test: Callable[[Any], Any], body: Callable[[Any], Any], carry: Any, draws: Draws
) -> Any:
    """The carry of a loop without iterations, with an edge to what an iteration would read.

    An iteration may be one that fails where the test does, as where it looks something up: then
    there is no such edge.
    """
    leaves, tree = flatten(carry)
    kind = binding_kind(tuple(leaves))
    before = _unmade.set(True)
    try:
        with draws.iteration(0), body_of_a("a loop"):
            test(carry)
            moved = body(carry)
    except (StaticgradError, ArithmeticError, LookupError, ValueError):
        return carry
    finally:
        _unmade.reset(before)
    lifted = unflatten(tree, [_lifted(kind, leaf) for leaf in leaves])
    found, _ = flatten(_unmoved(kind, lifted, moved))
    kept = [new if isinstance(old, Value) else old for old, new in zip(leaves, found, strict=True)]
    return unflatten(tree, kept)


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
