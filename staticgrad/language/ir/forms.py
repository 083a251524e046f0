"""Forms: how an op accesses memory, as data; and combiners: the kinds of reductions.

A small closed set of shapes of computation stands between hundreds of ops and the kernels: an op
declares its form, and its author writes no kernel. The element arithmetic inside a form
is an ``Expr``. Only fusion and lowering read forms.

A kind of reduction is a row of ``COMBINERS``, which every reader of a reduction looks up. A name
that is not in the table is an error wherever it is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Final, Literal

from staticgrad.errors import OpDefinitionError
from staticgrad.language.ir.expr import Expr
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import dataclass

Number = bool | int | float


@dataclass(frozen=True)
class Combiner:
    """The rule that combines the elements of a reduction into one."""

    kind: str
    combine: str
    horizontal: str
    rule: Literal["tree", "any"]
    kinds: str
    identity: Callable[[DType], Number]
    empty: Callable[[DType], Number]

    def is_ordered(self, dtype: DType) -> bool:
        """Return whether the bits of a result depend on the order of combination."""
        return self.rule == "tree" and dtype.is_float


def _least(dtype: DType) -> Number:
    if dtype.is_bool:
        return False
    if dtype.is_float:
        return float("-inf")
    return -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0


def _greatest(dtype: DType) -> Number:
    if dtype.is_bool:
        return True
    if dtype.is_float:
        return float("inf")
    return (1 << (dtype.bits - (dtype.kind == "i"))) - 1


def _all_bits(dtype: DType) -> Number:
    return -1 if dtype.kind == "i" else _greatest(dtype)


def _no_bits(dtype: DType) -> Number:
    return False if dtype.is_bool else 0


_KINDS: Final = (
    # x + -0.0 is x for every x, so a sum of -0.0 is -0.0.
    Combiner(
        "sum", "add", "hsum", "tree", "iuf",
        lambda dtype: -0.0 if dtype.is_float else 0, lambda dtype: 0.0 if dtype.is_float else 0,
    ),
    Combiner("max", "maximum", "hmax", "any", "biuf", _least, _least),
    Combiner("min", "minimum", "hmin", "any", "biuf", _greatest, _greatest),
    Combiner("and", "and", "hand", "any", "biu", _all_bits, _all_bits),
    Combiner("or", "or", "hor", "any", "biu", _no_bits, _no_bits),
    Combiner("xor", "xor", "hxor", "any", "biu", _no_bits, _no_bits),
)  # fmt: skip
#: Every kind of reduction by name.
COMBINERS: Final[dict[str, Combiner]] = {combiner.kind: combiner for combiner in _KINDS}


@dataclass(frozen=True)
class Leaf:
    """A leaf without computation: its value is bound from outside (input, parameter, constant)."""


@dataclass(frozen=True)
class Pointwise:
    """out[i] = scalar(x[i], y[i], ..., sizes..., i...): operands broadcast to the result's shape.

    ``scalar`` gets one Expr per operand, then one i64 Expr per entry of ``sizes``, then, if
    ``indexed``, one i64 Expr per axis of the result (the position).
    """

    scalar: Callable[..., Expr]
    sizes: tuple[Size, ...] = ()
    indexed: bool = False


@dataclass(frozen=True)
class AxisMap:
    """Index along one operand axis: start + step * (index along result axis ``source``).

    ``source`` None: the index is ``start``.
    """

    source: int | None
    start: Size = 0
    step: Size = 1


@dataclass(frozen=True)
class View:
    """out[i] = x[map(i)]: transpose, broadcast, slice, flip. Free: the reader changes its strides.

    One AxisMap per *operand* axis; a result axis that none names is a broadcast.
    """

    axes: tuple[AxisMap, ...]


@dataclass(frozen=True)
class Identity:
    """out = x, the very same value; further operands matter to derivatives alone. Free.

    ``materialized``: it is stored in memory until its last use.
    """

    materialized: bool = False


@dataclass(frozen=True)
class ReshapeForm:
    """The elements in C order under another shape: a view where strides allow it, else a copy."""


@dataclass(frozen=True)
class Reduce:
    """out = combine of x over ``axes`` (sorted, non-negative); ``kind`` is one of ``COMBINERS``."""

    kind: str
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.kind not in COMBINERS:
            kinds_text = ", ".join(COMBINERS)
            raise OpDefinitionError(
                f"{self.kind!r} is not a kind of reduction", hint=f"there are {kinds_text}"
            )

    @property
    def combiner(self) -> Combiner:
        """The rule that combines elements."""
        return COMBINERS[self.kind]


@dataclass(frozen=True)
class Contract:
    """out[..., i, j] = sum over k of a[..., i, k] * b[..., k, j]; batch axes broadcast.

    With ``transpose_a`` the operand is stored [..., k, i], with ``transpose_b`` [..., j, k]; with
    ``panels`` b is [p, k, c] for j = p * c columns, and there are no batch axes. ``factors``: the
    dtype in which both are multiplied (``Gemm.factors``).
    """

    transpose_a: bool
    transpose_b: bool
    panels: bool = False
    factors: DType | None = None


@dataclass(frozen=True)
class Gather:
    """out[p, i, q] = x[p, indices[i], q], indices in place of ``axis``; checked.

    Negatives wrap, or (``wrap`` False) raise. ``inside``: all are known to be from 0 on and inside
    of the axis, so nothing is checked.
    """

    axis: int
    wrap: bool = True
    inside: bool = False


@dataclass(frozen=True)
class Scatter:
    """out[p, indices[i], q] combines x[p, i, q] in index order.

    Elements without an index get ``empty`` of ``kind``, one of ``COMBINERS``. Operands: x,
    indices. Negative indices wrap, or (``wrap`` False) raise; out of range raises.

    Several ``parts``: the indices are a vector, which is cut into parts of equal lengths but for
    the last ones; out[p, part, indices[i], q] combines those of one part. ``inside``: as of
    ``Gather``.
    """

    axis: int
    wrap: bool = True
    kind: str = "sum"
    parts: int = 1
    inside: bool = False

    @property
    def target(self) -> int:
        """The axis of the result along which the indices are positions."""
        return self.axis + (self.parts > 1)

    @property
    def combiner(self) -> Combiner:
        """The rule that combines elements."""
        return COMBINERS[self.kind]


@dataclass(frozen=True)
class ScatterOnto:
    """out = base; then out[p, indices[i], q] = x[p, i, q], in index order: the last one counts.

    Operands: x, indices, base. Negative indices wrap, out of range raises; ``inside``: as of
    ``Gather``.
    """

    axis: int
    wrap: bool = True
    inside: bool = False


@dataclass(frozen=True)
class GatherAlong:
    """out[p, i, q] = x[p, indices[p, i, q], q], the index along ``axis``; checked.

    x and indices have equal sizes on all other axes. Negatives wrap, or (``wrap`` False: class
    labels) raise. ``inside``: as of ``Gather``.
    """

    axis: int
    wrap: bool = True
    inside: bool = False


@dataclass(frozen=True)
class ScatterAlong:
    """Zeros of the result's shape; then out[p, indices[p, i, q], q] += x[p, i, q], in index order.

    Operands: x, indices, of one shape. Negative indices wrap, or (``wrap`` False) raise; out of
    range raises. ``inside``: as of ``Gather``.
    """

    axis: int
    wrap: bool = True
    inside: bool = False


@dataclass(frozen=True)
class Scan:
    """out[i] = x[0] combined with ... x[i] along ``axis``, in that order: ``kind`` is sum or prod.

    Kind linear, of operands a and b: out[0] = b[0], then out[i] = a[i] * out[i - 1] + b[i].
    """

    kind: str
    axis: int


@dataclass(frozen=True)
class SortForm:
    """Two results: the elements along ``axis`` in the order of their keys, and their positions.

    ``key`` gives the i32 or i64 Expr of an element; the smallest comes first, of equal ones the one
    that stands first. The results hold the first ``keep`` along the axis; with ``picks`` those at
    the indices in the order that a second operand of the results' shape holds.
    """

    axis: int
    keep: Size
    key: Callable[[Expr], Expr]
    picks: bool = False


@dataclass(frozen=True)
class SearchForm:
    """out[i] = number of elements of the vector a that are < x[i], or (``right``) <= x[i].

    Operands: a, in ascending order, and x, of the same dtype, not bool. NaN is above all.
    """

    right: bool


@dataclass(frozen=True)
class Region:
    """The position of an operand in the result: per axis, start + step * index."""

    starts: tuple[Size, ...]
    steps: tuple[Size, ...]


@dataclass(frozen=True)
class Assemble:
    """The result put together from operands, a Region each; ``fill`` elsewhere (None: covered)."""

    regions: tuple[Region, ...]
    fill: bool | int | float | None = None


#: Element types and sizes of the arrays that a routine works in.
Scratch = tuple[tuple[DType, Size], ...]


@dataclass(frozen=True)
class CallForm:
    """The results of a routine: code that no kernel describes, as of a library or of a user.

    ``routine`` is the name under which its code is registered
    (``staticgrad.native.libraries.lapack``). It gets the operands and the results in C order,
    then ``scratch`` (element types and sizes, which hold nothing before and after a call) and,
    where it ``checks``, two words for what failed; and the ``sizes`` as integers. The ``total``
    iterations are independent of each other; one takes about as long as so many ``flops``.
    ``alone``: it is called once, for all of them, on the thread that runs the program.
    ``portable_scratch``: that of its portable variant, if another (``routines.choose_routine``).
    """

    routine: str  # "family:rest"
    sizes: tuple[Size, ...] = ()
    scratch: Scratch = ()
    checks: bool = False
    total: Size = 1
    flops: Size = 0
    alone: bool = False
    portable_scratch: Scratch | None = None


@dataclass(frozen=True)
class BodyForm:
    """The op runs graphs of its own, ``Op.bodies``, whose nodes have forms.

    A ``loop`` runs its only body ``iterations`` times, a ``while`` a test and a body at most that
    often (None: as long as the test holds), a ``branch`` one of its bodies, by its first operand.
    Of a loop the first operands are so many ``carries``, then so many ``slices``, of which each
    iteration takes a row, with ``reverse`` the last one first. Of carries that are ``logged`` the
    result has a row for what each iteration begins with, and one for what the last one ends with.
    """

    kind: Literal["loop", "while", "branch"]
    iterations: Size | None = 1
    carries: int = 0
    slices: int = 0
    reverse: bool = False
    logged: tuple[int, ...] = ()


@dataclass(frozen=True)
class WindowAxis:
    """Windows along one axis: index step * y + dilation * k - before of the image is tap k of y.

    There are ``windows`` of ``taps`` each, over ``image`` elements; beyond them lies the border.
    """

    step: int
    dilation: int
    before: Size
    taps: Size
    image: Size
    windows: Size

    @property
    def reach(self) -> Size:
        """Elements from the first to the last tap of a window."""
        return self.dilation * (self.taps - 1)

    @property
    def common_step(self) -> int:
        """Elements of the image less than so far apart have no window in common, nor have taps."""
        return gcd(self.step, self.dilation)

    @property
    def residues(self) -> int:
        """The number of distinct positions of taps modulo ``step``.

        Taps that far apart read the same element, in different windows.
        """
        return self.step // self.common_step


@dataclass(frozen=True)
class WindowProduct:
    """Two of image x [n, g * c, image...], filter w [g * o, c, taps...] and windows y
    [n, g * o, windows...] multiplied and added up over what the third, the ``result``, does not
    have: one term for each (n, g, c, o, window, tap) whose index lies in the image.

    Operands stand in the order x, y, w, but that w comes before y where both are there: (x, w)
    gives y, (y, w) x, and (x, y) w. ``tiles``: w are the combined taps of tiles of two by two.
    ``parts``: so many w are added up later, each of as many images after each other.
    ``factors``: the dtype in which filters (a) and images (b) are multiplied (``Gemm.factors``).
    """

    result: Literal["windows", "image", "filter"]
    groups: int
    axes: tuple[WindowAxis, ...]
    tiles: bool = False
    parts: int = 0
    factors: DType | None = None

    @property
    def is_pointwise(self) -> bool:
        """True if the windows are the elements of the image."""
        return all(
            axis.step == axis.taps == 1 and axis.before == 0 and axis.image == axis.windows
            for axis in self.axes
        )

    @property
    def lies_in_strips(self) -> bool:
        """True if the windows are adjacent and larger than one element."""
        next_to_each_other = all(axis.step == 1 for axis in self.axes)
        is_wide = any(axis.taps != 1 for axis in self.axes)
        return self.result != "filter" and next_to_each_other and is_wide


@dataclass(frozen=True)
class WindowReduce:
    """y[..., window] of the elements of x [..., image] in it, over the last axes.

    ``kind``: their sum; the max; the place of the first max, taps flattened in C order; or take,
    the element at the place that a second operand says. ``unfold``: all of them, as further axes
    [..., taps..., windows...]. Outside of the image there are zeros, which never are the max.
    """

    kind: Literal["sum", "max", "place", "take", "unfold"]
    axes: tuple[WindowAxis, ...]


@dataclass(frozen=True)
class WindowSpread:
    """``WindowReduce`` transposed: x[..., image] is the sum of what each tap over it gives.

    ``kind`` fold: of y [..., taps..., windows...] the element; put: of y [..., windows...] where
    the second operand says that place, else 0. Taps of equal k // step, per axis, are one term.
    """

    kind: Literal["fold", "put"]
    axes: tuple[WindowAxis, ...]


Form = (
    Leaf
    | Pointwise
    | View
    | Identity
    | ReshapeForm
    | Reduce
    | Contract
    | Gather
    | GatherAlong
    | Scatter
    | ScatterOnto
    | ScatterAlong
    | Scan
    | SortForm
    | SearchForm
    | Assemble
    | CallForm
    | BodyForm
    | WindowProduct
    | WindowReduce
    | WindowSpread
)
#: The forms whose kernels read windows of their operands.
WINDOWED = WindowProduct | WindowReduce | WindowSpread
#: The forms whose results are elements of the operands as they are.
MOVES = View | Identity | ReshapeForm | Gather | GatherAlong | ScatterOnto | Assemble
#: The forms that look places up in an operand of indices, along ``axis``.
INDEXED = Gather | GatherAlong | Scatter | ScatterOnto | ScatterAlong
