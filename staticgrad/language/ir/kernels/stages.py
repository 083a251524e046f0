"""The stages of a kernel: loops over scalar expressions, and statements that store their values.

A stage runs once for each position of the kernel's outer axes. Within one, every distinct Expr
object is evaluated once, where the first statement needs it.

Reductions of a row may search for the least or largest position at which a condition holds. Most
vectors of a row have no such position, and behind the first one no other is the least. So writers
compare positions only where there are some, and then leave the row (``nest.lower``).

Products are cut into iterations by ``gemm_iterations``: chunks of rows times groups of panels of
columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

from staticgrad.language.ir.expr import Access, Expr, postorder
from staticgrad.language.ir.summation import COLUMN_BLOCK, GROUPS, SHORTEST_GROUP
from staticgrad.language.types.dim import Size, kept_by_sizes, maximum, minimum
from staticgrad.language.types.dtype import BF16, I64, DType
from staticgrad.support.records import dataclass

Extent = str | int  # an integer argument's name, or a literal
Mode = Literal["in", "out", "inout", "scratch", "check"]

#: The loop that runs over the lanes of vectors.
LANES: Final = "j"
#: Levels of a group's binary counter, at most: enough for 2**34 rows.
COLUMN_LEVELS: Final = 24
#: The largest prefetch distance.
FARTHEST: Final = 1 << 20
#: Bytes of a vector in a streaming store, at least.
HALF_LINE: Final = 32
#: Rows of C per iteration of a product over several loops.
GEMM_ROWS: Final = 96
#: The same of a product that is fed, at most: each chunk is fed anew.
FED_ROWS: Final = 320
#: Positions of loops of literal extents, all together, up to which code is written for each.
FEW: Final = 16
#: Elements that a Sort that keeps a few collects, beyond twice as many as it keeps, before it puts
#: them in order. The results do not depend on it.
ORDER_ROOM: Final = 32
#: Elements that a Sort with picks samples of a row, at most.
SAMPLE: Final = 4096
#: Elements of a row up to which a Sort with picks collects and sorts all of them: fewer are not
#: worth a sample.
COLLECTED: Final = 256
#: The same for several picks, times their square. Nanoseconds per element of a sort and of
#: selections (Zen 3): with 3 picks of 300 elements 12 and 12, with 5 of 700 13 and 14, with 7 of
#: 1,500 15 and 16, with 11 of 4,000 17 and 19.
COLLECTED_FOR_PAIRS: Final = 32
#: Room of a Sort with picks beyond the elements that it may collect: a vector that is stored whole.
PICK_SLACK: Final = 64


def is_own(mode: Mode) -> bool:
    """Return whether operands of this mode are private to a worker: an outer iteration first writes
    what it reads there, or the smallest of the workers' notes is taken."""
    return mode in ("scratch", "check")


@dataclass(frozen=True)
class Operand:
    """Memory that a kernel touches. ``mode``: in, out, inout, scratch (uninitialised, own), check.

    A ``check`` operand is two i64 words: the smallest failing position so far (or -1), and the
    index found there. Every worker has scratch and check words of its own.
    """

    name: str
    dtype: DType
    mode: Mode

    @property
    def is_own(self) -> bool:
        """True if each worker has its own memory for it."""
        return is_own(self.mode)


@dataclass(frozen=True)
class Axis:
    """A loop: its name and number of iterations.

    ``past`` and ``first`` name numbers (i64) that an earlier stage keeps: positions from ``first``
    on and before ``past`` alone are taken. A row of a stage may end so, its loop over a product's
    rows or columns, the first of its inner loops, a loop of stages; a product's only inner loop may
    also begin so.
    """

    name: str
    extent: Extent
    past: str = ""
    first: str = ""

    @property
    def limits(self) -> tuple[str, ...]:
        """The names of the numbers that it takes."""
        return tuple(name for name in (self.first, self.past) if name)


@dataclass(frozen=True)
class Store:
    """operand[access] = value; ``indices`` scatter.

    ``combine``: one of ``COMBINERS``, by which the value is joined with what is there.
    """

    access: Access
    value: Expr
    indices: tuple[Expr, ...] = ()
    combine: str = ""


@dataclass(frozen=True)
class Accumulate:
    """Combine ``value`` over the stage's loop into the result ``name``; kinds: ``COMBINERS``.

    Sums follow ``ir/summation.py``. With ``blocks`` each value is the sum of some blocks of a row,
    and they are combined by the counter rule alone.
    """

    name: str
    kind: str
    value: Expr
    blocks: bool = False


