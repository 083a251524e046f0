"""Calls of ``sg.jax.function`` in JAX: two primitives, with the rules of its transformations.

``staticgrad`` computes the results of programs. ``staticgrad_tangents`` computes their tangents,
linear in the last operands; transposed it is a call of the gradient. Outside of ``jit`` a program
runs at once at first; inside, and later, XLA calls it (``jax_ffi``), or, where it is not on a CPU,
a ``pure_callback``. What ``jax.export`` exports runs anywhere: there it is what ``sg.jax.lower``
makes of the function.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from staticgrad.bridges.foreign_programs import Programs
from staticgrad.extend.optional import jax
from staticgrad.extend.trees import flatten, unflatten
from staticgrad.jax.ffi import call_of, target_name
from staticgrad.jax.lax.lowering import lowered_function
from staticgrad.jax.lax.reading import literal_shape

#: Calls outside of ``jit`` with the same kinds of arrays, from which on XLA runs them: its compiler
#: takes some milliseconds.
_OFTEN: Final = 3


def call_programs(programs: Programs, arrays: Sequence[Any]) -> Any:
    """Return the results of programs in JAX, in the containers of the function."""
    operands = [*map(_array, arrays)]
    leaves = jax_primitives().call.bind(*_varying_alike(operands), programs=programs)
    return unflatten(programs.types(_kinds(operands)).tree, leaves)


@functools.cache
def jax_primitives() -> SimpleNamespace:
    """Define JAX's two primitives of a compiled call, with their rules, at the first use."""
    primitive: Any = import_module("jax.extend.core").Primitive
    ad, batching, mlir = (
        import_module(f"jax.interpreters.{name}") for name in ("ad", "batching", "mlir")
    )
    call, tangents = primitive("staticgrad"), primitive("staticgrad_tangents")
    call.multiple_results = tangents.multiple_results = True

    @functools.cache
    def compile_call(programs: Programs) -> Any:
        return jax.jit(lambda *arrays: call.bind(*arrays, programs=programs))

    calls: Counter[Any] = Counter()

    def impl(*arrays: Any, programs: Programs) -> Any:
        operands = [*map(_array, arrays)]
        if _is_on_cpu(operands) and not programs.numbers:
            calls[key := (programs, _kinds(operands))] += 1
            if calls[key] > _OFTEN:
                return compile_call(programs)(*operands)
        return [jax.numpy.asarray(array) for array in _host(programs, _kinds(operands), *operands)]

    def call_host(*arrays: Any, programs: Programs) -> Any:
        host = functools.partial(_host, programs, _kinds(arrays))
        types = [jax.ShapeDtypeStruct(*kind) for kind in _result_kinds(programs, arrays)]
        return jax.pure_callback(host, types, *arrays)

    def in_jax(*arrays: Any, programs: Programs) -> Any:
        run = lowered_function(programs.of_function)
        return flatten(run(*programs.numbers.values(), *arrays))[0]

    def types(*arrays: Any, programs: Programs) -> Any:
        return _types(_result_kinds(programs, arrays), arrays)

    def jvp(primals: Any, directions: Any, *, programs: Programs) -> Any:
        """Apply JAX's forward-mode rule of a compiled call: results and linear tangents."""
        primals = [*map(_array, primals)]
        wrt = tuple([k for k, direction in enumerate(directions) if type(direction) is not ad.Zero])
        forward = programs.forward(wrt)
        outputs = call.bind(*primals, programs=forward)
        count = programs.types(_kinds(primals)).tree.count
        results, saved = outputs[:count], outputs[count:]
        smooth = [
            k for k, result in enumerate(results) if jax.numpy.issubdtype(result.dtype, np.inexact)
        ]
        result_tangents = iter(
            tangents.bind(
                *_varying_alike([*primals, *saved, *[directions[k] for k in wrt]]),
                push=programs.pushforward(wrt),
                pull=programs.backward(wrt, len(primals) + len(saved) + len(smooth)),
                counts=(len(primals), len(saved)),
                kinds=_kinds([results[k] for k in smooth]),
            )
            if smooth
            else ()
        )
        along = [
            next(result_tangents) if k in smooth else ad.Zero(jax.typeof(result).to_tangent_aval())
            for k, result in enumerate(results)
        ]
        return results, along

    def split(operands: Sequence[Any], counts: tuple[int, int]) -> Any:
        first, second = counts[0], sum(counts)
        return operands[:first], operands[first:second], operands[second:]

    def tangents_impl(*operands: Any, push: Programs, counts: Any, **_: Any) -> Any:
        arrays, _, along = split(operands, counts)
        return call.bind(*arrays, *along, programs=push)

    def tangents_types(*operands: Any, kinds: Any, **_: Any) -> Any:
        return _types(kinds, operands)

    def tangents_jvp(primals: Any, directions: Any, **named: Any) -> Any:
        """Apply JAX's forward-mode rule of the tangents primitive, for second derivatives."""
        arrays, _, along = split(primals, named["counts"])
        second_directions = [split(directions, named["counts"])[k] for k in (0, 2)]
        results = tangents.bind(*primals, **named)
        if all(type(direction) is ad.Zero for direction in second_directions[0]):
            same = [
                *primals[: len(primals) - len(along)],
                *map(ad.instantiate_zeros, second_directions[1]),
            ]
            second = tangents.bind(*_varying_alike(same), **named)
        else:  # what is saved depends on the arrays: their directions say all
            pair = (*arrays, *along), (*second_directions[0], *second_directions[1])
            second = jvp(*pair, programs=named["push"])[1]
        return results, second

    def transpose_tangents(cotangents: Any, *operands: Any, pull: Programs, **named: Any) -> Any:
        """Transpose the tangents of a compiled call in JAX: run the compiled backward program."""
        arrays, saved, along = split(operands, named["counts"])
        pull_operands = [*arrays, *saved, *map(ad.instantiate_zeros, cotangents)]
        slopes = call.bind(*_varying_alike(pull_operands), programs=pull)
        return [None] * (len(arrays) + len(saved)) + [
            slope if ad.is_undefined_primal(tangent) else None
            for slope, tangent in zip(slopes, along, strict=True)
        ]

    def batch_call(operands: Any, axes: Any, *, programs: Programs) -> Any:
        first, chosen = _move_batch_first(operands, axes)
        results = call.bind(*first, programs=programs.map_batches((chosen,)))
        return results, [0] * len(results)

    def batch_tangents(operands: Any, axes: Any, *, push: Any, pull: Any, **named: Any) -> Any:
        """Batch the tangents of a compiled call under ``jax.vmap``."""
        sizes = [x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None]
        (arrays, saved, along), by = split(operands, named["counts"]), split(axes, named["counts"])
        (arrays, over), (saved, beside) = (
            _move_batch_first(arrays, by[0]),
            _move_batch_first(saved, by[1]),
        )
        along = [batching.bdim_at_front(x, a, sizes[0]) for x, a in zip(along, by[2], strict=True)]
        named["kinds"] = tuple([((sizes[0], *shape), dtype) for shape, dtype in named["kinds"]])
        results = tangents.bind(
            *arrays,
            *saved,
            *along,
            push=push.map_batches(((*over, *[0] * len(along)),)),
            pull=pull.map_batches(((*over, *beside, *[0] * len(named["kinds"])),)),
            **named,
        )
        return results, [0] * len(results)

    call.def_impl(impl)
    call.def_abstract_eval(types)
    tangents.def_impl(tangents_impl)
    tangents.def_abstract_eval(tangents_types)
    ad.primitive_jvps[call], ad.primitive_jvps[tangents] = jvp, tangents_jvp
    ad.primitive_transposes[tangents] = transpose_tangents
    batching.primitive_batchers[call] = batch_call
    batching.primitive_batchers[tangents] = batch_tangents
    by_callback = mlir.lower_fun(call_host, multiple_results=True)
    by_jax = mlir.lower_fun(in_jax, multiple_results=True)

    def on_any(context: Any, *operands: Any, programs: Programs) -> Any:
        is_exported = context.module_context.lowering_parameters.for_export
        lower = by_jax if is_exported else by_callback
        return lower(context, *operands, programs=programs)

    def on_cpu(context: Any, *operands: Any, programs: Programs) -> Any:
        """Lower a compiled call to XLA on CPUs: by FFI, or by a callback into Python."""
        if context.module_context.lowering_parameters.for_export:
            return by_jax(context, *operands, programs=programs)
        name = target_name()
        if name is None:
            return by_callback(context, *operands, programs=programs)
        kinds, results = _kinds(context.avals_in), _kinds(context.avals_out)
        target = np.int64(call_of(programs, kinds, results).address)
        return jax.ffi.ffi_lowering(name)(context, *operands, target=target)

    mlir.register_lowering(call, on_any)
    mlir.register_lowering(call, on_cpu, platform="cpu")
    mlir.register_lowering(tangents, mlir.lower_fun(tangents_impl, multiple_results=True))
    return SimpleNamespace(call=call, tangents=tangents)


