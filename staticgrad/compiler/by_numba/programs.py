"""Calls of compiled programs in functions that Numba compiles. Importing imports Numba.

    f = define("f", program)     # a function of arrays for @njit code, and for Python

A program is described by plain data (``NumbaProgram``). The function's text is written from it;
where it calls the program, machine code fills words on its stack and calls the C function of
``native.entry.c_calls``. Types are checked when Numba compiles a caller.

The address of a program's words is not a constant of the machine code, which Numba may keep on disk
(``cache=True``): the code looks it up by the program's key when it first runs in a process. Where
results do not follow from the key (a program with parameters, or one that calls functions of
users) it is a dynamic address, which Numba does not keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba import njit, objmode, types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic, overload

from staticgrad.errors import (
    CallError,
    FeedDTypeError,
    FeedError,
    FeedShapeError,
    IndexOutOfRange,
    LinearAlgebraError,
    OutOfMemory,
    OutputArrayError,
    ProgramError,
)
from staticgrad.native.entry.failures import note_error, take_text
from staticgrad.native.entry.words import ProgramWord, Status
from staticgrad.support.identifiers import PYTHON, NameMarks, fill
from staticgrad.support.records import NamedTuple

_WORD: Final = ir.IntType(64)
_BYTES: Final = ir.IntType(8).as_pointer()
#: The name of the global variable that has the address of a program's words, with its key.
_PREFIX: Final = "staticgrad.program."


class CallOperand(NamedTuple):
    """An input or result of a program.

    Attributes:
        text: its type, as messages show it.
        shape: each extent: a number, the (input, axis) that has it, or None: the program knows.
    """

    name: str
    dtype: np.dtype[Any]
    text: str
    shape: tuple[int | tuple[int, int] | None, ...]

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)


class NumbaProgram(NamedTuple):
    """A program that Numba's code calls.

    Attributes:
        key: what determines its results; of a program that has none, a name in this process.
        data: the address of its words.
        is_keyed: whether its key determines the results.
    """

    key: str
    name: str
    inputs: tuple[CallOperand, ...]
    results: tuple[CallOperand, ...]
    data: int
    is_keyed: bool


_programs: Final[dict[str, NumbaProgram]] = {}


def find_program(key: str) -> int:
    """Return the address of a program's words for machine code; 0 if there is no such program."""
    program = _programs.get(key)
    if program is not None:
        return program.data
    note_error(
        ProgramError(
            "Numba's cache has machine code that calls a program which this process does not have",
            hint="call sg.numba.function with the same program first; or, if the program was"
            " changed, delete the files of __pycache__ that end in .nbi",
        )
    )
    return 0


def define(program: NumbaProgram, make: Callable[[Sequence[Any]], Any] | None = None) -> Any:
    """Return a program as a function that Numba has jitted.

    ``make``: a class of named tuples for several results; None for a plain tuple.
    """
    _programs[program.key] = program
    key, names = repr(program.key), [operand.name for operand in program.inputs]
    words = NameMarks()
    inputs, extents, values = words.mark("inputs"), words.mark("extents"), words.mark("values")
    arrays = [words.mark(f"r{number}") for number in range(len(program.results))]
    functions = {
        "make": make, "result_extents": result_extents, "result_array": result_array,
        "run_program": run_program, "raise_failure": raise_failure,
    }  # fmt: skip
    marks = {name: words.mark(name) for name in functions}
    scalars = [number for number, result in enumerate(program.results) if not result.rank]
    lines = [f"def {program.name}({', '.join([*names, 'out=None'])}):"]
    lines.append(f"    {inputs} = ({''.join(f'{name}, ' for name in names)})")
    lines.append(f"    {extents} = {marks['result_extents']}({key}, {inputs})")
    lines.append(f"    if {extents}[0] != 0:")
    lines.append(f"        {marks['raise_failure']}({extents}[0])")
    for number, array in enumerate(arrays):
        call = f"{marks['result_array']}({key}, {number}, out, {extents})"
        lines.append(f"    {array} = {call}")
    call = f"{marks['run_program']}({key}, {inputs}, ({''.join(f'{a}, ' for a in arrays)}))"
    lines.append(f"    {values} = {call}")
    lines.append(f"    if {values}[0] != 0:")
    lines.append(f"        {marks['raise_failure']}({values}[0])")
    results = [
        f"{values}[{1 + scalars.index(number)}]" if number in scalars else array
        for number, array in enumerate(arrays)
    ]
    if len(results) == 1:
        lines.append(f"    return {results[0]}")
    else:
        kind = "" if make is None else marks["make"]
        lines.append(f"    return {kind}({', '.join(results)})")
    # The names of the user are the function's; those of its text are others.
    text = "\n".join(lines)
    chosen = words.choose(text, PYTHON)
    space = {chosen[mark]: functions[name] for name, mark in marks.items() if mark in chosen}
    exec(compile(fill(text, chosen), f"<staticgrad {program.name}>", "exec"), space)
    return njit(space[program.name])


