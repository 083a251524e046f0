"""Compiled programs as libraries for C: object code of the kernels, and the plan as a file of C.

Each kernel is called with the words that a run of this package gives it. Where sizes are fixed they
are constants. Where sizes have several values, a run finds the plan of those that it is given;
where they are free, words and places are expressions of them. The plans are compiled by the C
compiler of this machine; the result needs the C library alone, neither Python nor LLVM, and LAPACK
where the program calls it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final

import numpy as np

from staticgrad.analysis.lookups import lookups_of
from staticgrad.compiler import backends
from staticgrad.compiler.exporting import c_fourier, c_source
from staticgrad.compiler.exporting.libraries import NOT_EXPORTED
from staticgrad.compiler.exporting.sizes_in_c import FreePlaces, LiveRanges, Number, SizesInC
from staticgrad.compiler.exporting.steps import lines_of, variable
from staticgrad.compiler.exporting.table import C_KEYWORDS, ArrayRow, in_struct, rows_of
from staticgrad.compiler.exporting.wrappers import WRAPPERS, Interface, check_wrappers
from staticgrad.compiler.plain.expressions import Indented
from staticgrad.compiler.runtime.places import ARENA, BufferPlaces, Moved, Place, Where
from staticgrad.language.ir import control_flow as flow
from staticgrad.language.ir.calls import Routine
from staticgrad.language.ir.control_flow import control_flow
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import CallStep, KernelStep, Schedule, Step
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.dim import Size, named_sizes
from staticgrad.native import KernelSource, SourceText, jit, loader
from staticgrad.native.language import parts
from staticgrad.native.libraries import routines
from staticgrad.support.errors import ArgumentError, CompileError, ExportError
from staticgrad.support.records import dataclass

#: Kinds of libraries: how each is made of objects. ``{}`` is the file, objects follow.
LINKING: Final = {
    ".so": ("{cc}", "-shared", "-o", "{path}"),
    ".o": ("{cc}", "-r", "-nostdlib", "-o", "{path}"),
    ".a": ("ar", "rcs", "{path}"),
}
#: Bytes on whose multiples arrays of the data begin.
_LINE: Final = 64
#: The version of what a header declares, part of its ``INTERFACE``.
_INTERFACE: Final = 1
#: The largest value of a free size.
_LARGEST: Final = 2**31 - 1

#: Names that the functions of a library give to their other parameters and variables.
_OF_RUNS: Final = frozenset({
    "inputs", "params", "outputs", "arena", "pool", "array", "shape", "number", "floor_div",
    "larger", "shared", "fail",
})  # fmt: skip

Places = BufferPlaces | FreePlaces


def export_library(
    path: Path,
    header: Path,
    graph: Graph,
    plans: Sequence[Plan],
    stores: Mapping[str, ParameterStore],
    free: Sequence[str] = (),
    opened: Sequence[str] = (),
    libraries: Sequence[str | PathLike[str]] = (),
    wrappers: Sequence[str] = (),
) -> None:
    """Write a program as a library for C, its header, and wrappers for other languages.

    Args:
        path: the library, a shared object, an object or an archive by its suffix.
        header: the header, whose stem is the prefix of all names.
        graph: what inputs, outputs and parameters are called.
        plans: the steps, for each of the sizes that runs may have.
        free: names of sizes of which plans have different values, arguments of a run.
        opened: names of sizes that stay free, arguments of a run.
        stores: the parameters by name.
        libraries: what LAPACK is linked from: names for ``-l``, paths, or ``scipy``.
        wrappers: languages, of ``WRAPPERS``.

    Raises:
        ArgumentError: the header's stem is not a name in C; no such wrapper, no such library.
        ExportError: a step calls a function of the user, or there is no C compiler.
        CompileError: the C compiler refuses the plan.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", header.stem, re.ASCII):
        raise ArgumentError(
            f"the stem of a header is a prefix in C, got {header.stem!r}", hint='header="step.h"'
        )
    languages = check_wrappers(wrappers, path.suffix)
    linked = LinkedLibraries.of(libraries, path.suffix)
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise ExportError(
            "a library is linked by a C compiler, and there is none",
            hint="install gcc or clang: cc, gcc and clang are tried",
        )
    writer = LibraryWriter(header.stem, graph, plans, stores, free, opened, linked)
    with tempfile.TemporaryDirectory() as folder:
        names = ("plan.c", "plan.o", "data", "kernels.o", header.name, f"made{path.suffix}")
        glue, plan_object, data, kernels, above, made = (Path(folder) / name for name in names)
        version = f"staticgrad {sys.modules['staticgrad'].__version__} for {loader.host().cpu}"
        text = writer.source(header.name, str(data), f"{version}, build <build>")
        build = sha256(text.replace(str(data), "").encode() + writer.data).hexdigest()[:12]
        glue.write_text(text.replace("<build>", build), "utf-8")
        data.write_bytes(writer.data)
        above.write_text(writer.header(), "utf-8")
        kernels.write_bytes(_object_code(writer.sources.values()))
        flags = ("-std=gnu11", "-O2", "-fwrapv", "-fPIC", "-c")
        _call(compiler, *flags, str(glue), "-o", str(plan_object))
        command = [word.format(cc=compiler, path=made) for word in LINKING[path.suffix]]
        _call(*command, str(kernels), str(plan_object), *linked.arguments)
        _put(made, path)
        _put(above, header)
    interface = Interface(header.stem, path.name, writer.rows, writer.variables, writer.digest)
    for language in languages:
        write, end = WRAPPERS[language]
        (path.parent / f"{header.stem}{end}").write_text(write(interface), "utf-8")


