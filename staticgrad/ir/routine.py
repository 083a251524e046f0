"""Routines: code that a schedule runs and no kernel describes, as of a library or of a user.

A routine is known by name; who has its code registers it
(``staticgrad.native.libraries.routines``).
"""

from __future__ import annotations

from staticgrad.ir.kernels.stages import Mode
from staticgrad.records import dataclass
from staticgrad.types.dtype import DType


@dataclass(frozen=True)
class Routine:
    """Code by its name, with what it does to each of its operands.

    ``alone``: it runs on the thread that called the program, as one call for all iterations, while
    no other step runs. Other routines are called by workers, for some of the iterations each.
    """

    name: str
    operands: tuple[tuple[Mode, DType], ...]
    alone: bool = False