@dataclass(frozen=True)
class ColumnAccumulate:
    """partials[group, j] = ``value`` combined over the rows of a group; kinds: ``COMBINERS``.

    ``partials`` has a row of the loop's extent for each outer iteration. A ``Columns`` stage over
    them gives the bits of one over all rows, since it adds so few in their order. ``scratch`` is an
    operand of ``column_words`` elements.
    """

    kind: str
    value: Expr
    partials: str
    scratch: str


@dataclass(frozen=True)
class Keep:
    """name = ``value``: a number of the row, which later stages read by a ref."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Check:
    """name = index, checked and clamped to [0, extent); failures are noted.

    With ``wrap`` a negative index counts from the end; without, it fails. ``position`` (i64)
    identifies the element in messages; the smallest failing one is kept.
    """

    name: str
    index: Expr
    extent: Extent
    position: Expr
    operand: str
    wrap: bool = True


@dataclass(frozen=True)
class Search:
    """name = how many of the first ``extent`` elements of an operand are below ``value``.

    With ``right`` also those that equal it. The elements ascend, ``stride`` apart, from the
    operand's first on; NaN is above all numbers.
    """

    name: str
    value: Expr
    operand: str
    stride: Extent
    extent: Extent
    right: bool = False

    @property
    def access(self) -> Access:
        """The access that it reads, at a position that it finds itself."""
        return Access(self.operand, (), (self.stride,))


@dataclass(frozen=True)
class Order:
    """The positions along the stage's first loop by ascending ``key`` (i32 or i64), stable.

    ``name`` is a ref in the stage's stores: the position of the j-th. ``scratch`` is an i64 operand
    of ``order_words`` elements.
    """

    name: str
    key: Expr
    scratch: str


@dataclass(frozen=True)
class Pick:
    """The index in the order (i64) of the element that a Sort keeps at j, clamped to the row."""

    place: Expr


@dataclass(frozen=True)
class Carry:
    """A value that a Loop carries: name = value, before the first iteration or after one."""

    name: str
    value: Expr


Statement = Store | Accumulate | ColumnAccumulate | Keep | Check | Search | Order | Pick | Carry


@dataclass(frozen=True)
class Map:
    """for rows...: for j in axis: statements.

    Accumulations run over j and are refs in later stages; a Map with rows has none.
    """

    axis: Axis
    body: tuple[Statement, ...]
    rows: tuple[Axis, ...] = ()

    @property
    def loops(self) -> tuple[Axis, ...]:
        """Outermost first."""
        return (*self.rows, self.axis)


@dataclass(frozen=True)
class Columns:
    """for j in axis: for rows...: accumulations; then stores. Accumulations run over the rows.

    The rows are flattened in C order; their sum follows the column rule of ``ir/summation.py``, or
    (``in_lanes``) the lane rule: what is summed is a row that lies across memory.
    """

    axis: Axis
    rows: tuple[Axis, ...]
    body: tuple[Accumulate, ...]
    stores: tuple[Store, ...]
    in_lanes: bool = False


@dataclass(frozen=True)
class Scalar:
    """Statements once per outer iteration; refs name accumulations of earlier stages."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Gemm:
    """ref("acc") = sum over k of a[i, k] * b[k, j]; then the stores, at (i, j), vector over j.

    Each of i, j and k is one loop or several, flattened in C order; the innermost ones are called
    i, j and k. ``a`` moves along those of i and k, ``b`` along those of k and j, both also along
    the loops around the stage. The sum is one chain per ``GEMM_BLOCK`` of the flattened k.

    ``fed``: maps that run at each position of the first loop of k, before what is multiplied there;
    they move with it, and ``a`` and ``b`` read what they store.

    ``onto``: an access at (i, j), from whose elements the chains go on instead of from zero. A sum
    over the iterations of a Loop is so one chain. There are fewer k than ``GEMM_BLOCK`` then.

    ``factors``: bfloat16, to which both factors are rounded before they are multiplied. Subnormal
    numbers are zero then: those of the factors, and those that a chain comes to. ``u8`` or ``i8``:
    both factors are int32 words of four integers of 8 bits, whose products are added: those of a
    are of this dtype, those of b of the other one. ``u32``: both are float32 numbers whose bits are
    two bfloat16 factors, of which that in the upper half is multiplied first.
    """

    i: tuple[Axis, ...]
    j: tuple[Axis, ...]
    k: tuple[Axis, ...]
    a: Access
    b: Access
    stores: tuple[Store, ...]
    fed: tuple[Map, ...] = ()
    onto: Access | None = None
    factors: DType | None = None

    @property
    def rounds(self) -> bool:
        """True if both factors are rounded before they are multiplied."""
        return self.factors is BF16

    @property
    def by_first(self) -> bool:
        """True if the first of several loops of k runs around tiles of all results."""
        return bool(self.fed or (len(self.k) > 1 and self.k[0].past))

    @property
    def plain(self) -> bool:
        """True if it is a product of matrices: one loop each, no positions, chains from zero."""
        single = len(self.i) == len(self.j) == len(self.k) == 1
        return single and not (self.a.positions or self.b.positions or self.onto)

    @property
    def reads(self) -> tuple[tuple[Access, tuple[Axis, ...]], ...]:
        """Accesses that it reads, besides those of its stores, with the loops that move them."""
        factors = (self.a, (*self.i, *self.k)), (self.b, (*self.k, *self.j))
        return factors if self.onto is None else (*factors, (self.onto, (*self.i, *self.j)))

    @property
    def loops(self) -> tuple[Axis, ...]:
        """All loops of the stage."""
        return (*self.i, *self.j, *self.k)


