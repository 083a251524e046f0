"""The only door to llvmlite: kernels from source text, and the driver that runs them.

    add = native.kernel(source)          # compiled, or found in memory or on disk, by its key
    native.driver()(block.ctypes.data, 0, 3)  # its head names a table of ``native.Row`` words

``kernel`` writes LLVM IR for sources in the kernel language; with ``STATICGRAD_JIT=0`` their text
runs as plain Python over NumPy lanes, with bitwise identical results. Importing this package does
not import llvmlite. Safe to call from threads and after a fork.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakValueDictionary

from staticgrad.errors import OutOfMemory, ReentryError
from staticgrad.native.constants import HEAD_WORDS, ROW_WORDS, Head, Row
from staticgrad.native.lock import LOCK
from staticgrad.native.source import KernelSource, RuntimeCode, SourceText, source_of
from staticgrad.support import config
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.native.cache import CacheInfo
    from staticgrad.native.jit import ObjectCode
    from staticgrad.native.language.parts import Module
    from staticgrad.native.objects import LoadedFunction
    from staticgrad.native.table.rows import Driver
    from staticgrad.native.target import Target

__all__ = [
    "Code",
    "HEAD_WORDS",
    "Head",
    "KernelSource",
    "ROW_WORDS",
    "Row",
    "SourceText",
    "Statistics",
    "begin",
    "cache_info",
    "clear_cache",
    "compiling",
    "control",
    "count",
    "driver",
    "kernel",
    "statistics",
    "vector_bits",
    "wait",
]

Mode = Literal["vector", "python"]
Origin = Literal["memory", "disk", "compiled"]


@dataclass(frozen=True)
class Code:
    """A kernel ready to run.

    ``address`` goes into the first word of a table row. It is native code, or with the jit off
    the token of ``python``, the source's function over NumPy lanes. ``source`` is what was
    compiled, and ``compiler`` the backend that did it: never ``auto``, and ``python`` with the jit
    off. ``origin`` says where this call found it; ``compile_seconds`` is the time the call spent.
    ``keep`` must live as long as the address is called. Code of a text, as of the runtime, stays.
    ``fails``: it allocates memory while it runs. Its records have one word more, the address of a
    word that it sets to 1 where there is none; the run raises OutOfMemory.
    """

    symbol: str
    address: int
    source: str | KernelSource
    compiler: str
    origin: Origin = "compiled"
    compile_seconds: float = 0.0
    keep: object = None
    python: Callable[[int, int, int, int], None] | None = None
    fails: bool = False

    @property
    def native(self) -> bool:
        """True if ``address`` is machine code."""
        return self.python is None


@dataclass(frozen=True)
class Statistics:
    """Requests of this process: kernels by origin, and seconds spent compiling."""

    compiled: int = 0
    disk: int = 0
    memory: int = 0
    compile_seconds: float = 0.0


class _Process:
    """The kernels and drivers of one process; a forked child keeps the loaded code."""

    def __init__(self) -> None:
        #: Kernels as plain Python, which stay, by key.
        self.kernels: dict[str, Code] = {}
        #: The objects of kernels by LLVM IR, as long as programs have them, by symbol and target.
        self.loaded: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
        self.drivers: dict[bool, Driver] = {}
        self.control: int | None = None
        self.counts = Statistics()

    def count(self, origin: Origin, seconds: float) -> None:
        """Count a kernel as compiled, read from disk or found in memory, with its seconds."""
        statistics = self.counts
        self.counts = Statistics(
            statistics.compiled + (origin == "compiled"),
            statistics.disk + (origin == "disk"),
            statistics.memory + (origin == "memory"),
            statistics.compile_seconds + (seconds if origin == "compiled" else 0.0),
        )


_process: Final = _Process()


def kernel(source: str | KernelSource) -> Code:
    """Return the compiled kernel of a source or text (its language: ``vocabulary.md`` here).

    With the jit off its text runs as plain Python.

    Raises CompileError when the source is not in the language, CPUError on a processor that is
    not supported, SelfTestError when generated code is wrong on this machine, OutOfMemory where
    there is too little memory to compile it.
    """
    settings = config.current()
    with compiling():
        return _find_kernel(source_of(source), "vector" if settings.jit else "python", settings)


@contextmanager
def compiling() -> Iterator[None]:
    """Compile while no other thread does, in a block that raises OutOfMemory for MemoryError.

    Raises ReentryError in a finalizer that runs amid another compilation, where it would wait for
    ever.
    """
    from staticgrad.native.undisturbed import is_undisturbed

    if is_undisturbed():
        raise ReentryError(
            "a finalizer compiles in the middle of another compilation",
            hint="let it set a flag that the program's loop looks at, and compile there",
        )
    with LOCK, _coded_memory_errors():
        yield


@contextmanager
def _coded_memory_errors() -> Iterator[None]:
    """Turn MemoryError into OutOfMemory while a kernel is compiled."""
    try:
        yield
    except OutOfMemory:
        raise
    except MemoryError as error:
        from staticgrad.native import headroom

        raise headroom.too_little("there is too little memory to compile a kernel") from error


def _find_kernel(source: KernelSource, mode: Mode, settings: config.Config) -> Code:
    """Return a kernel's machine code from memory, from disk, or newly compiled."""
    is_python = mode == "python"
    cached = _process.kernels.get(source.key) if is_python else _in_memory(source, settings)
    if cached is not None:
        return count(replace(cached, origin="memory", compile_seconds=0.0))
    start = time.perf_counter()
    if not is_python:
        return _store_code(_load_by_llvm(source, settings, start), settings)
    code = _process.kernels[source.key] = count(_load_python(source, start), settings)
    return code


