"""Workloads: data, a loss in a common vocabulary, and how exact its results must be.

A workload knows no library: ``loss`` is written with the operations that it is handed. The same
initial values, drawn once with NumPy in float64 and rounded to the workload's dtype, go to
every implementation and, widened again, to the float64 truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
#: "sgd": loss, and one SGD step of the parameters. "gradient": values, and the gradient of the loss
#: by each variable. "hvp": those and the Hessian of the loss times a vector. "adam": loss, and one
#: Adam step of the parameters by gradients that are fed, from moments that are given. "adamw" and
#: "momentum": loss, and the first step of these optimizers.
Kind = Literal["sgd", "gradient", "hvp", "adam", "adamw", "momentum"]
Loss = Callable[[Any, Mapping[str, Any], Mapping[str, int]], tuple[Any, dict[str, Any]]]


class Adam:
    """Constants of Adam (Kingma and Ba, ICLR 2015, section 2), and the steps before the first."""

    BETAS: Final = (0.9, 0.999)
    EPSILON: Final = 1e-8
    STEPS_BEFORE: Final = 10


class Decoupled:
    """Constants of AdamW (arXiv 1711.05101) beside Adam's, and of SGD with momentum."""

    DECAY: Final = 1e-2
    MOMENTUM: Final = 0.9


@dataclass(frozen=True)
class Data:
    """Arrays by name: ``variables`` are differentiated, ``feeds`` are not.

    ``along`` has a vector per variable where the workload is a Hessian-vector product; ``batch``
    says which axis of a feed is open, for libraries that leave sizes open; ``sizes`` are the
    numbers that the loss needs and that not every library can read from its values; ``moments``
    are Adam's by variable, after ``Adam.STEPS_BEFORE`` steps, and the feeds ``slope:<variable>``
    its gradients.
    """

    variables: Arrays
    feeds: Arrays = field(default_factory=dict)
    along: Arrays = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, Any] = field(default_factory=dict)
    moments: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    def astype(self, dtype: str) -> Data:
        """The same with floating arrays in ``dtype``."""
        return replace(
            self,
            variables=_astype(self.variables, dtype),
            feeds=_astype(self.feeds, dtype),
            along=_astype(self.along, dtype),
            moments={
                name: (np.asarray(mean, dtype), np.asarray(square, dtype))
                for name, (mean, square) in self.moments.items()
            },
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        groups = (self.variables, self.feeds, self.along)
        moments = sum(array.nbytes for pair in self.moments.values() for array in pair)
        return moments + sum(array.nbytes for group in groups for array in group.values())


def _astype(arrays: Arrays, dtype: str) -> Arrays:
    return {
        name: np.asarray(a, dtype if a.dtype.kind == "f" else a.dtype, order="C")
        for name, a in arrays.items()
    }


def open_axes(batch: int, **axes: int) -> dict[str, int]:
    """The open axis of each feed; none in a batch of one, which users do not leave open."""
    return axes if batch > 1 else {}


Make = Callable[[np.random.Generator], Data]


@dataclass(frozen=True)
class Workload:
    """One measurable program.

    Args:
        name: how rows and options call it.
        kind: what is asked for; see ``Kind``.
        loss: (operations, values by name, sizes) -> (0-d loss, further outputs by name).
        data: makes the arrays in float64; they are cast to ``dtype``.
        small: the same at sizes that take no time: tests, and the overhead of a call.
        tolerance: largest error of a result, relative to the largest magnitude in its truth.
        about: one line for tables.
        dtype: "float32" or "float64".
        rate: the learning rate, of kinds that train.
        group: "suite", or the name of the benchmark, as "models" or "zoo".
    """

    name: str
    kind: Kind
    loss: Loss
    data: Make
    small: Make
    tolerance: float
    about: str
    dtype: str = "float32"
    rate: float = 0.01
    group: str = "suite"

    @property
    def trains(self) -> bool:
        """Return whether a step changes parameters."""
        return self.kind not in ("gradient", "hvp")

    @property
    def has_moments(self) -> bool:
        """Return whether a step starts from moments of zero, which the gate reads."""
        return self.kind in ("adamw", "momentum")

    def make(self, small: bool = False) -> Data:
        """The arrays of a run, always the same ones."""
        random = np.random.default_rng(20_240_501)
        return (self.small if small else self.data)(random).astype(self.dtype)

    def in_float64(self, tolerance: float = 1e-9) -> Workload:
        """The variant in double precision."""
        return replace(self, name=f"{self.name}_f64", dtype="float64", tolerance=tolerance)
