"""The same program in PyTorch, eager or by ``torch.compile``. Imported where PyTorch is installed.

A layer, or a ``Sequential`` of layers, that both libraries have by one name is built from PyTorch's
layers, and so is the character model of the package; anything else is what the user gives. Weights,
batches and the rule of the optimizer are the same.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np

from staticgrad import nn, optim
from staticgrad.comparison.causes import of_events
from staticgrad.comparison.models import CharacterTransformer
from staticgrad.comparison.programs import Batch, ComparedProgram
from staticgrad.comparison.report import TORCH, Causes, NoPeer
from staticgrad.comparison.torch_models import characters, usual_loss
from staticgrad.extend.optional import torch
from staticgrad.extend.trees import first_part

#: Layers that are of one name, and have the same options, in both libraries.
_LAYERS: Final = frozenset({
    "Identity", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Sigmoid", "Tanh",
    "Softmax", "LogSoftmax", "Linear", "Flatten", "Conv1d", "Conv2d", "Conv3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "Dropout", "LayerNorm", "GroupNorm", "Embedding",
})  # fmt: skip
_OPTIONS: Final = {"Softmax": {"axis": "dim"}, "LogSoftmax": {"axis": "dim"}}
_FUNCTIONS: Final = {"relu": "ReLU", "gelu": "GELU", "tanh": "Tanh", "sigmoid": "Sigmoid"}
_HYPERPARAMETERS: Final = {
    "learning_rate": "lr", "momentum": "momentum", "nesterov": "nesterov", "eps": "eps",
    "weight_decay": "weight_decay",
}  # fmt: skip


def training(chosen: ComparedProgram, program: Any = None, compiled: bool = False) -> TorchWay:
    """Return the compared training step in PyTorch: translated, or the user's own program.

    Args:
        chosen: the program.
        given: a module that is trained as the program's module is; a step; a loss, which is trained
            if the program's is; None: the module is translated, layer by layer.
        compiled: pass the function to ``torch.compile``, with an empty cache.

    Raises:
        NoPeer: there is no translation.
    """
    if program is None or isinstance(program, torch.nn.Module):
        return TorchTraining(chosen, program, compiled)
    return TorchProgram(chosen, program, compiled)


class TorchWay(ABC):
    """Base of both kinds of programs: run under the profiler, and start again."""

    _snapshot: _Snapshot
    _compiles = False
    _is_first = False  # whether bytes are those of a step from the start values

    @abstractmethod
    def call(self, batch: Batch) -> Any:
        """Run one step and return the loss before its update."""

    def step(self, batch: Batch) -> float:
        """Run one step and return the loss before its update, as a number."""
        result = self.call(batch)
        return float(result.detach().double().mean()) if torch.is_tensor(result) else float(result)

    def restore(self) -> None:
        """Write the start values to everything that the program reads."""
        self._snapshot.restore()

    def make_checkpointed(self) -> TorchWay | None:
        """Return the same with ``torch.utils.checkpoint``; None where the program has its own."""
        return None

    def peak(self, batch: Batch) -> int:
        """Return the most bytes that the tensors of a step hold, by the profiler's events."""
        return self.causes(TORCH, batch).total

    def causes(self, name: str, batch: Batch) -> Causes:
        """Return PyTorch's bytes at its peak by cause, from the profiler's events.

        The backward pass begins with the first event of its engine and ends with the last one.
        """
        from torch.profiler import ProfilerActivity, profile

        self.step(batch)
        if self._is_first:
            self.restore()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            self.step(batch)
        recorded: Any = seen.profiler
        events, ahead = [], [*recorded.kineto_results.experimental_event_tree()]
        while ahead:
            event = ahead.pop()
            ahead += event.children
            events.append(event)
        engine = [e for e in events if e.name.startswith("autograd::engine::evaluate_function")]
        first = min((e.start_time_ns for e in engine), default=0)
        last = max((e.end_time_ns for e in engine), default=0)

        def part(time: int) -> str:
            return "f" if not last or time < first else "b" if time <= last else "u"

        allocations = [
            (e.start_time_ns, e.extra_fields.ptr, e.extra_fields.alloc_size)
            for e in events if e.name == "[memory]"
        ]  # fmt: skip
        allocations.sort(key=lambda allocation: allocation[0])
        return of_events(name, [(ptr, size, part(time)) for time, ptr, size in allocations])

    def _compile_function(self, function: Any) -> Any:
        """Compile a torch function by ``torch.compile`` with an empty cache, if requested."""
        if not self._compiles:
            return function
        inductor: Any = import_module("torch._inductor.config")
        compiled = torch.compile(function)
        runs = iter((True,))

        def call(*tensors: Any) -> Any:
            if not next(runs, False):
                return compiled(*tensors)
            with inductor.patch(force_disable_caches=True), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return compiled(*tensors)

        return call


