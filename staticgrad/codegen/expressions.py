"""Expressions to lines of source: every distinct sub-expression becomes one named line.

A value is *uniform* if it is the same for all lanes: then it is computed once, as a vector of one
lane, before the loops it does not depend on, and broadcast where a vector reads it. The target
language is the kernel vocabulary of ``staticgrad.native``; nothing here knows stages.

The last elements of rows that are added onto memory: whole vectors, each half as wide.

A scatter's rows go to a few places, so a row is often added to what an earlier one has just stored.
A processor hands a store on to a load of the same bytes at once. One under a mask it hands on to
nobody: the load waits until the store has reached the cache, 30 cycles for each short row.

Square roots of vectors by products, to source: the bits of the processor's root, sooner.

A processor takes twenty-four cycles for the roots of eight float64, twelve for those of sixteen
float32, and in that time does thirty other operations. From an estimate of 1 / sqrt(x) to 14 bits,
Goldschmidt's iteration doubles the digits of g = sqrt(x) and h = 1 / (2 sqrt(x)) together; then
g + (x - g g) h, where x - g g has no rounding, is the rounded root (Markstein 1990; Cornea,
Harrison and Tang 1999, "Correctness proofs outline for Newton-Raphson based floating-point divide
and square root algorithms"). No root of a number lies in the middle of two numbers, and those that
come near to one are few. Vectors that have a negative number, one that is not finite or a very
small one go the processor's way.

Quotients by a number that a loop's vectors share, to source: the bits of a division, sooner.

A processor divides a vector in ten to sixteen cycles, and in that time does twenty other
operations. With r = 1/s rounded, q = x r and x - q s without rounding, q + (x - q s) r is the
rounded quotient, provided that nothing over- or underflows on the way (Markstein 1990; Brisebarre,
Muller and Raina 2004, "Accelerating correctly rounded floating-point division when the divisor is
known in advance"). Vectors in which something may, and divisors of unusual size, are divided.

A loop that has enough else to do for a vector while the processor divides is quicker without the
ten operations and the branch of each such quotient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

import numpy as np

from staticgrad.codegen.block_functions import (
    Lines as Lines,
    element as element,
    function_name,
    function_text,
    number as number,
    operation as operation,
    position_source as position_source,
    primitive as primitive,
    scaled as scaled,
    total as total,
)
from staticgrad.codegen.ends import MIRRORED, Ends, Inside, asks_where, is_place
from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.expr import BLOCKS, LEAVES, Access, Expr, Position, not_met, postorder
from staticgrad.ir.kernels.stages import Map
from staticgrad.native.machine import Machine
from staticgrad.records import dataclass
from staticgrad.types.dtype import F32, F64, DType

#: Iterations that take 14 bits to more than a format has.
ITERATIONS: Final = {F32: 1, F64: 2}
#: Powers of two from which on no residual of a root is denormal.
LEAST: Final = {F32: -100, F64: -900}


def root_name(dtype: DType) -> str:
    """The name of the function that takes roots."""
    return f"root_{dtype.code}"


def root_text(dtype: DType) -> str:
    """``root(x)``: the rounded square root of the lanes of x."""
    ends = np.asarray([2.0 ** LEAST[dtype], np.inf], dtype.numpy)
    first, end = (int(pattern) for pattern in ends.view(dtype.unsigned.numpy))
    step = "    r = fma(-g, h, 0.5)\n    g = fma(g, r, g)\n    h = fma(h, r, h)\n"
    return f"""\
def {root_name(dtype)}(x):
    least = like(x, {2.0 ** LEAST[dtype]})
    y = estimated_inverse_root(select(x < least, least, x))
    g = x * y
    h = y * 0.5
{step * ITERATIONS[dtype]}    found = fma(fma(-g, g, x), h, g)
    usual = bitcast_{dtype.unsigned.code}(x) - {first} < {end - first}
    if some(~usual & (x != 0.0)):
        found = sqrt(x)
    return found"""


#: Powers of two between which a divisor, and then a dividend, lies for the short way. A dividend
#: is as far above the least normal number as a format has digits, and a quotient is normal.
DIVISORS: Final = {F32: 24, F64: 100}
DIVIDENDS: Final = {F32: 100, F64: 900}
#: Quotients of a vector, and other operations for each of them, from which on a processor divides
#: beside the rest. One quotient alone was measured as fast either way, and those of eight float64,
#: which take half as long again, by products.
_SEVERAL: Final = 2
_BESIDE: Final = 16


def quotient_name(dtype: DType) -> str:
    """The name of the function that divides."""
    return f"quotient_{dtype.code}"


def _fields(dtype: DType, most: int) -> tuple[int, int]:
    """The patterns of a format's powers of two to minus ``most`` and to ``most``, as integers."""
    powers = np.asarray([2.0**-most, 2.0**most], dtype.numpy).view(dtype.unsigned.numpy)
    return int(powers[0]), int(powers[1])


