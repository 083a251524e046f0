"""Models of PyMC for nutpie: its sampler in Rust calls C functions of programs compiled here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np

from staticgrad.extend import Graph, gradients
from staticgrad.extend.functions import input as graph_input
from staticgrad.extend.ops import concatenate
from staticgrad.extend.optional import nutpie
from staticgrad.extend.programs import compile, pair_functions
from staticgrad.pytensor.function import PyTensorDensity, PyTensorFunction

#: The axis of a point that has the free variables one after another, as nutpie names it.
POINT_AXIS: Final = "unconstrained_parameter"


def sampled_model(
    model: Any, density: PyTensorDensity, expand: PyTensorFunction, names: list[str], options: Any
) -> Any:
    """Return a model of PyMC as nutpie samples it.

    Args:
        model: of PyMC.
        density: its log density.
        expand: computes the variables that a trace has besides the free ones, of the free ones.
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
    shapes |= {name: result.shape for name, result in zip(names, results, strict=True)}
    flat = [result.astype("float64").reshape((-1,)) for result in results]
    expansion = compile(Graph({"draw": concatenate([point, *flat])}, name="expand"), **options)
    pair = pair_functions(program.c_function("density"), expansion.c_function("map"))
    dims, coordinates = _label_axes(model, shapes, density.names)
    sizes = [prod(shape) for shape in shapes.values()]
    ends = np.cumsum(sizes).tolist()
    slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    vector = np.concatenate([np.ravel(start[name]) for name in density.names])
    model_class = nutpie("compile_pymc").CompiledPyMCModel
    values = {
        "dims": dims,
        "coords": coordinates,
        "shapes": shapes,
        "n_dim": count,
        "n_expanded": sum(sizes),
        "shape_info": ([*shapes], slices, [*shapes.values()]),
        "reparameterized_names": _transformed_names(model),
        "compiled_logp_func": pair.density,
        "compiled_expand_func": pair.map,
        "user_data": pair.user_data,
        "initial_point_func": partial(_jitter, vector),
        "shared_data": {},
        "shared_var_keys": {},
        "logp_func": program,
        "expand_func": expansion,
    }
    names_of_fields = [field.name for field in dataclasses.fields(model_class)]
    return model_class(**{
        name: values[name.lstrip("_")] for name in names_of_fields if name.lstrip("_") in values
    })  # fmt: skip


def _transformed_names(model: Any) -> list[str]:
    """Return the names of free variables on another scale than that of their distribution."""
    return [
        model.rvs_to_values[variable].name
        for variable in model.free_RVs
        if model.rvs_to_transforms.get(variable) is not None
    ]


def _label_axes(
    model: Any, shapes: Mapping[str, tuple[int, ...]], free: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the names of the axes of variables, and the labels of axes by their names."""
    index = import_module("pandas").Index  # nutpie reads no array of NumPy as labels
    lengths = {name: int(length.eval()) for name, length in model.dim_lengths.items()}
    coordinates = {
        name: index(range(lengths[name]) if labels is None else labels)
        for name, labels in model.coords.items()
    }
    coordinates[POINT_AXIS] = index([
        "_".join(filter(None, (name, ".".join(map(str, position)))))
        for name in free
        for position in product(*map(range, shapes[name]))
    ])  # fmt: skip
    dims = dict(model.named_vars_to_dims)
    for value, variable in model.values_to_rvs.items():
        if variable.name in dims and shapes.get(variable.name) == shapes.get(value.name):
            dims.setdefault(value.name, dims[variable.name])
    return dims, coordinates


def _jitter(start: Any, seed: Any) -> Any:
    """Return a start for a chain: the initial point and uniform numbers from -1 to 1."""
    return start + np.random.default_rng(seed).uniform(-1.0, 1.0, start.size)
