"""Text of kernels read back; see ``text`` for the form.

Every name must be declared before it is used and every dtype in the text must be the one that
follows from the operands, so that a text cannot lie; what else a kernel promises is
``verify_kernel``'s to check. A numbered value is known in its own stage only, and must be used. The
depth of the descent does not grow with the kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from staticgrad.language.ir.expr import (
    LEAVES,
    PRIMITIVES,
    Access,
    Expr,
    Position,
    describe_type_error,
    index,
    literal,
    load,
    ref,
    size,
)
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.directives import (
    Directive,
    Interleave,
    Prefetch,
    Stream,
    Strips,
    Vector,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import (
    MOST_NESTED,
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
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
)
from staticgrad.language.ir.kernels.text import PRODUCT
from staticgrad.language.ir.text import DocumentReader, suggestion
from staticgrad.language.types.arrays import ArrayData, TensorType
from staticgrad.language.types.dtype import ALL_DTYPES, I64, DType
from staticgrad.language.types.lexis import Tokens, name_text

_ANYWHERE: Final = (Store, Accumulate, ColumnAccumulate, Keep, Check, Search)
_STAGES: Final = ("map", "columns", "scalar", "gemm", "sort", "loop")
_DIRECTIVES: Final = ("interleave", "prefetch", "stream", "strips", "peel", "mask")
_MODES: Final = ("in", "out", "inout", "scratch", "check")
_DTYPES: Final = {dtype.code for dtype in ALL_DTYPES}
_LINES: Final = PRIMITIVES.keys() - set(LEAVES) | {"load"}
#: What an index of a gather may begin with, beside a value.
_INDICES: Final = _DTYPES | {"("}
#: Words that give a result.
_RESULTS: Final = (*COMBINERS, "keep", "carry", "check", "search", "order")


def parse_kernel(text: str, *, file: str = "<text>") -> Kernel:
    """Return the kernel that ``text`` describes; its name is optional."""
    reader = KernelReader(Tokens(text, file))
    kernel = reader.kernel()[1]
    reader.expect_end("kernel")
    return kernel


class KernelReader(DocumentReader):
    """Reads one kernel after the other; the fields are what is declared around the line."""

    def __init__(self, tokens: Tokens, constants: dict[str, ArrayData] | None = None) -> None:
        super().__init__(tokens, constants)
        self._reset_names()

    def _reset_names(self) -> None:
        """Reset the names that the parser of a kernel has read: operands, loops, results."""
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

    # declarations

    def _new(self, name: str, declared: Collection[str], what: str) -> str:
        if name in declared:
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

    def _axes(self) -> tuple[Axis, ...]:
        return tuple(self.comma_list(self._axis))

    def _axis(self) -> Axis:
        name = self._new(self.name("the name of a loop"), self._loops, "loop")
        self.expect(":", "the name of the loop")
        extent = self._integer()
        first, past = self._limit("from"), self._limit("to")
        self._loops[name] = Axis(name, extent, past, first)
        return self._loops[name]

    def _limit(self, word: str) -> str:
        """Parse a loop's dynamic limit ``to @r0`` of a printed kernel, if there is one."""
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
        return self._declared_name(self._arguments, "an integer argument")

    def _declared_name(self, declared: Collection[str], what: str) -> str:
        at = self.at
        name = self.name(what)
        if name not in declared:
            self.fail(f"{name_text(name)} is not {what}", at, suggestion(name, declared))
        return name

    # results

    def _result_name(self) -> str:
        return self.marked_name("@", "the name of a result (@name)")

    def _result_dtype(self) -> DType:
        self.expect(":", "the name")
        dtype = self.dtype()
        self.expect("=", "the element type")
        return dtype

    # expressions

    def _numbered_value(self) -> None:
        """Parse a numbered value of a printed kernel: ``%3: f32 = add(%1, %2)``."""
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
            operand_dtype = self._operands[access.operand].dtype
            if operand_dtype is not dtype:
                wrong = f"{access.operand} is {operand_dtype.code}, the text says {dtype.code}"
                self.fail(wrong, op_at)
        else:
            expr = Expr(op, dtype, tuple(self.comma_list(self._expression)))
        if wrong := describe_type_error(expr):
            self.fail(wrong, op_at)
        self._numbered.add(token)
        self._values[token] = expr
        self._unused[token] = at

    def _expression(self) -> Expr:
        """Parse an operand expression of a printed kernel: a value, result, literal, position or
        size.
        """
        kind, text = self.kinds[self.at], self.texts[self.at]
        if kind == "value":
            self.at += 1
            return self._result(text) if text[0] == "@" else self._numbered_before(text)
        if kind == "name" and text in _DTYPES:
            return self._literal()
        at = self.at
        name = self.name("a value")
        if name in self._loops:
            return self._leaves.setdefault(f"i {name}", index(name))
        if name in self._arguments:
            return self._leaves.setdefault(f"n {name}", size(name))
        hint = suggestion(name, [*self._loops, *self._arguments])
        raise self.mistake(f"{name_text(name)} is neither a loop nor an argument here", at, hint)

    def _numbered_before(self, token: str) -> Expr:
        """Return the kernel's value that ``%3`` names, or report it as undefined."""
        value = self._values.get(token)
        if value is None and token in self._numbered:
            self.fail(f"{token} belongs to another stage", self.at - 1)
        if value is None:
            near = suggestion(token, self._values)
            self.fail(f"{token} is not defined yet", self.at - 1, near)
        self._unused.pop(token, None)
        return value

    def _result(self, token: str) -> Expr:
        name = self.strip_mark(token)
        dtype = self._results.get(name)
        if dtype is None:
            near = suggestion(token, [f"@{result}" for result in self._results])
            self.fail(f"{token} is not defined before this line", self.at - 1, near)
        return self._leaves.setdefault(token, ref(name, dtype))

    def _literal(self) -> Expr:
        """Parse a literal of a printed kernel: ``f32(0.5)``."""
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
        """Parse a memory access of a printed kernel: ``p0[i0*n1 + j + @c0*n2]``, or ``p0[0]``."""
        operand = self._declared_name(self._operands, "an operand")
        self.expect("[", "the operand")
        strides: list[tuple[str, Extent]] = []
        gather: list[Extent] = []
        indices: list[Expr] = []
        positions: list[Position] = []
        more = self.texts[self.at : self.at + 2] != ["0", "]"]
        self.at += not more
        while more:
            if self.accept("["):
                positions.append(self._position())
            elif not (self.kinds[self.at] == "value" or self.texts[self.at] in _INDICES):
                axis = self._declared_name(self._loops, "a loop around this access")
                strides.append((axis, self._stride()))
            else:
                alone = self.accept("(")
                indices.append(self._expression())
                if alone:
                    self.expect(")", "the index")
                gather.append(self._stride())
            more = self.accept("+")
        if not self.accept("]"):
            self.fail(f"expected '+', '*' or ']', found {self.token_text}")
        return Access(operand, tuple(strides), tuple(gather), tuple(positions)), tuple(indices)

    def _position(self) -> Position:
        """Parse an index of a printed access: ``i0*n1 + j + -1 in n2]*n3``: loops, start, ends,
        stride.
        """
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
            self.fail(f"expected '+', 'in' or ']', found {self.token_text}")
        return Position(tuple(terms), start, self._stride(), extent, within)

    def _stride(self) -> Extent:
        return self._integer() if self.accept("*") else 1

    # kernels

    def kernel(self, *, named: bool = False) -> tuple[str, Kernel]:
        """Parse ``kernel k0(...) over ... { stages }``; return its name (or "") and the kernel."""
        self._reset_names()
        serial = self.accept("serial")
        self.expect("kernel")
        name = "" if self.texts[self.at] == "(" and not named else self.name("the kernel's name")
        self.two_lists(self._operand, self._argument, "kernel")
        axes, grouped = self._outer() if self.accept("over") else ((), 0)
        facts = self.comma_list(self._fact) if self.accept("where") else []
        directives = self.comma_list(self._directive) if self.accept("under") else []
        self.expect("{", "the kernel's signature")
        stages: list[Stage] = []
        while not self.accept("}"):
            stages.append(self._stage())
        if not stages:
            self.fail("a kernel needs a stage", self.at - 1)
        operands = tuple(self._operands.values())
        arguments = tuple(self._arguments)
        outer = (axes, tuple(stages), serial, grouped, tuple(facts), tuple(directives))
        return name, Kernel(operands, arguments, *outer)

    def _fact(self) -> Known:
        """Parse the facts of a kernel's argument: ``n0 of 2 most 16 short many uneven``."""
        name = self._declared_name(self._arguments, "an integer argument")
        multiple = self.integer("of what it is a multiple") if self.accept("of") else 1
        fixed = self.accept("is")
        most = self.integer("what it is at most") if fixed or self.accept("most") else 0
        short, many = self.accept("short"), self.accept("many")
        return Known(name, multiple, short, many, most, self.accept("uneven"), fixed)

    def _directive(self) -> Directive:
        """Parse a loop directive of a printed kernel: ``interleave 4 of i1 in stage 2``."""
        match self._word(_DIRECTIVES, "a directive"):
            case "interleave":
                factor = self.integer("how many are interleaved")
                name = self.name("a loop") if self.accept("of") else ""
                return Interleave(name or "o", factor, self._of_stage())
            case "prefetch":
                axis = "*" if self.accept("*") else self.name("a loop")
                self.expect("+", "the loop")
                return Prefetch(axis, self.integer("how far ahead"), self._of_stage())
            case "stream":
                return Stream(self._declared_name(self._operands, "an operand"))
            case "strips":
                return Strips()
            case tail:
                self.expect("tails")
                return Vector(tail, self._of_stage())

    def _of_stage(self) -> int:
        if not self.accept("in"):
            return -1
        self.expect("stage")
        return self.integer("the number of a stage")

    def _outer(self) -> tuple[tuple[Axis, ...], int]:
        """Parse the outer loops of a printed kernel, and groups: ``i0: n0, groups of i1: n1``."""
        axes: list[Axis] = []
        while True:
            if self.texts[self.at : self.at + 2] == ["groups", "of"]:
                self.at += 2
                rows = self._axes()
                return (*axes, *rows), len(rows)
            axes.append(self._axis())
            if not self.accept(","):
                return tuple(axes), 0

    # stages

    @contextmanager
    def _inside(self, *without: Axis) -> Iterator[None]:
        """Loops that are declared in the block end with it; ``without`` do not run around it."""
        outside = self._loops
        self._loops = {name: axis for name, axis in outside.items() if axis not in without}
        yield
        self._loops = outside

    def _stage(self) -> Stage:
        """Parse one stage of a printed kernel: a map, loop, reduction of columns, gemm, sort or
        scalars.
        """
        at = self.at
        kind = self._word(_STAGES, "a stage")
        with self._inside():
            if kind == "loop":
                return self._loop()
            axes = self._axes() if kind in ("map", "columns") else ()
            groups = self.comma_list(self._axis_group) if kind == "gemm" else []
            if kind == "columns" and len(axes) != 1:
                self.fail("a columns stage has one loop", at)
            if kind == "gemm" and len(groups) != 3:
                self.fail("a gemm stage has three loops (i, j, k), or groups of them", at)
            self.expect("{", "the head of the stage")
            match kind:
                case "map":
                    return Map(axes[-1], self._body(), axes[:-1])
                case "columns":
                    return self._columns(axes[0])
                case "sort":
                    return self._sort()
                case "gemm":
                    return self._gemm(*groups)
            return Scalar(self._body())

    def _loop(self) -> Loop:
        """Parse a loop: ``i1: n0 while @s0 { first { ... } stages following { ... } }``."""
        axis = self._axis()
        going = self._result_name() if self.accept("while") else ""
        self.expect("{", "the head of the stage")
        self._depth += 1
        if self._depth > MOST_NESTED:
            self.fail(f"loops of stages nest {MOST_NESTED} deep at most", self.at - 1)
        with self._inside(axis):
            first = self._carries("first")
        stages: list[Stage] = []
        while self.texts[self.at] not in ("}", "following"):
            stages.append(self._stage())
        self._again = {carry.name for carry in first}
        following = self._carries("following")
        self._again = set()
        self.expect("}", "the stages of the loop")
        self._depth -= 1
        return Loop(axis, first, tuple(stages), following, going)

    def _carries(self, word: str) -> tuple[Carry, ...]:
        """``first { @s0: f32 = carry %3 }``, or nothing."""
        if not self.accept(word):
            return ()
        self.expect("{", word)
        carries: tuple[Carry, ...] = self._body((Carry,))
        return carries

    def _columns(self, axis: Axis) -> Columns:
        """Parse the columns stage of a printed kernel: accumulations over rows, then stores."""
        in_lanes = self.texts[self.at] == "lanes"
        self.expect("lanes" if in_lanes else "rows")
        with self._inside():
            rows = () if self.texts[self.at] == "{" else self._axes()
            self.expect("{", "the rows")
            body = self._body((Accumulate,))
        return Columns(axis, rows, body, self._body((Store,)), in_lanes)

    def _sort(self) -> Sort:
        axis, body = self._block("keys", (Order,))
        if len(body) != 1:
            self.fail("keys are put in order once", self.at - 1)
        picks: tuple[Pick, ...] = ()
        if self.texts[self.at] == "picked":
            _, picks = self._block("picked", (Pick,))
        sorted_axis, stores = self._block("kept", (Store,))
        self.expect("}", "the stores")
        return Sort(axis, sorted_axis, body[0], stores, picks)

    def _block(self, word: str, kinds: tuple[type[Statement], ...]) -> tuple[Axis, Any]:
        """``word j: n0 { ... }``: the loop and its statements."""
        self.expect(word)
        with self._inside():
            axis = self._axis()
            self.expect("{", "the loop")
            return axis, self._body(kinds)

    def _axis_group(self) -> tuple[Axis, ...]:
        """``j: n0``, or ``(i1: n0, j: n1)``."""
        if not self.accept("("):
            return (self._axis(),)
        axes = self._axes()
        self.expect(")", "the loops")
        return axes

    def _gemm(self, i: tuple[Axis, ...], j: tuple[Axis, ...], k: tuple[Axis, ...]) -> Gemm:
        """Parse the gemm stage of a printed kernel: packing maps, factors and initial value."""
        fed: list[Map] = []
        if self.accept("fed"):  # maps, around which the first of k runs
            self.expect("{", "what feeds the product")
            with self._inside(*i, *j, *k[1:]):
                while not self.accept("}"):
                    at = self.at
                    stage = self._stage()
                    if not isinstance(stage, Map):
                        self.fail("only maps feed a product", at)
                    fed.append(stage)
        at = self.at
        if self._result_name() != PRODUCT:
            self.fail(f"the product is called @{PRODUCT}", at)
        dtype = self._result_dtype()
        self.expect("sum")
        with self._inside(*j):
            a = self._factor_access()
        self.expect("*", "the first factor")
        with self._inside(*i):
            b = self._factor_access()
        factors = self.dtype() if self.accept("in") else None
        onto = None
        if self.accept("onto"):
            with self._inside(*k):
                onto = self._factor_access()
        compute_dtype = self._operands[a.operand].dtype.compute
        if dtype is not compute_dtype:
            self.fail(f"the product is {compute_dtype.code}, the text says {dtype.code}", at + 2)
        self._results[PRODUCT] = dtype
        self._leaves.pop(f"@{PRODUCT}", None)
        with self._inside(*k):
            return Gemm(i, j, k, a, b, self._body((Store,)), tuple(fed), onto, factors)

    def _factor_access(self) -> Access:
        at = self.at
        access, indices = self._access()
        if indices:
            self.fail("a factor of a product is not gathered", at)
        return access

    # statements

    def _body(self, kinds: tuple[type[Statement], ...] = _ANYWHERE) -> Any:
        """Parse numbered values and statements of a printed kernel up to ``}``; return the
        statements.
        """
        self._values = {}
        statements: list[Statement] = []
        while not self.accept("}"):
            at = self.at
            if self.kinds[at] == "value" and self.texts[at][0] == "%":
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
        """Parse a statement of a printed kernel: a store, accumulation or named result."""
        if self.accept("store"):
            access, indices = self._access()
            kind = "sum" if self.accept("+=") else next(filter(self.accept, COMBINERS), "")
            if kind != "sum":
                self.expect("=", "the place to store to")
            return Store(access, self._expression(), indices, kind)
        if self.accept("pick"):
            return Pick(self._expression())
        if self.accept("column"):
            kind = self._word(COMBINERS, "an accumulation")
            value = self._expression()
            partials = self._operand_after("to", "the value")
            return ColumnAccumulate(kind, value, partials, self._operand_after("in", "the operand"))
        if self.kinds[self.at] != "value":
            self.fail(
                f"expected %number, @name, 'store', 'column' or '}}', found {self.token_text}"
            )
        at = self.at
        name = self._result_name()
        if name in self._results and name not in self._again:
            self.fail(f"{self.texts[at]} is defined twice", at)
        dtype = self._result_dtype()
        statement = self._result_statement(name)
        value_dtype = (
            statement.value.dtype if isinstance(statement, Accumulate | Keep | Carry) else I64
        )
        if value_dtype is not dtype:
            self.fail(f"{self.texts[at]} is {value_dtype.code}, the text says {dtype.code}", at + 2)
        self._results[name] = dtype
        return statement

    def _operand_after(self, word: str, preceding: str) -> str:
        self.expect(word, preceding)
        return self._declared_name(self._operands, "an operand")

    def _result_statement(self, name: str) -> Accumulate | Keep | Carry | Check | Search | Order:
        """Parse the value of a named result of a printed kernel: keep, carry, check, ..."""
        word = self._word(_RESULTS, "an accumulation")
        if word == "search":
            right = self._word(("left", "right"), "a side") == "right"
        blocks = word in COMBINERS and self.accept("of")
        if blocks:
            self.expect("blocks", "'of'")
        value = self._expression()
        match word:
            case "keep":
                return Keep(name, value)
            case "carry":
                return Carry(name, value)
            case "order":
                return Order(name, value, self._operand_after("in", "the key"))
            case "check":
                self.expect("in", "the index")
                extent = self._integer()
                wrap = self.accept("wrap")
                self.expect("at", "the extent")
                position = self._expression()
                operand = self._operand_after("to", "the position")
                return Check(name, value, extent, position, operand, wrap)
            case "search":
                operand = self._operand_after("in", "the value")
                self.expect("step", "the operand")
                stride = self._integer()
                self.expect("of", "the step")
                return Search(name, value, operand, stride, self._integer(), right)
        return Accumulate(name, word, value, blocks)
