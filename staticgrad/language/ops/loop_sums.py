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
need not exist as a whole (``passes/loops/segments.py``).

A product of the inputs of all steps in front of a loop has such a gradient too: a product over all
steps of what the loop that runs back stacks, and for a bias its sum. The rule of the product builds
it, and the sweep replaces it by sums of the same blocks (``after_loop``).

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
from staticgrad.language.ops.cotangent import in_dtype_of, widen_cotangent, zeros_like_type
from staticgrad.language.ops.indexing import Slice
from staticgrad.language.ops.marks import Mark
from staticgrad.language.ops.movement import reshape, transpose
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import TensorType, hint_product, hint_value, product
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple, dataclass

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
    """Return the terms of a sum, those that sum rows apart from the others."""
    alike: dict[object, list[Share]] = {}
    others: list[Symbolic] = []
    for term in added_terms(total):
        shares = _as_sums(term)
        if not shares:
            others.append(term)
        for share in shares:
            key = (share.value.type, tuple(node.op for node in share.nodes))
            alike.setdefault(key, []).append(share)
    if not alike:
        return [Share(total)]
    grouped = [Share(add_all([s.value for s in same]), same[0].nodes) for same in alike.values()]
    return [*grouped, Share(add_all(others))] if others else grouped


def added_terms(total: Symbolic) -> Iterator[Symbolic]:
    """Return the values that a tree of additions adds up."""
    waiting = [total]
    while waiting:
        value = waiting.pop()
        same = all(arg.type == value.type for arg in value.node.args)
        if value.node.op.name == "add" and same:
            waiting.extend(reversed(value.node.args))
        else:
            yield value


def add_all(values: list[Symbolic]) -> Symbolic:
    """The values, one added to the other."""
    total: Any = values[0]
    for value in values[1:]:
        total = add(total, value)
    result: Symbolic = total
    return result


def _as_sums(term: Symbolic) -> list[Share]:
    """Rewrite a term as sums over axes, up to reshapes and padding; [] if it is none.

    Shapes and zeros around what adds up several sums are those of each of them.
    """
    shares: list[Share] = []
    waiting: list[tuple[Symbolic, tuple[Node, ...]]] = [(term, ())]
    while waiting:
        value, nodes = waiting.pop()
        # reshaped operands and operands padded with zeros are traced further
        form = value.node.form
        padded = isinstance(form, Assemble) and form.fill == 0
        if (padded or isinstance(form, ReshapeForm)) and len(value.node.args) == 1:
            waiting.append((value.node.args[0], (value.node, *nodes)))
            continue
        terms = [*added_terms(value)]
        if len(terms) > 1:
            waiting.extend((summand, nodes) for summand in reversed(terms))
            continue
        form = value.node.form
        if not isinstance(form, Reduce) or form.kind != "sum" or not value.dtype.is_float:
            return []
        (source,) = value.node.args
        if hint_product(source.shape) > MOST_ELEMENTS:
            return []
        shares.append(Share(source, (value.node, *nodes)))
    return shares


#: Rows of a block of iterations, where the gradient of an iteration has ``NARROW`` columns at most,
#: and where it has more. Larger sums leave the L2 cache: a product of more rows reads and writes
#: them less often. That takes 1 to 2 % of the time of such a product, and no plan needs less memory
#: than the stacks of a block.
BLOCK_ROWS: Final = 256
WIDE_BLOCK_ROWS: Final = 1024
NARROW: Final = 512
#: Iterations of a block, at least: its products read and write the sums once.
LEAST_ITERATIONS: Final = 4


class Factor(NamedTuple):
    """A value that every iteration has: ``source`` is what is stacked, or the stack of all.

    ``shape`` is that of the value of one iteration; a row of the stack is reshaped to it.
    """

    source: Symbolic
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class Product:
    """A term of a sum over iterations: the transpose of one matrix times another."""

    left: Factor
    right: Factor
    origin: Any

    @property
    def sources(self) -> tuple[Symbolic, ...]:
        """The values that are stacked for it."""
        return self.left.source, self.right.source


