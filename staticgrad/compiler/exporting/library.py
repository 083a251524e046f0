"""Compiled programs as libraries for C: object code of the kernels, and the plan as a file of C.

Each plan is for fixed sizes, so it is constants: each kernel is called with the words that a run of
this package gives it. Where sizes have several values, a run finds the plan of those that it is
given. The plans are compiled by the C compiler of this machine; what is made needs the C library
alone, neither Python nor LLVM, and LAPACK where the program calls it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from staticgrad.compiler import backends
from staticgrad.compiler.exporting.libraries import NOT_EXPORTED
from staticgrad.compiler.exporting.steps import lines_of, variable
from staticgrad.compiler.plain.expressions import Indented
from staticgrad.compiler.runtime.places import ARENA, BufferPlaces, Moved, Place, Where
from staticgrad.language.ir import control_flow as flow
from staticgrad.language.ir.calls import Routine
from staticgrad.language.ir.control_flow import control_flow
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import KernelStep, Schedule, Step
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.dim import Size, evaluate
from staticgrad.language.types.dtype import DType
from staticgrad.native import KernelSource, SourceText, jit, loader
from staticgrad.native.language import parts
from staticgrad.native.libraries import routines
from staticgrad.support.errors import ArgumentError, CompileError, ExportError

#: Kinds of libraries: how each is made of objects. ``{}`` is the file, objects follow.
LINKING: Final = {
    ".so": ("{cc}", "-shared", "-o", "{path}"),
    ".o": ("{cc}", "-r", "-nostdlib", "-o", "{path}"),
    ".a": ("ar", "rcs", "{path}"),
}
_C_TYPES: Final = {"float32": "float", "float64": "double", "bool": "uint8_t"}
#: Element types that C has no name for, as integers of their bits.
_AS_BITS: Final = frozenset({"float16", "bfloat16"})
_KEYWORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """auto break case char const continue default do double else enum extern float for goto if
        inline int long register restrict return short signed sizeof static struct switch typedef
        union unsigned void volatile while class new delete template this private public""",
    )
)
#: Bytes on whose multiples arrays of the data begin.
_LINE: Final = 64

_HEADER: Final = """\
/* {name}: a compiled program for C, {about}.

   Arrays are contiguous, in C order, and do not overlap. Parameters are read and updated in place.
   A library is compiled for one kind of processor: {target}. */
#ifndef {guard}
#define {guard}
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif

{structs}
/* Part of a kernel: iterations [begin, end). */
typedef void (*{name}_task)(void *job, int64_t begin, int64_t end);

/* Threads of the caller. `run` calls task(job, begin, end) for parts that cover [0, total), each of
   which begins at a multiple of grain, from any threads, and returns when all have ended. */
typedef struct {{
    void (*run)(void *pool, {name}_task task, void *job, int64_t total, int64_t grain);
    void *pool;
}} {name}_pool;

{lapack}/* Bytes of memory that a run works in{unplanned}.
   It begins at a multiple of 64, and keeps nothing between runs. */
size_t {name}_arena_bytes({only_sizes});

/* Copy the values that the parameters had when the library was made. */
void {name}_initial(const {name}_params *params);

/* Run the program; pool may be NULL: one thread. Several threads may run it at once with arenas,
   outputs and parameters of their own. Returns 0, or the number of a check that failed before any
   parameter was written, which {name}_message explains. */
int {name}_run({sizes}const {name}_inputs *inputs, const {name}_params *params,
    const {name}_outputs *outputs, void *arena, const {name}_pool *pool);

/* What a result of {name}_run says, in English. */
const char *{name}_message(int result);

#ifdef __cplusplus
}}
#endif
#endif
"""

_LAPACK: Final = """\
/* Functions of LAPACK and BLAS with 32-bit integers that it calls, by their names in Fortran: link
   with -llapack -lblas. A library with other names needs lines such as
       #define JUMP(f) __asm__(".globl " #f "_\\n" #f "_: jmp scipy_" #f "_@PLT");
       {name}_LAPACK(JUMP) */
#define {name}_LAPACK(f) {functions}

