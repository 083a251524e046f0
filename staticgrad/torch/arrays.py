"""Tensors of PyTorch as arrays of NumPy over the same memory, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend.optional import ml_dtypes, torch


def array_of(tensor: Any) -> Any:
    """View the memory of a torch tensor as a NumPy array, without a copy.

    Raises:
        ArgumentError: it is not on the CPU, or not an array in memory: sparse, quantized, nested.
    """
    if tensor.device.type != "cpu":
        raise ArgumentError(f"a tensor is on {tensor.device}", hint="tensor.cpu()")
    try:
        tensor = tensor.detach()
        if tensor.is_conj() or tensor.is_neg():
            tensor = tensor.resolve_conj().resolve_neg()
        if tensor.dtype is torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise _tensor_error(tensor, error) from None


def _tensor_error(tensor: Any, error: Exception) -> ArgumentError:
    """Build the error for a torch tensor that is no array in CPU memory."""
    if tensor.is_nested:
        return ArgumentError("a tensor is nested", hint="tensor.to_padded_tensor(0.0)")
    if tensor.is_quantized:
        return ArgumentError(f"a tensor is quantized, {tensor.dtype}", hint="tensor.dequantize()")
    if tensor.layout is not torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        return ArgumentError(f"a tensor has the layout {layout}", hint="tensor.to_dense()")
    return ArgumentError(f"a tensor is not an array in memory: {error}")


def tensor_of(array: Any) -> Any:
    """Return an array or number as a tensor over the same memory, without a copy."""
    array = np.asarray(array)
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def autograd_nodes(tensors: Iterable[Any]) -> Iterator[Any]:
    """Yield the nodes of autograd's graph that tensors are computed by, each once."""
    pending, visited = [tensor.grad_fn for tensor in tensors], {None}
    while pending:
        node = pending.pop()
        if node not in visited:
            visited.add(node)
            yield node
            pending += [function for function, _ in node.next_functions]