def _put(made: Path, path: Path) -> None:
    """Replace a file by another one; a process that has loaded the former one goes on with it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.copy(made, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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


@dataclass(frozen=True)
class LinkedLibraries:
    """Libraries that a shared library is linked to: arguments of the C compiler, and what the names
    of LAPACK's functions begin with in them."""

    arguments: tuple[str, ...] = ()
    prefix: str = ""

    @classmethod
    def of(cls, libraries: Sequence[str | PathLike[str]], suffix: str) -> LinkedLibraries:
        """Return them by the names and paths that a user gives.

        Raises:
            ArgumentError: a file that is not there; libraries of an object or an archive.
        """
        given = [libraries] if isinstance(libraries, str | PathLike) else [*libraries]
        if given and suffix != ".so":
            raise ArgumentError(
                f"libraries are linked to a .so, not to a {suffix}",
                hint="link the program in C to them",
            )
        arguments, prefix = list[str](), ""
        for each in [fspath(one) for one in given]:
            path = _scipy_blas() if each == "scipy" else Path(each)
            if path.suffix in (".so", ".a") or "/" in str(path):
                if not path.is_file():
                    raise ArgumentError(f"libraries: there is no file {str(path)!r}")
                path = path.resolve()
                arguments += [str(path), f"-Wl,-rpath,{path.parent}"]
                if b"scipy_dgemm_\0" in path.read_bytes():
                    prefix = "scipy_"
            elif not re.fullmatch(r"[\w.+-]+", each):
                raise ArgumentError(
                    f"libraries: {each!r} is neither a name nor a file",
                    hint='libraries=["openblas"], or the path of a library',
                )
            else:
                arguments.append(f"-l{each}")
        return cls((*arguments, "-Wl,-z,defs", "-lm") if arguments else (), prefix)


def _scipy_blas() -> Path:
    """The path of the OpenBLAS of SciPy's wheel."""
    spec = find_spec("scipy")
    folder = Path(spec.origin).parents[1] / "scipy.libs" if spec and spec.origin else Path()
    found = sorted(folder.glob("libscipy_openblas*.so*"))
    if not found:
        raise ArgumentError(
            "libraries: SciPy has no OpenBLAS of its own here",
            hint='install one, libraries=["openblas"]',
        )
    return found[0]


