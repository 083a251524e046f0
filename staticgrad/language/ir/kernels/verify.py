"""The invariants of a kernel, one small function each; linear in its text.

A kernel that keeps them can be rendered: every name is declared once and where it is used, every
expression is typed, nothing is read before it is written, iterations that run at the same time are
independent. A broken invariant is a VerifyError that shows the place as text. What operands are
bound to is ``verify_schedule``'s to check.

A name in a kernel is a letter for what it is, and a number. Renderers derive names of their own
from these, and have words that no kernel may take. So every role has its letters, and nothing else
is a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from keyword import iskeyword
from typing import Final, NoReturn

from staticgrad.errors import VerifyError
from staticgrad.language.ir.expr import (
    Access,
    Expr,
    describe_type_error,
    mistyped_indices,
    postorder,
    ref,
    unvisited_postorder,
)
from staticgrad.language.ir.forms import COMBINERS, Combiner
from staticgrad.language.ir.kernels.bodies import Body, accesses, bodies, bodies_of
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.language.ir.kernels.known import BOUND, LARGEST
from staticgrad.language.ir.kernels.legality import legal
from staticgrad.language.ir.kernels.stages import (
    LANES,
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
    Order,
    Pick,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
    loops_of,
    nested_stages,
    roots,
    statements,
)
from staticgrad.language.ir.kernels.text import (
    PRODUCT,
    access_text,
    signature,
    statement_text,
)
from staticgrad.language.types.dtype import BF16, BOOL, F32, I8, I32, I64, U8, U32, DType

_NUMBERED: Final = re.compile("([a-z])(0|[1-9][0-9]*)")
#: Role -> the letter of its names, before a number.
_LETTERS: Final[dict[str, str]] = {
    "operand": "p",
    "argument": "n",
    "loop": "i",
    "result": "r",
    "check": "c",
    "carry": "s",
}
#: The role of a statement's name.
_OF_RESULTS: Final[dict[type, str]] = {
    Accumulate: "result", Keep: "result", Carry: "carry", Check: "check", Search: "check",
    Order: "at",
}  # fmt: skip


def verify_kernel(kernel: Kernel) -> None:
    """Check every invariant."""
    for check in CHECKS:
        check(kernel)


def _fail(kernel: Kernel, headline: str, *place: Access | Statement | str) -> NoReturn:
    details = [p if isinstance(p, str) else _place_text(p) for p in place]
    raise VerifyError(f"kernel: {headline}", details=[*details, signature(kernel)])


def _place_text(place: Access | Statement) -> str:
    """The text of an access, or of a statement without its expressions."""
    if isinstance(place, Access):
        return access_text(place)
    return statement_text(place, ["..." for _ in roots(place)])


def _kind(stage: Stage | Statement) -> str:
    return type(stage).__name__.lower()


def _accesses_of(statement: Statement, seen: set[int]) -> Iterator[Access]:
    for expr in unvisited_postorder(roots(statement), seen):
        if isinstance(expr.attribute, Access):
            yield expr.attribute
    if isinstance(statement, Search):
        yield statement.access


# -- names ----------------------------------------------------------------------------------------


def _stages_fit_together(kernel: Kernel) -> None:
    """Check that a kernel's stages may stand together.

    There is a stage; a Gemm or Sort stands alone; only what has a rule for rows across memory
    follows it; rows that are grouped are outer loops of an ordinary kernel.
    """
    if not kernel.stages:
        _fail(kernel, "there is no stage")
    if not 0 <= kernel.grouped <= len(kernel.axes):
        _fail(kernel, f"{kernel.grouped} of {len(kernel.axes)} outer loops are grouped")
    if kernel.grouped and kernel.serial:
        _fail(kernel, "iterations that run in order are not grouped")
    every = list(nested_stages(kernel.stages))
    for stage, around in every:
        alone = isinstance(stage, Sort) and len(every) > 1
        # A running sum of each row is a loop of scalars.
        is_scan = isinstance(stage, Loop) and all(isinstance(s, Scalar) for s in stage.stages)
        if alone or (kernel.grouped and isinstance(stage, Gemm | Sort | Loop) and not is_scan):
            shared = "other stages" if len(every) > 1 else "groups of rows"
            _fail(kernel, f"a {_kind(stage)} shares the kernel with {shared}")
        if isinstance(stage, Loop):
            _check_loop(kernel, stage, len(around))
        if isinstance(stage, Gemm) and stage.fed:
            if len(stage.k) < 2:
                _fail(kernel, "a product of one loop is not fed")
            every_fed = [part for fed in stage.fed for part in (fed, *fed.body)]
            if stage.onto:
                _fail(kernel, "a product that is fed goes on from nothing")
            if not all(isinstance(part, Map | Store) for part in every_fed):
                _fail(kernel, "a product is fed by what only stores")
        if isinstance(stage, Columns) and stage.in_lanes:
            rules = {COMBINERS[s.kind].rule for s in stage.body if s.kind in COMBINERS}
            if rules - {"tree"}:
                _fail(kernel, "only sums have a rule of lanes")


def _check_loop(kernel: Kernel, stage: Loop, depth: int) -> None:
    """Check a loop of kernel stages: not empty, not too deep, carries of one type, a bool
    condition.
    """
    loop = f"the loop {stage.axis.name}"
    if not stage.stages:
        _fail(kernel, f"{loop} does nothing")
    if depth >= MOST_NESTED:
        _fail(kernel, f"loops of stages nest {MOST_NESTED} deep at most")
    first, following = (
        [(carry.name, carry.value.dtype) for carry in carries]
        for carries in (stage.first, stage.following)
    )
    if first != following:
        _fail(kernel, f"{loop} starts with other carries than it continues with")
    if stage.going and (stage.going, BOOL) not in first:
        _fail(kernel, f"{loop} continues by a value that is not one of its bool carries")


def _statements_fit_stages(kernel: Kernel) -> None:
    """Check that a kernel's accumulations are in loops, orders at keys, and no stage is empty."""
    allowed: dict[type, tuple[type[Statement], ...]]
    allowed = {Map: (Store, Accumulate, Check, Search), Scalar: (Store, Keep, Check)}
    if kernel.grouped:
        allowed[Map] += (ColumnAccumulate,)
    allowed[Loop] = (Carry,)
    for body in bodies(kernel):
        stage = body.stage
        inner = isinstance(stage, Columns) and body.statements is stage.body
        kinds = (Accumulate,) if inner else allowed.get(type(stage), (Store,))
        if isinstance(stage, Sort) and body.statements is not stage.stores:
            kinds = (Order,) if isinstance(body.statements[0], Order) else (Pick,)
        if isinstance(stage, Map) and stage.rows:
            kinds = (Store, Check, Search)  # an accumulation runs over one loop
        for statement in body.statements:
            counted = isinstance(statement, Accumulate) and statement.blocks
            if not isinstance(statement, kinds) or (inner and counted):
                place = "the rows" if inner else f"a {_kind(stage)} stage"
                _fail(kernel, f"this statement has no place in {place}", statement)
        if inner and not body.statements:
            _fail(kernel, "a columns stage accumulates nothing")
        if isinstance(stage, Map | Scalar) and not body.statements:
            _fail(kernel, f"a {_kind(stage)} stage does nothing")


