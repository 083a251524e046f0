"""Copies of the parameters that a plan updates, for a driver that interrupts may divide.

With ``STATICGRAD_JIT=0`` the driver is Python code, and a signal handler, or the end of the run,
may come between any two of its rows. So its kernels update copies, and one call that nothing
divides writes them all to where they belong.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from staticgrad.runtime.arena import address_of
from staticgrad.storage.parameter import ParameterStore, aligned_bytes, write_together


class Shadows:
    """A copy of each of some parameters."""

    def __init__(self, stores: Iterable[ParameterStore]) -> None:
        self._originals = {store.name: store.array for store in stores}
        self._copies = {
            name: aligned_bytes(array.nbytes).view(array.dtype).reshape(array.shape)
            for name, array in self._originals.items()
        }

    def address(self, name: str) -> int | None:
        """Where the copy of a parameter is; None for one that is not updated."""
        copy = self._copies.get(name)
        return None if copy is None else address_of(copy)

    def take_over(self) -> None:
        """Copy the parameters' present values."""
        for name, array in self._originals.items():
            np.copyto(self._copies[name], array)

    def publish(self) -> None:
        """Give all parameters the values of their copies."""
        write_together([*self._originals.values()], [*self._copies.values()])
