"""Functions of ``sg.nn``, in the form that other functions call."""

from staticgrad.language.functions.nn import log_softmax, logsumexp, relu, softmax, softplus

# fmt: off
__all__ = [
    "log_softmax", "logsumexp", "relu", "softmax", "softplus",
]
# fmt: on
