"""Gradients of a function of tensors against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgrad.eager.differentiate import grad
from staticgrad.eager.modes import no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import CheckError
from staticgrad.ir.calls import public
from staticgrad.ir.op import Array


@public
def gradcheck(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether gradients agree with (f(x + eps) - f(x - eps)) / (2 eps), at every element.

    Everything is computed in float64: floating inputs are converted. The function's results are
    weighted by fixed random numbers and added up.

    Args:
        function: takes the inputs, gives a tensor or a tuple of them.
        inputs: a tensor or several; those that require gradients are moved.
        eps: the step.
        atol, rtol: ``abs(found - expected) <= atol + rtol * abs(expected)`` must hold.
        raise_exception: raise instead of returning False.

    Raises:
        CheckError: they disagree; shows where most.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    wide = [_widened(tensor) for tensor in given]
    moved = [tensor for tensor in wide if tensor.requires_grad]
    if not moved:
        raise CheckError("gradcheck: no input requires a gradient")
    found = grad(_total(function, wide), moved, allow_disconnected=True)
    for number, (tensor, ct) in enumerate(zip(moved, found, strict=True), 1):
        expected = _differences(function, wide, tensor, eps)
        wrong = ~np.isclose(ct.data, expected, rtol, atol)
        if not wrong.any():
            continue
        if not raise_exception:
            return False
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise CheckError(
            f"gradcheck: the gradient by input {number} is wrong at {list(at)}",
            details=[f"found {ct.data[at]}, differences give {expected[at]}"],
        )
    return True


def _widened(tensor: Tensor) -> Tensor:
    """A copy in float64 if it is floating."""
    dtype = "float64" if tensor.dtype.is_float else tensor.dtype
    return Tensor(tensor.data, tensor.requires_grad, dtype)


def _total(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    results = function(*inputs)
    random = np.random.default_rng(0)
    total: Any = 0.0
    for result in results if isinstance(results, tuple) else (results,):
        total = total + (result * random.uniform(0.5, 1.5, result.shape)).sum()
    return total


def _differences(
    function: Callable[..., Any], inputs: Sequence[Tensor], moved: Tensor, eps: float
) -> Array:
    """Central differences by every element of ``moved``."""
    out = np.zeros_like(moved.data)
    with no_grad():
        for place in np.ndindex(*out.shape):
            kept = moved.data[place]
            moved.data[place] = kept + eps
            above = _total(function, inputs).item()
            moved.data[place] = kept - eps
            below = _total(function, inputs).item()
            moved.data[place] = kept
            out[place] = (above - below) / (2.0 * eps)
    return out
