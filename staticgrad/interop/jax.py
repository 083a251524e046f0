"""Functions of arrays in JAX, under ``jit``, ``grad`` and ``vmap``; JAX's functions, compiled here.

A call of ``function`` is a ``pure_callback``: JAX waits while the program runs. Arrays are read in
place; JAX copies the results into its own memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgrad.interop.lax.lowering import lowered
from staticgrad.interop.lax.primitives import REFUSED
from staticgrad.interop.lax.program import NO_ROW, LaxProgram
from staticgrad.interop.lax.reading import program_of
from staticgrad.interop.lax.traced import JaxProgram, plain_tree
from staticgrad.interop.programs import Bridged, Programs, caller
from staticgrad.language.functions.trees import flatten, unflatten
from staticgrad.language.ir.calls import namespace
from staticgrad.language.ir.graph import Graph
from staticgrad.programs.function import Function
from staticgrad.support.errors import ArgumentError, ExportError
from staticgrad.support.errors.wording import kind_of
from staticgrad.support.optional import jax

__all__ = ["function", "lower", "trace"]


def function(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays as one that JAX compiles, differentiates and maps.

    It runs compiled by staticgrad, forward and backward, at any order of ``jax.grad``. ``jax.vmap``
    runs ``sg.vmap(f)`` once for the whole batch. Complex arrays have JAX's gradients, which are
    those of ``sg.grad``. Forward mode (``jax.jvp``) is an error of JAX.

    Args:
        f: as ``sg.function`` takes it, which it may be already: a function of arrays in containers.

    Returns:
        The function. Arrays in containers are arguments, everything else is static; results are
        arrays in the containers of f, float64 only where JAX has it enabled. It pickles if f does.

    Raises:
        ArgumentError: f is no function; or when it is called: f updates parameters or draws
            random numbers.

    >>> import jax  # doctest: +SKIP
    >>> norm = sg.jax.function(lambda x: sg.sqrt((x**2).sum()))  # doctest: +SKIP
    >>> jax.jit(jax.grad(norm))(jax.numpy.array([3.0, 4.0]))  # doctest: +SKIP
    Array([0.6, 0.8], dtype=float32)
    """
    return Bridged(function, f, caller("jax.function", f, _is_array, _called))


def trace(f: Callable[..., Any], *example: Any) -> Function[..., Any]:
    """Trace a function of JAX and return it as a function of arrays that runs compiled.

    JAX traces it once (``jax.make_jaxpr``), with its element types: float32 and int32 unless
    ``jax_enable_x64`` is set. Each primitive is computed by its row in the table of primitives
    (``staticgrad.interop.lax.primitives``). The result is what ``sg.function`` gives: ``sg.grad``
    differentiates it, ``f.compile(*example)`` is a program that can be exported, and it pickles
    without JAX. Rules of ``jax.custom_jvp`` and ``jax.custom_vjp`` are followed. Random numbers of
    ``jax.random`` have JAX's bits.

    Args:
        f: a pure function of arrays in containers, as ``jax.jit`` takes it; ``jax.grad(f)`` and
            ``jax.vmap(f)`` are such functions, too.
        example: arrays, numbers or ``jax.ShapeDtypeStruct``, in dicts, lists and tuples. Their
            shapes are those that the result takes.

    Returns:
        The function. It takes arrays of NumPy or JAX and gives arrays of NumPy; typed keys are
        arrays of their words, as ``jax.random.key_data`` gives them.

    Raises:
        ArgumentError: ``f`` is no function, or containers are of other classes.
        ExportError: a primitive has no row; the error names it and the user's line.

    >>> import jax  # doctest: +SKIP
    >>> norm = sg.jax.trace(jax.numpy.linalg.norm, np.ones(2, "float32"))  # doctest: +SKIP
    >>> sg.grad(norm)(np.array([3.0, 4.0], "float32"))  # doctest: +SKIP
    array([0.6, 0.8], dtype=float32)
    """
    if not callable(f):
        raise ArgumentError(f"jax.trace: f is {kind_of(f)}, not a function")
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*example)
    program = program_of(closed)
    _check_rows(program)
    leaves = jax.tree_util.tree_leaves(example)
    structure = jax.tree_util.tree_structure(example)
    arguments = plain_tree(jax.tree_util.tree_unflatten(structure, range(len(leaves))))
    results = jax.tree_util.tree_structure(shape)
    count = results.num_leaves
    containers = plain_tree(jax.tree_util.tree_unflatten(results, range(count)))
    name = getattr(f, "__name__", type(f).__name__)
    return Function(JaxProgram(program, arguments, containers, name), (), {}, {})


