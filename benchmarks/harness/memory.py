"""The growth of a process during a call: the high-water mark of its resident memory.

Linux keeps the mark and sets it back on demand, so that what was resident before, while a program
was compiled, say, does not hide what the call needs. Freed memory is handed back first.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path


class Growth:
    """From where it is made on."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", "ascii")
        self._resident = _status("VmRSS")

    def bytes(self) -> int:
        """The most bytes that were resident since, less those that were then."""
        return _status("VmHWM") - self._resident


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
