"""Kernels as text: one canonical spelling; kernels are equal where their texts are.

::

    kernel(p0: in f32, p1: in i64, p2: out f32, p3: check i64; n0, n1, n2) over i0: n0 {
      map j: n1 {
        %0: i64 = load p1[j]
        @c0: i64 = check %0 in n2 wrap at j to p3
        %1: f32 = load p0[i0*n1 + @c0]
        %2: f32 = mul %1, f32(2.0)
        store p2[i0*n1 + j] = %2
        @r0: f32 = sum %2
      }
    }

Every load and every primitive has a line of its own, numbered through the kernel and written before
the first statement that needs it, so that what is shared stays shared. Literals, loop positions
(``j``), sizes (``n2``) and results of statements (``@c0``, ``@r0``) stand where they are used.
Stages evaluate what they need themselves: nothing numbered is used in another stage.

An access adds a term per loop, then one per gather index, then one per position that several loops
move or that has ends: ``p0[i0*n1 + [i1*n2 + i2 + -1 in n3]*n4 + [j + n5]]``; a load there may say
what lies beyond the ends, ``load p0[[j + -1 in n3]] else f32(-inf)``. ``[i1*32 + i within n3]`` is
known to be inside. Sums of a row's blocks add up in ``@r0: f32 = sum of blocks %2``. A Columns
stage holds its accumulations in an inner ``rows i0: n0 { ... }``, or ``lanes i0: n0 { ... }`` where
they follow the lane rule. A Gemm starts with ``@acc: f32 = sum p0[...] * p1[...]``, which goes on
from what is there with ``sum p0[...] * p1[...] onto p2[...]``, or before
that with ``fed { maps }``, which run at each position of its first k. A Sort is
``keys j: n0 { ... @at: i64 = order %3 in p4 }`` and then ``kept j: n1 { stores }``, between them
``picked j: n1 { ... pick %4 }`` if the indices in the order are computed. Rows that are
taken in groups are ``over i0: n0, groups of i1: n1``; in their maps stands
``column sum %3 to p5 in p6``. A scalar stage may keep a number: ``@r1: f32 = keep %4``.
``over i0: n0 from p0 (p1, n1)`` takes memory and sizes of each iteration from the table ``p0``.
A Loop is ``loop i1: n2 { ... }`` around stages, before them ``first { @s0: f32 = carry %5 }``,
which stands outside of the loop, and after them ``following { @s0: f32 = carry %9 }``. A loop may
begin and end at numbers that were kept, ``k: n2 from @r3 to @r4``.
``kernel(...; n0, n1) where n0 of 16 short, n1 most 8 many``: ``n0`` is always a multiple of 16 and
from 1 to ``BLOCK``, ``n1`` 0 or more than ``LONE``, and 8 at most; ``uneven``, it is no multiple of
``EVEN``; ``is 20``, it is always that. Directives end the head of a kernel, stages counted from 0:
``under interleave 4, prefetch j+512 in stage 2, stream p2``.
``parser`` reads the text back; this module only writes, also what a verifier would refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count, zip_longest
from typing import Final

from staticgrad.language.ir.expr import Access, Expr, Position, postorder
from staticgrad.language.ir.kernels.directives import Directives
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    ColumnAccumulate,
    Columns,
    Extent,
    Gemm,
    Keep,
    Loop,
    Map,
    Operand,
    Order,
    Pick,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
    parts,
    roots,
)
from staticgrad.language.ir.text import element_text
from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.language.types.lexis import name_text
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass

#: Words that start a literal where a loop or size may stand.
_RESERVED: Final = {dtype.code for dtype in ALL_DTYPES}
INDENT: Final = "  "


@dataclass(frozen=True, eq=False)
class KernelParts:
    """Operands, integer arguments, outer axes, stages: what the text says, and no more.

    Kernels of one text are equal. ``facts``: what holds of some arguments in every step, in their
    order.
    """

    operands: tuple[Operand, ...]
    arguments: tuple[str, ...]
    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]
    serial: bool = False  # iterations run in order, in one group (scatter with duplicates)
    grouped: int = 0  # of the outer axes the last ones, whose rows are taken in groups
    facts: tuple[Known, ...] = ()
    directives: Directives = ()  # how its loops run; no bit depends on them

    @cached_property
    def text(self) -> str:
        """The canonical text."""
        return print_kernel(self)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, KernelParts) and self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)


def print_kernel(kernel: KernelParts) -> str:
    """The canonical text of a kernel that stands alone."""
    return "\n".join(_block(signature(kernel), _stages(kernel, kernel.stages, count()))) + "\n"


def kernel_lines(kernel: KernelParts, name: str) -> list[str]:
    """The same in a schedule, where a kernel has a name."""
    return [f"{signature(kernel, name)} {{", *kernel.text.split("\n")[1:-1]]


def signature(kernel: KernelParts, name: str = "") -> str:
    """Print a kernel's signature: ``kernel k0(p0: in f32, p1: out f32; n0) over i0: n0``."""
    operands = ", ".join(f"{_name(o.name)}: {o.mode} {o.dtype.code}" for o in kernel.operands)
    arguments = f"; {', '.join(map(_name, kernel.arguments))}" if kernel.arguments else ""
    serial = "serial " if kernel.serial else ""
    outer = f" over {_outer(kernel)}" if kernel.axes else ""
    outer += f" where {', '.join(map(_fact_text, kernel.facts))}" if kernel.facts else ""
    outer += f" under {', '.join(map(str, kernel.directives))}" if kernel.directives else ""
    called = f" {name_text(name)}" if name else ""
    return f"{serial}kernel{called}({operands}{arguments}){outer}"


