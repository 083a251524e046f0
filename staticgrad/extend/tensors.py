"""Eager mode: steps of optimizers on tensors."""

from staticgrad.eager.at_once import (
    at_once,
    eager_mode,
    minimize,
    next_values,
    rule_input,
    standing_in,
    step_now,
)

# fmt: off
__all__ = [
    "at_once", "eager_mode", "minimize", "next_values", "rule_input", "standing_in", "step_now",
]
# fmt: on
