"""Scalar expressions as lines of Python that Numba compiles to the same bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from staticgrad.language.ir.expr import BLOCKS, COMPARE, SIGNS, Expr, postorder, ref, words_of
from staticgrad.language.ir.scalar_loop import Iterated, ScalarLoop
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import F32, DType
from staticgrad.language.vecmath.blocks import expand
from staticgrad.language.vecmath.layout import scaled_in_steps

#: The element types of a file, by code: the name in the file. Loops are called i8. Elements for
#: storage are their bits, for Numba has no such numbers.
NAMES: Final = {
    "bool": "bool_", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "u8", "u16": "u16", "u32": "u32", "u64": "u64", "f32": "f32", "f64": "f64",
    "f16": "u16", "bf16": "u16",
}  # fmt: skip
#: Characters of a line from which on an expression gets a name of its own.
_LONG: Final = 60
#: Primitives that are functions of the file (``prelude.PRELUDE``), by name.
_CALLED: Final = {
    "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint",
    "fma": "fma", "maximum": "maximum", "minimum": "minimum", "abs": "absolute",
    "c_fmod": "c_fmod",
}  # fmt: skip
_OF_INTEGERS: Final = {
    "maximum": "larger", "minimum": "smaller", "floor_divide": "floor_divide",
    "remainder": "remainder",
}  # fmt: skip


class Indented:
    """Lines of source, each at the depth at which it is added."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.depth = 1

    def add(self, *lines: str) -> None:
        """Append lines at the present depth."""
        self.text += ["    " * self.depth + line for line in lines]

    def open(self, line: str) -> None:
        """Append a line that ends in a colon, and go one deeper."""
        self.add(line)
        self.depth += 1


class Functions:
    """The functions that a file needs: its helpers by name, and mathematical ones with their text.

    ``blocks`` has the functions of ``vecmath`` that kernels call, those they call first.
    """

    def __init__(self) -> None:
        self.helpers: set[str] = set()
        self.blocks: dict[str, str] = {}

    def helper(self, name: str) -> str:
        """The name of a helper, which the file will have."""
        self.helpers.add(name)
        return name

    def block(self, op: str, dtype: DType) -> str:
        """The name of a mathematical function, which the file will have."""
        name = f"{op}_{NAMES[dtype.code]}"
        if name not in self.blocks:
            takes = [f"x{n}" for n in range(BLOCKS[op].operands)]
            body = Scalars(Indented(), self, lambda expr, _: str(expr.attribute))
            (value,) = body.values([expand(op, *(ref(x, dtype) for x in takes))])
            body.lines.add(f"return {value}")
            head = f"@jit(forceinline=True)\ndef {name}({', '.join(takes)}):"
            self.blocks[name] = "\n".join([head, *body.lines.text])
        return name


def storable(dtype: DType) -> str:
    """Return the name of an element type in the file; of one for storage that of its bits."""
    return NAMES[dtype.code]


def literal(value: object, dtype: DType) -> str:
    """A constant of an element type."""
    name = storable(dtype)
    if dtype.is_bool:
        return str(bool(value))
    if dtype.is_storage:
        return f"{name}({convert_array(np.asarray(value), dtype).view(np.uint16)})"
    if not dtype.is_float:
        return str(value) if name == "int64" else f"{name}({value})"
    number = float(value)  # type: ignore[arg-type]
    text = repr(number)
    if name == "f32":
        short = str(np.float32(number))
        text = short if np.float32(float(short)) == np.float32(number) else text
    text = text if np.isfinite(number) else text.replace("nan", "np.nan").replace("inf", "np.inf")
    return f"f32({text})" if name == "f32" else text


