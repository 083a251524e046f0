"""Bases of distributions, and logarithms that lose no digits."""

from staticgrad.stats.base import (
    EULER,
    Continuous,
    Discrete,
    log1mexp,
    log_of,
    select,
)

# fmt: off
__all__ = [
    "Continuous", "Discrete", "EULER", "log1mexp", "log_of",
    "select",
]
# fmt: on