class LibraryWriter:
    """The text of a program in C. ``sources`` are those of its kernels, ``data`` the bytes of its
    constants and of the first values of its parameters."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        plans: Sequence[Plan],
        stores: Mapping[str, ParameterStore],
        listed: Sequence[str],
        opened: Sequence[str],
        linked: LinkedLibraries,
    ) -> None:
        self.linked = linked
        self.name, self.graph, self.plans, self.stores = name, graph, plans, stores
        self.listed, self.opened = listed, opened
        self.variables: dict[str, str] = {}
        for size in (*listed, *opened):
            taken = {*self.variables.values(), *_OF_RUNS}
            self.variables[size] = variable(size, taken, C_KEYWORDS)
        self.sizes = self._sizes_of(plans[0])
        self.rows = rows_of(graph, stores)
        self.sources: dict[Kernel | Routine, KernelSource] = {}
        self.functions: dict[str, None] = {}  # of LAPACK
        self.fourier: dict[str, int] = {}  # the numbers of routines
        self.data = b""
        self._stored_at: dict[bytes, str] = {}
        self.checks: list[str] = []
        self.lines = Indented()
        self.ranges = LiveRanges()
        self._counter = 0
        self._fields = {
            struct: {row.name: row.field for row in in_struct(self.rows, struct)}
            for struct in ("inputs", "params", "outputs")
        }

    def _sizes_of(self, plan: Plan) -> SizesInC:
        fixed = {n: value for n, value in plan.sizes if n not in self.opened}
        return SizesInC(fixed, {n: self.variables[n] for n in self.opened})

    def size(self, size: Size) -> Number:
        """The value of a size, or an expression of it."""
        return self.sizes(size)

    def fresh(self, name: str) -> str:
        """A variable that nothing has yet."""
        self._counter += 1
        return f"{name}{self._counter}_"

    # -- the files --------------------------------------------------------------------------------

    def header(self) -> str:
        """The header."""
        return c_source.HEADER.substitute(
            self._arguments(),
            name=self.name,
            about=self._about() or "of literal sizes",
            unplanned=", 0 for other sizes" if self.variables else "",
            lapack=self._lapack(),
            target=loader.host().cpu,
            guard=f"{self.name.upper()}_H",
            structs="\n".join(map(self._struct, ("inputs", "params", "outputs"))),
            digest=f"0x{self.digest:016x}",
        )

    @property
    def digest(self) -> int:
        """A number that is another one for libraries with other structs or functions."""
        rows = [(r.name, r.kind, r.c_type, self._shape_text(r)) for r in self.rows]
        text = repr((_INTERFACE, self.name, [*self.variables.values()], rows))
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big")

    def _about(self) -> str:
        """The sizes of runs."""
        free = f"for any {', '.join(self.opened)}" if self.opened else ""
        listed = ", or ".join(
            ", ".join(f"{name} = {size}" for name, size in plan.sizes if name not in self.opened)
            for plan in self.plans
        )
        return ", ".join(filter(None, [free, listed]))

    def _arguments(self) -> dict[str, Any]:
        """The sizes as parameters of C functions, alone and before others, and what is counted."""
        found = [f"int64_t {name}" for name in self.variables.values()]
        counts = {s: len(fields) for s, fields in self._fields.items()}
        return {
            "only_sizes": ", ".join(found) or "void",
            "sizes": "".join(f"{s}, " for s in found),
            "names": ", ".join(self.variables.values()),
            "rows": len(self.rows),
            "some_rows": max(1, len(self.rows)),
            **counts,
        }

    def _lapack(self) -> str:
        functions = " ".join(f"f({name})" for name in sorted(self.functions))
        how = "it is linked to them" if self.linked.arguments else "link with -llapack -lblas"
        return c_source.LAPACK.substitute(name=self.name, functions=functions, how=how) * bool(
            functions
        )

    def _field(self, struct: str, name: str) -> str:
        return f"((char *){struct}->{self._fields[struct][name]})"

    def _struct(self, struct: str) -> str:
        const = "const " if struct == "inputs" else ""
        lines = [
            f"    {const}{row.c_type} *{row.field}; "
            f"/* {row.dtype}[{self._shape_text(row).replace('*/', '* /')}] */"
            for row in in_struct(self.rows, struct)
        ]
        lines = lines or ["    char unused;"]
        return "\n".join(["typedef struct {", *lines, f"}} {self.name}_{struct};", ""])

    def _shape_text(self, row: ArrayRow) -> str:
        return ", ".join(
            str(size if self._differs(size) else self.size(size)) for size in row.shape
        )

    def _differs(self, size: Size) -> bool:
        """Return whether runs may have different values of a size."""
        return any(named.name in self.variables for named in named_sizes(size))

    def source(self, header: str, data: str, version: str) -> str:
        """The plans, given the header's name and the path of the data."""
        plans = [self._plan(number, plan) for number, plan in enumerate(self.plans)]
        initial = [self._initial(name, store) for name, store in self.stores.items()]
        kernels = [f"extern kernel {_symbol(source)};" for source in self.sources.values()]
        kernels += [
            f"extern void {self.linked.prefix}{function}_();" for function in self.functions
        ]
        functions = [c_fourier.function_of(name, n) for name, n in self.fourier.items()]
        arguments = self._arguments()
        before = f"{arguments['names']}, " if self.variables else ""
        checks = ["it ran", *self.checks]
        return c_source.SOURCE.substitute(
            arguments,
            name=self.name,
            header=header,
            kernels="\n".join(kernels),
            data=data.replace("\\", "\\\\"),
            version=quoted(version),
            shapes="\n".join(self._shapes()),
            table="\n".join(map(self._row, range(len(self.rows)))) or "    {0}",
            checks=", ".join(map(quoted, checks)),
            count=len(checks),
            no_plan=quoted(self._no_plan()),
            fourier="\n".join([c_fourier.SOURCE] * bool(self.fourier) + functions),
            plans="\n".join(plans),
            choice="\n".join(self._choice()),
            arenas="\n".join(f"    case {n}: return arena{n}({arguments['names']});"
                             for n in range(len(plans))),
            most_rank=max([len(row.shape) for row in self.rows] + [1]),
            shaped="\n".join(map(self._shaped, range(len(self.rows)))),
            initial="\n".join(initial),
            runs="\n".join(
                f"    case {n}: return run{n}({before}inputs, params, outputs, arena, pool);"
                for n in range(len(plans))
            ),
            saving=self._saving(),
        )  # fmt: skip

    def _shapes(self) -> Iterable[str]:
        for number, row in enumerate(self.rows):
            sizes = [-1 if self._differs(size) else self.size(size) for size in row.shape]
            yield f"static const int64_t shape{number}[] = {{{', '.join(map(str, sizes)) or '0'}}};"

    def _row(self, number: int) -> str:
        row = self.rows[number]
        nbytes = row.size * row.dtype.itemsize
        numbers = (
            -1 if self._differs(nbytes) else self.size(nbytes),
            len(row.shape),
            row.dtype.itemsize,
            f"{self.name}_{row.kind.upper()}",
            int(row.updated),
        )
        texts = map(quoted, (row.name, row.field, str(row.dtype), self._shape_text(row)))
        return f"    {{{', '.join([*texts, f'shape{number}', *map(str, numbers)])}}},"

    def _shaped(self, number: int) -> str:
        """The case of ``shape`` for an array."""
        row, sizes = self.rows[number], SizesInC(dict(self.plans[0].sizes), self.variables)
        sizes.fixed = {n: v for n, v in self.plans[0].sizes if n not in self.variables}
        axes = "".join(f"s_[{axis}] = {sizes(size)}; " for axis, size in enumerate(row.shape))
        return f"    case {number}: {axes}return {sizes(row.size * row.dtype.itemsize)};"

    def _conditions(self) -> Iterable[tuple[str, str]]:
        """Conditions on sizes that stay free: as an expression of C, and in words."""
        sizes = SizesInC({}, self.variables)
        for plan in self.plans[:1]:
            sizes.fixed = {n: v for n, v in plan.sizes if n not in self.variables}
        for named in self.graph.sizes.values():
            if named.name not in self.opened:
                continue
            name, most = self.variables[named.name], min(named.max or _LARGEST, _LARGEST)
            yield f"{name} >= {named.min}", f"{named.name} >= {named.min}"
            yield f"{name} <= {most}", f"{named.name} <= {most}"
            if named.multiple_of > 1:
                multiple = f"a multiple of {named.multiple_of}"
                yield f"{name} % {named.multiple_of} == 0", f"{named.name} is {multiple}"
        for guard, _ in self.graph.guards if self.opened else ():
            yield f"{sizes(guard.left)} {guard.relation} {sizes(guard.right)}", guard.text

    def _choice(self) -> Iterable[str]:
        """The lines that find the plan for sizes."""
        for condition, _ in dict.fromkeys(self._conditions()):
            yield f"    if (!({condition})) return -1;"
        for number, plan in enumerate(self.plans):
            own = dict(plan.sizes)
            tests = " && ".join(f"{self.variables[name]} == {own[name]}" for name in self.listed)
            yield f"    {f'if ({tests}) ' if tests else ''}return {number};"
        if self.listed:
            yield "    return -1;"

    def _no_plan(self) -> str:
        """What sizes a run may have, in words."""
        words = [text for _, text in dict.fromkeys(self._conditions())]
        if self.listed:
            words.append(self._about())
        return f"there is no plan for these sizes: {'; '.join(words) or 'they are literal'}"

    def _saving(self) -> str:
        """The functions that write and read files, with the bytes before the arrays."""
        described, at = {}, 0
        params = in_struct(self.rows, "params")
        for row in params:
            nbytes = int(self.size(row.size * row.dtype.itemsize))
            described[row.name] = {
                "dtype": _stored_as(row),
                "shape": [*map(self.size, row.shape)],
                "data_offsets": [at, at + nbytes],
            }
            at += nbytes
        text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        dtypes = ", ".join(quoted(_stored_as(row)) for row in params)
        head = _quoted_bytes(len(text).to_bytes(8, "little") + text)
        return c_source.SAVING.substitute(name=self.name, head=head, dtypes=dtypes or "0")

    def _plan(self, number: int, plan: Plan) -> str:
        """The function that runs a plan, and the one that says how large its arena is."""
        self.sizes, first_check = self._sizes_of(plan), len(self.checks)
        self.lines, self.ranges = Indented(), LiveRanges()
        bound = self.constants(plan.schedule)
        for buffer in plan.schedule.buffers:
            if buffer.role == "input":
                bound[buffer.name] = self._field("inputs", buffer.label), 0
            elif buffer.role == "parameter":
                bound[buffer.name] = self._field("params", buffer.label), 0
        outputs = [(self._field("outputs", n), made) for n, made in plan.schedule.outputs]
        for place, made in outputs:
            bound.setdefault(made, (place, 0))
        places: Places
        if self.opened:
            places = FreePlaces(plan, self.sizes, self.ranges, bound)
        else:
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
            if bound[made][0] != place:  # one value that has two names
                nbytes = self.size(plan.schedule.buffer(made).nbytes)
                self.lines.add(f"memcpy({place}, {_address(bound[made])}, {nbytes});")
        arguments = self._arguments()
        lines, before, arena = self.lines.text, "", str(max(plan.peak_bytes, 1))
        if self.opened:
            before = self._places(number)
            count = len(self.ranges.rows)
            asked = f"    const int64_t *const o_ = places{number}({arguments['names']});"
            lines = [asked, f"    if (!o_) return fail({self.name}_SIZES, -1);", *lines]
            arena = f"o_ ? (size_t)larger(o_[{count}], 1) : 0"
            arena = f"{asked.strip()}\n    return {arena}"
        else:
            unused = "".join(f"(void){name}; " for name in self.variables.values())
            lines, arena = (
                [*([f"    {unused}"] if unused else []), *lines],
                f"{unused}return {arena}",
            )
        body = c_source.PLAN.substitute(
            arguments,
            number=number,
            name=self.name,
            steps="\n".join(lines),
        )
        size = f"static size_t arena{number}({arguments['only_sizes']}) {{\n    {arena};\n}}\n"
        return f"{before}{size}\n{body}"

    def _places(self, number: int) -> str:
        """The function that says where the buffers of a plan are."""
        rows = self.ranges.rows
        return c_source.PLACES.substitute(
            number=number,
            count=max(1, len(rows)),
            free=len(self.variables),
            sizes=self._arguments()["only_sizes"],
            names=self._arguments()["names"],
            lives=", ".join(f"{{{row.first}, {row.last}}}" for row in rows) or "{0, 0}",
            bytes=",\n            ".join(f"{row.nbytes} /* {row.name} */" for row in rows) or "0",
        )

    def _check_words(self, places: Places) -> list[Sequence[Number]]:
        """Return where the steps of a plan note failures, each of which gets a message."""
        found: dict[str, Sequence[Number]] = {}
        for placed in places.plan.placements:
            is_check = places.plan.schedule.buffer(placed.buffer).role == "check"
            if is_check and placed.first < places.plan.commit:  # nobody reads what is noted later
                found[placed.buffer] = places.parts(placed.buffer, placed.first, 0)
        for name in found:
            step = next(s for s in places.plan.schedule.steps if name in s.writes())
            what = "an index is out of range" if isinstance(step, KernelStep) else "failed"
            if isinstance(step, CallStep) and step.routine.name.startswith("limit:"):
                what = "a solver used up its steps"
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

    def write(self, places: Places, looks: Sequence[str] = ()) -> None:
        """The steps of a plan; ``looks`` end it at its commit where a check has failed."""
        plan = places.plan
        for position in range(len(plan.steps)):
            if position == plan.commit:
                self.lines.add(*looks)
            if isinstance(places, FreePlaces):
                places.begin(position)
            self._step(places, position)
            if isinstance(places, FreePlaces):
                places.end(position)
        if plan.commit >= len(plan.steps):
            self.lines.add(*looks)

    def _step(self, places: Places, position: int) -> None:
        step = places.plan.schedule.steps[places.plan.steps[position].step]
        comment = f"{step.label}: {lines_of(step)}".replace("*/", "* /").replace("/*", "/ *")
        self.lines.add(f"/* {comment} */")
        if step.bodies():
            BodyLines(self, places, position, step).write()
        else:
            self._call(places, position, step)

    def _call(self, places: Places, position: int, step: Step) -> None:
        """The call of a kernel, or of a routine."""
        workers = places.plan.workers
        (call,) = step.calls(places.plan.steps[position].arguments)
        symbol, tail = self._code(call.kernel, step)
        words, own = list[str](), list[Sequence[Number]]()
        for access in step.accesses():
            offset: Any = self.size(access.begin)
            if access.is_own:
                own.append(places.parts(access.buffer, position, offset))
            else:
                words.append(f"WORD({_address(places.find(access.buffer, position, offset))})")
        arguments = step.arguments[: len(call.arguments)]
        words += [*(str(self.size(argument)) for argument in arguments), *tail]
        rows = [f"WORD(arena + {parts[worker]})" for worker in range(workers) for parts in own]
        total: Number = self.size(step.total)
        for check in step.checks():
            condition = self._fails(step, check.name)
            if condition:
                offset = self.size(step.accesses()[check.access].begin)
                noted, *_ = places.parts(check.buffer, position, offset)
                self.lines.add(f"if ({condition}) {_word(noted)} = 0;")
                total = f"({condition} ? 0 : {total})"
        self.lines.add("{")
        self.lines.add(f"    const int64_t t_[] = {{{', '.join(words) or '0'}}};")
        self.lines.add(f"    const int64_t own_[] = {{{', '.join(rows) or '0'}}};")
        shape = f"{len(own)}, {workers}, {total}, {step.grain}"
        self.lines.add(f"    shared(pool, {symbol}, t_, own_, {shape});")
        self.lines.add("}")

    def _fails(self, step: Step, check: str) -> str:
        """Return the condition, in C, under which a check is sure to fail, or nothing.

        The run ends at its checks then; the step has no iterations.
        """
        if not isinstance(step, KernelStep):
            return ""
        sizes = dict(zip(step.kernel.arguments, map(self.size, step.arguments), strict=True))
        found = []
        for lookup in lookups_of(step.kernel):
            extents = [sizes.get(str(each), each) for each in (lookup.extent, *lookup.around)]
            extent, *others = *extents, self.size(step.total)
            if lookup.operand == check and 0 not in others and extent in (0, str(extent)):
                texts = [f"{extent} == 0"] if extent != 0 else []
                texts += [f"{each} != 0" for each in others if isinstance(each, str)]
                found.append(f"({' && '.join(texts) or '1'})")
        return f"({' || '.join(found)})" if found else ""

    def _code(self, kernel: Kernel | Routine, step: Step) -> tuple[str, list[str]]:
        """The symbol of a kernel or of a routine, and the last words of its record."""
        functions: tuple[str, ...] = ()
        if isinstance(kernel, Routine) and kernel.name.startswith("fft:"):
            return f"fourier{self.fourier.setdefault(kernel.name, len(self.fourier))}", []
        if isinstance(kernel, Routine):
            linked = routines.linked(kernel.name)
            if linked is None:
                at = step.origins[0] if step.origins else None
                family = kernel.name.partition(":")[0]
                what = NOT_EXPORTED.get(family, "a call of what is not LAPACK")
                raise ExportError(f"{step.label}: {what} cannot be exported", at=at)
            text, functions = linked
            self.sources[kernel] = SourceText(text)
            self.functions |= dict.fromkeys(functions)
        elif kernel not in self.sources:
            self.sources[kernel] = backends.source_of(kernel)
        tail = [
            "WORD(unguarded)",
            "0",
            *(f"WORD({self.linked.prefix}{name}_)" for name in functions),
        ]
        return _symbol(self.sources[kernel]), tail if isinstance(kernel, Routine) else []


