"""Jaxprs as plain data (``program.py``): the one module of this package that needs JAX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from linecache import getline
from typing import Any

import numpy as np

from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.programs import ForeignCall, ResultOf
from staticgrad.bridges.tables import ForeignOperator
from staticgrad.errors import ExportError
from staticgrad.extend import over_bytes
from staticgrad.extend.building import SourceLine
from staticgrad.extend.optional import jax
from staticgrad.jax.lax.calls import CALLS, DerivativeRule
from staticgrad.jax.lax.primitives import PRIMITIVES, REFUSED, SAMPLERS
from staticgrad.jax.lax.program import LaxProgram

#: Where frames are not the user's.
_INSIDE = re.compile(r"[/\\](?:site|dist)-packages[/\\](?:jax|jaxlib)[/\\]|[/\\]staticgrad[/\\]")


def program_of(jaxpr: Any, constants: Sequence[Any] = ()) -> LaxProgram:
    """Convert a jaxpr, which may be closed, to a program of plain data.

    Raises:
        ExportError: a shape has symbolic sizes.
    """
    if hasattr(jaxpr, "consts"):
        jaxpr, constants = jaxpr.jaxpr, jaxpr.consts
    places: dict[Any, int] = {}
    for variable in (*jaxpr.invars, *jaxpr.constvars):
        places[variable] = len(places)
    inputs = [type_of(variable.aval) for variable in jaxpr.invars]
    count = len(places)
    calls = []
    for equation in jaxpr.eqns:
        operands = tuple(_operand(variable, places) for variable in equation.invars)
        name = equation.primitive.name
        inside = _inner_program(equation)
        parameters: dict[str, Any] = (
            _read_parameters(equation) if inside is None else {"jaxpr": inside}
        )
        if inside is not None:
            name = _rule_of(equation) if inside.calls else "closed_call"
            if name != "closed_call":
                parameters = {"program": inside, "rule": _read_rule(equation, name)}
        out = tuple(type_of(variable.aval) for variable in equation.outvars)
        if any(map(is_key, equation.outvars)) and not name.startswith("random_"):
            parameters["key_operands"] = [*map(is_key, equation.invars)]
        calls.append(
            ForeignCall(ForeignOperator(name, parameters), operands, out, line_of(equation))
        )
        for variable in equation.outvars:
            places[variable] = count
            count += 1
    first = len(inputs)
    return LaxProgram(
        inputs,
        calls,
        [_operand(variable, places) for variable in jaxpr.outvars],
        constants={first + k: array_of(constant) for k, constant in enumerate(constants)},
    )


def array_of(array: Any) -> Any:
    """Return an array of JAX as one of NumPy; of keys their words."""
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


def literal_shape(array: Any) -> tuple[int, ...]:
    """Return the shape of an array or type of JAX; refuse symbolic sizes.

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


def is_key(variable: Any) -> bool:
    """Return whether a variable of a jaxpr has keys of random numbers."""
    dtype = getattr(variable.aval, "dtype", None)
    return dtype is not None and bool(jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key))


def type_of(aval: Any) -> ForeignType:
    """Convert a type of JAX (aval) to a type in plain data; keys are their two words."""
    dtype = getattr(aval, "dtype", None)
    if dtype is None:
        return ForeignType("", ())
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return ForeignType("uint32", (*aval.shape, 2))
    name = "bool" if dtype == jax.dtypes.float0 else np.dtype(dtype).name
    return ForeignType(name, literal_shape(aval))


def _operand(variable: Any, places: dict[Any, int]) -> Any:
    if hasattr(variable, "val"):
        return over_bytes(np.asarray(variable.val, type_of(variable.aval).dtype))
    return ResultOf(places[variable])


