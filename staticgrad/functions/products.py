"""Products of vectors and matrices, ``tensordot`` and ``einsum``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final, Generic, overload

from staticgrad.errors import ArgumentError
from staticgrad.functions import aggregate
from staticgrad.functions.indexing import unstack
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.contract import matmul
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import diagonal, stack
from staticgrad.language.ops.movement import expand_dims, moveaxis, reshape, transpose, with_size
from staticgrad.language.ops.operands import (
    axis_of,
    check_equal,
    describe_operands,
    dtype_of,
    integer,
    promoted_values,
)
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.types.arrays import Shape, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.support.records import dataclass

#: Letters of the axes 0, 1, ... of ``einsum``, in NumPy's alphabetical order.
_LETTERS: Final = ascii_uppercase + ascii_lowercase


def dot(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """The sum of products over the last axis of a and the second to last (or only) one of b.

    For up to two axes each that is the matrix product; * where one is 0-d. Beyond, unlike ``@``,
    the axes of a come before those of b. Dtypes promote.

    >>> sg.evaluate(sg.dot([1.0, 2.0], [3.0, 4.0]))
    array(11.)
    """
    left, right = promoted_values((a, b))
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    if left.ndim > 2 or right.ndim > 2:
        inner = right.ndim - 2 if right.ndim > 1 else 0
        return tensordot(left, right, ([left.ndim - 1], [inner]))
    return matmul(left, right)


def vdot(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """The sum of the products of all elements, both flattened in C order.

    The first operand is conjugated, where it is complex. Both have as many elements.

    >>> sg.vdot([1j, 2.0], [1j, 1.0])
    np.complex128(3+0j)
    """
    left, right = promoted_values((a, b))
    return matmul(conj(reshape(left, left.size)), reshape(right, right.size))


def outer(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """out[i, j] = a[i] * b[j], both flattened in C order.

    >>> sg.evaluate(sg.outer([1.0, 2.0], [3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    left, right = promoted_values((a, b))
    return reshape(left, (left.size, 1)) * reshape(right, (1, right.size))


def vecdot(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], axis: int = -1) -> AnyValue:
    """The sum of the products along ``axis``, the first one conjugated; other axes broadcast.

    >>> sg.vecdot([[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0])
    array([21., 43.])
    """
    left, right = promoted_values((a, b))
    left, right = (moveaxis(v, axis_of(axis, v), -1) for v in (left, right))
    product = matmul(conj(expand_dims(left, -2)), expand_dims(right, -1))
    return reshape(product, product.shape[:-2])


def matvec(x1: ArrayLike[AnyValue], x2: ArrayLike[AnyValue]) -> AnyValue:
    """Multiply matrices [..., m, n] by vectors [..., n]; batches broadcast.

    >>> sg.evaluate(sg.matvec([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [1.0, 1.0]]))
    array([[1., 3.],
           [3., 7.]])
    """
    matrix, vector = promoted_values((x1, x2))
    product = matmul(matrix, expand_dims(vector, -1))
    return reshape(product, product.shape[:-1])


def vecmat(x1: ArrayLike[AnyValue], x2: ArrayLike[AnyValue]) -> AnyValue:
    """Multiply vectors [..., m], conjugated, by matrices [..., m, n]; batches broadcast.

    >>> sg.evaluate(sg.vecmat([1.0, 1.0], [[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    vector, matrix = promoted_values((x1, x2))
    product = matmul(conj(expand_dims(vector, -2)), matrix)
    return reshape(product, (*product.shape[:-2], product.shape[-1]))


@rounded_once
def cross(
    a: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> AnyValue:
    """The vector product along one axis of each, of size 3; other axes broadcast.

    Args:
        axisa, axisb: the axes of the vectors.
        axisc: the axis of the product.
        axis: in place of all three.

    >>> sg.evaluate(sg.cross([1, 0, 0], [0, 1, 0]))
    array([0, 0, 1])
    """
    left, right = promoted_values((a, b))
    sides = (axisa, axisb) if axis is None else (axis, axis)
    left, right = (
        moveaxis(v, axis_of(side, v), -1) for v, side in zip((left, right), sides, strict=True)
    )
    if any(v.shape[-1] != 3 for v in (left, right)):
        raise ArgumentError(
            f"cross: {left.type} and {right.type} are not vectors of 3",
            related=describe_operands(left, right),
        )
    (a0, a1, a2), (b0, b1, b2) = (unstack(v, -1) for v in (left, right))
    product = stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1)
    return moveaxis(product, -1, axis_of(axisc if axis is None else axis, product))


@dataclass(frozen=True)
class _Term(Generic[AnyValue]):
    """An operand and one label per axis, each once."""

    value: AnyValue
    labels: tuple[str, ...]

    def size(self, label: str) -> Size:
        return self.value.shape[self.labels.index(label)]

    def transpose_to(self, labels: Sequence[str]) -> AnyValue:
        return transpose(self.value, [self.labels.index(label) for label in labels])


@overload
def einsum(subscripts: str, *operands: ArrayLike[AnyValue], dtype: Any = None) -> AnyValue: ...


@overload
def einsum(subscripts: Any, *operands: Any, dtype: Any = None) -> Any: ...


@rounded_once
def einsum(subscripts: Any, *operands: Any, dtype: Any = None) -> Any:
    """Sums of products over labelled axes, as ``np.einsum``: ``einsum("bij,bjk->bik", a, b)``.

    Axes may have numbers: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    Args:
        subscripts: one letter per axis and operand, ``...`` for broadcast axes; after ``->`` the
            axes of the result (without it: the letters that occur once, in alphabetical order). A
            letter twice in one operand takes its diagonal.
        operands: numbers; dtypes promote. An axis of literal size 1 stretches.
        dtype: convert the operands to it first.

    >>> sg.evaluate(sg.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0]))
    array([3., 7.])
    """
    subscripts, operands = _subscripts_in_letters(subscripts, operands)
    if not isinstance(subscripts, str):
        raise ArgumentError(
            f"einsum: the subscripts come first, got {subscripts!r}",
            hint='einsum("ij,jk->ik", a, b)',
        )
    values = promoted_values(operands)
    if dtype is not None:
        target = dtype_of(dtype)
        values = tuple(astype(value, target) for value in values)
    parsed = Subscripts.of(subscripts, [value.ndim for value in values])
    terms = [_take_diagonals(v, labels) for v, labels in zip(values, parsed.inputs, strict=True)]
    sizes = _label_sizes(terms)
    terms = [_squeeze_term(term, sizes) for term in terms]
    for places in _contraction_order(terms, parsed.output, sizes):
        chosen = [terms[k] for k in places]
        terms = [term for k, term in enumerate(terms) if k not in places]
        needed = {*parsed.output, *(label for term in terms for label in term.labels)}
        total = _sum_term(chosen[0], needed.union(*(term.labels for term in chosen[1:])))
        for position, term in enumerate(chosen[1:], 1):
            needed_later = needed.union(*(t.labels for t in chosen[position + 1 :]))
            operand = _sum_term(term, needed_later.union(total.labels))
            total = _sum_term(_contract_pair(total, operand, needed_later), needed_later)
        terms.append(total)
    (last,) = terms
    output = tuple(label for label in parsed.output if label in last.labels)
    last = _sum_term(last, set(output))
    out = last.transpose_to(output)
    return reshape(out, tuple(sizes[label] if label in output else 1 for label in parsed.output))


def _take_diagonals(value: AnyValue, labels: Sequence[str]) -> _Term[AnyValue]:
    """Read repeated labels of an ``einsum`` operand along their diagonal."""
    names = list(labels)
    for label in dict.fromkeys(labels):
        while names.count(label) > 1:
            first = names.index(label)
            second = names.index(label, first + 1)
            left, right = value.shape[first], value.shape[second]
            text = f"einsum: {label!r} stands for sizes {left} and {right} of one operand"
            check_equal(text, left, right, value)
            value = with_size(value, second, left)
            value = diagonal(value, 0, first, second)
            names = [n for k, n in enumerate(names) if k not in (first, second)] + [label]
    return _Term(value, tuple(names))


def _label_sizes(terms: Sequence[_Term[AnyValue]]) -> dict[str, Size]:
    """Return the size of each ``einsum`` label; size 1 broadcasts."""
    sizes: dict[str, Size] = {}
    for term in terms:
        for label, size in zip(term.labels, term.value.shape, strict=True):
            previous = sizes.setdefault(label, size)
            if previous == 1:
                sizes[label] = size
            elif size != 1:
                text = f"einsum: {label!r} stands for sizes {previous} and {size}"
                check_equal(text, previous, size, *(t.value for t in terms))
    return sizes


def _squeeze_term(term: _Term[AnyValue], sizes: dict[str, Size]) -> _Term[AnyValue]:
    axes = [k for k, size in enumerate(term.value.shape) if size != 1]
    value = reshape(term.value, tuple(term.value.shape[k] for k in axes))
    labels = tuple(term.labels[k] for k in axes)
    for axis, label in enumerate(labels):
        value = with_size(value, axis, sizes[label])
    return _Term(value, labels)


def _contraction_order(
    terms: Sequence[_Term[AnyValue]], output: Sequence[str], sizes: dict[str, Size]
) -> list[tuple[int, ...]]:
    """Choose the order in which ``einsum`` contracts its operands, by opt_einsum."""
    if len(terms) <= 2:
        return [tuple(range(len(terms)))]
    from opt_einsum import contract_path  # building other graphs need not load it

    inputs = ["".join(term.labels) for term in terms]
    shapes = [tuple(hint_value(size) for size in term.value.shape) for term in terms]
    result_labels = "".join(label for label in output if any(label in text for text in inputs))
    path, _ = contract_path(f"{','.join(inputs)}->{result_labels}", *shapes, shapes=True)
    return [tuple(places) for places in path]


def _sum_term(term: _Term[AnyValue], needed: set[str]) -> _Term[AnyValue]:
    axes = tuple(k for k, label in enumerate(term.labels) if label not in needed)
    if not axes:
        return term
    total = aggregate.sum(term.value, axes, dtype=term.value.dtype)
    return _Term(total, tuple(label for label in term.labels if label in needed))


def _contract_pair(a: _Term[AnyValue], b: _Term[AnyValue], needed: set[str]) -> _Term[AnyValue]:
    """Contract two ``einsum`` operands: a matrix product, or elementwise."""
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in needed]
    inner = [label for label in shared if label not in needed]
    rows = [label for label in a.labels if label not in shared]
    columns = [label for label in b.labels if label not in shared]
    labels = (*batch, *rows, *columns)
    outer = tuple(a.size(label) for label in batch)
    row_sizes, column_sizes = (
        tuple(t.size(label) for label in names) for t, names in ((a, rows), (b, columns))
    )
    if not inner:
        left = reshape(
            a.transpose_to([*batch, *rows]), (*outer, *row_sizes, *(1,) * len(column_sizes))
        )
        right = reshape(
            b.transpose_to([*batch, *columns]), (*outer, *(1,) * len(row_sizes), *column_sizes)
        )
        return _Term(left * right, labels)
    inner_size = prod(a.size(label) for label in inner)
    left = reshape(a.transpose_to([*batch, *rows, *inner]), (*outer, prod(row_sizes), inner_size))
    right = reshape(
        b.transpose_to([*batch, *inner, *columns]), (*outer, inner_size, prod(column_sizes))
    )
    return _Term(reshape(matmul(left, right), (*outer, *row_sizes, *column_sizes)), labels)


# -- the special cases ----------------------------------------------------------------------------


def _subscripts_in_letters(first: Any, others: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Read either form of ``einsum`` arguments as subscripts and operands.

    Lists of numbers, one behind each operand and perhaps one for the result, become letters.
    Neither form is returned unchanged.
    """
    if isinstance(first, str):
        return first, others
    arguments = (first, *others)
    pairs = len(arguments) // 2
    texts = []
    for places in [*arguments[1 : 2 * pairs : 2], *arguments[2 * pairs :]]:
        if not isinstance(places, list | tuple) or not all(map(_is_label, places)):
            return first, others
        texts.append("".join("..." if p is Ellipsis else _LETTERS[p] for p in places))
    inputs = ",".join(texts[:pairs])
    return (f"{inputs}->{texts[pairs]}" if len(arguments) % 2 else inputs), arguments[
        : 2 * pairs : 2
    ]


