"""Memory in the kernel language: pointers, lane masks, loads, stores, stack scratch.

A masked-off lane reads and writes nothing: its memory may be unmapped. Strides and indices count
elements, not bytes; no access promises alignment.

Lanes may lie a stride apart. A stride that the source names as a small number makes whole vectors
of memory of them, of which lanes are chosen: those touch each line of memory once, a gather touches
it for every lane. Any other stride is a gather or a scatter.

Streaming stores: results that are not read soon go to memory without fetching lines first. A
processor that writes a part of a line reads the line before. Streaming stores are gathered to whole
lines instead, which halves the cost of a result that exceeds the caches. They are not ordered among
other stores before ``settle``.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from staticgrad.native.constants import OUTLINED
from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import (
    ELEMENTS,
    EVERY_COUNT,
    LANES,
    NOTHING,
    REAL,
    TRUTH,
    WORD,
    Element,
    Kind,
    Mask,
    Pointer,
    Vector,
    vector,
)
from staticgrad.native.language.operations import (
    ALL_ON,
    FUNCTIONS,
    Emit,
    bit_of,
    byte_of,
    choice,
    define,
)
from staticgrad.support.records import dataclass

#: The bits of the smallest elements that processors gather.
_GATHERED: Final = 32
#: Bytes of the largest scratch: a thread's stack holds several.
_MOST_LOCAL: Final = 1 << 19
Values = tuple[Operand, ...]
Kinds = tuple[Kind, ...]


def element_of(kind: Kind) -> Element:
    """The element of a pointer or vector."""
    if isinstance(kind, Pointer | Vector):
        return kind.element
    raise TypeError(f"{kind.name} has no element type")


def lanes_of(kind: Kind) -> int:
    """The lanes of a vector or mask."""
    if isinstance(kind, Vector | Mask):
        return kind.lanes
    raise TypeError(f"{kind.name} has no lanes")


def address_of(out: Emitter, pointer: Kind, base: Operand, index: Operand) -> str:
    """Return the address of an element of a pointer."""
    scalar = element_of(pointer).llvm
    return out.place(scalar, base, index)


def _define_mask(lanes: int) -> None:
    """Define ``maskN(count)``: the first ``count`` lanes are on."""
    kind = Mask(lanes)

    def emit(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        """Emit a lane mask of the first lanes, by a shift of bits: cheaper than comparing lane
        numbers.
        """
        left = text.word(values[0])
        if lanes > 1 and not isinstance(values[0], str) and values[0] >= lanes:
            return ALL_ON
        if lanes == 1:
            return out.do(f"icmp sgt i64 {left}, 0")
        bit, *constants = out.chosen.get(left, ("",))
        if constants == [lanes, 0] and lanes in LANES:
            return _of_bits(out, lanes, out.do(f"sext i1 {bit} to i{lanes}"))
        clamped = out.intrinsic("i64", "llvm.smax.i64", [("i64", left), ("i64", "0")])
        clamped = out.intrinsic("i64", "llvm.smin.i64", [("i64", clamped), ("i64", str(lanes))])
        if lanes not in LANES:
            return _below(out, clamped, lanes)
        shifted = out.do(f"shl i64 -1, {clamped}")
        bits = out.do(f"xor i64 {shifted}, -1")
        return _of_bits(out, lanes, out.do(f"trunc i64 {bits} to i{lanes}"))

    define(f"mask{lanes}", lambda count: kind if count is WORD else None, emit)


def _of_bits(out: Emitter, lanes: int, bits: str) -> str:
    """Emit the lane mask of an integer's bits.

    That is one instruction where masks have registers. Elsewhere a mask is a vector of words, and
    LLVM takes the bits apart one by one, 16 times three instructions: each lane is compared with
    its bit instead, in numbers of the width at which a mask of so many lanes is held.

    Eight bits in a register of masks have others above them. LLVM clears those where bytes are
    stored under such a mask, by a copy between registers, which its allocator takes for a copy of
    the whole and leaves out where it spills: the store then writes behind the last lane. Sixteen
    bits are moved instead, whose upper half is zero.
    """
    bitcast = f"bitcast i{lanes} {bits} to <{lanes} x i1>"
    if out.target.has_mask_registers:
        if lanes != 8:
            return out.do(bitcast)
        all_of_them = out.do(f"bitcast i16 {out.do(f'zext i8 {bits} to i16')} to <16 x i1>")
        first = choice([*range(8)])
        return out.do(f"shufflevector <16 x i1> {all_of_them}, <16 x i1> poison, {first}")
    width = max(128 // lanes, 16)
    kind, wide, lines = f"<{lanes} x i{width}>", bits, []
    lane_bits = ", ".join(f"i{width} {1 << lane}" for lane in range(lanes))
    if width > lanes:
        wide, lines = "<v>.wide", [f"  <v>.wide = zext i{lanes} {bits} to i{width}"]
    lines += [
        f"  <v>.one = insertelement {kind} poison, i{width} {wide}, i64 0",
        f"  <v>.all = shufflevector {kind} <v>.one, {kind} poison, <{lanes} x i32> zeroinitializer",
        f"  <v>.own = and {kind} <v>.all, <{lane_bits}>",
        f"  <v> = icmp eq {kind} <v>.own, <{lane_bits}>",
    ]
    return out.do(bitcast, "\n".join(lines))


def _below(out: Emitter, count: str, lanes: int) -> str:
    """The first lanes of many, by their numbers: as many bits are words where masks are vectors."""
    kind = vector("u8", lanes)
    count_vector = out.splat(kind, out.do(f"trunc i64 {count} to i8"))
    return out.do(f"icmp ugt {kind.llvm} {count_vector}, {text.lane_numbers(kind)}")


def _mask_of(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    return bit_of(out, lanes_of(kinds[0]), str(values[0]))


def _mask_bits(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    lanes = lanes_of(kinds[0])
    word = out.do(f"bitcast {kinds[0].llvm} {values[0]} to i{lanes}")
    return word if lanes == 64 else out.do(f"zext i{lanes} {word} to i64")


def _mask_of_result(kind: Kind) -> Kind | None:
    if isinstance(kind, Vector) and kind.element.kind == "b":
        return Mask(kind.lanes)
    return None


def loaded_kind(pointer: Kind, index: Kind, mask: Kind) -> Kind | None:
    """Return the kind of a masked load; None if the operands do not fit."""
    if isinstance(pointer, Pointer) and index is WORD and isinstance(mask, Mask):
        return vector(pointer.element, mask.lanes)
    return None


def _wide(kind: Vector, value: str, out: Emitter) -> str:
    """One-lane values as true LLVM vectors, for the masked intrinsics."""
    if kind.lanes > 1:
        return value
    return out.do(f"insertelement {_wide_type(kind)} poison, {kind.llvm} {value}, i64 0")


def _wide_type(kind: Vector) -> str:
    return f"<{kind.lanes} x {kind.element.llvm}>"


def _wide_mask(lanes: int, mask: Operand, out: Emitter) -> tuple[str, str]:
    if lanes == 1:
        return "<1 x i1>", out.do(f"insertelement <1 x i1> poison, i1 {mask}, i64 0")
    return f"<{lanes} x i1>", str(mask)


def _narrow(kind: Vector, value: str, out: Emitter) -> str:
    if kind.lanes > 1:
        return value
    return out.do(f"extractelement {_wide_type(kind)} {value}, i64 0")


def _mangle_type(kind: Vector) -> str:
    return f"v{kind.lanes}{text.scalar_suffix(kind.element)}"


#: Bits of the smallest vector register.
REGISTER: Final = 128


def masked_load(out: Emitter, kind: Vector, address: str, mask: Operand) -> str:
    """Emit a masked load: lanes that are off are zero."""
    if mask == ALL_ON:
        return out.read(f"load {kind.llvm}, ptr {address}, align 1")
    register, (mask_type, bits) = _register(kind), _wide_mask(kind.lanes, mask, out)
    if register is not kind:
        mask_type, bits = _pad_lanes(out, mask_type, bits, register.lanes)
    register_type = _wide_type(register)
    if kind.lanes > 1 and _is_narrow(out, kind):
        loaded = out.read(
            f"call {register_type} {_access(out, 'load', register, bits, f'ptr {address}')}"
        )
        return _first_lanes(out, kind, register, loaded)
    bits = _fenced_mask(out, register.lanes, bits)
    name = f"llvm.masked.load.{_mangle_type(register)}.p0"
    arguments = [
        ("ptr", address),
        ("i32", "1"),
        (mask_type, bits),
        (register_type, "zeroinitializer"),
    ]
    return _first_lanes(out, kind, register, out.intrinsic(register_type, name, arguments))


def _first_lanes(out: Emitter, kind: Vector, register: Vector, value: str) -> str:
    """The lanes of a vector that were loaded into a register."""
    if register is kind:
        return _narrow(kind, value, out)
    register_type, low = _wide_type(register), choice([*range(kind.lanes)])
    return out.do(f"shufflevector {register_type} {value}, {register_type} poison, {low}")


def masked_store(out: Emitter, kind: Vector, address: str, value: str, mask: Operand) -> None:
    """Emit a masked store of the lanes that are on."""
    if mask == ALL_ON:
        out.effect(f"store {kind.llvm} {value}, ptr {address}, align 1")
        return
    register, (mask_type, bits) = _register(kind), _wide_mask(kind.lanes, mask, out)
    typed, value = _wide_type(kind), _wide(kind, value, out)
    if register is not kind:
        typed, value = _pad_lanes(out, typed, value, register.lanes)
        mask_type, bits = _pad_lanes(out, mask_type, bits, register.lanes)
    if kind.lanes > 1 and _is_stored_in_parts(out, kind):
        operands = f"{typed} {value}, ptr {address}"
        out.effect(f"call void {_access(out, 'store', register, bits, operands)}")
        return
    bits = _fenced_mask(out, register.lanes, bits)
    name = f"llvm.masked.store.{_mangle_type(register)}.p0"
    out.intrinsic("void", name, [(typed, value), ("ptr", address), ("i32", "1"), (mask_type, bits)])


#: Lanes beyond which a mask is passed as bytes: as an argument, each bit takes a place of its own.
FEW: Final = 16


def _is_narrow(out: Emitter, kind: Vector) -> bool:
    """Return whether the target has no masked instructions of such elements."""
    return kind.element.bits < 32 and not out.target.has_mask_registers


def _is_stored_in_parts(out: Emitter, kind: Vector) -> bool:
    """Return whether a masked store of such elements is a call that stores parts of a vector."""
    return _is_narrow(out, kind) or not out.target.stores_masked_words


def _access(out: Emitter, name: str, register: Vector, mask: str, operands: str) -> str:
    """Emit a call of the function that loads or stores under a mask (``masked_access``)."""
    symbol = f"{OUTLINED}{name}_{register.name}"
    out.accesses[symbol] = name, register
    lanes = register.lanes
    passed = f"<{lanes} x i1> {mask}"
    if lanes > FEW:
        passed = f"<{lanes} x i8> {byte_of(out, lanes, mask)}"
    return f"@{symbol}({operands}, {passed})"


def _fenced_mask(out: Emitter, lanes: int, mask: Operand) -> str:
    """Emit the same mask behind a barrier, so that LLVM does not see how it is made.

    LLVM (20 to 22) loads a register without a mask where it knows that the mask has no lane in it,
    if it found that out of an expression of masks: the upper half of ``and(mask, first three
    lanes)`` of sixteen. The load then reads behind an array, and its lanes are not zero. An
    arithmetic fence of words costs no instruction where masks are vectors of words.
    """
    if out.target.has_mask_registers or mask not in out.combined:
        return str(mask)
    words, floats = vector("i32", lanes), vector("f32", lanes)
    wide = out.do(f"sext <{lanes} x i1> {mask} to {words.llvm}")
    same = _fence(out, floats, out.do(f"bitcast {words.llvm} {wide} to {floats.llvm}"))
    fenced_words = out.do(f"bitcast {floats.llvm} {same} to {words.llvm}")
    return out.do(f"icmp slt {words.llvm} {fenced_words}, zeroinitializer")


def _register(kind: Vector) -> Vector:
    """Return the full-register kind for vectors that fill only a part of a register.

    LLVM itself takes a mask of few lanes for one of many without clearing the rest, which is not
    clear when the mask comes back from the stack: stores behind the last lane.
    """
    full_lanes = REGISTER // kind.element.bits
    return kind if kind.lanes == 1 or kind.lanes >= full_lanes else vector(kind.element, full_lanes)


def _pad_lanes(out: Emitter, typed: str, value: str, lanes: int) -> tuple[str, str]:
    """A vector with zeros behind its lanes, and its type."""
    count = int(typed[1:].split()[0])
    order = choice([*range(count), *[count] * (lanes - count)])
    longer = out.do(f"shufflevector {typed} {value}, {typed} zeroinitializer, {order}")
    return f"<{lanes} x{typed.partition(' x')[2]}", longer


def _load(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    kind = vector(element_of(kinds[0]), lanes_of(kinds[2]))
    return masked_load(out, kind, address_of(out, kinds[0], values[0], values[1]), values[2])


def _store(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    kind = vector(element_of(kinds[0]), lanes_of(kinds[3]))
    address = address_of(out, kinds[0], values[0], values[1])
    masked_store(out, kind, address, str(values[2]), values[3])
    return ""


def _store_result(pointer: Kind, index: Kind, value: Kind, mask: Kind) -> Kind | None:
    if loaded_kind(pointer, index, mask) == value:
        return NOTHING
    return None


def _define_unmasked(lanes: int) -> None:
    """Define ``loadN(p, i)`` and ``storeN(p, i, v)``: unmasked loads and stores of all lanes."""

    def type_load(pointer: Kind, index: Kind) -> Kind | None:
        if isinstance(pointer, Pointer) and index is WORD:
            return vector(pointer.element, lanes)
        return None

    def load(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        kind = vector(element_of(kinds[0]), lanes)
        address = address_of(out, kinds[0], values[0], values[1])
        return out.read(f"load {kind.llvm}, ptr {address}, align 1")

    def type_store(pointer: Kind, index: Kind, value: Kind) -> Kind | None:
        return NOTHING if type_load(pointer, index) == value else None

    def store(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        address = address_of(out, kinds[0], values[0], values[1])
        out.effect(f"store {kinds[2].llvm} {values[2]}, ptr {address}, align 1")
        return ""

    define(f"load{lanes}", type_load, load)
    define(f"store{lanes}", type_store, store)


def _addresses(out: Emitter, pointer: Kind, lanes: int, base: Operand, index: str) -> str:
    scalar = element_of(pointer).llvm
    return out.do(f"getelementptr {scalar}, ptr {base}, <{lanes} x i64> {index}")


def gather(
    out: Emitter,
    pointer: Kind,
    base: Operand,
    index: str,
    mask: Operand,
    lanes: int,
    kind: Vector | None = None,
) -> str:
    """Emit a gather: lanes from their indices in elements; as another ``kind`` if given."""
    kind = kind or vector(element_of(pointer), lanes)
    if lanes == 1:
        return masked_load(out, kind, address_of(out, pointer, base, index), mask)
    name = f"llvm.masked.gather.{_mangle_type(kind)}.v{lanes}p0"
    places = _addresses(out, pointer, lanes, base, index)
    vector_type, addresses = _wide_type(kind), f"<{lanes} x ptr>"
    if kind.element.bits < _GATHERED and mask != ALL_ON:
        # No processor gathers these: under a mask LLVM writes a branch for each lane, which takes
        # it seconds where a kernel has a hundred. Lanes that are off read a zero instead.
        spare = f"splat (ptr {out.table(bytes(8))})"
        places = out.do(f"select <{lanes} x i1> {mask}, {addresses} {places}, {addresses} {spare}")
        mask = ALL_ON
    arguments = [(addresses, places), ("i32", "1")]
    masked = [(f"<{lanes} x i1>", _fenced_mask(out, lanes, mask)), (vector_type, "zeroinitializer")]
    return out.intrinsic(vector_type, name, [*arguments, *masked])


def scatter(
    out: Emitter,
    pointer: Kind,
    base: Operand,
    index: str,
    value: Operand,
    mask: Operand,
    lanes: int,
) -> None:
    """Emit a scatter: lanes to their indices in elements."""
    kind = vector(element_of(pointer), lanes)
    if lanes == 1:
        masked_store(out, kind, address_of(out, pointer, base, index), str(value), mask)
        return
    name = f"llvm.masked.scatter.{_mangle_type(kind)}.v{lanes}p0"
    places = _addresses(out, pointer, lanes, base, index)
    arguments = [(_wide_type(kind), str(value)), (f"<{lanes} x ptr>", places), ("i32", "1")]
    masked = f"<{lanes} x i1>", _fenced_mask(out, lanes, mask)
    out.intrinsic("void", name, [*arguments, masked])


def _load_at(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    return gather(out, kinds[0], values[0], str(values[1]), values[2], lanes_of(kinds[2]))


def _store_at(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    scatter(out, kinds[0], values[0], str(values[1]), values[2], values[3], lanes_of(kinds[3]))
    return ""


def _define_transpose(lanes: int) -> None:
    """Define ``transposeN(p, i, s, m, n, q, k, t)``: q[k + c*t + r] = p[i + r*s + c], else 0.

    All N by N elements of the target are written. Rows become columns by exchanging one bit of the
    row's number with one of the lane's at a time, in squares whose rows are registers.
    """

    def result(*kinds: Kind) -> Kind | None:
        pointers, words = (kinds[0], kinds[5]), (*kinds[1:5], *kinds[6:])
        same = isinstance(kinds[0], Pointer) and pointers[0] == pointers[1]
        return NOTHING if same and all(word is WORD for word in words) else None

    def emit(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        """Emit the transpose of a square tile in registers: masked loads, shuffles, stores."""
        source, at, stride, rows, columns, target, to, step = values
        element = element_of(kinds[0])
        # Rows of several registers would be more than there are: the rest would be spilled.
        side = min(lanes, max(out.target.vector_bits // element.bits, 2))
        kind, bits = vector(element, side), f"<{side} x i1>"
        for left, top in product(range(0, lanes, side), repeat=2):
            present = columns - left if isinstance(columns, int) else columns
            if left and not isinstance(columns, int):
                present = out.do(f"sub i64 {columns}, {left}")
            mask = FUNCTIONS[f"mask{side}"].emit(out, (WORD,), (present,))
            loaded = []
            for row in range(top, top + side):
                displacement = out.do(f"mul i64 {text.word(stride)}, {row}")
                place = out.do(f"add i64 {text.word(at)}, {displacement}")
                place = out.do(f"add i64 {place}, {left}") if left else place
                address, row_mask = address_of(out, kinds[0], source, place), mask
                if not isinstance(rows, int) or rows <= row:
                    exists = out.do(f"icmp sgt i64 {text.word(rows)}, {row}")
                    row_mask = out.combine(
                        f"select i1 {exists}, {bits} {mask}, {bits} zeroinitializer"
                    )
                    # where nothing is mapped, a load that is off costs hundreds of cycles
                    address = out.do(f"select i1 {exists}, ptr {address}, ptr {target}")
                loaded.append(masked_load(out, kind, address, row_mask))
            for column, value in enumerate(_transpose_square(out, kind, loaded), left):
                displacement = out.do(f"mul i64 {text.word(step)}, {column}")
                place = out.do(f"add i64 {text.word(to)}, {displacement}")
                place = out.do(f"add i64 {place}, {top}") if top else place
                address = address_of(out, kinds[5], target, place)
                out.effect(f"store {kind.llvm} {value}, ptr {address}, align 1")
        return ""

    define(f"transpose{lanes}", result, emit)


#: Lanes between those that a square exchanges where LLVM stops to look back: it looks for one
#: shuffle in the place of any few, finds none, and takes a third longer for that.
FENCED: Final = 4


def _transpose_square(out: Emitter, kind: Vector, rows: list[str]) -> list[str]:
    """Emit the shuffles that transpose a square of as many vectors as they have lanes."""
    bit = 1
    while bit < kind.lanes:
        upper = [lane + kind.lanes - bit if lane & bit else lane for lane in range(kind.lanes)]
        lower = [lane + kind.lanes if lane & bit else lane + bit for lane in range(kind.lanes)]
        for row in range(kind.lanes):
            if not row & bit:
                pair = f"{kind.llvm} {rows[row]}, {kind.llvm} {rows[row + bit]}"
                rows[row], rows[row + bit] = (
                    out.do(f"shufflevector {pair}, {choice(lanes)}") for lanes in (upper, lower)
                )
        bit *= 2
        if kind.element.name == "f32" and bit == FENCED:
            rows = [_fence(out, kind, row) for row in rows]
    return rows


def _fence(out: Emitter, kind: Vector, value: str) -> str:
    """Return the same value behind a fence that hides its origin from LLVM."""
    name = f"llvm.arithmetic.fence.{_mangle_type(kind)}"
    return out.intrinsic(kind.llvm, name, [(kind.llvm, value)])


def _prefetch(write: int, locality: int = 3) -> Emit:
    """Define a prefetch of a cache line; an address that is not mapped does nothing.

    ``locality``: 3 for the first cache, 2 for the second one.
    """

    def emit(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        address = address_of(out, kinds[0], values[0], values[1])
        near, data = ("i32", str(locality)), ("i32", "1")
        out.intrinsic(
            "void", "llvm.prefetch.p0", [("ptr", address), ("i32", str(write)), near, data]
        )
        return ""

    return emit


def _prefetch_result(pointer: Kind, index: Kind) -> Kind | None:
    return NOTHING if isinstance(pointer, Pointer) and index is WORD else None


def _gather_result(pointer: Kind, index: Kind, mask: Kind) -> Kind | None:
    if isinstance(mask, Mask) and index == vector("i64", mask.lanes):
        return loaded_kind(pointer, WORD, mask)
    return None


def _store_at_result(pointer: Kind, index: Kind, value: Kind, mask: Kind) -> Kind | None:
    gathered = _gather_result(pointer, index, mask)
    return NOTHING if gathered is not None and gathered == value else None


def _define_pointer(element: Element) -> None:
    """Define the pointer kind of an element type: from a word, and as stack scratch."""
    kind = Pointer(element)

    def emit(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        return out.do(f"inttoptr i64 {text.word(values[0])} to ptr")

    def scratch(out: Emitter, kinds: Kinds, values: Values) -> Operand:
        count = values[0]
        most = _MOST_LOCAL // element.bytes
        if isinstance(count, str) or not 0 < count <= most:
            raise TypeError(f"local_{element.name} needs a literal count up to {most}")
        return out.allocate(element, int(count))

    define(kind.name, lambda word: kind if word is WORD else None, emit)
    define(f"local_{element.name}", lambda count: kind if count is WORD else None, scratch)


def _words(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    return out.read(f"alloca i64, i64 {text.word(values[0])}, align 8")


def _item(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    """``t[k]``: a word of an int64 record."""
    address = address_of(out, kinds[0], values[0], values[1])
    return out.read(f"load i64, ptr {address}, align 8")


def _place(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    """``address(p)``: a pointer as a word; ``ptr_f32`` and its like make it a pointer again."""
    return out.do(f"ptrtoint ptr {values[0]} to i64")


def _item_result(pointer: Kind, index: Kind) -> Kind | None:
    if isinstance(pointer, Pointer) and pointer.element.name == "i64" and index is WORD:
        return WORD
    return None


def _word(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    element = element_of(kinds[0])
    if element.llvm == WORD.llvm:
        return values[0]
    verb = "sext" if element.is_signed else "zext"
    return out.do(f"{verb} {element.llvm} {values[0]} to i64")


def _word_result(kind: Kind) -> Kind | None:
    if isinstance(kind, Vector) and kind.lanes == 1 and kind.element.kind in "biu":
        return WORD
    return None


def _real(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    element = element_of(kinds[0])
    if element.llvm == REAL.llvm:
        return values[0]
    return out.do(f"fpext {element.llvm} {values[0]} to {REAL.llvm}")


def _real_result(kind: Kind) -> Kind | None:
    if isinstance(kind, Vector) and kind.lanes == 1 and kind.element.kind == "f":
        return REAL
    return None


def _window(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    """Emit a load of bits from constant bytes, stored reversed for a little-endian load."""
    (position, *words), lanes = values, lanes_of(kinds[0])
    content = b"".join(int(word).to_bytes(8, "big") for word in words)[::-1]
    table, kind, last = out.table(content), vector("u64", lanes), len(content) - 8
    name, pair = f"llvm.usub.sat.{text.suffix(kind)}", (kind.llvm, text.constant(kind, last))
    byte = out.do(f"lshr {kind.llvm} {position}, {text.constant(kind, 3)}")
    place = out.intrinsic(kind.llvm, name, [pair, (kind.llvm, byte)])
    every = "true" if lanes == 1 else ALL_ON
    loaded = gather(out, Pointer(ELEMENTS["u8"]), table, place, every, lanes, kind)
    shift = out.do(f"and {kind.llvm} {position}, {text.constant(kind, 7)}")
    shifted = out.do(f"shl {kind.llvm} {loaded}, {shift}")
    return out.do(f"lshr {kind.llvm} {shifted}, {text.constant(kind, 12)}")


def _window_result(position: Kind, *words: Kind) -> Kind | None:
    if not isinstance(position, Vector) or position.element.name != "u64" or not words:
        return None
    return position if all(word is WORD for word in words) else None


for _count in EVERY_COUNT:
    _define_mask(_count)
    _define_unmasked(_count)
    if _count in LANES[1:]:
        _define_transpose(_count)
for _kind in ELEMENTS.values():
    _define_pointer(_kind)
define("local_words", lambda count: Pointer(ELEMENTS["i64"]) if count is WORD else None, _words)
define("load", loaded_kind, _load)
define("store", _store_result, _store)
define("load_at", _gather_result, _load_at)
define("store_at", _store_at_result, _store_at)
define("prefetch", _prefetch_result, _prefetch(0))
define("prefetch_second", _prefetch_result, _prefetch(0, 2))
define("prefetch_write", _prefetch_result, _prefetch(1))
define("mask_of", _mask_of_result, _mask_of)
define("mask_bits", lambda m: WORD if isinstance(m, Mask) and m.lanes > 1 else None, _mask_bits)
define("word", _word_result, _word)
define("real", _real_result, _real)
define("window", _window_result, _window)
define("address", lambda pointer: WORD if isinstance(pointer, Pointer) else None, _place)
define("getitem", _item_result, _item)


#: The longest stride, of either sign, whose lanes are chosen from whole vectors.
LONGEST: Final = 4


@dataclass(frozen=True)
class _Span:
    """The memory between the first and the last of some lanes, and the vectors that cover it."""

    kind: Vector
    stride: int

    @property
    def step(self) -> int:
        return abs(self.stride)

    @property
    def length(self) -> int:
        """Elements from the lowest lane to the highest one."""
        return self.step * (self.kind.lanes - 1) + 1

    @property
    def offsets(self) -> tuple[int, ...]:
        """The offsets of vectors that cover exactly the span; the last ones may overlap."""
        lanes = self.kind.lanes
        return tuple(min(n * lanes, self.length - lanes) for n in range(self.step))

    @property
    def places(self) -> list[int]:
        """The element of the span that each lane is."""
        lanes = range(self.kind.lanes)
        return [self.step * (lane if self.stride > 0 else lanes[-1] - lane) for lane in lanes]

    def lowest(self, out: Emitter, start: Operand) -> str:
        """The position of the span's first element."""
        back = 0 if self.stride > 0 else self.length - 1
        if back == 0:
            return text.word(start)
        return out.do(f"sub i64 {text.word(start)}, {back}")

    def lane(self, element: int, up: bool) -> int:
        """The lane at an element of the span, or next to it: the one above, or below, in memory."""
        lane = -(-element // self.step) if up else element // self.step
        return lane if self.stride > 0 else self.kind.lanes - 1 - lane

    def mask_between(self, out: Emitter, mask: Operand, offset: int) -> str:
        """Emit the mask of the elements of a vector that lie between lanes that are on."""
        elements = range(offset, offset + self.kind.lanes)
        above, below = ([self.lane(e, up) for e in elements] for up in (True, False))
        above_bits = _shuffle_mask(out, mask, self.kind.lanes, above)
        if above == below or mask == ALL_ON:
            return above_bits
        below_bits = _shuffle_mask(out, mask, self.kind.lanes, below)
        return out.combine(f"and <{self.kind.lanes} x i1> {above_bits}, {below_bits}")


def _shuffle_mask(out: Emitter, mask: Operand, lanes: int, sources: list[int]) -> str:
    """Emit a shuffle of a mask's bits; source number ``lanes`` is off."""
    if sources == [*range(lanes)] or (mask == ALL_ON and max(sources) < lanes):
        return str(mask)
    bits = f"<{lanes} x i1>"
    if mask == ALL_ON:
        return f"<{', '.join(f'i1 {str(lane < lanes).lower()}' for lane in sources)}>"
    return out.do(f"shufflevector {bits} {mask}, {bits} zeroinitializer, {choice(sources)}")


def _load_strided_span(out: Emitter, span: _Span, pointer: Kind, values: Values) -> str:
    """Emit a strided load as full vector loads and shuffles that pick the lanes."""
    base, start, _, mask = values
    kind, low = span.kind, span.lowest(out, start)
    result, places, lanes = "poison", span.places, span.kind.lanes
    picked = [*range(lanes)]  # of what was found before
    for offset in span.offsets:
        at = address_of(out, pointer, base, out.do(f"add i64 {low}, {offset}"))
        new = masked_load(out, kind, at, span.mask_between(out, mask, offset))
        picked = [
            lanes + place - offset if 0 <= place - offset < lanes else lane
            for lane, place in enumerate(places)
        ]
        if picked == [lanes + lane for lane in range(lanes)]:
            result = new
            continue
        pair = f"{kind.llvm} {result}, {kind.llvm} {new}"
        result = out.do(f"shufflevector {pair}, {choice(picked)}")
    return result


def _store_strided_span(out: Emitter, span: _Span, pointer: Kind, values: Values) -> None:
    """Emit a strided store without writing between the lanes: other workers may write there."""
    base, start, _, value, mask = values
    kind, low, lanes = span.kind, span.lowest(out, start), span.kind.lanes
    if mask == ALL_ON and span.step > 1 and _is_stored_in_parts(out, kind):
        for lane, place in enumerate(span.places):
            at = address_of(out, pointer, base, out.do(f"add i64 {low}, {place}"))
            scalar = out.do(f"extractelement {kind.llvm} {value}, i64 {lane}")
            out.effect(f"store {kind.element.llvm} {scalar}, ptr {at}, align 1")
        return
    written = -1
    for offset in span.offsets:
        at = address_of(out, pointer, base, out.do(f"add i64 {low}, {offset}"))
        lane_by_element = {
            place - offset: lane
            for lane, place in enumerate(span.places)
            if max(offset, written + 1) <= place < offset + lanes
        }
        bits = _shuffle_mask(
            out, mask, lanes, [lane_by_element.get(element, lanes) for element in range(lanes)]
        )
        order = choice([lane_by_element.get(element, 0) for element in range(lanes)])
        shuffled = out.do(f"shufflevector {kind.llvm} {value}, {kind.llvm} poison, {order}")
        masked_store(out, kind, at, shuffled, bits)
        written = offset + lanes - 1


def _strided_index(out: Emitter, lanes: int, start: Operand, stride: Operand) -> str:
    """Emit the indices ``start + lane * stride`` of a strided access."""
    if lanes == 1:
        return text.word(start)
    kind = vector("i64", lanes)
    steps = out.splat(kind, text.word(stride))
    offsets = out.do(f"mul {kind.llvm} {steps}, {text.lane_numbers(kind)}")
    return out.do(f"add {kind.llvm} {offsets}, {out.splat(kind, text.word(start))}")


def _span_of(pointer: Kind, stride: Operand, lanes: int) -> _Span | None:
    """Return the span that whole vectors cover; None if the stride does not allow them."""
    if lanes == 1 or not isinstance(stride, int) or not 1 <= abs(stride) <= LONGEST:
        return None
    return _Span(vector(element_of(pointer), lanes), int(stride))


def _load_strided(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    lanes = lanes_of(kinds[3])
    span = _span_of(kinds[0], values[2], lanes)
    if span is not None:
        return _load_strided_span(out, span, kinds[0], values)
    index = _strided_index(out, lanes, values[1], values[2])
    return gather(out, kinds[0], values[0], index, values[3], lanes)


def _store_strided(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    """Emit a strided store: shuffled vector stores for short strides, else a scatter."""
    lanes = lanes_of(kinds[4])
    span = _span_of(kinds[0], values[2], lanes)
    if span is not None:
        _store_strided_span(out, span, kinds[0], values)
        return ""
    index = _strided_index(out, lanes, values[1], values[2])
    scatter(out, kinds[0], values[0], index, values[3], values[4], lanes)
    return ""


def _loaded_strided(pointer: Kind, index: Kind, stride: Kind, mask: Kind) -> Kind | None:
    return loaded_kind(pointer, index, mask) if stride is WORD else None


def _stored_strided(
    pointer: Kind, index: Kind, stride: Kind, value: Kind, mask: Kind
) -> Kind | None:
    return NOTHING if value == _loaded_strided(pointer, index, stride, mask) else None


define("load_strided", _loaded_strided, _load_strided)
define("store_strided", _stored_strided, _store_strided)


#: Bytes on whose multiples a vector begins that may be stored so: half a line.
ALIGNED: Final = 32


def _fits(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    """Emit whether a streaming store is possible: the address is aligned and all lanes are on."""
    address = address_of(out, kinds[0], values[0], values[1])
    place = out.do(f"ptrtoint ptr {address} to i64")
    beyond = out.do(f"and i64 {place}, {ALIGNED - 1}")
    lined = out.do(f"icmp eq i64 {beyond}, 0")
    if values[2] == ALL_ON:
        return lined
    lanes = lanes_of(kinds[2])
    bits = out.do(f"bitcast {kinds[2].llvm} {values[2]} to i{lanes}")
    all_on = out.do(f"icmp eq i{lanes} {bits}, -1")
    return out.do(f"and i1 {lined}, {all_on}")


def _fitting(pointer: Kind, index: Kind, mask: Kind) -> Kind | None:
    has_lanes = isinstance(mask, Mask) and mask.lanes > 1
    return TRUTH if isinstance(pointer, Pointer) and index is WORD and has_lanes else None


def _stream(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    address = address_of(out, kinds[0], values[0], values[1])
    passing = f"align {ALIGNED}, !nontemporal !{{i32 1}}"
    out.effect(f"store {kinds[2].llvm} {values[2]}, ptr {address}, {passing}")
    return ""


def _stream_result(pointer: Kind, index: Kind, value: Kind) -> Kind | None:
    if not (isinstance(pointer, Pointer) and isinstance(value, Vector) and index is WORD):
        return None
    wide = value.lanes * value.element.bytes >= ALIGNED
    return NOTHING if wide and value.element == pointer.element else None


def _settle(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    out.effect("fence seq_cst")
    return ""


define("fits", _fitting, _fits)
define("stream", _stream_result, _stream)
define("settle", lambda: NOTHING, _settle)