class Scalars:
    """A writer of expressions into ``lines``; one that has several readers gets a name.

    ``leaf`` returns the text of a load, index, size or ref, given the texts of its indices.
    """

    def __init__(
        self,
        lines: Indented,
        functions: Functions,
        leaf: Callable[[Expr, Sequence[str]], str],
        count: list[int] | None = None,
    ) -> None:
        self.lines, self.functions, self._leaf = lines, functions, leaf
        self._count = [0] if count is None else count
        self._known: dict[int, str] = {}
        self._readers: Counter[int] = Counter()
        self._ended: dict[ScalarLoop, list[str]] = {}
        self._kept: list[Expr] = []  # ids are those of living expressions

    def fresh(self) -> str:
        """A name that nothing has yet."""
        self._count[0] += 1
        return f"v{self._count[0] - 1}"

    def announce(self, roots: Iterable[Expr]) -> None:
        """Count the readers of each expression under ``roots``; one with several gets a name."""
        roots = list(roots)
        self._kept += roots
        for expr in postorder(roots):
            self._readers.update(id(arg) for arg in expr.args)
        self._readers.update(id(root) for root in roots)

    def values(self, roots: Sequence[Expr]) -> list[str]:
        """The texts of expressions; lines that they need are written."""
        if any(id(root) not in self._readers for root in roots):
            self.announce(roots)
        self._write(roots)
        return [self._known[id(root)] for root in roots]

    def name(self, expr: Expr) -> str:
        """The text of an expression that is a name or a number."""
        (text,) = self.values([expr])
        self._known[id(expr)] = text = self._named(text)
        return text

    def _named(self, text: str) -> str:
        if is_simple(text):
            return text
        name = self.fresh()
        self.lines.add(f"{name} = {bare(text)}")
        return name

    def _write(self, roots: Iterable[Expr]) -> None:
        order = list(_usual(roots, self._known))
        for expr in order:
            if id(expr) in self._known:
                continue
            if expr.op == "rarely":
                self._write_rarely(expr, order)
            elif isinstance(expr, Iterated):
                if expr.loop not in self._ended:
                    self._write_loop(expr.loop, expr)
                self._known[id(expr)] = self._ended[expr.loop][expr.place]
            else:
                text = self._text(expr)
                several = self._readers[id(expr)] != 1 and not is_simple(text)
                if several or len(text) > _LONG or expr.op == "select":
                    text = self._named(text)
                self._known[id(expr)] = text

    def _write_rarely(self, expr: Expr, order: Sequence[Expr]) -> None:
        """Write all choices by one condition; an ``if`` computes what only unusual values need."""
        condition = self.name(expr.args[0])
        choices = [e for e in order if e.op == "rarely" and e.args[0] is expr.args[0]]
        names = {id(choice): self.fresh() for choice in choices}
        for unusual in (False, True):
            if unusual:
                self.lines.open(f"if {condition}:")
            before = dict(self._known)
            values = [choice.args[1 if unusual else 2] for choice in choices]
            self._write(values)
            for name, value in zip(names.values(), values, strict=True):
                self.lines.add(f"{name} = {bare(self._known[id(value)])}")
        self.lines.depth -= 1
        self._known = before | names

    def _write_loop(self, loop: ScalarLoop, expr: Expr) -> None:
        """Write a loop over carried values that ends early if its condition fails."""
        for each in loop.outside:
            self._known[id(each)] = self._named(self._known[id(each)])
        before = dict(self._known)
        self._ended[loop] = names = [self.fresh() for _ in loop.carried]
        for name, first in zip(names, expr.args, strict=False):
            self.lines.add(f"{name} = {bare(self._known[id(first)])}")
        self.lines.open(f"for _ in range({loop.iterations}):")
        self._known |= {id(e): name for e, name in zip(loop.carried, names, strict=True)}
        self.announce(loop.roots)
        self.lines.open(f"if not {self.name(loop.going)}:")
        self.lines.add("break")
        self.lines.depth -= 1
        after = self.values(loop.following)
        self.lines.add(f"{', '.join(names)} = {', '.join(map(bare, after))}")
        self.lines.depth -= 1
        self._known = before

    def _text(self, expr: Expr) -> str:
        args = [self._known[id(arg)] for arg in expr.args]
        dtype, op = expr.dtype, expr.op
        if op == "literal":
            return literal(expr.attribute, dtype)
        if op in ("load", "index", "size", "ref"):
            return self._leaf(expr, args)
        if op in BLOCKS:
            return f"{self.functions.block(op, dtype)}({', '.join(map(bare, args))})"
        if op == "select":
            yes, no = (self._named(arg) for arg in args[1:])
            return f"({yes} if {bare(args[0])} else {no})"
        if op == "cast":
            return _cast(args[0], expr.args[0].dtype, dtype, self.functions)
        if op == "bitcast":
            return f"{self.functions.helper(f'as_{storable(dtype)}')}({bare(args[0])})"
        if op == "scale":
            steps = scaled_in_steps(*(ref(self._named(a), dtype) for a in args))
            within = Scalars(self.lines, self.functions, lambda e, _: str(e.attribute), self._count)
            return within.values([steps])[0]
        if op == "window":
            words = ", ".join(f"u64({word})" for word in words_of(str(expr.attribute)))
            return f"{self.functions.helper('window')}({bare(args[0])}, ({words}))"
        if op in ("shl", "shr"):
            return self._shift(expr, args)
        return operation(op, args, dtype, self.functions)

    def _shift(self, expr: Expr, args: Sequence[str]) -> str:
        count, dtype = expr.args[1], expr.dtype
        sign = SIGNS[expr.op]
        number = count.attribute
        if count.op == "literal" and isinstance(number, int) and 0 <= number < dtype.bits:
            return _wrap(f"({args[0]} {sign} {args[1]})", dtype)
        name = self.functions.helper("shift_left" if expr.op == "shl" else "shift_right")
        return _wrap(f"{name}({args[0]}, {args[1]}, {dtype.bits})", dtype)


