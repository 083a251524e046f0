"""PyTorch's weights: the names and layouts of ``torch.nn`` beside those of the modules here.

Most layers have the same arrays under the same names in both. A class that differs says so itself:
``_torch_names`` renames parts of a path (a ``Sequential`` has ``layers.0.`` here and ``0.`` there),
and ``_torch_layouts`` lists arrays that are transposed, split or added up. Each entry goes both
ways, so that ``load_torch`` and ``torch_state`` read one table.

    Linear              weight [in, out] is transposed
    RNN, LSTM, GRU      weight_ih_l0, weight_hh_l0 are transposed; the two biases are added up, but
    and their cells     for the state's part of a GRU's new gate, which stays apart (``bias_new``)
    MultiHeadAttention  in_proj_weight is query, key and value, one above the other
    TransformerBlock    is a TransformerEncoderLayer: self_attn, linear1, linear2, norm1, norm2
    BatchNorm           num_batches_tracked is not used here
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from staticgrad.errors import ParameterValueError, StaticgradError
from staticgrad.extend import Array, NamedTuple, Node, Parameter, array_of, kind_of, quote
from staticgrad.extend.optional import torch
from staticgrad.extend.parameters import (
    Deferred,
    ParameterStore,
    have_same_elements,
    stored_array,
    stored_of,
    write_each,
)

Arrays = tuple[Array, ...]


class Incomplete(NamedTuple):
    """Names that only one side has, as ``torch.nn.Module.load_state_dict`` returns them."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Matching(NamedTuple):
    """Parameters of a module, and the arrays of PyTorch that hold the same numbers.

    ``read`` converts PyTorch's arrays to those of the parameters, ``write`` does the inverse.
    """

    parameters: tuple[Parameter, ...]
    names: tuple[str, ...]
    read: Callable[[Arrays], Arrays]
    write: Callable[[Arrays], Arrays]


def same(arrays: Arrays) -> Arrays:
    """Return the arrays as they are."""
    return arrays


def transpose_matrices(arrays: Arrays) -> Arrays:
    """Return each matrix transposed."""
    return tuple([array.T for array in arrays])


# -- in and out -----------------------------------------------------------------------------------


def torch_state(layouts: Iterable[Matching]) -> dict[str, Array]:
    """Return the state under PyTorch's names, as ``Module.torch_state``."""
    state: dict[str, Array] = {}
    for matching in layouts:
        arrays = matching.write(tuple([parameter.value for parameter in matching.parameters]))
        state |= {n: np.array(a, order="C") for n, a in zip(matching.names, arrays, strict=True)}
    return state


