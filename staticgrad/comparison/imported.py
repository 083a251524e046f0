"""Modules of PyTorch and functions of JAX as programs to compare: traced, with themselves beside.

A module of PyTorch is exported with its loss; a function of JAX is traced. Both run as they are in
the rows of their libraries.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison.torch_models import usual_loss
from staticgrad.errors import ArgumentError, ExportError
from staticgrad.extend import NamedTuple
from staticgrad.extend.trees import first_part, flatten, map_leaves, unflatten

_HAS_NAME: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class ImportedProgram(NamedTuple):
    """A program of another library as a function of arrays.

    Attributes:
        function: of values or tensors; its name and its lines are the user's.
        arrays: its arguments, in the element types that its library gives them.
        in_torch: the same for PyTorch, of tensors in a row; None if it is of JAX.
        in_jax: the same for JAX, as ``jax=`` takes it; None if it is of PyTorch.
        free: the axes that may have any size, by the places of arrays.
        import_free: imports it once more with other such axes; None if none can be free.
    """

    function: Callable[..., Any]
    arrays: tuple[Any, ...]
    in_torch: Any = None
    in_jax: Any = None
    free: Mapping[int, int] = MappingProxyType({})
    import_free: Callable[[Mapping[int, int]], Callable[..., Any]] | None = None


def _as_users(function: Any, written: Any, name: str, names: Sequence[str]) -> Callable[..., Any]:
    """Give a function the user's name and lines, and names of its arguments."""
    described: Any = function
    described.__name__ = described.__qualname__ = name
    described.__wrapped__ = written
    described.__signature__ = inspect.Signature(
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names]
    )
    users: Callable[..., Any] = described
    return users


# -- PyTorch --------------------------------------------------------------------------------------


def is_torch_module(what: object) -> bool:
    """Return whether an object is a module of PyTorch, without importing it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(what, torch.nn.Module)


def import_module(net: Any, arguments: Sequence[Any], loss: Any) -> ImportedProgram:
    """Export a module of PyTorch with its loss, as a function of its arrays and targets.

    Args:
        net: the module, in training or evaluation mode.
        arguments: as many as its ``forward`` needs, then targets; or a dict of arguments by name,
            then targets. Without targets its result, or the first part of that, is the loss.
        loss: of tensors, as ``torch.nn.functional.cross_entropy``; None for the usual one.

    Raises:
        ArgumentError: the arguments do not fit ``forward``; the loss is one of ``sg``.
        ExportError: see ``sg.torch.module``. What the module itself raises passes through.
    """
    from staticgrad.torch.aten.module import net_with_loss

    name = type(net).__name__
    if (getattr(loss, "__module__", None) or "").partition(".")[0] == "staticgrad":
        raise ArgumentError(
            f"the loss of {name}, a torch.nn.Module, is a function of tensors",
            hint="loss=torch.nn.functional.cross_entropy",
        )
    names, count = _read_forward(net, arguments, loss)
    by_name = isinstance(arguments[0], Mapping)
    has_targets = count < len(arguments)
    loss_module = net_with_loss(net, loss or (usual_loss if has_targets else None))
    tensors = map_leaves(_as_tensor, tuple(arguments))
    leaves, structure = flatten(tensors)
    _run_once(
        copy.deepcopy(loss_module), tensors[0] if by_name else tensors[:count], tensors[count:]
    )

    def split(row: Sequence[Any]) -> tuple[Any, Any]:
        """Return inputs and targets, as ``loss_module`` takes them, of arrays in a row."""
        filled = unflatten(structure, row)
        return filled[0] if by_name else filled[:count], filled[count:]

    def export(axes: Mapping[int, int]) -> Any:
        """Export the module with its loss, where the arrays at places have a free axis."""
        free = [{axes[k]: "batch"} if k in axes else None for k in range(len(leaves))]
        return sg.torch.module(
            loss_module, *split(leaves), dynamic_shapes=split(free) if axes else None
        )

    def import_free(axes: Mapping[int, int]) -> Callable[..., Any]:
        """Return the function of the user's arguments for any size along these axes."""
        model = export(axes)

        def evaluate(*arguments: Any) -> Any:
            return first_part(model(*split(flatten(tuple(arguments))[0])))

        return _as_users(evaluate, net, name, names)

    arrays = map_leaves(lambda tensor: tensor.numpy(), tensors)
    first = leaves[0].shape[:1]
    axes = {k: 0 for k, leaf in enumerate(leaves) if first and leaf.shape[:1] == first}
    axes = axes if first and first[0] > 1 else {}
    try:
        function = import_free(axes)
    except ExportError:
        axes, function = {}, import_free({})
    in_torch = partial(_call_in_torch, loss_module, split)
    return ImportedProgram(function, arrays, in_torch, None, axes, import_free)


def _run_once(loss_module: Any, inputs: Any, targets: Any) -> None:
    """Run a copy of a module eagerly: an error of the user's is shown by the user's lines."""
    torch = sys.modules["torch"]
    with torch.random.fork_rng(devices=[]):
        loss_module(inputs, targets)


def _call_in_torch(loss_module: Any, split: Callable[..., Any], *tensors: Any) -> Any:
    return first_part(loss_module(*split(tensors)))


def _as_tensor(leaf: Any) -> Any:
    torch = sys.modules["torch"]
    return leaf.detach() if isinstance(leaf, torch.Tensor) else torch.tensor(np.asarray(leaf))