"""

_PLAN: Final = """\
static int run{number}(const {name}_inputs *inputs, const {name}_params *params,
    const {name}_outputs *outputs, void *given, const {name}_pool *pool) {{
    char *const arena = given;
    (void)arena, (void)inputs, (void)params, (void)outputs, (void)pool;
{steps}
    return 0;
}}
"""

_SOURCE: Final = """\
#include <string.h>
#include "{header}"

#define WORD(pointer) ((int64_t)(intptr_t)(pointer))
typedef void kernel(const int64_t *t, const int64_t *own, int64_t begin, int64_t end);
{kernels}

extern const char {name}_data[];
__asm__(
    ".section .rodata\\n"
    ".balign 64\\n"
    ".local {name}_data\\n"
    "{name}_data:\\n"
    ".incbin \\"{data}\\"\\n"
    ".byte 0\\n"
    ".previous\\n");

typedef struct {{
    kernel *code;
    const int64_t *t, *own;
    int64_t words, workers, total, grain;
}} job;

static void part(void *given, int64_t begin, int64_t end) {{
    const job *each = given;
    each->code(each->t, each->own, begin, end);
}}

/* Shares of a kernel of which each worker has memory of its own. */
static void worker(void *given, int64_t begin, int64_t end) {{
    const job *each = given;
    const int64_t groups = (each->total + each->grain - 1) / each->grain;
    for (int64_t n = begin; n < end; n++) {{
        const int64_t first = groups * n / each->workers * each->grain;
        const int64_t after = groups * (n + 1) / each->workers * each->grain;
        each->code(each->t, each->own + n * each->words, first,
            after < each->total ? after : each->total);
    }}
}}

static void shared(const {name}_pool *pool, kernel *code, const int64_t *t, const int64_t *own,
    int64_t words, int64_t workers, int64_t total, int64_t grain) {{
    job each = {{code, t, own, words, workers, total, grain}};
    if (!pool || grain == 0 || total <= grain || (words && workers == 1))
        code(t, own, 0, total);
    else if (words)
        pool->run(pool->pool, worker, &each, workers, 1);
    else
        pool->run(pool->pool, part, &each, total, grain);
}}

/* Threads of LAPACK are the caller's. */
static inline void unguarded(int64_t state, int64_t change) {{ (void)state, (void)change; }}

size_t {name}_arena_bytes({only_sizes}) {{
{arenas}
}}

void {name}_initial(const {name}_params *params) {{
    (void)params;
{initial}
}}

const char *{name}_message(int result) {{
    static const char *const messages[] = {{{messages}}};
    return result >= 0 && result < {count} ? messages[result] : "unknown result";
}}

{plans}
int {name}_run({sizes}const {name}_inputs *inputs, const {name}_params *params,
    const {name}_outputs *outputs, void *arena, const {name}_pool *pool) {{
{runs}
}}
"""


def export_library(
    path: Path,
    header: Path,
    graph: Graph,
    plans: Sequence[Plan],
    stores: Mapping[str, ParameterStore],
    free: Sequence[str] = (),
) -> None:
    """Write a program as a library for C, and its header.

    Args:
        path: the library, a shared object, an object or an archive by its suffix.
        header: the header, whose stem is the prefix of all names.
        graph: what inputs, outputs and parameters are called.
        plans: the steps, for each of the sizes that runs may have.
        free: names of sizes that are arguments of a run.
        stores: the parameters by name.

    Raises:
        ArgumentError: the header's stem is not a name in C.
        ExportError: a step calls a function of the user, or there is no C compiler.
        CompileError: the C compiler refuses the plan.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", header.stem, re.ASCII):
        raise ArgumentError(
            f"the stem of a header is a prefix in C, got {header.stem!r}", hint='header="step.h"'
        )
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise ExportError(
            "a library is linked by a C compiler, and there is none",
            hint="install gcc or clang: cc, gcc and clang are tried",
        )
    writer = LibraryWriter(header.stem, graph, plans, stores, free)
    with tempfile.TemporaryDirectory() as folder:
        names = ("plan.c", "plan.o", "data", "kernels.o", header.name, f"made{path.suffix}")
        glue, plan_object, data, kernels, above, made = (Path(folder) / name for name in names)
        glue.write_text(writer.source(header.name, str(data)), "utf-8")
        data.write_bytes(writer.data)
        above.write_text(writer.header(), "utf-8")
        kernels.write_bytes(_object_code(writer.sources.values()))
        _call(compiler, "-std=gnu11", "-O2", "-fPIC", "-c", str(glue), "-o", str(plan_object))
        command = [word.format(cc=compiler, path=made) for word in LINKING[path.suffix]]
        _call(*command, str(kernels), str(plan_object))
        shutil.copy(made, path)
        shutil.copy(above, header)