def _inner_program(equation: Any) -> LaxProgram | None:
    """Return the jaxpr by which a library's primitive defines itself, as a program."""
    primitive = equation.primitive
    name = primitive.name
    if name in PRIMITIVES or name in CALLS or name in REFUSED:
        return None
    definition = equation.params.get("_prim")

    def call_impl(*operands: Any) -> Any:
        if name == "call_hi_primitive":  # from JAX 0.12 on; its containers are trees
            arguments = jax.tree.unflatten(definition.in_tree, operands)
            return jax.tree.leaves(definition.expand(*arguments))
        return primitive.impl(*operands, **equation.params)

    try:
        closed = jax.make_jaxpr(call_impl)(
            *[_struct(variable.aval) for variable in equation.invars]
        )
    except Exception:  # it is computed in another way
        return None
    if any(
        inner.primitive is primitive and inner.params.get("_prim") == definition
        for inner in closed.jaxpr.eqns
    ):
        return None
    return program_of(closed)


def _rule_of(equation: Any) -> str:
    """Return which rule of a primitive's own, beside its jaxpr, derivatives follow."""
    primitive, ad = equation.primitive, import_module("jax.interpreters.ad")
    if primitive.name == "call_hi_primitive":
        base, kind = import_module("jax.experimental.hijax").HiPrim, type(equation.params["_prim"])
        if kind.jvp is not base.jvp:
            return "custom_jvp_call"
        return "closed_call" if kind.vjp_fwd is base.vjp_fwd else "custom_vjp_call"
    if primitive.name in SAMPLERS or primitive not in ad.primitive_jvps:
        return "custom_jvp_call" if primitive.name in SAMPLERS else "closed_call"
    return "custom_vjp_call" if primitive in ad.primitive_transposes else "custom_jvp_call"


def _read_parameters(equation: Any) -> dict[str, Any]:
    """Convert the parameters of a jaxpr equation to plain data; nested jaxprs become programs."""
    name = equation.primitive.name
    if name in ("custom_jvp_call", "custom_vjp_call"):
        program = program_of(equation.params["call_jaxpr"])
        return {"program": program, "rule": _read_rule(equation, name)}
    if name == "custom_linear_solve":
        lengths, jaxprs = equation.params["const_lengths"], equation.params["jaxprs"]
        return {
            "const_lengths": dict(lengths._asdict()),
            "jaxprs": {
                part: None if jaxpr is None else program_of(jaxpr)
                for part, jaxpr in jaxprs._asdict().items()
            },
        }
    if name == "pure_callback":
        return {"callback": HostFunction(equation.params["callback"])}
    parameters = {parameter: _read_parameter(value) for parameter, value in equation.params.items()}
    if name == "scan" and "ft_in" in equation.params:  # from JAX 0.12 on
        constants, carry, _ = equation.params["ft_in"].unpack()
        del parameters["ft_in"], parameters["ft_out"]
        parameters |= {"num_consts": len(constants), "num_carry": len(carry)}
    if name.startswith("random_"):
        key = equation.outvars[0].aval if name != "random_bits" else equation.invars[0].aval
        parameters.pop("impl", None)
        if name in ("random_seed", "random_fold_in", "random_split", "random_bits", "random_wrap"):
            parameters["impl"] = key.dtype._impl.name
        if name in ("random_split", "random_bits"):
            parameters["partitionable"] = bool(jax.config.jax_threefry_partitionable)
    return parameters


