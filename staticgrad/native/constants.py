"""Names and numbers that both readings of a kernel's source share."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

ENTRY: Final = "kernel"
"""The function of a source that is called as ``kernel(record, own, begin, end)``."""

OUTLINED: Final = "outlined_"
"""How the name of a helper begins that stays a function: it is called, not inlined."""


class Row(NamedTuple):
    """A row of the driver's table: one kernel over all its outer iterations.

    ``function`` and ``record`` are addresses. ``own``: where the row's words begin in a worker's
    block, in bytes from its start, where the address of the table stands. The ``total`` iterations
    are claimed in groups of ``grain``; 0: all in one. ``barrier`` is 1 where every earlier row must
    be finished before this one begins.
    """

    function: int
    record: int
    own: int
    total: int
    grain: int
    barrier: int


ROW_WORDS: Final = len(Row._fields)
"""int64 words of a table row."""

CONSTANTS: Final = {"inf": math.inf, "nan": math.nan}
"""Float literals that Python cannot spell."""

MODULES: Final = {"math": math}
"""Modules that a source finds by name where Numba or Python itself reads it."""