def _in_memory(source: KernelSource, settings: config.Config) -> Code | None:
    """Return a kernel by LLVM IR that a program of this process has."""
    if not _process.loaded:
        return None
    from staticgrad.native import jit, loader

    symbol = jit.symbol_of(source.key)
    function = loader.find(symbol, loader.host())
    if function is None or (symbol, settings.target) not in _process.loaded:
        return None
    return Code(symbol, function.address, source, "vector", "memory", keep=function.code)


def _store_code(code: Code, settings: config.Config) -> Code:
    """Note and count a kernel by LLVM IR that was not in memory."""
    from staticgrad.native import loader

    _process.loaded[code.symbol, settings.target] = code.keep
    if source_of(code.source).stays:
        loader.hold(code.keep)
    return count(code, settings)


def count(code: Code, settings: config.Config | None = None) -> Code:
    """Count a kernel among those of this process, by its origin; log one that was not in memory."""
    _process.count(code.origin, code.compile_seconds)
    if code.origin == "memory":
        return code
    if "cache" in (settings or config.current()).log or config.logger.isEnabledFor(logging.INFO):
        spent = code.compile_seconds * 1e3
        config.log("cache", "%s %s in %.1f ms", code.symbol, code.origin, spent)
    return code


def _load_by_llvm(source: KernelSource, settings: config.Config, start: float) -> Code:
    """Load a kernel's machine code from the disk cache, or compile it through LLVM."""
    from staticgrad.native import jit, loader
    from staticgrad.native.language.parts import text_of

    def compile_for(host: Target) -> ObjectCode:
        """Compile a kernel's LLVM modules for a target: shared helper functions first."""
        loader.test_full(host)
        written = jit.llvm_modules(source, host)
        for name, module in written.shared.items():
            if not loader.is_loaded(name, host):
                make = functools.partial(jit.compile_ir, text_of(module), name)
                object_code(name, name, make, settings)
        return jit.compile_ir(text_of(written.kernel), symbol, host)

    symbol = jit.symbol_of(source.key)
    (address, code), origin = object_code(f"vector\0{source.key}", symbol, compile_for, settings)
    return Code(symbol, address, source, "vector", origin, time.perf_counter() - start, code)


