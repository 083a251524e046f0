"""The define-by-run twin: the same ops and the same rules, run at once on NumPy arrays.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([[1.0], [2.0]], requires_grad=True)
    >>> loss = (Tensor([[3.0, 4.0]]) @ w).sum()
    >>> loss.backward()
    >>> w.grad.tolist()
    [[3.0], [4.0]]

Start reading with ``tensor.py`` and ``tape.py``; the rest is built on these two. All functions of
``sg`` and ``sg.nn`` take tensors.
"""

import staticgrad.eager.shortcuts
import staticgrad.ops  # noqa: F401 - operators and methods find their functions by name
from staticgrad.eager.activations import (
    GELU as GELU,
    ReLU as ReLU,
    Sigmoid as Sigmoid,
    Softmax as Softmax,
    Tanh as Tanh,
)
from staticgrad.eager.checkpoint import checkpoint as checkpoint
from staticgrad.eager.data import DataLoader as DataLoader, TensorDataset as TensorDataset
from staticgrad.eager.differentiate import clip_grad_norm as clip_grad_norm, grad as grad
from staticgrad.eager.function import Function as Function
from staticgrad.eager.gradcheck import gradcheck as gradcheck
from staticgrad.eager.layers import (
    Dropout as Dropout,
    Embedding as Embedding,
    LayerNorm as LayerNorm,
    Linear as Linear,
    Module as Module,
    Sequential as Sequential,
    manual_seed as manual_seed,
)
from staticgrad.eager.losses import BCE as BCE, MSE as MSE, CrossEntropy as CrossEntropy
from staticgrad.eager.modes import (
    detect_mutation as detect_mutation,
    enable_autograd as enable_autograd,
    enable_grad as enable_grad,
    no_grad as no_grad,
)
from staticgrad.eager.optimizers import SGD as SGD, Adam as Adam
from staticgrad.eager.random import Generator as Generator
from staticgrad.eager.tensor import Tensor as Tensor
