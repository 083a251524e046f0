"""Modules of other languages around a library for C, printed from the rows of its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import Template
from typing import Final

from staticgrad.errors import ArgumentError
from staticgrad.exporting.running import PARAMETERS
from staticgrad.exporting.table import ArrayRow, rows_of_struct
from staticgrad.language.types.dim import Named
from staticgrad.support.identifiers import JULIA, RUST, Language, NameMarks, as_identifier, fill
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Interface:
    """The interface of a library: its name and file, its rows, and the sizes that are arguments.

    ``sizes``: the names of sizes, ``digest``: the value that ``interface`` returns.
    """

    name: str
    file: str
    rows: Sequence[ArrayRow]
    sizes: Sequence[str]
    digest: int

    def fields(self, struct: str) -> list[ArrayRow]:
        """Return the rows whose pointers a struct contains."""
        return rows_of_struct(self.rows, struct)

    def axis_of(self, size: str) -> tuple[int, int] | None:
        """Return the input and its axis by which a wrapper reads a free size, or None."""
        for number, row in enumerate(self.fields("inputs")):
            for axis, extent in enumerate(row.shape):
                if not isinstance(extent, int) and len(extent.terms) == 1:
                    ((atoms, factor),) = extent.terms
                    if factor == 1 and len(atoms) == 1 and _is_named(atoms[0], size):
                        return number, axis
        return None


def _is_named(atom: object, name: str) -> bool:
    return isinstance(atom, Named) and atom.name == name


def check_wrappers(wrappers: Sequence[str], suffix: str) -> tuple[str, ...]:
    """Check and return the languages of wrappers for a C library (Python, Rust, Julia).

    Raises:
        ArgumentError: an unknown language, or an archive for one that loads only shared libraries.
    """
    names = (wrappers,) if isinstance(wrappers, str) else tuple(wrappers)
    for language in names:
        if language not in WRAPPERS:
            raise ArgumentError(
                f"no wrapper is written in {language!r}", hint=f"one of {', '.join(WRAPPERS)}"
            )
        if suffix != ".so" and language != "rust":
            raise ArgumentError(
                f"{language} loads shared libraries, not {suffix}",
                hint=f'f.export("step.so", wrappers=["{language}"])',
            )
    return names


# -- Python ---------------------------------------------------------------------------------------

_PYTHON: Final = Template('''\
"""The program $name for Python, written by staticgrad: the library $file, by NumPy and ctypes.

    program = Program()                      # with parameters of its own
    results = program.run(feeds)             # arrays by name; parameters are updated
    program.save("weights.safetensors")      # and load
"""

import ctypes
import os
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("$file")
LIBRARY = ctypes.CDLL(str(PATH), use_errno=True)
#: Sizes that runs may differ in, each with an input and an axis of it that has this size.
SIZES = $sizes
_words = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
_of_sizes = [ctypes.c_int64] * len(SIZES)


def _function(name, result, *arguments):
    found = getattr(LIBRARY, f"${name}_{name}")
    found.restype, found.argtypes = result, arguments
    return found


if _function("interface", ctypes.c_uint64)() != $digest:
    raise ImportError(f"{__file__} belongs to another library than $file: export both again")
_message = _function("message", ctypes.c_char_p, ctypes.c_int)
_shape = _function("shape", ctypes.c_int64, *_of_sizes, ctypes.c_int32, ctypes.c_void_p)
_arena_bytes = _function("arena_bytes", ctypes.c_size_t, *_of_sizes)
_initial = _function("initial", None, ctypes.c_void_p)
_run = _function("run", ctypes.c_int, *_of_sizes, *_words)
_save = _function("save", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_load = _function("load", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
version = _function("version", ctypes.c_char_p)().decode()
if version.encode() not in PATH.read_bytes():
    raise ImportError(f"{PATH} is another file than this process has loaded: start a new process")


class Array(ctypes.Structure):
    """A row of the table of arrays."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("field", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("sizes", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("bytes", ctypes.c_int64),
        ("rank", ctypes.c_int32),
        ("itemsize", ctypes.c_int32),
        ("kind", ctypes.c_int32),
        ("updated", ctypes.c_int32),
    ]


ARRAYS = list((Array * $rows).in_dll(LIBRARY, "${name}_arrays"))
_KINDS = "input", "parameter", "state", "output"


