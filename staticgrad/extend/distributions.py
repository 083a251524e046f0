"""Bases of distributions, and logarithms that lose no digits."""

from staticgrad.stats.base import (
    EULER,
    LOG_PI,
    LOG_ROOT_TAU,
    Continuous,
    Discrete,
    log1mexp,
    log1mexp_of_log,
    log1p_square,
    log_of,
    select,
)

# fmt: off
__all__ = [
    "Continuous", "Discrete", "EULER", "log1mexp", "log1mexp_of_log", "log1p_square", "log_of",
    "LOG_PI", "LOG_ROOT_TAU", "select",
]
# fmt: on
