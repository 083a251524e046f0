"""The processor's caches of data, as the system describes them.

Linux has files for them (sysfs); macOS answers by name (sysctl), for the fast cores if there are
two kinds. What a system does not say is not in the answer.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/sys/devices/system/cpu/cpu0/cache")
#: Bytes of a unit in which Linux gives sizes.
_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
#: Names of macOS, by what they say; "hw.perflevel0" is that of the fast cores.
_NAMES: Final = {
    "l1": ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"),
    "l2": ("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
    "l3": ("hw.l3cachesize",),
    "line": ("hw.cachelinesize",),
}


def read_caches() -> dict[str, int]:
    """Return what the system says of the caches of data.

    The keys are those of ``read_files``.
    """
    return read_names(sysctl_number) if sys.platform == "darwin" else read_files(FOLDER)


def read_files(folder: Path) -> dict[str, int]:
    """Read a folder of Linux's sysfs.

    Returns:
        Bytes of the levels ``l1``, ``l2``, ``l3`` and of a ``line``, and the ``ways`` of the first.
    """
    fields: dict[str, int] = {}
    for part in sorted(folder.glob("index*")):
        try:
            level, kind, size, ways, line = (
                (part / name).read_text().strip()
                for name in (
                    "level", "type", "size", "ways_of_associativity", "coherency_line_size"
                )
            )  # fmt: skip
        except OSError:
            continue
        if kind == "Instruction" or level not in "123":
            continue
        number, unit = size.rstrip("KMG"), size[-1:]
        if number.isdecimal() and int(number) > 0:
            fields.setdefault(f"l{level}", int(number) * _UNITS.get(unit, 1))
        for name, text in (("ways", ways), ("line", line)) if level == "1" else ():
            if text.isdecimal() and int(text) > 0:
                fields.setdefault(name, int(text))
    return fields


def read_names(number_of: Callable[[str], int]) -> dict[str, int]:
    """Return the fields whose names macOS knows, each by the first name that has a number."""
    fields = {}
    for field, spellings in _NAMES.items():
        numbers = (number_of(spelling) for spelling in spellings)
        number = next((number for number in numbers if number > 0), 0)
        if number:
            fields[field] = number
    return fields


def sysctl_number(name: str) -> int:
    """Return the number that macOS's sysctl has under a name; 0: none."""
    number, nbytes = ctypes.c_int64(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int64))
    call = getattr(ctypes.CDLL(None), "sysctlbyname", None)
    failed = call is None or call(
        name.encode(), ctypes.byref(number), ctypes.byref(nbytes), None, 0
    )
    return 0 if failed else number.value