class BodyLines:
    """Writes a step with bodies: a loop or a branch."""

    def __init__(self, writer: LibraryWriter, places: Places, position: int, step: Step) -> None:
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

    def _bytes(self, elements: Size, access: int) -> Number:
        return self.writer.size(elements * self.accesses[access].dtype.itemsize)

    def _place(self, place: flow.Place) -> Where:
        """Return where a place is."""
        match place:
            case flow.At(access, offset, row):
                touched = self.accesses[access]
                inside = self.writer.size(touched.begin + offset * touched.dtype.itemsize)
                found = self.places.find(touched.buffer, self.position, inside)  # type: ignore[arg-type]
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
            lines.open_block("default: {" if last else f"case {number}: {{")
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
            if isinstance(iterations, int):
                one, two = map(self._at, turns.written(iterations))
            else:
                (one, two), (even, _) = (map(self._at, turns.written(n)) for n in (1, 2))
                is_odd = f"{iterations} % 2"
                one, two = f"({is_odd} ? {one} : {even})", f"({is_odd} ? {two} : {one})"
            first = self._at(turns.first)
            lines.add(f"char *{read} = {first}, *{written} = {one}, *{spare} = {two};")
            turning.append(f"{read} = {written}, {written} = {spare}, {spare} = {read};")
            self.turns[carry] = read, written
        lines.add(f"int64_t {self.made} = 0;")
        lines.open_block(f"for (; {self.made} < {iterations}; {self.made}++) {{")
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


def _word(at: Number) -> str:
    """Return a word of the arena as an expression of C."""
    return f"*(int64_t *)(arena + {at})"


def _symbol(source: KernelSource) -> str:
    return jit.symbol_of(source.key)


def _stored_as(row: ArrayRow) -> str:
    """The name of an element type in safetensors."""
    name = str(row.dtype)
    return "BOOL" if name == "bool" else row.dtype.code.upper()


def quoted(text: str) -> str:
    """Return a text as a string in C."""
    return _quoted_bytes(text.encode())


def _quoted_bytes(content: bytes) -> str:
    """Return bytes as a string in C, a line for each hundred of them or so."""
    texts = [
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in content
    ]
    lines = ["".join(texts[n : n + 100]) for n in range(0, len(texts), 100)] or [""]
    return "\n    ".join(f'"{line}"' for line in lines)
