"""Places that are looked up in a row, one for each: an element picked, or the only one that is set.

Class labels pick an element of each row, and the gradient of that sets one. Both lie in their row:
what is picked is computed at that place once more, and what is set is told by comparing positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.ir.forms import Assemble, GatherAlong, Pointwise, Reduce, ScatterAlong
from staticgrad.ir.graph import Node, Symbolic
from staticgrad.types.tensor import Shape

#: Operations that are computed once more at a place that is picked, at most.
_MOST_AGAIN: Final = 24


def is_one_hot(node: Node, users: Sequence[Node]) -> bool:
    """Whether a scatter sets one element of each row, and its readers read elements."""
    form = node.form
    return (
        isinstance(form, ScatterAlong)
        and _one_of_row(node, form.axis)
        and not node.types[0].dtype.is_bool
        and all(isinstance(user.form, Pointwise | Reduce) for user in users)
        and bool(users)
    )


def picks_of_row(node: Node) -> bool:
    """Whether a gather picks one element of each row."""
    form = node.form
    return isinstance(form, GatherAlong) and _one_of_row(node, form.axis)


def _one_of_row(node: Node, axis: int) -> bool:
    shape = node.args[1].shape
    return axis == len(shape) - 1 and shape[axis] == 1


def may_compute_again(value: Symbolic, domain: Shape) -> bool:
    """Whether an element of a value over ``domain`` can be computed at a place once more."""
    waiting, seen = [value.node], {value.node}
    while waiting:
        node = waiting.pop()
        form = node.form
        if isinstance(form, ScatterAlong | Assemble):
            return False
        if not isinstance(form, Pointwise) or node.types[0].shape != domain:
            continue
        if form.indexed or len(seen) > _MOST_AGAIN:
            return False
        below = [arg.node for arg in node.args if arg.node not in seen]
        seen.update(below)
        waiting += below
    return True