def _names_are_distinct(kernel: Kernel) -> None:
    """Check that a kernel's names are distinct identifiers.

    Operands, arguments, outer loops and results have identifiers of their own; so do the loops
    around each body.
    """
    results = [
        statement.name
        for body in bodies(kernel)
        for statement in body.statements
        if isinstance(statement, Accumulate | Keep | Check | Search | Order)
    ]
    around: dict[tuple[str, ...], None] = {(): None}
    for stage, outside in nested_stages(kernel.stages):
        results += [carry.name for carry in stage.first] if isinstance(stage, Loop) else []
        single_loops = [
            (axis,) for axis in loops_of(stage)
        ]  # of a Sort, whose loops follow each other
        for loops in single_loops if isinstance(stage, Sort) else [loops_of(stage)]:
            around[tuple([axis.name for axis in (*outside, *loops)])] = None
    if any(isinstance(stage, Gemm) for stage, _ in nested_stages(kernel.stages)):
        results.append(PRODUCT)
    outer = [axis.name for axis in kernel.axes]
    fixed = [*(o.name for o in kernel.operands), *kernel.arguments, *outer, *results]
    for names in around:
        seen: set[str] = set()
        for name in (*fixed, *names):
            if not name.isidentifier() or iskeyword(name):
                _fail(kernel, f"{name!r} is not an identifier")
            if name in seen:
                _fail(kernel, f"two things are called {name}")
            seen.add(name)