def arrays(*kinds):
    """The rows of the table of some kinds, by name, each with its number."""
    return {a.name.decode(): (n, a) for n, a in enumerate(ARRAYS) if _KINDS[a.kind] in kinds}


def dtype_of(row):
    """The element type of a row; of bfloat16, which NumPy does not have, its bits."""
    name = row.dtype.decode()
    return np.dtype("uint16" if name == "bfloat16" else name)


class ProgramError(RuntimeError):
    """A result of the library that is not 0: its number is ``code``."""

    def __init__(self, code):
        super().__init__(_message(code).decode())
        self.code = code


def _checked(code):
    error = ctypes.get_errno()
    if code < 0 and -code % 16 == 4 and error:  # the system refused a file
        raise OSError(error, os.strerror(error))
    if code:
        raise ProgramError(code)


def _pointers(found):
    return (ctypes.c_void_p * max(1, len(found)))(*[array.ctypes.data for array in found])


def shape_of(number, *sizes):
    """The shape of an array, by its number in the table, where sizes have these values."""
    found = (ctypes.c_int64 * max(1, ARRAYS[number].rank))()
    nbytes = _shape(*sizes, number, found)
    if nbytes < 0:
        raise ProgramError(nbytes)
    return tuple(found[: ARRAYS[number].rank])


$parameters

class Program:
    """The program with parameters of its own, which begin as they were when it was exported.

    ``parameters`` has the arrays by name, state too. One thread runs it at a time.
    """

    def __init__(self):
        rows = arrays("parameter", "state")
        self._parameters = Parameters({
            name: np.zeros(row.shape[: row.rank], dtype_of(row)) for name, (_, row) in rows.items()
        })
        self._params = _pointers(self._parameters.values())
        self._memory = {}
        _initial(self._params)

    @property
    def parameters(self):
        """The parameters by name; those of a dict that is set are read into them."""
        return self._parameters

    @parameters.setter
    def parameters(self, arrays):
        self._parameters.update(arrays)

    def sizes(self, feeds, **sizes):
        """The values of the sizes: those given, others by the shapes of feeds."""
        found = []
        for name, axis in SIZES.items():
            if name not in sizes and axis is None:
                raise TypeError(f"no input has an axis of the size {name}: give it, {name}=...")
            found.append(sizes[name] if name in sizes else np.shape(feeds[axis[0]])[axis[1]])
        return found

    def run(self, feeds, **sizes):
        """Return the results by name; parameters are updated.

        Raises:
            ValueError: feeds of other names or shapes. TypeError: of other element types.
            ProgramError: the library does not run it, as where an index is out of range.
        """
        rows = arrays("input")
        if feeds.keys() != rows.keys():
            raise ValueError(f"feeds are {[*feeds]}, inputs {[*rows]}")
        numbers, given = self.sizes(feeds, **sizes), []
        for name, (number, row) in rows.items():
            array = np.asarray(feeds[name])
            if not np.can_cast(array.dtype, dtype_of(row), "same_kind"):
                raise TypeError(f"feed {name!r} is {array.dtype}, the input {row.dtype.decode()}")
            if array.shape != (wanted := shape_of(number, *numbers)):
                raise ValueError(f"feed {name!r} has shape {array.shape}, the input {wanted}")
            given.append(apart(np.ascontiguousarray(array, dtype_of(row)), self.parameters))
        results = {
            name: np.empty(shape_of(number, *numbers), dtype_of(row))
            for name, (number, row) in arrays("output").items()
        }
        key = tuple(numbers)
        if key not in self._memory:
            memory = np.empty(_arena_bytes(*numbers) + 64, np.uint8)
            self._memory = {key: memory[-memory.ctypes.data % 64 :]}
        arena = self._memory[key].ctypes.data
        outputs = _pointers(results.values())
        _checked(_run(*numbers, _pointers(given), self._params, outputs, arena, None))
        return results

    def save(self, path):
        """Write parameters and state into a safetensors file. Raises OSError."""
        _checked(_save(os.fsencode(path), self._params))

    def load(self, path):
        """Read parameters and state from a safetensors file, all of them or none.

        Raises:
            OSError: the system refuses the file. ProgramError: it does not fit.
        """
        _checked(_load(os.fsencode(path), self._params))
