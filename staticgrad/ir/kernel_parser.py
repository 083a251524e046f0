"""Text of kernels read back; see ``kernel_text`` for the form.

Every name must be declared before it is used and every dtype in the text must be the one that
follows from the operands, so that a text cannot lie; what else a kernel promises is
``verify_kernel``'s to check. A numbered value is known in its own stage only, and must be used. The
depth of the descent does not grow with the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.document import DocumentReader
from staticgrad.ir.expr import LEAVES, PRIMITIVES, Access, Expr, index, literal, load, ref, size
from staticgrad.ir.kernel import (
    Accumulate,
    Axis,
    Check,
    ColumnAccumulate,
    Columns,
    Extent,
    Gemm,
    Keep,
    Kernel,
    Map,
    Operand,
    Order,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
)
from staticgrad.ir.kernel_names import PRODUCT
from staticgrad.ir.text import suggestion
from staticgrad.ir.typing_rules import mistyped
from staticgrad.types.constant import ArrayData
from staticgrad.types.dtype import ALL_DTYPES, I64, DType
from staticgrad.types.lexis import Tokens, name_text
from staticgrad.types.tensor import TensorType

_MODES: Final = ("in", "out", "inout", "scratch", "check")
_ANYWHERE: Final = (Store, Accumulate, ColumnAccumulate, Keep, Check, Search)
_STAGES: Final = ("map", "columns", "scalar", "gemm", "sort")
_DTYPES: Final = {dtype.code for dtype in ALL_DTYPES}
_LINES: Final = PRIMITIVES.keys() - set(LEAVES) | {"load"}


def parse_kernel(text: str, *, file: str = "<text>") -> Kernel:
    """The kernel that ``text`` describes; one that stands alone may have a name or not.

    Raises:
        ParseError: the text is no kernel; with the line, the column and the reason.
    """
    reader = KernelReader(Tokens(text, file))
    kernel = reader.kernel()[1]
    reader.finished("kernel")
    return kernel


class KernelReader(DocumentReader):
    """Reads one kernel after the other; the fields below belong to the one being read."""

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

    def kernel(self, *, named: bool = False) -> tuple[str, Kernel]:
        """``kernel k0(...) over ... { stages }``: its name (empty if it has none) and itself."""
        self._forget()
        serial = self.accept("serial")
        self.expect("kernel")
        name = "" if self.texts[self.at] == "(" and not named else self.name("the kernel's name")
        self.listed(self._operand, self._argument, "kernel")
        axes, grouped = self._outer() if self.accept("over") else ((), 0)
        self.expect("{", "the kernel's signature")
        stages: list[Stage] = []
        while not self.accept("}"):
            stages.append(self._stage())
        if not stages:
            self.fail("a kernel needs a stage", self.at - 1)
        operands = tuple(self._operands.values())
        arguments = tuple(self._arguments)
        return name, Kernel(operands, arguments, axes, tuple(stages), serial, grouped)

    def _outer(self) -> tuple[tuple[Axis, ...], int]:
        """``i0: n0, groups of i1: n1``: the outer loops, and how many are grouped."""
        axes: list[Axis] = []
        while True:
            if self.texts[self.at : self.at + 2] == ["groups", "of"]:
                self.at += 2
                rows = self._axes()
                return (*axes, *rows), len(rows)
            axes.append(self._axis())
            if not self.accept(","):
                return tuple(axes), 0

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
        self._loops[name] = Axis(name, self._integer())
        return self._loops[name]

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

    # stages

    def _stage(self) -> Stage:
        outer, at = dict(self._loops), self.at
        kind = self._word(_STAGES, "a stage")
        axes = [] if kind in ("scalar", "sort") else self._axes()
        if len(axes) != {"gemm": 3, "scalar": 0, "sort": 0}.get(kind, 1):
            wanted = "three loops (i, j, k)" if kind == "gemm" else "one loop"
            self.fail(f"a {kind} stage has {wanted}", at)
        self.expect("{", "the head of the stage")
        stage: Stage
        if kind == "map":
            stage = Map(axes[0], self._body())
        elif kind == "scalar":
            stage = Scalar(self._body())
        elif kind == "columns":
            stage = self._columns(axes[0])
        elif kind == "sort":
            stage = self._sort()
        else:
            stage = self._gemm(*axes)
        self._loops = outer
        return stage

    def _columns(self, axis: Axis) -> Columns:
        in_lanes = self.texts[self.at] == "lanes"
        self.expect("lanes" if in_lanes else "rows")
        inside = dict(self._loops)
        rows = () if self.texts[self.at] == "{" else tuple(self._axes())
        self.expect("{", "the rows")
        body = self._body((Accumulate,))
        self._loops = inside
        return Columns(axis, rows, body, self._body((Store,)), in_lanes)

    def _sort(self) -> Sort:
        around = dict(self._loops)
        axis, body = self._block("keys", (Order,))
        if len(body) != 1:
            self.fail("keys are put in order once", self.at - 1)
        self._loops = dict(around)
        kept, stores = self._block("kept", (Store,))
        self.expect("}", "the stores")
        return Sort(axis, kept, body[0], stores)

    def _block(self, word: str, kinds: tuple[type[Statement], ...]) -> tuple[Axis, Any]:
        """``word j: n0 { ... }``: the loop and its statements."""
        self.expect(word)
        axis = self._axis()
        self.expect("{", "the loop")
        return axis, self._body(kinds)

    def _gemm(self, i: Axis, j: Axis, k: Axis) -> Gemm:
        at = self.at
        if self._result_name() != PRODUCT:
            self.fail(f"the product is called @{PRODUCT}", at)
        dtype = self._result_dtype()
        self.expect("sum")
        around = self._loops
        self._loops = {name: axis for name, axis in around.items() if axis is not j}
        a = self._factor_access()
        self.expect("*", "the first factor")
        self._loops = {name: axis for name, axis in around.items() if axis is not i}
        b = self._factor_access()
        self._loops = {name: axis for name, axis in around.items() if axis is not k}
        given = self._operands[a.operand].dtype
        if dtype is not given:
            self.fail(f"{a.operand} is {given.code}, the text says {dtype.code}", at + 2)
        self._results[PRODUCT] = dtype
        return Gemm(i, j, k, a, b, self._body((Store,)))

    def _factor_access(self) -> Access:
        at = self.at
        access, indices = self._access()
        if indices:
            self.fail("a factor of a product is not gathered", at)
        return access

    # statements

    def _body(self, kinds: tuple[type[Statement], ...] = _ANYWHERE) -> Any:
        """Numbered values and statements up to ``}``; the tuple of statements."""
        self._values = {}
        statements: list[Statement] = []
        while not self.accept("}"):
            at = self.at
            token = self.texts[at]
            if self.kinds[at] == "value" and token[0] == "%":
                self._numbered_value()
                continue
            statement = self._statement()
            if not isinstance(statement, kinds):
                self.fail("this statement has no place in this part of the stage", at)
            statements.append(statement)
        for name, at in self._unused.items():
            self.fail(f"{name} is not used in this part of the kernel", at)
        return tuple(statements)

    def _statement(self) -> Statement:
        if self.accept("store"):
            access, indices = self._access()
            add = self.accept("+=")
            if not add:
                self.expect("=", "the place to store to")
            return Store(access, self._expression(), indices, add)
        if self.accept("column"):
            return self._column()
        if self.kinds[self.at] != "value":
            self.fail(f"expected %number, @name, 'store', 'column' or '}}', found {self.found}")
        at = self.at
        name = self._result_name()
        if name in self._results:
            self.fail(f"{self.texts[at]} is defined twice", at)
        dtype = self._result_dtype()
        statement = self._defined(name)
        given = statement.value.dtype if isinstance(statement, Accumulate | Keep) else I64
        if given is not dtype:
            self.fail(f"{self.texts[at]} is {given.code}, the text says {dtype.code}", at + 2)
        self._results[name] = dtype
        return statement

    def _column(self) -> ColumnAccumulate:
        kind = self._word(COMBINERS, "an accumulation")
        value = self._expression()
        self.expect("to", "the value")
        partials = self._declared(self._operands, "an operand")
        self.expect("in", "the operand")
        return ColumnAccumulate(kind, value, partials, self._declared(self._operands, "an operand"))

    def _defined(self, name: str) -> Accumulate | Keep | Check | Search | Order:
        if self.accept("check"):
            return self._check(name)
        if self.accept("search"):
            return self._search(name)
        if self.accept("keep"):
            return Keep(name, self._expression())
        if self.accept("order"):
            key = self._expression()
            self.expect("in", "the key")
            return Order(name, key, self._declared(self._operands, "an operand"))
        kind = self._word((*COMBINERS, "keep", "check", "search", "order"), "an accumulation")
        return Accumulate(name, kind, self._expression())

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

    def _check(self, name: str) -> Check:
        wanted = self._expression()
        self.expect("in", "the index")
        extent = self._integer()
        wrap = self.accept("wrap")
        self.expect("at", "the extent")
        position = self._expression()
        self.expect("to", "the position")
        operand = self._declared(self._operands, "an operand")
        return Check(name, wanted, extent, position, operand, wrap)

    def _search(self, name: str) -> Search:
        right = self._word(("left", "right"), "a side") == "right"
        value = self._expression()
        self.expect("in", "the value")
        operand = self._declared(self._operands, "an operand")
        self.expect("step", "the operand")
        stride = self._integer()
        self.expect("of", "the step")
        return Search(name, value, operand, stride, self._integer(), right)

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
            expr = load(access, dtype, *indices)
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
        raise self.mistake(f"{name_text(name)} is no loop and no argument here", at, known)

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
        if self.texts[self.at] == "0" and self.texts[self.at + 1] == "]":
            self.at += 1
        else:
            self._access_term(strides, gather, indices)
            while self.accept("+"):
                self._access_term(strides, gather, indices)
        if not self.accept("]"):
            self.fail(f"expected '+', '*' or ']', found {self.found}")
        return Access(operand, tuple(strides), tuple(gather)), tuple(indices)

    def _access_term(
        self, strides: list[tuple[str, Extent]], gather: list[Extent], indices: list[Expr]
    ) -> None:
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

    def _stride(self) -> Extent:
        return self._integer() if self.accept("*") else 1