def _names_fit(kernel: Kernel) -> None:
    """Every name is one of its role, so that renderers can derive others from it."""
    if wrong := _describe_misnamed(kernel):
        _fail(kernel, wrong)


def _describe_misnamed(kernel: Kernel) -> str:
    """Return the error of the kernel's first invalid identifier; empty if all fit."""
    for role, name in _roles(kernel):
        letter = _LETTERS.get(role)
        match = _NUMBERED.fullmatch(name)
        if letter is None and name != role:
            what = "an order" if role == "at" else "this loop of the stage"
            return f"{name!r} is not a name for {what}: {role}"
        if letter is not None and (match is None or match[1] != letter):
            what = f"a{'n' * (role[0] in 'aeiou')} {role}"
            return f"{name!r} is not a name for {what}: {letter}0, {letter}1, ..."
    return ""


def _roles(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """Yield every named thing of a kernel with its role: operand, argument, loop, result."""
    yield from (("operand", operand.name) for operand in kernel.operands)
    yield from (("argument", name) for name in kernel.arguments)
    outer = LANES if kernel.outer == "lanes" else "loop"
    yield from ((outer, axis.name) for axis in kernel.axes)
    for stage, _ in nested_stages(kernel.stages):
        match stage:
            case Map(axis=axis, rows=rows) | Columns(axis=axis, rows=rows):
                yield LANES, axis.name
                yield from (("loop", row.name) for row in rows)
            case Gemm(i=i, j=j, k=k):
                for letter, axes in (("i", i), (LANES, j), ("k", k)):
                    yield from (("loop", axis.name) for axis in axes[:-1])
                    yield letter, axes[-1].name
            case Loop(axis=axis):
                yield "loop", axis.name
            case Sort(axis=axis, sorted_axis=sorted_axis):
                yield from ((LANES, axis.name), (LANES, sorted_axis.name))
        for statement in statements(stage):
            if role := _OF_RESULTS.get(type(statement)):
                yield role, statement.name  # type: ignore[union-attr]


def _extents_are_arguments(kernel: Kernel) -> None:
    """Check that a kernel's extents are declared arguments or literals, and none is negative."""
    declared = frozenset(kernel.arguments)
    for axis in kernel.axes:
        if axis.limits:
            _fail(kernel, f"the outer loop {axis.name} has no limits")
    stages = [stage for stage, _ in nested_stages(kernel.stages)]
    axes = [*kernel.axes, *(axis for s in stages if isinstance(s, Gemm) for axis in s.loops)]
    axes += [axis for body in bodies(kernel) for axis in body.loops[len(kernel.axes) :]]
    for axis in dict.fromkeys(axes):
        _check_extent(kernel, declared, axis.extent, f"the extent of {axis.name}")
    for body in bodies(kernel):
        for statement in body.statements:
            if isinstance(statement, Check | Search):
                what = f"the extent of a {_kind(statement)}"
                _check_extent(kernel, declared, statement.extent, what)
        for expr in body.expressions:
            if expr.op == "size" and expr.attribute not in declared:
                _fail(kernel, f"the size {expr.attribute} is not an argument")


def _check_extent(kernel: Kernel, declared: Set[str], extent: Extent, what: str) -> None:
    if isinstance(extent, str):
        if extent not in declared:
            _fail(kernel, f"{what} is {extent}, which is not an argument")
    elif extent < 0:
        _fail(kernel, f"{what} is {extent}")


def _arguments_are_known(kernel: Kernel) -> None:
    """Check that known facts are about declared kernel arguments, in order, once each."""
    names = [fact.name for fact in kernel.facts]
    if names != [name for name in kernel.arguments if name in names]:
        _fail(kernel, "what is known of arguments is not in their order")
    for fact in kernel.facts:
        wrong = fact.multiple < 1 or LARGEST % fact.multiple
        wrong = wrong or not fact.fixed <= fact.most <= BOUND
        if fact.is_nothing or wrong:
            _fail(kernel, f"what is known of {fact.name} is nothing")


def _accesses_move_along_loops(kernel: Kernel) -> None:
    """Check that a kernel's accesses move along loops around them, over declared operands.

    Every access names a declared operand, and moves along loops around it, each once, by
    arguments or literals; a scratch, whose size follows from that, has no other places.
    """
    declared = frozenset(kernel.arguments)
    modes = {operand.name: operand.mode for operand in kernel.operands}
    for access, loops in accesses(kernel):
        numbers: list[Extent] = [*(stride for _, stride in access.strides), *access.gather]
        for position in access.positions:
            steps = (step for _, step in position.terms)
            numbers += [position.start, position.stride, *steps]
        for number in numbers:
            if isinstance(number, str) and number not in declared:
                _fail(kernel, f"the stride {number} is not an argument", access)
        for position in access.bounded_positions:
            _check_extent(kernel, declared, position.extent or 0, "the extent of a position")
        if access.operand not in modes:
            _fail(kernel, f"{access.operand} is not an operand", access)
        if modes[access.operand] == "scratch" and access.gather:
            _fail(kernel, "a scratch is not gathered", access)
        around = {axis.name for axis in loops}
        for axis, _ in access.moves:
            if axis not in around:
                _fail(kernel, f"no loop {axis} runs around this access", access)
            around.remove(axis)


# -- types ----------------------------------------------------------------------------------------


def _expressions_are_typed(kernel: Kernel) -> None:
    """Check that a kernel's expressions are typed, and its positions those of loops around.

    Every primitive takes the dtypes of its operands and gives its own; every position is that
    of a loop around it.
    """
    for body in bodies(kernel):
        around = {axis.name for axis in body.loops}
        for expr in body.expressions:
            if expr.op == "index" and expr.attribute not in around:
                _fail(kernel, f"no loop {expr.attribute} runs around its position")
            if wrong := describe_type_error(expr):
                _fail(kernel, wrong, repr(expr))


def _memory_is_typed(kernel: Kernel) -> None:
    """Check that a kernel's loads, stores and products have their operands' dtypes; indices are
    i64.
    """
    dtypes = {operand.name: operand.dtype for operand in kernel.operands}

    def check(access: Access, dtype: DType, what: str) -> None:
        operand_dtype = dtypes[access.operand]
        if operand_dtype is not dtype:
            _fail(
                kernel, f"{access.operand} is {operand_dtype.code}, the {what} {dtype.code}", access
            )

    for body in bodies(kernel):
        for expr in body.expressions:
            if isinstance(expr.attribute, Access):
                check(expr.attribute, expr.dtype, "load")
        for statement in body.statements:
            if isinstance(statement, Store | Search):
                check(statement.access, statement.value.dtype, _kind(statement))
            if wrong := _mistyped_statement(kernel, dtypes, statement):
                _fail(kernel, wrong, statement)
    for stage, _ in nested_stages(kernel.stages):
        if isinstance(stage, Gemm):  # factors of one dtype, either of them stored in a narrower one
            for access in (stage.a, stage.b):
                if access.gather:
                    _fail(kernel, "a factor of a product is not gathered", access)
            dtype = dtypes[stage.a.operand]
            if dtype.compute is not dtypes[stage.b.operand].compute:
                check(stage.b, dtype, "product")
            if stage.onto is not None:
                if stage.onto.gather or stage.onto.bounded_positions:
                    _fail(kernel, "chains go on from elements that are there", stage.onto)
                check(stage.onto, dtype.compute, "product")
                terms = stage.k[0].extent if len(stage.k) == 1 else ""
                if not isinstance(terms, int) or terms >= GEMM_BLOCK:
                    _fail(kernel, "only a part of a block of terms goes on", stage.onto)
            if dtype.is_bool:
                _fail(kernel, "there is no product of bools", stage.a)
            if stage.factors is not None:
                _check_converted_factors(kernel, stage, stage.factors, dtypes)


def _check_converted_factors(
    kernel: Kernel, stage: Gemm, factors: DType, dtypes: Mapping[str, DType]
) -> None:
    """Fail unless the factors of a product are rounded to bfloat16, from this or from float32, or
    are words of 8-bit integers, or of two bfloat16 numbers."""
    for access in (stage.a, stage.b):
        dtype = dtypes[access.operand]
        if factors in (U8, I8):
            if dtype is not I32:
                _fail(kernel, f"{access.operand} is {dtype.code}; words of bytes are i32", access)
        elif factors is U32:
            if dtype is not F32:
                _fail(kernel, f"{access.operand} is {dtype.code}; words of bf16 are f32", access)
        elif factors is not BF16:
            _fail(kernel, f"factors are rounded to bf16, not to {factors.code}", access)
        elif dtype not in (F32, BF16):
            _fail(kernel, f"{access.operand} is {dtype.code}, which is not rounded to bf16", access)


def _mistyped_statement(
    kernel: Kernel, dtypes: Mapping[str, DType], statement: Statement
) -> str | None:
    """Return the dtype error of a kernel statement; empty if none."""
    match statement:
        case Store(access=access, indices=indices, combine=kind):
            if wrong := mistyped_indices(access, indices):
                _fail(kernel, wrong, access)
            if kind:
                _combiner(kernel, kind, statement)
        case Accumulate(kind=kind) | ColumnAccumulate(kind=kind):
            combiner, dtype = _combiner(kernel, kind, statement), statement.value.dtype
            if isinstance(statement, ColumnAccumulate):
                column_dtypes = {dtypes.get(statement.partials), dtypes.get(statement.scratch)}
                return f"a column is not all {dtype.code}" if column_dtypes != {dtype} else None
            if statement.blocks and not combiner.is_ordered(dtype):
                return "no order of blocks matters"
        case Search(value=value) if value.dtype.is_bool:
            return "a search takes numbers only"
        case Order(key=key, scratch=scratch):
            if key.dtype not in (I32, I64) or dtypes.get(scratch) is not I64:
                return "keys are i32 or i64, their scratch is i64"
        case Pick(place=place) if place.dtype is not I64:
            return "a pick takes an i64 only"
        case Check(index=index, position=position, operand=operand):
            if (index.dtype, position.dtype, dtypes.get(operand)) != (I64, I64, I64):
                return "a check takes and notes i64 only"
    return None


def _combiner(
    kernel: Kernel, kind: str, statement: Store | Accumulate | ColumnAccumulate
) -> Combiner:
    """Return the combiner of an accumulation of a kernel, or fail: sum, max, ... of its dtype."""
    combiner, dtype = COMBINERS.get(kind), statement.value.dtype
    if combiner is None:
        _fail(kernel, f"{kind!r} is not a kind of accumulation", statement)
    if dtype.kind not in combiner.kinds or dtype.is_storage:
        _fail(kernel, f"there is no {kind} of {dtype.code}", statement)
    return combiner


# -- order ----------------------------------------------------------------------------------------


def _results_come_first(kernel: Kernel) -> None:
    """A ref names a result of its dtype that is there: a check before it in its body, what the
    stage's first body gave (Columns, Sort), what an earlier Map accumulated, an earlier Scalar kept
    or checked, or a Loop around it or before it carries, which is one element per row."""
    _results_of(kernel, kernel.stages, {})


def _results_of(kernel: Kernel, stages: Sequence[Stage], ready: dict[str, DType]) -> None:
    """Collect the results of kernel stages into ``ready``; those of a Loop's stages stay inside."""
    for stage in stages:
        _check_limits(kernel, stage, ready)
        if isinstance(stage, Loop):
            _check_refs(kernel, stage.first, ready)
            ready |= {carry.name: carry.value.dtype for carry in stage.first}
            inside = dict(ready)
            _results_of(kernel, stage.stages, inside)
            _check_refs(kernel, stage.following, inside)
            continue
        vectors: dict[str, DType] = {}  # which only the stores of the stage may read
        if isinstance(stage, Gemm):
            _results_of(kernel, stage.fed, dict(ready))
            vectors[PRODUCT] = kernel.operand(stage.a.operand).dtype.compute
        for body in bodies_of(stage, ()):
            if body.stage is not stage:  # what feeds it
                continue
            scalars = _check_refs(kernel, body.statements, ready | vectors)
            results = {s.name: s.value.dtype for s in body.statements if isinstance(s, Accumulate)}
            results |= {s.name: I64 for s in body.statements if isinstance(s, Order)}
            if isinstance(stage, Columns | Sort):
                vectors |= results  # the stores after them give none
            else:
                ready |= results | (scalars if isinstance(stage, Scalar) else {})


def _check_limits(kernel: Kernel, stage: Stage, ready: Mapping[str, DType]) -> None:
    """Check that a kernel loop's dynamic limits are i64 results of the row."""
    ends: tuple[Axis, ...] = ()
    begins: tuple[Axis, ...] = ()
    match stage:
        case Map(axis=axis) if not stage.rows:
            ends = (axis,)
        case Loop(axis=axis):
            ends = begins = (axis,)
        case Gemm(i=i, j=j, k=k):
            ends = tuple(axes[0] for axes in (i, j, k) if len(axes) == 1)
            begins = k if len(k) == 1 else ()
            ends = (*ends, k[0]) if stage.by_first else ends
    for axis in loops_of(stage):
        if axis.limits and (axis not in ends or (axis.first and axis not in begins)):
            _fail(kernel, f"the loop {axis.name} has no numbers from which or to which it runs")
        for name in axis.limits:
            _check_ref(kernel, ref(name, I64), ready)


def _check_refs(
    kernel: Kernel, statements: Sequence[Statement], visible: Mapping[str, DType]
) -> dict[str, DType]:
    """Check that kernel statements read only visible earlier results; return their own."""
    results: dict[str, DType] = {}
    seen: set[int] = set()
    for statement in statements:
        for expr in unvisited_postorder(roots(statement), seen):
            if expr.op == "ref":
                _check_ref(kernel, expr, results if expr.attribute in results else visible)
        if isinstance(statement, Check | Search | Keep):
            results[statement.name] = statement.value.dtype if isinstance(statement, Keep) else I64
    return results


def _check_ref(kernel: Kernel, expr: Expr, ready: Mapping[str, DType]) -> None:
    name = str(expr.attribute)
    if name not in ready:
        _fail(kernel, f"@{name} is used before anything gives it")
    if ready[name] is not expr.dtype:
        _fail(kernel, f"@{name} is {ready[name].code}, it is used as {expr.dtype.code}")


def _columns_stand_alone(kernel: Kernel) -> None:
    """Check that nothing else accesses the partials and scratch of a column accumulation."""
    touched = Counter(access.operand for access, _ in accesses(kernel))
    every = (s for body in bodies(kernel) for s in body.statements)
    columns = [s for s in every if isinstance(s, ColumnAccumulate)]
    touched.update(name for s in columns for name in (s.partials, s.scratch))
    for statement in columns:
        for name in (statement.partials, statement.scratch):
            if touched[name] > 1:
                _fail(kernel, f"{name} is used elsewhere too", statement)


def _modes_are_kept(kernel: Kernel) -> None:
    """Check that a kernel reads, writes and notes each operand only as its mode allows.

    ``in`` is only read; out and scratch are read only after a statement before has stored to
    them, in the text or in an earlier iteration of a Loop; ``check`` is only noted to; each
    operand is used for what it says.
    """
    modes = {operand.name: operand.mode for operand in kernel.operands}
    read = set[str]()
    stored: set[str] = set()
    noted: set[str] = set()

    def check_read(access: Access, earlier: Set[str] = frozenset()) -> None:
        name, mode = access.operand, modes[access.operand]
        is_stored = name in stored or name in earlier
        if mode == "check" or (mode in ("out", "scratch") and not is_stored):
            _fail(kernel, f"{mode} operand {name} is read", access)

    for body in bodies(kernel):
        stage = body.stage
        for factor, _ in stage.reads if isinstance(stage, Gemm) else ():
            check_read(factor, _of_earlier_iterations(body, factor))
            read.add(factor.operand)
        seen: set[int] = set()
        for statement in body.statements:
            for access in _accesses_of(statement, seen):
                check_read(access, _of_earlier_iterations(body, access))
                read.add(access.operand)
            match statement:
                case Store(access=access):
                    if modes[access.operand] in ("in", "check"):
                        written = f"{modes[access.operand]} operand {access.operand} is written"
                        _fail(kernel, written, statement)
                    if statement.combine:
                        check_read(access)
                    stored.add(access.operand)
                case Check(operand=operand):
                    noted.add(operand)
                case Order(scratch=scratch):
                    if modes.get(scratch) != "scratch":
                        _fail(kernel, "keys are ordered in what is not a scratch", statement)
                    stored.add(scratch)
                case ColumnAccumulate(partials=partials, scratch=scratch):
                    if (modes.get(partials), modes.get(scratch)) != ("out", "scratch"):
                        _fail(kernel, "a column goes to an output, in a scratch", statement)
                    stored |= {partials, scratch}
    used = {"in": read, "out": stored, "inout": stored, "scratch": stored, "check": noted}
    for name, mode in modes.items():
        if name not in used[mode]:
            _fail(kernel, f"{mode} operand {name} is not used as such")
    wrong = noted - {name for name, mode in modes.items() if mode == "check"}
    if wrong:
        _fail(kernel, f"a check is noted to {min(wrong)}, which is not a check operand")


def _of_earlier_iterations(body: Body, access: Access) -> set[str]:
    """Return the operands that surrounding Loops store in earlier iterations, unless read first."""
    return {
        statement.access.operand
        for iteration in body.iterations
        if any(position.step(iteration.axis.name) != 0 for position in access.bounded_positions)
        for stage, _ in nested_stages(iteration.stages)
        for statement in statements(stage)
        if isinstance(statement, Store)
    }


# -- iterations at the same time ------------------------------------------------------------------


def _lanes_store_apart(kernel: Kernel) -> None:
    """Check that no two lanes of a kernel's vector store to one element."""
    for body in bodies(kernel):
        if isinstance(body.stage, Scalar | Loop) or body.loops[-1].extent in (0, 1):
            continue
        axis = body.loops[-1].name
        moving = {s.name for s in statements(body.stage) if isinstance(s, Order)}
        for statement in body.statements:
            if isinstance(statement, Check | Search):
                if _moves(roots(statement)[:1], axis, moving):
                    moving.add(statement.name)
            elif isinstance(statement, Store):
                moves = statement.access.stride(axis) or _moves(statement.indices, axis, moving)
                if not moves:
                    _fail(kernel, f"all lanes of {axis} store to one element", statement)


def _moves(exprs: Iterable[Expr], axis: str, moving: Set[str]) -> bool:
    """Return whether a kernel expression varies along a loop, given the results that do."""
    for expr in postorder(exprs):
        access = expr.attribute
        if isinstance(access, Access) and access.stride(axis):
            return True
        if (expr.op, access) == ("index", axis) or (expr.op == "ref" and access in moving):
            return True
    return False


def _iterations_store_apart(kernel: Kernel) -> None:
    """Check that no two iterations of a parallel kernel store to one element.

    No two iterations store to one element, unless they run in order: each element that workers
    share moves along every outer loop, or what a run finds tells its place.

    It is necessary, not sufficient: that the strides keep iterations apart is for those who
    make kernels. But a store that an iteration does not move leaves what the last one computed.
    """
    shared = {o.name for o in kernel.operands if not o.is_own}
    outer = [axis.name for axis in kernel.axes if axis.extent not in (0, 1)]
    if kernel.serial or not outer:
        return
    for body in bodies(kernel):
        for store in body.statements:
            if not isinstance(store, Store) or store.access.operand not in shared or store.indices:
                continue
            ends = [
                p for p in store.access.bounded_positions if p.extent == 1
            ]  # one iteration alone stores
            for axis in outer:
                if store.access.stride(axis) == 0 and not any((axis, 1) in p.terms for p in ends):
                    _fail(kernel, f"all iterations along {axis} store to one element", store)


def _lanes_read_apart(kernel: Kernel) -> None:
    """Check that no lane of a kernel's vector reads what another lane of its stage stores.

    No lane reads what another one of its stage stores, and no load waits for a store unless it
    moves with it: lanes run at the same time, and what does not move is loaded before the loop.
    """
    for body in bodies(kernel):
        if isinstance(body.stage, Scalar | Loop):
            continue
        axis = body.loops[len(body.around)] if isinstance(body.stage, Columns) else body.loops[-1]
        written = statements(body.stage) if isinstance(body.stage, Columns) else body.statements
        stored = [s.access for s in written if isinstance(s, Store)]
        if isinstance(body.stage, Gemm):
            for factor in (body.stage.a, body.stage.b):
                if factor.operand in {access.operand for access in stored}:
                    _fail(kernel, "a product stores to its factor", factor)
            onto = body.stage.onto
            if onto and any(onto != target for target in stored if target.operand == onto.operand):
                _fail(kernel, "a product stores elsewhere than where it goes on", onto)
        seen: set[int] = set()
        stored_earlier: set[str] = set()
        for statement in body.statements:
            for access in _accesses_of(statement, seen):
                # An offset added to both, equal for all lanes, is guaranteed by the author.
                stride = access.stride(axis.name)
                strides = {s.stride(axis.name) for s in stored if s.operand == access.operand}
                follows = not strides or (strides == {stride} and stride != 0)
                alone = axis.extent in (0, 1) and access.operand not in stored_earlier
                if not (follows or alone):
                    _fail(kernel, "a lane reads where others store", access)
            if isinstance(statement, Store):
                stored_earlier.add(statement.access.operand)


def _directives_are_legal(kernel: Kernel) -> None:
    """Every directive is legal for the kernel, beside the others."""
    for directive in kernel.directives:
        if reason := legal(kernel, directive):
            _fail(kernel, f"{directive}: {reason}")


def _rows_fill_lanes(kernel: Kernel) -> None:
    """Check that rows may be the lanes of a kernel's vectors.

    Rows that are the lanes of vectors have scalars and loops of them only, and read nothing
    that is stored; each stores to elements of its own, or the first one alone does.
    """
    if kernel.outer != "lanes":
        return
    if kernel.serial or kernel.grouped:
        _fail(kernel, "rows that are lanes are taken in no other way")
    stages = [stage for stage, _ in nested_stages(kernel.stages)]
    for stage in stages:
        if not isinstance(stage, Scalar | Loop):
            _fail(kernel, f"a {_kind(stage)} takes no rows as lanes")
        if isinstance(stage, Loop) and stage.going:
            _fail(kernel, f"the loop {stage.axis.name} goes on by what each row carries")
    row = kernel.axes[0].name
    written = [s for stage in stages for s in statements(stage)]
    stored = {s.access.operand for s in written if isinstance(s, Store)}
    carried = {s.name for s in written if isinstance(s, Keep | Carry)}
    limits = {name for stage in stages for axis in loops_of(stage) for name in axis.limits}
    for s in written:
        if isinstance(s, Keep) and s.name in limits and _moves([s.value], row, carried):
            _fail(kernel, "a loop ends elsewhere in each row", s)
        if isinstance(s, Store):
            first = any(
                p.terms == ((row, 1),) and p.extent == 1 for p in s.access.bounded_positions
            )
            if s.combine or s.indices or not (s.access.stride(row) != 0 or first):
                _fail(kernel, "rows that are lanes store to one element", s)
    for body in bodies(kernel):
        for expr in body.expressions:
            if isinstance(expr.attribute, Access) and expr.attribute.operand in stored:
                _fail(kernel, "a row reads where others store", expr.attribute)


#: Every invariant, in an order in which each may rely on those before it.
CHECKS: Final[tuple[Callable[[Kernel], None], ...]] = (
    _stages_fit_together,
    _statements_fit_stages,
    _names_are_distinct,
    _names_fit,
    _extents_are_arguments,
    _arguments_are_known,
    _accesses_move_along_loops,
    _expressions_are_typed,
    _memory_is_typed,
    _results_come_first,
    _lanes_store_apart,
    _directives_are_legal,
    _rows_fill_lanes,
    _iterations_store_apart,
    _columns_stand_alone,
    _modes_are_kept,
    _lanes_read_apart,
)
