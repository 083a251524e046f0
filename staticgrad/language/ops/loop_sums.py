"""Sums over the iterations of a loop, computed after the loop: as products, or as sums over rows.

**Products.** The cotangent of a recurrent weight adds up one product for each iteration. Stacked
along the iterations, the factors of all of them are two matrices, and one product over (iteration,
row) is the sum: it reads and writes the weight's gradient once instead of once an iteration. That
pays if the factors of an iteration have fewer elements than the product. If a bias sums the same
stack, that sum is computed once, too. The choice is made where the derivative is built, so that the
order of these sums is that of nodes of the graph.

For many iterations the products are those of blocks of about ``BLOCK_ROWS`` rows, added up by a
loop over blocks in the order of the loop before it. A block is complete when that loop has made its
iterations. So a loop that runs in segments of whole blocks can add up each of them, and the stacks
need not exist as a whole (``staticgrad/compiler/memory/segments.py``).

**Rows.** The cotangent of what all rows of a batch share (a constant of an equation, a bias) is a
sum over rows in each iteration. Carried row by row it is arithmetic of each row alone, and the sum
over rows follows the loop: the iterations of a row no longer wait for those of all others, and the
loop may be one kernel (``lowering/loops/time_loops.py``). Again the choice is made where the
derivative is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from staticgrad.language.ir.forms import Assemble, Contract, Reduce, ReshapeForm
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.ops.arithmetic import add
from staticgrad.language.ops.contract import matmul
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.indexing import Slice
from staticgrad.language.ops.marks import Mark
from staticgrad.language.ops.movement import reshape, transpose
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import hint_product, hint_value, product
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within
from staticgrad.support.records import dataclass

#: Elements that are carried instead of their sum, at most: they are to stay in a cache.
MOST_ELEMENTS: Final = 1 << 16


@dataclass(frozen=True)
class Share:
    """The term of an iteration in a sum: ``value``; ``nodes`` are computed after the loop."""

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
    for term in added_terms(total):
        shares = _summed(term)
        if not shares:
            rest.append(term)
        for share in shares:
            key = (share.value.type, tuple(node.op for node in share.nodes))
            alike.setdefault(key, []).append(share)
    if not alike:
        return [Share(total)]
    found = [Share(added([s.value for s in same]), same[0].nodes) for same in alike.values()]
    return [*found, Share(added(rest))] if rest else found


def added_terms(total: Symbolic) -> Iterator[Symbolic]:
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
        total = add(total, value)
    found: Symbolic = total
    return found


def _summed(term: Symbolic) -> list[Share]:
    """A term as sums over some axes, but for their shapes and the zeros around them; [] if not.

    Shapes and zeros around what adds up several sums are those of each of them.
    """
    found: list[Share] = []
    waiting: list[tuple[Symbolic, tuple[Node, ...]]] = [(term, ())]
    while waiting:
        value, nodes = waiting.pop()
        if _only_moves(value):
            waiting.append((value.node.args[0], (value.node, *nodes)))
            continue
        several = [*added_terms(value)]
        if len(several) > 1:
            waiting.extend((each, nodes) for each in reversed(several))
            continue
        form = value.node.form
        if not isinstance(form, Reduce) or form.kind != "sum" or not value.dtype.is_float:
            return []
        (source,) = value.node.args
        if hint_product(source.shape) > MOST_ELEMENTS:
            return []
        found.append(Share(source, (value.node, *nodes)))
    return found


def _only_moves(value: Symbolic) -> bool:
    """Return whether a value only reshapes its operand, or pads it with zeros."""
    form = value.node.form
    padded = isinstance(form, Assemble) and form.fill == 0
    return (padded or isinstance(form, ReshapeForm)) and len(value.node.args) == 1


#: Rows of a block of iterations, at most, but for blocks of few iterations; so many blocks are one
#: product. More rows would be read by fewer products that read and write the sums, which is 2 % of
#: what such a product takes; and no plan needs less memory than the stacks of a block.
BLOCK_ROWS: Final = 1024
ALONE: Final = 2
#: Iterations of a block, at least: its products read and write the sums once.
LEAST_ITERATIONS: Final = 4


@dataclass(frozen=True)
class Product:
    """A term of a sum over iterations: the transpose of one matrix times another."""

    left: Symbolic
    right: Symbolic
    origin: Any

    @property
    def sources(self) -> tuple[Symbolic, ...]:
        """The values that are stacked for it."""
        return _source(self.left), _source(self.right)


@dataclass(frozen=True)
class Total:
    """A term of a sum over iterations: a stacked value, summed over ``axes`` of its own as well."""

    value: Symbolic
    axes: tuple[int, ...]
    origin: Any

    @property
    def sources(self) -> tuple[Symbolic, ...]:
        """The value that is stacked for it."""
        return (_source(self.value),)


#: Stacks of values, a row for each iteration, by what they stack.
Stacks = Mapping[tuple[Any, int], Any]
#: The next carries by the carries and a row of each array.
Iteration = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
#: Runs a loop so many times from first carries over arrays, backwards or not; the last carries.
RunLoop = Callable[[Iteration, Size, Sequence[Any], Sequence[Any], bool], Sequence[Any]]


class OverTime:
    """The sums of one loop that are made after it.

    Attributes:
        outputs: the values of the body to stack, beside slices and carries that are there anyway.
        rest: of the requested sums, those that are still added up from iteration to iteration.
    """

    def __init__(self, shares: Mapping[int, Symbolic], there: list[Symbolic]) -> None:
        self.there = {value.key for value in there}
        self.types = {place: share.type for place, share in shares.items()}
        self.outputs: dict[tuple[Any, int], Symbolic] = {}
        self.read: dict[tuple[Any, int], Symbolic] = {}
        self.late: dict[int, list[Product | Total]] = {}
        terms = {place: list(added_terms(share)) for place, share in shares.items()}
        taken: set[tuple[int, int]] = set()
        for place, each in terms.items():
            for number, term in enumerate(each):
                found = _product(term)
                if found is not None and self._pays(found):
                    self._take(place, found)
                    taken.add((place, number))
        for place, each in terms.items():
            for number, term in enumerate(each):
                total = self._total(term) if (place, number) not in taken else None
                if total is not None:
                    self._take(place, total)
                    taken.add((place, number))
        self.rest: dict[int, Symbolic] = {}
        for place, each in terms.items():
            left = [term for number, term in enumerate(each) if (place, number) not in taken]
            if len(left) == len(each):
                self.rest[place] = shares[place]
            elif left:
                self.rest[place] = added(left)

    def _pays(self, found: Product) -> bool:
        """Return whether stacking moves fewer elements than a sum in each iteration reads and
        writes."""
        stacked = self.there | self.outputs.keys()
        new = [source for source in found.sources if source.key not in stacked]
        out = hint_value(found.left.shape[1]) * hint_value(found.right.shape[1])
        return sum(hint_product(value.shape) for value in new) <= 2 * out

    def _take(self, place: int, term: Product | Total) -> None:
        self.late.setdefault(place, []).append(term)
        for source in term.sources:
            into = self.read if source.key in self.there else self.outputs
            into[source.key] = source

    def _total(self, term: Symbolic) -> Total | None:
        """The term as a sum of something that is stacked for a product, if it is one."""
        value, axes, form = term, tuple[int, ...](), term.node.form
        if isinstance(form, Reduce) and form.kind == "sum":
            value, axes = value.node.args[0], form.axes
        total = Total(value, axes, term.node.origin)
        return total if total.sources[0].key in self.outputs else None

    def results(
        self, stacks: Stacks, iterations: Size, reverse: bool, run_loop: RunLoop
    ) -> dict[int, Any]:
        """The sums made after the loop, by place; ``run_loop`` runs a loop over blocks."""
        terms = [term for each in self.late.values() for term in each]
        rows = [hint_value(t.left.shape[0]) for t in terms if isinstance(t, Product)]
        length = block_length(iterations, max(rows, default=1))
        if not terms or length is None:
            return self._sums(stacks, iterations)
        count = iterations // length
        rest = iterations - count * length
        if rest == 0:
            return self._of_blocks(stacks, count, length, reverse, run_loop)
        begins = (rest, 0) if reverse else (0, iterations - rest)
        parts = {key: _rows(stack, begins[0], iterations - rest) for key, stack in stacks.items()}
        lasts = {key: _rows(stack, begins[1], rest) for key, stack in stacks.items()}
        found = self._of_blocks(parts, count, length, reverse, run_loop)
        more = self._sums(lasts, rest)
        return {place: add(total, more[place]) for place, total in found.items()}

    def _sums(self, stacks: Stacks, iterations: Size) -> dict[int, Any]:
        """The sums over the rows of these stacks, each at once."""
        found: dict[int, Any] = {}
        for place, terms in self.late.items():
            for term in terms:
                with within(term.origin):
                    value = _made(term, stacks, iterations)
                    known = found.get(place)
                    found[place] = value if known is None else add(known, value)
        return found

    def _of_blocks(
        self, stacks: Stacks, count: Size, length: int, reverse: bool, run_loop: RunLoop
    ) -> dict[int, Any]:
        """The sums over ``count`` blocks of ``length`` iterations, one block after the other."""
        sources = {s.key: s for each in self.late.values() for t in each for s in t.sources}

        def grown(totals: Sequence[Any], rows: Sequence[Any]) -> list[Any]:
            sums = self._sums(dict(zip(sources, rows, strict=True)), length)
            return [add(total, sums[k]) for k, total in zip(self.late, totals, strict=True)]

        blocks = [reshape(stacks[key], (count, length, *s.shape)) for key, s in sources.items()]
        first = [zeros_like_type(self.types[place]) for place in self.late]
        return dict(zip(self.late, run_loop(grown, count, first, blocks, reverse), strict=True))


def _rows(stack: Any, begin: Size, count: Size) -> Any:
    starts = (begin, *(0 for _ in stack.shape[1:]))
    return Slice(starts, (count, *stack.shape[1:]), (1,) * stack.ndim)(stack)


def block_length(iterations: Size, rows: int) -> int | None:
    """Iterations of a block, where an iteration has so many rows; None: all of them are one.

    A divisor of the iterations where there is one between the most and half of that.
    """
    most = max(LEAST_ITERATIONS, BLOCK_ROWS // max(1, rows))
    if hint_value(iterations) <= max(LEAST_ITERATIONS, ALONE * BLOCK_ROWS // max(1, rows)):
        return None
    if isinstance(iterations, int):
        even = [n for n in range(most // 2, most + 1) if iterations % n == 0]
        return even[-1] if even else most
    return most


def _made(term: Product | Total, stacks: Stacks, iterations: Size) -> Any:
    if isinstance(term, Total):
        (source,) = term.sources
        stack = reshape(stacks[source.key], (iterations, *term.value.shape))
        return Sum((0, *(axis + 1 for axis in term.axes)))(stack)
    left, right = (
        reshape(stacks[source.key], (product((iterations, f.shape[0])), f.shape[1]))
        for f, source in zip((term.left, term.right), term.sources, strict=True)
    )
    return matmul(transpose(left), right)


def _product(term: Symbolic) -> Product | None:
    """A matrix product of two matrices, both stored with the rows that are summed over first."""
    form = term.node.form
    if not isinstance(form, Contract) or any(arg.ndim != 2 for arg in term.node.args):
        return None
    left: Any
    right: Any
    left, right = term.node.args
    with within(term.node.origin):
        left = left if form.transpose_a else transpose(left)
        right = transpose(right) if form.transpose_b else right
    return Product(left, right, term.node.origin)


def _source(value: Symbolic) -> Symbolic:
    while isinstance(value.node.form, ReshapeForm) or isinstance(value.node.op, Mark):
        value = value.node.args[0]
    return value