@dataclass(frozen=True)
class Sort:
    """for j in axis: the order of the keys; then, for j in sorted_axis: the stores, in that order.

    ``sorted_axis`` has the same extent, or a smaller one: then only that many keys are put in
    order. With ``picks`` (one Pick, over ``sorted_axis``) those are kept which the order has at the
    picked indices, and nothing else is put in order (selection).
    """

    axis: Axis
    sorted_axis: Axis
    order: Order
    stores: tuple[Store, ...]
    picks: tuple[Pick, ...] = ()

    @property
    def sorts_all(self) -> bool:
        """True if all elements are put in order."""
        return self.axis.extent == self.sorted_axis.extent and not self.picks


@dataclass(frozen=True)
class Loop:
    """name = value for first; for axis: the stages, then name = value for following, all at once.

    One iteration after the other, in each outer iteration. What is carried, one element each, is a
    ref in the stages, in what follows an iteration and in the stages behind the loop; results of
    its stages are refs inside of it only. Accesses and positions move with the loop.
    ``going``: the carry (bool) that holds before each iteration that is made; the first that finds
    it false ends the loop.
    """

    axis: Axis
    first: tuple[Carry, ...]
    stages: tuple[Stage, ...]
    following: tuple[Carry, ...]
    going: str = ""


Stage = Map | Columns | Scalar | Gemm | Sort | Loop
#: How deep loops of stages may nest.
MOST_NESTED: Final = 8


def parts(stage: Stage) -> tuple[tuple[tuple[Statement, ...], tuple[Axis, ...]], ...]:
    """Split a kernel stage's statements into parts by the loops of the stage around them.

    What a Loop runs, and what feeds a Gemm, are stages of their own.
    """
    match stage:
        case Map():
            return ((stage.body, stage.loops),)
        case Columns(axis=axis):
            return (stage.body, (axis, *stage.rows)), (stage.stores, (axis,))
        case Scalar():
            return ((stage.body, ()),)
        case Gemm():
            return ((stage.stores, (*stage.i, *stage.j)),)
        case Sort():
            picks = ((stage.picks, (stage.sorted_axis,)),) if stage.picks else ()
            return ((stage.order,), (stage.axis,)), *picks, (stage.stores, (stage.sorted_axis,))
        case Loop():
            return (stage.first, ()), (stage.following, (stage.axis,))


def statements(stage: Stage) -> tuple[Statement, ...]:
    """The statements of a stage, in order; those of a Loop's own stages are not its."""
    return tuple([statement for body, _ in parts(stage) for statement in body])


def loops_of(stage: Stage) -> tuple[Axis, ...]:
    """Return all loops of a stage, without those of a Loop's own stages."""
    if isinstance(stage, Gemm):
        return stage.loops
    return tuple(dict.fromkeys(axis for _, loops in parts(stage) for axis in loops))


