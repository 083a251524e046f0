"""Compiled programs in functions that Numba compiles, without Python in a call.

Numba's code calls a program's C function (``Compiled.address``). Types are checked when Numba
compiles a caller; errors of a run are exceptions there.
"""

from __future__ import annotations

import hashlib
import itertools
import keyword
import re
from collections import namedtuple
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from staticgrad.errors import ArgumentError
from staticgrad.extend import Graph, Size, kind_of, namespace
from staticgrad.extend.programs import Compiled, Function, compile as compile_graph

if TYPE_CHECKING:
    from staticgrad.compiler.by_numba.programs import CallOperand, NumbaProgram

__all__ = ["function"]

#: Programs of functions that were made, by their keys: machine code has their addresses, and
#: nothing says when the last of it is gone.
_programs: Final[dict[str, tuple[Compiled[Any], NumbaProgram]]] = {}
_numbers: Final = itertools.count()
#: The user's lines in the text of a graph.
_LINES: Final = re.compile(r"   # .*$", re.MULTILINE)


def function(
    f: Compiled[Any] | Graph | Callable[..., Any], *example: Any, **named: Any
) -> Callable[..., Any]:
    """Return a compiled program as a function that ``numba.njit`` code calls.

    A call runs the compiled program in place, over the arrays of Numba: without Python, without its
    lock, and without memory but for the results. Threads of ``prange`` may call it at once. It is a
    jitted function, which Python may call, too, and which may be an argument of jitted functions.

        loss, gradient = f(x, y)                      # new arrays, numbers for no axes
        loss, _ = f(x, y, out=(None, gradient))       # into an array that is there

    Args:
        f: a compiled program or a graph; or a function of arrays, as ``sg.function`` takes it,
            ``sg.grad(f)`` and ``sg.value_and_grad(f)`` too, with an example of its arguments.
        example, named: arguments of a function of arrays, for their shapes and element types.
            ``sg.function(f, sizes=...)`` names sizes that stay free.

    Returns:
        The function. Its arguments are the inputs of the program, in order and by name: arrays that
        are contiguous in C order and of the input's element type; an input without axes takes a
        number. ``out`` is an array or a tuple of arrays and None. One result is returned itself,
        several as a named tuple, or a tuple where they have no names. The program lives until the
        process ends.

    Raises:
        ArgumentError: Numba has no arrays of an element type; or there is nothing to compile.
        numba.TypingError: when a caller is compiled: an array of another element type, number of
            axes or order.
        FeedError, IndexOutOfRange and others: in a call, as ``Compiled.run`` raises them. Code of
            Numba catches them by ``except Exception``.

    Examples:
        >>> import numba
        >>> import numpy as np
        >>> import staticgrad as sg
        >>> x = sg.input("x", ("n",), "float64")
        >>> loss = ((x - 3.0) ** 2).sum()
        >>> gradient = sg.numba.function(sg.Graph({"gradient": sg.grad(loss, x)}))
        >>> @numba.njit
        ... def descend(x, steps):
        ...     for _ in range(steps):
        ...         x = x - 0.1 * gradient(x)
        ...     return x
        >>> descend(np.zeros(2), 100).round(3)
        array([3., 3.])
    """
    from staticgrad.compiler.by_numba.programs import define

    compiled = _compile(f, example, named)
    graph = compiled.program_graph
    key = _key(graph, compiled)
    if key not in _programs:
        _programs[key] = compiled, _describe(key, compiled)
    program = _programs[key][1]
    names = [result.name for result in program.results]
    has_names = len(names) > 1 and all(map(_is_plain, names))
    return define(program, namedtuple("Results", names) if has_names else None)  # type: ignore[no-any-return]


def _compile(f: Any, example: tuple[Any, ...], named: dict[str, Any]) -> Compiled[Any]:
    """Return the program of what ``function`` takes."""
    if isinstance(f, Compiled | Graph):
        if example or named:
            raise ArgumentError(
                f"numba.function takes no example of the arguments of a {kind_of(f)}",
                hint="its inputs have shapes and element types already",
            )
        return f if isinstance(f, Compiled) else compile_graph(f)
    if not callable(f):
        raise ArgumentError(
            f"numba.function takes a compiled program, a graph or a function, got {kind_of(f)}",
            hint="sg.numba.function(sg.compile(loss))",
        )
    if not example and not named:
        raise ArgumentError(
            "numba.function takes a function of arrays with an example of its arguments",
            hint="sg.numba.function(f, np.zeros(3)); name the sizes that stay free by"
            ' sg.function(f, sizes={"x": ("n",)})',
        )
    traced = f if isinstance(f, Function) else Function(f, (), {}, {})
    return traced.compile(*example, **named)


def _key(graph: Graph, compiled: Compiled[Any]) -> str:
    """Return the key of a program, the same in each process where it determines the results."""
    if graph.parameters or any(node.op.definition() is not None for node in graph.nodes):
        return f"{graph.name} {next(_numbers)}"
    text = "\0".join([_LINES.sub("", str(graph)), repr(compiled.options)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _describe(key: str, compiled: Compiled[Any]) -> NumbaProgram:
    """Return a program as the plain data by which Numba's code calls it."""
    from staticgrad.compiler.by_numba.programs import CallOperand, NumbaProgram

    where: dict[str, tuple[int, int]] = {}
    for number, kind in enumerate(compiled.inputs.values()):
        for axis, size in enumerate(kind.shape):
            where.setdefault(str(size), (number, axis))

    def operand(name: str, kind: Any) -> CallOperand:
        if kind.dtype.name in ("float16", "bfloat16"):
            raise ArgumentError(
                f"numba.function: {name} is {kind}, and Numba has no {kind.dtype.name} on CPUs",
                hint='write x.astype("float32") in the program',
            )
        shape = tuple([_extent(size, where) for size in kind.shape])
        return CallOperand(name, kind.dtype.numpy, str(kind), shape)

    inputs = [operand(name, kind) for name, kind in compiled.inputs.items()]
    results = [operand(name, kind) for name, kind in compiled.outputs.items()]
    used = {"out"}
    arguments = tuple(
        [operand._replace(name=_identifier(operand.name, used)) for operand in inputs]
    )
    name = _identifier(compiled.program_graph.name, {argument.name for argument in arguments})
    is_keyed = " " not in key
    return NumbaProgram(key, name, arguments, tuple(results), compiled.user_data, is_keyed)


def _extent(size: Size, where: dict[str, tuple[int, int]]) -> int | tuple[int, int] | None:
    return size if isinstance(size, int) else where.get(str(size))


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def _identifier(name: str, used: set[str]) -> str:
    """Return a name of an argument that is like another name and was not used."""
    plain = re.sub(r"\W+", "_", name).strip("_") or "x"
    if keyword.iskeyword(plain) or plain[0].isdigit():
        plain = f"x_{plain}"
    identifier = plain
    number = 1
    while identifier in used:
        identifier, number = f"{plain}_{number}", number + 1
    used.add(identifier)
    return identifier


namespace(globals())