# -- failures -------------------------------------------------------------------------------------


@njit
def raise_failure(status: int) -> None:
    """Raise the error of a call that failed, in Numba's way: callers may catch it."""
    with objmode(text="unicode_type"):
        text = take_text(status)
    if status == 1:
        raise IndexOutOfRange(text)
    if status == 2:
        raise LinearAlgebraError(text)
    if status == -1:
        raise FeedError(text)
    if status == -2:
        raise OutOfMemory(text)
    if status == -3:
        raise OutputArrayError(text)
    if status == -4:
        raise ProgramError(text)
    raise CallError(text)


# -- types ----------------------------------------------------------------------------------------


def _program_of(key: Any) -> NumbaProgram:
    if not isinstance(key, types.StringLiteral):
        raise RequireLiteralValue("the key of a program is a literal")
    return _programs[key.literal_value]


def _dtype_of(kind: Any) -> np.dtype[Any] | None:
    """Return the dtype of a number or of an array's elements; None of others."""
    kind = types.unliteral(kind)
    kind = kind.dtype if isinstance(kind, types.Array) else kind
    if not isinstance(kind, types.Number | types.Boolean):
        return None
    return np.dtype("bool" if isinstance(kind, types.Boolean) else str(kind))


def _axes(operand: CallOperand) -> str:
    return f"{operand.rank} {'axis' if operand.rank == 1 else 'axes'}"


def _check_array(what: str, kind: Any, operand: CallOperand) -> None:
    """Refuse an array that the program does not read or write in place."""
    name = operand.name
    text = f"{what} is {kind}, and the program has {name}: {operand.text}"
    if kind.ndim != operand.rank:
        raise FeedShapeError(text, hint=f"give an array of {_axes(operand)}")
    if _dtype_of(kind) != operand.dtype:
        raise FeedDTypeError(text, hint=f"{name}.astype(np.{operand.dtype.name})")
    if kind.layout != "C" and kind.ndim:
        raise FeedError(f"{text}, contiguous in C order", hint=f"np.ascontiguousarray({name})")
    if not kind.aligned:
        raise FeedError(f"{text}, aligned", hint=f"{name}.copy()")


def _check_inputs(program: NumbaProgram, kinds: Sequence[Any]) -> None:
    """Check the types of all inputs when Numba compiles a caller.

    Errors that are not Numba's end the compilation and stay what they are.
    """
    for operand, kind in zip(program.inputs, kinds, strict=True):
        what = f"{program.name}: {operand.name}"
        if isinstance(kind, types.Array):
            _check_array(what, kind, operand)
            continue
        dtype = _dtype_of(kind)
        text = f"{what} is {kind}, and the program has {operand.name}: {operand.text}"
        if dtype is None or operand.rank:
            hint = f"give an array of {_axes(operand)} and dtype np.{operand.dtype.name}"
            raise FeedDTypeError(text, hint=hint)
        if not np.can_cast(dtype, operand.dtype, "same_kind"):
            raise FeedDTypeError(text, hint=f"np.{operand.dtype.name}({operand.name})")