def quotient_text(dtype: DType) -> str:
    """``quotient(x, s, r, span)``: x / s, where r is 1 / s, and ``span`` what ``span_of`` gives."""
    first, _ = _fields(dtype, DIVIDENDS[dtype])
    return f"""\
def {quotient_name(dtype)}(x, s, r, span):
    q = x * r
    found = fma(fma(-q, s, x), r, q)
    field = bitcast_{dtype.unsigned.code}(x)
    size = (field & {(1 << (dtype.bits - 1)) - 1}) - {first}
    size = select(field == 0, like(field, 0), size)
    if some(size >= span):
        found = x / s
    return found"""


def span_of(divisor: str, dtype: DType) -> str:
    """Return the range of dividends for which a scalar divisor takes the fast path, as source.

    None are if it is of unusual size.
    """
    first, end = _fields(dtype, DIVIDENDS[dtype])
    most, code = DIVISORS[dtype], dtype.unsigned.code
    usual = f"(absolute({divisor}) >= {2.0**-most}) & (absolute({divisor}) <= {2.0**most})"
    return f"select({usual}, {code}x1({end - first}), {code}x1(0))"


def is_power_of_two(divisor: object) -> bool:
    """Return whether a literal is a power of two: compilers multiply by its inverse."""
    return isinstance(divisor, float) and abs(math.frexp(divisor)[0]) == 0.5


def divides_beside(divisors: Sequence[Expr], work: int) -> bool:
    """Return whether a loop has enough other work to hide divisions by each of ``divisors``.

    ``work``: the operations of a vector.
    """
    if len(divisors) < _SEVERAL or any(divisor.dtype != F32 for divisor in divisors):
        return False
    return work >= (_BESIDE + 1) * len(divisors)


VECTOR = "j"
NOWHERE: Final[frozenset[str]] = frozenset()
NO_LOADS: Final[frozenset[Expr]] = frozenset()
#: Signs of comparisons.
_COMPARED: Final = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def _runs_on(expr: Expr) -> bool:
    """Return whether an expression is the index along the vector axis."""
    return expr.op == "index" and expr.attribute == VECTOR


@dataclass
class Unit:
    """State shared by all stages of one kernel's source: helper functions and the name counter.

    ``helpers`` are the functions that the kernel calls, in order of need; ``once`` are lines before
    the loop over iterations. ``spread`` has the lanes of values that were broadcast: another stage
    may read the same with others. ``machine`` is what the code is written for; no result depends
    on it. ``known`` is what holds of integer arguments. No two values of a kernel have one name,
    for a name has one type in the language of the backends.
    """

    helpers: dict[str, str] = field(default_factory=dict)
    named: int = 0
    machine: Machine = Machine()
    once: Lines = field(default_factory=lambda: Lines(1))
    spread: dict[str, int] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)
    write_map: Callable[[Map], list[str]] = field(repr=False, default=lambda _: [])

    @property
    def vector_bits(self) -> int:
        """The width of a register."""
        return self.machine.vector_bits

    @property
    def has_masks(self) -> bool:
        """True if masks have registers of their own."""
        return self.machine.has_mask_registers

    def told(self, extent: str | int) -> Known:
        """Return the known facts about a number given as source (an argument or a literal)."""
        text = str(extent)
        if text.isdecimal():
            return known_of(text, [int(text)])
        return self.known.get(text, Known(text))

    def fresh(self, prefix: str) -> str:
        """A name that no other value of the kernel has."""
        self.named += 1
        return f"{prefix}{self.named - 1}"

    def helper(self, op: str, dtype: DType) -> str:
        """The name of the function for a block, defined on first use."""
        name = function_name(op, dtype)
        if name not in self.helpers:
            self.helpers[name] = function_text(op, dtype, self.has_masks)
        return name

    def work(self, expr: Expr) -> int:
        """The operations of an expression, without those of its operands."""
        if expr.op not in BLOCKS:
            return int(expr.op not in LEAVES)
        return self.helpers[self.helper(expr.op, expr.dtype)].count("\n")


