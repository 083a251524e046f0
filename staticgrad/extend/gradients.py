"""Differentiation of values, below ``sg.grad`` of functions."""

from staticgrad.autodiff.forward import jvp, push_forward
from staticgrad.autodiff.jacobian import jacobian
from staticgrad.autodiff.reverse import grad, gradients_of_free_parameters, pull_back_stably, vjp
from staticgrad.autodiff.structure import leaves

# fmt: off
__all__ = [
    "grad", "gradients_of_free_parameters", "jacobian", "jvp", "leaves",
    "pull_back_stably", "push_forward", "vjp",
]
# fmt: on
