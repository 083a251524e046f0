"""The same program trained by PyTorch, where that is installed: what a step takes and holds there.

A layer, or a ``Sequential`` of layers, that both libraries have by one name is built from PyTorch's
layers. Weights, batches and the rule of the optimizer are the same, and losses are compared.
PyTorch is imported when a comparison is measured.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle
from typing import Any, Final

import numpy as np

from staticgrad import nn, optim
from staticgrad.tools.comparison.measure import PARTS, Race
from staticgrad.tools.comparison.programs import Batch, ComparedProgram
from staticgrad.tools.comparison.report import Peer
from staticgrad.tools.comparison.ways import DefineByRun, DefineThenRun

_TOLERANCE: Final = 1e-3  # relative: both add up in other orders
#: Layers that are of one name, and have the same options, in both libraries.
_LAYERS: Final = frozenset({
    "Identity", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Sigmoid", "Tanh",
    "Softmax", "LogSoftmax", "Linear", "Flatten", "Conv1d", "Conv2d", "Conv3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "LayerNorm", "GroupNorm", "Embedding",
})  # fmt: skip
_OPTIONS: Final = {"Softmax": {"axis": "dim"}, "LogSoftmax": {"axis": "dim"}}
_FUNCTIONS: Final = {"relu": "ReLU", "gelu": "GELU", "tanh": "Tanh", "sigmoid": "Sigmoid"}
_HYPERPARAMETERS: Final = {
    "learning_rate": "lr", "momentum": "momentum", "nesterov": "nesterov", "eps": "eps",
    "weight_decay": "weight_decay",
}  # fmt: skip
torch: Any = import_module("torch") if find_spec("torch") else None
functional: Any = torch and import_module("torch.nn.functional")


class NoPeer(Exception):  # noqa: N818 - a reason, not an error
    """The reason why a program has no PyTorch counterpart."""


def measured(chosen: ComparedProgram, seconds: float) -> Peer | None:
    """Measure PyTorch's way of the program in turns with the compiled step; None without PyTorch.

    Its losses are compared with those of the tape; ``seconds`` are of wall time.
    """
    if torch is None:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batches = [chosen.draw(chosen.batch_size, np.random.default_rng(k)) for k in range(4)]
    try:
        way, tape = TorchTraining(chosen), DefineByRun(chosen)
        pairs = [(way.step(b), tape.step(b)) for b in (*batches, batches[0])]
        apart = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
        if not apart <= _TOLERANCE:
            raise NoPeer(f"losses differ by {apart:.0e}: it is another program there")
        ours, ring = DefineThenRun(chosen), cycle(batches)
        race = Race(chosen.batch_size, lambda: way.step(next(ring)), lambda: ours.step(next(ring)))
        for _ in range(PARTS):
            race.run(seconds / PARTS)
        return Peer(race.pair(), way.peak(batches[0]), apart)
    except NoPeer as reason:
        return Peer(reason=str(reason))
    finally:
        torch.set_num_threads(threads)


class TorchTraining:
    """A program trained by PyTorch: one ``step`` for each batch."""

    def __init__(self, chosen: ComparedProgram) -> None:
        """Build it with the start values."""
        if chosen.trained is None or chosen.trained[1] is not None:
            raise NoPeer("only modules with their usual loss are translated to PyTorch")
        if len(chosen.draw(1, np.random.default_rng(0))) != 2:
            raise NoPeer("a module of several arrays is not translated to PyTorch")
        module, _, rule = chosen.trained
        self._net = _layer(module)
        chosen.restore()
        state: dict[str, Any] = module.torch_state()
        self._net.load_state_dict({n: torch.from_numpy(array) for n, array in state.items()}, False)
        self._parameters, self._max_norm = list(self._net.parameters()), rule.max_norm
        self._optimizer = _optimizer(rule, self._parameters)

    def step(self, batch: Batch) -> float:
        """Forward, backward, update; the loss before it."""
        x, target = map(torch.from_numpy, batch.values())
        output = self._net(x)
        if target.is_floating_point():
            loss = functional.mse_loss(output, target)
        else:
            loss = functional.cross_entropy(output.flatten(0, -2), target.flatten())
        loss.backward()
        if self._max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def peak(self, batch: Batch) -> int:
        """The most bytes that the tensors of a step hold, by the profiler's events."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            self.step(batch)
        held = most = 0
        recorded: Any = seen.profiler
        for event in recorded.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        return most


def _optimizer(rule: optim.Optimizer, parameters: Sequence[Any]) -> Any:
    options = vars(rule)
    plain = (
        isinstance(options.get("learning_rate"), int | float)
        and rule.accumulate == 1
        and rule.max_value is None
        and rule.loss_scale is None
    )
    kinds = {
        optim.SGD: torch.optim.SGD, optim.Adam: torch.optim.Adam, optim.AdamW: torch.optim.AdamW
    }  # fmt: skip
    if not plain or type(rule) not in kinds:
        raise NoPeer(f"{type(rule).__name__} with these options is not translated to PyTorch")
    given = {_HYPERPARAMETERS[name]: v for name, v in options.items() if name in _HYPERPARAMETERS}
    if "beta1" in options:
        given["betas"] = options["beta1"], options["beta2"]
    return kinds[type(rule)](parameters, **given)


def _layer(layer: Any) -> Any:
    """The same layer of PyTorch, with weights of its own."""
    if isinstance(layer, nn.Sequential):
        return torch.nn.Sequential(*map(_layer, layer))
    name = type(layer).__name__
    if getattr(layer, "__name__", "") in _FUNCTIONS:
        return getattr(torch.nn, _FUNCTIONS[layer.__name__])()
    if type(layer).__module__.partition(".")[0] != "staticgrad" or name not in _LAYERS:
        what = name if isinstance(layer, nn.Module) else getattr(layer, "__name__", name)
        raise NoPeer(f"{what} is not among the layers that are translated to PyTorch")
    kind = getattr(torch.nn, name)
    own = {_OPTIONS.get(name, {}).get(k, k): value for k, value in vars(layer).items()}
    options = {key: own[key] for key in inspect.signature(kind).parameters if key in own}
    if "bias" in inspect.signature(kind).parameters:
        options["bias"] = layer.bias is not None
    return kind(**options)
