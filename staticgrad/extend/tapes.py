"""Tapes of eager mode: what they recorded, and its differentiation."""

from staticgrad.eager.differentiate import grad
from staticgrad.eager.stepping import prepare_step
from staticgrad.eager.tape import TapeSweep, recording, serials

# fmt: off
__all__ = [
    "grad", "prepare_step", "recording", "serials", "TapeSweep",
]
# fmt: on