def _type_of_out(program: NumbaProgram, number: int, out: Any) -> Any:
    """Return the type of the array that ``out`` has for a result; None if it has none."""
    results = program.results
    out = getattr(out, "value", out) if isinstance(out, types.Omitted) else out
    if out is None or isinstance(out, types.NoneType):
        return None
    if isinstance(out, types.Array):
        out = (out,)
    elif not isinstance(out, types.BaseTuple):
        hint = "give an array, a tuple of arrays and None, or None"
        raise OutputArrayError(f"{program.name}: out is {out}", hint=hint)
    if len(out) != len(results):
        names = ", ".join(operand.name for operand in results)
        raise OutputArrayError(
            f"{program.name}: out has {len(out)} entries, and there are {len(results)} results:"
            f" {names}",
            hint="give a tuple with an entry for each; None stands for one that the call makes",
        )
    kind = out[number]
    if isinstance(kind, types.NoneType):
        return None
    operand, what = results[number], f"{program.name}: out[{number}]"
    if not isinstance(kind, types.Array):
        raise OutputArrayError(f"{what} is {kind}", hint="give an array or None")
    try:
        _check_array(what, kind, operand)
    except FeedError as error:
        hint = f"np.empty(..., np.{operand.dtype.name}) of {_axes(operand)} fits"
        raise OutputArrayError(error.headline, hint=hint) from None
    if not kind.mutable:
        raise OutputArrayError(f"{what} is {kind}", hint="give one that may be written")
    return kind


# -- calls ----------------------------------------------------------------------------------------


def _global_word(builder: Any, name: str) -> Any:
    """Return a word of the module that is being written, 0 at first."""
    variable = builder.module.globals.get(name)
    if variable is None:
        variable = ir.GlobalVariable(builder.module, _WORD, name)
        variable.linkage, variable.initializer = "internal", ir.Constant(_WORD, 0)
    return variable


def _declare(builder: Any, name: str, result: Any, *arguments: Any, **more: Any) -> Any:
    """Return a function of CPython's C interface in the module that is being written."""
    function = builder.module.globals.get(name)
    kind = ir.FunctionType(result, arguments, **more)
    return function or ir.Function(builder.module, kind, name)


def _look_up(context: Any, builder: Any, key: str) -> Any:
    """Write a call of ``find_program``, with the interpreter lock; return its result."""
    texts = [context.insert_const_string(builder.module, text) for text in (__name__, key)]
    method, form = (
        context.insert_const_string(builder.module, text) for text in (find_program.__name__, "s")
    )
    state_kind, nothing = ir.IntType(32), ir.VoidType()
    state = builder.call(_declare(builder, "PyGILState_Ensure", state_kind), [])
    module = builder.call(_declare(builder, "PyImport_ImportModule", _BYTES, _BYTES), texts[:1])
    call = _declare(builder, "PyObject_CallMethod", _BYTES, _BYTES, _BYTES, _BYTES, var_arg=True)
    number = builder.call(call, [module, method, form, texts[1]])
    value = builder.call(_declare(builder, "PyLong_AsLongLong", _WORD, _BYTES), [number])
    drop = _declare(builder, "Py_DecRef", nothing, _BYTES)
    builder.call(drop, [number])
    builder.call(drop, [module])
    builder.call(_declare(builder, "PyErr_Clear", nothing), [])
    builder.call(_declare(builder, "PyGILState_Release", nothing, state_kind), [state])
    none = ir.Constant(_WORD, 0)
    return builder.select(builder.icmp_signed(">", value, none), value, none)


