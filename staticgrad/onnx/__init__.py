"""Models in files of ONNX: read as modules that can be trained, and written.

Both need the package ``onnx``: ``pip install "staticgrad[onnx]"``. The guide is
``staticgrad docs onnx``.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.extend import Graph, kind_of, namespace
from staticgrad.extend.optional import onnx
from staticgrad.extend.trees import flatten
from staticgrad.nn import Module
from staticgrad.onnx.model import OnnxModel, model_from
from staticgrad.onnx.writer import model_of

__all__ = ["OnnxModel", "export", "load"]


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
        program: a graph or a compiled program; or a module, as it computes after training.
        path: where to write it.
        inputs: of a module: the values it takes, ``sg.input("x", ("batch", 3))``. Their names and
            named sizes are those of the file.

    Raises:
        ExportError: an operation has no operator in ONNX; it names the operation and its line.
            A graph has updates.
        MissingPackageError: ``onnx`` is not installed.
        ArgumentError: something else.
        OSError: the file cannot be written.
    """
    if not isinstance(path, str | PathLike):
        raise ArgumentError(
            f"export takes the path of a file, got {kind_of(path)}",
            hint='sg.onnx.export(program, "model.onnx")',
        )
    if isinstance(program, OnnxModel) and not inputs:
        program = program.graph()
    graph = _trace_graph(program, inputs) if isinstance(program, Module) else program
    graph = getattr(graph, "graph", graph)
    if not isinstance(graph, Graph):
        raise ArgumentError(
            f"export takes a graph, a module or a compiled program, got {kind_of(program)}",
            hint='sg.onnx.export(model, "model.onnx", sg.input("x", ("batch", 3)))',
        )
    onnx.save(model_of(graph), path)


def _trace_graph(module: Module, inputs: tuple[Any, ...]) -> Graph:
    """Trace a module in evaluation mode as the graph to export to ONNX."""
    if not inputs:
        raise ArgumentError(
            "the inputs of a module come behind the path",
            hint='sg.onnx.export(model, "model.onnx", sg.input("x", ("batch", 3)))',
        )
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        results = flatten(module(*inputs))[0]
    finally:
        for part, mode in modes:
            part.training = mode
    names = ["output"] if len(results) == 1 else [f"output_{k}" for k in range(len(results))]
    outputs = dict(zip(names, results, strict=True))
    return Graph(outputs, name=type(module).__name__, inputs=inputs)


namespace(globals())
