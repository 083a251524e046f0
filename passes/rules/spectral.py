"""Functions of matrices as they are written: V f(w) V' of ``eigh``, U f(s) V' of ``svd``.

Derivatives are taken of the function of the matrix (``functions/spectral.py``), which has
them where eigenvalues are equal and eigenvectors have none. Of some of the eigenvectors, as the one
of the largest eigenvalue, it does not matter whether others have equal ones. Values are those that
were written, so these rules are of use below derivatives alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import numpy as np

from passes.rewrite import Match, Rule, holes, number_of, rule, some
from passes.rewrite.matching import repeats_first
from staticgrad import functions as sg
from staticgrad.functions.spectral import odd_function, some_vectors, spectral
from staticgrad.language.calls.functional import namespace_of
from staticgrad.language.ir.graph import Node, Symbolic, ancestors
from staticgrad.language.ops.arithmetic import Add, Div, Mul
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Slice, Take
from staticgrad.language.ops.linalg import SVD, Eigh, EigvalsH, SVDVals
from staticgrad.language.ops.logic import Eq
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.language.ops.operands import as_value
from staticgrad.language.ops.positions import Iota
from staticgrad.language.ops.selection import Where
from staticgrad.language.types.dim import Size

x, y = holes("x y")
#: What gives vectors with the values -> what gives the values alone, the same ones.
_VALUES: Final[dict[Any, Any]] = {Eigh: EigvalsH, SVD: SVDVals}
#: Results that are vectors, and whether as rows.
_VECTORS: Final = ((Eigh, 1, True), (SVD, 0, False), (SVD, 2, True))


def values_of(node: Node) -> Symbolic:
    """The eigenvalues, or singular values."""
    return node.values[0 if type(node.op) is Eigh else 1]


class _Product:
    """The parts of a product: the vectors of one matrix, and factors of their columns.

    Eigenvectors on both sides, or left and right singular vectors.
    """

    def __init__(self) -> None:
        #: What gives the vectors, ``eigh`` or ``svd``, and which of its results are read.
        self.source: Node | None = None
        self.results: list[int] = []
        self.factors: list[Any] = []
        #: What the factors depend on, beside the eigenvalues.
        self.scalars: dict[Any, Symbolic] = {}  # by the key of the value
        #: What is looked through, the product left out.
        self.nodes: list[Node] = []

    def reads(self, value: Symbolic, transposed: bool) -> bool:
        """Match V with scaled columns, V of ``eigh`` or ``svd``, or its transpose."""
        node, op = value.node, value.node.op
        self.nodes.append(node)
        if type(op) in _VALUES:
            if (type(op), value.index, transposed) not in _VECTORS or self.source not in (
                None,
                node,
            ):
                return False
            self.source = node
            self.results.append(value.index)
            return True
        if isinstance(op, Transpose):
            last = value.ndim - 1
            exchanged = (*range(last - 1), last, last - 1)
            return op.perm == exchanged and self.reads(node.args[0], not transposed)
        if isinstance(op, Mul | Div):
            orders = [node.args] if isinstance(op, Div) else [node.args, node.args[::-1]]
            for vectors, factor in orders:
                mark = len(self.nodes)
                if vectors.shape == value.shape and self.reads(vectors, transposed):
                    return self._scales(factor, transposed, isinstance(op, Div))
                del self.nodes[mark:]
            return False
        if isinstance(op, MatMul) and not (op.transpose_a or op.transpose_b):
            vectors, factor = node.args[::-1] if transposed else node.args
            diagonal = self._diagonal(factor)
            if diagonal is None or not self.reads(vectors, transposed):
                return False
            return self._scales(diagonal)
        return False

    def _diagonal(self, value: Symbolic) -> Symbolic | None:
        """Return the diagonal of a matrix that is 0 elsewhere, or None."""
        node = value.node
        if not isinstance(node.op, Where) or number_of(node.args[2]) != 0:
            return None
        condition = node.args[0].node
        places = [*map(_position, condition.args)] if isinstance(condition.op, Eq) else []
        rank = node.args[0].ndim  # a condition may lack the axes of a batch
        if sorted(map(str, places)) != [str(rank - 2), str(rank - 1)]:
            return None
        self.nodes.append(node)
        return node.args[1]

    def _scales(self, factor: Symbolic, transposed: bool = False, divides: bool = False) -> bool:
        """Return True if ``factor`` is one function of each eigenvalue or singular value."""
        assert self.source is not None
        values = values_of(self.source)
        number = number_of(factor)
        scale = number if number is not None else self._function(factor, values, transposed)
        if scale is None:
            scale = self._scalar(factor, values.shape[:-1])
        if scale is not None:
            self.factors.append(1.0 / scale if divides else scale)
        return scale is not None

    def _function(self, factor: Symbolic, values: Symbolic, transposed: bool) -> Any:
        """Return a factor as a function of the eigenvalues, with scalars; None if it is not one."""
        *batch, n = values.shape
        wide = (*batch, n, 1) if transposed else (*batch, 1, n)
        if factor.shape != wide and (transposed or batch or factor.shape != (n,)):
            return None
        (x,) = values.node.args
        equal_values = {values.key}
        computed: dict[Any, Node] = {}  # by the key of their result, operands before readers
        numbers: set[Any] = set()  # keys of those that repeat one number
        above = ancestors([factor], oldest=x.node.serial)
        for node in sorted(above, key=lambda node: node.serial):
            if type(node.op) is _VALUES[type(values.node.op)] and node.args[0].key == x.key:
                self.nodes.append(node)
                equal_values.add(Symbolic(node).key)
            elif isinstance(node.op, Reshape | Broadcast | Elementwise):
                result = Symbolic(node)
                if _is_scalar(result, batch):
                    continue  # it is read, not computed again
                repeat = [arg.key in numbers or _is_scalar(arg, batch) for arg in node.args]
                pairs = zip(node.args, repeat, strict=True)
                if all(repeat):
                    numbers.add(result.key)
                elif isinstance(node.op, Broadcast) or not all(
                    is_one or arg.key in equal_values or arg.key in computed
                    for arg, is_one in pairs
                ):
                    continue
                computed[result.key] = node
        return self._rebuild(factor, computed, dict.fromkeys(equal_values, values), batch)

    def _rebuild(
        self,
        factor: Symbolic,
        computed: dict[Any, Node],
        new: dict[Any, Any],
        batch: Sequence[Size],
    ) -> Any:
        """Build a function of the eigenvalues anew, of these and of scalars."""
        needed = {factor.key}
        for key, node in reversed(computed.items()):
            needed |= {arg.key for arg in node.args} if key in needed else set()
        for key, node in computed.items():
            if key in needed:
                args = [
                    new[arg.key] if arg.key in new else self._scalar(arg, batch)
                    for arg in node.args
                ]
                self.nodes.append(node)
                moves = isinstance(node.op, Reshape | Broadcast)
                if not any(isinstance(arg, Symbolic) for arg in args):
                    args = [*map(as_value, args)]
                new[key] = args[0] if moves else node.op(*args)
        return new.get(factor.key)

    def _scalar(self, value: Symbolic, batch: Sequence[Size] = ()) -> Any:
        """Return the number that all elements of a value equal, now or at run time, or None.

        Of a batch of matrices also the number of each, with an axis behind those of the batch.
        """
        number = number_of(value)
        if number is not None:
            return number
        source = _scalar_source(value, batch)
        if source is None:
            return None
        if source.key not in self.scalars:
            if _has_one_element(source):
                number_value: Any = sg.reshape(source, ())
            else:
                # A sum, over axes of one element: a reshape of a reshape would be the source again.
                last_axes = (*range(len(batch), source.ndim),)
                number_value = sg.sum(source, last_axes) if last_axes else source
            self.scalars[source.key] = number_value
        scalar: Any = self.scalars[source.key]
        return sg.reshape(scalar, (*batch, 1)) if scalar.ndim else scalar


def _is_scalar(value: Symbolic, batch: Sequence[Size]) -> bool:
    """Return whether all elements of a value equal one number, of each matrix of a batch one."""
    return number_of(value) is not None or _scalar_source(value, batch) is not None


def _scalar_source(value: Symbolic, batch: Sequence[Size]) -> Symbolic | None:
    """Return the value of one number, or one for each matrix of a batch, that a value repeats."""
    source = _source(value)
    if _has_one_element(source) and source.dtype.is_float:
        return source
    return _number_of_each(value, batch)


def _number_of_each(value: Symbolic, batch: Sequence[Size]) -> Symbolic | None:
    """Return the value that has the numbers which ``value`` has for all elements of each matrix.

    Its axes behind those of the batch have one element.
    """
    rank = len(batch)
    if not rank or not value.dtype.is_float or value.shape[:rank] != (*batch,):
        return None
    while isinstance(value.node.op, Reshape | Broadcast):
        (of,), op = value.node.args, value.node.op
        moves = isinstance(op, Broadcast) and op.axes[:rank] != (*range(rank),)
        if moves or of.shape[:rank] != (*batch,) or any(n != 1 for n in of.shape[rank:]):
            break
        value = of
    return value if all(n == 1 for n in value.shape[rank:]) else None


def _has_one_element(value: Symbolic) -> bool:
    return all(size == 1 for size in value.shape)


def _source(value: Symbolic) -> Symbolic:
    """Return the value of one element that a value repeats, or else the value."""
    while any(size != 1 for size in value.shape) and repeats_first(value.node):
        value = value.node.args[0]
    return value


def _position(value: Symbolic) -> int | None:
    """The axis whose positions a value has."""
    node = value.node
    if isinstance(node.op, Add) and number_of(node.args[1]) == 0:
        node = node.args[0].node
    return node.op.axis if isinstance(node.op, Iota) else None


def _match_product(match: Match) -> _Product | None:
    """Match a product V f(w) V' of ``eigh`` or U f(s) V' of ``svd``; None if it is none."""
    op, (left, right) = match.root.node.op, match.root.node.args
    assert isinstance(op, MatMul)
    product = _Product()
    if not (product.reads(left, op.transpose_a) and product.reads(right, not op.transpose_b)):
        return None
    assert product.source is not None
    if type(product.source.op) is Eigh:
        return product if product.factors else None
    rows, columns = product.source.args[0].shape[-2:]
    return product if rows == columns and set(product.results) == {0, 2} else None


def _is_function(match: Match) -> bool:
    spectral_product = _match_product(match)
    if spectral_product is not None:
        match.look_through(spectral_product.nodes)
    return spectral_product is not None


def _function(match: Match) -> Any:
    """Rewrite V f(w) V' to a matrix function, whose derivative has no 1 / (w_i - w_j)."""
    parts = _match_product(match)
    assert parts is not None
    assert parts.source is not None
    (x,), values = parts.source.args, values_of(parts.source)
    factor = math.prod(parts.factors[1:], start=parts.factors[0]) if parts.factors else 1.0
    product: Any = match.root.node.op(*[sg.stop_gradient(arg) for arg in match.root.node.args])
    if type(parts.source.op) is Eigh:
        if not isinstance(factor, Symbolic):
            return product  # a multiple of the identity
        if factor.ndim:
            factor = _with_values(factor, values, parts.scalars.values())
        return spectral(product, x, values, parts.source.values[1], factor, *parts.scalars.values())
    factor = _with_values(factor, values, parts.scalars.values())
    left, _, right = parts.source.values
    mirrored = parts.results == [2, 0]
    product = sg.matrix_transpose(product) if mirrored else product
    value = odd_function(product, x, values, left, right, factor, *parts.scalars.values())
    return sg.matrix_transpose(value) if mirrored else value