def begin(
    sources: Iterable[str | KernelSource],
    loops: bool = False,
    is_long: Callable[[], bool] = bool,
) -> Callable[[], dict[str, Code]]:
    """Begin to compile several kernels in the background; return a function that ends it.

    LLVM compiles in other threads until that is called. It loads the code and returns that of
    kernels that were not in memory, by key. Together they take less time than one by one. Kernels
    that this cannot find or compile are left to ``kernel``, as are all with the jit off.

    With ``loops`` it also compiles what ``control`` returns. ``is_long``, which is asked if there
    is something to compile, tells whether a run is predicted to take long: then the functions that
    kernels share have full code before the first one.

    Both raise CPUError, SelfTestError and OutOfMemory as ``kernel`` does.
    """
    settings = config.current()
    if not settings.jit:
        return dict
    codes: dict[str, Code] = {}
    end: Callable[[], list[Code]] = list
    with compiling():
        missing = []
        for source in dict.fromkeys(map(source_of, sources)):
            if _in_memory(source, settings) is None:
                stored = _on_disk(source, settings)
                if stored is None:
                    missing.append(source)
                else:
                    codes[source.key] = _store_code(stored, settings)
        if len(missing) > (settings.tier == "full"):
            end = _begin_together(missing, settings, loops, is_long())

    def store_codes() -> dict[str, Code]:
        with LOCK, _coded_memory_errors():
            for code in end():
                codes[source_of(code.source).key] = _store_code(code, settings)
        return codes

    return store_codes


def _on_disk(source: KernelSource, settings: config.Config) -> Code | None:
    """Return a kernel compiled by ``vector`` from the disk cache, or None."""
    from staticgrad.native import jit, loader

    start, symbol = time.perf_counter(), jit.symbol_of(source.key)
    function = loader.from_disk(f"vector\0{source.key}", symbol, loader.host(), settings)
    if function is None:
        return None
    seconds = time.perf_counter() - start
    return Code(symbol, function.address, source, "vector", "disk", seconds, function.code)


def _begin_together(
    sources: Sequence[KernelSource], settings: config.Config, loops: bool, is_long: bool
) -> Callable[[], list[Code]]:
    """Begin to compile kernels by ``vector`` together; each is charged an equal time."""
    from staticgrad.native import loader
    from staticgrad.native.language import system
    from staticgrad.native.table import control_code, rows

    start, host = time.perf_counter(), loader.host()
    beside: dict[str, tuple[str, Module]] = {}
    for code in (rows.code(), control_code.code()) if loops else (rows.code(),):
        if not loader.is_loaded(code.symbol, host):
            beside[code.symbol] = code.key, system.module(code, host)
    end = loader.begin(sources, host, settings, beside, is_long)
    begun = time.perf_counter() - start

    def collect_codes() -> list[Code]:
        """End the compilation of several kernels; return the code of each with its address."""
        start = time.perf_counter()
        functions = end()
        seconds = (begun + time.perf_counter() - start) / max(len(functions), 1)
        return [
            Code(symbol, function.address, source, "vector", "compiled", seconds, function.code)
            for source, (symbol, function) in functions.items()
        ]

    return collect_codes


def object_code(
    text: str,
    symbol: str,
    compile_for: Callable[[Target], ObjectCode],
    settings: config.Config,
) -> tuple[LoadedFunction, Origin]:
    """Return a text's machine code, from the disk cache or compiled and stored.

    ``symbol`` is its entry; ``compile_for`` makes the code for a target.
    """
    from staticgrad.native import cache, loader

    host = loader.host()
    function = loader.from_disk(text, symbol, host, settings)
    if function is not None:
        return function, "disk"
    code = compile_for(host)
    cache.write(cache.key(text, host), code, settings)
    return loader.load_for_now(code.elf, symbol, host), "compiled"


def _load_python(source: KernelSource, start: float) -> Code:
    """Let a kernel's text run as plain Python."""
    from staticgrad.native.plain import control as plain

    address, function = plain.register(source.text)
    seconds = time.perf_counter() - start
    symbol = f"python_{address}"
    return Code(symbol, address, source, "python", "compiled", seconds, python=function)


def as_text(source: str | KernelSource, form: Literal["llvm", "asm"]) -> str:
    """Return the LLVM IR or the assembly of a kernel's source for this machine."""
    from staticgrad.native import jit, loader

    with compiling():
        return jit.as_text(source_of(source), form, loader.host())


def vector_bits() -> int:
    """Return the width in bits of a vector register of the target of kernels.

    Raises as ``kernel`` does on a machine that nothing can be compiled for.
    """
    from staticgrad.native import loader

    with LOCK, _coded_memory_errors():
        return loader.host().vector_bits


def multiplies_pairs() -> bool:
    """Return whether the target of kernels multiplies pairs of bfloat16 faster than by two FMAs.

    Raises as ``vector_bits`` does.
    """
    from staticgrad.native import loader

    with LOCK, _coded_memory_errors():
        return loader.host().multiplies_pairs


