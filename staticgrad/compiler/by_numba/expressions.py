"""Write scalar expressions as lines of Python; what Numba compiles is bitwise identical."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from staticgrad.compiler.by_numba.text import (
    ATOM,
    NAME,
    Text,
    add,
    call,
    choose,
    multiply,
    operate,
    sign,
)
from staticgrad.language.ir.expr import BLOCKS, COMPARE, SIGNS, Expr, postorder, ref, words_of
from staticgrad.language.ir.scalar_loop import Iterated, ScalarLoop
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import F32, DType
from staticgrad.language.vecmath.blocks import expand
from staticgrad.language.vecmath.layout import scaled_in_steps
from staticgrad.support.traversal import operands_first

#: The name of each dtype in a file, by its code. (Loops may be named i8, so i8 is int8.) Storage
#: dtypes are unsigned integers with the same bits, because Numba does not have them.
NAMES: Final = {
    "bool": "bool_", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "u8", "u16": "u16", "u32": "u32", "u64": "u64", "f32": "f32", "f64": "f64",
    "f16": "u16", "bf16": "u16",
}  # fmt: skip
#: Characters of an expression, at most, without a variable.
_LONG: Final = 60
#: Primitives that are helper functions of the file (``prelude.PRELUDE``).
_FUNCTIONS: Final = {
    "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint",
    "fma": "fma", "maximum": "maximum", "minimum": "minimum", "abs": "absolute",
    "c_fmod": "c_fmod",
}  # fmt: skip
_INTEGER_FUNCTIONS: Final = {
    "maximum": "larger", "minimum": "smaller", "floor_divide": "floor_divide",
    "remainder": "remainder",
}  # fmt: skip


class Indented:
    """Lines of source with indentation."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.depth = 1

    def add(self, *lines: str) -> None:
        """Append lines at the current depth."""
        self.text += ["    " * self.depth + line for line in lines]

    def open_block(self, line: str) -> None:
        """Append a line that opens a block, and indent the following lines."""
        self.add(line)
        self.depth += 1


class Functions:
    """The functions that a file needs: helpers by name, mathematical functions with their text.

    ``blocks``: the functions of ``vecmath`` that kernels call, callees first.
    """

    def __init__(self) -> None:
        self.helpers: set[str] = set()
        self.blocks: dict[str, str] = {}

    def helper(self, name: str) -> str:
        """Add a helper to the file, and return its name."""
        self.helpers.add(name)
        return name

    def block(self, op: str, dtype: DType) -> str:
        """Add a mathematical function (exp, sin, ...) to the exported file, and return its name."""
        name = f"{op}_{NAMES[dtype.code]}"
        if name not in self.blocks:
            parameters = [f"x{n}" for n in range(BLOCKS[op].operands)]
            body = Scalars(Indented(), self, lambda expr, _: Text(str(expr.attribute)))
            (value,) = body.values([expand(op, *(ref(x, dtype) for x in parameters))])
            body.lines.add(f"return {value.alone}")
            head = f"@jit(forceinline=True)\ndef {name}({', '.join(parameters)}):"
            self.blocks[name] = "\n".join([head, *body.lines.text])
        return name


def storable(dtype: DType) -> str:
    """Return the name of a dtype in the file; for storage dtypes the integer with its bits."""
    return NAMES[dtype.code]


def literal(value: object, dtype: DType) -> Text:
    """Return the Python source of a constant of a dtype."""
    name = storable(dtype)
    if dtype.is_bool:
        return Text(str(bool(value)))
    if dtype.is_storage:
        return Text(f"{name}({convert_array(np.asarray(value), dtype).view(np.uint16)})")
    if not dtype.is_float:
        return Text(str(value) if name == "int64" else f"{name}({value})")
    number = float(value)  # type: ignore[arg-type]
    digits = repr(number)
    if name == "f32":
        short = str(np.float32(number))
        digits = short if np.float32(float(short)) == np.float32(number) else digits
    if not np.isfinite(number):
        digits = digits.replace("nan", "np.nan").replace("inf", "np.inf")
    return Text(f"f32({digits})" if name == "f32" else digits)