def _with_values(factor: Any, values: Symbolic, scalars: Iterable[Symbolic]) -> Any:
    """Return a factor as a function of the values, though it may be made of scalars alone.

    Scalars may be computed from the values: as they all are for matrices of one row.
    """
    if isinstance(factor, Symbolic):
        ends = dict.fromkeys(scalar.node for scalar in scalars)
        if values.node in ancestors([factor], ends, values.node.serial):
            return factor
    return factor + 0.0 * values


# -- some of the eigenvectors ----------------------------------------------------------------------


def _match_vectors(match: Match) -> tuple[_Product, bool, int] | None:
    """Match eigenvectors of which a value is a part; return if transposed, and the axis."""
    for transposed in (False, True):
        product = _Product()
        read = product.reads(match.x, transposed) and not product.factors
        if read and product.source is not None and type(product.source.op) is Eigh:
            return product, transposed, match.x.ndim - 1 - transposed
    return None


def _is_part(match: Match) -> bool:
    """Return True if a slice or take selects some eigenvectors of ``eigh``."""
    vectors, op = _match_vectors(match), cast(Any, match.root.node.op)
    if vectors is None:
        return False
    product, _, axis = vectors
    if op.axis != axis if isinstance(op, Take) else op.lengths[axis] == match.x.shape[axis]:
        return False
    match.look_through(product.nodes)
    return True