def lower(graph: Graph | Any) -> Callable[..., Any]:
    """Return a graph as a pure function of JAX, which ``jax.jit`` compiles by XLA.

    ``jit``, ``grad``, ``vmap`` and ``shard_map`` take it, so that a program goes on to several
    machines or to other processors than CPUs. Each op is computed by ``jax.numpy`` or ``jax.lax``,
    by its row in a table (``staticgrad.interop.lax.lowering``). An op without a row, as the special
    functions that only SciPy has, is computed by NumPy in a ``pure_callback``, with our derivative
    at any order. Rules of ``sg.custom_vjp`` and ``sg.custom_jvp`` are followed. Where a matrix has
    no such factors, results are NaN.

    Args:
        graph: also one with updates, as a training step.

    Returns:
        A function ``run(feeds, parameters=None)`` of arrays by name. Parameters that are not given
        have their values. The result are the outputs by name; of a graph with updates the pair of
        these and all parameters after the step. Stored values do not change. Results are float64
        only where JAX has it enabled.

    Raises:
        ArgumentError: not a graph.
        ExportError: when it runs: an op exchanges arrays between processes, or random numbers are
            drawn where JAX has no 64 bits. The error names the op and its line.

    >>> import jax  # doctest: +SKIP
    >>> x = sg.input("x", ("n",), "float32")  # doctest: +SKIP
    >>> run = sg.jax.lower(sg.Graph({"y": sg.tanh(x).sum()}))  # doctest: +SKIP
    >>> jax.jit(run)({"x": jax.numpy.zeros(3)})  # doctest: +SKIP
    {'y': Array(0., dtype=float32)}
    """
    if not isinstance(graph, Graph):
        hint = "sg.Graph({'y': y}, updates=...); f.graph(x) of a function"
        raise ArgumentError(f"jax.lower takes a graph, got {kind_of(graph)}", hint=hint)
    return lowered(graph)


def _check_rows(program: LaxProgram) -> None:
    missing = {call.primitive: call for call in program.missing()}
    if missing:
        reasons = {REFUSED[name]: None for name in missing if name in REFUSED}
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise ExportError(
            f"{', '.join(missing)}: no row in the table of primitives{why}",
            hint=NO_ROW,
            at=next(iter(missing.values())).line,
        )


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _called(programs: Programs, arrays: list[Any]) -> Any:
    _, tree = programs.types(_kinds(arrays))
    return unflatten(tree, _differentiable(programs)(*arrays))


def _kinds(arrays: Any) -> Any:
    return tuple([(each.shape, each.dtype.name) for each in arrays])


def _differentiable(programs: Programs) -> Any:
    """Return the function of arrays in a row, with its rule of differentiation."""
    if programs.bridge is not None:
        return programs.bridge

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def call(*arrays: Any) -> Any:
        return _run(programs, arrays)

    def forward(*primals: Any) -> Any:
        arrays = [jax.numpy.asarray(each.value) for each in primals]
        smooth = [jax.numpy.issubdtype(each.dtype, np.inexact) for each in arrays]
        wrt = tuple([k for k, each in enumerate(primals) if each.perturbed and smooth[k]])
        found = _differentiable(programs.forward(wrt))(*arrays)
        count = programs.types(_kinds(arrays))[1].count
        by = [() if k in wrt else None for k in range(len(arrays))]  # static, as a structure
        return found[:count], (arrays, found[count:], by)

    def backward(residual: Any, cotangents: Any) -> Any:
        arrays, saved, by = residual
        wrt = tuple([k for k, each in enumerate(by) if each is not None])
        cts = [_instantiated(each) for each in cotangents if each.dtype != jax.dtypes.float0]
        given = [*arrays, *saved, *cts]
        slopes = iter(_differentiable(programs.backward(wrt, len(given)))(*given))
        return tuple([None if each is None else next(slopes) for each in by])

    call.defvjp(forward, backward, symbolic_zeros=True)
    programs.bridge = call
    return call


def _instantiated(cotangent: Any) -> Any:
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return jax.numpy.zeros(cotangent.shape, cotangent.dtype)
    return cotangent


def _run(programs: Programs, arrays: Any) -> Any:
    """Run a program inside of JAX."""
    dtypes = [jax.dtypes.canonicalize_dtype(_dtype(v)) for v in programs.types(_kinds(arrays))[0]]
    shapes = [np.shape(value) for value in programs.types(_kinds(arrays))[0]]
    ranks = [each.ndim for each in arrays]

    def host(*given: Any) -> Any:
        own = [np.asarray(each) for each in given]
        batches = own[0].ndim - ranks[0] if own else 0
        program = programs
        if batches:
            sizes = [[each.shape[level] for each in own] for level in range(batches)]
            axes = tuple([_mapped(level) for level in sizes])
            program = programs.mapped(axes)
            shared = [
                tuple(n for n, axis in enumerate(axes) if axis[k] is None) for k in range(len(own))
            ]
            own = [each.squeeze(places) for each, places in zip(own, shared, strict=True)]
        results = flatten(program.run(*own))[0]
        return [np.asarray(each, dtype) for each, dtype in zip(results, dtypes, strict=True)]

    types = [jax.ShapeDtypeStruct(s, d) for s, d in zip(shapes, dtypes, strict=True)]
    return jax.pure_callback(host, types, *arrays, vmap_method="expand_dims")


def _mapped(sizes: list[int]) -> tuple[int | None, ...]:
    """Return ``in_axes`` of one batch axis: arguments that all elements share have size 1."""
    return tuple([0 if size == max(sizes) else None for size in sizes])


def _dtype(value: Any) -> Any:
    dtype = getattr(value, "dtype", None)
    return np.asarray(value).dtype if dtype is None else getattr(dtype, "numpy", dtype)


namespace(globals())
