"""Gradients as values: ``grad``, of any order, and what is done with gradients.

Unlike ``backward`` nothing is stored on tensors. With ``create_graph`` the walk back is recorded
itself, so that what it gives can be differentiated again. ``gradcheck`` compares gradients with
central differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.complex_tensor import ComplexTensor
from staticgrad.eager.tape import enable_grad, no_grad, recording
from staticgrad.eager.tensor import Tensor, copy_if_shared
from staticgrad.errors import ArgumentError, CheckError, DisconnectedError, GradientError
from staticgrad.language.ops.cotangent import TRANSPOSES, ZERO


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | ComplexTensor | Sequence[Tensor | ComplexTensor],
    seeds: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_disconnected: bool = False,
) -> Any:
    """The gradient of the sum of ``outputs`` by each of ``inputs``.

    Args:
        outputs: a tensor, or several.
        inputs: what to differentiate by: a tensor, or several; interior ones too. The gradient by
            a complex one, x + iy, is ``dL/dx - i dL/dy``, as of ``sg.grad``.
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
    targets = [inputs] if isinstance(inputs, Tensor | ComplexTensor) else list(inputs)
    parts = [_real_parts(tensor) for tensor in targets]
    of, by = _as_list(outputs), [part for tensor_parts in parts for part in tensor_parts]
    cotangents = [seeds] if isinstance(outputs, Tensor) else seeds or [None] * len(of)
    if len(cotangents) != len(of):
        raise ArgumentError(f"grad: {len(cotangents)} seeds for {len(of)} outputs")
    _check_recorded(by)
    pairs = [y.backward_seed(seed) for y, seed in zip(of, cotangents, strict=True)]
    edges = [x.edge for x in by if x.edge is not None]
    nodes = tape.nodes_behind([y.edge for y in of])
    keep = create_graph if retain_graph is None else retain_graph
    slopes = _walk_back(nodes, pairs, edges, create_graph, keep)
    if not allow_disconnected and any(slope is None for slope in slopes):
        raise _disconnected_error()
    completed = iter([
        Tensor.fitting(edge.type, ZERO, "") if slope is None else slope
        for edge, slope in zip(edges, slopes, strict=True)
    ])  # fmt: skip
    results = tuple([_join_parts(x, [next(completed) for _ in tensor_parts])
                     for x, tensor_parts in zip(targets, parts, strict=True)])  # fmt: skip
    return results[0] if isinstance(inputs, Tensor | ComplexTensor) else results


def _real_parts(x: Tensor | ComplexTensor) -> list[Tensor]:
    """Return the real tensors that receive gradients: ``x``, or both parts of a complex tensor.

    A complex one without a part that needs any gives both, for the error that it needs none.
    """
    if isinstance(x, Tensor):
        return [x]
    parts: list[Any] = [part for part in (x.re, x.im) if part is not None]
    return [part for part in parts if part.requires_grad] or parts


def _join_parts(x: Tensor | ComplexTensor, slopes: Sequence[Any]) -> Any:
    """The gradient by a tensor of those by its parts."""
    if isinstance(x, Tensor):
        return slopes[0]
    slope_by_part = dict(zip(map(id, _real_parts(x)), slopes, strict=True))
    re, im = slope_by_part.get(id(x.re)), slope_by_part.get(id(x.im))
    return ComplexTensor(re, None if im is None else -im)


def check_connected(output: Tensor, inputs: Sequence[Tensor]) -> None:
    """Raise as ``grad`` would, where the tape shows it without computing anything."""
    _check_recorded(inputs)
    edge, _ = output.backward_seed(None)
    reached = {edge, *(edge for node in tape.nodes_behind([edge]) for edge in node.operands)}
    if any(tensor.edge not in reached for tensor in inputs):
        raise _disconnected_error()


def _check_recorded(inputs: Sequence[Tensor]) -> None:
    if any(not tensor.requires_grad for tensor in inputs):
        raise GradientError("grad: an input does not require a gradient: nothing was recorded")


def _disconnected_error() -> DisconnectedError:
    return DisconnectedError(
        "grad: no differentiable path leads from the outputs to an input",
        hint="grad(..., allow_disconnected=True) gives zeros",
    )


def _walk_back(
    nodes: list[tape.TapeNode],
    pairs: Sequence[tuple[tape.Edge, Any]],
    edges: Sequence[tape.Edge],
    create_graph: bool,
    keep: bool,
) -> list[Any]:
    """Walk back the tape and return the cotangent of each edge; None where no path leads."""
    with enable_grad() if create_graph else no_grad():
        cotangents = tape.TapeSweep(nodes, edges, release=not keep).run(pairs)
    if create_graph:
        return [cotangents.get(edge) for edge in edges]
    seed_arrays = {id(seed.array) for _, seed in pairs}
    for edge in list(cotangents):  # what has to be copied is let go of, one after the other
        cotangents[edge] = Tensor.of(copy_if_shared(cotangents.pop(edge).array, seed_arrays))
    return [cotangents.get(edge) for edge in edges]


