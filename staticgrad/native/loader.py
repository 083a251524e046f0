"""Compiled objects in the process: loaded, checked for the target, compiled together.

``objects`` places the objects of x86-64 in memory, so that a process whose kernels are on disk does
not load LLVM; on other processors one LLVM execution engine, which owns a target machine of its
own, takes all objects. They are read before: an entry that is missing or a symbol that nobody
defines is an error here, where LLVM would end the process. Needs llvmlite, never Numba.

**Targets.** The first target of a ladder is taken whose code computes what NumPy computes. LLVM has
miscompiled 512-bit mask arithmetic silently (a loop that stores a bool of two bool arrays and adds
under it), so before the first kernel of an installation is compiled, loops of that kind run at
awkward sizes. The verdict is remembered in the cache directory per machine and version; a rung that
fails is left for the next, safer one, and none passing is an error.

**Bundles.** Kernels of a program are compiled together, which takes LLVM a tenth of the set-up.
Kernels that are neither in memory nor on disk become a few modules, which LLVM compiles at the same
time, while further ones are written. What a module gives is kept on disk as an entry of its own, a
bundle; the entries of its kernels, and of the functions that they share, name the bundle. If a
bundle fails, its kernels are compiled one by one, which reports why.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from weakref import finalize, ref

import numpy as np
import numpy.typing as npt

from staticgrad.errors import CompileError, CPUError, SelfTestError
from staticgrad.native import cache, headroom, identity, jit, objects, target as targets, tiers
from staticgrad.native.constants import SHARED
from staticgrad.native.jit import ObjectCode
from staticgrad.native.language.parts import Module, merge_modules, text_of
from staticgrad.native.lock import LOCK
from staticgrad.native.objects import LoadedFunction, LoadedObject, Symbols, symbols
from staticgrad.native.source import KernelSource, SourceText
from staticgrad.native.system.pages import function_address
from staticgrad.native.target import Target
from staticgrad.native.undisturbed import LibraryCall, run_uninterrupted
from staticgrad.support import config

LIBRARY_SYMBOLS: Final = frozenset(
    {"memset", "memcpy", "memmove", "fmod", "fmodf", "_GLOBAL_OFFSET_TABLE_"}
)
"""The external symbols that compiled code may use: the C library's."""

_ONE_ARGUMENT: Final = (
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 expm1 log log2 log10 "
    "log1p sqrt cbrt floor ceil trunc round rint nearbyint erf erfc lgamma tgamma"
)
MATH_SYMBOLS: Final = frozenset(
    name + width
    for name in (*_ONE_ARGUMENT.split(), "atan2", "pow", "hypot", "copysign", "fma", "ldexp")
    for width in ("", "f")
)
"""The symbols that a user's own scalar code may use too, if loaded: the C math library's."""

_engines: dict[str, Any] = {}
#: By target and symbol the address of a function, and the object that contains it while that is
#: loaded; changed under the lock.
_functions: dict[str, tuple[int, ref[LoadedObject]]] = {}
#: The functions whose code is quick code, as ``_functions`` names them.
_quick: dict[str, tiers.Quick] = {}
#: The objects that stay loaded as long as the process lives, and the names of objects that are
#: gone. An object goes whenever the last program that uses it goes, in any thread.
_permanent: Final[dict[int, object]] = {}
_gone: Final[deque[str]] = deque()


def _engine(target: Target) -> Any:
    """Return the LLVM MCJIT engine that holds machine code for a target."""
    engine = _engines.get(target.key)
    if engine is None:
        llvm = targets.binding()
        host = llvm.parse_assembly(f'target triple = "{target.triple}"\n')
        # Sections of one object refer to each other over 2 GB at most, or LLVM ends the process.
        # llvmlite's memory manager places them side by side; LLVM's takes a page here and one there
        # in a process that has filled the space in between.
        machine = targets.machine(target)
        engine = _engines[target.key] = llvm.create_mcjit_compiler(host, machine, use_lmm=True)
    return engine


