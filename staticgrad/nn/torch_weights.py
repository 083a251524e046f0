"""PyTorch's weights: the names and layouts of ``torch.nn`` beside those of the modules here.

Most layers have the same arrays under the same names in both. The tables below hold the others:
``NAMES`` renames parts of a path (a ``Sequential`` has ``layers.0.`` here and ``0.`` there), and
``ARRAYS`` lists arrays that are transposed, split or added up. Each entry goes both ways, so that
``load_torch`` and ``torch_state`` read one table.

    Linear              weight [in, out] is transposed
    RNN, LSTM, GRU      weight_ih_l0, weight_hh_l0 are transposed; the two biases are added up, but
    and their cells     for the state's part of a GRU's new gate, which stays apart (``bias_new``)
    MultiHeadAttention  in_proj_weight is query, key and value, one above the other
    TransformerBlock    is a TransformerEncoderLayer: self_attn, linear1, linear2, norm1, norm2
    BatchNorm           num_batches_tracked is not used here
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from staticgrad.language.ir.nodes import Parameter
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.pairs import stored_array, stored_of
from staticgrad.language.storage.parameter import write_all
from staticgrad.language.types.arrays import array_of
from staticgrad.nn.layers import Linear, Sequential
from staticgrad.nn.module import Module, contents, stored
from staticgrad.nn.normalization import BatchNorm1d
from staticgrad.nn.recurrent import RNN, RNNCell
from staticgrad.nn.transformers import MultiHeadAttention, TransformerBlock
from staticgrad.saving import load
from staticgrad.support.errors import ParameterValueError, StaticgradError
from staticgrad.support.errors.wording import kind_of, shown
from staticgrad.support.optional import torch
from staticgrad.support.records import NamedTuple

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


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _transposed(arrays: Arrays) -> Arrays:
    return tuple([array.T for array in arrays])


# -- the tables -----------------------------------------------------------------------------------


def _linear(layer: Linear) -> Iterator[Matching]:
    yield Matching((layer.weight,), ("weight",), _transposed, _transposed)


def _gates(cell: Any, suffix: str = "") -> Iterator[Matching]:
    weights = (f"weight_ih{suffix}", f"weight_hh{suffix}")
    yield Matching((cell.weight, cell.recurrent), weights, _transposed, _transposed)
    biases = (f"bias_ih{suffix}", f"bias_hh{suffix}")
    if cell.bias_new is not None:
        yield Matching((cell.bias, cell.bias_new), biases, _read_gru_biases, _write_gru_biases)
    elif cell.bias is not None:
        zero = lambda own: (own[0], np.zeros_like(own[0]))  # noqa: E731
        yield Matching((cell.bias,), biases, lambda both: (both[0] + both[1],), zero)


def _read_gru_biases(both: Arrays) -> Arrays:
    inputs, states = both
    new = 2 * len(inputs) // 3  # where the new gate begins
    return np.concatenate([inputs[:new] + states[:new], inputs[new:]]), states[new:]


def _write_gru_biases(own: Arrays) -> Arrays:
    bias, new = own
    return bias, np.concatenate([np.zeros(2 * len(new), new.dtype), new])


def _recurrent(layer: RNN) -> Iterator[Matching]:
    ways = 1 + layer.bidirectional
    for number, direction in enumerate(layer.directions):
        way = "_reverse" if number % ways else ""
        yield from _gates(direction, f"_l{number // ways}{way}")


def _attention(layer: MultiHeadAttention) -> Iterator[Matching]:
    parts = layer.query, layer.key, layer.value
    weights = tuple([part.weight for part in parts])
    if all(weight.shape == weights[0].shape for weight in weights):
        yield Matching(
            weights, ("in_proj_weight",), _apart, lambda own: (np.concatenate(own, 1).T,)
        )
    else:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        yield Matching(weights, names, _transposed, _transposed)
    if layer.query.bias is not None:
        biases: Any = tuple([part.bias for part in parts])
        yield Matching(biases, ("in_proj_bias",), _apart, lambda own: (np.concatenate(own),))


def _apart(arrays: Arrays) -> Arrays:
    return _transposed(tuple(np.split(arrays[0], 3)))


def _batch_norm(layer: BatchNorm1d) -> Iterator[Matching]:
    if layer.running_mean is not None:
        yield Matching((), ("num_batches_tracked",), lambda _: (), lambda _: (np.array(0),))


#: Class -> parts of paths here -> PyTorch's; "" leaves the part out.
NAMES: Final[dict[type[Module], dict[str, str]]] = {
    Sequential: {"layers": ""},
    MultiHeadAttention: {"out": "out_proj"},
    TransformerBlock: {
        "attention": "self_attn",
        "up": "linear1",
        "down": "linear2",
        "norm_attention": "norm1",
        "norm_mlp": "norm2",
    },
}
#: Class -> the layouts of arrays that are not the same in PyTorch.
ARRAYS: Final[dict[type[Module], Callable[[Any], Iterator[Matching]]]] = {
    Linear: _linear,
    RNN: _recurrent,
    RNNCell: _gates,
    MultiHeadAttention: _attention,
    BatchNorm1d: _batch_norm,
}


def layouts(found: Any, path: str = "") -> Iterator[Matching]:
    """The layouts of a module and of all that is inside of it, with whole names."""
    if isinstance(found, Parameter):
        yield Matching((found,), (path,), _same, _same)
    renamed: dict[str, str] = {}
    done: set[int] = set()
    if isinstance(found, Module):
        for kind in type(found).__mro__:
            renamed = NAMES.get(kind, {}) | renamed
            for each in ARRAYS.get(kind, lambda _: iter(()))(found):
                done.update(map(id, each.parameters))
                yield each._replace(names=tuple([_joined(path, name) for name in each.names]))
    elif not isinstance(found, list | tuple | dict):
        return
    for name, part in contents(found):
        for each in layouts(part, _joined(path, renamed.get(name, str(name)))):
            if not done.issuperset(map(id, each.parameters)) or not each.parameters:
                yield each


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


# -- in and out -----------------------------------------------------------------------------------


def torch_state(module: Module) -> dict[str, Array]:
    """Return the state under PyTorch's names, as ``Module.torch_state``."""
    state: dict[str, Array] = {}
    for each in layouts(module):
        arrays = each.write(tuple([parameter.value for parameter in each.parameters]))
        state |= {n: np.array(a, order="C") for n, a in zip(each.names, arrays, strict=True)}
    return state


