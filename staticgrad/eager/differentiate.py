"""Gradients as values: ``grad``, of any order, and what is done with gradients.

Unlike ``backward`` nothing is stored on tensors. With ``create_graph`` the walk back is recorded
itself, so that what it gives can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.arraylike import owned
from staticgrad.eager.modes import enable_grad, no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError, DisconnectedError, GradientError
from staticgrad.ir.calls import public
from staticgrad.ops.cotangent import ZERO


@public
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    seeds: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_disconnected: bool = False,
) -> Any:
    """The gradient of the sum of ``outputs`` by each of ``inputs``.

    Args:
        outputs: a tensor, or several.
        inputs: what to differentiate by: a tensor, or several; interior ones too.
        seeds: the cotangent of each output (one for one tensor); 1 for those with one element.
        create_graph: record the gradients' own computation.
        retain_graph: keep the tape; by default where ``create_graph`` does.
        allow_disconnected: zeros, instead of an error, for inputs that no path leads to.

    Returns:
        A tensor for one input, else a tuple.

    Raises:
        GradientError, ShapeError, TapeError: as ``Tensor.backward``.
        DisconnectedError: an input that the outputs do not depend on.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> first = grad(x * x * x, x, create_graph=True)
    >>> first.item(), grad(first, x).item()
    (27.0, 18.0)
    """
    of, by = _listed(outputs), _listed(inputs)
    given = [seeds] if isinstance(outputs, Tensor) else seeds or [None] * len(of)
    if len(given) != len(of):
        raise ArgumentError(f"grad: {len(given)} seeds for {len(of)} outputs")
    if any(not tensor.requires_grad for tensor in by):
        raise GradientError("grad: an input does not require a gradient: nothing was recorded")
    pairs = [y.seeded(seed) for y, seed in zip(of, given, strict=True)]
    edges = [x.edge for x in by if x.edge is not None]
    nodes = tape.nodes_behind([y.edge for y in of])
    keep = create_graph if retain_graph is None else retain_graph
    with enable_grad() if create_graph else no_grad():
        found = tape.Sweep(nodes, edges, release=not keep).run(pairs)
    if not allow_disconnected and any(edge not in found for edge in edges):
        raise DisconnectedError(
            "grad: no differentiable path leads from the outputs to an input",
            hint="grad(..., allow_disconnected=True) gives zeros",
        )
    results = tuple([
        found[x] if x in found else Tensor.fitting(x.type, ZERO, "") for x in edges
    ])  # fmt: skip
    if not create_graph:
        held = {id(seed.array) for _, seed in pairs}
        results = tuple([Tensor.of(owned(ct.array, held)) for ct in results])
    return results[0] if isinstance(inputs, Tensor) else results


def _listed(tensors: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their Euclidean norm is at most ``max_norm``.

    ``g * (max_norm / max(norm, max_norm))``: Pascanu et al. (ICML 2013), algorithm 1. A NaN among
    them makes all of them NaN. The norm is computed in float64, without overflow.

    Returns:
        The norm before; 0 if there are no gradients.

    Raises:
        ArgumentError: a ``max_norm`` that is not positive.
    """
    if not max_norm > 0:
        raise ArgumentError(f"clip_grad_norm: max_norm is {max_norm}, not positive")
    owners = [tensor for tensor in params if tensor.grad is not None]
    with np.errstate(all="ignore"):
        norms = [float(np.linalg.norm(np.float64(tensor.grad).ravel())) for tensor in owners]
        norm = math.hypot(*norms) if not any(map(math.isnan, norms)) else math.nan
        if not norm <= max_norm:
            for tensor in owners:
                g: Any = tensor.grad
                tensor.grad = g * g.dtype.type(max_norm / norm)
    return norm
