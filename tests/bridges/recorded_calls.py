"""Calls of operators of other libraries with the results of these libraries, as lines of JSON.

``tests/bridges/rows/LIBRARY.jsonl`` has calls of each row of a table: an operator as plain data
(``staticgrad.bridges``), its operands, the types of its results, and the results that the library
computed. ``record_calls.py`` writes the files; to compute the calls takes none of the libraries.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import staticgrad as sg
from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.programs import ForeignCall, ForeignProgram, ResultOf
from staticgrad.bridges.tables import ForeignOperator
from staticgrad.jax.lax.program import LaxProgram
from staticgrad.pytensor.program import PyTensorProgram
from staticgrad.torch.aten.program import AtenProgram

FOLDER = Path(__file__).parent / "rows"
PROGRAMS = {"aten": AtenProgram, "lax": LaxProgram, "pytensor": PyTensorProgram}


class Computed(NamedTuple):
    """An operand that a run computes: its array in the recorded call."""

    array: np.ndarray


class RecordedCall(NamedTuple):
    """A call and the results that the library computed, flat."""

    row: str
    operator: ForeignOperator
    operands: Any
    out: tuple
    results: list


def encode(x):
    """Return data of a call as JSON has it: a dict with one key of what JSON lacks.

    Raises:
        TypeError: it has a function or a class.
    """
    match x:
        case Computed():
            return {"value": _encode_array(x.array)}
        case np.ndarray() | np.generic():
            return {"array": _encode_array(np.asarray(x))}
        case ForeignOperator():
            return {"operator": [x.name, encode(dict(x.attributes)), [*x.bases], x.is_scalar]}
        case ForeignType():
            return {"type": [x.dtype, [*x.shape]]}
        case ResultOf():
            return {"result": x.place}
        case ForeignProgram():
            calls = [(call.operator, call.operands, call.out) for call in x.calls]
            constants = [*x.constants.items()]
            return {"program": encode([x.inputs, calls, x.results, x.result_types, constants])}
        case slice():
            return {"slice": [*map(encode, (x.start, x.stop, x.step))]}
        case complex():
            return {"complex": [x.real, x.imag]}
        case tuple():
            return {"tuple": [*map(encode, x)]}
        case list():
            return [*map(encode, x)]
        case Mapping():
            return {"map": {name: encode(part) for name, part in x.items()}}
        case None | bool() | int() | float() | str():
            return x
    raise TypeError(f"{type(x).__name__} is not plain data")


def decode(x, program):
    """Return the data of a call that ``encode`` wrote; ``program`` is the class of programs."""
    if isinstance(x, list):
        return [decode(part, program) for part in x]
    if not isinstance(x, dict):
        return x
    ((kind, parts),) = x.items()
    match kind:
        case "value":
            return Computed(_decode_array(parts))
        case "array":
            return _decode_array(parts)
        case "operator":
            name, attributes, bases, is_scalar = parts
            return ForeignOperator(name, decode(attributes, program), tuple(bases), is_scalar)
        case "type":
            return ForeignType(parts[0], tuple(parts[1]))
        case "result":
            return ResultOf(parts)
        case "program":
            inputs, calls, results, result_types, constants = decode(parts, program)
            calls = [ForeignCall(*call) for call in calls]
            return program(inputs, calls, results, result_types, dict(constants))
        case "slice":
            return slice(*decode(parts, program))
        case "complex":
            return complex(*parts)
        case "tuple":
            return tuple(decode(parts, program))
    return {name: decode(part, program) for name, part in parts.items()}


def _encode_array(array):
    if array.dtype.kind not in "biufc":
        raise TypeError(f"an array of {array.dtype}")
    flat = array.ravel()
    numbers = flat.view(flat.real.dtype) if array.dtype.kind == "c" else flat
    return [array.dtype.name, [*array.shape], [*map(_convert_number, numbers)]]


def _convert_number(number):
    """Return a number of Python with the fewest digits that have the bits of one of NumPy."""
    if number.dtype.kind != "f":
        return int(number)
    is_whole = number == np.rint(number) and abs(number) < 1e6 and not np.signbit(number)
    return int(number) if is_whole else float(str(number))


def _decode_array(parts):
    dtype, shape, numbers = parts
    is_complex = dtype.startswith("complex")
    flat = np.array(numbers, "float64" if is_complex else dtype)
    return (flat.view("complex128").astype(dtype) if is_complex else flat).reshape(shape)


def read_calls(library):
    """Return the recorded calls of a library."""
    lines = (FOLDER / f"{library}.jsonl").read_text("utf-8").splitlines()
    return [RecordedCall(*decode(json.loads(line), PROGRAMS[library])) for line in lines]


def write_line(call):
    """Return a recorded call as a line."""
    row, operator, operands, out, results = call
    parts = [row, encode(operator), encode(operands), encode(out), encode(results)]
    return json.dumps(parts, separators=(",", ":"))


def compute(library, call):
    """Compute a call by the row of our table, by NumPy's readings of our ops: its results, flat."""
    feeds, inputs = {}, []

    def bind(x):
        """Return operands with inputs in the places of what a run computes."""
        if isinstance(x, Computed):
            name = f"x{len(feeds)}"
            feeds[name] = x.array
            inputs.append(sg.input(name, x.array.shape, x.array.dtype))
            return inputs[-1]
        if isinstance(x, Mapping):
            return {name: bind(part) for name, part in x.items()}
        return type(x)(map(bind, x)) if type(x) in (list, tuple) else x

    program = PROGRAMS[library]
    foreign = ForeignCall(call.operator, bind(call.operands), call.out)
    results = flatten(program.compute(foreign, foreign.operands))
    values = {f"y{k}": x for k, x in enumerate(results) if isinstance(x, sg.Value)}
    arrays = sg.evaluate(sg.Graph(values, inputs=inputs), feeds) if values else {}
    return [arrays.get(f"y{k}", x) for k, x in enumerate(results)]


def flatten(x):
    """Return the parts of nested lists and tuples."""
    return [leaf for part in x for leaf in flatten(part)] if isinstance(x, list | tuple) else [x]


def find_difference(library, call):
    """Return what is wrong with our results of a call; empty if nothing is."""
    try:
        actual = compute(library, call)
    except Exception as error:  # whatever a row runs into
        return f"{type(error).__name__}: {error}".splitlines()[0]
    if len(actual) != len(call.results):
        return f"{len(actual)} results"
    for ours, theirs in zip(actual, call.results, strict=True):
        if theirs is None:
            continue
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return f"{ours.dtype}{ours.shape} for {theirs.dtype}{theirs.shape}"
        digits = {"f": 1e-9, "c": 1e-9}.get(theirs.dtype.kind, 0.0)
        digits = max(digits, 2e-5) if theirs.dtype.name in ("float32", "complex64") else digits
        scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=1e-3) if digits else 0.0
        if not np.allclose(ours, theirs, rtol=digits, atol=digits * scale, equal_nan=bool(digits)):
            return f"{ours.ravel()[:4]} for {theirs.ravel()[:4]}"
    return ""