def _transpose_push(
    push: Callable[[tuple[Any, ...]], Any], args: Sequence[Tensor], ct: Tensor
) -> tuple[Any, ...]:
    """Transpose ``push``, linear in tangents: return each operand's cotangent."""
    stand_ins = [
        Tensor(np.zeros(arg.shape, arg.dtype.numpy), requires_grad=True)
        if arg.dtype.is_float
        else None
        for arg in args
    ]
    is_recording, since = recording.innermost(), next(tape.serials)
    with enable_grad():
        tangent = push(tuple(stand_ins))
    if tangent.edge is None:
        return (None,) * len(args)
    # The operands stand on the tape that is being walked: what is behind them is not for this walk.
    nodes = tape.nodes_behind([tangent.edge], since)
    edges = [
        stand_in.edge
        for stand_in in stand_ins
        if stand_in is not None and stand_in.edge is not None
    ]
    cotangents = iter(
        _walk_back(nodes, [tangent.backward_seed(ct)], edges, is_recording, is_recording)
    )
    return tuple(None if stand_in is None else next(cotangents) for stand_in in stand_ins)


TRANSPOSES[Tensor] = _transpose_push


def _as_list(tensors: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their Euclidean norm is at most ``max_norm``.

    ``g * (max_norm / max(norm, max_norm))``: Pascanu et al. (ICML 2013), algorithm 1. A NaN among
    them makes all of them NaN. The norm is computed in float64, without overflow.

    Args:
        params: tensors; those without a gradient do not count.
        max_norm: a positive number.

    Returns:
        The norm before; 0 if there are no gradients.

    Raises:
        ArgumentError: a ``max_norm`` that is not positive.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x * 0.5).sum().backward()
    >>> clip_grad_norm([x], 1.0), x.grad
    (5.0, array([0.6, 0.8], dtype=float32))
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


def gradcheck(
    function: Callable[..., Any],
    inputs: Tensor | ComplexTensor | Sequence[Tensor | ComplexTensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Check gradients against (f(x + eps) - f(x - eps)) / (2 eps), at every element.

    Everything is computed in float64: floating inputs are converted. The function's results are
    weighted by fixed random numbers and added up. Of complex inputs both parts are moved, of
    complex results both are added up.

    Args:
        function: takes the inputs, gives a tensor or a tuple of them.
        inputs: a tensor or several; those that require gradients are moved.
        eps: the step.
        atol, rtol: ``abs(found - expected) <= atol + rtol * abs(expected)`` must hold.
        raise_exception: raise instead of returning False.

    Returns:
        True if they agree.

    Raises:
        CheckError: they disagree; shows where most.

    >>> from staticgrad.eager import Tensor
    >>> gradcheck(lambda x: x * x, Tensor([1.0, 2.0], requires_grad=True))
    True
    """
    tensors = [inputs] if isinstance(inputs, Tensor | ComplexTensor) else list(inputs)
    wide: list[Any] = [_wide(t) for t in tensors]
    variables = [part for tensor in wide for part in _real_parts(tensor) if part.requires_grad]
    if not variables:
        raise CheckError("gradcheck: no input requires a gradient")
    gradients = grad(_total(function, wide), variables, allow_disconnected=True)
    for number, (tensor, ct) in enumerate(zip(variables, gradients, strict=True), 1):
        # Central differences by every element of `moved`.
        expected = np.zeros_like(tensor.data)
        with no_grad():
            for place in np.ndindex(*expected.shape):
                original = tensor.data[place]
                tensor.data[place] = original + eps
                above = _total(function, wide).item()
                tensor.data[place] = original - eps
                below = _total(function, wide).item()
                tensor.data[place] = original
                expected[place] = (above - below) / (2.0 * eps)
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


def _wide(x: Tensor | ComplexTensor) -> Any:
    if isinstance(x, ComplexTensor):
        return Tensor(x.data, x.requires_grad, "complex128")
    return Tensor(x.data, x.requires_grad, "float64" if x.dtype.is_float else x.dtype)


def _total(function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    """Add up a function's results, weighed by fixed random numbers, for ``gradcheck``."""
    results = function(*inputs)
    random = np.random.default_rng(0)
    total: Any = 0.0
    listed = results if isinstance(results, tuple) else (results,)
    parts = [
        (result.real, result.imag) if isinstance(result, ComplexTensor) else (result,)
        for result in listed
    ]
    for result in (part for pair in parts for part in pair):
        total = total + (result * random.uniform(0.5, 1.5, result.shape)).sum()
    return total
