"""Functions of arrays in JAX, under its transformations; JAX's functions, compiled here.

On a CPU XLA calls the program by its FFI (``jax_ffi``), in native code, over its own buffers: also
outside of ``jit`` from the fourth call with the same kinds of arrays. On other processors it is a
``pure_callback``: JAX waits while the program runs, and copies arguments and results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgrad.bridges.foreign_programs import Bridged, caller
from staticgrad.errors import ArgumentError
from staticgrad.extend import Graph, kind_of, namespace
from staticgrad.extend.optional import jax
from staticgrad.extend.programs import Compiled, Function
from staticgrad.jax.calls import call_programs
from staticgrad.jax.lax.lowering import is_array, lower_graph, lowered_function
from staticgrad.jax.lax.reading import program_of
from staticgrad.jax.lax.traced import JaxProgram, plain_tree

__all__ = ["function", "lower", "trace"]


def function(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays as one that JAX compiles, differentiates and maps.

    It runs compiled by staticgrad, at any order of ``jax.grad`` and ``jax.jvp``. ``jax.vmap``
    runs ``sg.vmap(f)`` once for the whole batch. Complex arrays have JAX's gradients, which are
    those of ``sg.grad``. ``jax.export`` exports what ``sg.jax.lower(f)`` is, which needs no
    staticgrad where it runs.

    Args:
        f: as ``sg.function`` takes it, which it may be already: a function of arrays in containers.

    Returns:
        The function. Arrays in containers are arguments, and Python numbers are as those of
        ``sg.function``; everything else is static. Results are arrays in the containers of f,
        float64 only where JAX has it enabled. It pickles if f does.

    Raises:
        ArgumentError: f is no function; or when it is called: f updates parameters or draws
            random numbers.

    >>> import jax  # doctest: +SKIP
    >>> norm = sg.jax.function(lambda x: sg.sqrt((x**2).sum()))  # doctest: +SKIP
    >>> jax.jit(jax.grad(norm))(jax.numpy.array([3.0, 4.0]))  # doctest: +SKIP
    Array([0.6, 0.8], dtype=float32)
    """
    return Bridged(function, f, caller("jax.function", f, is_array, call_programs))


def trace(f: Callable[..., Any], *example: Any) -> Function[..., Any]:
    """Trace a function of JAX and return it as a function of arrays that runs compiled.

    JAX traces it once (``jax.make_jaxpr``), with its element types: float32 and int32 unless
    ``jax_enable_x64`` is set. Each primitive is computed by its row in the table of primitives
    (``staticgrad.jax.lax.primitives``). The result is what ``sg.function`` gives: ``sg.grad``
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
    program.check_rows()
    arguments, results = map(_places, (example, shape))
    name = getattr(f, "__name__", type(f).__name__)
    return Function(JaxProgram(program, arguments, results, name), (), {}, {})


def _places(tree: Any) -> Any:
    """Return the containers of a tree with the number of each leaf in its place."""
    structure = jax.tree_util.tree_structure(tree)
    numbers = jax.tree_util.tree_unflatten(structure, range(structure.num_leaves))
    return plain_tree(numbers)


def lower(graph: Graph | Callable[..., Any] | Any) -> Callable[..., Any]:
    """Return a graph or a function of arrays as a pure function of JAX, compiled by XLA.

    ``jit``, ``grad``, ``vmap`` and ``shard_map`` take it, so that a program goes on to several
    machines or to other processors than CPUs. Each op is computed by ``jax.numpy`` or ``jax.lax``,
    by its row in a table (``staticgrad.jax.lax.lowering``). An op without a row, as the special
    functions that only SciPy has, is computed by NumPy in a ``pure_callback``, with our derivative
    at any order. Rules of ``sg.custom_vjp`` and ``sg.custom_jvp`` are followed. Where a matrix has
    no such factors, results are NaN. How far results are from those here is stated for each op
    (``staticgrad.jax.lax.accuracy``).

    Args:
        graph: also one with updates, as a training step; a compiled program; or a function of
            arrays, as ``sg.function`` takes it, which it may be already. Any sizes that fit its
            named sizes run.

    Returns:
        Of a graph a function ``run(feeds, parameters=None)`` of arrays by name. Parameters that are
        not given have their values. The result are the outputs by name; of a graph with updates the
        pair of these and all parameters after the step. Of a function a function ``run(*args,
        parameters=None, **kwargs)``: arrays in containers are arguments, everything else is static,
        and results are in the containers of the function. Classes that are registered with JAX are
        containers, too. Stored values do not change. Results are float64 only where JAX has it
        enabled.

    Raises:
        ArgumentError: neither a graph nor a function.
        ExportError: when it runs: an op exchanges arrays between processes, or random numbers are
            drawn where JAX has no 64 bits. The error names the op and its line.

    >>> import jax  # doctest: +SKIP
    >>> x = sg.input("x", ("n",), "float32")  # doctest: +SKIP
    >>> run = sg.jax.lower(sg.Graph({"y": sg.tanh(x).sum()}))  # doctest: +SKIP
    >>> jax.jit(run)({"x": jax.numpy.zeros(3)})  # doctest: +SKIP
    {'y': Array(0., dtype=float32)}
    >>> norm = sg.jax.lower(lambda x: sg.sqrt((x**2).sum()))  # doctest: +SKIP
    >>> jax.grad(norm)(jax.numpy.array([3.0, 4.0]))  # doctest: +SKIP
    Array([0.6, 0.8], dtype=float32)
    """
    if isinstance(graph, Graph):
        return lower_graph(graph)
    if isinstance(graph, Compiled):
        return lower_graph(graph.graph)
    if not callable(graph):
        hint = "sg.Graph({'y': y}, updates=...); or a function of arrays"
        raise ArgumentError(
            f"jax.lower takes a graph or a function, got {kind_of(graph)}", hint=hint
        )
    f = graph if isinstance(graph, Function) else Function(graph, (), {}, {})
    return Bridged(lower, graph, lowered_function(f))


namespace(globals())