def _is_label(data: object) -> bool:
    return data is Ellipsis or (isinstance(data, int) and 0 <= data < len(_LETTERS))


def tensordot(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], axes: Any = 2) -> AnyValue:
    """The product summed over the last ``axes`` axes of a and the first of b, or over pairs.

    ``axes`` is a number, or two lists: axes of a and the axes of b that they meet. The axes of a
    that are left come before those of b.

    >>> sg.tensordot([[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0], axes=1)
    array([21., 43.])
    """
    left, right = promoted_values((a, b))
    left_axes, right_axes = _paired_axes(left, right, axes)
    if len(left_axes) != len(right_axes):
        raise ArgumentError(f"tensordot: {len(left_axes)} axes of a meet {len(right_axes)} of b")
    for left_axis, right_axis in zip(left_axes, right_axes, strict=True):
        sizes = left.shape[left_axis], right.shape[right_axis]
        text = (
            f"tensordot: axis {left_axis} of a has size {sizes[0]},"
            f" axis {right_axis} of b {sizes[1]}"
        )
        check_equal(text, *sizes, left, right)
    for left_axis, right_axis in zip(left_axes, right_axes, strict=True):
        right = with_size(right, right_axis, left.shape[left_axis])
    left_sizes = tuple(size for k, size in enumerate(left.shape) if k not in left_axes)
    others = tuple(size for k, size in enumerate(right.shape) if k not in right_axes)
    inner_size = prod(left.shape[k] for k in left_axes)
    rows = moveaxis(left, left_axes, list(range(left.ndim - len(left_axes), left.ndim)))
    columns = moveaxis(right, right_axes, list(range(len(right_axes))))
    out = matmul(
        reshape(rows, (prod(left_sizes), inner_size)), reshape(columns, (inner_size, prod(others)))
    )
    return reshape(out, (*left_sizes, *others))


