"""Models in files of ONNX: read as modules that can be trained, and written.

Both need the package ``onnx``: ``pip install "staticgrad[onnx]"``. The guide is
``staticgrad docs onnx``.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath
from typing import Any, Final

from staticgrad.errors import ArgumentError
from staticgrad.extend import Graph, Symbolic, kind_of, namespace
from staticgrad.extend.optional import onnx
from staticgrad.extend.programs import CallArguments, Compiled, bound_to, signature_of
from staticgrad.extend.trees import Tree, flatten
from staticgrad.functions import input
from staticgrad.nn import Module
from staticgrad.onnx.model import OnnxModel, model_from
from staticgrad.onnx.writer import model_of

__all__ = ["OnnxModel", "export", "load"]

_EXPORT_HINT: Final = 'sg.onnx.export(model, "model.onnx", sg.input("x", ("batch", 3)))'


def load(model: Any) -> OnnxModel:
    """Read a model of ONNX as a module, whose floating arrays are parameters.

    ``model(x)`` computes it, of tensors at once, of values of a graph as nodes; ``model.graph()``
    is the whole as a graph, to be compiled. Sizes that have a name in the file are named sizes.
    Labels that are texts become indices into ``model.texts``, with a warning.

    Args:
        model: the path of a file, its bytes, or a ``ModelProto``.

    Raises:
        MissingPackageError: ``onnx`` is not installed.
        ArgumentError: something else.
        OSError: the system refuses the file.
        SavedFileError: the file is damaged, empty or something else than a model of ONNX.
        ExportError: an input takes texts, or texts are compared or joined.
    """
    if isinstance(model, bytes):
        return model_from(lambda: onnx.load_model_from_string(model), "")
    if isinstance(model, str | PathLike):
        return model_from(lambda: onnx.load(model), fspath(model))
    if isinstance(model, onnx.ModelProto):
        return model_from(lambda: model, "")
    raise ArgumentError(
        f"load takes the path of a model, its bytes or a ModelProto, got {kind_of(model)}",
        hint='sg.onnx.load("model.onnx")',
    )


def export(program: Any, path: Any, *inputs: Any) -> None:
    """Write a program as a file of ONNX, with its parameters.

    Args:
        program: a graph or a compiled program; a module, as it computes after training; or a
            function of arrays, as ``sg.function`` takes it, which it may be already.
        path: where to write it.
        inputs: what a module or a function is called with. Values, ``sg.input("x", ("batch", 3))``,
            give the file their names and named sizes; arrays give it their shapes and dtypes under
            the names of the arguments. All else is static.

    Raises:
        ExportError: an operation has no operator in ONNX; it names the operation and its line.
            A graph has updates.
        MissingPackageError: ``onnx`` is not installed.
        ArgumentError: something else; inputs of a graph, or none of a module or a function.
        OSError: the file cannot be written.
    """
    if not isinstance(path, str | PathLike):
        raise ArgumentError(
            f"export takes the path of a file, got {kind_of(path)}",
            hint='sg.onnx.export(program, "model.onnx")',
        )
    onnx.save(model_of(_graph_of(program, inputs)), path)


def _graph_of(program: Any, inputs: tuple[Any, ...]) -> Graph:
    """Return the graph to write; modules and functions are traced."""
    if isinstance(program, OnnxModel) and not inputs:
        return program.graph()
    graph = program.graph if isinstance(program, Compiled) else program
    if isinstance(graph, Graph):
        if inputs:
            raise ArgumentError(
                "export: a graph has its inputs already",
                hint='sg.onnx.export(graph, "model.onnx")',
            )
        return graph
    if not callable(program):
        raise ArgumentError(
            "export takes a graph, a module, a function or a compiled program,"
            f" got {kind_of(program)}",
            hint=_EXPORT_HINT,
        )
    if not inputs:
        kind = "module" if isinstance(program, Module) else "function"
        raise ArgumentError(f"the inputs of a {kind} come behind the path", hint=_EXPORT_HINT)
    if not isinstance(program, Module):
        return _trace_graph(program, program, inputs)
    modes = [(part, part.training) for part in program.modules()]
    program.eval()
    try:
        return _trace_graph(program, program.forward, inputs)
    finally:
        for part, mode in modes:
            part.training = mode


def _trace_graph(f: Callable[..., Any], named: Any, inputs: tuple[Any, ...]) -> Graph:
    """Trace a call of ``f``; its arrays become inputs with the argument names of ``named``."""
    name = type(f).__name__ if isinstance(f, Module) else getattr(f, "__name__", "function")
    arguments = CallArguments(bound_to(signature_of(named), name, inputs, {}), ())
    if arguments.has_values:
        values: list[Any] = [leaf for leaf in flatten(inputs)[0] if isinstance(leaf, Symbolic)]
        result = f(*inputs)
    else:
        of_arrays = zip(arguments.arrays, arguments.shapes, arguments.dtypes, strict=True)
        values = [input(label, shape, dtype) for label, shape, dtype in of_arrays]
        result, _ = arguments.call(f, values)
    results, tree = flatten(result, keep_complex=True)
    outputs = dict(zip(_output_names(tree), results, strict=True))
    return Graph(outputs, name=name, inputs=values)


def _output_names(tree: Tree) -> list[str]:
    """Return the keys of a dict of results; else ``output``, or ``output_0`` and so on."""
    if tree.kind is dict and all(part.count == 1 for part in tree.parts):
        return [str(key) for key in tree.keys]
    return ["output"] if tree.count == 1 else [f"output_{k}" for k in range(tree.count)]


namespace(globals())
