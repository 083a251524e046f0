"""Names and numbers that both readings of a kernel's source share."""

from __future__ import annotations

import math
from typing import Final

ENTRY: Final = "kernel"
"""The function of a source that is called as ``kernel(record, begin, end)``."""

ROW_WORDS: Final = 4
"""int64 words of a table row: function address, record address, begin, end."""

CONSTANTS: Final = {"inf": math.inf, "nan": math.nan}
"""Float literals that Python cannot spell."""

MODULES: Final = {"math": math}
"""Modules that a source finds by name where Numba or Python itself reads it."""
