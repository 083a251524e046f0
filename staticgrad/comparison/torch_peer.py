"""The same program trained by PyTorch, where that is installed: what a step takes and holds there.

The models that come with the package are written once more with PyTorch's functions; a layer, or a
``Sequential`` of layers, that both libraries have by one name is built from PyTorch's layers.
Weights, batches and the rule of the optimizer are the same, and losses are compared. PyTorch is
imported when a comparison is measured.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle
from shutil import which
from typing import Any, Final

import numpy as np

from staticgrad import nn, optim
from staticgrad.comparison import models
from staticgrad.comparison.model import Batch, Model
from staticgrad.comparison.programs import ComparedProgram, rule_of
from staticgrad.comparison.report import Peer
from staticgrad.comparison.stopwatch import PARTS, Race
from staticgrad.comparison.ways import DefineThenRun, by_run

_STEPS: Final = 5  # whose losses are compared
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
EAGER, COMPILED = "PyTorch, eager", "torch.compile"
torch: Any = import_module("torch") if find_spec("torch") else None
functional: Any = torch and import_module("torch.nn.functional")


class NoPeer(Exception):  # noqa: N818 - a reason, not an error
    """The reason why a program has no PyTorch counterpart."""


def peers(chosen: ComparedProgram, seconds: float, torch_compile: bool = False) -> tuple[Peer, ...]:
    """Measure PyTorch's ways of the program in turns with the compiled step; none without it.

    Args:
        chosen: what is compared.
        seconds: of wall time for each way.
        torch_compile: whether to measure ``torch.compile``, too, which compiles for a minute.
    """
    if torch is None:
        return ()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        eager = _measured(EAGER, chosen, seconds)
        if eager.pair is None or not torch_compile:
            return (eager,)
        if not any(map(which, ("c++", "g++", "clang++"))):
            reason = "needs a C++ compiler, and there is none"
            return (eager, Peer(COMPILED, None, None, None, reason))
        return (eager, _measured(COMPILED, chosen, seconds))
    finally:
        torch.set_num_threads(threads)


def _measured(name: str, chosen: ComparedProgram, seconds: float) -> Peer:
    """Return losses beside those of the tape, times in turns with the compiled step, the peak."""
    batches = [chosen.draw(chosen.batch_size, np.random.default_rng(k)) for k in range(4)]
    try:
        way, tape = TorchTraining(chosen, compiled=name == COMPILED), by_run(chosen)
        pairs = [(way.step(b), tape.step(b)) for b in (*batches, batches[0])[:_STEPS]]
        apart = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
        if not apart <= _TOLERANCE:
            raise NoPeer(f"losses differ by {apart:.0e}: it is another program there")
        ours, ring = DefineThenRun(chosen), cycle(batches)
        race = Race(chosen.batch_size, lambda: way.step(next(ring)), lambda: ours.step(next(ring)))
        for _ in range(PARTS):
            race.run(seconds / PARTS)
        return Peer(name, race.pair(), way.peak(batches[0]), apart, "")
    except NoPeer as reason:
        return Peer(name, None, None, None, str(reason))
    except Exception as error:
        if name != COMPILED:
            raise
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        return Peer(name, None, None, None, f"fails: {first[:120]}")


class TorchTraining:
    """A program trained by PyTorch: one ``step`` for each batch."""

    def __init__(self, chosen: ComparedProgram, compiled: bool = False) -> None:
        """Build it with the start values.

        Raises:
            NoPeer: it cannot be built.
        """
        if chosen.model is not None:
            self._parameters, loss = _of_model(chosen.model)
            rule = rule_of(chosen.model)
        else:
            self._parameters, loss, rule = _of_program(chosen)
        self._max_norm = rule.max_norm
        self._loss = torch.compile(loss) if compiled else loss
        self._optimizer = _optimizer(rule, self._parameters)

    def step(self, batch: Batch) -> float:
        """Forward, backward, update; the loss before it."""
        given: dict[str, Any] = {name: torch.from_numpy(array) for name, array in batch.items()}
        loss = self._loss(given)
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


# -- modules --------------------------------------------------------------------------------------


def _of_program(chosen: ComparedProgram) -> tuple[list[Any], Callable[[Batch], Any], Any]:
    """The parameters of a module in PyTorch, its loss of a batch, its optimizer here."""
    if chosen.trained is None:
        raise NoPeer("only modules and the models of the package are translated to PyTorch")
    module, loss, rule = chosen.trained
    if loss is not None:
        raise NoPeer("a loss of one's own is not translated to PyTorch")
    net = _layer(module)
    chosen.restore()
    state: dict[str, Any] = module.torch_state()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, False)

    def evaluate(batch: Any) -> Any:
        x, target = batch.values()
        output = net(x)
        if target.is_floating_point():
            return functional.mse_loss(output, target)
        return functional.cross_entropy(output.flatten(0, -2), target.flatten())

    if len(chosen.draw(1, np.random.default_rng(0))) != 2:
        raise NoPeer("a module of several arrays is not translated to PyTorch")
    return list(net.parameters()), evaluate, rule


def _layer(layer: Any) -> Any:
    """The same layer of PyTorch, with weights of its own.

    Raises:
        NoPeer: PyTorch has none of that name with these options.
    """
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


# -- the models of the package -------------------------------------------------------------------


def _of_model(chosen: Model) -> tuple[list[Any], Callable[[Batch], Any]]:
    """The parameters of a model as PyTorch's, and its loss of a batch."""
    name = getattr(chosen.loss, "__qualname__", "").partition(".")[0]
    if getattr(chosen.loss, "__module__", "") != models.__name__ or name not in _LOSSES:
        raise NoPeer("only modules and the models of the package are translated to PyTorch")
    loss, values = _LOSSES[name], {
        key: torch.from_numpy(np.array(array)).requires_grad_()
        for key, array in chosen.parameters.items()
    }  # fmt: skip
    return list(values.values()), lambda batch: loss(values, batch)