def _words_of(context: Any, builder: Any, program: NumbaProgram) -> Any:
    """Return the address of a program's words; 0 where this process has no such program."""
    if not program.is_keyed:
        pointer = context.add_dynamic_addr(builder, program.data, info=f"of {program.name}")
        return builder.ptrtoint(pointer, _WORD)
    variable = _global_word(builder, _PREFIX + program.key)
    stored = builder.load(variable)
    entry = builder.block
    with builder.if_then(builder.icmp_unsigned("==", stored, ir.Constant(_WORD, 0)), likely=False):
        new = _look_up(context, builder, program.key)
        builder.store(new, variable)
        inside = builder.block
    words = builder.phi(_WORD)
    words.add_incoming(stored, entry)
    words.add_incoming(new, inside)
    return words


def _call(
    context: Any, builder: Any, program: NumbaProgram, word: ProgramWord, arguments: Sequence[Any]
) -> Any:
    """Write a call of a C function of a program; return its status."""
    words = _words_of(context, builder, program)
    entry = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", words, ir.Constant(_WORD, 0)), likely=True):
        table = builder.inttoptr(words, _WORD.as_pointer())
        address = builder.load(builder.gep(table, [ir.Constant(_WORD, int(word))]))
        pointer = ir.FunctionType(_WORD, [_WORD] * (1 + len(arguments))).as_pointer()
        result = builder.call(builder.inttoptr(address, pointer), [words, *arguments])
        inside = builder.block
    status = builder.phi(_WORD)
    status.add_incoming(ir.Constant(_WORD, int(Status.GONE)), entry)
    status.add_incoming(result, inside)
    return status


def _room(builder: Any, kind: Any, count: int) -> Any:
    """Return stack memory of the function, which a loop does not take again."""
    with builder.goto_entry_block():
        return builder.alloca(kind, count)


def _store_words(builder: Any, words: Sequence[Any]) -> Any:
    """Store words on the stack; return their address."""
    room = _room(builder, _WORD, max(1, len(words)))
    for number, word in enumerate(words):
        builder.store(word, builder.gep(room, [ir.Constant(_WORD, number)]))
    return builder.ptrtoint(room, _WORD)


def _parts(builder: Any, kinds: Sequence[Any], value: Any) -> list[Any]:
    """Return the elements of a tuple."""
    return [builder.extract_value(value, number) for number in range(len(kinds))]


def _shape_words(context: Any, builder: Any, kinds: Sequence[Any], inputs: Any) -> Any:
    """Write the addresses of the extents of all inputs; return where they are."""
    addresses = []
    for kind, value in zip(kinds, _parts(builder, kinds, inputs), strict=True):
        extents = []
        if isinstance(kind, types.Array):
            shape = context.make_array(kind)(context, builder, value).shape
            extents = [builder.extract_value(shape, axis) for axis in range(kind.ndim)]
        addresses.append(_store_words(builder, extents))
    return _store_words(builder, addresses)


@intrinsic(prefer_literal=True)
def result_extents(typing: Any, key: Any, inputs: Any) -> Any:
    """Return a status, then the extents of all results."""
    program = _program_of(key)
    _check_inputs(program, inputs)
    sizes = [size for result in program.results for size in result.shape]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args[1]
        status: Any = ir.Constant(_WORD, 0)
        extents: list[Any] = []
        if None in sizes:
            room = _room(builder, _WORD, len(sizes))
            shapes = _shape_words(context, builder, kinds, arguments[1])
            called = [shapes, builder.ptrtoint(room, _WORD)]
            status = _call(context, builder, program, ProgramWord.EXTENTS, called)
            places = [
                builder.gep(room, [ir.Constant(_WORD, number)]) for number in range(len(sizes))
            ]
            extents += map(builder.load, places)
        else:
            values = _parts(builder, kinds, arguments[1])
            for size in sizes:
                if isinstance(size, tuple):
                    number, axis = size
                    array = context.make_array(kinds[number])(context, builder, values[number])
                    extents.append(builder.extract_value(array.shape, axis))
                else:
                    extents.append(ir.Constant(_WORD, size))
        return context.make_tuple(builder, signature.return_type, [status, *extents])

    return types.UniTuple(types.int64, 1 + len(sizes))(key, inputs), generate


