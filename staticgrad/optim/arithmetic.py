"""What the formulas of several optimizers share."""

from __future__ import annotations

from typing import Any

from staticgrad.ir.graph import Parameter


def moving_average(old: Any, new: Any, decay: float) -> Any:
    """``decay * old + (1 - decay) * new``: an exponential moving average after one more value."""
    return decay * old + (1.0 - decay) * new


def with_decay(direction: Any, weight_decay: float, p: Parameter) -> Any:
    """``direction + weight_decay * p``; without a decay no operation is added.

    Of a gradient it is the L2 penalty's; of what the rate is multiplied with, decoupled decay.
    """
    return direction + weight_decay * p if weight_decay else direction