class Scalars:
    """A writer of expressions into ``lines``; an expression with several readers gets a variable.

    ``leaf`` returns the source of a load, index, size or ref, given that of its indices.
    """

    def __init__(
        self,
        lines: Indented,
        functions: Functions,
        leaf: Callable[[Expr, Sequence[Text]], Text],
        count: list[int] | None = None,
    ) -> None:
        self.lines, self.functions, self._leaf = lines, functions, leaf
        self._count = [0] if count is None else count
        self._texts: dict[int, Text] = {}
        self._readers: Counter[int] = Counter()
        self._loop_results: dict[ScalarLoop, list[Text]] = {}
        self._alive: list[Expr] = []  # keeps expressions alive, so that their ids stay valid

    def new_name(self) -> Text:
        """Return a new variable."""
        self._count[0] += 1
        return Text(f"v{self._count[0] - 1}")

    def announce(self, roots: Iterable[Expr]) -> None:
        """Count the readers of each expression under ``roots``."""
        roots = list(roots)
        self._alive += roots
        for expr in postorder(roots):
            self._readers.update(id(arg) for arg in expr.args)
        self._readers.update(id(root) for root in roots)

    def values(self, roots: Sequence[Expr]) -> list[Text]:
        """Return the source of expressions, and write the lines that they need."""
        if any(id(root) not in self._readers for root in roots):
            self.announce(roots)
        self._write(roots)
        return [self._texts[id(root)] for root in roots]

    def name(self, expr: Expr) -> Text:
        """Return the source of an expression as a variable or a number."""
        (text,) = self.values([expr])
        self._texts[id(expr)] = text = self._assign_name(text)
        return text

    def _assign_name(self, text: Text) -> Text:
        if text.is_simple:
            return text
        name = self.new_name()
        self.lines.add(f"{name} = {text.alone}")
        return name

    def _write(self, roots: Iterable[Expr]) -> None:
        """Write the Python lines of expressions; texts that are shared or long get a name."""
        order = list(_common_expressions(roots, self._texts))
        for expr in order:
            if id(expr) in self._texts:
                continue
            if expr.op == "rarely":
                self._write_rarely(expr, order)
            elif isinstance(expr, Iterated):
                if expr.loop not in self._loop_results:
                    self._write_loop(expr.loop, expr)
                self._texts[id(expr)] = self._loop_results[expr.loop][expr.place]
            else:
                text = self._source_of(expr)
                is_shared = self._readers[id(expr)] != 1 and not text.is_simple
                if is_shared or len(str(text)) > _LONG or expr.op == "select":
                    text = self._assign_name(text)
                self._texts[id(expr)] = text

    def _write_rarely(self, expr: Expr, order: Sequence[Expr]) -> None:
        """Write Python choices by one condition; only its ``if`` branch computes the rare case."""
        condition = self.name(expr.args[0])
        choices = [e for e in order if e.op == "rarely" and e.args[0] is expr.args[0]]
        names = {id(choice): self.new_name() for choice in choices}
        for unusual in (False, True):
            if unusual:
                self.lines.open_block(f"if {condition}:")
            texts_before = dict(self._texts)
            values = [choice.args[1 if unusual else 2] for choice in choices]
            self._write(values)
            for name, value in zip(names.values(), values, strict=True):
                self.lines.add(f"{name} = {self._texts[id(value)].alone}")
        self.lines.depth -= 1
        self._texts = texts_before | names

    def _write_loop(self, loop: ScalarLoop, expr: Expr) -> None:
        """Write a Python loop over carried scalars, which ends early if its condition is False."""
        for invariant in loop.outside:
            self._texts[id(invariant)] = self._assign_name(self._texts[id(invariant)])
        texts_before = dict(self._texts)
        self._loop_results[loop] = names = [self.new_name() for _ in loop.carried]
        for name, first in zip(names, expr.args, strict=False):
            self.lines.add(f"{name} = {self._texts[id(first)].alone}")
        self.lines.open_block(f"for _ in range({loop.iterations}):")
        self._texts |= {id(e): name for e, name in zip(loop.carried, names, strict=True)}
        self.announce(loop.roots)
        self.lines.open_block(f"if not {self.name(loop.going)}:")
        self.lines.add("break")
        self.lines.depth -= 1
        next_values = [value.alone for value in self.values(loop.following)]
        self.lines.add(f"{', '.join(map(str, names))} = {', '.join(next_values)}")
        self.lines.depth -= 1
        self._texts = texts_before

    def _source_of(self, expr: Expr) -> Text:
        """Return the Python source of one scalar expression, given its operands' texts."""
        args = [self._texts[id(arg)] for arg in expr.args]
        dtype, op = expr.dtype, expr.op
        if op == "literal":
            return literal(expr.attribute, dtype)
        if op in ("load", "index", "size", "ref"):
            return self._leaf(expr, args)
        if op in BLOCKS:
            return call(self.functions.block(op, dtype), *args)
        if op == "select":
            return choose(args[0], *(self._assign_name(arg) for arg in args[1:]))
        if op == "cast":
            return _cast_source(args[0], expr.args[0].dtype, dtype, self.functions)
        if op == "bitcast":
            kinds = storable(expr.args[0].dtype), storable(dtype)
            if not {"f32", "f64"}.intersection(kinds):  # integers of as many bits
                return _convert(kinds[1], args[0])
            return call(self.functions.helper(f"as_{kinds[1]}"), args[0])
        if op == "scale":
            steps = scaled_in_steps(*(ref(self._assign_name(a).alone, dtype) for a in args))
            within = Scalars(
                self.lines, self.functions, lambda e, _: Text(str(e.attribute)), self._count
            )
            return within.values([steps])[0]
        if op == "window":
            words = ", ".join(f"u64({word})" for word in words_of(str(expr.attribute)))
            return call(self.functions.helper("window"), args[0], f"({words})")
        if op in ("shl", "shr"):
            return self._shift_source(expr, args)
        return operation(op, args, dtype, self.functions)

    def _shift_source(self, expr: Expr, args: Sequence[Text]) -> Text:
        """Return the Python source of a bit shift; a count beyond the width gives 0 or the sign."""
        count, dtype = expr.args[1], expr.dtype
        number = count.attribute
        if count.op == "literal" and isinstance(number, int) and 0 <= number < dtype.bits:
            return _wrap(operate(SIGNS[expr.op], *args), dtype)
        name = self.functions.helper("shift_left" if expr.op == "shl" else "shift_right")
        return _wrap(call(name, *args, dtype.bits), dtype)


