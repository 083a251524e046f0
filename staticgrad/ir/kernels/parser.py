"""Text of kernels read back; see ``text`` for the form.

Every name must be declared before it is used and every dtype in the text must be the one that
follows from the operands, so that a text cannot lie; what else a kernel promises is
``verify_kernel``'s to check. A numbered value is known in its own stage only, and must be used. The
depth of the descent does not grow with the kernel.
"""

from __future__ import annotations

from typing import Any, Final

from staticgrad.ir.execution import Known
from staticgrad.ir.expr import (
    Access,
)
from staticgrad.ir.expression_parser import ExpressionReader
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    MOST_NESTED,
    Accumulate,
    Ahead,
    Axis,
    Carry,
    Check,
    ColumnAccumulate,
    Columns,
    Gemm,
    Keep,
    Listed,
    Loop,
    Map,
    Order,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
)
from staticgrad.ir.kernels.text import PRODUCT
from staticgrad.types.dtype import I64
from staticgrad.types.lexis import Tokens

_ANYWHERE: Final = (Store, Accumulate, ColumnAccumulate, Keep, Check, Search)
_STAGES: Final = ("map", "columns", "scalar", "gemm", "sort", "loop")


def parse_kernel(text: str, *, file: str = "<text>") -> Kernel:
    """Return the kernel that ``text`` describes; its name is optional.

    Raises:
        ParseError: the text is not a kernel; with the line, the column and the reason.
    """
    reader = KernelReader(Tokens(text, file))
    kernel = reader.kernel()[1]
    reader.finished("kernel")
    return kernel


