"""What parameters hold now, and other arrays, as tensors: for formulas that also make graphs."""

from __future__ import annotations

from typing import Any

import numpy as np


def tensor_of(data: Any, dtype: Any = None) -> Any:
    """A tensor of an array or number."""
    from staticgrad.eager.tensor import Tensor  # who makes graphs alone does without

    return Tensor.of(np.asarray(data, dtype))