def driver() -> Driver:
    """Return the driver ``(block address, first, last)``, which runs rows of a step's table.

    A worker's block begins with a ``Head``, which names the table, whose rows are ``ROW_WORDS``
    int64 words in C order (``Row``); the rest are the worker's own words of each row. Native rows
    run with the GIL released, in the default floating-point environment, which is restored; where
    the head names a pool (``native.pool``), its workers take part. The caller keeps every record
    and array that the rows name alive.
    """
    jit = config.current().jit
    table_driver = _process.drivers.get(jit)
    if table_driver is None:
        with LOCK:
            table_driver = _process.drivers.setdefault(jit, _make_driver(jit))
    return table_driver


def _make_driver(jit: bool) -> Driver:
    """Make the driver of tables: native code, or plain Python with the jit off."""
    if not jit:
        from staticgrad.native.plain import control as plain

        return plain.run
    from staticgrad.native.table import rows

    return rows.bind(address_of(rows.code()))


def control() -> int:
    """Return the address of the code for control rows of a table; 0 with the jit off.

    Raises as ``kernel`` does where nothing can be compiled.
    """
    if not config.current().jit:
        return 0
    with LOCK, _coded_memory_errors():
        if _process.control is None:
            from staticgrad.native.table import control_code

            _process.control = address_of(control_code.code())
        return _process.control


def through() -> int:
    """Return the address of the code that runs all iterations of a loop in a table
    (``control_code``).

    0 with the jit off: then Python runs each row. Raises as ``kernel`` does where nothing can be
    compiled.
    """
    if not config.current().jit:
        return 0
    from staticgrad.native.table import control_code

    with LOCK, _coded_memory_errors():
        return address_of(control_code.code(True))


def shared_runs() -> int:
    """Return the address of the code that runs a table's rows with the workers of a pool.

    Raises as ``kernel`` does where nothing can be compiled.
    """
    from staticgrad.native import loader
    from staticgrad.native.table import pool_code

    with LOCK, _coded_memory_errors():
        return address_of(pool_code.code(loader.host().triple))


def has_shared_runs() -> bool:
    """Return whether the pool's code (``shared_runs``) is compiled already."""
    from staticgrad.native import loader
    from staticgrad.native.table import pool_code

    with LOCK, _coded_memory_errors():
        host = loader.host()
        code = pool_code.code(host.triple)
        if loader.is_loaded(code.symbol, host):
            return True
        function = loader.from_disk(code.key, code.symbol, host, config.current())
        if function is not None:
            loader.hold(function.code)
        return function is not None


def address_of(code: RuntimeCode) -> int:
    """Return the address of runtime code, from the kernel cache or newly compiled."""
    from staticgrad.native import loader

    if loader.is_loaded(code.symbol, loader.host()):
        return loader.address(code.symbol, loader.host())

    def compile_for(host: Target) -> ObjectCode:
        from staticgrad.native.jit import compile_ir
        from staticgrad.native.language import system
        from staticgrad.native.language.parts import text_of

        return compile_ir(text_of(system.module(code, host)), code.symbol, host)

    function, _ = object_code(code.key, code.symbol, compile_for, config.current())
    loader.hold(function.code)
    return function.address


def note_run() -> None:
    """Let the background compile full code, as the first run of a program has ended (``tiers``)."""
    tiers = sys.modules.get("staticgrad.native.tiers")
    if tiers is not None:
        tiers.begin()


def wait() -> None:
    """Return when the code of all kernels is full code (``tiers``), if LLVM has compiled any."""
    tiers = sys.modules.get("staticgrad.native.tiers")
    if tiers is not None:
        tiers.wait()


def statistics() -> Statistics:
    """Counts of this process so far."""
    return _process.counts


def cache_info() -> CacheInfo:
    """Directory, number and bytes of the kernels on disk."""
    from staticgrad.native import cache

    return cache.info()


def prune_cache(limit: int | None = None) -> int:
    """Remove kernels of other installations from the disk cache, then old ones beyond ``limit``
    bytes.

    The limit is the setting ``cache_size`` by default. Returns how many were removed.
    """
    from staticgrad.native import cache

    return cache.prune(limit)


def clear_cache() -> int:
    """Removes all kernels from disk (loaded ones keep working); returns how many there were."""
    from staticgrad.native import cache

    return cache.clear()
