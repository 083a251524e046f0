"""Export compiled programs as C libraries: object code of the kernels, and the plan as C source.

Each kernel is called with the same words (arguments) as in a run of this package. With fixed sizes
they are constants. If sizes have several values, a run selects the plan for the given ones; with
free sizes, words and offsets are expressions of them. The plans are compiled by the C compiler of
this machine. The result needs only the C library, neither Python nor LLVM, and LAPACK if the
program calls it.
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

from staticgrad import backends
from staticgrad.analysis.lookups import lookups_of
from staticgrad.compiler.by_numba.expressions import Indented
from staticgrad.compiler.runtime.places import ARENA, BufferPlaces, MovingPlace, Place, Where
from staticgrad.errors import ArgumentError, CompileError, ExportError
from staticgrad.exporting import c_fourier, c_source
from staticgrad.exporting.libraries import NOT_EXPORTED
from staticgrad.exporting.sizes_in_c import FreePlaces, LiveRanges, Number, SizesInC
from staticgrad.exporting.steps import lines_of
from staticgrad.exporting.table import ArrayRow, rows_of, rows_of_struct
from staticgrad.exporting.wrappers import WRAPPERS, Interface, check_wrappers
from staticgrad.language.ir import control_flow as flow
from staticgrad.language.ir.control_flow import control_flow
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.routines import Routine
from staticgrad.language.ir.schedule import CallStep, KernelStep, Schedule, Step
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.dim import Size, named_sizes
from staticgrad.native import KernelSource, SourceText, jit, loader
from staticgrad.native.language import parts
from staticgrad.native.libraries import routines
from staticgrad.support.identifiers import C, NameMarks, fill
from staticgrad.support.records import dataclass

#: Kinds of libraries: the command that links each one. Objects follow.
LINKING: Final = {
    ".so": ("{cc}", "-shared", "-o", "{path}"),
    ".o": ("{cc}", "-r", "-nostdlib", "-o", "{path}"),
    ".a": ("ar", "rcs", "{path}"),
}
#: Alignment of arrays in the data, in bytes.
_LINE: Final = 64
#: The version of a header's declarations, part of its ``INTERFACE``.
_INTERFACE: Final = 1
#: The largest value of a free size.
_LARGEST: Final = 2**31 - 1

#: Where the version stands in the source, until the digest of the rest is known. (Strings of C are
#: written in ASCII.)
_VERSION: Final = "\ue002"

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
    """Write a compiled program as a C library, with its header and wrappers.

    Args:
        path: the library, a shared object, an object or an archive by its suffix.
        header: the header, whose stem is the prefix of all names.
        graph: the program, with the names of inputs, outputs and parameters.
        plans: the steps, for each combination of sizes that runs may have.
        free: names of sizes of which plans have different values, arguments of a run.
        opened: names of sizes that stay free, arguments of a run.
        stores: the parameters by name.
        libraries: the libraries with LAPACK: names for ``-l``, paths, or ``scipy``.
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
    linked_libraries = LinkedLibraries.of(libraries, path.suffix)
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise ExportError(
            "a library is linked by a C compiler, and there is none",
            hint="install gcc or clang: cc, gcc and clang are tried",
        )
    writer = LibraryWriter(header.stem, graph, plans, stores, free, opened, linked_libraries)
    with tempfile.TemporaryDirectory() as folder:
        names = ("plan.c", "plan.o", "data", "kernels.o", header.name, f"made{path.suffix}")
        glue, plan_object, data, kernels, header_file, library_file = (
            Path(folder) / name for name in names
        )
        version = f"staticgrad {sys.modules['staticgrad'].__version__} for {loader.host().cpu}"
        text = writer.source(header.name, str(data))
        digest = sha256(text.replace(str(data), version).encode() + writer.data).hexdigest()
        version = f"{version}, build {digest[:12]}"
        glue.write_text(text.replace(_VERSION, quote(version)), "utf-8")
        data.write_bytes(writer.data)
        header_file.write_text(writer.header(), "utf-8")
        # One object has the code of all kernels, and each function that they share once.
        modules: list[parts.Module] = []
        for source in dict.fromkeys(writer.sources.values()):
            compiled = jit.llvm_modules(source, loader.host())
            modules += [compiled.kernel, *compiled.shared.values()]
        kernels.write_bytes(
            jit.compile_ir(parts.text_of(parts.merge_modules(modules)), "", loader.host()).elf
        )
        flags = ("-std=gnu11", "-O2", "-fwrapv", "-fPIC", "-c")
        _call(compiler, *flags, str(glue), "-o", str(plan_object))
        command = [word.format(cc=compiler, path=library_file) for word in LINKING[path.suffix]]
        _call(*command, str(kernels), str(plan_object), *linked_libraries.arguments)
        _replace_file(library_file, path)
        _replace_file(header_file, header)
    interface = Interface(header.stem, path.name, writer.rows, [*writer.variables], writer.digest)
    for language in languages:
        write, end = WRAPPERS[language]
        (path.parent / f"{header.stem}{end}").write_text(write(interface), "utf-8")


