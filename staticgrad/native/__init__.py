"""The only door to Numba and llvmlite: kernels from source text, and the driver that runs them.

    >>> add = native.kernel(source)          # compiled, or found in memory or on disk
    >>> native.run(table.ctypes.data, 0, 3)  # rows of (add.address, record address, begin, end)

Importing this package imports neither Numba nor llvmlite; a kernel found on disk needs llvmlite
only. With ``STATICGRAD_JIT=0`` sources run as plain Python over NumPy lanes, with the same bytes,
and everything here behaves the same. Safe to call from threads and after a fork.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from staticgrad import config
from staticgrad.native.constants import ROW_WORDS
from staticgrad.native.lock import LOCK

if TYPE_CHECKING:
    from staticgrad.native.cache import CacheInfo
    from staticgrad.native.table import Driver

__all__ = [
    "ROW_WORDS",
    "Kernel",
    "Statistics",
    "cache_info",
    "clear_cache",
    "driver",
    "kernel",
    "run",
    "statistics",
]

Origin = Literal["memory", "disk", "compiled"]


@dataclass(frozen=True)
class Kernel:
    """A kernel ready to run.

    ``address`` goes into the first word of a table row. It is native code, or with the jit off
    the token of ``python``, the source's function over NumPy lanes. ``origin`` says where this
    call found it; ``compile_seconds`` is the time the call spent.
    """

    symbol: str
    address: int
    origin: Origin
    compile_seconds: float
    python: Callable[[int, int, int], None] | None = None

    @property
    def native(self) -> bool:
        """Whether ``address`` is machine code."""
        return self.python is None


@dataclass(frozen=True)
class Statistics:
    """What this process has asked for: kernels by origin, and seconds spent compiling."""

    compiled: int = 0
    disk: int = 0
    memory: int = 0
    compile_seconds: float = 0.0


class _Process:
    """What one process holds; a forked child keeps the loaded code."""

    def __init__(self) -> None:
        self.kernels: dict[tuple[bool, str], Kernel] = {}
        self.drivers: dict[bool, Driver] = {}
        self.counts = Statistics()

    def count(self, origin: Origin, seconds: float) -> None:
        found = self.counts
        self.counts = Statistics(
            found.compiled + (origin == "compiled"),
            found.disk + (origin == "disk"),
            found.memory + (origin == "memory"),
            found.compile_seconds + (seconds if origin == "compiled" else 0.0),
        )


_process: Final = _Process()


def kernel(source: str) -> Kernel:
    """The kernel of a source text (see ``vocabulary.md`` in this package for the language).

    Raises CompileError when the source is not in the language, CPUError on a processor that is
    not supported, SelfTestError when generated code is wrong on this machine.
    """
    jit = config.current().jit
    known = _process.kernels.get((jit, source))
    if known is not None:
        with LOCK:
            _process.count("memory", 0.0)
        return Kernel(known.symbol, known.address, "memory", 0.0, known.python)
    with LOCK:
        known = _process.kernels.get((jit, source))
        if known is not None:
            return kernel(source)
        start = time.perf_counter()
        made = _load_native(source, start) if jit else _load_python(source, start)
        _process.kernels[jit, source] = made
        _process.count(made.origin, made.compile_seconds)
        config.log(
            "cache", "%s %s in %.1f ms", made.symbol, made.origin, made.compile_seconds * 1e3
        )
        return made


def _load_native(source: str, start: float) -> Kernel:
    from staticgrad.native import jit

    symbol = jit.symbol_of(source)
    address, origin = _object(source, symbol, lambda target: jit.compile_source(source, target))
    return Kernel(symbol, address, origin, time.perf_counter() - start)


def _object(text: str, symbol: str, compile_for: Callable[..., object]) -> tuple[int, Origin]:
    """The address of a text's code, from disk if it is there, else compiled and stored."""
    from staticgrad.errors import CompileError
    from staticgrad.native import cache, loader, target
    from staticgrad.native.jit import ObjectCode

    host = target.host()
    name = cache.key(text, host)
    stored = cache.read(name)
    if stored is not None and stored.symbol == symbol:
        try:
            return loader.load(stored.elf, symbol, host), "disk"
        except CompileError as error:
            config.logger.warning("a cached kernel does not load, compiled anew: %s", error)
            cache.discard(name)
    code = compile_for(host)
    if not isinstance(code, ObjectCode):
        raise TypeError(f"compilation gave {type(code).__name__}")
    cache.write(name, code)
    return loader.load(code.elf, symbol, host), "compiled"


def _load_python(source: str, start: float) -> Kernel:
    from staticgrad.native import interpret, jit

    address, function = interpret.register(source)
    seconds = time.perf_counter() - start
    return Kernel(jit.symbol_of(source), address, "compiled", seconds, function)


def driver() -> Driver:
    """The callable ``(table address, first, last)`` that runs rows of a table in one call.

    Rows are ``ROW_WORDS`` int64 words in C order. Native rows run with the GIL released, in the
    default floating-point environment, which is restored. The caller keeps every record and array
    that the rows name alive.
    """
    jit = config.current().jit
    found = _process.drivers.get(jit)
    if found is None:
        with LOCK:
            found = _process.drivers.setdefault(jit, _make_driver(jit))
    return found


def _make_driver(jit: bool) -> Driver:
    if not jit:
        from staticgrad.native import interpret

        return interpret.run
    from staticgrad.native import table as rows
    from staticgrad.native.jit import compile_ir
    from staticgrad.native.target import host

    text = rows.text(host())
    address, _ = _object(text, rows.SYMBOL, lambda host: compile_ir(text, rows.SYMBOL, host))
    return rows.bind(address)


def run(table: int, first: int, last: int) -> None:
    """Runs rows ``first`` to ``last`` (exclusive) of the table at address ``table``."""
    driver()(table, first, last)


def statistics() -> Statistics:
    """Counts of this process so far."""
    return _process.counts


def cache_info() -> CacheInfo:
    """Directory, number and bytes of the kernels on disk."""
    from staticgrad.native import cache

    return cache.info()


def clear_cache() -> int:
    """Removes all kernels from disk (loaded ones keep working); returns how many there were."""
    from staticgrad.native import cache

    return cache.clear()