def torch_mapping(module: Module) -> str:
    """Return the mapping as text, as ``Module.torch_mapping``."""
    paths = {p.node: path for path, p, _ in stored(module)}
    rows = []
    for each in layouts(module):
        there = each.write(tuple([parameter.value for parameter in each.parameters]))
        left = [f"{n} {a.shape}" for n, a in zip(each.names, there, strict=True)]
        right = [f"{paths[stored_of(p).node]} {p.shape}" for p in each.parameters]
        how = ", transposed" if each.read is _transposed else ", converted"
        how = "" if each.read is _same else how
        rows.append((" + ".join(left), " + ".join(right) + how if right else "not used"))
    width = max([len(left) for left, _ in rows], default=0)
    return "\n".join([f"{left:{width}} -> {right}" for left, right in rows])


def load_torch(module: Module, source: Any, strict: bool) -> Incomplete:
    """Load PyTorch's state, as ``Module.load_torch``."""
    state = _state_of(source)
    shapes = {name: array.shape for name, array in torch_state(module).items()}
    arrays, problems = {}, []
    for name in shapes.keys() & state.keys():
        try:
            array = _array(name, state[name])
        except StaticgradError as error:
            problems.append(error.headline)
            continue
        if array.shape == shapes[name]:
            arrays[name] = array
        else:
            problems.append(f"{name}: {array.shape} in PyTorch, {shapes[name]} here")
    loaded: dict[Any, tuple[str, Any, Array]] = {}
    absent = []
    for each in layouts(module):
        if not state.keys() >= {*each.names}:
            absent.append(each)
        elif arrays.keys() >= {*each.names}:
            own = each.read(tuple([arrays[name] for name in each.names]))
            for parameter, array in zip(each.parameters, own, strict=True):
                try:
                    new = each.names[0], *stored_array(parameter, array)
                except ParameterValueError as error:
                    problems.append(f"{each.names[0]}: {error.headline}")
                    continue
                old = loaded.setdefault(stored_of(parameter).node, new)
                if old[2].tobytes() != new[2].tobytes():
                    problems.append(f"{old[0]}, {new[0]}: two arrays for one parameter")
    # The state may name an array once that several modules share.
    absent = [
        each for each in absent if any(stored_of(p).node not in loaded for p in each.parameters)
    ]
    missing = [name for each in absent for name in each.names if name not in state]
    unexpected = [str(name) for name in state if name not in shapes]
    if strict:
        problems += [f"{name}: missing" for name in missing]
        problems += [f"{shown(name)}: unexpected" for name in unexpected]
    if problems:
        count = len(problems)
        raise ParameterValueError(
            f"{type(module).__name__} and the state of PyTorch differ in {count}"
            f" place{'s'[: count > 1]}",
            details=sorted(problems),
            hint=_advice(state, shapes) or "nothing was changed",
        )
    write_all([(store, array) for _, store, array in loaded.values()])
    return Incomplete(missing, unexpected)


def _advice(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Say where the state is, if it is nested or was saved from a wrapped model."""
    for name, each in state.items():
        if isinstance(each, Mapping) and own.keys() & each.keys():
            return f"the state is one level deeper: load_torch(checkpoint[{name!r}])"
    for start in dict.fromkeys(f"{str(name).partition('.')[0]}." for name in state):
        if any(start + name in state for name in own if name not in state):
            return (
                f"remove {start!r} from the names:"
                f" {{name.removeprefix({start!r}): x for name, x in state.items()}}"
            )
    return ""


def _state_of(source: Any) -> Mapping[str, Any]:
    """Arrays or tensors by name: of a dict, a module of PyTorch, or a file."""
    if isinstance(source, str | Path):
        is_ours = Path(source).suffix in (".safetensors", ".npz")
        found = (
            load(source) if is_ours else torch.load(source, map_location="cpu", weights_only=True)
        )
    else:
        found = source.state_dict() if hasattr(source, "state_dict") else source
    if not isinstance(found, Mapping):
        raise ParameterValueError(
            f"load_torch takes tensors or arrays by name, not {kind_of(found)}",
            hint="model.load_torch(torch_model.state_dict()), or the name of a file",
        )
    return found


def _array(name: str, data: Any) -> Array:
    if is_torch(data):
        data = data.detach().cpu()
        data = (data.float() if str(data.dtype) == "torch.bfloat16" else data).numpy()
    if isinstance(data, Mapping):
        raise ParameterValueError(f"{name}: {kind_of(data)}, not an array")
    return array_of(data, name, ParameterValueError)


def is_torch(data: Any) -> bool:
    """Return whether ``data`` is a tensor of PyTorch (only if PyTorch is loaded)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)


def is_torch_state(module: Module, state: Mapping[str, Any]) -> bool:
    """Return whether a state of this module has the names or the tensors of PyTorch."""
    return any(map(is_torch, state.values())) or state.keys() == torch_state(module).keys()


def is_converted(module: Module) -> bool:
    """Return whether an array of the module has another layout in PyTorch."""
    return any(each.read is not _same for each in layouts(module))