def _replace_file(source: Path, path: Path) -> None:
    """Replace a library's file atomically; a process that has loaded the old one can go on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.copy(source, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _call(*command: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise CompileError(f"{command[0]} failed", details=process.stderr.splitlines()[:20])


@dataclass(frozen=True)
class LinkedLibraries:
    """Libraries to link: arguments of the C compiler, and the prefix of LAPACK's functions."""

    arguments: tuple[str, ...] = ()
    prefix: str = ""

    @classmethod
    def of(cls, libraries: Sequence[str | PathLike[str]], suffix: str) -> LinkedLibraries:
        """Return the linker arguments for external libraries (LAPACK, BLAS) by name or path.

        Raises:
            ArgumentError: a missing file; libraries of an object or an archive.
        """
        names = [libraries] if isinstance(libraries, str | PathLike) else [*libraries]
        if names and suffix != ".so":
            raise ArgumentError(
                f"libraries are linked to a .so, not to a {suffix}",
                hint="link the program in C to them",
            )
        arguments, prefix = list[str](), ""
        for library in [fspath(name) for name in names]:
            path = _scipy_blas() if library == "scipy" else Path(library)
            if path.suffix in (".so", ".a") or "/" in str(path):
                if not path.is_file():
                    raise ArgumentError(f"libraries: there is no file {str(path)!r}")
                path = path.resolve()
                arguments += [str(path), f"-Wl,-rpath,{path.parent}"]
                if b"scipy_dgemm_\0" in path.read_bytes():
                    prefix = "scipy_"
            elif not re.fullmatch(r"[\w.+-]+", library):
                raise ArgumentError(
                    f"libraries: {library!r} is neither a name nor a file",
                    hint='libraries=["openblas"], or the path of a library',
                )
            else:
                arguments.append(f"-l{library}")
        return cls((*arguments, "-Wl,-z,defs", "-lm") if arguments else (), prefix)


def _scipy_blas() -> Path:
    """Return the path of the OpenBLAS library in SciPy's wheel."""
    spec = find_spec("scipy")
    folder = Path(spec.origin).parents[1] / "scipy.libs" if spec and spec.origin else Path()
    paths = sorted(folder.glob("libscipy_openblas*.so*"))
    if not paths:
        raise ArgumentError(
            "libraries: SciPy has no OpenBLAS of its own here",
            hint='install one, libraries=["openblas"]',
        )
    return paths[0]


