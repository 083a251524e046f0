"""Sums over rows that a loop adds up from iteration to iteration, summed once after it.

The cotangent of what all rows of a batch share, a constant of an equation, a bias, is in each
iteration a sum over rows. Carried row by row it is arithmetic of a row alone, and the sum over rows
follows the loop: the iterations of a row no longer wait for those of all others, and the loop may
be one kernel (``lowering/loops/time_loops.py``). It is chosen where the derivative is made, so that
the order of these sums is that of nodes of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from staticgrad.building import within
from staticgrad.ir.forms import Assemble, Reduce, ReshapeForm
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Node, Symbolic
from staticgrad.records import dataclass
from staticgrad.types.tensor import hint_product

#: Elements that are carried instead of their sum, at most: they are to stay in a cache.
MOST_ELEMENTS: Final = 1 << 16


@dataclass(frozen=True)
class Share:
    """What an iteration adds to a sum: ``value``, of which ``nodes`` make the term after the
    loop."""

    value: Symbolic
    nodes: tuple[Node, ...] = ()

    def term(self, total: Any) -> Any:
        """The term, given the sum of the values of all iterations."""
        for node in self.nodes:
            with within(node.origin):
                total = node.op(total)
        return total


def shares_of(total: Symbolic) -> list[Share]:
    """The terms that a value adds up, those that sum rows apart from the rest."""
    alike: dict[object, list[Share]] = {}
    rest: list[Symbolic] = []
    for term in terms(total):
        share = _summed(term)
        if share is None:
            rest.append(term)
        else:
            key = (share.value.type, tuple(node.op for node in share.nodes))
            alike.setdefault(key, []).append(share)
    if not alike:
        return [Share(total)]
    found = [Share(added([s.value for s in same]), same[0].nodes) for same in alike.values()]
    return [*found, Share(added(rest))] if rest else found


def terms(total: Symbolic) -> Iterator[Symbolic]:
    """The values that a value adds up."""
    waiting = [total]
    while waiting:
        value = waiting.pop()
        same = all(arg.type == value.type for arg in value.node.args)
        if value.node.op.name == "add" and same:
            waiting.extend(reversed(value.node.args))
        else:
            yield value


def added(values: list[Symbolic]) -> Symbolic:
    """The values, one added to the other."""
    total: Any = values[0]
    for value in values[1:]:
        total = functions.add(total, value)
    found: Symbolic = total
    return found


def _summed(term: Symbolic) -> Share | None:
    """A term that is a sum over some axes but for its shape, and the zeros around it."""
    nodes: list[Node] = []
    value = term
    while _only_moves(value):
        nodes.append(value.node)
        value = value.node.args[0]
    form = value.node.form
    if not isinstance(form, Reduce) or form.kind != "sum" or not value.dtype.is_float:
        return None
    (source,) = value.node.args
    if hint_product(source.shape) > MOST_ELEMENTS:
        return None
    return Share(source, (value.node, *reversed(nodes)))


def _only_moves(value: Symbolic) -> bool:
    """Whether a value is another one in another shape, or with zeros around it."""
    form = value.node.form
    padded = isinstance(form, Assemble) and form.fill == 0
    return (padded or isinstance(form, ReshapeForm)) and len(value.node.args) == 1
