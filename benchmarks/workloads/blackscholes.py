"""European calls by Black and Scholes (1973): a million prices, and their four sensitivities."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload

_RATE = 0.03  # of interest


def options(count: int) -> Make:
    """Spot, strike, time to maturity and volatility of ``count`` options."""

    def make(random: np.random.Generator) -> Data:
        return Data({
            "spot": random.uniform(80, 120, count),
            "strike": random.uniform(80, 120, count),
            "time": random.uniform(0.25, 2, count),
            "volatility": random.uniform(0.1, 0.5, count),
        })  # fmt: skip

    return make


def loss(ops: Any, v: Mapping[str, Any], _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """The sum of the prices; the prices are an output."""
    spot, strike, time, volatility = (v[k] for k in ("spot", "strike", "time", "volatility"))
    deviation = volatility * ops.sqrt(time)
    d1 = (ops.log(spot / strike) + (_RATE + 0.5 * volatility * volatility) * time) / deviation
    price = spot * _normal(ops, d1) - strike * ops.exp(-_RATE * time) * _normal(ops, d1 - deviation)
    return ops.sum(price), {"price": price}


def _normal(ops: Any, x: Any) -> Any:
    return 0.5 + 0.5 * ops.erf(x * (1 / sqrt(2)))


_FULL = Workload(
    "blackscholes", "gradient", loss, options(1_000_000), options(3), 2e-5,
    "prices and 4 gradients of 1M options",
)  # fmt: skip
WORKLOADS = (_FULL, _FULL.in_float64(1e-12))