def _array(x: Any) -> Any:
    """Return an array of JAX, or of its traces; numbers of Python are operands in some of them."""
    return x if isinstance(x, jax.Array) else jax.numpy.asarray(x)


def _is_on_cpu(arrays: Sequence[Any]) -> bool:
    """Return whether XLA can call programs for these arrays, which are all on one CPU."""
    devices = {array.device for array in arrays}
    return len(devices) == 1 and getattr(devices.pop(), "platform", "") == "cpu"


def _move_batch_first(
    operands: Sequence[Any], axes: Sequence[Any]
) -> tuple[list[Any], tuple[Any, ...]]:
    """Move the batch axis of JAX operands to the front, and return their ``in_axes``."""
    batch_first = [
        x if axis is None else jax.numpy.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    return batch_first, tuple([None if axis is None else 0 for axis in axes])


def _varying_alike(operands: Sequence[Any]) -> Sequence[Any]:
    """Make JAX operands vary over all mesh axes that one of them varies over.

    Gradients of those that did not are then sums over these axes.
    """
    if not any(isinstance(operand, jax.core.Tracer) for operand in operands):
        return operands
    axes = [_varying(jax.typeof(operand)) for operand in operands]
    every = frozenset().union(*axes)
    return [
        x if varying == every else _make_varying(x, tuple(every - varying))
        for x, varying in zip(operands, axes, strict=True)
    ]


def _make_varying(x: Any, axes: tuple[Any, ...]) -> Any:
    """Return an array that varies over axes of a mesh, where it had the same values."""
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(x, axes, to="varying")
    return jax.lax.pvary(x, axes)  # before JAX 0.8


def _types(kinds: Any, operands: Sequence[Any]) -> list[Any]:
    """Return JAX's types of results, which vary over the mesh axes of the operands."""
    if not operands or not _varying(operands[0]):
        return [jax.core.ShapedArray(*kind) for kind in kinds]
    like = operands[0]
    return [
        like.update(
            shape=shape,
            dtype=dtype,
            weak_type=False,
            sharding=like.sharding.update(spec=jax.sharding.PartitionSpec(*[None] * len(shape))),
        )
        for shape, dtype in kinds
    ]


def _varying(kind: Any) -> frozenset[Any]:
    """Return the axes of a mesh that an array of this type varies over, under ``shard_map``."""
    axes: frozenset[Any] = getattr(getattr(kind, "mat", kind), "varying", frozenset())
    return axes or getattr(kind, "vma", frozenset())


def _host(programs: Programs, kinds: Any, *arrays: Any) -> list[Any]:
    """Run a program; its results have the dtypes that JAX has."""
    dtypes = [_dtype(value) for value in programs.types(kinds).values]
    leaves, _ = flatten(programs.run(*map(np.asarray, arrays)))
    return [np.asarray(leaf, dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)]


def _kinds(arrays: Sequence[Any]) -> Any:
    return tuple([(literal_shape(array), array.dtype.name) for array in arrays])


def _result_kinds(programs: Programs, arrays: Sequence[Any]) -> list[Any]:
    return [(value.shape, _dtype(value)) for value in programs.types(_kinds(arrays)).values]


def _dtype(value: Any) -> Any:
    return jax.dtypes.canonicalize_dtype(value.dtype.numpy)
