"""Sums over the trips of a loop that are products after it.

The cotangent of a recurrent weight adds up one product for each trip. Stacked along the trips, the
factors of all of them are two matrices, and one product over (trip, row) is the sum: it reads and
writes the weight's gradient once instead of once a trip. That pays where the factors of a trip hold
fewer elements than the product does. What is stacked for a product is summed once, too, where a
bias adds it up. The choice is made where the derivative is, so that the order of these sums is that
of nodes of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from staticgrad.building import within
from staticgrad.ir.forms import Contract, Reduce, ReshapeForm
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Symbolic
from staticgrad.records import dataclass
from staticgrad.types.dim import Size
from staticgrad.types.tensor import hint_value, product


@dataclass(frozen=True)
class Factor:
    """A matrix of each trip: ``value`` in the body, which ``source`` is but for its shape."""

    value: Symbolic
    source: Symbolic


@dataclass(frozen=True)
class Product:
    """A term of a sum over trips: the transpose of one matrix times another."""

    left: Factor
    right: Factor
    origin: Any


@dataclass(frozen=True)
class Total:
    """A term of a sum over trips: a stacked value, summed over ``axes`` of its own as well."""

    source: Symbolic
    value: Symbolic
    axes: tuple[int, ...]
    origin: Any


class OverTime:
    """The sums of one loop that are made after it.

    Attributes:
        outputs: the values of the body to stack, beside slices and carries that are there anyway.
        rest: of the sums that were asked for, what is still added up from trip to trip.
    """

    def __init__(self, shares: Mapping[int, Symbolic], there: list[Symbolic]) -> None:
        self.there = {value.key for value in there}
        self.outputs: dict[tuple[Any, int], Symbolic] = {}
        self.read: dict[tuple[Any, int], Symbolic] = {}
        self.late: dict[int, list[Product | Total]] = {}
        terms = {place: list(_terms(share)) for place, share in shares.items()}
        taken: set[tuple[int, int]] = set()
        for place, each in terms.items():
            for number, term in enumerate(each):
                found = _product(term)
                if found is not None and self._pays(found):
                    self._take(place, found, found.left.source, found.right.source)
                    taken.add((place, number))
        for place, each in terms.items():
            for number, term in enumerate(each):
                total = self._total(term) if (place, number) not in taken else None
                if total is not None:
                    self._take(place, total, total.source)
                    taken.add((place, number))
        self.rest: dict[int, Symbolic] = {}
        for place, each in terms.items():
            left = [term for number, term in enumerate(each) if (place, number) not in taken]
            if len(left) == len(each):
                self.rest[place] = shares[place]
            elif left:
                self.rest[place] = _added(left)

    def _pays(self, found: Product) -> bool:
        """Whether stacking moves fewer elements than a sum from trip to trip reads and writes."""
        new = [f.source for f in (found.left, found.right) if not self._is_stacked(f.source)]
        out = hint_value(found.left.value.shape[1]) * hint_value(found.right.value.shape[1])
        return sum(hint_value(product(value.shape)) for value in new) <= 2 * out

    def _is_stacked(self, value: Symbolic) -> bool:
        return value.key in self.there or value.key in self.outputs

    def _take(self, place: int, term: Product | Total, *sources: Symbolic) -> None:
        self.late.setdefault(place, []).append(term)
        for source in sources:
            into = self.read if source.key in self.there else self.outputs
            into[source.key] = source

    def _total(self, term: Symbolic) -> Total | None:
        """The term as a sum of something that is stacked for a product, if it is one."""
        value, axes, origin = term, tuple[int, ...](), term.node.origin
        form = value.node.form
        if isinstance(form, Reduce) and form.kind == "sum":
            value, axes = value.node.args[0], form.axes
        source = _source(value)
        return Total(source, value, axes, origin) if source.key in self.outputs else None

    def results(self, stacks: Mapping[tuple[Any, int], Any], trips: Size) -> dict[int, Any]:
        """The sums made after the loop, by place, of the stacks by what they stack."""
        found: dict[int, Any] = {}
        for place, terms in self.late.items():
            for term in terms:
                with within(term.origin):
                    value = _made(term, stacks, trips)
                    known = found.get(place)
                    found[place] = value if known is None else functions.add(known, value)
        return found


def _made(term: Product | Total, stacks: Mapping[tuple[Any, int], Any], trips: Size) -> Any:
    if isinstance(term, Total):
        stack = functions.reshape(stacks[term.source.key], (trips, *term.value.shape))
        return functions.sum(stack, (0, *(axis + 1 for axis in term.axes)))
    left, right = (
        functions.reshape(
            stacks[factor.source.key],
            (product((trips, factor.value.shape[0])), factor.value.shape[1]),
        )
        for factor in (term.left, term.right)
    )
    return functions.matmul(functions.transpose(left), right)


def _terms(share: Symbolic) -> Iterator[Symbolic]:
    """The values that a share adds up."""
    waiting = [share]
    while waiting:
        value = waiting.pop()
        same = all(arg.type == value.type for arg in value.node.args)
        if value.node.op.name == "add" and same:
            waiting.extend(reversed(value.node.args))
        else:
            yield value


def _added(terms: list[Symbolic]) -> Symbolic:
    total: Any = terms[0]
    for term in terms[1:]:
        total = functions.add(total, term)
    found: Symbolic = total
    return found


def _product(term: Symbolic) -> Product | None:
    """A matrix product of two matrices, both stored with the rows that are summed over first."""
    form = term.node.form
    if not isinstance(form, Contract) or any(arg.ndim != 2 for arg in term.node.args):
        return None
    left: Any
    right: Any
    left, right = term.node.args
    with within(term.node.origin):
        left = left if form.transpose_a else functions.transpose(left)
        right = functions.transpose(right) if form.transpose_b else right
    return Product(_factor(left), _factor(right), term.node.origin)


def _factor(value: Symbolic) -> Factor:
    return Factor(value, _source(value))


def _source(value: Symbolic) -> Symbolic:
    """What the value is but for its shape."""
    while isinstance(value.node.form, ReshapeForm):
        value = value.node.args[0]
    return value