@dataclass
class Scope:
    """The place where expressions of one loop nest are written.

    ``inner`` names the loop axes inside the nest: what depends on none of them goes to ``before``.
    ``base`` gives an operand's element offset (source text) from the loops outside the vector axis,
    ``position`` the source of a loop axis' current index, ``result`` the variable of a statement's,
    ``access`` the place of an access.

    Of rows that are computed side by side, each has a scope. What ``apart`` does not tell apart is
    written in that of the ``first`` row alone, where the others find it. ``row`` is its number.
    ``loads_alike``: loads at places, counted from where its row begins, that are those of all rows.
    """

    lanes: int
    inner: frozenset[str]
    before: Lines
    body: Lines
    base: Callable[[Access], str]
    position: Callable[[str], str]
    unit: Unit
    result: Callable[[str], str] = str
    access: Callable[[Access], Access] = lambda access: access
    apart: Callable[[Expr], bool] = lambda _: True
    first: Scope | None = None
    row: int = 0
    loads_alike: frozenset[Expr] = NO_LOADS
    runs: Mapping[Expr, Callable[[Scope], None]] = field(default_factory=dict)
    mask: str = "m"
    vector_refs: frozenset[str] = frozenset()
    moved: dict[str, frozenset[str]] = field(
        default_factory=dict
    )  # axes that other refs vary along
    called: dict[str, str] = field(default_factory=dict)  # refs by other names
    names: dict[Expr, str] = field(default_factory=dict)
    broadcasts: dict[str, str] = field(default_factory=dict)
    inverses: dict[str, str] = field(default_factory=dict)
    masks: dict[tuple[str, bool], str] = field(default_factory=dict)
    windows: Ends = field(default_factory=Ends)  # of ends that vectors cross
    written: dict[str, str] = field(default_factory=dict)  # what is computed, by its text
    _depends: dict[Expr, frozenset[str]] = field(default_factory=dict)
    _own: set[Expr] = field(default_factory=set)
    _met: set[int] = field(default_factory=set)  # ids of what has been walked over
    _divides: bool = False  # quotients are the processor's, whatever they are by

    def __post_init__(self) -> None:
        if self.first is not None:
            self._divides = self.first._divides
            self.windows, self.written = self.first.windows, self.first.written
            if self._shares_lanes:
                self.broadcasts, self.masks = self.first.broadcasts, self.first.masks
                self.inverses = self.first.inverses

    @property
    def _shares_lanes(self) -> bool:
        """True if the vectors have the lanes of the first scope."""
        return self.first is None or self.first.lanes == self.lanes

    def depends(self, expr: Expr) -> frozenset[str]:
        """The inner loop axes that an expression varies along."""
        return self._depends[expr]

    def is_vector(self, expr: Expr) -> bool:
        return VECTOR in self._depends[expr]

    def expect(self, roots: Iterable[Expr]) -> None:
        """Choose how the vectors of a loop that computes all of ``roots`` are divided."""
        moving: dict[Expr, None] = {}
        for expr in postorder(roots):
            if self._own_axes(expr) or any(a in moving for a in expr.args):
                moving[expr] = None
        shared = [e.args[1] for e in moving if e.op == "div" and e.args[1] not in moving]
        divisors = [e for e in shared if not is_power_of_two(e.attribute)]
        self._divides = divides_beside(divisors, sum(map(self.unit.work, moving)))

    def emit(self, roots: Iterable[Expr]) -> None:
        """Write lines for everything that ``roots`` need."""
        for expr in not_met(roots, self._met):
            self.emit_one(expr)

    def emit_one(self, expr: Expr) -> None:
        """Write the line of an expression whose operands have theirs."""
        if expr in self._depends or self._is_shared(expr):
            return
        self._depends[expr] = self._own_axes(expr).union(*(self._depends[a] for a in expr.args))
        if expr.op == "ref":
            name = str(expr.attribute)
            self.names[expr] = self.called.get(name) or self.result(name)
        elif expr.op != "literal":
            self._write(expr)

    def _is_shared(self, expr: Expr) -> bool:
        """Return whether the first row already computed the value, so that this row reuses it."""
        if self.first is None:
            return False
        if self.apart(expr) or any(a in self._own for a in expr.args):
            self._own.add(expr)
            return False
        self._depends[expr] = self.first._depends[expr]
        if expr in self.first.names:
            self.names[expr] = self.first.names[expr]
        return True

    def _own_axes(self, expr: Expr) -> frozenset[str]:
        if expr.op == "load":
            assert isinstance(expr.attribute, Access)
            return frozenset(a for a, s in expr.attribute.moves if a in self.inner and s != 0)
        if expr.op == "index":
            return frozenset({str(expr.attribute)}) & self.inner
        if expr.op == "ref":
            name = self.result(str(expr.attribute))
            return (
                frozenset({VECTOR}) if name in self.vector_refs else self.moved.get(name, NOWHERE)
            )
        return frozenset()

    def _write(self, expr: Expr) -> None:
        if expr in self.runs:  # loads that are written together
            if expr not in self.names:
                self.runs[expr](self)
            return
        vector = self.is_vector(expr)
        lines = self.body if self._depends[expr] else self.before
        if expr.op == "load":
            text = self._load(expr, vector, lines)
        elif expr.op == "index":
            text = self._index(expr, vector)
        elif expr.op == "size":
            text = f"i64x1({expr.attribute})"
        elif lines is self.body and (end := self._end(expr)) is not None:
            text = self._beyond(expr, *end)
        else:
            text = self._computed(expr, vector, lines)
        name = None if expr.op == "load" else self.written.get(text)
        if name is None:
            name = self.written[text] = self.unit.fresh("v" if vector else "u")
            lines.add(f"{name} = {text}")
        self.names[expr] = name

    def _computed(self, expr: Expr, vector: bool, lines: Lines) -> str:
        args = [self.operand(a, vector, lines) for a in expr.args]
        if expr.op == "select":
            self._take_sides(*expr.args)
        sooner = self._by_products(expr, args) if vector else None
        if sooner is not None:
            return sooner
        if expr.op in BLOCKS:
            return f"{self.unit.helper(expr.op, expr.dtype)}({', '.join(args)})"
        return primitive(expr, args)

    def _take_sides(self, test: Expr, value: Expr, other: Expr) -> None:
        """Record that a test of indices is usually false, so that most vectors take ``other``,
        unless ``other`` is a literal beyond a border."""
        if other.op == "literal" or not asks_where(test):
            return
        if not self.is_vector(test):
            flags = f"b8x{self.lanes}"
            values = f"{flags}(False)", f"{flags}(True)"
            told = Inside("around", values, self._asked(test), usual=False)
            self.windows.add(self.operand(test, True, self.body), told)
        self.windows.take_sides(test, value, other)

    def _asked(self, test: Expr) -> str:
        """A condition of positions as source that has no vectors."""
        if test.op == "and":
            return " and ".join(map(self._asked, test.args))
        at, end = map(self._word, test.args)
        return f"{at} {_COMPARED[test.op]} {end}"

    @property
    def _all_or_none(self) -> tuple[str, str]:
        return f"mask{self.lanes}(0)", f"mask{self.lanes}({self.lanes})"

    def _by_products(self, expr: Expr, args: list[str]) -> str | None:
        """A quotient or root of vectors by products; None where the processor's is taken."""
        if expr.op == "div" and self._divides_all(expr.args[1]):
            return self._quotient(args[0], expr.args[1])
        if expr.op == "sqrt" and self._has_estimates(expr.dtype):
            self.unit.helpers.setdefault(root_name(expr.dtype), root_text(expr.dtype))
            return f"{root_name(expr.dtype)}({args[0]})"
        return None

    def _has_estimates(self, dtype: DType) -> bool:
        """Return whether products can replace quotients and roots: with 512-bit registers only."""
        return self.unit.has_masks and dtype in DIVISORS and self.lanes > 1

    def _divides_all(self, divisor: Expr) -> bool:
        """Return whether a loop divides by one number, which is faster as products."""
        if self._divides or not self._has_estimates(divisor.dtype):
            return False
        if divisor.op == "literal":
            return not is_power_of_two(divisor.attribute)
        return not self._depends[divisor]

    def _quotient(self, dividend: str, divisor: Expr) -> str:
        """The quotient of a vector by such a number, whose inverse is computed before the loop."""
        dtype, wide = divisor.dtype, self.operand(divisor, True, self.body)
        if wide not in self.inverses:
            one = self.operand(divisor, False, self.before)
            found = f"{element(dtype)}x1(1.0) / {one}", span_of(one, dtype)
            names = [self.unit.fresh("u") for _ in found]
            for name, text in zip(names, found, strict=True):
                self.before.add(f"{name} = splat{self.lanes}({text})")
            self.inverses[wide] = ", ".join(names)
        self.unit.helpers.setdefault(quotient_name(dtype), quotient_text(dtype))
        return f"{quotient_name(dtype)}({dividend}, {wide}, {self.inverses[wide]})"

    def operand(self, expr: Expr, vector: bool, lines: Lines) -> str:
        """The text of an operand, broadcast if a vector is wanted."""
        if expr.op == "literal":
            return f"{element(expr.dtype)}x{self.lanes if vector else 1}({number(expr.attribute)})"  # type: ignore[arg-type]
        name = self.names[expr]
        if not vector or self.is_vector(expr):
            return name
        if name not in self.broadcasts:
            home = self.body if self._depends[expr] else self.before
            own = self._shares_lanes and self.unit.spread.setdefault(name, self.lanes) == self.lanes
            wide = f"{name}_" if own else self.unit.fresh("b")
            home.add(f"{wide} = splat{self.lanes}({name})")
            self.broadcasts[name] = wide
        return self.broadcasts[name]

    def vector(self, expr: Expr) -> str:
        """The text of an expression as a vector."""
        return self.operand(expr, True, self.body)

    def one(self, expr: Expr) -> str:
        """The text of a uniform expression, one lane."""
        return self.operand(expr, False, self.body)

    def _end(self, expr: Expr) -> tuple[bool, str] | None:
        """Return the index along the vector axis where a test stops or starts to hold, or None.

        It compares a position, or one behind a place, with what sizes and positions of loops around
        say.
        """
        if expr.op not in MIRRORED:
            return None
        at, end = expr.args
        op = expr.op
        if self.is_vector(end):
            at, end, op = end, at, MIRRORED[op]
        first: Expr | None = None
        if at.op == "add" and _runs_on(at.args[1]):
            first, at = at.args
        around = [each for each in (first, end) if each is not None]
        if not _runs_on(at) or any(self._depends[e] or not is_place(e) for e in around):
            return None
        known = self._word(end) if first is None else f"{self._word(end)} - {self._word(first)}"
        return op in ("lt", "le"), known if op in ("lt", "ge") else f"{known} + 1"

    def _word(self, place: Expr) -> str:
        """A place as a word."""
        said = place.op in ("size", "literal")
        return str(place.attribute) if said else f"word({self.one(place)})"

    def _beyond(self, expr: Expr, lasts: bool, end: str) -> str:
        """Return the mask of lanes that are before the end (``lasts``) or behind it."""
        text = f"mask{self.lanes}({end} - {self.position(VECTOR)})"
        name = self._mask(text if lasts else f"mask{self.lanes}({self.lanes}) ^ {text}", self.body)
        at, masks = self.position(VECTOR), self._all_or_none
        if lasts:
            window = Inside("mask", masks, f"{at} < {end}", end=end)
        else:
            window = Inside("mask", masks, f"{at} >= {end}", first=end)
        self.windows.add(name, window)
        self.windows.reads(expr, [name])
        flags = f"b8x{self.lanes}"
        return f"select_mask({name}, {flags}(True), {flags}(False))"

    def _index(self, expr: Expr, vector: bool) -> str:
        at = self.position(str(expr.attribute))
        return f"iota{self.lanes}({at})" if vector else f"i64x1({at})"

    def _load(self, expr: Expr, vector: bool, lines: Lines) -> str:
        assert isinstance(expr.attribute, Access)
        access = self.access(expr.attribute)
        indices = expr.args[: len(access.gather)]
        where = self.place(access, indices, vector)
        if not vector and not access.bounded:
            return f"load1({access.operand}, {where})"
        mask = self.guard(access, vector, lines)
        kind, text = self.addressing(access, indices) if vector else ("contiguous", "")
        if kind == "lanes" and expr in self.loads_alike:
            found = f"load_each({access.operand}, {self.base(access)}, {text}, {mask})"
        elif kind == "lanes":
            found = f"load_at({access.operand}, {total(text, self.base(access))}, {mask})"
        elif kind == "strided":
            found = f"load_strided({access.operand}, {where}, {access.stride(VECTOR)}, {mask})"
        else:
            near = self._near(access, where, lines) if access.bounded else where
            masks = [self._ends(p, vector, lines) for p in access.bounded]
            self.windows.reads(expr, [near, *masks])
            found = f"load({access.operand}, {near}, {mask})"
        if expr.args == indices:
            return found
        return f"select_mask({mask}, {found}, {self.operand(expr.args[-1], vector, lines)})"

    def _near(self, access: Access, where: str, lines: Lines) -> str:
        """Return the index of a load, or 0 if no lane is within bounds.

        A processor takes hundreds of cycles over an address that is nobody's, of which no lane
        is loaded.
        """
        tests, holds = [], []
        for position in access.bounded:
            at, crosses = position_source(position), position.step(VECTOR) == 1
            tests.append(f"{at} > {-self.lanes}" if crosses else f"{at} >= 0")
            tests.append(f"{at} < {position.extent}")
            holds += [f"{at} >= 0", f"{at} < {position.extent}"]
        text = f"{where} if {' and '.join(tests)} else 0"
        key = (text, lines is self.body)
        if key not in self.masks:
            name = self.masks[key] = self.unit.fresh("q")
            lines.add(f"{name} = {text}")
            self.windows.add(name, Inside("place", ("0", where), " and ".join(holds)))
        return self.masks[key]

    def guard(self, access: Access, vector: bool, lines: Lines) -> str:
        """The mask of the lanes (or of the one lane) whose positions are inside their ends."""
        masks = [self._ends(p, vector, lines) for p in access.bounded]
        if len(masks) == 1 and not vector:
            return masks[0]
        return self._mask(" & ".join([self.mask] * vector + masks), lines)

    def _mask(self, text: str, lines: Lines) -> str:
        """The name of a mask."""
        if text.isidentifier():
            return text
        key = (text, lines is self.body)
        if key not in self.masks:
            self.masks[key] = self.unit.fresh("g")
            lines.add(f"{self.masks[key]} = {text}")
        return self.masks[key]

    def _ends(self, position: Position, vector: bool, lines: Lines) -> str:
        """The mask of the lanes at which a position is inside its extent."""
        lanes, at, extent = self.lanes if vector else 1, position_source(position), position.extent
        step = position.step(VECTOR) if vector else 0
        if step == 0:
            varies = {axis for axis, move in position.terms if move != 0} & self.inner
            holds = f"{at} >= 0 and {at} < {extent}"
            text = f"mask{lanes}({lanes} if {holds} else 0)"
            name = self._mask(text, lines if varies else self.before)
            if vector and not varies:
                self.windows.add(name, Inside("around", self._all_or_none, holds))
            return name
        if isinstance(step, int) and step > 0:
            last, first = f"{extent} - ({at})", f"0 - ({at})"
            if step > 1:
                last, first = (f"({n} + {step - 1}) // {step}" for n in (last, first))
            text = f"mask{lanes}({last}) & (mask{lanes}({lanes}) ^ mask{lanes}({first}))"
            name = self._mask(text, lines)
            if step == 1 and lines is self.body:
                rest = position_source(position, frozenset({VECTOR}))
                holds, ends = (
                    f"{at} >= 0 and {at} < {extent}",
                    (f"0 - ({rest})", f"{extent} - ({rest})"),
                )
                self.windows.add(name, Inside("mask", self._all_or_none, holds, *ends))
            return name
        place = f"iota{lanes}(0) * {step} + ({at})"
        return self._mask(f"mask_of(({place} >= 0) & ({place} < {extent}))", lines)

    def addressing(self, access: Access, indices: tuple[Expr, ...]) -> tuple[str, str]:
        """Return how a vector access finds its lanes: contiguous, strided, or gathered."""
        if any(self.is_vector(i) for i in indices):
            steps = [  # a product with 0 is not left out: it makes the sum a vector
                f"{self.vector(index)} * {stride}"
                for stride, index in zip(access.gather, indices, strict=True)
            ]
            moved = access.stride(VECTOR)
            if moved != 0:
                steps.insert(0, scaled(f"iota{self.lanes}({self.position(VECTOR)})", moved))
            return "lanes", total(*steps)
        return ("contiguous" if access.stride(VECTOR) == 1 else "strided"), ""

    def place(self, access: Access, indices: tuple[Expr, ...], vector: bool) -> str:
        """The position of the first lane, as int64 source."""
        if any(self.is_vector(i) for i in indices):
            return ""
        steps = [
            scaled(f"word({self.one(index)})", stride)
            for stride, index in zip(access.gather, indices, strict=True)
        ]
        if vector:
            steps.append(scaled(self.position(VECTOR), access.stride(VECTOR)))
        return total(self.base(access), *steps)
