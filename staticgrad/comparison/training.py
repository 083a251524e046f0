"""The step of a module that is compared: the lines that its picture shows where it has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import staticgrad as sg
from staticgrad.building import count_as_user
from staticgrad.optim import Optimizer
from staticgrad.optim.gradients import clipped

count_as_user(__file__)


def loss_of(module: Callable[..., Any], loss: Callable[..., Any]) -> Callable[..., Any]:
    """``loss(module(inputs), targets)``, a function of both in one row."""

    def evaluate(inputs: Sequence[Any], targets: Sequence[Any]) -> Any:
        output = module(*inputs)
        return loss(output, *targets)

    return evaluate


def in_containers(
    function: Callable[..., Any], packed: Callable[[Sequence[Any]], list[Any]]
) -> Callable[..., Any]:
    """``function`` of arguments that ``packed`` makes of arrays, as one of these arrays."""

    def evaluate(*arrays: Any) -> Any:
        return function(*packed(arrays))

    evaluate.__name__ = evaluate.__qualname__ = getattr(function, "__name__", "evaluate")
    return evaluate


def step_of(
    loss: Callable[..., Any],
    optimizer: Optimizer,
    parameters: Sequence[Any] | None = None,
    max_norm: float | None = None,
) -> Callable[..., Any]:
    """One step of training, of all parameters that the loss reads or of these."""

    def step(*arrays: Any) -> Any:
        found = loss(*arrays)
        if parameters is None or max_norm is None:
            optimizer.minimize(found, parameters)
            return found
        slopes = clipped(sg.grad(found, [*parameters]), max_norm)
        for parameter, value in optimizer.apply(dict(zip(parameters, slopes, strict=True))).items():
            parameter.update(value)
        return found

    return step


def gradient_of(loss: Callable[..., Any], wanted: Sequence[int]) -> Callable[..., Any]:
    """The value of a function and its gradient by some of its arguments."""

    def evaluate(*arrays: Any) -> Any:
        found = loss(*arrays)
        return found, sg.grad(found, [arrays[k] for k in wanted])

    return evaluate


def usual_loss(output: Any, target: Any) -> Any:
    """Cross entropy of classes, where the target has whole numbers; else the mean square."""
    if target.type.dtype.is_float:
        return sg.nn.mse(output, target)
    classes = output.shape[-1]
    return sg.nn.cross_entropy(sg.reshape(output, (-1, classes)), sg.reshape(target, (-1,)))
