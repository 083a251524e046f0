"""The processor as estimates and kernels see it: caches, registers, and how far it looks ahead.

Read once, when it is first asked for. No result depends on it, only how long one takes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from staticgrad import native
from staticgrad.errors import CPUError
from staticgrad.native.system.caches import read_caches
from staticgrad.support import config
from staticgrad.support.records import dataclass, replace


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
        multiplies_pairs: whether an instruction multiplies pairs of bfloat16 faster than FMAs do.
    """

    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 16 << 20
    ways: int = 8
    line: int = 64
    vector_bits: int = 512
    window: int = 320
    per_cycle: float = 2.0
    multiplies_pairs: bool = False

    @property
    def has_mask_registers(self) -> bool:
        """True if masks of lanes have their own registers."""
        return self.vector_bits >= 512


_assumed: list[Machine] = []
#: The width of registers, and whether pairs of bfloat16 are multiplied, by the setting ``target``.
_facts: dict[str, tuple[int, bool]] = {}


def current() -> Machine:
    """Return the machine that code is made for: this one, or that of ``assume_machine``.

    The width of its registers, and its instructions, are those of the target that kernels are
    compiled for.
    """
    return _with_target(_assumed[-1] if _assumed else _read(), *_target_facts())


@functools.lru_cache(maxsize=16)
def _with_target(machine: Machine, bits: int, multiplies_pairs: bool) -> Machine:
    """Return the machine with the registers and instructions of a target."""
    return replace(machine, vector_bits=bits, multiplies_pairs=multiplies_pairs)


@contextmanager
def assume_machine(machine: Machine) -> Iterator[None]:
    """Make schedules and kernels for the caches of another machine."""
    _assumed.append(machine)
    try:
        yield
    finally:
        _assumed.remove(machine)


def _target_facts() -> tuple[int, bool]:
    """Return the width of a register, and whether pairs of bfloat16 are multiplied; the defaults
    where nothing can be compiled, and Python runs."""
    setting = config.current().target
    if setting not in _facts:
        try:
            _facts[setting] = native.vector_bits(), native.multiplies_pairs()
        except CPUError:
            return Machine.vector_bits, Machine.multiplies_pairs
    return _facts[setting]


@functools.cache
def _read() -> Machine:
    """Read the processor's caches, with defaults."""
    caches: dict[str, Any] = read_caches()
    return Machine(**caches)