def nested_stages(
    stages: Iterable[Stage], around: tuple[Axis, ...] = ()
) -> Iterator[tuple[Stage, tuple[Axis, ...]]]:
    """Yield every stage of a kernel, nested ones included, with the loops around it."""
    for stage in stages:
        yield stage, around
        if isinstance(stage, Loop):
            yield from nested_stages(stage.stages, (*around, stage.axis))
        elif isinstance(stage, Gemm) and stage.fed:
            yield from nested_stages(stage.fed, (*around, stage.k[0]))


def small(axes: Iterable[Axis]) -> bool:
    """Return whether loops are few and short enough for all sizes to be fully unrolled.

    Not for a loop that may end early: skipped positions would still be computed.
    """
    count = 1
    for axis in axes:
        if isinstance(axis.extent, str) or axis.past:
            return False
        count *= axis.extent
    return count <= FEW


def roots(statement: Statement) -> tuple[Expr, ...]:
    """Return the scalar expressions that a kernel statement evaluates."""
    if isinstance(statement, Store):
        return (*statement.indices, statement.value)
    if isinstance(statement, Order):
        return (statement.key,)
    if isinstance(statement, Pick):
        return (statement.place,)
    if isinstance(statement, Check):
        return (statement.index, statement.position)
    return (statement.value,)


def gemm_chunk(stage: Gemm) -> int:
    """Return the rows of an iteration of a product over several loops."""
    return FED_ROWS if stage.by_first else GEMM_ROWS


def panel_columns(dtype: DType) -> int:
    """Columns of a panel of a product."""
    return 2 * dtype.lanes


def operands_read(stages: Iterable[Stage]) -> set[str]:
    """Return the names of the operands that kernel stages load from, search or multiply."""
    names: set[str] = set()
    for stage, _ in nested_stages(stages):
        if isinstance(stage, Gemm):
            names |= {access.operand for access, _ in stage.reads}
        names |= {s.access.operand for s in statements(stage) if isinstance(s, Search)}
        evaluated = postorder([expr for s in statements(stage) for expr in roots(s)])
        names |= {e.attribute.operand for e in evaluated if isinstance(e.attribute, Access)}
    return names


def order_words(key: DType, extent: Size, sorted_extent: Size, picks: bool = False) -> Size:
    """Elements of the scratch of an Order: twice its room, a word each, or two for wide keys.

    The room is the whole axis, or (where fewer are kept) what is kept, twice, and some more. With
    picks it is room for a sample (twice) and for a part of the row (thrice), and there is a word
    for each pick.
    """
    words = 2 * (2 if keys_apart(key) else 1)
    if picks:
        sample: Size
        part: Size
        sample, part = pick_rooms(extent, collected_for(sorted_extent, maximum), minimum)
        return sorted_extent + 2 * sample + PICK_SLACK + words // 2 * 3 * part
    room = extent if sorted_extent == extent else 2 * sorted_extent + ORDER_ROOM
    return words * room


def collected_for(picks: Any, most: Callable[[Any, Any], Any]) -> Any:
    """Return up to which size a Sort collects rows whole; ``most`` as ``least`` in pick_rooms."""
    return most(COLLECTED, picks * picks * COLLECTED_FOR_PAIRS)


