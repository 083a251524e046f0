"""eager mode: the same ops and the same rules, run at once on NumPy arrays.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([[1.0], [2.0]], requires_grad=True)
    >>> loss = (Tensor([[3.0, 4.0]]) @ w).sum()
    >>> loss.backward()
    >>> w.grad.tolist()
    [[3.0], [4.0]]

Start reading with ``tensor.py`` and ``tape.py``; the rest is built on these two. All functions of
``sg`` and ``sg.nn`` take tensors; ``sg.optim.SGD(0.1).on(tensors)`` steps them.
"""

import staticgrad.eager.complex_tensor
import staticgrad.eager.rowwise
import staticgrad.eager.shortcuts
import staticgrad.functions  # noqa: F401 - operators and methods find their functions
from staticgrad.eager.checkpoint import checkpoint
from staticgrad.eager.differentiate import clip_grad_norm, grad, gradcheck
from staticgrad.eager.function import Function
from staticgrad.eager.tape import detect_mutation, enable_autograd, enable_grad, no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.eager.watching import detect_anomaly, profile
from staticgrad.language.calls.arguments import namespace

__all__ = [
    "Function",
    "Tensor",
    "checkpoint",
    "clip_grad_norm",
    "detect_anomaly",
    "detect_mutation",
    "enable_autograd",
    "enable_grad",
    "grad",
    "gradcheck",
    "no_grad",
    "profile",
]


namespace(globals())