def _shapes_of(layouts: Iterable[Matching]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of ``torch_state``."""
    shapes: dict[str, tuple[int, ...]] = {}
    for matching in layouts:
        arrays = matching.write(
            tuple([_stand_in(p.dtype.numpy, p.shape) for p in matching.parameters])
        )
        shapes |= {n: array.shape for n, array in zip(matching.names, arrays, strict=True)}
    return shapes


def torch_mapping(layouts: Iterable[Matching], paths: Mapping[Node, str]) -> str:
    """Format the mapping of PyTorch's weight names to a module's parameters."""
    rows = []
    for matching in layouts:
        torch_arrays = matching.write(tuple([parameter.value for parameter in matching.parameters]))
        left = [f"{n} {a.shape}" for n, a in zip(matching.names, torch_arrays, strict=True)]
        right = [f"{paths[stored_of(p).node]} {p.shape}" for p in matching.parameters]
        how = ", transposed" if matching.read is transpose_matrices else ", converted"
        how = "" if matching.read is same else how
        rows.append((" + ".join(left), " + ".join(right) + how if right else "not used"))
    width = max([len(left) for left, _ in rows], default=0)
    return "\n".join([f"{left:{width}} -> {right}" for left, right in rows])


def load_torch(layouts: Sequence[Matching], source: Any, strict: bool, model: str) -> Incomplete:
    """Load PyTorch's weights into a module's parameters, all or none.

    All is compared before the first array is written, by arrays that stand for those of the state;
    then they are read and written one group at a time.
    """
    with _opened_state(source) as state:
        return _load_state(layouts, state, strict, model)


def _load_state(
    layouts: Sequence[Matching], state: Mapping[str, Any], strict: bool, model: str
) -> Incomplete:
    shapes = _shapes_of(layouts)
    arrays: dict[str, Deferred] = {}
    problems = []
    for name in shapes.keys() & state.keys():
        try:
            array = _defer(name, state[name])
        except StaticgradError as error:
            problems.append(error.headline)
            continue
        if array.shape == shapes[name]:
            arrays[name] = array
        else:
            problems.append(f"{name}: {array.shape} in PyTorch, {shapes[name]} here")
    loaded: dict[Any, _Load] = {}
    absent = []
    for matching in layouts:
        if not state.keys() >= {*matching.names}:
            absent.append(matching)
        elif arrays.keys() >= {*matching.names}:
            group = tuple([arrays[name] for name in matching.names])
            stand_ins = matching.read(tuple([_stand_in(a.dtype, a.shape) for a in group]))
            for place, parameter in enumerate(matching.parameters):
                new = _Load(matching, group, place)
                try:
                    stored_array(parameter, stand_ins[place])
                except ParameterValueError as error:
                    problems.append(f"{matching.names[0]}: {error.headline}")
                    continue
                old = loaded.setdefault(stored_of(parameter).node, new)
                if old is not new and not have_same_elements(old.read(), new.read()):
                    names = f"{old.matching.names[0]}, {matching.names[0]}"
                    problems.append(f"{names}: two arrays for one parameter")
    # The state may name an array once that several modules share.
    absent = [
        matching
        for matching in absent
        if any(stored_of(p).node not in loaded for p in matching.parameters)
    ]
    missing = [name for matching in absent for name in matching.names if name not in state]
    unexpected = [str(name) for name in state if name not in shapes]
    if strict:
        problems += [f"{name}: missing" for name in missing]
        problems += [f"{quote(name)}: unexpected" for name in unexpected]
    if problems:
        count = len(problems)
        raise ParameterValueError(
            f"{model} and the state of PyTorch differ in {count} place{'s'[: count > 1]}",
            details=sorted(problems),
            hint=_suggest_source(state, shapes) or "nothing was changed",
        )
    loads = [*loaded.values()]
    write_each([(load.store, load.read) for load in loads])
    return Incomplete(missing, unexpected)


class _Load(NamedTuple):
    """The new array of a parameter: one of those that a group of PyTorch's arrays gives."""

    matching: Matching
    group: tuple[Deferred, ...]
    place: int

    @property
    def store(self) -> ParameterStore:
        store: ParameterStore = stored_of(self.matching.parameters[self.place]).store
        return store

    def read(self) -> Array:
        """The array as the parameter stores it."""
        own_arrays = self.matching.read(tuple([array.read() for array in self.group]))
        stored: Array = stored_array(self.matching.parameters[self.place], own_arrays[self.place])[
            1
        ]
        return stored


def _stand_in(dtype: Any, shape: Any) -> Array:
    """An array of that type without memory, whose elements are one zero."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _suggest_source(state: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Suggest where the weights are if PyTorch's state is nested or has a common prefix."""
    for name, entry in state.items():
        if isinstance(entry, Mapping) and expected.keys() & entry.keys():
            return f"the state is one level deeper: load_torch(checkpoint[{name!r}])"
    for start in dict.fromkeys(f"{str(name).partition('.')[0]}." for name in state):
        if any(start + name in state for name in expected if name not in state):
            return (
                f"remove {start!r} from the names:"
                f" {{name.removeprefix({start!r}): x for name, x in state.items()}}"
            )
    return ""


@contextmanager
def _opened_state(source: Any) -> Iterator[Mapping[str, Any]]:
    """Yield PyTorch's weights by name: of a dict, a module or a file, whose arrays are deferred."""
    if not isinstance(source, str | Path):
        yield _check_state(source.state_dict() if hasattr(source, "state_dict") else source)
    elif Path(source).suffix in (".safetensors", ".npz"):
        from staticgrad.saving import deferred_tree  # few models are read from files

        with deferred_tree(source) as state:
            yield _check_state(state)
    else:  # tensors of a mapped file are read when they are copied; older files are no archives
        yield _check_state(
            torch.load(source, map_location="cpu", weights_only=True, mmap=is_zipfile(source))
        )


def _check_state(state: Any) -> Mapping[str, Any]:
    if not isinstance(state, Mapping):
        raise ParameterValueError(
            f"load_torch takes tensors or arrays by name, not {kind_of(state)}",
            hint="model.load_torch(torch_model.state_dict()), or the name of a file",
        )
    return state


def _defer(name: str, data: Any) -> Deferred:
    if isinstance(data, Deferred):
        return data
    if is_torch(data):
        data = data.detach()
        if str(data.dtype) == "torch.bfloat16":
            return Deferred(
                np.dtype(np.float32), tuple(data.shape), lambda: data.float().cpu().numpy()
            )
        data = data.cpu().numpy()
    if isinstance(data, Mapping):
        raise ParameterValueError(f"{name}: {kind_of(data)}, not an array")
    return Deferred.of(array_of(data, name, ParameterValueError))


def is_torch(data: Any) -> bool:
    """Return whether ``data`` is a tensor of PyTorch (only if PyTorch is loaded)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)


def is_torch_state(layouts: Iterable[Matching], state: Mapping[str, Any]) -> bool:
    """Return whether a state of this module has the names or the tensors of PyTorch."""
    names = {name for matching in layouts for name in matching.names}
    return any(map(is_torch, state.values())) or state.keys() == names


def is_converted(layouts: Iterable[Matching]) -> bool:
    """Return whether an array of the module has another layout in PyTorch."""
    return any(matching.read is not same for matching in layouts)
