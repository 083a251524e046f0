"""The float64 truth of a workload, as stored between processes. How it is made: certificate.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.workload import Arrays


@dataclass(frozen=True)
class Truth:
    """``results`` by the names of ``Program``; the loss after one update; the work of a step.

    ``flops`` are all arithmetic operations of a step as staticgrad schedules it, ``product_flops``
    those inside matrix products; ``nbytes`` is what must move at least: arrays in, results out,
    parameters both.
    """

    results: Arrays
    second_loss: float | None
    flops: float
    product_flops: float
    nbytes: float

    def save(self, file: Path) -> None:
        """Write an ``.npz``."""
        second = np.nan if self.second_loss is None else self.second_loss
        numbers = np.array([second, self.flops, self.product_flops, self.nbytes])
        results: dict[str, Any] = {f"result {k}": v for k, v in self.results.items()}
        np.savez(file, numbers=numbers, **results)

    @classmethod
    def load(cls, file: Path) -> Truth:
        """Read what ``save`` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            names = [name for name in arrays.files if name != "numbers"]
            results = {name.removeprefix("result "): arrays[name] for name in names}
            second, flops, products, nbytes = (float(x) for x in arrays["numbers"])
        return cls(results, None if np.isnan(second) else second, flops, products, nbytes)