def _paired_axes(left: Value, right: Value, axes: Any) -> tuple[list[int], list[int]]:
    """Read ``tensordot``'s axes: a number, or lists for a and b."""
    if not isinstance(axes, list | tuple):
        count = integer("axes", axes, left, right)
        if not 0 <= count <= min(left.ndim, right.ndim):
            raise ArgumentError(f"tensordot: {count} axes of {left.type} and {right.type}")
        return list(range(left.ndim - count, left.ndim)), list(range(count))
    if len(axes) != 2:
        raise ArgumentError("tensordot: axes are a number, or a list for a and one for b")
    left_axes, right_axes = (
        list(entry) if isinstance(entry, list | tuple) else [entry] for entry in axes
    )
    return (
        [axis_of(axis, left) for axis in left_axes],
        [axis_of(axis, right) for axis in right_axes],
    )


def inner(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """The product summed over the last axis of both; their product where one is 0-d.

    The axes of a come before those of b.

    >>> sg.evaluate(sg.inner([1.0, 2.0], [3.0, 4.0]))
    array(11.)
    """
    left, right = promoted_values((a, b))
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    return tensordot(left, right, ([-1], [-1]))


def kron(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """The Kronecker product: every element of a times all of b, in blocks.

    The one with fewer axes gets axes of size 1 in front.

    >>> sg.kron([1.0, 2.0], [1.0, 10.0])
    array([ 1., 10.,  2., 20.])
    """
    left, right = promoted_values((a, b))
    rank = max(left.ndim, right.ndim)
    left, right = (reshape(v, (1,) * (rank - v.ndim) + v.shape) for v in (left, right))
    coarse: Shape = tuple(s for size in left.shape for s in (size, 1))
    fine: Shape = tuple(s for size in right.shape for s in (1, size))
    product = reshape(left, coarse) * reshape(right, fine)
    shape = tuple(m * n for m, n in zip(left.shape, right.shape, strict=True))
    return reshape(product, shape)


_DOTS = "..."


@dataclass(frozen=True)
class Subscripts:
    """``inputs`` has a tuple of labels per operand; ``output`` the labels of the result."""

    inputs: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]

    @classmethod
    def of(cls, text: str, ranks: Sequence[int]) -> Subscripts:
        """Read ``text`` for operands of ``ranks`` axes."""
        left, arrow, right = text.replace(" ", "").partition("->")
        parts = left.split(",")
        if len(parts) != len(ranks):
            raise ArgumentError(
                f"einsum: {text!r} names {len(parts)} operands, there are {len(ranks)}"
            )
        inputs = tuple(_labels(p, rank, text) for p, rank in zip(parts, ranks, strict=True))
        stretched = max((sum(map(str.isdigit, labels)) for labels in inputs), default=0)
        if arrow:
            dots = _dot_labels(stretched) if _DOTS in right else ()
            output = _parse_labels(right, dots, text)
        else:
            flat = [label for labels in inputs for label in labels]
            once = sorted({x for x in flat if flat.count(x) == 1 and not x.isdigit()})
            output = (*_dot_labels(stretched), *once)
        _check_output(inputs, output, text)
        return cls(inputs, output)


def _labels(part: str, rank: int, text: str) -> tuple[str, ...]:
    letters = len(part.replace(_DOTS, ""))
    if letters > rank or (letters < rank and _DOTS not in part):
        raise ArgumentError(
            f"einsum: {part!r} in {text!r} names {letters} axes, the operand has {rank}"
        )
    return _parse_labels(part, _dot_labels(rank - letters), text)


def _dot_labels(count: int) -> tuple[str, ...]:
    if count > 10:
        raise ArgumentError("einsum: '...' covers at most ten axes")
    return tuple(str(k) for k in reversed(range(count)))


def _parse_labels(part: str, dots: tuple[str, ...], text: str) -> tuple[str, ...]:
    prefix, separator, suffix = part.partition(_DOTS)
    letters = prefix + suffix
    if not (letters == "" or (letters.isascii() and letters.isalpha())):
        raise ArgumentError(f"einsum: {part!r} in {text!r} is not letters and '...'")
    return (*prefix, *(dots if separator else ()), *suffix)


def _check_output(inputs: Sequence[tuple[str, ...]], output: tuple[str, ...], text: str) -> None:
    input_labels = {label for labels in inputs for label in labels}
    for label in output:
        if label not in input_labels:
            raise ArgumentError(f"einsum: {label!r} of the result in {text!r} is in no operand")
        if output.count(label) > 1:
            raise ArgumentError(f"einsum: {label!r} is twice in the result of {text!r}")