''')


def _python_module(interface: Interface) -> str:
    """Return the Python module that wraps an exported C library by ctypes."""
    names = [row.name for row in interface.fields("inputs")]
    axes = {name: interface.axis_of(name) for name in interface.sizes}
    sizes = {n: None if axis is None else (names[axis[0]], axis[1]) for n, axis in axes.items()}
    return _PYTHON.substitute(
        name=interface.name, file=interface.file, sizes=repr(sizes),
        digest=f"0x{interface.digest:016x}",
        rows=len(interface.rows), parameters=PARAMETERS,
    )  # fmt: skip


# -- Rust -----------------------------------------------------------------------------------------

_RUST_TYPES: Final = {"float": "f32", "double": "f64"}
_RUST: Final = Template("""\
//! The program $name for Rust, written by staticgrad: the library $file. Link with it, as by
//! `rustc main.rs -C link-arg=./$file`.
//!
//! ```text
//! let mut program = Program::new();
//! let results = program.run($call)?; // parameters are updated
//! program.save("weights.safetensors")?;
//! ```
#![allow(dead_code, non_camel_case_types, non_snake_case, clippy::all)]

use std::ffi::{c_char, c_int, c_void, CStr, CString};

#[repr(C)]
pub struct Inputs {$inputs}

#[repr(C)]
pub struct Params {$params}

#[repr(C)]
pub struct Outputs {$outputs}

/// A row of the table of arrays.
#[repr(C)]
pub struct Array {
    pub name: *const c_char,
    pub field: *const c_char,
    pub dtype: *const c_char,
    pub sizes: *const c_char,
    pub shape: *const i64,
    pub bytes: i64,
    pub rank: i32,
    pub itemsize: i32,
    pub kind: i32,
    pub updated: i32,
}

extern "C" {
    static ${name}_arrays: [Array; $rows];
    fn ${name}_interface() -> u64;
    fn ${name}_version() -> *const c_char;
    fn ${name}_message(result: c_int) -> *const c_char;
    fn ${name}_arena_bytes($declared) -> usize;
    fn ${name}_shape(${declared_}array: i32, shape: *mut i64) -> i64;
    fn ${name}_initial(params: *const Params);
    fn ${name}_run(
        ${declared_}inputs: *const Inputs, params: *const Params, outputs: *const Outputs,
        arena: *mut c_void, pool: *const c_void,
    ) -> c_int;
    fn ${name}_save(path: *const c_char, params: *const Params) -> c_int;
    fn ${name}_load(path: *const c_char, params: *const Params) -> c_int;
}

/// A result of the library that is not 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub code: i32,
    pub message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Error {}

fn checked(code: c_int) -> Result<(), Error> {
    if code == 0 {
        return Ok(());
    }
    let message = unsafe { CStr::from_ptr(${name}_message(code)) };
    Err(Error { code, message: message.to_string_lossy().into_owned() })
}

/// What made the library, and for which processor.
pub fn version() -> String {
    unsafe { CStr::from_ptr(${name}_version()) }.to_string_lossy().into_owned()
}

/// The table of arrays: name, element type and shape as text.
pub fn arrays() -> Vec<(String, String, String)> {
    let text = |at: *const c_char| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned();
    let rows = unsafe { &${name}_arrays };
    rows.iter().map(|row| (text(row.name), text(row.dtype), text(row.sizes))).collect()
}

/// Elements of an array, by its number in the table.
fn count(${declared_}array: i32) -> Result<usize, Error> {
    let bytes = unsafe { ${name}_shape(${names_}array, std::ptr::null_mut()) };
    checked(bytes.min(0) as c_int)?;
    Ok(bytes as usize / unsafe { ${name}_arrays[array as usize].itemsize } as usize)
}

/// The program with parameters of its own, which begin as they were when it was exported.
pub struct Program {$held
    arena: Vec<[u64; 8]>,
}

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Results {$results}

impl Program {
    pub fn new() -> Program {
        assert_eq!(unsafe { ${name}_interface() }, $digest, "the library is another one");
        let mut program = Program {$empty
            arena: Vec::new(),
        };
        let params = program.params();
        unsafe { ${name}_initial(&params) };
        program
    }

    fn params(&mut self) -> Params {
        Params {$pointers}
    }

    /// Run the program; parameters are updated. Slices of another length are an error.
    pub fn run(&mut self, $taken) -> Result<Results, Error> {
        let wrong = |array: i32| checked(-(8 + 16 * (array + 1)));
$lengths
        let mut results = Results {$made};
        let bytes = unsafe { ${name}_arena_bytes($names) };
        let aligned = (bytes + 63) / 64 + 1;
        if self.arena.len() < aligned {
            self.arena.resize(aligned, [0; 8]);
        }
        let start = self.arena.as_mut_ptr() as *mut u8;
        let arena = unsafe { start.add(start.align_offset(64)) } as *mut c_void;
        let inputs = Inputs {$given};
        let outputs = Outputs {$written};
        let params = self.params();
        let pool = std::ptr::null();
        checked(unsafe { ${name}_run(${names_}&inputs, &params, &outputs, arena, pool) })?;
        Ok(results)
    }

    /// Write parameters and state into a safetensors file.
    pub fn save(&mut self, path: &str) -> Result<(), Error> {
        let path = CString::new(path).map_err(|_| Error { code: -4, message: path.to_string() })?;
        let params = self.params();
        checked(unsafe { ${name}_save(path.as_ptr(), &params) })
    }

    /// Read parameters and state from a safetensors file, all of them or none.
    pub fn load(&mut self, path: &str) -> Result<(), Error> {
        let path = CString::new(path).map_err(|_| Error { code: -4, message: path.to_string() })?;
        let params = self.params();
        checked(unsafe { ${name}_load(path.as_ptr(), &params) })
    }
}
""")


def _rust_type(row: ArrayRow) -> str:
    name = _RUST_TYPES.get(row.c_type)
    return name or row.c_type.removesuffix("_t").replace("uint", "u").replace("int", "i")


def _rust_module(interface: Interface) -> str:
    """Return the Rust module that wraps an exported C library."""
    names = NameMarks()
    sizes = [*map(names.mark, interface.sizes)]
    fields = _Fields(interface, RUST, names, _rust_type)
    head_sizes, unused = "".join(f"{name}, " for name in sizes), "\n    pub unused: u8,\n"
    slices = [f"{field.argument}: &[{field.type}]" for field in fields.of("inputs")]
    declared = ", ".join(f"{name}: i64" for name in sizes)
    text = _RUST.substitute(
        name=interface.name,
        file=interface.file,
        rows=len(interface.rows),
        digest=f"0x{interface.digest:016x}",
        inputs=fields.lines("inputs", 4, "pub {name}: *const {type},") or unused,
        params=fields.lines("params", 4, "pub {name}: *mut {type},") or unused,
        outputs=fields.lines("outputs", 4, "pub {name}: *mut {type},") or unused,
        held=fields.lines("params", 4, "pub {name}: Vec<{type}>,").rstrip(),
        results=fields.lines("outputs", 4, "pub {name}: Vec<{type}>,"),
        empty=fields.lines("params", 12, "{name}: vec![Default::default(); {count}],").rstrip(),
        pointers=fields.lines("params", 12, "{name}: self.{name}.as_mut_ptr(),") or " unused: 0 ",
        lengths=fields.lines(
            "inputs",
            8,
            "if {argument}.len() != count({before}{number})? {{ wrong({number})?; }}",
            head_sizes,
        ).strip("\n").rstrip(),
        made=fields.lines(
            "outputs", 12, "{name}: vec![Default::default(); count({before}{number})?],", head_sizes
        ),
        given=fields.lines("inputs", 12, "{name}: {argument}.as_ptr(),") or " unused: 0 ",
        written=fields.lines("outputs", 12, "{name}: results.{name}.as_mut_ptr(),")
        or " unused: 0 ",
        taken=", ".join([*([declared] if declared else []), *slices]),
        call=", ".join([*sizes, *(f"&{field.argument}" for field in fields.of("inputs"))]),
        declared=declared,
        declared_=f"{declared}, " if declared else "",
        names=", ".join(sizes),
        names_=head_sizes,
    )  # fmt: skip
    return fill(text, names.choose(text, RUST))


# -- Julia ----------------------------------------------------------------------------------------

_JULIA_TYPES: Final = {"float": "Float32", "double": "Float64"}
_JULIA: Final = Template("""\
# The program $name for Julia, written by staticgrad: the library $file.
#
#     include("$name.jl")
#     program = $module.Program()
#     results = $module.run($call)   # parameters are updated
#     $module.save(program, "weights.safetensors")
#
# Arrays are in Julia's order: their axes are those of the program from the last to the first.
# An input is no array of the program, which a run writes: give a copy.
module $module

const LIBRARY = joinpath(@__DIR__, "$file")

struct Inputs$inputs
end

struct Params$params
end

struct Outputs$outputs
end

# A row of the table of arrays.
struct Row
    name::Cstring
    field::Cstring
    dtype::Cstring
    sizes::Cstring
    shape::Ptr{Int64}
    bytes::Int64
    rank::Int32
    itemsize::Int32
    kind::Int32
    updated::Int32
end

struct ProgramError <: Exception
    code::Int
    message::String
end

Base.showerror(io::IO, error::ProgramError) = print(io, error.message)

function checked(code::Integer)
    code == 0 && return
    text = ccall((:${name}_message, LIBRARY), Cstring, (Cint,), code)
    throw(ProgramError(code, unsafe_string(text)))
end

version() = unsafe_string(ccall((:${name}_version, LIBRARY), Cstring, ()))

# The shape of an array, by its number in the table, in Julia's order.
function shape(array::Integer, rank::Integer$sizes)
    found = zeros(Int64, max(rank, 1))
    bytes = ccall(
        (:${name}_shape, LIBRARY), Int64, (${types}Int32, Ptr{Int64}), ${names_}array, found)
    checked(min(bytes, 0))
    return Tuple(reverse(found[1:rank]))
end

# The program with parameters of its own, which begin as they were when it was exported.
mutable struct Program$held
    arena::Vector{UInt8}
end

params(program::Program) = Params($pointers)

function Program()
    ccall((:${name}_interface, LIBRARY), UInt64, ()) == $digest || error("another library")
    program = Program($empty UInt8[])
    GC.@preserve program ccall(
        (:${name}_initial, LIBRARY), Cvoid, (Ref{Params},), Ref(params(program)))
    return program
end

function run(program::Program$taken)
$lengths
$made
    bytes = ccall((:${name}_arena_bytes, LIBRARY), Csize_t, ($types), $names)
    length(program.arena) >= bytes + 64 || resize!(program.arena, bytes + 64)
    GC.@preserve program $preserved begin
        start = pointer(program.arena)
        arena = start + mod(-Int(start), 64)
        code = ccall(
            (:${name}_run, LIBRARY), Cint,
            (${types}Ref{Inputs}, Ref{Params}, Ref{Outputs}, Ptr{Cvoid}, Ptr{Cvoid}),
            ${names_}Ref(Inputs($given)), Ref(params(program)), Ref(Outputs($written)), arena,
            C_NULL)
        checked(code)
    end
    return ($results)
end

function save(program::Program, path::AbstractString)
    GC.@preserve program checked(ccall(
        (:${name}_save, LIBRARY), Cint, (Cstring, Ref{Params}), path, Ref(params(program))))
end

function load(program::Program, path::AbstractString)
    GC.@preserve program checked(ccall(
        (:${name}_load, LIBRARY), Cint, (Cstring, Ref{Params}), path, Ref(params(program))))
end

end
""")


def _julia_type(row: ArrayRow) -> str:
    name = _JULIA_TYPES.get(row.c_type)
    return name or row.c_type.removesuffix("_t").replace("u", "U").replace("int", "Int")


def _julia_module(interface: Interface) -> str:
    """Return the Julia module that wraps an exported C library."""
    names = NameMarks()
    sizes = [*map(names.mark, interface.sizes)]
    fields = _Fields(interface, JULIA, names, _julia_type)
    tail_sizes, unused = "".join(f", {name}" for name in sizes), "\n    unused::UInt8"
    inputs, outputs = fields.of("inputs"), fields.of("outputs")
    arrays = [f", {field.argument}::Array{{{field.type},{field.rank}}}" for field in inputs]
    text = _JULIA.substitute(
        name=interface.name,
        file=interface.file,
        module=interface.name[0].upper() + interface.name[1:],
        digest=f"0x{interface.digest:016x}",
        inputs=fields.lines("inputs", 4, "{name}::Ptr{{{type}}}").rstrip() or unused,
        params=fields.lines("params", 4, "{name}::Ptr{{{type}}}").rstrip() or unused,
        outputs=fields.lines("outputs", 4, "{name}::Ptr{{{type}}}").rstrip() or unused,
        held=fields.lines("params", 4, "{name}::Array{{{type},{rank}}}").rstrip(),
        empty=fields.lines("params", 8, "zeros({type}, {reversed}),").rstrip(),
        pointers=fields.lines("params", 4, "pointer(program.{name}),").rstrip() or "0",
        lengths=fields.lines(
            "inputs",
            4,
            "size({argument}) == shape({number}, {rank}{before}) || checked({wrong})",
            tail_sizes,
        ).strip("\n").rstrip(),
        made=fields.lines(
            "outputs", 4, "{result} = zeros({type}, shape({number}, {rank}{before}))", tail_sizes
        ).strip("\n").rstrip(),
        preserved=" ".join([*(e.argument for e in inputs), *(e.result for e in outputs)]),
        given=", ".join(f"pointer({field.argument})" for field in inputs) or "0",
        written=", ".join(f"pointer({field.result})" for field in outputs) or "0",
        results="".join(f"{field.name} = {field.result}, " for field in outputs).rstrip(" "),
        taken="".join([*(f", {name}::Integer" for name in sizes), *arrays]),
        call=", ".join(["program", *sizes, *(field.argument for field in inputs)]),
        sizes="".join(f", {name}::Integer" for name in sizes),
        names="".join(f"{name}, " for name in sizes),
        names_="".join(f"{name}, " for name in sizes),
        types="Int64, " * len(sizes),
    )  # fmt: skip
    return fill(text, names.choose(text, JULIA))


@dataclass(frozen=True)
class _Field:
    """A field of a struct in another language: its name, its type, its number in the table.

    ``argument``: the variable of a run for its array; ``result``: that of a result.
    """

    row: ArrayRow
    name: str
    type: str
    number: int
    argument: str
    result: str

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.row.shape)

    def text(self, template: str, sizes_text: str) -> str:
        """Fill a wrapper's template with its fields; ``sizes_text``: the sizes of a run."""
        size = self.row.size
        return template.format(
            name=self.name, type=self.type, number=self.number, argument=self.argument,
            result=self.result, rank=self.rank, wrong=-(8 + 16 * (self.number + 1)),
            count=size if isinstance(size, int) else 0, before=sizes_text,
            reversed=", ".join(map(str, reversed(self.row.shape))) or "()",
        )  # fmt: skip


class _Fields:
    """The fields of all structs in another language. Variables are marks of ``names``."""

    def __init__(
        self,
        interface: Interface,
        language: Language,
        names: NameMarks,
        type_of: Callable[[ArrayRow], str],
    ) -> None:
        self._fields: dict[str, list[_Field]] = {}
        number = 0
        for struct in ("inputs", "params", "outputs"):
            used = {"arena", "unused"}  # other fields of programs and of empty structs
            self._fields[struct] = []
            for row in interface.fields(struct):
                name = as_identifier(row.field, used, language)
                used.add(name)
                argument, result = names.mark(row.field), names.mark(f"{row.field}_out")
                field = _Field(row, name, type_of(row), number, argument, result)
                self._fields[struct].append(field)
                number += 1

    def of(self, struct: str) -> list[_Field]:
        """Return the fields of a struct."""
        return self._fields[struct]

    def lines(self, struct: str, indent: int, template: str, sizes_text: str = "") -> str:
        """Return a line for each field of a struct, between line breaks; empty without fields."""
        lines = [" " * indent + field.text(template, sizes_text) for field in self._fields[struct]]
        return "\n" + "\n".join(lines) + "\n" + " " * (indent - 4) if lines else ""


#: Languages of wrappers: how each is written, and the end of its file's name.
WRAPPERS: Final[Mapping[str, tuple[Callable[[Interface], str], str]]] = {
    "python": (_python_module, "_ctypes.py"),
    "rust": (_rust_module, ".rs"),
    "julia": (_julia_module, ".jl"),
}