def find(symbol: str, target: Target) -> LoadedFunction | None:
    """Return the loaded function of that name, which stays while something refers to its code."""
    return _find_function(f"{target.key}|{symbol}")


def _find_function(name: str) -> LoadedFunction | None:
    address, reference = _functions.get(name, (0, None))
    code = None if reference is None else reference()
    return None if code is None else LoadedFunction(address, code)


def is_loaded(symbol: str, target: Target) -> bool:
    """Return whether an object with that entry is loaded."""
    return find(symbol, target) is not None


def has_full_code(symbol: str, target: Target) -> bool:
    """Return whether an object with that entry is loaded that is not quick code."""
    return is_loaded(symbol, target) and f"{target.key}|{symbol}" not in _quick


def hold(code: object) -> None:
    """Let an object stay loaded as long as the process lives."""
    _permanent[id(code)] = code


def _register(name: str, address: int, code: LoadedObject) -> None:
    """Let a name be a function of an object, until that is gone."""
    _functions[name] = address, ref(code)
    finalize(code, _gone.append, name).atexit = False


def _forget_gone() -> None:
    """Forget the names of objects that are gone; under the lock."""
    while _gone:
        name = _gone.popleft()
        if _find_function(name) is None:  # else it has been loaded again
            _functions.pop(name, None)
            _quick.pop(name, None)


def missing(code: bytes, target: Target) -> list[str]:
    """Return the shared functions that an object calls and that are not loaded yet."""
    try:
        undefined = symbols(code).undefined
    except ValueError:
        return []  # ``check`` says so
    shared = sorted(name for name in undefined if name.startswith(SHARED))
    return [name for name in shared if not is_loaded(name, target)]


def check(code: bytes, symbol: str, target: Target) -> Symbols:
    """Check an object's undefined symbols; return those that it defines and may be loaded.

    Raises CompileError unless the object defines ``symbol`` and needs only library symbols and
    functions that are loaded.
    """
    try:
        table = symbols(code)
    except ValueError as error:
        raise CompileError(f"a compiled kernel is {error}") from error
    if symbol not in table.functions:
        raise CompileError(f"a compiled kernel has no entry {symbol}")
    unresolved = {
        name for name in table.undefined - LIBRARY_SYMBOLS if not is_loaded(name, target)
    }  # asked by name: a process may have loaded thousands
    strange = sorted(name for name in unresolved if not (name in MATH_SYMBOLS and _present(name)))
    if strange:
        raise CompileError(f"a compiled kernel calls {', '.join(strange)}, which nobody defines")
    return table


def _present(name: str) -> bool:
    return function_address(name) != 0


def _link(code: bytes, names: Iterable[str], target: Target) -> LoadedObject:
    """Link a checked object into the process."""
    if target.is_x86:
        callees: list[object] = []

        def address_in_process(name: str) -> int:
            """Return the address of another object's function, or of a library's."""
            callee = find(name, target)
            if callee is None:
                return function_address(name)
            callees.append(callee.code)
            return callee.address

        loaded = objects.load_object(code, address_in_process)
        loaded.needs += callees
        return loaded

    def link_in_engine() -> LoadedObject:
        engine = _engine(target)
        engine.add_object_file(targets.binding().ObjectFileRef.from_data(code))
        engine.finalize_object()
        loaded = LoadedObject({name: int(engine.get_function_address(name)) for name in names})
        hold(loaded)  # as the engine does
        return loaded

    return run_uninterrupted(link_in_engine)


def address(symbol: str, target: Target) -> int:
    """Return the address of an entry that is loaded; it stays loaded."""
    function = find(symbol, target)
    if function is None:
        raise KeyError(symbol)
    hold(function.code)
    return function.address