def _usual(roots: Iterable[Expr], known: Mapping[int, str]) -> Iterable[Expr]:
    """Yield the expressions, operands first, without those that only an unusual value needs."""
    met = set(known)
    stack = [*reversed([*roots])]
    while stack:
        expr = stack[-1]
        if id(expr) in met:
            stack.pop()
            continue
        args = (expr.args[0], expr.args[2]) if expr.op == "rarely" else expr.args
        missing = [arg for arg in args if id(arg) not in met]
        if missing:
            stack += reversed(missing)
            continue
        met.add(id(expr))
        stack.pop()
        yield expr


def operation(op: str, args: Sequence[str], dtype: DType, functions: Functions) -> str:
    """Return the text of a primitive that is an operator of Python or a helper of the file."""
    called = _CALLED.get(op) if dtype.is_float else _OF_INTEGERS.get(op)
    if called is not None:
        return _wrap(f"{functions.helper(called)}({', '.join(map(bare, args))})", dtype)
    if op in ("neg", "not", "abs"):
        sign = {"neg": "-", "not": "not " if dtype.is_bool else "~", "abs": "abs"}[op]
        return _wrap(f"({sign}{args[0]})" if op != "abs" else f"abs({bare(args[0])})", dtype)
    if dtype.is_integer and (same := _unchanged(op, args)) is not None:
        return same
    text = f"({args[0]} {SIGNS[op]} {args[1]})"
    return text if op in COMPARE else _wrap(text, dtype)


def _unchanged(op: str, args: Sequence[str]) -> str | None:
    """The operand that an integer sum or product is equal to, if one is 0 or 1."""
    neutral = {"add": "0", "mul": "1"}.get(op)
    if op == "mul" and "0" in args:
        return "0"
    return next((args[1 - n] for n, arg in enumerate(args) if arg == neutral), None)


#: Integers that Numba computes with as they are.
WORDS: Final = frozenset({"i64", "u64"})
#: By which helper a float becomes an integer: as the processor does, by way of 32 or 64 bits.
_ROADS: Final = (
    dict.fromkeys(("i8", "i16", "u8", "u16", "i32"), "to_i32")
    | dict.fromkeys(("u32", "i64"), "to_i64")
    | {"u64": "to_u64"}
)


def _wrap(text: str, dtype: DType) -> str:
    """Convert an integer to its element type if Numba computes it with 64 bits."""
    if dtype.is_integer and dtype.code not in WORDS:
        return f"{NAMES[dtype.code]}({bare(text)})"
    return text


def _cast(text: str, source: DType, dtype: DType, functions: Functions) -> str:
    """Convert a value; a float that an integer cannot hold is the smallest integer of its road."""
    if source.is_storage:
        text, source = widened(text, source, functions), source.compute
        if source is dtype:
            return text
    if dtype.is_bool:
        return f"({text} != 0)"
    name, text = storable(dtype), bare(text)
    if dtype.is_storage:
        return f"{functions.helper(f'narrow_{dtype.code}')}({_single(text, source, functions)})"
    if source.is_float and dtype.is_integer:
        road = _ROADS[dtype.code]
        text = f"{functions.helper(road)}({text})"
        return text if road == f"to_{dtype.code}" else f"{name}({text})"
    return f"{name}({text})"


def widened(text: str, dtype: DType, functions: Functions) -> str:
    """Return an element for storage as a float32."""
    return f"{functions.helper(f'widen_{dtype.code}')}({bare(text)})"


def _single(text: str, source: DType, functions: Functions) -> str:
    """Return a number as a float32 that a second rounding rounds as it would round the number."""
    if source.digits <= F32.digits:
        return text if source is F32 else f"f32({text})"
    if source.code in WORDS:
        name = NAMES[source.code]
        text = f"{functions.helper('odd_f64')}({text}, {name}(2047), {name}(2048))"
    return f"{functions.helper('odd_f32')}(f64({text}))"


def is_simple(text: str) -> bool:
    """Return whether a text is a name or a number."""
    if text.endswith(")") and text.split("(", 1)[0] in NAMES.values():
        text = text.split("(", 1)[1][:-1]
    return text.replace("_", "").replace(".", "").replace("-", "").replace("+", "").isalnum()


def bare(text: str) -> str:
    """A text without the parentheses around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text
