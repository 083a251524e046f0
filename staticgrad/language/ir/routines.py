"""Routines: code of a library, or of a user, that a schedule runs and no kernel describes.

The schedule contains the routine's name; the module with its code registers it
(``staticgrad.native.libraries.lapack``).
"""

from __future__ import annotations

from staticgrad.language.ir.forms import CallForm, Scratch
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


def choose_routine(form: CallForm) -> tuple[str, Scratch]:
    """Return the routine of a call and its scratch.

    They are those of the portable variant where the setting wants it.
    """
    if form.routine.startswith("linalg:") and config.current().linalg == "portable":
        scratch = form.scratch if form.portable_scratch is None else form.portable_scratch
        return f"{form.routine}.portable", scratch
    return form.routine, form.scratch