class HostFunction:
    """A Python function of ``jax.pure_callback``: it is given arrays of JAX, as there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __deepcopy__(self, memo: Any) -> HostFunction:
        return self

    def __call__(self, *arrays: Any) -> Any:
        returned = self.function(*map(jax.numpy.asarray, arrays))
        results = tuple([np.asarray(array) for array in returned])
        return results if len(results) != 1 else results[0]


def _read_rule(equation: Any, name: str) -> DerivativeRule:
    """Read the ``custom_jvp`` or ``custom_vjp`` rule of a jaxpr equation as JAX traces it."""
    avals = [variable.aval for variable in equation.invars]
    outs = [variable.aval for variable in equation.outvars]

    def smooth(values: Sequence[Any]) -> list[bool]:
        return [jax.numpy.issubdtype(value.dtype, np.inexact) for value in values]

    def call(*operands: Any) -> list[Any]:
        """Bind a custom JAX primitive again to operands."""
        if not equation.primitive.multiple_results:
            return [equation.primitive.bind(*operands, **equation.params)]
        subjaxprs = equation.primitive.get_bind_params(equation.params)
        if isinstance(subjaxprs, tuple):
            first, parameters = subjaxprs
            return list(equation.primitive.bind(*first, *operands, **parameters))
        return list(equation.primitive.bind(*operands, **subjaxprs))

    def read(is_moving: Sequence[bool]) -> LaxProgram:
        """Trace the tangent or cotangent rule of a JAX primitive for the operands that move."""

        def of_moving(operands: Sequence[Any]) -> Callable[..., Any]:
            """Fix all operands of a JAX primitive but those that move."""

            def f(*moving: Any) -> list[Any]:
                remaining = iter(moving)
                return call(
                    *(next(remaining) if m else x for x, m in zip(operands, is_moving, strict=True))
                )

            return f

        def primals(operands: Sequence[Any]) -> list[Any]:
            return [operand for operand, moves in zip(operands, is_moving, strict=True) if moves]

        def push_forward(*arguments: Any) -> Any:
            operands, tangents = arguments[: len(avals)], arguments[len(avals) :]
            tangents_out = jax.jvp(of_moving(operands), primals(operands), list(tangents))[1]
            return [tangent if tangent.dtype != jax.dtypes.float0 else np.zeros(tangent.shape, bool)
                    for tangent in tangents_out]  # fmt: skip

        def pull_back(*arguments: Any) -> Any:
            operands, cotangents = arguments[: len(avals)], iter(arguments[len(avals) :])
            values, pull = jax.vjp(of_moving(operands), *primals(operands))
            return pull([next(cotangents) if move else np.zeros(primal.shape, jax.dtypes.float0)
                         for primal, move in zip(values, smooth(values), strict=True)])  # fmt: skip

        pushes = name == "custom_jvp_call"
        directions = [aval for aval, moves in zip(avals, is_moving, strict=True) if moves]
        if not pushes:
            directions = [aval for aval, move in zip(outs, smooth(outs), strict=True) if move]
        f = push_forward if pushes else pull_back
        return program_of(jax.make_jaxpr(f)(*map(_struct, [*avals, *directions])))

    return DerivativeRule(read, smooth(avals), smooth(outs))


def _struct(aval: Any) -> Any:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _read_parameter(value: Any) -> Any:
    """Convert a parameter of a jaxpr equation to plain data."""
    if value is None or isinstance(value, bool | str | float | complex):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is int:
        return value
    if hasattr(value, "eqns"):
        return program_of(value)
    if type(value).__name__ in ("GatherDimensionNumbers", "ScatterDimensionNumbers"):
        if hasattr(value, "offset_dims"):
            parts = (value.offset_dims, value.collapsed_slice_dims, value.start_index_map,
                     value.operand_batching_dims, value.start_indices_batching_dims)  # fmt: skip
        else:
            parts = (value.update_window_dims, value.inserted_window_dims,
                     value.scatter_dims_to_operand_dims, value.operand_batching_dims,
                     value.scatter_indices_batching_dims)  # fmt: skip
        return tuple(tuple(int(axis) for axis in axes) for axes in parts)
    if type(value).__name__ == "GatherScatterMode":
        names = {"FILL_OR_DROP": "fill", "CLIP": "clip", "PROMISE_IN_BOUNDS": "promise"}
        return names.get(value.name, value.name)
    if isinstance(value, tuple | list):
        return tuple(_read_parameter(element) for element in value)
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    if hasattr(value, "__index__"):
        return int(value)
    return str(value)


def line_of(equation: Any) -> SourceLine | None:
    """Find the user's line of a jaxpr equation: the innermost one that is not JAX's."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if not _INSIDE.search(frame.file_name):
            text = getline(frame.file_name, frame.line_num).strip()
            return SourceLine(
                frame.file_name, frame.line_num, text=text, function=frame.function_name
            )
    return None