class TorchProgram(TorchWay):
    """A step or a loss that the user wrote for PyTorch."""

    def __init__(self, chosen: ComparedProgram, function: Any, compiled: bool) -> None:
        """Run it once to see whether it trains by itself; its tensors have their values again."""
        self._compiles, self._gradient_arguments = compiled, chosen.gradient_arguments
        self._is_first = chosen.graph is None
        self._snapshot = _Snapshot(function)
        self._optimizer, batch = None, chosen.draw(chosen.batch_size, np.random.default_rng(0))
        if chosen.optimizer is not None:
            versions = [tensor._version for tensor in self._snapshot.tensors]
            loss = function(*self._tensors(batch))
            if versions == [tensor._version for tensor in self._snapshot.tensors]:
                leaves = _leaves(loss)
                if not leaves:
                    raise NoPeer("its loss depends on no tensor that requires a gradient")
                self._snapshot.add(leaves)
                self._optimizer = _optimizer(chosen.optimizer, leaves)
                self._snapshot.add([self._optimizer])
            self.restore()
        self._function = self._compile_function(function)

    def call(self, batch: Batch) -> Any:
        """Call a user's torch program once; differentiate and update if it does not itself."""
        result = self._function(*self._tensors(batch))
        result = first_part(result)
        if self._optimizer is not None or self._gradient_arguments:
            result.backward()
        if self._optimizer is not None:
            self._optimizer.step()
            self._optimizer.zero_grad()
        return result

    def _tensors(self, batch: Batch) -> list[Any]:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in batch.values()]
        for k in self._gradient_arguments:
            tensors[k].requires_grad_()
        return tensors


class TorchTraining(TorchWay):
    """A module trained by PyTorch: one ``step`` for each batch."""

    def __init__(self, chosen: ComparedProgram, net: Any = None, compiled: bool = False) -> None:
        """Build it with the start values."""
        if chosen.trained is None or chosen.trained[1] is not None:
            raise NoPeer("only modules with their usual loss are translated to PyTorch: torch=step")
        if len(chosen.draw(1, np.random.default_rng(0))) != 2:
            raise NoPeer("a module of several arrays is not translated to PyTorch: torch=step")
        module, _, rule = chosen.trained
        self._chosen, self._compiles, self._is_first = chosen, compiled, chosen.graph is None
        self._net = _translate_module(module) if net is None else net
        chosen.restore()
        tensors = (
            module.torch_state_dict()
            if hasattr(module, "torch_state_dict")  # of one that was imported
            else {n: torch.from_numpy(array) for n, array in module.torch_state().items()}
        )
        try:
            keys = self._net.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            raise NoPeer(" ".join(str(error).split())[:160]) from None
        parameters = {name for name, _ in self._net.named_parameters()}
        if missing := sorted(parameters & {*keys.missing_keys}):
            raise NoPeer(f"the module has no values for {missing[0]} of PyTorch's")
        self._parameters, self._max_norm = list(self._net.parameters()), rule.max_norm
        self._optimizer = _optimizer(rule, self._parameters)
        self._snapshot = _Snapshot(None)
        self._snapshot.add([self._net, self._optimizer])
        self._loss = self._compile_function(self._loss_of)

    def _loss_of(self, x: Any, target: Any) -> Any:
        return usual_loss(self._net(x), target)

    def call(self, batch: Batch) -> Any:
        """Train the torch module by one step, and return the loss before it."""
        loss = self._loss(*map(torch.from_numpy, batch.values()))
        loss.backward()
        if self._max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss

    def make_checkpointed(self) -> TorchTraining | None:
        """Return the torch step in about sqrt(n) checkpointed segments of layers."""
        if self._compiles or not isinstance(self._net, torch.nn.Sequential) or len(self._net) < 4:
            return None
        checkpoint: Any = import_module("torch.utils.checkpoint")
        way = TorchTraining(self._chosen)
        net, segments = way._net, round(len(way._net) ** 0.5)
        way._net = lambda x: checkpoint.checkpoint_sequential(net, segments, x, use_reentrant=False)
        return way