def _rewrite_part(match: Match) -> Any:
    """Rewrite some selected eigenvectors so that their derivative skips gaps among them."""
    selection, op = _match_vectors(match), cast(Any, match.root.node.op)
    assert selection is not None
    product, transposed, axis = selection
    assert product.source is not None
    (x,), (values, rows) = product.source.args, product.source.values
    count = values.shape[-1]
    if isinstance(op, Take):
        places = sg.reshape(match.y, (-1,))
        places = sg.where(places < 0, places + sg.size_value(count, places.dtype), places)
    else:
        places = sg.iota((op.lengths[axis],), like=values) * op.steps[axis]
        places = places + sg.size_value(op.starts[axis], places.dtype)
    chosen = sg.any(sg.iota((count, 1), 0, like=values) == places, -1)
    selected = some_vectors(sg.stop_gradient(rows), x, values, rows, chosen)
    vectors = selected if transposed else sg.matrix_transpose(selected)
    return op(vectors, match.y) if isinstance(op, Take) else op(vectors)


def _decompose(x: Any) -> Any:
    row = sg.concatenate([sg.tanh(x).reshape(-1), sg.full((1,), 0.5, x.dtype, like=x)])
    return namespace_of("linalg").eigh(sg.outer(row, row), errors="nan")


def _example(x: Any) -> Any:
    values, vectors = _decompose(x)
    return (vectors * sg.exp(values)) @ vectors.T


def _svd_example(x: Any) -> Any:
    row = sg.concatenate([sg.tanh(x).reshape(-1), sg.full((1,), 0.5, x.dtype, like=x)])
    left, values, right = namespace_of("linalg").svd(
        sg.outer(row, row), full_matrices=False, errors="nan"
    )
    return (left * sg.tanh(values)) @ right


RULES: Final[tuple[Rule, ...]] = (
    rule("function-of-matrix", some(MatMul, x, y), _function, where=_is_function, dtypes="f",
         examples=(_example, _svd_example)),
    rule("some-eigenvectors", some(Slice, x), _rewrite_part, where=_is_part, dtypes="f",
         examples=(lambda x: _decompose(x)[1][:, -1:],)),
    rule("chosen-eigenvectors", some(Take, x, y), _rewrite_part, where=_is_part, dtypes="f",
         examples=(lambda x: sg.take(_decompose(x)[1], np.array([0, -1]), 1),)),
)  # fmt: skip
