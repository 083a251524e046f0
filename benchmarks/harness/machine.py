"""The machine that a run was made on: in words, and as limits measured in the same run.

The limits are a square matrix product and a copy far beyond the caches, with NumPy: what
GFLOP/s and GB/s of the rows are compared with. No host or user name is read.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.harness.schema import Limits, Machine

#: What keeps every library from wider instructions, as far as it can be told to.
AVX2: Final = {
    "STATICGRAD_TARGET": "x86-64-v3",
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}

_SIDE = 1536
_COPIED = 1 << 27  # bytes
_HASHED = 1 << 22


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_one_core() -> None:
    """Let this process run on one core, where systems can: JAX has no other setting of threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def describe() -> Machine:
    """Describe this machine."""
    return Machine(
        processor=_processor(),
        cores=cores(),
        memory=_memory(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        numpy=np.__version__,
        blas=_blas(),
    )


def measure_limits(threads: int, seconds: float = 0.5) -> Limits:
    """The best of repeated products and copies; the threads are set before the process starts."""
    gemm = {}
    for dtype in ("float32", "float64"):
        a = np.ones((_SIDE, _SIDE), dtype)
        out = np.empty_like(a)
        product = partial(np.matmul, a, a, out=out)
        gemm[dtype] = 2 * _SIDE**3 / _best(product, seconds)
    source = np.ones(_COPIED // 8)
    target = np.empty_like(source)
    copied = 2 * _COPIED / _best(lambda: np.copyto(target, source), seconds)
    return Limits(threads, gemm["float32"], gemm["float64"], copied)


def together(threads: int, times: int = 7) -> float:
    """Rate of so many threads at once over that of one after another: 1 where each has a processor.

    Hashing lets other threads of Python run. About 50 ms; the median of so many ``times``.
    """
    data = bytes(_HASHED)

    def time_tasks(count: int) -> float:
        start = time.perf_counter()
        list(pool.map(sha256, [data] * count))
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        time_tasks(threads)  # makes them
        return median(time_tasks(1) / time_tasks(threads) for _ in range(times))


def _best(work: Callable[[], Any], seconds: float) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    work()
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _processor() -> str:
    """The model, its vector extensions."""
    name, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.search(r"model name\s*:\s*(.+)", text)
        name = model[1].strip() if model else name
        present = re.search(r"flags\s*:\s*(.+)", text)
        extensions = ("avx2", "fma", "avx512f", "avx512dq", "amx_tile")
        flags = " ".join(f for f in extensions if present and f in present[1].split())
    return f"{name} ({flags})" if flags else name


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _blas() -> str:
    """NumPy's BLAS, with the core that it chose if threadpoolctl is there to say so."""
    with contextlib.suppress(ImportError):
        libraries = import_module("threadpoolctl").threadpool_info()
        for library in libraries:
            if library.get("user_api") == "blas":
                core = library.get("architecture", "")
                return f"{library['internal_api']} {library['version']} {core}".strip()
    with contextlib.redirect_stdout(io.StringIO()):
        config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"