def pick_rooms(extent: Any, collected: Any, least: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """Return the elements that a Sort with picks has room for: of a sample, and of a part of a row.

    ``collected`` is the size up to which rows are collected whole; ``least`` gives the smaller one
    of two sizes, or of two words of a nest.
    """
    part = extent // 8 + COLLECTED + collected
    return least(extent, SAMPLE), least(extent, part) + PICK_SLACK


def keys_apart(key: DType) -> bool:
    """Return whether the keys of an Order are too wide to share a word with their positions."""
    return 2 * key.bits > I64.bits


@kept_by_sizes
def group_rows(rows: Size) -> Size:
    """Rows of a group, of which the last one may have fewer: ``summation.group_length``."""
    return maximum(SHORTEST_GROUP, (rows + (GROUPS - 1)) // GROUPS)


@kept_by_sizes
def column_words(extent: Size, rows: Size, lanes: int) -> Size:
    """Return the scratch elements of a column accumulation: a row of accumulators for each level.

    ``rows`` are all that are grouped; the blocks of one group are counted in binary.
    """
    blocks = (group_rows(rows) + (COLUMN_BLOCK - 1)) // COLUMN_BLOCK
    levels = blocks + COLUMN_LEVELS - maximum(blocks, COLUMN_LEVELS)
    return (levels + 1) * ((extent + (lanes - 1)) // lanes * lanes)


#: Rows of C per iteration of a product of matrices, at most, and where there would be too few
#: iterations to share.
CHUNK: Final = 256
LOW_CHUNK: Final = 128
#: Columns of C per iteration, at most, and for each chunk of rows that there is: packing a part of
#: one factor costs as much as a few rows or columns of the result.
GROUP: Final = 256
GROUP_OF_CHUNK: Final = 64
#: Panels of columns per iteration where the second factor is read in the order in which it lies.
PANELS: Final = 4
#: Iterations of such a product, if it has the panels: who is last keeps others waiting for one.
FEWEST: Final = 12
#: Rows up to which the second factor is read in the order in which it lies; and where it is
#: transposed first, or has so few terms that it is near.
STREAMED: Final = 8
LONE: Final = 2


def gemm_iterations(stage: Gemm, dtype: DType, rows: Size, columns: Size) -> Size:
    """Return the iterations of a GEMM stage: chunks of rows times groups of column panels.

    The bits of an element do not depend on it. Chunks are high and groups wide, since each chunk
    packs its panels and each group its rows, as long as workers have enough to share. Where rows
    are so few that the other factor is read as it lies, iterations take long runs of it.
    """
    if stage.plain:
        return _iterations(rows, columns, dtype, streamed_rows(stage), high_from(stage))
    chunk = gemm_chunk(stage)
    panels: Size = panel_count(columns, dtype)
    return ((rows + (chunk - 1)) // chunk) * panels


def streamed_rows(stage: Gemm) -> int:
    """Rows up to which the second factor of a product of matrices is read as it lies."""
    return STREAMED if stage.b.stride(LANES) == 1 else LONE


def high_from(stage: Gemm) -> int:
    """Chunks of rows plus panels of columns from which chunks of a product of matrices are high.

    Groups of panels are wide first where rows lie across memory, since each group packs them.
    """
    across = stage.a.stride("i") == 1 != stage.a.stride("k")
    return 3 * FEWEST if across else FEWEST


@kept_by_sizes
def _iterations(rows: Size, columns: Size, dtype: DType, streamed: int, high: int) -> Size:
    panels: Size = panel_count(columns, dtype)
    chunks: Size = chunk_count(rows, panels, high, minimum, maximum)
    group: Size = group_panels(rows, panels, chunks, dtype, streamed, minimum, maximum)
    return chunks * ((panels + (group - 1)) // group)


def panel_count(columns: Any, dtype: DType) -> Any:
    """Return the number of packed panels of a matrix product's columns.

    Like ``chunk_count`` and ``group_panels`` it computes with whatever has arithmetic: sizes, words
    of a nest, or text.
    """
    width = panel_columns(dtype)
    return (columns + (width - 1)) // width


def chunk_count(
    rows: Any, panels: Any, high: int, least: Callable[..., Any], most: Callable[..., Any]
) -> Any:
    """Return into how many chunks the rows of a matrix product are divided for workers.

    ``least`` and ``most`` return the smaller and the larger of two numbers.
    """
    low = least((rows + (LOW_CHUNK - 1)) // LOW_CHUNK, high - panels)
    return most((rows + (CHUNK - 1)) // CHUNK, low)


def group_panels(
    rows: Any,
    panels: Any,
    chunks: Any,
    dtype: DType,
    streamed: int,
    least: Callable[..., Any],
    most: Callable[..., Any],
) -> Any:
    """Return how many column panels of a matrix product one group of iterations covers."""
    width = panel_columns(dtype)
    widest = least(chunks * (GROUP_OF_CHUNK // width), GROUP // width)
    shared = least(widest, chunks * panels // FEWEST)
    few = least(PANELS * (streamed + 1 - rows), PANELS)
    return most(most(shared, few), 1)


#: Reductions in which what is joined twice counts once.
_EXTREMES: Final = ("min", "max")


def is_found(statement: Accumulate) -> bool:
    """Return whether a reduction finds the least or largest position where a condition holds."""
    value = statement.value
    if statement.kind not in _EXTREMES or statement.blocks or value.op != "select":
        return False
    return value.args[1].op == "index" and value.args[1].attribute == LANES


def is_first(statement: Statement) -> bool:
    """Return whether a reduction finds the first position, so that later ones do not matter."""
    return isinstance(statement, Accumulate) and statement.kind == "min" and is_found(statement)


def may_leave(stage: Map) -> bool:
    """Return whether the loop of a stage may end when all its searches have succeeded."""
    return not stage.rows and all(map(is_first, stage.body))