class KernelReader(ExpressionReader):
    """Reads one kernel after the other."""

    def kernel(self, *, named: bool = False) -> tuple[str, Kernel]:
        """``kernel k0(...) over ... { stages }``: its name (empty if it has none) and itself."""
        self._forget()
        serial = self.accept("serial")
        self.expect("kernel")
        name = "" if self.texts[self.at] == "(" and not named else self.name("the kernel's name")
        self.listed(self._operand, self._argument, "kernel")
        axes, grouped = self._outer() if self.accept("over") else ((), 0)
        jammed = self.integer("how many rows") if axes and self.accept("by") else 1
        in_strips = bool(axes) and self.accept("in")
        if in_strips:
            self.expect("strips")
        listed = self._listed() if axes and self.accept("from") else None
        known = self.separated(self._fact) if self.accept("where") else []
        self.expect("{", "the kernel's signature")
        stages: list[Stage] = []
        while not self.accept("}"):
            stages.append(self._stage())
        if not stages:
            self.fail("a kernel needs a stage", self.at - 1)
        operands = tuple(self._operands.values())
        arguments = tuple(self._arguments)
        outer = (axes, tuple(stages), serial, grouped, jammed, listed, in_strips, tuple(known))
        return name, Kernel(operands, arguments, *outer)

    def _fact(self) -> Known:
        """``n0 of 2 most 16 short many uneven``: what holds of an argument."""
        name = self._declared(self._arguments, "an integer argument")
        multiple = self.integer("of what it is a multiple") if self.accept("of") else 1
        most = self.integer("what it is at most") if self.accept("most") else 0
        short, many = self.accept("short"), self.accept("many")
        return Known(name, multiple, short, many, most, self.accept("uneven"))

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

    def _listed(self) -> Listed:
        table = self._declared(self._operands, "an operand")
        self.expect("(", "the table")
        known = {**self._operands, **self._arguments}
        names = self.separated(lambda: self._declared(known, "an operand or integer argument"))
        self.expect(")", "the names")
        return Listed(table, tuple(names))

    # stages

    def _stage(self) -> Stage:
        outer, at = dict(self._loops), self.at
        kind = self._word(_STAGES, "a stage")
        if kind == "loop":
            return self._loop()
        axes = self._axes() if kind in ("map", "columns") else []
        groups = self.separated(self._axis_group) if kind == "gemm" else []
        if kind == "columns" and len(axes) != 1:
            self.fail("a columns stage has one loop", at)
        if kind == "gemm" and len(groups) != 3:
            self.fail("a gemm stage has three loops (i, j, k), or groups of them", at)
        ahead = self._ahead() if kind == "map" and self.accept("ahead") else None
        self.expect("{", "the head of the stage")
        stage: Stage
        if kind == "map":
            stage = Map(axes[-1], self._body(), tuple(axes[:-1]), ahead)
        elif kind == "scalar":
            stage = Scalar(self._body())
        elif kind == "columns":
            stage = self._columns(axes[0])
        elif kind == "sort":
            stage = self._sort()
        else:
            stage = self._gemm(*groups)
        self._loops = outer
        return stage

    def _loop(self) -> Loop:
        """``i1: n0 while @s0 by 4 { first { ... } stages following { ... } }``."""
        outside = dict(self._loops)
        axis = self._axis()
        inside = dict(self._loops)
        going = self._result_name() if self.accept("while") else ""
        jammed = self.integer("how many iterations") if self.accept("by") else 1
        self.expect("{", "the head of the stage")
        self._depth += 1
        if self._depth > MOST_NESTED:
            self.fail(f"loops of stages nest {MOST_NESTED} deep at most", self.at - 1)
        self._loops = outside
        first = self._carries("first")
        self._loops = dict(inside)
        stages: list[Stage] = []
        while self.texts[self.at] not in ("}", "following"):
            stages.append(self._stage())
        self._again = {carry.name for carry in first}
        following = self._carries("following")
        self._again = set()
        self.expect("}", "the stages of the loop")
        self._depth -= 1
        self._loops = outside
        return Loop(axis, first, tuple(stages), following, jammed, going)

    def _carries(self, word: str) -> tuple[Carry, ...]:
        """``first { @s0: f32 = carry %3 }``, or nothing."""
        if not self.accept(word):
            return ()
        self.expect("{", word)
        found: tuple[Carry, ...] = self._body((Carry,))
        return found

    def _ahead(self) -> Ahead:
        axis = self._declared(self._loops, "a loop around this stage's statements")
        self.expect("+", "the loop")
        return Ahead(axis, self.integer("how far ahead"))

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

    def _axis_group(self) -> tuple[Axis, ...]:
        """``j: n0``, or ``(i1: n0, j: n1)``."""
        if not self.accept("("):
            return (self._axis(),)
        axes = self._axes()
        self.expect(")", "the loops")
        return tuple(axes)

    def _gemm(self, i: tuple[Axis, ...], j: tuple[Axis, ...], k: tuple[Axis, ...]) -> Gemm:
        fed = self._fed(i, j, k) if self.accept("fed") else ()
        at = self.at
        if self._result_name() != PRODUCT:
            self.fail(f"the product is called @{PRODUCT}", at)
        dtype = self._result_dtype()
        self.expect("sum")
        around = self._loops
        self._loops = _without(around, j)
        a = self._factor_access()
        self.expect("*", "the first factor")
        self._loops = _without(around, i)
        b = self._factor_access()
        self._loops = _without(around, k)
        given = self._operands[a.operand].dtype.compute
        if dtype is not given:
            self.fail(f"the product is {given.code}, the text says {dtype.code}", at + 2)
        self._results[PRODUCT] = dtype
        self._leaves.pop(f"@{PRODUCT}", None)
        return Gemm(i, j, k, a, b, self._body((Store,)), fed)

    def _fed(
        self, i: tuple[Axis, ...], j: tuple[Axis, ...], k: tuple[Axis, ...]
    ) -> tuple[Map, ...]:
        """``{ maps }``, around which the first of k runs."""
        self.expect("{", "what feeds the product")
        around = self._loops
        self._loops = _without(around, (*i, *j, *k[1:]))
        found: list[Map] = []
        while not self.accept("}"):
            at = self.at
            stage = self._stage()
            if not isinstance(stage, Map):
                self.fail("only maps feed a product", at)
            found.append(stage)
        self._loops = around
        return tuple(found)

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
        streamed = self.accept("stream")
        if streamed or self.accept("store"):
            access, indices = self._access()
            kind = "sum" if self.accept("+=") else next(filter(self.accept, COMBINERS), "")
            if kind != "sum":
                self.expect("=", "the place to store to")
            return Store(access, self._expression(), indices, kind, bool(streamed))
        if self.accept("column"):
            return self._column()
        if self.kinds[self.at] != "value":
            self.fail(f"expected %number, @name, 'store', 'column' or '}}', found {self.found}")
        at = self.at
        name = self._result_name()
        if name in self._results and name not in self._again:
            self.fail(f"{self.texts[at]} is defined twice", at)
        dtype = self._result_dtype()
        statement = self._defined(name)
        given = statement.value.dtype if isinstance(statement, Accumulate | Keep | Carry) else I64
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

    def _defined(self, name: str) -> Accumulate | Keep | Carry | Check | Search | Order:
        if self.accept("check"):
            return self._check(name)
        if self.accept("search"):
            return self._search(name)
        if self.accept("keep"):
            return Keep(name, self._expression())
        if self.accept("carry"):
            return Carry(name, self._expression())
        if self.accept("order"):
            key = self._expression()
            self.expect("in", "the key")
            return Order(name, key, self._declared(self._operands, "an operand"))
        kind = self._word(
            (*COMBINERS, "keep", "carry", "check", "search", "order"), "an accumulation"
        )
        blocks = self.accept("of")
        if blocks:
            self.expect("blocks", "'of'")
        return Accumulate(name, kind, self._expression(), blocks)

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


def _without(loops: dict[str, Axis], axes: tuple[Axis, ...]) -> dict[str, Axis]:
    names = {axis.name for axis in axes}
    return {name: axis for name, axis in loops.items() if name not in names}