def _fact_text(fact: Known) -> str:
    """``n0 of 2 most 16 short many uneven``."""
    multiple = f" of {fact.multiple}" if fact.multiple > 1 else ""
    most = f" {'is' if fact.fixed else 'most'} {fact.most}" if fact.most else ""
    words = ("short", fact.short), ("many", fact.many), ("uneven", fact.uneven)
    return f"{_name(fact.name)}{multiple}{most}{''.join(f' {word}' * on for word, on in words)}"


def _outer(kernel: KernelParts) -> str:
    """``i0: n0, groups of i1: n1, i2: n2``."""
    ungrouped = len(kernel.axes) - kernel.grouped
    axes = [_axes(kernel.axes[:ungrouped])] if ungrouped else []
    if kernel.grouped:
        axes.append(f"groups of {_axes(kernel.axes[ungrouped:])}")
    return ", ".join(axes)


def _stages(kernel: KernelParts, stages: Iterable[Stage], numbers: Iterator[int]) -> Iterator[str]:
    for stage in stages:
        yield from _block(_head(stage), _stage_lines(kernel, stage, numbers))


def _block(head: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"{head} {{"
    for line in lines:
        yield INDENT + line
    yield "}"


def _head(stage: Stage) -> str:
    """Print the head of a kernel stage: its kind and its loops."""
    match stage:
        case Map(loops=loops):
            return f"map {_axes(loops)}"
        case Columns(axis=axis):
            return f"columns {_axis(axis)}"
        case Gemm(i=i, j=j, k=k):
            groups = (_axes(g) if len(g) == 1 else f"({_axes(g)})" for g in (i, j, k))
            return f"gemm {', '.join(groups)}"
        case Loop(axis=axis, going=going):
            return f"loop {_axis(axis)}" + (f" while @{name_text(going)}" if going else "")
    return type(stage).__name__.lower()


def _stage_lines(kernel: KernelParts, stage: Stage, numbers: Iterator[int]) -> Iterator[str]:
    """Yield the printed lines of a kernel stage, nested stages and statements included."""
    match stage:
        case Columns(rows=rows, body=body):
            head = f"{'lanes' if stage.in_lanes else 'rows'} {_axes(rows)}".rstrip()
            yield from _block(head, _statement_lines(body, numbers))
        case Sort(axis=axis, sorted_axis=sorted_axis, order=order):
            yield from _block(f"keys {_axis(axis)}", _statement_lines((order,), numbers))
            if stage.picks:
                head = f"picked {_axis(sorted_axis)}"
                yield from _block(head, _statement_lines(stage.picks, numbers))
            yield from _block(f"kept {_axis(sorted_axis)}", _statement_lines(stage.stores, numbers))
            return
        case Loop(first=first, following=following):
            if first:
                yield from _block("first", _statement_lines(first, numbers))
            yield from _stages(kernel, stage.stages, numbers)
            if following:
                yield from _block("following", _statement_lines(following, numbers))
            return
        case Gemm(fed=fed, a=a, b=b):
            if fed:
                yield from _block("fed", _stages(kernel, fed, numbers))
            codes = (o.dtype.compute.code for o in kernel.operands if o.name == a.operand)
            onto = f" onto {access_text(stage.onto)}" if stage.onto else ""
            factors = f" in {stage.factors.code}" if stage.factors else ""
            yield (
                f"@acc: {next(codes, '?')} = sum {access_text(a)} * {access_text(b)}{factors}{onto}"
            )
    last, _ = parts(stage)[-1]
    yield from _statement_lines(last, numbers)


def _statement_lines(statements: Sequence[Statement], numbers: Iterator[int]) -> Iterator[str]:
    """Yield the printed statements of a kernel, each after the values that it needs first."""
    names: dict[int, str] = {}
    walk = postorder(root for statement in statements for root in roots(statement))
    for statement in statements:
        for root in roots(statement):
            while id(root) not in names:
                expr = next(walk)
                if expr.op not in ("literal", "index", "size", "ref"):
                    names[id(expr)] = f"%{next(numbers)}"
                    args = [names[id(arg)] for arg in expr.args]
                    yield f"{names[id(expr)]}: {expr.dtype.code} = {_primitive(expr, args)}"
                else:
                    names[id(expr)] = leaf_text(expr)
        yield statement_text(statement, [names[id(root)] for root in roots(statement)])


def leaf_text(expr: Expr) -> str:
    """A literal, loop position, size or result of a statement."""
    if expr.op == "literal":
        return f"{expr.dtype.code}({element_text(expr.attribute, expr.dtype)})"
    name = str(expr.attribute)
    return f"@{name_text(name)}" if expr.op == "ref" else _name(name)


def _primitive(expr: Expr, args: Sequence[str]) -> str:
    if isinstance(expr.attribute, Access):
        indices = len(expr.attribute.gather)
        fill = f" else {args[indices]}" if len(args) > indices else ""
        return f"{expr.op} {access_text(expr.attribute, args[:indices])}{fill}"
    return f"{expr.op} {', '.join(args)}"


def statement_text(statement: Statement, values: Sequence[str]) -> str:
    """Print a kernel statement over its printed expressions, as ``roots`` orders them."""
    code = "i64"
    match statement:
        case Store(access=access, combine=kind):
            assign = {"": "=", "sum": "+="}.get(kind, f"{kind} =")
            return f"store {access_text(access, values[:-1])} {assign} {values[-1]}"
        case Pick():
            return f"pick {values[0]}"
        case ColumnAccumulate(kind=kind, partials=partials, scratch=scratch):
            return f"column {kind} {values[0]} to {_name(partials)} in {_name(scratch)}"
        case Accumulate(kind=kind, value=value, blocks=blocks):
            code, text = value.dtype.code, f"{kind}{' of blocks' if blocks else ''} {values[0]}"
        case Keep(value=value) | Carry(value=value):
            code, text = value.dtype.code, f"{type(statement).__name__.lower()} {values[0]}"
        case Check(extent=extent, wrap=wrap, operand=operand):
            inside = f"{values[0]} in {_extent(extent)}{' wrap' if wrap else ''}"
            text = f"check {inside} at {values[1]} to {_name(operand)}"
        case Search(operand=operand, right=right, stride=stride, extent=extent):
            place = f"{_name(operand)} step {_extent(stride)} of {_extent(extent)}"
            text = f"search {'right' if right else 'left'} {values[0]} in {place}"
        case Order(scratch=scratch):
            text = f"order {values[0]} in {_name(scratch)}"
    return f"@{name_text(statement.name)}: {code} = {text}"


def access_text(access: Access, indices: Iterable[str] = ()) -> str:
    """Print a memory access of a kernel: ``p0[i0*n1 + j + @c0*n2]``; ``p0[0]`` if fixed."""
    terms = [_scaled_text(_name(axis), stride) for axis, stride in access.strides]
    for index, stride in zip_longest(indices, access.gather, fillvalue="?"):
        text = str(index)
        value = text if text[0] in "%@" or text.endswith(")") else f"({text})"
        terms.append(_scaled_text(value, stride))
    terms += [_scaled_text(position_text(p), p.stride) for p in access.positions]
    return f"{_name(access.operand)}[{' + '.join(terms) or '0'}]"


def position_text(position: Position) -> str:
    """Print an index of a kernel's access: ``[i0*n1 + i1 + -1 in n2]``: loops, start, extent."""
    terms = [_scaled_text(_name(axis), step) for axis, step in position.terms]
    if position.start != 0 or not terms:
        terms.append(_extent(position.start))
    word = "within" if position.within else "in"
    ends = "" if position.extent is None else f" {word} {_extent(position.extent)}"
    return f"[{' + '.join(terms)}{ends}]"


def _scaled_text(text: str, stride: Extent) -> str:
    return text if stride == 1 else f"{text}*{_extent(stride)}"


def _axes(axes: Iterable[Axis]) -> str:
    return ", ".join(map(_axis, axes))


def _axis(axis: Axis) -> str:
    first = f" from @{name_text(axis.first)}" if axis.first else ""
    past = f" to @{name_text(axis.past)}" if axis.past else ""
    return f"{_name(axis.name)}: {_extent(axis.extent)}{first}{past}"


def _extent(extent: Extent) -> str:
    return _name(extent) if isinstance(extent, str) else str(extent)


@lru_cache(maxsize=256)
def _name(name: str) -> str:
    return name_text(name, _RESERVED)


#: The result of a Gemm's product.
PRODUCT: Final = "acc"
