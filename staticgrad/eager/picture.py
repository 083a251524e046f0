"""The view of a tensor in a notebook: its numbers, type, origin and gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from staticgrad.pictures.markup import fragment, preformatted, table

if TYPE_CHECKING:
    from staticgrad.eager.tensor import Tensor

_EDGE, _MOST = 3, 200


def tensor_html(tensor: Tensor) -> str:
    """The tensor as a table of facts, with its elements under it."""
    rows = [("type", str(tensor.type)), ("requires_grad", str(tensor.requires_grad))]
    if tensor.grad_fn is not None:
        rows.append(("grad_fn", type(tensor.grad_fn).__name__))
    if tensor.grad is not None:
        rows.append(("grad", _elements(tensor.grad)))
    return fragment(table(("", ""), rows), preformatted(_elements(tensor.data)))


def _elements(array: object) -> str:
    return np.array2string(np.asarray(array), threshold=_MOST, edgeitems=_EDGE, separator=", ")
