"""Models of PyMC for nutpie: its sampler in Rust calls a log density that is compiled here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from staticgrad.extend import Graph, gradients
from staticgrad.extend.functions import input as graph_input
from staticgrad.extend.optional import nutpie
from staticgrad.extend.programs import Compiled, compile
from staticgrad.interop.pytensor.function import PyTensorDensity, PyTensorFunction


def sampled_model(
    model: Any, density: PyTensorDensity, expand: PyTensorFunction, names: list[str], options: Any
) -> Any:
    """Return a model of PyMC as nutpie samples it.

    Args:
        model: of PyMC.
        density: its log density.
        expand: computes the variables that a trace has, of the free ones.
        names: of these variables.
        options: as ``sg.compile`` takes them.
    """
    start = {name: np.asarray(part, "float64") for name, part in model.initial_point().items()}
    shapes = {name: start[name].shape for name in density.names}
    count = sum(map(prod, shapes.values()))
    point = graph_input("point", (count,), "float64")
    parts, begin = {}, 0
    for name, shape in shapes.items():
        parts[name] = point[begin : begin + prod(shape)].reshape(shape)
        begin += prod(shape)
    value = density(parts)
    slopes = gradients.grad(value, point)
    program = compile(Graph({"logp": value, "gradient": slopes}, name="logp"), **options)
    results = expand(*parts.values())
    outputs = {f"y{k}": result.astype("float64") for k, result in enumerate(results)}
    expansion = compile(Graph(outputs, inputs=[point], name="expand"), **options)
    example = expansion.run({"point": np.concatenate([np.ravel(start[name]) for name in shapes])})
    index = import_module("pandas").Index  # nutpie reads no array of NumPy as labels
    lengths = {name: int(length.eval()) for name, length in model.dim_lengths.items()}
    coordinates = {
        name: index(range(lengths[name]) if labels is None else labels)
        for name, labels in model.coords.items()
    }
    return nutpie("compiled_pyfunc").from_pyfunc(
        ndim=count,
        make_logp_fn=lambda: _density_of(program),
        make_expand_fn=lambda *_: _expansion_of(expansion, names),
        make_initial_point_fn=lambda seed: _jitter(start, shapes, seed),
        expanded_dtypes=[np.dtype("float64")] * len(names),
        expanded_shapes=[array.shape for array in example.values()],
        expanded_names=names,
        coords=coordinates,
        dims={name: dims for name, dims in model.named_vars_to_dims.items() if name in names},
    )


def _density_of(program: Compiled[dict[str, Any]]) -> Callable[..., Any]:
    def logp(point: Any) -> Any:
        results = program.run({"point": point})
        return float(results["logp"]), results["gradient"]

    return logp


def _expansion_of(program: Compiled[dict[str, Any]], names: list[str]) -> Callable[..., Any]:
    def expand(point: Any) -> Any:
        return dict(zip(names, program.run({"point": point}).values(), strict=True))

    return expand


def _jitter(start: Mapping[str, Any], shapes: Mapping[str, Any], seed: Any) -> Any:
    """Return a start for a chain: the initial point and uniform numbers from -1 to 1."""
    point = np.concatenate([np.ravel(start[name]) for name in shapes])
    return point + np.random.default_rng(seed).uniform(-1.0, 1.0, point.size)
