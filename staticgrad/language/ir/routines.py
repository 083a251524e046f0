"""Routines: code of a library, or of a user, that a schedule runs and no kernel describes.

The schedule contains the routine's name; the module with its code registers it
(``staticgrad.native.libraries.lapack``).
"""

from __future__ import annotations

from staticgrad.language.ir.kernels.stages import Mode
from staticgrad.language.types.dtype import DType
from staticgrad.support import config
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Routine:
    """Code by its name, with what it does to each of its operands.

    ``alone``: it runs on the thread that called the program, as one call for all iterations, while
    no other step runs. Other routines are called by workers, for some of the iterations each.
    """

    name: str
    operands: tuple[tuple[Mode, DType], ...]
    alone: bool = False

    @property
    def is_collective(self) -> bool:
        """Return whether all ranks call it together: once in each run, in the listed order."""
        return self.name.startswith("ranks:")


def choose_routine(name: str) -> str:
    """Return a routine's name, or that of its portable variant where the setting wants it."""
    is_portable = name.startswith("linalg:") and config.current().linalg == "portable"
    return f"{name}.portable" if is_portable else name
