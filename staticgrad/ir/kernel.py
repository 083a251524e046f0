"""The Kernel form: an outer parallel loop over a straight line of stages, generic in every size.

A kernel names its operands ``p0, p1, ...`` and integer arguments ``n0, n1, ...`` (extents and
strides, bound at each step), so that equal computations at other shapes are one kernel, compiled
once. Renderers translate it; this file knows neither graphs nor buffers.

One call runs outer iterations ``[begin, end)``. What is counted is ``Kernel.outer``:

- ``axes``: the outer axes, flattened in C order; every stage runs once per iteration.
- ``lanes``: no outer axes, and the vector axis of the single stage itself is cut (elements).
- ``tiles``: a Gemm; iterations are (outer axes..., row chunk, column panel), flattened.
- ``groups``: the last ``grouped`` outer axes, flattened, are *rows*; an iteration is a group of
  them, as the column rule of ``ir/summation.py`` cuts them, and runs every stage for each row.

Within a stage every distinct Expr object is evaluated once, where the first statement needs it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernel_structure import structure
from staticgrad.ir.summation import COLUMN_BLOCK, GROUPS, SHORTEST_GROUP
from staticgrad.kept import cached_property
from staticgrad.types.dim import Size, maximum
from staticgrad.types.dtype import BOOL, I64, DType
from staticgrad.types.size_hints import hint_value

Extent = str | int  # an integer argument's name, or a literal
Mode = Literal["in", "out", "inout", "scratch", "check"]

#: Rows of C per Gemm iteration. Part of the cut into groups only, as the columns of a panel: the
#: bits of an element do not depend on them.
GEMM_ROWS: Final = 96
#: Elements that one group of outer iterations covers, so that claiming a group costs nothing.
GRAIN_ELEMENTS: Final = 16384
#: A Gemm element is one FMA chain per this many k; partial results are added in ascending order.
GEMM_BLOCK: Final = 4096
#: Levels of a group's binary counter, at most: enough for 2**34 rows.
COLUMN_LEVELS: Final = 24
#: Elements that a Sort that keeps a few collects, beyond twice as many as it keeps, before it puts
#: them in order. The results do not depend on it.
ORDER_ROOM: Final = 32


@dataclass(frozen=True)
class Operand:
    """Memory that a kernel touches. ``mode``: in, out, inout, scratch (uninitialised, own), check.

    A ``check`` operand is two i64 words: the smallest failing position so far (or -1), and the
    index found there.
    """

    name: str
    dtype: DType
    mode: Mode


@dataclass(frozen=True)
class Axis:
    """A loop: its name and number of iterations."""

    name: str
    extent: Extent


@dataclass(frozen=True)
class Store:
    """operand[access] = value; with ``add``, operand[access] += value. ``indices`` scatter."""

    access: Access
    value: Expr
    indices: tuple[Expr, ...] = ()
    add: bool = False


@dataclass(frozen=True)
class Accumulate:
    """Combine ``value`` over the stage's loop into the result ``name``; kinds: ``COMBINERS``.

    Sums follow ``ir/summation.py``.
    """

    name: str
    kind: str
    value: Expr


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
        """Where it reads, at a position that it finds itself."""
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


Statement = Store | Accumulate | ColumnAccumulate | Keep | Check | Search | Order


@dataclass(frozen=True)
class Map:
    """for j in axis: statements. Accumulations run over j and are refs in later stages."""

    axis: Axis
    body: tuple[Statement, ...]


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

    ``a`` strides over (i, k), ``b`` over (k, j), both also over the kernel's outer axes.
    """

    i: Axis
    j: Axis
    k: Axis
    a: Access
    b: Access
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Sort:
    """for j in axis: the order of the keys; then, for j in kept: the stores, in that order.

    ``kept`` is the same extent, or a smaller one: then no more than that many are ever in order.
    """

    axis: Axis
    kept: Axis
    order: Order
    stores: tuple[Store, ...]

    @property
    def whole(self) -> bool:
        """Whether everything is kept."""
        return self.axis.extent == self.kept.extent


Stage = Map | Columns | Scalar | Gemm | Sort


