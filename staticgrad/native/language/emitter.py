"""Writes LLVM IR text for one function: instructions, constants, declarations, scratch.

It writes values, not what the operations of the kernel language mean
(:mod:`staticgrad.native.language.operations`), nor control flow
(:mod:`staticgrad.native.language.frontend`).
"""

from __future__ import annotations

import functools
import hashlib
import struct
from typing import TYPE_CHECKING, Final

from staticgrad.native.language.kinds import Element, Vector, literal_value
from staticgrad.native.language.parts import INTERNAL, ModulePart

if TYPE_CHECKING:
    from staticgrad.native.target import Target

Operand = str | int | float | bool
"""An SSA name or constant expression as text, or a literal of the source as a Python number."""


External = tuple[str, tuple[str, ...]]
"""Result type and argument types of a function that is declared, by its name."""


def literal(element: Element, value: int | float | bool) -> str:
    """The LLVM constant of a Python number in exactly this element type."""
    return _format_literal(element, value, repr(value))


@functools.lru_cache(maxsize=1 << 10)
def _format_literal(element: Element, value: int | float | bool, text: str) -> str:
    """The same; ``text`` tells numbers apart that are equal, such as zeros of both signs."""
    exact = literal_value(element, value)
    if element.kind != "f":
        return str(int(exact))
    number = float(exact)
    return "0x7FF8000000000000" if number != number else f"0x{_bits(number):016X}"


def _bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


#: How the names of intrinsics begin that touch memory.
_TOUCHING: Final = ("llvm.masked.", "llvm.prefetch.")


class Emitter:
    """A collector of the text of one LLVM function, block by block.

    An instruction is not written again if an equal one comes first on every path; the writer of
    blocks marks where that ends (``mark``, ``forget``).
    """

    def __init__(self, target: Target, stem: str = "v") -> None:
        self.target = target
        self.lines: list[str] = []
        self.bits: dict[str, str] = {}
        """Bytes 0/1 that were widened -> the i1 per lane that they were."""
        self.seldom: set[str] = set()
        """Tests that are rarely true."""
        self.chosen: dict[str, tuple[str, Operand, Operand]] = {}
        """Words that are one of two -> the i1 that chooses, and both."""
        self.combined: set[str] = set()
        """Masks that are expressions of masks."""
        self.accesses: dict[str, tuple[str, Vector]] = {}
        """Functions of masked accesses that are called: ``load`` or ``store``, of which kind."""
        self._names_by_instruction: dict[str, str] = {}
        self._order: list[str] = []
        self.scratch: list[str] = []
        self.flushes = False
        """True where the environment makes subnormal numbers zero."""
        self.externals: dict[str, External] = {}
        self.parts: dict[str, ModulePart] = {}
        """Functions and variables that are used, and all that these use, before their users."""
        self.uses: dict[str, None] = {}
        """The names of those that the function itself uses."""
        self._stem = stem
        self._count = 0

    def fresh(self) -> str:
        """A new SSA name."""
        self._count += 1
        return f"%{self._stem}{self._count}"

    def do(self, instruction: str, lines: str = "") -> str:
        """Emit a pure instruction, or reuse an equal one; return its SSA value.

        ``lines`` compute it where the target has no such instruction; ``<v>`` is the name in them.
        """
        name_of_equal = self._names_by_instruction.get(instruction)
        if name_of_equal is not None:
            return name_of_equal
        self._count += 1
        name = self._names_by_instruction[instruction] = f"%{self._stem}{self._count}"
        self.lines.append(lines.replace("<v>", name) if lines else f"  {name} = {instruction}")
        self._order.append(instruction)
        return name

    def place(self, element: str, base: Operand, index: Operand) -> str:
        """The address of an element so far behind a base."""
        if index == 0:
            return str(base)
        return self.do(f"getelementptr {element}, ptr {base}, i64 {word(index)}")

    def read(self, instruction: str) -> str:
        """Appends an instruction whose value depends on memory; returns its name."""
        name = self.fresh()
        self.lines.append(f"  {name} = {instruction}")
        return name

    def mark(self) -> int:
        """A place to go back to with ``forget``."""
        return len(self._order)

    def forget(self, mark: int) -> None:
        """Forget values computed since a mark, which the next block may be reached without."""
        for instruction in self._order[mark:]:
            del self._names_by_instruction[instruction]
        del self._order[mark:]

    def effect(self, instruction: str) -> None:
        """Appends an instruction without a value."""
        self.lines.append(f"  {instruction}")

    def allocate(self, element: Element, count: int) -> str:
        """Stack room for ``count`` elements, aligned to 64 bytes, in the entry block."""
        name = self.fresh()
        self.scratch.append(f"  {name} = alloca [{count} x {element.llvm}], align 64")
        return name

    def intrinsic(self, result: str, name: str, arguments: list[tuple[str, str]]) -> str:
        """Emit a call of an LLVM intrinsic; ``arguments`` are (type, value) pairs."""
        self.externals[name] = (result, tuple([kind for kind, _ in arguments]))
        passed = ", ".join([f"{kind} {value}" for kind, value in arguments])
        call = f"call {result} @{name}({passed})"
        if result == "void":
            self.effect(call)
            return ""
        return self.read(call) if name.startswith(_TOUCHING) else self.do(call)

    def table(self, content: bytes) -> str:
        """The address of constant bytes, which every function that names them shares."""
        name = f"sg_table_{hashlib.blake2b(content, digest_size=8).hexdigest()}"
        data = "".join(f"\\{byte:02X}" for byte in content)
        value = f'constant [{len(content)} x i8] c"{data}", align 64'
        self.use(ModulePart(name, "variable", value, linkage=INTERNAL))
        return f"@{name}"

    def use(self, part: ModulePart) -> None:
        """The function uses a part of its module."""
        self.parts[part.name] = part
        self.uses[part.name] = None

    def combine(self, instruction: str) -> str:
        """The same as ``do``, of a mask made of masks."""
        name = self.do(instruction)
        self.combined.add(name)
        return name

    def splat(self, kind: Vector, scalar: str) -> str:
        """Broadcasts a runtime scalar of the element type to all lanes."""
        if kind.lanes == 1:
            return scalar
        first = self.do(f"insertelement {kind.llvm} poison, {kind.element.llvm} {scalar}, i64 0")
        zeros = f"<{kind.lanes} x i32> zeroinitializer"
        return self.do(f"shufflevector {kind.llvm} {first}, {kind.llvm} poison, {zeros}")


def constant(kind: Vector, value: int | float | bool) -> str:
    """A literal in every lane."""
    text = literal(kind.element, value)
    if kind.lanes == 1:
        return text
    return f"splat ({kind.element.llvm} {text})"


def lane_numbers(kind: Vector) -> str:
    """The constant 0, 1, 2, ... of an integer vector kind."""
    if kind.lanes == 1:
        return "0"
    scalar = kind.element.llvm
    return "<" + ", ".join(f"{scalar} {lane}" for lane in range(kind.lanes)) + ">"


def word(value: Operand) -> str:
    """The text of an int64 operand."""
    if isinstance(value, str):
        return value
    return str(int(value))


def suffix(kind: Vector) -> str:
    """The type part of an intrinsic's mangled name (``v16f32``, ``i8``)."""
    scalar = scalar_suffix(kind.element)
    return scalar if kind.lanes == 1 else f"v{kind.lanes}{scalar}"


def scalar_suffix(element: Element) -> str:
    """The same of one lane, by its LLVM type."""
    return {"float": "f32", "double": "f64"}.get(element.llvm, element.llvm)
