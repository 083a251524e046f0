"""Modules: layers with parameters, activations, losses. The functions are those of ``sg.nn``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from staticgrad.eager.data import integers
from staticgrad.eager.random import Generator
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.functions import log, log1p, maximum, mean, nn, sigmoid, tanh
from staticgrad.ir.calls import Constructed, public
from staticgrad.ir.op import Array


class _Initial:
    """Where first values of parameters come from."""

    random = np.random.default_rng(0)


_initial: Final = _Initial()


def manual_seed(seed: int) -> None:
    """Let the parameters of layers made from here on follow from ``seed``; at first it is 0."""
    _initial.random = np.random.default_rng(seed)


class Module(metaclass=Constructed):
    """A function with parameters: what ``forward`` computes from its attributes.

    Parameters are the attributes that are tensors requiring gradients, and those of attributes that
    are modules, or lists or tuples of them.
    """

    training: bool = True

    def forward(self, *args: Any) -> Any:
        """What the module computes; subclasses say."""
        raise ArgumentError(f"{type(self).__name__} has no method 'forward'")

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def __repr__(self) -> str:
        """The class, and its attributes: tensors by their shapes, other modules in full."""
        return f"{type(self).__name__}({', '.join(_attributes(self))})"

    def modules(self) -> Iterator[Module]:
        """This module and those inside it, each once."""
        stack: list[Any] = [self]
        seen: set[int] = set()
        while stack:
            found = stack.pop()
            if isinstance(found, list | tuple):
                stack += reversed(found)
            elif isinstance(found, Module) and id(found) not in seen:
                seen.add(id(found))
                yield found
                stack += reversed(found.__dict__.values())

    def parameters(self) -> list[Tensor]:
        """Every parameter once, in the order in which attributes were set."""
        found = {}
        for module in self.modules():
            for value in module.__dict__.values():
                for tensor in value if isinstance(value, list | tuple) else [value]:
                    if isinstance(tensor, Tensor) and tensor.requires_grad:
                        found[id(tensor)] = tensor
        return list(found.values())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for tensor in self.parameters():
            tensor.zero_grad()

    @public
    def train(self, training: bool = True) -> Module:
        """Behave as in training (Dropout drops), or not; returns the module."""
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Module:
        """Behave as after training; returns the module."""
        return self.train(False)


def _attributes(module: Module) -> Iterator[str]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{name}: {value.dtype}{list(value.shape)}"
        elif isinstance(value, Module | int | float | str | list | tuple):
            yield f"{name}={value!r}"


class Sequential(Module):
    """One module after the other."""

    def __init__(self, *layers: Module) -> None:
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """The last module's result."""
        for layer in self.layers:
            x = layer(x)
        return x


class Linear(Module):
    """x @ weight + bias, for x [..., inputs]; weight [inputs, outputs].

    Both begin uniform in +-1/sqrt(inputs) (LeCun et al., "Efficient backprop", 1998).
    """

    @public
    def __init__(self, inputs: int, outputs: int, bias: bool = True, dtype: Any = None) -> None:
        bound = 1.0 / np.sqrt(max(inputs, 1))
        self.weight = Tensor(_uniform(bound, (inputs, outputs)), True, dtype)
        self.bias = Tensor(_uniform(bound, (outputs,)), True, dtype) if bias else None

    def forward(self, x: Any) -> Any:
        """[..., outputs]."""
        out = x @ self.weight
        return out if self.bias is None else out + self.bias


class Embedding(Module):
    """The rows of ``weight`` [count, size] that ids name; it begins standard normal."""

    def __init__(self, count: int, size: int, dtype: Any = None) -> None:
        self.weight = Tensor(_initial.random.normal(size=(count, size)), True, dtype)

    def forward(self, ids: Any) -> Any:
        """[..., size], for ids [...]."""
        return nn.embedding(self.weight, integers("ids", ids))


class LayerNorm(Module):
    """Each row along the last axis less its mean, by its standard deviation; see ``sg.nn``."""

    def __init__(self, size: int, eps: float = 1e-5, dtype: Any = None) -> None:
        self.gain = Tensor(np.ones(size), True, dtype)
        self.bias = Tensor(np.zeros(size), True, dtype)
        self.eps = eps

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.layer_norm(x, self.gain, self.bias, self.eps)


class Dropout(Module):
    """In training, each element 0 with probability ``rate``, the others divided by 1 - rate."""

    def __init__(self, rate: float = 0.5, seed: int = 0) -> None:
        self.rate, self.generator = rate, Generator(seed)

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return self.generator.dropout(x, self.rate) if self.training else x


def _uniform(bound: float, shape: tuple[int, ...]) -> Array:
    return _initial.random.uniform(-bound, bound, shape)


class ReLU(Module):
    """x where x > 0, else 0."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.relu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return tanh(x)


class GELU(Module):
    """x times the normal distribution function at x; its limit, 0, at -inf."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.gelu(maximum(x, -x.dtype.largest))


class Softmax(Module):
    """exp(x) divided by its sum along ``axis``."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.softmax(x, self.axis)


#: What a logarithm of a probability is held above, so that no loss is infinite.
_LOWEST_LOG: Final = -100.0


class MSE(Module):
    """The mean of the squared differences."""

    def forward(self, prediction: Any, target: Any) -> Any:
        """A 0-d tensor, for two operands of one shape."""
        return nn.mse(prediction, target)


class BCE(Module):
    """The mean of -(t log p + (1 - t) log(1 - p)), logarithms held above -100.

    Args:
        logits: predictions are log-odds instead of probabilities p: then nothing is cut off.
    """

    @public
    def __init__(self, logits: bool = False) -> None:
        self.logits = logits

    def forward(self, prediction: Any, target: Any) -> Any:
        """A 0-d tensor, for two operands of one shape."""
        if self.logits:
            return nn.binary_cross_entropy_with_logits(prediction, target)
        likely: Any = maximum(log(prediction), _LOWEST_LOG)
        unlikely: Any = maximum(log1p(-prediction), _LOWEST_LOG)
        return -mean(target * likely + (1.0 - target) * unlikely)


class CrossEntropy(Module):
    """The mean of -log softmax(logits) at the label; logits [..., C], labels [...] in [0, C)."""

    def forward(self, logits: Any, labels: Any) -> Any:
        """A 0-d tensor."""
        return nn.cross_entropy(logits, integers("labels", labels))