def load(code: bytes, symbol: str, target: Target) -> int:
    """Load an ELF object that stays loaded; return the address of ``symbol``.

    Raises as ``load_for_now`` does.
    """
    function = load_for_now(code, symbol, target)
    hold(function.code)
    return function.address


def load_for_now(code: bytes, symbol: str, target: Target) -> LoadedFunction:
    """Load an ELF object, if none with that entry is loaded; return the function ``symbol``.

    It stays loaded as long as something refers to it; functions that kernels share stay. All that
    it defines for others is loaded with it. It takes the place of quick code.

    Raises CompileError for an object without the entry or with unknown external symbols.
    """
    with LOCK:
        _forget_gone()
        function = find(symbol, target)
        if function is not None and has_full_code(symbol, target):
            return function
        entries = sorted(check(code, symbol, target).entries)
        headroom.require(headroom.LOAD, "loading a kernel")
        headroom.require_stack()
        loaded = _link(code, entries, target)
        if not loaded.functions.get(symbol):
            raise CompileError(f"{symbol} could not be loaded")
        if any(name.startswith(SHARED) for name in entries):
            hold(loaded)
        for name in entries:
            key, place = f"{target.key}|{name}", loaded.functions[name]
            quick, earlier = _quick.pop(key, None), _find_function(key)
            if quick is not None and earlier is not None:
                earlier.code.needs.append(loaded)  # where its jumps lead from now on
                quick.direct(name, place)
            if quick is not None or earlier is None:
                _register(key, place, loaded)
        return LoadedFunction(_functions[f"{target.key}|{symbol}"][0], loaded)


def load_quick(
    code: bytes, symbols: Iterable[str], target: Target, quick: tiers.Quick
) -> list[LoadedObject]:
    """Load baseline code of functions; callers get the address of a jump to the current tier.

    A function that another batch has loaded in the meantime keeps its address. Return the objects,
    which stay as long as something refers to them.

    Raises as ``load_for_now`` does.
    """
    with LOCK:
        used = []
        for symbol in symbols:
            address, loaded = load_for_now(code, quick.name(symbol), target)
            quick.direct(symbol, address)
            # full code calls shared functions by their name
            earlier = None if symbol.startswith(SHARED) else find(symbol, target)
            if earlier is not None:
                loaded = earlier.code
            elif not symbol.startswith(SHARED):
                key = f"{target.key}|{symbol}"
                _register(key, loaded.functions[quick.entry(symbol)], loaded)
                _quick[key] = quick
                loaded.needs.append(quick)  # whose words its jumps read
            used.append(loaded)
        return used


Entry = Callable[[int, int, int, int], None]
Array = npt.NDArray[Any]
_ENTRY: Final = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
#: Lanes, and LLVM's level: each of either once, for a loop more takes as long as a small kernel.
FORMS: Final = ((16, tiers.LEVEL), (16, 1), (8, 2))
FULL_LEVELS: Final = (1, 2)
LEVELS: Final = (tiers.LEVEL, *FULL_LEVELS)
SIZES: Final = (1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 160, 199)


def mask_source(lanes: int, level: int) -> str:
    """Write LLVM IR of the self-test: live = out and not res; count; chosen = live ? value :
    -value.
    """
    return f"""\
def kernel(t, own, begin, end):
    level = {level}
    out = ptr_b8(t[0])
    res = ptr_b8(t[1])
    live = ptr_b8(t[2])
    size = ptr_i64(t[3])
    total = ptr_i64(t[4])
    value = ptr_f32(t[5])
    chosen = ptr_f32(t[6])
    count = i64x{lanes}(0)
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        v = load(value, i, m)
        alive = load(out, i, m) & ~load(res, i, m) & (v == v)
        store(live, i, alive, m)
        count = count + select(alive, load(size, i, m), i64x{lanes}(0))
        store(chosen, i, select(alive | (v > f32x{lanes}(1.0)), v, -v), m)
    store1(total, 0, hsum(count))
"""