def _linear(p: Any, b: Any) -> Any:
    return functional.mse_loss(b["x"] @ p["w"] + p["b"], b["y"])


def _perceptron(p: Any, b: Any) -> Any:
    name, activation = ("images", torch.relu) if "images" in b else ("x", torch.tanh)
    hidden, layers = b[name], len(p) // 2
    for layer in range(1, layers + 1):
        hidden = torch.addmm(p[f"b{layer}"], hidden, p[f"w{layer}"])
        hidden = activation(hidden) if layer < layers else hidden
    return functional.cross_entropy(hidden, b["classes"])


def _transformer(p: Any, b: Any) -> Any:
    width, context, heads = models.WIDTH, models.CONTEXT, models.HEADS

    def split(x: Any) -> Any:
        return x.reshape(-1, context, heads, width // heads).transpose(1, 2)

    def normal(x: Any, gain: str, bias: str) -> Any:
        return functional.layer_norm(x, (width,), p[gain], p[bias])

    hidden = functional.embedding(b["before"], p["tokens"]) + p["places"]
    for layer in range(sum(key.endswith("query") for key in p)):
        at = f"{layer}."
        before = normal(hidden, at + "gain1", at + "bias1")
        read = [split(before @ p[at + name]) for name in ("query", "key", "value")]
        attended = functional.scaled_dot_product_attention(*read, is_causal=True)
        mixed = attended.transpose(1, 2).reshape(-1, context, width)
        hidden = hidden + mixed @ p[at + "mix"]
        up = normal(hidden, at + "gain2", at + "bias2") @ p[at + "up"] + p[at + "up_bias"]
        hidden = hidden + functional.gelu(up) @ p[at + "down"]
    logits = normal(hidden, "gain", "bias") @ p["out"]
    return functional.cross_entropy(logits.flatten(0, -2), b["after"].flatten())


#: By the function of ``models`` that the loss is made in.
_LOSSES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "linear": _linear, "_perceptron": _perceptron, "chars": _transformer
}  # fmt: skip
