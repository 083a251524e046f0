"""Chooses the first target of a ladder whose code computes what NumPy computes.

LLVM has miscompiled 512-bit mask arithmetic silently (a loop that stores a bool of two bool
arrays and adds under it), so before the first kernel of an installation is compiled, loops of that
kind run at awkward sizes. The verdict is remembered in the cache directory per machine and version;
a rung that fails is left for the next, safer one, and none passing is an error.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad import config
from staticgrad.errors import CompileError, SelfTestError
from staticgrad.native import cache, jit, loader
from staticgrad.native.target import Target

Entry = Callable[[int, int, int, int], None]
Array = npt.NDArray[Any]
_ENTRY: Final = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
#: Lanes, and LLVM's level: each of either once, for a loop more takes as long as a small kernel.
FORMS: Final = ((16, 1), (8, 2))
LEVELS: Final = (1, 2)
SIZES: Final = (1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 160, 199)


def mask_source(lanes: int, level: int) -> str:
    """live = out and not res; count += size where live; chosen = live ? value : -value."""
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


def first_sound(ladder: Sequence[Target]) -> Target:
    """The first target that passes; remembered on disk. Raises SelfTestError if none does."""
    name = _memory_name(ladder)
    known = cache.recall(name)
    if known is not None and known.isdecimal() and int(known) < len(ladder):
        return ladder[int(known)]
    for index, target in enumerate(ladder):
        if sound(target):
            cache.remember(name, str(index))
            return target
        config.logger.warning("code for %s fails the self-test; trying a safer target", target.cpu)
    raise SelfTestError(
        "the code that this installation generates is wrong on this processor",
        hint="update llvmlite, or set STATICGRAD_JIT=0",
    )


def _memory_name(ladder: Sequence[Target]) -> str:
    text = "\0".join([cache.environment(), *(target.key for target in ladder)])
    return "selftest-" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sound(target: Target) -> bool:
    """Whether the suspicious loops compile and give NumPy's results, as LLVM compiles kernels."""
    try:
        runs = [run for level in LEVELS for run in _entries(level, target)]
    except CompileError as error:
        config.logger.warning("the self-test does not compile: %s", error)
        return False
    operands = _operands()
    return all(_mask_loops_hold(runs, size, *operands) for size in SIZES)


def _entries(level: int, target: Target) -> list[Entry]:
    """The loops that LLVM compiles at a level; one module, as setting LLVM up takes longer."""
    forms = [lanes for lanes, at in FORMS if at == level]
    sources = [mask_source(lanes, level) for lanes in forms]
    symbols = [jit.symbol_of(source, "vector") for source in sources]
    texts = [text for source in sources for text in jit.modules(source, "vector")]
    code = jit.compile_ir([jit.merged(texts)], symbols[0], target, level)
    return [
        ctypes.CFUNCTYPE(None, *_ENTRY)(loader.load(code.elf, symbol, target)) for symbol in symbols
    ]


def _operands() -> tuple[Array, ...]:
    """What the loops read at the largest size: two bools, numbers, and values with NaNs."""
    random, size = np.random.default_rng(0), max(SIZES)
    value = random.normal(size=size).astype(np.float32)
    value[::5] = np.nan
    return (*(random.random((2, size)) < 0.5), random.integers(1, 100, size), value)


def _mask_loops_hold(
    runs: Sequence[Entry], size: int, out: Array, res: Array, weight: Array, value: Array
) -> bool:
    """Whether each of the loops gives what NumPy gives at one size."""
    out, res, weight, value = out[-size:], res[-size:], weight[-size:], value[-size:]
    wanted = out & ~res & (value == value)
    with np.errstate(invalid="ignore"):
        picked = np.where(wanted | (value > 1), value, -value)
    live, chosen, total = np.empty(size, bool), np.empty(size, np.float32), np.empty(1, np.int64)
    arrays = (out, res, live, weight, total, value, chosen)
    record = np.array([array.ctypes.data for array in arrays], np.int64)

    def holds(run: Entry) -> bool:
        live[:], chosen[:], total[:] = ~wanted, 0, -1  # not what another run wrote
        run(record.ctypes.data, 0, 0, size)
        return bool(
            np.array_equal(live.view(np.uint8), wanted.view(np.uint8))
            and total[0] == weight[wanted].sum()
            and np.array_equal(chosen, picked, equal_nan=True)
        )

    return all(holds(run) for run in runs)