def _read_forward(net: Any, arguments: Sequence[Any], loss: Any) -> tuple[list[str], int]:
    """Return names of the arguments of a module and its loss, and how many are the module's.

    A dict is all arguments of a module, by name. Otherwise a loss has as many targets as it needs,
    the usual one a target where ``forward`` does not need all arguments.
    """
    named = _positional(net.forward)
    needed = max(sum(p.default is p.empty for p in named), 1)
    count = 1
    if not isinstance(arguments[0], Mapping):
        of_loss = _positional(getattr(loss, "forward", loss))
        targets = sum(p.default is p.empty for p in of_loss) - 1
        if loss is None:
            targets = int(len(arguments) > needed)
        count = len(arguments) - targets if targets >= 0 else min(needed, len(arguments))
        try:
            inspect.signature(net.forward).bind(*range(count))
        except TypeError as error:
            raise ArgumentError(
                f"{type(net).__name__} is given {len(arguments)} arrays: {error}",
                hint="compare(net, x, target), or compare(net, *inputs, target, loss=...)",
            ) from None
    names = [named[k].name if k < len(named) else f"x{k}" for k in range(count)]
    if isinstance(arguments[0], Mapping):
        names = ["inputs"]
    targets = len(arguments) - count
    return names + (["target"] if targets == 1 else [f"target{k}" for k in range(targets)]), count


def _positional(function: Any) -> list[inspect.Parameter]:
    """Return the parameters that a function takes by position; none where it does not say them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind in _HAS_NAME]


# -- JAX ------------------------------------------------------------------------------------------


def has_arrays_of_jax(arguments: Sequence[Any]) -> bool:
    """Return whether arguments hold arrays of JAX, without importing it."""
    jax = sys.modules.get("jax")
    return jax is not None and any(
        isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(arguments)
    )


def import_function(function: Any, arguments: Sequence[Any]) -> ImportedProgram:
    """Trace a function of JAX, as a function of its arrays.

    If its first argument is a container of floating arrays and others follow, as in
    ``loss(params, x, y)``, these are parameters.

    Raises:
        ExportError, ArgumentError: see ``sg.jax.trace``. JAX's own errors pass through.
    """
    jax = sys.modules["jax"]
    leaves, structure = jax.tree_util.tree_flatten(tuple(arguments))
    is_array = [_is_array(leaf) for leaf in leaves]
    arrays = [_as_jax_has_it(leaf) for leaf, has in zip(leaves, is_array, strict=True) if has]

    def run(*row: Any) -> Any:
        """Call the user's function of its arrays in a row; return the first part of the result."""
        remaining = iter(row)
        filled = [next(remaining) if has else x for x, has in zip(leaves, is_array, strict=True)]
        result = function(*jax.tree_util.tree_unflatten(structure, filled))
        return jax.tree_util.tree_leaves(result)[0]

    names = _name_arguments(function, len(arguments))
    counts = [sum(map(_is_array, jax.tree_util.tree_leaves(argument))) for argument in arguments]
    count = counts[0] if _holds_parameters(arguments) else 0
    name = getattr(function, "__name__", type(function).__name__)
    traced = sg.jax.trace(run, *arrays)
    labels = [
        label if array_count == 1 else f"{label}_{k}"
        for label, array_count in zip(names, counts, strict=True)
        for k in range(array_count)
    ]
    moving = [k for k in range(count) if arrays[k].dtype.kind == "f"]
    row: list[Any] = [*arrays]
    for k in moving:
        row[k] = sg.parameter(labels[k], arrays[k])

    def evaluate(*values: Any) -> Any:
        return traced(*row[:count], *values)

    def run_with_state(state: Any, *values: Any) -> Any:
        """Call the user's function, with its parameters in a state."""
        filled = [*arrays[:count]]
        for k, array in zip(moving, state, strict=True):
            filled[k] = array
        return run(*filled, *values)

    in_jax: Any = (run_with_state, [arrays[k] for k in moving]) if count else run
    described = _as_users(evaluate, function, name, labels[count:])
    return ImportedProgram(described, tuple(arrays[count:]), in_jax=in_jax)


def _is_array(leaf: Any) -> bool:
    """Return whether a leaf is an array of numbers; typed keys of random numbers are not."""
    return hasattr(leaf, "shape") and isinstance(getattr(leaf, "dtype", None), np.dtype)


def _as_jax_has_it(array: Any) -> Any:
    """Return an array in the element type that JAX gives it."""
    dtype = sys.modules["jax"].dtypes.canonicalize_dtype(array.dtype)
    return np.asarray(array).astype(dtype, copy=False)


def _holds_parameters(arguments: Sequence[Any]) -> bool:
    """Return whether the first of several arguments is a container of floating arrays."""
    leaves, structure = sys.modules["jax"].tree_util.tree_flatten(arguments[0])
    is_container = structure != sys.modules["jax"].tree_util.tree_structure(0)
    arrays = [leaf for leaf in leaves if _is_array(leaf)]
    return len(arguments) > 1 and is_container and any(a.dtype.kind == "f" for a in arrays)


def _name_arguments(function: Any, count: int) -> list[str]:
    """Return the names of a function's first arguments; x0, x1 where it does not say them."""
    named = _positional(function)
    return [named[k].name if k < len(named) else f"x{k}" for k in range(count)]