def _leaves(loss: Any) -> list[Any]:
    """Collect the leaf tensors that a torch loss depends on."""
    leaves: dict[int, Any] = {}
    seen, ahead = set(), [getattr(loss, "grad_fn", None)]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        ahead += [function for function, _ in node.next_functions]
    return [*leaves.values()]


class _Snapshot:
    """Modules, optimizers and tensors that a function reads, with their start values.

    They are looked for in closures, globals, attributes and containers, also of functions that
    the function calls.
    """

    def __init__(self, function: Any) -> None:
        self._states: list[tuple[Any, Any]] = []
        self.tensors: list[Any] = []
        self._seen: set[int] = set()
        self._random = torch.random.get_rng_state()
        if function is not None:
            self._walk(function, 6)

    def add(self, things: Sequence[Any]) -> None:
        """Note the values of further ones."""
        for root in things:
            self._walk(root, 1)

    def restore(self) -> None:
        """Restore the first values of all tensors of the torch program."""
        with torch.no_grad():
            for thing, state in self._states:
                if hasattr(thing, "load_state_dict"):
                    thing.load_state_dict(copy.deepcopy(state))
                else:
                    thing.copy_(state)
            for tensor in self.tensors:
                if tensor.is_leaf:
                    tensor.grad = None
        torch.random.set_rng_state(self._random)

    def _walk(self, thing: Any, depth: int) -> None:
        """Find tensors, modules and optimizers that a torch program reaches; copy their state."""
        if id(thing) in self._seen or depth < 0:
            return
        self._seen.add(id(thing))
        inside: list[Any] = []
        if torch.is_tensor(thing):
            self._states.append((thing, thing.detach().clone()))
            self.tensors.append(thing)
        elif isinstance(thing, torch.nn.Module):
            self._states.append((thing, copy.deepcopy(thing.state_dict())))
            self.tensors += thing.parameters()
        elif isinstance(thing, torch.optim.Optimizer):
            self._states.append((thing, copy.deepcopy(thing.state_dict())))
        elif isinstance(thing, dict | list | tuple | set):
            inside = [*(thing.values() if isinstance(thing, dict) else thing)]
        elif inspect.ismethod(thing):
            inside = [thing.__self__, thing.__func__]
        elif inspect.isfunction(thing) and "site-packages" not in thing.__code__.co_filename:
            around = inspect.getclosurevars(thing)
            inside = [*around.nonlocals.values(), *around.globals.values()]
        elif hasattr(thing, "func"):
            inside = [thing.func, *getattr(thing, "args", ())]
        elif hasattr(thing, "__dict__") and not isinstance(thing, type | ModuleType):
            inside = [*vars(thing).values()]
        for child in inside:
            self._walk(child, depth - 1)


def _optimizer(rule: optim.Optimizer, parameters: Sequence[Any]) -> Any:
    """Translate an optimizer to ``torch.optim``; raise NoPeer for other rules and options."""
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
    arguments = {
        _HYPERPARAMETERS[name]: v for name, v in options.items() if name in _HYPERPARAMETERS
    }
    if "beta1" in options:
        arguments["betas"] = options["beta1"], options["beta2"]
    return kinds[type(rule)](parameters, **arguments)


def _translate_module(module: Any) -> Any:
    """Return the module built of PyTorch's layers."""
    if isinstance(module, CharacterTransformer):
        return characters(len(module.tokens.weight.value))
    return _layer(module)


def _layer(layer: Any) -> Any:
    """Translate a layer of ``sg.nn`` to ``torch.nn``."""
    if isinstance(layer, nn.Sequential):
        return torch.nn.Sequential(*map(_layer, layer))
    name = type(layer).__name__
    if getattr(layer, "__name__", "") in _FUNCTIONS:
        return getattr(torch.nn, _FUNCTIONS[layer.__name__])()
    if type(layer).__module__.partition(".")[0] != "staticgrad" or name not in _LAYERS:
        what = name if isinstance(layer, nn.Module) else getattr(layer, "__name__", name)
        raise NoPeer(f"{what} is not among the layers that are translated to PyTorch")
    kind = getattr(torch.nn, name)
    attributes = {_OPTIONS.get(name, {}).get(k, k): value for k, value in vars(layer).items()}
    options = {
        key: attributes[key] for key in inspect.signature(kind).parameters if key in attributes
    }
    if "bias" in inspect.signature(kind).parameters:
        options["bias"] = layer.bias is not None
    return kind(**options)
