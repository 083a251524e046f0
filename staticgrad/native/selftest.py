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
from typing import Final

import numpy as np

from staticgrad import config
from staticgrad.errors import CompileError, SelfTestError
from staticgrad.native import cache, jit, loader
from staticgrad.native.target import Target

_ENTRY: Final = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
#: Lanes, and LLVM's level.
FORMS: Final = ((8, 1), (16, 1), (16, 2))
SIZES: Final = (1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 160, 199)


def mask_source(lanes: int) -> str:
    """live = out and not res; count += size where live; chosen = live ? value : -value."""
    return f"""
def kernel(t, own, begin, end):
    out = ptr_b8(t[0]); res = ptr_b8(t[1]); live = ptr_b8(t[2])
    size = ptr_i64(t[3]); total = ptr_i64(t[4]); value = ptr_f32(t[5]); chosen = ptr_f32(t[6])
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
        return all(
            _mask_loop_holds(_entry(mask_source(lanes), target, level)) for lanes, level in FORMS
        )
    except CompileError as error:
        config.logger.warning("the self-test does not compile: %s", error)
        return False


def _entry(source: str, target: Target, level: int) -> Callable[[int, int, int, int], None]:
    code = jit.compile_source(f"{source}    # level {level}\n", target, level=level)
    address = loader.load(code.elf, code.symbol, target)
    return ctypes.CFUNCTYPE(None, *_ENTRY)(address)


def _mask_loop_holds(run: Callable[[int, int, int, int], None]) -> bool:
    return all(_mask_loop_at(run, size) for size in SIZES)


def _mask_loop_at(run: Callable[[int, int, int, int], None], size: int) -> bool:
    random = np.random.default_rng(size)
    out, res = random.random((2, size)) < 0.5
    weight = random.integers(1, 100, size)
    value = random.normal(size=size).astype(np.float32)
    value[::5] = np.nan
    live, chosen = np.empty(size, bool), np.empty(size, np.float32)
    total = np.zeros(1, np.int64)
    arrays = (out, res, live, weight, total, value, chosen)
    record = np.array([array.ctypes.data for array in arrays], np.int64)
    run(record.ctypes.data, 0, 0, size)
    wanted = out & ~res & (value == value)
    with np.errstate(invalid="ignore"):
        picked = np.where(wanted | (value > 1), value, -value)
    return bool(
        np.array_equal(live.view(np.uint8), wanted.view(np.uint8))
        and total[0] == weight[wanted].sum()
        and np.array_equal(chosen, picked, equal_nan=True)
    )