@dataclass(frozen=True)
class Total:
    """A term of a sum over iterations: a stacked value, summed over ``axes`` of its own as well."""

    value: Factor
    axes: tuple[int, ...]
    origin: Any

    @property
    def sources(self) -> tuple[Symbolic, ...]:
        """The value that is stacked for it."""
        return (self.value.source,)


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
        carried: of the requested sums, those that are still added up from iteration to iteration.
    """

    def __init__(self, shares: Mapping[int, Symbolic], available: list[Symbolic]) -> None:
        self.available = {value.key for value in available}
        self.types = {place: share.type for place, share in shares.items()}
        self.outputs: dict[tuple[Any, int], Symbolic] = {}
        self.read: dict[tuple[Any, int], Symbolic] = {}
        self.late: dict[int, list[Product | Total]] = {}
        terms = {place: list(added_terms(share)) for place, share in shares.items()}
        handled: set[tuple[int, int]] = set()
        for place, place_terms in terms.items():
            for number, term in enumerate(place_terms):
                matrix_product = _product(term)
                if matrix_product is not None and self._pays(matrix_product):
                    self._take(place, matrix_product)
                    handled.add((place, number))
        for place, place_terms in terms.items():
            for number, term in enumerate(place_terms):
                total = self._total(term) if (place, number) not in handled else None
                if total is not None:
                    self._take(place, total)
                    handled.add((place, number))
        self.carried: dict[int, Symbolic] = {}
        for place, place_terms in terms.items():
            left = [
                term for number, term in enumerate(place_terms) if (place, number) not in handled
            ]
            if len(left) == len(place_terms):
                self.carried[place] = shares[place]
            elif left:
                self.carried[place] = add_all(left)

    def _pays(self, term: Product) -> bool:
        """Return whether stacking moves fewer elements than a sum in each iteration reads and
        writes."""
        stacked = self.available | self.outputs.keys()
        new = [source for source in term.sources if source.key not in stacked]
        out = hint_value(term.left.shape[1]) * hint_value(term.right.shape[1])
        return sum(hint_product(value.shape) for value in new) <= 2 * out

    def _take(self, place: int, term: Product | Total) -> None:
        self.late.setdefault(place, []).append(term)
        for source in term.sources:
            into = self.read if source.key in self.available else self.outputs
            into[source.key] = source

    def _total(self, term: Symbolic) -> Total | None:
        """The term as a sum of something that is stacked for a product, if it is one."""
        value, axes, form = term, tuple[int, ...](), term.node.form
        if isinstance(form, Reduce) and form.kind == "sum":
            value, axes = value.node.args[0], form.axes
        total = Total(_factor(value), axes, term.node.origin)
        return total if total.sources[0].key in self.outputs else None

    def results(
        self, stacks: Stacks, iterations: Size, reverse: bool, run_loop: RunLoop
    ) -> dict[int, Any]:
        """The sums made after the loop, by place; ``run_loop`` runs a loop over blocks."""
        return _Sums(self.late, self.types).all(stacks, iterations, reverse, run_loop)


class _Sums(NamedTuple):
    """Sums over iterations, by place: their terms, and the types of the results."""

    terms: Mapping[int, Sequence[Product | Total]]
    types: Mapping[int, TensorType]

    def all(
        self, stacks: Stacks, iterations: Size, reverse: bool, run_loop: RunLoop
    ) -> dict[int, Any]:
        """Sum gradients over all iterations of a loop: at once, or block by block."""
        products = [t for terms in self.terms.values() for t in terms if isinstance(t, Product)]
        shapes = [factor.shape for term in products for factor in (term.left, term.right)]
        rows, columns = (
            max((hint_value(shape[axis]) for shape in shapes), default=1) for axis in (0, 1)
        )
        length = block_length(iterations, rows, columns)
        if not self.terms or length is None:
            return self._at_once(stacks, iterations)
        return self.in_blocks(length, stacks, iterations, reverse, run_loop)

    def in_blocks(
        self, length: int, stacks: Stacks, iterations: Size, reverse: bool, run_loop: RunLoop
    ) -> dict[int, Any]:
        """Sum gradients over blocks of ``length`` iterations, and over the remaining ones.

        Sums of a narrow float are in its compute dtype until the end.
        """
        count = iterations // length
        remainder = iterations - count * length
        begins = (remainder, 0) if reverse else (0, iterations - remainder)
        parts, lasts = stacks, dict[Any, Any]()
        if remainder != 0:
            parts = {
                k: _rows(stack, begins[0], iterations - remainder) for k, stack in stacks.items()
            }
            lasts = {key: _rows(stack, begins[1], remainder) for key, stack in stacks.items()}
        sums = self._of_blocks(parts, count, length, reverse, run_loop)
        if remainder != 0:
            more = self._at_once(
                {key: widen_cotangent(stack) for key, stack in lasts.items()}, remainder
            )
            sums = {place: add(total, more[place]) for place, total in sums.items()}
        return {place: in_dtype_of(total, self.types[place]) for place, total in sums.items()}

    def _at_once(self, stacks: Stacks, iterations: Size) -> dict[int, Any]:
        """Sum the stacked rows of all iterations at once."""
        sums: dict[int, Any] = {}
        for place, terms in self.terms.items():
            for term in terms:
                with within(term.origin):
                    if isinstance(term, Total):
                        stack = reshape(
                            stacks[term.value.source.key], (iterations, *term.value.shape)
                        )
                        value = Sum((0, *(axis + 1 for axis in term.axes)))(stack)
                    else:
                        left, right = (
                            reshape(
                                stacks[f.source.key],
                                (product((iterations, f.shape[0])), f.shape[1]),
                            )
                            for f in (term.left, term.right)
                        )
                        value = matmul(transpose(left), right)
                    total = sums.get(place)
                    sums[place] = value if total is None else add(total, value)
        return sums

    def _of_blocks(
        self, stacks: Stacks, count: Size, length: int, reverse: bool, run_loop: RunLoop
    ) -> dict[int, Any]:
        """Sum gradients over ``count`` blocks of iterations, one block after the other."""
        keys = [
            *dict.fromkeys(s.key for terms in self.terms.values() for t in terms for s in t.sources)
        ]

        def add_block(totals: Sequence[Any], rows: Sequence[Any]) -> list[Any]:
            wide = [widen_cotangent(row) for row in rows]
            sums = self._at_once(dict(zip(keys, wide, strict=True)), length)
            return [add(total, sums[k]) for k, total in zip(self.terms, totals, strict=True)]

        blocks = [reshape(stacks[key], (count, length, *stacks[key].shape[1:])) for key in keys]
        first = [widen_cotangent(zeros_like_type(self.types[place])) for place in self.terms]
        return dict(
            zip(self.terms, run_loop(add_block, count, first, blocks, reverse), strict=True)
        )


class Stacked(NamedTuple):
    """A value that is a reshape of what a loop stacks, its first axis rows of iterations.

    ``per``: the sizes behind the iterations that are joined to its first axis.
    """

    stack: Symbolic
    iterations: Size
    reverse: bool
    per: tuple[Size, ...]

    @property
    def block(self) -> int | None:
        """Iterations of a block; None: all of them are one."""
        *rows, columns = self.stack.shape[1:]
        return block_length(self.iterations, hint_product(rows), hint_value(columns))


def after_loop(share: Symbolic, stacked: Callable[[Any], Stacked | None], run_loop: RunLoop) -> Any:
    """Return a gradient's sum over a loop's iterations as sums after the loop; None if unfit.

    A product of all steps of time before a loop has such a gradient: its factors are the inputs and
    the stack of all gradients of the loop. ``stacked`` finds that. Other values are unchanged.
    """
    value, shapes = share, list[Any]()
    while isinstance(value.node.form, ReshapeForm):
        shapes.append(value.shape)
        (value,) = value.node.args
    matched = _product_of_stacks(value, stacked) or _total_of_stack(value, stacked)
    if matched is None:
        return share
    term, of, stacks = matched
    if of.block is None:
        return share
    sums = _Sums({0: [term]}, {0: value.type})
    total = sums.in_blocks(of.block, stacks, of.iterations, of.reverse, run_loop)[0]
    for shape in reversed(shapes):
        total = reshape(total, shape)
    return total


def _product_of_stacks(
    value: Symbolic, stacked: Callable[[Any], Stacked | None]
) -> tuple[Product, Stacked, Stacks] | None:
    """Match a matrix product over a loop's iterations; return it with its stacks."""
    form, args = value.node.form, value.node.args
    if not isinstance(form, Contract) or not form.transpose_a or form.transpose_b:
        return None
    if any(arg.ndim != 2 for arg in args):
        return None
    of = stacked(args[1]) or stacked(args[0])
    if of is None:
        return None
    rows = product(of.per)
    left, right = (Factor(arg, (rows, arg.shape[1])) for arg in args)
    stacks = {arg.key: _by_iteration(arg, of) for arg in args}
    return Product(left, right, value.node.origin), of, stacks