def _common_expressions(roots: Iterable[Expr], texts: Mapping[int, Text]) -> Iterable[Expr]:
    """Yield expressions, operands first, except those that only a rare branch needs."""

    def select_unwritten(exprs: Iterable[Expr]) -> list[Expr]:
        return [expr for expr in exprs if id(expr) not in texts]

    def operands(expr: Expr) -> list[Expr]:
        return select_unwritten((expr.args[0], expr.args[2]) if expr.op == "rarely" else expr.args)

    return operands_first(select_unwritten(roots), operands)


def operation(op: str, args: Sequence[Text], dtype: DType, functions: Functions) -> Text:
    """Return the Python source of a primitive: an operator or a helper of the file."""
    function = _FUNCTIONS.get(op) if dtype.is_float else _INTEGER_FUNCTIONS.get(op)
    if function is not None:
        return _wrap(call(functions.helper(function), *args), dtype)
    if op == "abs":
        return _wrap(call("abs", *args), dtype)
    if op in ("neg", "not"):
        return _wrap(sign("-" if op == "neg" else "not" if dtype.is_bool else "~", *args), dtype)
    if dtype.is_integer and op in ("add", "mul"):
        combined = add(*args) if op == "add" else multiply(*args)
        if combined.alone == "0" or combined in args:  # a sum with 0, a product with 0 or 1
            return combined
    text = operate(SIGNS[op], *args)
    return text if op in COMPARE else _wrap(text, dtype)


#: Integers that Numba does not promote.
WORDS: Final = frozenset({"i64", "u64"})
#: The helper that converts a float to an integer, like the processor by 32 or 64 bits.
_CONVERSIONS: Final = (
    dict.fromkeys(("i8", "i16", "u8", "u16", "i32"), "to_i32")
    | dict.fromkeys(("u32", "i64"), "to_i64")
    | {"u64": "to_u64"}
)


def _wrap(text: Text, dtype: DType) -> Text:
    """Convert an integer to its element type if Numba computes it with 64 bits."""
    if dtype.is_integer and dtype.code not in WORDS:
        return _convert(NAMES[dtype.code], text)
    return text


def _convert(name: str, text: Text) -> Text:
    """Return the source of a conversion; that of a variable is as simple as the variable."""
    is_simple = text.is_simple and "(" not in text.alone
    return Text(f"{name}({text.alone})", NAME if is_simple else ATOM)


def _cast_source(text: Text, source: DType, dtype: DType, functions: Functions) -> Text:
    """Return the source of a conversion; a float out of range becomes the smallest integer."""
    if source.is_storage:
        text, source = widen_element(text, source, functions), source.compute
        if source is dtype:
            return text
    if dtype.is_bool:
        return operate("!=", text, 0)
    name = storable(dtype)
    if dtype.is_storage:
        rounded = _round_to_odd(text, source, functions)
        return call(functions.helper(f"narrow_{dtype.code}"), rounded)
    if source.is_float and dtype.is_integer:
        helper = _CONVERSIONS[dtype.code]
        text = call(functions.helper(helper), text)
        return text if helper == f"to_{dtype.code}" else _convert(name, text)
    return _convert(name, text)


def widen_element(text: Text | str, dtype: DType, functions: Functions) -> Text:
    """Return an element of a storage dtype widened to float32."""
    return call(functions.helper(f"widen_{dtype.code}"), text)


def _round_to_odd(text: Text, source: DType, functions: Functions) -> Text:
    """Return the source that rounds to odd in float32, which avoids double rounding."""
    if source.digits <= F32.digits:
        return text if source is F32 else _convert("f32", text)
    if source.code in WORDS:
        name = NAMES[source.code]
        text = call(functions.helper("odd_f64"), text, f"{name}(2047)", f"{name}(2048)")
    return call(functions.helper("odd_f32"), call("f64", text))
