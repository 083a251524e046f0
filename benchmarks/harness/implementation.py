"""The interface of a measured library: load, build, compile, step, and its results as arrays.

An ``Implementation`` is configured as its own documentation advises, and says so in ``settings``.
It makes a ``Program`` from a workload; the phases are separate calls so that each can be timed.
Nothing here measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.harness.workload import Array, Arrays, Data, Workload


class UnsupportedError(Exception):
    """The library cannot do this, by its own account; the row says why and shows no time."""


@dataclass
class Settings:
    """Configuration of a process: threads to use, a folder for compiled code, the dtype.

    With ``avx2`` every library is kept from wider instructions, as far as it can be told to.
    """

    threads: int
    cache: str
    dtype: str = "float32"
    avx2: bool = False


class Program(ABC):
    """One workload in one library. Phases in order: ``build``, ``compile``, then ``step``s.

    ``step`` makes one call, waits until it has finished, and returns what the library returns.
    Results are named ``loss``, the workload's outputs, ``gradient:<variable>`` and
    ``hvp:<variable>``; a step that trains returns the loss only, and changes ``parameters``.
    """

    step: Callable[[], Any]

    def __init__(self, workload: Workload, data: Data, settings: Settings) -> None:
        self.workload, self.data, self.settings = workload, data, settings

    @abstractmethod
    def build(self) -> None:
        """From arrays and a loss to the library's own form of the program."""

    def compile(self) -> None:
        """To code that runs, where that is a call of its own; else the first ``step`` does it."""
        return

    def tune(self) -> str:
        """Choose among settings that the documentation leaves open; what was chosen, as text."""
        return ""

    @abstractmethod
    def results(self, returned: Any) -> Mapping[str, Array]:
        """Return the results of ``step`` as NumPy arrays."""

    @abstractmethod
    def parameters(self) -> Arrays:
        """The present values of the parameters; empty but for steps that train."""

    def moments(self) -> dict[str, tuple[Array, ...]]:
        """Means of the gradients after a step by parameter, where the workload has moments.

        AdamW's are those of gradients and squares, momentum's the sum of gradients.
        """
        return {}

    def copies(self) -> int | None:
        """Return the number of parameters that a step writes by a copy; None if unknown."""
        return None

    def planned_bytes(self) -> int | None:
        """Working memory of a step as the library predicts it, or None."""
        return None


class Implementation(ABC):
    """A library, by the name that rows show.

    ``package`` is what has to be installed; ``quick`` says whether ``--quick`` includes it, or on
    which workloads, and ``default`` that a run without ``--impl`` does. Ratios are to the best with
    ``peer``.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    settings: ClassVar[str] = ""
    threads: ClassVar[int | None] = None  # None: as many as it is given
    quick: ClassVar[bool | frozenset[str]] = True
    default: ClassVar[bool] = True
    peer: ClassVar[bool] = True

    @classmethod
    def is_quick(cls, workload: str) -> bool:
        """Return whether ``--quick`` runs it on a workload."""
        return workload in cls.quick if isinstance(cls.quick, frozenset) else cls.quick

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        """Variables that must be set before the process starts."""
        return {}

    @abstractmethod
    def load(self, settings: Settings) -> dict[str, str]:
        """Import and configure; versions by package name."""

    @abstractmethod
    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        """A program that is not built yet.

        Raises:
            UnsupportedError, NotYetError: here or while building, if the library cannot.
        """


def implementation_at(place: str) -> type[Implementation]:
    """The class at "module:class"."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def values_of(data: Data) -> Arrays:
    """Every array that a loss may read, by name."""
    return {**data.variables, **data.feeds}