def _total_of_stack(
    value: Symbolic, stacked: Callable[[Any], Stacked | None]
) -> tuple[Total, Stacked, Stacks] | None:
    """Match a sum over a loop's iterations; return it with its stack."""
    form = value.node.form
    if not isinstance(form, Reduce) or form.kind != "sum" or 0 not in form.axes:
        return None
    (arg,) = value.node.args
    of = stacked(arg)
    if of is None:
        return None
    joined = (product(of.per),) if of.per else ()
    axes = form.axes if of.per else tuple(axis - 1 for axis in form.axes if axis)
    factor = Factor(arg, (*joined, *arg.shape[1:]))
    return Total(factor, axes, value.node.origin), of, {arg.key: _by_iteration(arg, of)}


def _by_iteration(value: Symbolic, of: Stacked) -> Any:
    """Match a reshape of a stack; return the array with a row for each iteration."""
    shape = (of.iterations, *of.per, *value.shape[1:])
    while isinstance(value.node.form, ReshapeForm) and value.shape != shape:
        (value,) = value.node.args
        if value.shape[:1] == shape[:1]:
            return value
    return value if value.shape[:1] == shape[:1] else reshape(value, shape)


def _rows(stack: Any, begin: Size, count: Size) -> Any:
    starts = (begin, *(0 for _ in stack.shape[1:]))
    return Slice(starts, (count, *stack.shape[1:]), (1,) * stack.ndim)(stack)