_chosen: dict[str, Target] = {}


def host() -> Target:
    """Return the host target of kernels: the fastest that passes the self-test.

    The setting ``target`` may exclude all rungs but the lowest, which older processors have too.

    Raises CPUError on a processor that is not supported and SelfTestError when no rung passes.
    """
    with LOCK:
        setting = config.current().target
        if setting not in _chosen:
            # of the targets that this processor runs, fastest first
            ladder = _ladder()
            rungs = [rung for rung in ladder if setting in ("host", rung.cpu)]
            if not rungs:
                triple = ladder[0].triple
                raise CPUError(
                    f"the setting target is {setting}, which {triple} does not run",
                    hint='leave it at "host"',
                )
            _chosen[setting] = first_sound(rungs, config.current().tier == "auto")
        return _chosen[setting]


def _ladder() -> tuple[Target, ...]:
    """Return the candidate targets, fastest first, cached on disk for this processor."""
    processor = identity.processor()
    if processor is None:
        return targets.ladder()
    name = f"targets-{hashlib.blake2b(processor, digest_size=16).hexdigest()}"
    stored = cache.recall(name)
    if stored is not None:
        return tuple(map(targets.read, stored.splitlines()))
    rungs = targets.ladder()
    cache.remember(name, "\n".join(map(targets.format_target, rungs)))
    return rungs


#: Targets whose quick code alone has been tested, by their keys; with the rungs from each on, and
#: the ladder that they are of.
_untested: dict[str, tuple[Sequence[Target], Sequence[Target]]] = {}


def first_sound(ladder: Sequence[Target], quick: bool = False) -> Target:
    """Return the first candidate target that passes the self-test; raise SelfTestError if none.

    ``quick``: test quick code now, and full code before the first is used (``test_full``).
    """
    name = _memory_name(ladder)
    stored = cache.recall(name)
    if stored is not None and stored.isdecimal() and int(stored) < len(ladder):
        return ladder[int(stored)]
    for index, target in enumerate(ladder):
        if is_sound(target, (tiers.LEVEL,) if quick else LEVELS):
            if quick:
                _untested[target.key] = ladder[index:], ladder
            else:
                cache.remember(name, str(index))
            return target
        config.logger.warning("code for %s fails the self-test; trying a safer target", target.cpu)
    raise SelfTestError(
        "the code that this installation generates is wrong on this processor",
        hint="update llvmlite, or set STATICGRAD_JIT=0",
    )


def _memory_name(ladder: Sequence[Target]) -> str:
    # Another compiler, or another list of targets, is tested again.
    text = "\0".join([cache.environment(), *(target.key for target in ladder)])
    return "selftest-" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def test_full(target: Target) -> None:
    """Run the self-test of optimized code for a target once, and store which target passes.

    Raises CompileError where the full code is wrong: processes that begin later use a safer target.
    """
    with LOCK:
        if target.key not in _untested:
            return
        rungs, ladder = _untested[target.key]
        if rungs and is_sound(target, FULL_LEVELS):
            del _untested[target.key]
            cache.remember(_memory_name(ladder), str(len(ladder) - len(rungs)))
            return
        if rungs:
            _untested[target.key] = (), ladder
            for index in range(len(ladder) - len(rungs) + 1, len(ladder)):
                if is_sound(ladder[index]):
                    cache.remember(_memory_name(ladder), str(index))
                    break
        raise CompileError(f"full code for {target.cpu} fails the self-test")


def is_sound(target: Target, levels: Sequence[int] = LEVELS) -> bool:
    """Return whether the self-test's loops compile for a target and match NumPy."""
    try:
        runs = [run for level in levels for run in _entries(level, target)]
    except CompileError as error:
        config.logger.warning("the self-test does not compile: %s", error)
        return False
    operands = _operands()
    return all(_mask_loops_hold(runs, size, *operands) for size in SIZES)