class LibraryWriter:
    """A writer of a program in C.

    ``sources``: the sources of its kernels. ``data``: the bytes of its constants and of the initial
    values of its parameters.
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        plans: Sequence[Plan],
        stores: Mapping[str, ParameterStore],
        planned_sizes: Sequence[str],
        free_sizes: Sequence[str],
        linked_libraries: LinkedLibraries,
    ) -> None:
        self.linked = linked_libraries
        self.name, self.graph, self.plans, self.stores = name, graph, plans, stores
        self.listed, self.opened = planned_sizes, free_sizes
        #: The variable of each size in the source, which has no names of users.
        self.variables = {
            size: f"size{number}_" for number, size in enumerate((*planned_sizes, *free_sizes))
        }
        self.sizes = self._sizes_of(plans[0])
        self.rows = rows_of(graph, stores, (self._guard, f"{name}_INTERFACE"))
        self.sources: dict[Kernel | Routine, KernelSource] = {}
        self.functions: dict[str, None] = {}  # of LAPACK
        self.fourier: dict[str, int] = {}  # the numbers of routines
        self.data = b""
        self._data_offsets: dict[bytes, str] = {}
        self.checks: list[str] = []
        self.lines = Indented()
        self.ranges = LiveRanges()
        self._counter = 0
        self._places = {
            struct: {row.name: n for n, row in enumerate(rows_of_struct(self.rows, struct))}
            for struct in ("inputs", "params", "outputs")
        }

    def _sizes_of(self, plan: Plan) -> SizesInC:
        fixed = {n: value for n, value in plan.sizes if n not in self.opened}
        return SizesInC(fixed, {n: self.variables[n] for n in self.opened})

    def size(self, size: Size) -> Number:
        """Return the value of a size, or an expression for it."""
        return self.sizes(size)

    def new_variable(self, name: str) -> str:
        """Return a new variable."""
        self._counter += 1
        return f"{name}{self._counter}_"

    # -- the files --------------------------------------------------------------------------------

    def header(self) -> str:
        """Return the text of the C header."""
        names = NameMarks()
        text = c_source.HEADER.substitute(
            self._arguments([*map(names.mark, self.variables)]),
            name=self.name,
            about=self._describe_sizes() or "of literal sizes",
            unplanned=", 0 for other sizes" if self.variables else "",
            lapack=self._declare_lapack(),
            target=loader.host().cpu,
            guard=self._guard,
            structs="\n".join(map(self._declare_struct, ("inputs", "params", "outputs"))),
            digest=f"0x{self.digest:016x}",
        )
        return fill(text, names.choose(text, C))

    @property
    def _guard(self) -> str:
        return f"{self.name.upper()}_H"

    @property
    def digest(self) -> int:
        """A digest of the structs and functions of the library."""
        rows = [(r.name, r.kind, r.c_type, self._shape_text(r)) for r in self.rows]
        text = repr((_INTERFACE, self.name, [*self.variables], rows))
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big")

    def _describe_sizes(self) -> str:
        """Return the comment of the C header about the sizes of runs."""
        free = f"for any {', '.join(self.opened)}" if self.opened else ""
        planned = ", or ".join(
            ", ".join(f"{name} = {size}" for name, size in plan.sizes if name not in self.opened)
            for plan in self.plans
        )
        return ", ".join(filter(None, [free, planned]))

    def _arguments(self, variables: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the free sizes as parameters of C functions, alone and before others."""
        variables = [*self.variables.values()] if variables is None else variables
        parameters = [f"int64_t {name}" for name in variables]
        counts = {struct: len(places) for struct, places in self._places.items()}
        return {
            "only_sizes": ", ".join(parameters) or "void",
            "sizes": "".join(f"{s}, " for s in parameters),
            "names": ", ".join(variables),
            "rows": len(self.rows),
            "some_rows": max(1, len(self.rows)),
            **counts,
        }

    def _declare_lapack(self) -> str:
        """Return the C declarations of LAPACK functions, or nothing if none is called."""
        functions = " ".join(f"f({name})" for name in sorted(self.functions))
        instruction = (
            "it is linked to them" if self.linked.arguments else "link with -llapack -lblas"
        )
        return c_source.LAPACK.substitute(
            name=self.name, functions=functions, how=instruction
        ) * bool(functions)

    def _field(self, struct: str, name: str) -> str:
        return f"((char *)pointer({struct}, {self._places[struct][name]}))"

    def _declare_struct(self, struct: str) -> str:
        """Return the C struct of inputs, parameters or outputs, an array pointer a line."""
        const = "const " if struct == "inputs" else ""
        lines = [
            f"    {const}{row.c_type} *{row.field}; "
            f"/* {row.dtype}[{_in_comment(self._shape_text(row))}] */"
            for row in rows_of_struct(self.rows, struct)
        ]
        lines = lines or ["    char unused;"]
        return "\n".join(["typedef struct {", *lines, f"}} {self.name}_{struct};", ""])

    def _shape_text(self, row: ArrayRow) -> str:
        return ", ".join(
            str(size if self._differs(size) else self.size(size)) for size in row.shape
        )

    def _differs(self, size: Size) -> bool:
        """Return True if runs may have different values of a size."""
        return any(named.name in self.variables for named in named_sizes(size))

    def source(self, header: str, data: str) -> str:
        """Return the C source of the plans, given the header's name and the path of the data."""
        plans = [self._plan(number, plan) for number, plan in enumerate(self.plans)]
        initial = [self._initial(name, store) for name, store in self.stores.items()]
        kernels = [f"extern kernel {_symbol(source)};" for source in self.sources.values()]
        kernels += [
            f"extern void {self.linked.prefix}{function}_();" for function in self.functions
        ]
        functions = [c_fourier.function_of(name, n) for name, n in self.fourier.items()]
        arguments = self._arguments()
        size_args = f"{arguments['names']}, " if self.variables else ""
        checks = ["it ran", *self.checks]
        return c_source.SOURCE.substitute(
            arguments,
            name=self.name,
            header=header,
            kernels="\n".join(kernels),
            data=data.replace("\\", "\\\\"),
            version=_VERSION,
            shapes="\n".join(self._shapes()),
            table="\n".join(map(self._array_initializer, range(len(self.rows)))) or "    {0}",
            checks=", ".join(map(quote, checks)),
            count=len(checks),
            no_plan=quote(self._no_plan()),
            fourier="\n".join([c_fourier.SOURCE] * bool(self.fourier) + functions),
            plans="\n".join(plans),
            choice="\n".join(self._select_plan()),
            arenas="\n".join(f"    case {n}: return arena{n}({arguments['names']});"
                             for n in range(len(plans))),
            most_rank=max([len(row.shape) for row in self.rows] + [1]),
            shaped="\n".join(map(self._shape_case, range(len(self.rows)))),
            initial="\n".join(initial),
            runs="\n".join(
                f"    case {n}: return run{n}({size_args}inputs, params, outputs, arena, pool);"
                for n in range(len(plans))
            ),
            saving=self._file_functions(),
        )  # fmt: skip

    def _shapes(self) -> Iterable[str]:
        for number, row in enumerate(self.rows):
            sizes = [-1 if self._differs(size) else self.size(size) for size in row.shape]
            yield f"static const int64_t shape{number}[] = {{{', '.join(map(str, sizes)) or '0'}}};"

    def _array_initializer(self, number: int) -> str:
        """Return the C initializer that describes an array: name, dtype, shape, bytes."""
        row = self.rows[number]
        nbytes = row.size * row.dtype.itemsize
        numbers = (
            -1 if self._differs(nbytes) else self.size(nbytes),
            len(row.shape),
            row.dtype.itemsize,
            f"{self.name}_{row.kind.upper()}",
            int(row.updated),
        )
        texts = map(quote, (row.name, row.field, str(row.dtype), self._shape_text(row)))
        return f"    {{{', '.join([*texts, f'shape{number}', *map(str, numbers)])}}},"

    def _shape_case(self, number: int) -> str:
        """Return the case of ``shape`` for an array."""
        row, sizes = self.rows[number], SizesInC(dict(self.plans[0].sizes), self.variables)
        sizes.fixed = {n: v for n, v in self.plans[0].sizes if n not in self.variables}
        axes = "".join(f"s_[{axis}] = {sizes(size)}; " for axis, size in enumerate(row.shape))
        return f"    case {number}: {axes}return {sizes(row.size * row.dtype.itemsize)};"

    def _guard_conditions(self) -> Iterable[tuple[str, str]]:
        """Yield the guards on free sizes, as C expressions and as text."""
        sizes = SizesInC({}, self.variables)
        for plan in self.plans[:1]:
            sizes.fixed = {n: v for n, v in plan.sizes if n not in self.variables}
        for named in self.graph.sizes.values():
            if named.name not in self.opened:
                continue
            name, largest = self.variables[named.name], min(named.max or _LARGEST, _LARGEST)
            yield f"{name} >= {named.min}", f"{named.name} >= {named.min}"
            yield f"{name} <= {largest}", f"{named.name} <= {largest}"
            if named.multiple_of > 1:
                multiple = f"a multiple of {named.multiple_of}"
                yield f"{name} % {named.multiple_of} == 0", f"{named.name} is {multiple}"
        for guard, _ in self.graph.guards if self.opened else ():
            yield f"{sizes(guard.left)} {guard.relation} {sizes(guard.right)}", guard.text

    def _select_plan(self) -> Iterable[str]:
        """Yield the C lines that select the plan for sizes."""
        for condition, _ in dict.fromkeys(self._guard_conditions()):
            yield f"    if (!({condition})) return -1;"
        for number, plan in enumerate(self.plans):
            values = dict(plan.sizes)
            tests = " && ".join(f"{self.variables[name]} == {values[name]}" for name in self.listed)
            yield f"    {f'if ({tests}) ' if tests else ''}return {number};"
        if self.listed:
            yield "    return -1;"

    def _no_plan(self) -> str:
        """Return the message for sizes without a plan."""
        conditions = [text for _, text in dict.fromkeys(self._guard_conditions())]
        if self.listed:
            conditions.append(self._describe_sizes())
        return f"there is no plan for these sizes: {'; '.join(conditions) or 'they are literal'}"

    def _file_functions(self) -> str:
        """Return the C functions that write and read parameter files, with the file's header."""
        described, offset = {}, 0
        params = rows_of_struct(self.rows, "params")
        for row in params:
            nbytes = int(self.size(row.size * row.dtype.itemsize))
            described[row.name] = {
                "dtype": _safetensors_dtype(row),
                "shape": [*map(self.size, row.shape)],
                "data_offsets": [offset, offset + nbytes],
            }
            offset += nbytes
        text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        dtypes = ", ".join(quote(_safetensors_dtype(row)) for row in params)
        head = _quote_bytes(len(text).to_bytes(8, "little") + text)
        return c_source.SAVING.substitute(name=self.name, head=head, dtypes=dtypes or "0")

    def _plan(self, number: int, plan: Plan) -> str:
        """Return the C function that runs a plan, and the one that returns its arena's size."""
        self.sizes, first_check = self._sizes_of(plan), len(self.checks)
        self.lines, self.ranges = Indented(), LiveRanges()
        bound = self.constants(plan.schedule)
        for buffer in plan.schedule.buffers:
            if buffer.role == "input":
                bound[buffer.name] = self._field("inputs", buffer.label), 0
            elif buffer.role == "parameter":
                bound[buffer.name] = self._field("params", buffer.label), 0
        outputs = [
            (self._field("outputs", n), buffer_name) for n, buffer_name in plan.schedule.outputs
        ]
        for field, buffer_name in outputs:
            bound.setdefault(buffer_name, (field, 0))
        places: Places
        if self.opened:
            places = FreePlaces(plan, self.sizes, self.ranges, bound)
        else:
            places = BufferPlaces(plan, {}, bound)
        check_words = self._check_words(places)
        for word in (word for part in check_words for word in part):
            self.lines.add(f"{_word(word)} = -1;")
        check_lines = [
            f"if ({' || '.join(f'{_word(word)} >= 0' for word in part)}) return {code};"
            for code, part in enumerate(check_words, first_check + 1)
        ]
        self.write(places, check_lines)
        for field, buffer_name in outputs:
            if bound[buffer_name][0] != field:  # one value with two names
                nbytes = self.size(plan.schedule.buffer(buffer_name).nbytes)
                self.lines.add(f"memcpy({field}, {_address(bound[buffer_name])}, {nbytes});")
        arguments = self._arguments()
        lines, places_source, arena = self.lines.text, "", str(max(plan.peak_bytes, 1))
        if self.opened:
            places_source = self._layout_function(number)
            count = len(self.ranges.rows)
            layout_call = f"    const int64_t *const o_ = places{number}({arguments['names']});"
            lines = [layout_call, f"    if (!o_) return fail({self.name}_SIZES, -1);", *lines]
            arena = f"o_ ? (size_t)larger(o_[{count}], 1) : 0"
            arena = f"{layout_call.strip()}\n    return {arena}"
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
        return f"{places_source}{size}\n{body}"

    def _layout_function(self, number: int) -> str:
        """Return the C function that computes a plan's buffer offsets from the sizes."""
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
        """Return the words in which a plan's index checks record failures; add their messages."""
        words: dict[str, Sequence[Number]] = {}
        for placement in places.plan.placements:
            is_check = places.plan.schedule.buffer(placement.buffer).role == "check"
            if (
                is_check and placement.first < places.plan.commit
            ):  # nobody reads what is noted later
                words[placement.buffer] = places.parts(placement.buffer, placement.first, 0)
        for name in words:
            step = next(s for s in places.plan.schedule.steps if name in s.writes())
            message = "an index is out of range" if isinstance(step, KernelStep) else "failed"
            if isinstance(step, CallStep) and step.routine.name.startswith("limit:"):
                message = "a solver used up its steps"
            self.checks.append(f"{message}: {step.label}: {lines_of(step)}")
        return [*words.values()]

    def constants(self, schedule: Schedule) -> dict[str, Where]:
        """Return the locations of the constants of a schedule."""
        arrays = {b.name: np.asarray(b.data.array) for b in schedule.buffers if b.data is not None}
        return {n: (f"((char *){self._add_data(array)})", 0) for n, array in arrays.items()}

    def _initial(self, name: str, store: ParameterStore) -> str:
        array = np.ascontiguousarray(store.read())
        location = self._add_data(array)
        return f"    memcpy({self._field('params', name)}, {location}, {array.nbytes});"

    def _add_data(self, array: np.ndarray[Any, Any]) -> str:
        """Add a constant or parameter to the library's data, and return its location."""
        content = array.tobytes()
        if content not in self._data_offsets:
            begin = -(-len(self.data) // _LINE) * _LINE
            self.data = self.data.ljust(begin, b"\0") + content
            self._data_offsets[content] = f"({self.name}_data + {begin})"
        return self._data_offsets[content]

    # -- steps ------------------------------------------------------------------------------------

    def write(self, places: Places, check_lines: Sequence[str] = ()) -> None:
        """Write the C lines of a plan's steps; ``check_lines`` end it at its commit on failure."""
        plan = places.plan
        for position in range(len(plan.steps)):
            if position == plan.commit:
                self.lines.add(*check_lines)
            if isinstance(places, FreePlaces):
                places.begin(position)
            self._step(places, position)
            if isinstance(places, FreePlaces):
                places.end(position)
        if plan.commit >= len(plan.steps):
            self.lines.add(*check_lines)

    def _step(self, places: Places, position: int) -> None:
        """Write the C lines of one step after a comment about what it computes."""
        step = places.plan.schedule.steps[places.plan.steps[position].step]
        self.lines.add(f"/* {_in_comment(f'{step.label}: {lines_of(step)}')} */")
        if step.bodies():
            BodyLines(self, places, position, step).write()
        else:
            self._call(places, position, step)

    def _call(self, places: Places, position: int, step: Step) -> None:
        """Write the C call of a kernel or routine."""
        workers = places.plan.workers
        (call,) = step.calls(places.plan.steps[position].arguments)
        symbol, tail = self._code(call.kernel, step)
        words, worker_words = list[str](), list[Sequence[Number]]()
        for access in step.accesses():
            offset: Any = self.size(access.begin)
            if access.is_own:
                worker_words.append(places.parts(access.buffer, position, offset))
            else:
                words.append(f"WORD({_address(places.find(access.buffer, position, offset))})")
        arguments = step.arguments[: len(call.arguments)]
        words += [*(str(self.size(argument)) for argument in arguments), *tail]
        rows = [
            f"WORD(arena + {parts[worker]})" for worker in range(workers) for parts in worker_words
        ]
        total: Number = self.size(step.total)
        for check in step.checks():
            condition = self._certain_failure(step, check.name)
            if condition:
                offset = self.size(step.accesses()[check.access].begin)
                word, *_ = places.parts(check.buffer, position, offset)
                self.lines.add(f"if ({condition}) {_word(word)} = 0;")
                total = f"({condition} ? 0 : {total})"
        self.lines.add("{")
        self.lines.add(f"    const int64_t t_[] = {{{', '.join(words) or '0'}}};")
        self.lines.add(f"    const int64_t own_[] = {{{', '.join(rows) or '0'}}};")
        shape = f"{len(worker_words)}, {workers}, {total}, {step.grain}"
        self.lines.add(f"    shared(pool, {symbol}, t_, own_, {shape});")
        self.lines.add("}")

    def _certain_failure(self, step: Step, check: str) -> str:
        """Return the C condition under which an index check certainly fails, or empty.

        In that case the run ends at its checks; the step has no iterations.
        """
        if not isinstance(step, KernelStep):
            return ""
        sizes = dict(zip(step.kernel.arguments, map(self.size, step.arguments), strict=True))
        conditions = []
        for lookup in lookups_of(step.kernel):
            extents = [sizes.get(str(symbol), symbol) for symbol in (lookup.extent, *lookup.around)]
            extent, *others = *extents, self.size(step.total)
            if lookup.operand == check and 0 not in others and extent in (0, str(extent)):
                texts = [f"{extent} == 0"] if extent != 0 else []
                texts += [
                    f"{extent_text} != 0" for extent_text in others if isinstance(extent_text, str)
                ]
                conditions.append(f"({' && '.join(texts) or '1'})")
        return f"({' || '.join(conditions)})" if conditions else ""

    def _code(self, kernel: Kernel | Routine, step: Step) -> tuple[str, list[str]]:
        """Return the C symbol of a kernel or routine, and the last words of its record."""
        functions: tuple[str, ...] = ()
        if isinstance(kernel, Routine) and kernel.name.startswith("fft:"):
            return f"fourier{self.fourier.setdefault(kernel.name, len(self.fourier))}", []
        if isinstance(kernel, Routine):
            definition = routines.find_linked_code(kernel.name)
            if definition is None:
                location = step.origins[0] if step.origins else None
                family = kernel.name.partition(":")[0]
                subject = NOT_EXPORTED.get(family, "a call of what is not LAPACK")
                raise ExportError(f"{step.label}: {subject} cannot be exported", at=location)
            text, functions = definition
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
    """A writer of a step with bodies: a loop or a branch."""

    def __init__(self, writer: LibraryWriter, places: Places, position: int, step: Step) -> None:
        self.writer, self.lines, self.step = writer, writer.lines, step
        self.places, self.position, self.accesses = places, position, step.accesses()
        self.carries: dict[int, tuple[str, str]] = {}
        self.number = self.iterations_done = ""

    def write(self) -> None:
        """Write the C lines of a loop or branch step."""
        for instruction in control_flow(self.step):
            match instruction:
                case flow.Copy(target, source, elements):
                    nbytes = self._bytes(elements, target.access)
                    pointers = f"{self._address_of(target)}, {self._address_of(source)}"
                    self.lines.add(f"memmove({pointers}, {nbytes});")
                case flow.Branch():
                    self._branch(instruction)
                case flow.Loop():
                    self._loop(instruction)

    def _bytes(self, elements: Size, access: int) -> Number:
        return self.writer.size(elements * self.accesses[access].dtype.itemsize)

    def _locate(self, place: flow.Location) -> Where:
        """Return the C location of a place in a body."""
        match place:
            case flow.StepAddress(access, offset, stride):
                touched = self.accesses[access]
                offset_bytes = self.writer.size(touched.begin + offset * touched.dtype.itemsize)
                location = self.places.find(touched.buffer, self.position, offset_bytes)  # type: ignore[arg-type]
                assert not isinstance(location, MovingPlace)  # which are those of tables
                if stride is not None:
                    nbytes = self._bytes(stride, access)
                    return f"({_address(location)} + {self.number} * {nbytes})", 0
                return location
            case flow.CarryAddress(carry, written):
                return self.carries[carry][written], 0
        return f"((char *)&{self.number if place == 'index' else self.iterations_done})", 0

    def _address_of(self, location: flow.Location) -> str:
        return _address(self._locate(location))

    def _run(self, run: flow.RunBody) -> None:
        bound = self.writer.constants(self.step.bodies()[run.body].schedule)
        bound |= {name: self._locate(location) for name, location in run.bound.items()}
        self.writer.write(self.places.of_body(self.position, run.body, {}, bound))

    def _branch(self, branch: flow.Branch) -> None:
        """Write a branch as a C switch over its cases."""
        lines, case = self.lines, self.writer.new_variable("case")
        lines.add(f"const int64_t {case} = *(const int64_t *){self._address_of(branch.selector)};")
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
        """Write a loop as a C ``for``, with the pointers of its carries swapped each iteration."""
        lines, new_variable = self.lines, self.writer.new_variable
        iterations = self.writer.size(loop.iterations)
        self.iterations_done, self.number = new_variable("t"), new_variable("row")
        swaps = []
        for carry, buffers in loop.carries.items():
            read, written, spare = new_variable("old"), new_variable("new"), new_variable("spare")
            if isinstance(iterations, int):
                new_buffer, spare_buffer = map(
                    self._address_of, buffers.write_addresses(iterations)
                )
            else:
                (new_buffer, spare_buffer), (even, _) = (
                    map(self._address_of, buffers.write_addresses(n)) for n in (1, 2)
                )
                is_odd = f"{iterations} % 2"
                new_buffer, spare_buffer = (
                    f"({is_odd} ? {new_buffer} : {even})",
                    f"({is_odd} ? {spare_buffer} : {new_buffer})",
                )
            first = self._address_of(buffers.first)
            lines.add(
                f"char *{read} = {first}, *{written} = {new_buffer}, *{spare} = {spare_buffer};"
            )
            swaps.append(f"{read} = {written}, {written} = {spare}, {spare} = {read};")
            self.carries[carry] = read, written
        lines.add(f"int64_t {self.iterations_done} = 0;")
        lines.open_block(
            f"for (; {self.iterations_done} < {iterations}; {self.iterations_done}++) {{"
        )
        number = (
            f"{iterations} - 1 - {self.iterations_done}" if loop.backwards else self.iterations_done
        )
        lines.add(f"const int64_t {self.number} = {number};")
        for instruction in loop.instructions:
            if isinstance(instruction, flow.RunBody):
                self._run(instruction)
            else:
                lines.add(
                    f"if (!*(const uint8_t *){self._address_of(instruction.condition)}) break;"
                )
        lines.add(*swaps)
        lines.depth -= 1
        lines.add("}")


def _in_comment(text: str) -> str:
    """Return a text as a part of a comment in C."""
    return text.replace("*/", "* /").replace("/*", "/ *")


def _address(location: Place) -> str:
    """Return a place as an expression of C."""
    assert not isinstance(location, MovingPlace)
    memory, offset = location
    memory = "arena" if memory == ARENA else memory
    return f"({memory} + {offset})" if offset else memory


def _word(offset: Number) -> str:
    """Return a word of the arena as an expression of C."""
    return f"*(int64_t *)(arena + {offset})"


def _symbol(source: KernelSource) -> str:
    return jit.symbol_of(source.key)


def _safetensors_dtype(row: ArrayRow) -> str:
    """Return the name of an element type in safetensors."""
    name = str(row.dtype)
    return "BOOL" if name == "bool" else row.dtype.code.upper()


def quote(text: str) -> str:
    """Return a text as a string in C."""
    return _quote_bytes(text.encode())


def _quote_bytes(content: bytes) -> str:
    """Return bytes as a string in C, with about a hundred per line."""
    texts = [
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in content
    ]
    lines = ["".join(texts[n : n + 100]) for n in range(0, len(texts), 100)] or [""]
    return "\n    ".join(f'"{line}"' for line in lines)
