"""The processor as estimates and kernels see it: caches, registers, and how far it looks ahead.

Read once, when it is first asked for. No result depends on it, only how long one takes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from staticgrad import native
from staticgrad.support.errors import CPUError
from staticgrad.support.records import dataclass, replace

_CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")
#: Bytes of a unit in which the system gives sizes.
_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Machine:
    """A processor.

    The defaults are round figures of a server's core with 512-bit registers: they stand for what a
    system does not say, and tests use them.

    Args:
        l1, l2, l3: bytes of the caches of data.
        ways: lines of a set of the first.
        line: bytes of a line.
        vector_bits: width of a register.
        window: instructions that it looks ahead.
        per_cycle: instructions that it completes in a cycle.
    """

    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 16 << 20
    ways: int = 8
    line: int = 64
    vector_bits: int = 512
    window: int = 320
    per_cycle: float = 2.0

    @property
    def has_mask_registers(self) -> bool:
        """True if masks of lanes have their own registers."""
        return self.vector_bits >= 512


_assumed: list[Machine] = []


def current() -> Machine:
    """Return the machine that code is made for: this one, or that of ``assume_machine``.

    The width of its registers is that of the target that kernels are compiled for.
    """
    machine = _assumed[-1] if _assumed else _read(_CACHES)
    return replace(machine, vector_bits=_vector_bits())


@contextmanager
def assume_machine(machine: Machine) -> Iterator[None]:
    """Make schedules and kernels for the caches of another machine."""
    _assumed.append(machine)
    try:
        yield
    finally:
        _assumed.remove(machine)


def _vector_bits() -> int:
    """The width of a register; the default where nothing can be compiled, and Python runs."""
    try:
        return native.vector_bits()
    except CPUError:
        return Machine.vector_bits


@functools.cache
def _read(folder: Path) -> Machine:
    """Read the processor's caches from a folder of sysfs, with defaults."""
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
    return Machine(**fields)