def _entries(level: int, target: Target) -> list[Entry]:
    """Compile the self-test's loops at an optimization level, as one module."""
    forms = [lanes for lanes, at in FORMS if at == level]
    sources = [mask_source(lanes, level) for lanes in forms]
    symbols = [jit.symbol_of(source) for source in sources]
    module = merge_modules(
        jit.llvm_modules(SourceText(source), target).kernel for source in sources
    )
    code = jit.compile_ir(text_of(module), symbols[0], target, level)
    return [ctypes.CFUNCTYPE(None, *_ENTRY)(load(code.elf, symbol, target)) for symbol in symbols]


def _operands() -> tuple[Array, ...]:
    """Return the operands of the loops at the largest size: two bools, numbers, NaNs."""
    random, size = np.random.default_rng(0), max(SIZES)
    value = random.normal(size=size).astype(np.float32)
    # NaN tells an ordered comparison from an unordered one
    value[::5] = np.nan
    return (*(random.random((2, size)) < 0.5), random.integers(1, 100, size), value)


def _mask_loops_hold(
    runs: Sequence[Entry], size: int, out: Array, res: Array, weight: Array, value: Array
) -> bool:
    """Return whether the self-test's mask loops match NumPy at one size."""
    out, res, weight, value = out[-size:], res[-size:], weight[-size:], value[-size:]
    expected = out & ~res & (value == value)
    with np.errstate(invalid="ignore"):
        picked = np.where(expected | (value > 1), value, -value)
    live, chosen, total = np.empty(size, bool), np.empty(size, np.float32), np.empty(1, np.int64)
    arrays = (out, res, live, weight, total, value, chosen)
    record = np.array([array.ctypes.data for array in arrays], np.int64)

    def holds(run: Entry) -> bool:
        """Run one loop of the self-test and compare it with NumPy."""
        live[:], chosen[:], total[:] = ~expected, 0, -1  # not what another run wrote
        run(record.ctypes.data, 0, 0, size)
        return bool(
            np.array_equal(live.view(np.uint8), expected.view(np.uint8))
            and total[0] == weight[expected].sum()
            and np.array_equal(chosen, picked, equal_nan=True)
        )

    return all(holds(run) for run in runs)


#: Lines of LLVM IR to a module, about, by LLVM's level: several modules are compiled at once, so
#: that none should be long, and an interrupt or a limit of memory waits for one (0.1 to 0.2 s). A
#: module less saves 2 to 5 ms.
LONGEST: Final = {1: 3000, 2: 1200}
#: How the content of an entry begins that names a bundle.
_NAMES: Final = b"in "


def _of_bundle(entry: ObjectCode, settings: config.Config) -> ObjectCode | None:
    """Return an entry that names a bundle with the code of that."""
    bundle = cache.read(entry.elf.removeprefix(_NAMES).decode("ascii", "replace"), settings)
    return None if bundle is None else ObjectCode(bundle.elf, entry.symbol)


def from_disk(
    text: str, symbol: str, host: Target, settings: config.Config
) -> LoadedFunction | None:
    """Load a text's machine code from the disk cache, for now; None if it is not there.

    So must be the functions that it shares with others.
    """
    name = cache.key(text, host)
    stored = cache.read(name, settings)
    if stored is None or stored.symbol != symbol:
        return None
    if stored.elf.startswith(_NAMES):
        function = find(symbol, host)
        if function is not None and has_full_code(symbol, host):
            return function  # with another function of its bundle
        stored = _of_bundle(stored, settings)
        if stored is None:
            return None
    if any(
        from_disk(callee, callee, host, settings) is None for callee in missing(stored.elf, host)
    ):
        return None
    try:
        return load_for_now(stored.elf, symbol, host)
    except CompileError as error:
        config.logger.warning("a cached kernel does not load, compiled anew: %s", error)
        cache.discard(name)
        return None


