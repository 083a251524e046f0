"""Jaxprs as plain data (``program.py``): the one module of this package that needs JAX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from linecache import getline
from typing import Any

import numpy as np

from staticgrad.interop.lax.primitives import PRIMITIVES, REFUSED, SAMPLERS, LaxType
from staticgrad.interop.lax.program import CALLS, DerivativeRule, LaxCall, LaxProgram, ResultAt
from staticgrad.language.types.arrays import over_bytes
from staticgrad.support.errors import ExportError
from staticgrad.support.optional import jax
from staticgrad.support.source import SourceLine

#: Where frames are not the user's.
_INSIDE = re.compile(r"[/\\](?:site|dist)-packages[/\\](?:jax|jaxlib)[/\\]|[/\\]staticgrad[/\\]")


def program_of(jaxpr: Any, constants: Sequence[Any] = ()) -> LaxProgram:
    """Return a jaxpr, which may be closed, as plain data.

    Raises:
        ExportError: a shape has symbolic sizes.
    """
    if hasattr(jaxpr, "consts"):
        jaxpr, constants = jaxpr.jaxpr, jaxpr.consts
    places: dict[Any, int] = {}
    for variable in (*jaxpr.invars, *jaxpr.constvars):
        places[variable] = len(places)
    count = len(places)
    calls = []
    for equation in jaxpr.eqns:
        operands = tuple(_operand(each, places) for each in equation.invars)
        name = equation.primitive.name
        inside = _defined(equation)
        parameters: dict[str, Any] = _parameters(equation) if inside is None else {"jaxpr": inside}
        if name in SAMPLERS and inside is not None:
            name = "custom_jvp_call"
            parameters = {"program": inside, "rule": _rule(equation, name)}
        elif inside is not None:
            name = "closed_call"
        kinds = [type_of(each.aval) for each in equation.invars]
        out = tuple(type_of(each.aval) for each in equation.outvars)
        if any(kind.is_key for kind in out) and not name.startswith("random_"):
            parameters["key_operands"] = [each.is_key for each in kinds]
        calls.append(LaxCall(name, operands, parameters, out, line_of(equation)))
        for variable in equation.outvars:
            places[variable] = count
            count += 1
    return LaxProgram(
        [type_of(each.aval) for each in jaxpr.invars],
        [array_of(each) for each in constants],
        calls,
        [_operand(each, places) for each in jaxpr.outvars],
    )


def array_of(array: Any) -> Any:
    """Return an array of JAX as one of NumPy; of keys their words."""
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


def literal_shape(array: Any) -> tuple[int, ...]:
    """Return the shape of an array or type of JAX.

    Raises:
        ExportError: it has symbolic sizes.
    """
    shape = tuple(array.shape)
    if not all(isinstance(size, int) for size in shape):
        raise ExportError(
            f"the shape {shape} has symbolic sizes",
            hint="arguments with literal sizes: jax.ShapeDtypeStruct((4, 3), 'float32'),"
            " one program for each",
        )
    return shape


def type_of(aval: Any) -> LaxType:
    """Return the type of a value of JAX."""
    dtype = getattr(aval, "dtype", None)
    if dtype is None:
        return LaxType("", ())
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return LaxType("uint32", tuple(aval.shape), True)
    name = "bool" if dtype == jax.dtypes.float0 else np.dtype(dtype).name
    return LaxType(name, literal_shape(aval))


def _operand(variable: Any, places: dict[Any, int]) -> Any:
    if hasattr(variable, "val"):
        return over_bytes(np.asarray(variable.val, type_of(variable.aval).dtype))
    return ResultAt(places[variable])


def _defined(equation: Any) -> LaxProgram | None:
    """Return the program of a package's primitive that is defined by others, or None."""
    primitive = equation.primitive
    name = primitive.name
    if name in PRIMITIVES or name in CALLS or name in REFUSED:
        return None

    def called(*operands: Any) -> Any:
        return primitive.impl(*operands, **equation.params)

    try:
        closed = jax.make_jaxpr(called)(*[_struct(each.aval) for each in equation.invars])
    except Exception:  # it is computed in another way
        return None
    if any(each.primitive is primitive for each in closed.jaxpr.eqns):
        return None
    return program_of(closed)


def _parameters(equation: Any) -> dict[str, Any]:
    name = equation.primitive.name
    if name in ("custom_jvp_call", "custom_vjp_call"):
        program = program_of(equation.params["call_jaxpr"])
        return {"program": program, "rule": _rule(equation, name)}
    if name == "custom_linear_solve":
        lengths, jaxprs = equation.params["const_lengths"], equation.params["jaxprs"]
        return {
            "const_lengths": dict(lengths._asdict()),
            "jaxprs": {
                each: None if jaxpr is None else program_of(jaxpr)
                for each, jaxpr in jaxprs._asdict().items()
            },
        }
    if name == "pure_callback":
        return {"callback": HostFunction(equation.params["callback"])}
    found = {each: _plain(value) for each, value in equation.params.items()}
    if name.startswith("random_"):
        key = equation.outvars[0].aval if name != "random_bits" else equation.invars[0].aval
        found.pop("impl", None)
        if name in ("random_seed", "random_fold_in", "random_split", "random_bits", "random_wrap"):
            found["impl"] = key.dtype._impl.name
        if name in ("random_split", "random_bits"):
            found["partitionable"] = bool(jax.config.jax_threefry_partitionable)
    return found


