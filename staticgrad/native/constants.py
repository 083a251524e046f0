"""Names and numbers that both readings of a kernel's source share."""

from __future__ import annotations

import math
from typing import Final

from staticgrad.support.records import NamedTuple

ENTRY: Final = "kernel"
"""The function of a source that is called as ``kernel(record, own, begin, end)``."""

OUTLINED: Final = "outlined_"
"""The prefix of the name of a helper that stays a function: it is called, not inlined."""


SHARED: Final = "shared_"
"""The prefix of the name of a helper that is compiled once for all kernels that call it."""


#: Fuel of a run that is never interrupted.
ENDLESS: Final = 2**62


class Row(NamedTuple):
    """A row of the driver's table: one kernel over all its outer iterations.

    Where ``function`` is 0, the row says where to go on (``control_code``). Else ``function`` and
    ``record`` are addresses, and ``scratch`` is the offset of the row's scratch words in a
    worker's block, in bytes. The ``total`` iterations are claimed in groups of ``grain``;
    0: all in one.

    ``section``: this row and the next ones, so many in all, may run at the same time, and are worth
    sharing between workers; 0: who calls the driver runs the row alone. ``first``: how many groups
    the rows of the section before this one have. ``flags`` are those of the section
    (``pool_code.WAKES`` and ``KEEPS``). A ``total`` below 0 is handed to the function as it is, as
    one group (``ir.kernels.chain_parts.PART``).
    """

    function: int
    record: int
    scratch: int
    total: int
    grain: int
    section: int = 0
    first: int = 0
    flags: int = 0


class Head(NamedTuple):
    """The words at the start of a worker's block.

    ``table`` is the address of the rows, ``pool`` that of the pool's memory, 0 where there is none.
    The blocks of ``workers`` lie ``stride`` bytes apart.

    ``fuel``: predicted nanoseconds of iterations of loops until the driver returns amid a loop;
    then ``resume`` is the address of the row to go on with (``control_code``). ``control`` is where
    the code is that follows rows without a function; 0 in tables that have none. ``python``: 0 in a
    run of the native entry, which stops at a row that calls Python; 1 in a run that may call it, 2
    when it has.

    The rest is the driver's, in the caller's block: where ``measures`` is not 0, it counts ``runs``
    of the table, and keeps the nanoseconds that they take ``shared`` and ``alone``, how the present
    one runs (``mode``, 1: alone), what it has ``spent`` so far, which way it ``prefers``, which
    ``turn`` of a trial and the ``interval`` after it this one is, how many runs that interval has,
    and by how much others have ``helped``: above 0 where they ran a quarter of what is theirs.
    """

    table: int
    pool: int = 0
    stride: int = 0
    workers: int = 1
    measures: int = 0
    runs: int = 0
    mode: int = 0
    spent: int = 0
    shared: int = 0
    alone: int = 0
    prefers: int = 0
    turn: int = 0
    interval: int = 0
    helped: int = 0
    fuel: int = ENDLESS
    resume: int = 0
    control: int = 0
    python: int = 0


ROW_WORDS: Final = len(Row._fields)
"""int64 words of a table row: a line of the cache."""

HEAD_WORDS: Final = len(Head._fields)
"""int64 words at the start of a worker's block."""

CONSTANTS: Final = {"inf": math.inf, "nan": math.nan}
"""Float literals that Python cannot spell."""


SIZE_OF_ROW: Final = 8 * ROW_WORDS
"""Bytes of a table row."""