def begin(
    sources: Iterable[KernelSource],
    host: Target,
    settings: config.Config,
    beside: Mapping[str, tuple[str, Module]],
    is_long: bool = False,
) -> Callable[[], dict[KernelSource, tuple[str, LoadedFunction]]]:
    """Begin to compile kernels by ``vector``, several to a module; return a function that ends it.

    That loads them and returns symbol and function by source. What this cannot do is left out.
    ``beside``: by their entries, further modules that programs need as well, each with the key by
    which disks keep it. What has quick code then gets its full code in the background (``tiers``).
    ``is_long``: functions that kernels share have no quick code, as most of the time of a long run
    is spent in them.
    """
    symbols: dict[KernelSource, str] = {}
    shared: set[str] = set()
    keys = {symbol: cache.key(text, host) for symbol, (text, _) in beside.items()}
    tiered = settings.tier == "auto"
    first = _Bundles(host, keys, settings)
    quick = _Bundles(host, keys, settings, tiers.Quick()) if tiered else None
    full = _Bundles(host, keys, settings, is_later=tiered)
    bundles = [first, full] if quick is None else [first, quick, full]

    def cancel() -> None:
        for bundle in bundles:
            bundle.cancel()

    def add(symbol: str, module: Module) -> None:
        is_first = is_long and symbol.startswith(SHARED)
        for bundle in bundles[:1] if is_first else bundles[1:]:
            bundle.add(symbol, module)

    try:
        for symbol, (_, module) in beside.items():
            add(symbol, module)
        for source in sources:
            try:
                modules = jit.llvm_modules(source, host)
            except CompileError:
                continue  # who asks for it alone is told why
            symbol = symbols[source] = jit.symbol_of(source.key)
            keys[symbol] = cache.key(f"vector\0{source.key}", host)
            for name, module in modules.shared.items():
                if name in shared or is_loaded(name, host):
                    continue
                shared.add(name)
                if from_disk(name, name, host, settings) is None:
                    keys[name] = cache.key(name, host)
                    add(name, module)
            add(symbol, modules.kernel)
        for bundle in bundles:
            bundle.close_all()
    except BaseException:
        cancel()
        raise

    def end() -> dict[KernelSource, tuple[str, LoadedFunction]]:
        """End the compilations: load baseline code where there is some, else optimized code."""
        is_quick = False
        try:
            is_quick = first.load() and quick is not None and quick.load()
            if not is_quick:
                full.load()
        finally:
            if not is_quick:
                cancel()
        functions = {s: (symbol, find(symbol, host)) for s, symbol in symbols.items()}
        if is_quick:
            tiers.later(full.close_all(replacing=True))
        return {s: (symbol, loaded) for s, (symbol, loaded) in functions.items() if loaded}

    return end