def result_array(key: str, number: int, out: Any, extents: Any) -> Any:
    """Return the array for a result: that of ``out``, or a new one; None of a number."""


@overload(result_array, prefer_literal=True)
def _result_array(key: Any, number: Any, out: Any, extents: Any) -> Any:
    if not isinstance(key, types.StringLiteral) or not isinstance(number, types.IntegerLiteral):
        return None
    program, place = _program_of(key), number.literal_value
    result = program.results[place]
    first = 1 + sum(earlier.rank for earlier in program.results[:place])
    kind = _type_of_out(program, place, out)
    # Numba compares signatures with their annotations
    lines = ["def make(key: Any, number: Any, out: Any, extents: Any) -> Any:"]
    if kind is None:
        axes = "".join(f"extents[{first + axis}], " for axis in range(result.rank))
        lines.append(f"    return np.empty(({axes}), dtype)" if result.rank else "    return None")
    else:
        lines.append(f"    array = out{'' if isinstance(out, types.Array) else f'[{place}]'}")
        tests = [f"array.shape[{axis}] != extents[{first + axis}]" for axis in range(result.rank)]
        if tests:
            lines.append(f"    if {' or '.join(tests)}:")
            lines.append("        raise OutputArrayError(text)")
        lines.append("    return array")
    space = {
        "np": np, "dtype": result.dtype, "OutputArrayError": OutputArrayError,
        "text": f"{program.name}: out has an array for {result.name} of another shape than the"
        f" result, {result.text}",
    }  # fmt: skip
    exec("\n".join(lines), space)
    return space["make"]


@intrinsic(prefer_literal=True)
def run_program(typing: Any, key: Any, inputs: Any, results: Any) -> Any:
    """Run a program; return a status, then the results that are numbers."""
    program = _program_of(key)
    numbers = [numba.from_dtype(result.dtype) for result in program.results if not result.rank]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, input_kinds, result_kinds = signature.args

        def data_of(kind: Any, value: Any) -> Any:
            data = context.make_array(kind)(context, builder, value).data
            return builder.ptrtoint(data, _WORD)

        feeds = []
        values = _parts(builder, input_kinds, arguments[1])
        for operand, kind, value in zip(program.inputs, input_kinds, values, strict=True):
            if isinstance(kind, types.Array):
                feeds.append(data_of(kind, value))
            else:
                number = numba.from_dtype(operand.dtype)
                room = _room(builder, context.get_data_type(number), 1)
                cast = context.cast(builder, value, kind, number)
                context.pack_value(builder, number, cast, room)
                feeds.append(builder.ptrtoint(room, _WORD))
        places, rooms = [], []
        values = _parts(builder, result_kinds, arguments[2])
        for operand, kind, value in zip(program.results, result_kinds, values, strict=True):
            if isinstance(kind, types.Array):
                places.append(data_of(kind, value))
                room = context.make_array(kind)(context, builder, value).data
            else:
                number = numba.from_dtype(operand.dtype)
                room = _room(builder, context.get_data_type(number), 1)
                places.append(builder.ptrtoint(room, _WORD))
            if not operand.rank:
                rooms.append((numba.from_dtype(operand.dtype), room))
        shapes = _shape_words(context, builder, input_kinds, arguments[1])
        called = [_store_words(builder, feeds), shapes, _store_words(builder, places)]
        status = _call(context, builder, program, ProgramWord.CALL, called)
        loaded = [context.unpack_value(builder, number, room) for number, room in rooms]
        return context.make_tuple(builder, signature.return_type, [status, *loaded])

    return types.Tuple((types.int64, *numbers))(key, inputs, results), generate
