"""Tensors of PyTorch as arrays of NumPy over the same memory, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.support.errors import ArgumentError
from staticgrad.support.optional import ml_dtypes, torch


def array_of(tensor: Any) -> Any:
    """Return the memory of a tensor as an array, without a copy.

    Raises:
        ArgumentError: it is not on the CPU.
    """
    if tensor.device.type != "cpu":
        raise ArgumentError(f"a tensor is on {tensor.device}", hint="tensor.cpu()")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def tensor_of(array: Any) -> Any:
    """Return an array or number as a tensor over the same memory, without a copy."""
    array = np.asarray(array)
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