class _Bundle:
    """Functions that become one module, at LLVM's highest level of one of them."""

    def __init__(self, host: Target, keys: Mapping[str, str], settings: config.Config) -> None:
        self.modules: dict[str, Module] = {}
        self.lines = 0
        self.level = 1
        self._host, self._keys, self._settings = host, keys, settings
        self._code: LibraryCall[ObjectCode] | None = None
        #: Whether it takes the place of quick code, and what it has loaded.
        self.replaces_quick = False
        self.loaded: list[LoadedObject] = []

    def add(self, symbol: str, module: Module, level: int) -> None:
        self.modules[symbol] = module
        self.lines += text_of(module).count("\n")
        self.level = max(self.level, level)

    def begin(self) -> None:
        """Begin to compile it, once."""
        with LOCK:
            if self._code is None:
                first = next(iter(self.modules))
                text = text_of(merge_modules(self.modules.values()))
                self._code = jit.begin_ir(text, first, self._host, self.level)

    def begin_quick(self, quick: tiers.Quick) -> None:
        """Begin to compile its quick code."""
        text = quick.text(self.modules.values())
        self._code = jit.begin_ir(text, next(iter(self.modules)), self._host, tiers.LEVEL)

    def cancel(self) -> None:
        """Leave it uncompiled, unless that has begun."""
        if self._code is not None:
            self._code.cancel()

    def load_quick(self, quick: tiers.Quick) -> None:
        """Load the quick code; raise CompileError where that cannot be done."""
        assert self._code is not None
        self.loaded += load_quick(self._code.result().elf, self.modules, self._host, quick)

    def end(self) -> None:
        """Wait for the compilation, load its object and store it; raise CompileError on failure."""
        test_full(self._host)
        self.begin()
        assert self._code is not None
        host, keys, settings = self._host, self._keys, self._settings
        code, symbols = self._code.result(), [*self.modules]
        for symbol in symbols:  # the first loads all, unless another batch has loaded it
            if not self.replaces_quick or symbol.startswith(SHARED) or is_loaded(symbol, host):
                self.loaded.append(load_for_now(code.elf, symbol, host).code)
        if len(symbols) == 1:
            cache.write(keys[code.symbol], code, settings)
            return
        name = cache.key("\0".join(symbols), host)
        if cache.write(name, code, settings):
            for symbol in symbols:
                cache.write(keys[symbol], ObjectCode(_NAMES + name.encode(), symbol), settings)


class _Bundles:
    """Functions on their way to a few modules: those that others share, and kernels by level.

    Which modules there are depends on the functions and their order alone, never on the machine.
    Modules of quick code are begun as soon as they are long enough; so are others, unless they are
    left to the background.
    """

    def __init__(
        self,
        host: Target,
        keys: Mapping[str, str],
        settings: config.Config,
        quick: tiers.Quick | None = None,
        is_later: bool = False,
    ) -> None:
        self._made_of = host, keys, settings
        self._quick = quick
        self._is_later = is_later
        self._open: dict[tuple[bool, int], _Bundle] = {}
        self._closed: dict[bool, list[_Bundle]] = {True: [], False: []}

    def add(self, symbol: str, module: Module) -> None:
        """Add a function to the current LLVM module; a long module's compilation is begun."""
        if self._quick is not None:
            self._quick.add(symbol)
        is_shared, level = symbol.startswith(SHARED), jit.level_of(text_of(module))
        # what is shared is short, so that a second module would take longer than the higher level
        kind = (is_shared, 0 if is_shared else level)
        bundle = self._open.setdefault(kind, _Bundle(*self._made_of))
        bundle.add(symbol, module, level)
        if bundle.lines > LONGEST[bundle.level]:
            self._close(*kind)

    def _close(self, is_shared: bool, level: int) -> None:
        bundle = self._open.pop((is_shared, level))
        self._closed[is_shared].append(bundle)
        if self._quick is not None:
            bundle.begin_quick(self._quick)
        elif not self._is_later:
            bundle.begin()

    def close_all(self, replacing: bool = False) -> list[_Bundle]:
        """Return all modules in the order of calls, begun where this is not the background's.

        ``replacing``: they take the place of quick code, if that is still used.
        """
        for kind in sorted(self._open, key=lambda kind: self._open[kind].lines, reverse=True):
            self._close(*kind)
        bundles = [*self._closed[True], *self._closed[False]]  # those call what is shared
        for bundle in bundles:
            bundle.replaces_quick = replacing
        return bundles

    def load(self) -> bool:
        """Load and store all compiled modules; return whether none failed.

        Quick code is not stored.
        """
        for bundle in self.close_all():
            try:
                if self._quick is None:
                    bundle.end()
                else:
                    bundle.load_quick(self._quick)
            except CompileError as error:
                count = len(bundle.modules)
                config.log("cache", "%d kernels are compiled one by one: %s", count, error)
                return False
        return True

    def cancel(self) -> None:
        """Compile no module that has not been begun by now."""
        for bundle in (*self._closed[True], *self._closed[False]):
            bundle.cancel()