def _call(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise CompileError(f"{command[0]} failed", details=ran.stderr.splitlines()[:20])


def _object_code(sources: Iterable[KernelSource]) -> bytes:
    """Return one object with the code of kernels and of all that they share."""
    modules: list[parts.Module] = []
    for source in dict.fromkeys(sources):
        found = jit.llvm_modules(source, loader.host())
        modules += [found.kernel, *found.shared.values()]
    return jit.compile_ir(parts.text_of(parts.linked(modules)), "", loader.host()).elf


class LibraryWriter:
    """The text of a program in C. ``sources`` are those of its kernels, ``data`` the bytes of its
    constants and of the first values of its parameters."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        plans: Sequence[Plan],
        stores: Mapping[str, ParameterStore],
        free: Sequence[str],
    ) -> None:
        self.name, self.graph, self.plans, self.stores = name, graph, plans, stores
        self.free = {size: variable(size, (), _KEYWORDS) for size in free}
        self.sizes = dict(plans[0].sizes)
        self.sources: dict[Kernel | Routine, KernelSource] = {}
        self.functions: dict[str, None] = {}  # of LAPACK
        self.data = b""
        self._stored_at: dict[bytes, str] = {}
        self.checks: list[str] = []
        self.lines = Indented()
        self._counter = 0
        self._fields = {
            "inputs": _fields(v.node.label for v in graph.inputs),
            "params": _fields(p.name for p in graph.parameters),
            "outputs": _fields(graph.outputs),
        }

    def size(self, size: Size) -> int:
        """The value of a size."""
        return evaluate(size, self.sizes)

    def fresh(self, name: str) -> str:
        """A variable that nothing has yet."""
        self._counter += 1
        return f"{name}{self._counter}"

    # -- the files --------------------------------------------------------------------------------

    def header(self) -> str:
        """The header."""
        outputs = self.graph.outputs.items()
        fields = {
            "inputs": [("const ", v.node.label, v.dtype, v.shape) for v in self.graph.inputs],
            "params": [("", p.name, p.type.dtype, p.type.shape) for p in self.graph.parameters],
            "outputs": [("", name, value.dtype, value.shape) for name, value in outputs],
        }
        structs = "\n".join(self._struct(kind, rows) for kind, rows in fields.items())
        return _HEADER.format(
            name=self.name,
            about=self._about() or "of literal sizes",
            **self._arguments(),
            unplanned=", 0 for other sizes" if self.free else "",
            lapack=self._lapack(),
            target=loader.host().cpu,
            guard=f"{self.name.upper()}_H",
            structs=structs,
        )

    def _about(self) -> str:
        """The sizes of runs."""
        return ", or ".join(
            ", ".join(f"{name} = {size}" for name, size in plan.sizes) for plan in self.plans
        )

    def _arguments(self) -> dict[str, str]:
        """The sizes as parameters of C functions: alone, and before others."""
        found = [f"int64_t {name}" for name in self.free.values()]
        return {"only_sizes": ", ".join(found) or "void", "sizes": "".join(f"{s}, " for s in found)}

    def _lapack(self) -> str:
        functions = " ".join(f"f({name})" for name in sorted(self.functions))
        return _LAPACK.format(name=self.name, functions=functions) if functions else ""

    def _of_plans(self, results: Iterable[str], otherwise: str) -> str:
        """The lines that return the result for the sizes of each plan."""
        lines = []
        for plan, result in zip(self.plans, results, strict=True):
            own = dict(plan.sizes)
            tests = " && ".join(f"{name} == {own[size]}" for size, name in self.free.items())
            lines.append(f"    {f'if ({tests}) ' if tests else ''}return {result};")
        return "\n".join([*lines, *([f"    return {otherwise};"] if self.free else [])])

    def _field(self, kind: str, name: str) -> str:
        return f"{kind}->{self._fields[kind][name]}"

    def _struct(self, kind: str, rows: Iterable[tuple[str, str, DType, Sequence[Size]]]) -> str:
        lines = [
            f"    {const}{_c_type(dtype)} *{self._fields[kind][name]}; "
            f"/* {dtype}[{', '.join(str(s if self.free else self.size(s)) for s in shape)}] */"
            for const, name, dtype, shape in rows
        ]
        lines = lines or ["    char unused;"]
        return "\n".join(["typedef struct {", *lines, f"}} {self.name}_{kind};", ""])

    def source(self, header: str, data: str) -> str:
        """The plans, given the header's name and the path of the data."""
        plans = [self._plan(number, plan) for number, plan in enumerate(self.plans)]
        initial = [self._initial(name, store) for name, store in self.stores.items()]
        messages = ["it ran", *self.checks]
        if self.free:
            messages.append(f"there is no plan for these sizes: {self._about()}")
        kernels = [f"extern kernel {_symbol(source)};" for source in self.sources.values()]
        kernels += [f"extern void {function}_();" for function in self.functions]
        calls = [
            f"run{number}(inputs, params, outputs, arena, pool)" for number in range(len(plans))
        ]
        return _SOURCE.format(
            name=self.name,
            header=header,
            **self._arguments(),
            kernels="\n".join(kernels),
            data=data.replace("\\", "\\\\"),
            arenas=self._of_plans((str(max(p.peak_bytes, 1)) for p in self.plans), "0"),
            initial="\n".join(initial),
            messages=", ".join(map(quoted, messages)),
            count=len(messages),
            plans="\n".join(plans),
            runs=self._of_plans(calls, str(len(messages) - 1)),
        )

    def _plan(self, number: int, plan: Plan) -> str:
        """The function that runs a plan."""
        self.sizes, first_check = dict(plan.sizes), len(self.checks)
        self.lines = Indented()
        self.lines.depth = 1
        bound = self.constants(plan.schedule)
        for buffer in plan.schedule.buffers:
            if buffer.role == "input":
                bound[buffer.name] = f"((char *){self._field('inputs', buffer.label)})", 0
            elif buffer.role == "parameter":
                bound[buffer.name] = f"((char *){self._field('params', buffer.label)})", 0
        outputs = [(self._field("outputs", n), made) for n, made in plan.schedule.outputs]
        for place, made in outputs:
            bound.setdefault(made, (f"((char *){place})", 0))
        places = BufferPlaces(plan, {}, bound)
        words = self._check_words(places)
        for word in (word for part in words for word in part):
            self.lines.add(f"{_word(word)} = -1;")
        looks = [
            f"if ({' || '.join(f'{_word(word)} >= 0' for word in part)}) return {code};"
            for code, part in enumerate(words, first_check + 1)
        ]
        self.write(places, looks)
        for place, made in outputs:
            if bound[made][0] != f"((char *){place})":  # one value that has two names
                nbytes = self.size(plan.schedule.buffer(made).nbytes)
                self.lines.add(f"memcpy({place}, {_address(bound[made])}, {nbytes});")
        return _PLAN.format(number=number, name=self.name, steps="\n".join(self.lines.text))

    def _check_words(self, places: BufferPlaces) -> list[list[int]]:
        """Return where the steps of a plan note failures, each of which gets a message."""
        found: dict[str, list[int]] = {}
        for placed in places.plan.placements:
            if places.plan.schedule.buffer(placed.buffer).role == "check":
                words = places.parts(placed.buffer, placed.first, 0)
                found.setdefault(placed.buffer, []).extend(words)
        for name in found:
            step = next(s for s in places.plan.schedule.steps if name in s.writes())
            what = "an index is out of range" if isinstance(step, KernelStep) else "failed"
            self.checks.append(f"{what}: {step.label}: {lines_of(step)}")
        return [*found.values()]

    def constants(self, schedule: Schedule) -> dict[str, Where]:
        """Return where the constants of a schedule are."""
        arrays = {b.name: np.asarray(b.data.array) for b in schedule.buffers if b.data is not None}
        return {n: (f"((char *){self._stored(array)})", 0) for n, array in arrays.items()}

    def _initial(self, name: str, store: ParameterStore) -> str:
        array = np.ascontiguousarray(store.read())
        place = self._stored(array)
        return f"    memcpy({self._field('params', name)}, {place}, {array.nbytes});"

    def _stored(self, array: np.ndarray[Any, Any]) -> str:
        """The place of an array in the data, to which it is added."""
        content = array.tobytes()
        if content not in self._stored_at:
            begin = -(-len(self.data) // _LINE) * _LINE
            self.data = self.data.ljust(begin, b"\0") + content
            self._stored_at[content] = f"({self.name}_data + {begin})"
        return self._stored_at[content]

    # -- steps ------------------------------------------------------------------------------------

    def write(self, places: BufferPlaces, looks: Sequence[str] = ()) -> None:
        """The steps of a plan; ``looks`` end it at its commit where a check has failed."""
        plan = places.plan
        for position in range(len(plan.steps)):
            if position == plan.commit:
                self.lines.add(*looks)
            self._step(places, position)
        if plan.commit >= len(plan.steps):
            self.lines.add(*looks)

    def _step(self, places: BufferPlaces, position: int) -> None:
        step = places.plan.schedule.steps[places.plan.steps[position].step]
        comment = f"{step.label}: {lines_of(step)}".replace("*/", "* /").replace("/*", "/ *")
        self.lines.add(f"/* {comment} */")
        if step.bodies():
            BodyLines(self, places, position, step).write()
        else:
            self._call(places, position, step)

    def _call(self, places: BufferPlaces, position: int, step: Step) -> None:
        """The call of a kernel, or of a routine."""
        planned, workers = places.plan.steps[position], places.plan.workers
        (call,) = step.calls(planned.arguments)
        symbol, tail = self._code(call.kernel, step)
        words, own = list[str](), list[Sequence[int]]()
        for access, offset in zip(step.accesses(), planned.offsets, strict=True):
            if access.is_own:
                own.append(places.parts(access.buffer, position, offset))
            else:
                words.append(f"WORD({_address(places.find(access.buffer, position, offset))})")
        words += [*map(str, call.arguments), *tail]
        rows = [f"WORD(arena + {parts[worker]})" for worker in range(workers) for parts in own]
        for check in step.checks():
            if check.name in planned.fails:
                noted = places.parts(check.buffer, position, planned.offsets[check.access])
                self.lines.add(f"{_word(noted[0])} = 0;")
        self.lines.add("{")
        self.lines.add(f"    const int64_t t[] = {{{', '.join(words) or '0'}}};")
        self.lines.add(f"    const int64_t own[] = {{{', '.join(rows) or '0'}}};")
        shape = f"{len(own)}, {workers}, {planned.total}, {planned.grain}"
        self.lines.add(f"    shared(pool, {symbol}, t, own, {shape});")
        self.lines.add("}")

    def _code(self, kernel: Kernel | Routine, step: Step) -> tuple[str, list[str]]:
        """The symbol of a kernel or of a routine, and the last words of its record."""
        functions: tuple[str, ...] = ()
        if isinstance(kernel, Routine):
            linked = routines.linked(kernel.name)
            if linked is None:
                at = step.origins[0] if step.origins else None
                hint = 'f.export("step.py") writes a file of Python, which has them'
                family = kernel.name.partition(":")[0]
                refused = NOT_EXPORTED.get(family, "a call of what is not LAPACK")
                what = f"{refused} cannot be exported"
                if family == "fft":
                    what = "Fourier transforms cannot go to a library for C"
                raise ExportError(
                    f"{step.label}: {what}", hint=hint if family == "fft" else "", at=at
                )
            text, functions = linked
            self.sources[kernel] = SourceText(text)
            self.functions |= dict.fromkeys(functions)
        elif kernel not in self.sources:
            self.sources[kernel] = backends.source_of(kernel)
        tail = ["WORD(unguarded)", "0", *(f"WORD({name}_)" for name in functions)]
        return _symbol(self.sources[kernel]), tail if isinstance(kernel, Routine) else []


class BodyLines:
    """Writes a step with bodies: a loop or a branch."""

    def __init__(
        self, writer: LibraryWriter, places: BufferPlaces, position: int, step: Step
    ) -> None:
        self.writer, self.lines, self.step = writer, writer.lines, step
        self.places, self.position, self.accesses = places, position, step.accesses()
        self.turns: dict[int, tuple[str, str]] = {}
        self.number = self.made = ""

    def write(self) -> None:
        """The lines of the step."""
        for each in control_flow(self.step):
            match each:
                case flow.Move(to, source, elements):
                    nbytes = self._bytes(elements, to.access)
                    self.lines.add(f"memmove({self._at(to)}, {self._at(source)}, {nbytes});")
                case flow.Branch():
                    self._branch(each)
                case flow.Loop():
                    self._loop(each)

    def _bytes(self, elements: Size, access: int) -> int:
        return self.writer.size(elements) * self.accesses[access].dtype.itemsize

    def _place(self, place: flow.Place) -> Where:
        """Return where a place is."""
        match place:
            case flow.At(access, offset, row):
                planned = self.places.plan.steps[self.position]
                inside = planned.offsets[access] + self._bytes(offset, access)
                found = self.places.find(self.accesses[access].buffer, self.position, inside)
                assert not isinstance(found, Moved)  # which are those of tables
                if row is not None:
                    stride = self._bytes(row, access)
                    return f"({_address(found)} + {self.number} * {stride})", 0
                return found
            case flow.Turn(carry, written):
                return self.turns[carry][written], 0
        return f"((char *)&{self.number if place == 'number' else self.made})", 0

    def _at(self, place: flow.Place) -> str:
        return _address(self._place(place))

    def _run(self, run: flow.Run) -> None:
        bound = self.writer.constants(self.step.bodies()[run.body].schedule)
        bound |= {name: self._place(place) for name, place in run.bound.items()}
        self.writer.write(self.places.of_body(self.position, run.body, {}, bound))

    def _branch(self, branch: flow.Branch) -> None:
        lines, case = self.lines, self.writer.fresh("case")
        lines.add(f"const int64_t {case} = *(const int64_t *){self._at(branch.chosen)};")
        lines.add(f"switch ({case} < 0 ? 0 : {case}) {{")
        for number, run in enumerate(branch.cases):
            last = number == len(branch.cases) - 1
            lines.open("default: {" if last else f"case {number}: {{")
            self._run(run)
            lines.add("break;")
            lines.depth -= 1
            lines.add("}")
        lines.add("}")

    def _loop(self, loop: flow.Loop) -> None:
        lines, fresh = self.lines, self.writer.fresh
        iterations = self.writer.size(loop.iterations)
        self.made, self.number = fresh("t"), fresh("row")
        turning = []
        for carry, turns in loop.turns.items():
            read, written, spare = fresh("old"), fresh("new"), fresh("spare")
            one, two = map(self._at, turns.written(iterations))
            first = self._at(turns.first)
            lines.add(f"char *{read} = {first}, *{written} = {one}, *{spare} = {two};")
            turning.append(f"{read} = {written}, {written} = {spare}, {spare} = {read};")
            self.turns[carry] = read, written
        lines.add(f"int64_t {self.made} = 0;")
        lines.open(f"for (; {self.made} < {iterations}; {self.made}++) {{")
        number = f"{iterations} - 1 - {self.made}" if loop.backwards else self.made
        lines.add(f"const int64_t {self.number} = {number};")
        for each in loop.inside:
            if isinstance(each, flow.Run):
                self._run(each)
            else:
                lines.add(f"if (!*(const uint8_t *){self._at(each.goes)}) break;")
        lines.add(*turning)
        lines.depth -= 1
        lines.add("}")


def _address(place: Place) -> str:
    """Return a place as an expression of C."""
    assert not isinstance(place, Moved)
    memory, at = place
    memory = "arena" if memory == ARENA else memory
    return f"({memory} + {at})" if at else memory


def _word(at: int) -> str:
    """Return a word of the arena as an expression of C."""
    return f"*(int64_t *)(arena + {at})"


def _c_type(dtype: DType) -> str:
    """Return the type of an element in C; narrow floats are integers of their bits."""
    name = str(dtype)
    return _C_TYPES.get(name) or ("uint16_t" if name in _AS_BITS else f"{name}_t")


def _symbol(source: KernelSource) -> str:
    return jit.symbol_of(source.key)


def _fields(names: Iterable[str]) -> dict[str, str]:
    """Return names as those of the fields of one struct."""
    found: dict[str, str] = {}
    for name in names:
        found[name] = variable(name, found.values(), _KEYWORDS)
    return found


def quoted(text: str) -> str:
    """Return a text as a string in C."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
