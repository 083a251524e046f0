"""The training step of a compared module or loss: these lines show where a program has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import staticgrad as sg
from staticgrad.extend.building import count_as_user
from staticgrad.optim import Optimizer

count_as_user(__file__)


def loss_of(module: Callable[..., Any], loss: Callable[..., Any], count: int) -> Any:
    """Return ``loss(module(*inputs), *targets)`` as a function of all arrays in a row."""

    def evaluate(*arrays: Any) -> Any:
        output = module(*arrays[:count])
        return loss(output, *arrays[count:])

    return evaluate


def step_of(
    loss: Callable[..., Any], optimizer: Optimizer, parameters: Sequence[Any] | None = None
) -> Callable[..., Any]:
    """Return a training step of these parameters, by default of all that the loss reads."""

    def step(*arrays: Any) -> Any:
        value = loss(*arrays)
        optimizer.minimize(value, parameters)
        return value

    return step


def gradient_of(loss: Callable[..., Any], arguments: Sequence[int]) -> Callable[..., Any]:
    """Return a function that computes a loss and its gradient by some of its arguments."""

    def evaluate(*arrays: Any) -> Any:
        value = loss(*arrays)
        return value, sg.grad(value, [arrays[k] for k in arguments])

    return evaluate


def usual_loss(output: Any, target: Any) -> Any:
    """Return the cross entropy for integer targets, otherwise the mean squared error."""
    if target.type.dtype.is_float:
        return sg.nn.mse(output, target)
    classes = output.shape[-1]
    return sg.nn.cross_entropy(sg.reshape(output, (-1, classes)), sg.reshape(target, (-1,)))