def block_length(iterations: Size, rows: int, columns: int) -> int | None:
    """Return the iterations of a block of gradient sums, by rows and columns; None: all at once.

    A divisor of the iterations where there is one between the most and half of that.
    """
    block = BLOCK_ROWS if columns <= NARROW else WIDE_BLOCK_ROWS
    most = max(LEAST_ITERATIONS, block // max(1, rows))
    if hint_value(iterations) <= most:
        return None
    if isinstance(iterations, int):
        even = [n for n in range(most // 2, most + 1) if iterations % n == 0]
        return even[-1] if even else most
    return most


def _product(term: Symbolic) -> Product | None:
    """Multiply two stacked matrices, both stored with the summed rows first."""
    form = term.node.form
    if not isinstance(form, Contract) or any(arg.ndim != 2 for arg in term.node.args):
        return None
    left: Any
    right: Any
    left, right = term.node.args
    with within(term.node.origin):
        left = left if form.transpose_a else transpose(left)
        right = transpose(right) if form.transpose_b else right
    return Product(_factor(left), _factor(right), term.node.origin)


def _factor(value: Symbolic) -> Factor:
    """Return a value of an iteration as a reshape of what is stacked of it."""
    source = value
    while isinstance(source.node.form, ReshapeForm) or isinstance(source.node.op, Mark):
        source = source.node.args[0]
    return Factor(source, value.shape)