class HostFunction:
    """A Python function of ``jax.pure_callback``: it is given arrays of JAX, as there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __deepcopy__(self, memo: Any) -> HostFunction:
        return self

    def __call__(self, *arrays: Any) -> Any:
        found = self.function(*map(jax.numpy.asarray, arrays))
        results = tuple([np.asarray(each) for each in found])
        return results if len(results) != 1 else results[0]


def _rule(equation: Any, name: str) -> DerivativeRule:
    """Return the rule, of tangents or cotangents of real operands, as JAX says them."""
    avals = [each.aval for each in equation.invars]
    outs = [each.aval for each in equation.outvars]

    def smooth(values: Sequence[Any]) -> list[bool]:
        return [jax.numpy.issubdtype(each.dtype, np.inexact) for each in values]

    def call(*operands: Any) -> list[Any]:
        if not equation.primitive.multiple_results:
            return [equation.primitive.bind(*operands, **equation.params)]
        subjaxprs = equation.primitive.get_bind_params(equation.params)
        if isinstance(subjaxprs, tuple):
            first, parameters = subjaxprs
            return list(equation.primitive.bind(*first, *operands, **parameters))
        return list(equation.primitive.bind(*operands, **subjaxprs))

    def read(moved: Sequence[bool]) -> LaxProgram:
        def of_moving(operands: Sequence[Any]) -> Callable[..., Any]:
            def f(*moving: Any) -> list[Any]:
                rest = iter(moving)
                return call(*(next(rest) if m else x for x, m in zip(operands, moved, strict=True)))

            return f

        def primals(operands: Sequence[Any]) -> list[Any]:
            return [each for each, moves in zip(operands, moved, strict=True) if moves]

        def pushed(*given: Any) -> Any:
            operands, tangents = given[: len(avals)], given[len(avals) :]
            tangents_out = jax.jvp(of_moving(operands), primals(operands), list(tangents))[1]
            return [each if each.dtype != jax.dtypes.float0 else np.zeros(each.shape, bool)
                    for each in tangents_out]  # fmt: skip

        def pulled(*given: Any) -> Any:
            operands, cotangents = given[: len(avals)], iter(given[len(avals) :])
            found, pull = jax.vjp(of_moving(operands), *primals(operands))
            return pull([next(cotangents) if move else np.zeros(each.shape, jax.dtypes.float0)
                         for each, move in zip(found, smooth(found), strict=True)])  # fmt: skip

        pushes = name == "custom_jvp_call"
        directions = [each for each, moves in zip(avals, moved, strict=True) if moves]
        if not pushes:
            directions = [each for each, move in zip(outs, smooth(outs), strict=True) if move]
        f = pushed if pushes else pulled
        return program_of(jax.make_jaxpr(f)(*map(_struct, [*avals, *directions])))

    return DerivativeRule(read, smooth(avals), smooth(outs))


def _struct(aval: Any) -> Any:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _plain(value: Any) -> Any:
    """A parameter as plain data."""
    if value is None or isinstance(value, bool | str | float | complex):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is int:
        return value
    if hasattr(value, "eqns"):
        return program_of(value)
    if type(value).__name__ in ("GatherDimensionNumbers", "ScatterDimensionNumbers"):
        return _dimension_numbers(value)
    if type(value).__name__ == "GatherScatterMode":
        names = {"FILL_OR_DROP": "fill", "CLIP": "clip", "PROMISE_IN_BOUNDS": "promise"}
        return names.get(value.name, value.name)
    if isinstance(value, tuple | list):
        return tuple(_plain(each) for each in value)
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    if hasattr(value, "__index__"):
        return int(value)
    return str(value)


def _dimension_numbers(numbers: Any) -> tuple[tuple[int, ...], ...]:
    if hasattr(numbers, "offset_dims"):
        parts = (numbers.offset_dims, numbers.collapsed_slice_dims, numbers.start_index_map,
                 numbers.operand_batching_dims, numbers.start_indices_batching_dims)  # fmt: skip
    else:
        parts = (numbers.update_window_dims, numbers.inserted_window_dims,
                 numbers.scatter_dims_to_operand_dims, numbers.operand_batching_dims,
                 numbers.scatter_indices_batching_dims)  # fmt: skip
    return tuple(tuple(int(axis) for axis in each) for each in parts)


def line_of(equation: Any) -> SourceLine | None:
    """Return the user's line of an equation: the innermost one that is not JAX's."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if not _INSIDE.search(frame.file_name):
            text = getline(frame.file_name, frame.line_num).strip()
            return SourceLine(
                frame.file_name, frame.line_num, text=text, function=frame.function_name
            )
    return None