@dataclass(frozen=True, eq=False)
class Kernel:
    """Operands, integer arguments, outer axes, stages. Kernels of one text are equal."""

    operands: tuple[Operand, ...]
    arguments: tuple[str, ...]
    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]
    serial: bool = False  # iterations run in order, in one group (scatter with duplicates)
    grouped: int = 0  # of the outer axes the last ones, whose rows are taken in groups

    @cached_property
    def text(self) -> str:
        """The canonical text."""
        from staticgrad.ir.kernel_text import print_kernel

        return print_kernel(self)

    @cached_property
    def key(self) -> Hashable:
        """What kernels are compared by: equal where the texts are, and quicker to make."""
        return structure(self, Statement)

    @cached_property
    def _hash(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Kernel) and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def outer(self) -> Literal["axes", "lanes", "tiles", "groups"]:
        """What one outer iteration is; see the module."""
        first = self.stages[0]
        if self.grouped:
            return "groups"
        if isinstance(first, Gemm):
            return "tiles"
        if self.axes or len(self.stages) > 1 or self.serial:
            return "axes"
        accumulates = isinstance(first, Map) and any(isinstance(s, Accumulate) for s in first.body)
        return "axes" if accumulates or isinstance(first, Scalar | Sort) else "lanes"

    @cached_property
    def lanes(self) -> int:
        """Vector width in elements: that of the narrowest elements, bools and positions aside."""
        found = [o.dtype for o in self.operands if o.mode not in ("check", "scratch")]
        found += [e.dtype for e in postorder(self.expressions) if e.op not in ("index", "size")]
        return max((dtype.lanes for dtype in found if not dtype.is_bool), default=BOOL.lanes)

    @cached_property
    def expressions(self) -> tuple[Expr, ...]:
        """Every root expression, in statement order."""
        return tuple(e for stage in self.stages for s in statements(stage) for e in roots(s))

    @cached_property
    def in_place(self) -> frozenset[tuple[str, str]]:
        """Pairs (out, in) of operands that may share bytes: each element is read only where, and
        before, it is written."""
        return frozenset(_in_place_pairs(self))

    def iterations(self, arguments: Sequence[Size]) -> Size:
        """How many outer iterations there are where the integer arguments have these values."""
        values = dict(zip(self.arguments, arguments, strict=True))
        first = self.stages[0]
        if self.outer == "lanes":
            assert isinstance(first, Map | Columns)
            return _extent(first.axis, values)
        apart = len(self.axes) - self.grouped
        count = prod((_extent(axis, values) for axis in self.axes[:apart]), start=1)
        if self.grouped:
            rows = self.rows(arguments)
            length = group_rows(rows)
            count = count * ((rows + (length - 1)) // length)
        if isinstance(first, Gemm):
            columns = gemm_columns(self.operand(first.a.operand).dtype)
            count = count * ((_extent(first.i, values) + (GEMM_ROWS - 1)) // GEMM_ROWS)
            count = count * ((_extent(first.j, values) + (columns - 1)) // columns)
        return count

    def grain(self, arguments: Sequence[Size]) -> int:
        """Iterations of one group, by the hints of the sizes that the arguments have.

        A tile is a group of its own, and so is a group of rows. Iterations that run in order are
        counted as one element each.
        """
        first = self.stages[0]
        if self.outer in ("tiles", "groups"):
            return 1
        if self.outer == "lanes" or self.serial or not isinstance(first, Map | Columns | Sort):
            return GRAIN_ELEMENTS
        values = dict(zip(self.arguments, arguments, strict=True))
        return max(1, GRAIN_ELEMENTS // max(1, hint_value(_extent(first.axis, values))))

    def rows(self, arguments: Sequence[Size]) -> Size:
        """How many rows the grouped axes have where the integer arguments have these values."""
        values = dict(zip(self.arguments, arguments, strict=True))
        axes = self.axes[len(self.axes) - self.grouped :]
        return prod((_extent(axis, values) for axis in axes), start=1)

    def room(self, arguments: Sequence[Size]) -> dict[str, Size]:
        """Elements that each scratch operand needs, by its name.

        Where rows are stored to, one element more than the farthest place.
        """
        values = dict(zip(self.arguments, arguments, strict=True))
        found: dict[str, Size] = {}
        for stage in self.stages:
            for statement in statements(stage):
                if isinstance(statement, ColumnAccumulate):
                    assert isinstance(stage, Map)
                    extent = _extent(stage.axis, values)
                    words = column_words(extent, self.rows(arguments), self.lanes)
                    found[statement.scratch] = words
                elif isinstance(statement, Order):
                    assert isinstance(stage, Sort)
                    extents = (_extent(stage.axis, values), _extent(stage.kept, values))
                    found[statement.scratch] = order_words(statement.key.dtype, *extents)
        own = {operand.name for operand in self.operands if operand.mode == "scratch"}
        for axes, access in self._stored_along() if own else ():
            if access.operand in own:
                last: Size = 0
                for name, stride in access.strides:
                    step = stride if isinstance(stride, int) else values[stride]
                    last = last + (_extent(axes[name], values) - 1) * step
                found[access.operand] = maximum(found.get(access.operand, 0), last + 1)
        return found

    def _stored_along(self) -> Iterator[tuple[dict[str, Axis], Access]]:
        """Where stages store, with the loops around each place."""
        for stage in self.stages:
            axes = {a.name: a for a in (*self.axes, *_store_axes(stage))}
            for statement in statements(stage):
                if isinstance(statement, Store):
                    yield axes, statement.access

    def operand(self, name: str) -> Operand:
        """The operand called ``name``."""
        return next(o for o in self.operands if o.name == name)


def statements(stage: Stage) -> tuple[Statement, ...]:
    """The statements of a stage, in order."""
    if isinstance(stage, Columns):
        return (*stage.body, *stage.stores)
    if isinstance(stage, Sort):
        return (stage.order, *stage.stores)
    return stage.stores if isinstance(stage, Gemm) else stage.body


def roots(statement: Statement) -> tuple[Expr, ...]:
    """The expressions a statement evaluates."""
    if isinstance(statement, Store):
        return (*statement.indices, statement.value)
    if isinstance(statement, Order):
        return (statement.key,)
    if isinstance(statement, Check):
        return (statement.index, statement.position)
    return (statement.value,)


def gemm_columns(dtype: DType) -> int:
    """Columns of a Gemm's panel: two vectors of elements."""
    return 2 * dtype.lanes


def operands_read(stages: Iterable[Stage]) -> set[str]:
    """The names of the operands that stages load from, search, or multiply."""
    found: set[str] = set()
    for stage in stages:
        if isinstance(stage, Gemm):
            found |= {stage.a.operand, stage.b.operand}
        found |= {s.access.operand for s in statements(stage) if isinstance(s, Search)}
        evaluated = postorder([expr for s in statements(stage) for expr in roots(s)])
        found |= {e.attribute.operand for e in evaluated if isinstance(e.attribute, Access)}
    return found


def order_words(key: DType, extent: Size, kept: Size) -> Size:
    """Elements of the scratch of an Order: twice its room, a word each, or two for wide keys.

    The room is the whole axis, or (where fewer are kept) what is kept, twice, and some more.
    """
    room = extent if kept == extent else 2 * kept + ORDER_ROOM
    return 2 * room * (2 if keys_apart(key) else 1)


def keys_apart(key: DType) -> bool:
    """Whether the keys of an Order are too wide to share a word with their positions."""
    return 2 * key.bits > I64.bits


def group_rows(rows: Size) -> Size:
    """Rows of a group, of which the last one may have fewer: ``summation.group_length``."""
    return maximum(SHORTEST_GROUP, (rows + (GROUPS - 1)) // GROUPS)


def column_words(extent: Size, rows: Size, lanes: int) -> Size:
    """Elements of the scratch of a ColumnAccumulate: a row of accumulators, and of each level.

    ``rows`` are all that are grouped; the blocks of one group are counted in binary.
    """
    blocks = (group_rows(rows) + (COLUMN_BLOCK - 1)) // COLUMN_BLOCK
    levels = blocks + COLUMN_LEVELS - maximum(blocks, COLUMN_LEVELS)
    return (levels + 1) * ((extent + (lanes - 1)) // lanes * lanes)


def _store_axes(stage: Stage) -> tuple[Axis, ...]:
    """The loops of a stage around its stores."""
    match stage:
        case Map(axis=axis) | Columns(axis=axis) | Sort(kept=axis):
            return (axis,)
        case Gemm(i=i, j=j):
            return (i, j)
    return ()


def _extent(axis: Axis, values: Mapping[str, Size]) -> Size:
    return axis.extent if isinstance(axis.extent, int) else values[axis.extent]


def _in_place_pairs(kernel: Kernel) -> list[tuple[str, str]]:
    if len(kernel.stages) != 1 or isinstance(kernel.stages[0], Columns | Sort) or kernel.serial:
        return []
    stage = kernel.stages[0]
    loads: dict[str, set[Access]] = {}
    last_load: dict[str, int] = {}  # operand -> the last statement that reads its memory
    evaluated: set[Expr] = set()
    for position, statement in enumerate(statements(stage)):
        for expr in postorder(roots(statement)):
            if expr.op == "load" and expr not in evaluated:
                assert isinstance(expr.attribute, Access)
                loads.setdefault(expr.attribute.operand, set()).add(expr.attribute)
                last_load[expr.attribute.operand] = position
            evaluated.add(expr)
    forbidden = {s.operand for s in statements(stage) if isinstance(s, Search)}
    if isinstance(stage, Gemm):
        forbidden |= {stage.a.operand, stage.b.operand}
    pairs = []
    for position, store in enumerate(statements(stage)):
        if not isinstance(store, Store) or store.access.gather:
            continue
        for operand, accesses in loads.items():
            same_place = all(a.strides == store.access.strides and not a.gather for a in accesses)
            same_width = (
                kernel.operand(operand).dtype.itemsize
                == kernel.operand(store.access.operand).dtype.itemsize
            )
            if (
                same_place
                and same_width
                and last_load[operand] <= position
                and operand not in forbidden
            ):
                pairs.append((store.access.operand, operand))
    return pairs
