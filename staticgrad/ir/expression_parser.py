"""Expressions, accesses, declarations and names of a kernel, read back.

Every name must be declared before it is used and every dtype in the text must be the one that
follows from the operands. A numbered value is known in its own stage only, and must be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from staticgrad.ir.expr import (
    LEAVES,
    PRIMITIVES,
    Access,
    Expr,
    Position,
    index,
    literal,
    load,
    mistyped,
    ref,
    size,
)
from staticgrad.ir.kernels.stages import (
    Axis,
    Extent,
    Operand,
)
from staticgrad.ir.printer import DocumentReader
from staticgrad.ir.text import suggestion
from staticgrad.types.arrays import ArrayData, TensorType
from staticgrad.types.dtype import ALL_DTYPES, I64, DType
from staticgrad.types.lexis import Tokens, name_text

_MODES: Final = ("in", "out", "inout", "scratch", "check")
_DTYPES: Final = {dtype.code for dtype in ALL_DTYPES}
_LINES: Final = PRIMITIVES.keys() - set(LEAVES) | {"load"}


class ExpressionReader(DocumentReader):
    """Knows what is declared around the line being read; the fields are those of one kernel."""

    def __init__(self, tokens: Tokens, constants: dict[str, ArrayData] | None = None) -> None:
        super().__init__(tokens, constants)
        self._forget()

    def _forget(self) -> None:
        self._operands: dict[str, Operand] = {}
        self._arguments: dict[str, None] = {}
        self._loops: dict[str, Axis] = {}
        self._results: dict[str, DType] = {}  # of statements, by name
        self._leaves: dict[str, Expr] = {}  # one object per loop position, size, result and literal
        self._values: dict[str, Expr] = {}  # numbered values of the body being read
        self._unused: dict[str, int] = {}  # those not used so far, with the token that defines them
        self._numbered: set[str] = set()
        self._again: set[str] = set()  # what may be given once more: carries, after an iteration
        self._depth = 0  # of loops of stages

    def listed(
        self, first: Callable[[], Any], second: Callable[[], Any], of: str
    ) -> tuple[list[Any], list[Any]]:
        """``(a, b; c, d)``: items of two kinds; without ``;`` there are none of the second."""
        self.expect("(", of)
        left: list[Any] = []
        if self.texts[self.at] not in (";", ")"):
            left = self.separated(first)
        if self.accept(";"):
            return left, self.sequence(second, ")")
        if not self.accept(")"):
            self.fail(f"expected ',', ';' or ')', found {self.found}")
        return left, []

    def separated(self, item: Callable[[], Any]) -> list[Any]:
        """One or more items with commas between them."""
        items = [item()]
        while self.accept(","):
            items.append(item())
        return items

    # declarations

    def _new(self, name: str, known: Collection[str], what: str) -> str:
        if name in known:
            self.fail(f"the {what} {name_text(name)} is declared twice", self.at - 1)
        return name

    def _operand(self) -> None:
        name = self._new(self.name("an operand"), self._operands, "operand")
        self.expect(":", "the operand")
        mode = self._word(_MODES, "the mode of an operand")
        self._operands[name] = Operand(name, self.dtype(), mode)  # type: ignore[arg-type]

    def _argument(self) -> None:
        name = self._new(self.name("an integer argument"), self._arguments, "argument")
        self._arguments[name] = None

    def _word(self, words: Collection[str], what: str) -> str:
        word = self.take("name", what)
        if word not in words:
            listed = ", ".join(words)
            self.fail(f"{word} is not {what}; there are {listed}", self.at - 1)
        return word

    def _axes(self) -> list[Axis]:
        axes: list[Axis] = self.separated(self._axis)
        return axes

    def _axis(self) -> Axis:
        name = self._new(self.name("the name of a loop"), self._loops, "loop")
        self.expect(":", "the name of the loop")
        extent = self._integer()
        first, past = self._limit("from"), self._limit("to")
        self._loops[name] = Axis(name, extent, past, first)
        return self._loops[name]

    def _limit(self, word: str) -> str:
        """``to @r0``, a number that was kept, or nothing."""
        if self.texts[self.at] != word or not self.texts[self.at + 1].startswith("@"):
            return ""
        self.at += 1
        at = self.at
        name = self._result_name()
        if self._results.get(name) is not I64:
            self.fail(f"{self.texts[at]} is not an i64 that was kept", at)
        return name

    def _integer(self) -> Extent:
        """An integer argument or a literal (also negative: a stride may be)."""
        if self.kinds[self.at] == "int":
            return self.integer("a number")
        if self.accept("-"):
            return -self.integer("a number")
        return self._declared(self._arguments, "an integer argument")

    def _declared(self, known: Collection[str], what: str) -> str:
        at = self.at
        name = self.name(what)
        if name not in known:
            self.fail(f"{name_text(name)} is not {what}", at, suggestion(name, known))
        return name

    # results

    def _result_name(self) -> str:
        token = self.take("value", "the name of a result (@name)")
        if token[0] != "@":
            self.fail(f"expected a result (@name), found {token}", self.at - 1)
        return self.unquote(token[1:]) if token[1] == '"' else token[1:]

    def _result_dtype(self) -> DType:
        self.expect(":", "the name")
        dtype = self.dtype()
        self.expect("=", "the element type")
        return dtype

    # expressions

    def _numbered_value(self) -> None:
        at = self.at
        token = self.take("value", "a value")
        if token in self._numbered:
            self.fail(f"{token} is defined twice", at)
        dtype = self._result_dtype()
        op_at = self.at
        op = self.take("name", "a primitive")
        if op not in _LINES:
            self.fail(f"{op} is not a primitive", op_at, suggestion(op, _LINES))
        if op == "load":
            access, indices = self._access()
            fill = self._literal() if self.accept("else") else None
            expr = load(access, dtype, *indices, fill=fill)
            given = self._operands[access.operand].dtype
            wrong = (
                ""
                if given is dtype
                else f"{access.operand} is {given.code}, the text says {dtype.code}"
            )
        else:
            expr = Expr(op, dtype, tuple(self.separated(self._expression)))
            wrong = ""
        wrong = wrong or mistyped(expr)
        if wrong:
            self.fail(wrong, op_at)
        self._numbered.add(token)
        self._values[token] = expr
        self._unused[token] = at

    def _expression(self) -> Expr:
        """A numbered value, a result, a literal, a loop position or a size."""
        kind, text = self.kinds[self.at], self.texts[self.at]
        if kind == "value":
            self.at += 1
            return self._result(text) if text[0] == "@" else self._known(text)
        if kind == "name" and text in _DTYPES:
            return self._literal()
        at = self.at
        name = self.name("a value")
        if name in self._loops:
            return self._leaves.setdefault(f"i {name}", index(name))
        if name in self._arguments:
            return self._leaves.setdefault(f"n {name}", size(name))
        known = suggestion(name, [*self._loops, *self._arguments])
        raise self.mistake(f"{name_text(name)} is neither a loop nor an argument here", at, known)

    def _known(self, token: str) -> Expr:
        found = self._values.get(token)
        if found is None:
            elsewhere = token in self._numbered
            self.fail(
                f"{token} {'belongs to another stage' if elsewhere else 'is not defined yet'}",
                self.at - 1,
                "" if elsewhere else suggestion(token, self._values),
            )
        self._unused.pop(token, None)
        return found

    def _result(self, token: str) -> Expr:
        name = self.unquote(token[1:]) if token[1] == '"' else token[1:]
        dtype = self._results.get(name)
        if dtype is None:
            known = [f"@{result}" for result in self._results]
            self.fail(
                f"{token} is not defined before this line", self.at - 1, suggestion(token, known)
            )
        return self._leaves.setdefault(token, ref(name, dtype))

    def _literal(self) -> Expr:
        start = self.at
        dtype = self.dtype()
        self.expect("(", f"the element type {dtype.code}")
        at = self.at
        number = self.value()
        self.expect(")", "the number")
        key = " ".join(self.texts[start : self.at])
        if key not in self._leaves:
            element = self.array(number, TensorType(dtype, ()), at).array[()].item()
            self._leaves[key] = literal(element, dtype)
        return self._leaves[key]

    # accesses

    def _access(self) -> tuple[Access, tuple[Expr, ...]]:
        """``p0[i0*n1 + j + @c0*n2]``, or ``p0[0]``."""
        operand = self._declared(self._operands, "an operand")
        self.expect("[", "the operand")
        strides: list[tuple[str, Extent]] = []
        gather: list[Extent] = []
        indices: list[Expr] = []
        positions: list[Position] = []
        if self.texts[self.at] == "0" and self.texts[self.at + 1] == "]":
            self.at += 1
        else:
            more = True
            while more:
                if self.accept("["):
                    positions.append(self._position())
                else:
                    if self.kinds[self.at] == "value" or self.texts[self.at] in _DTYPES:
                        indices.append(self._expression())
                        gather.append(self._stride())
                    elif self.accept("("):
                        indices.append(self._expression())
                        self.expect(")", "the index")
                        gather.append(self._stride())
                    else:
                        axis = self._declared(self._loops, "a loop around this access")
                        strides.append((axis, self._stride()))
                more = self.accept("+")
        if not self.accept("]"):
            self.fail(f"expected '+', '*' or ']', found {self.found}")
        return Access(operand, tuple(strides), tuple(gather), tuple(positions)), tuple(indices)

    def _position(self) -> Position:
        """``i0*n1 + j + -1 in n2]*n3``: loops, a start, ends, the stride."""
        terms: list[tuple[str, Extent]] = []
        start: Extent = 0
        while self.texts[self.at] in self._loops:
            terms.append((self.name("a loop"), self._stride()))
            if not self.accept("+"):
                break
        else:
            start = self._integer()
        within = self.accept("within")
        extent = self._integer() if within or self.accept("in") else None
        if not self.accept("]"):
            self.fail(f"expected '+', 'in' or ']', found {self.found}")
        return Position(tuple(terms), start, self._stride(), extent, within)

    def _stride(self) -> Extent:
        return self._integer() if self.accept("*") else 1
