"""Shared parts of the pages beside PyTorch and JAX: options, times in turns, the machine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from benchmarks.harness.machine import describe

ROUNDS: Final = 20


def least_times(
    calls: Mapping[str, Callable[[], Any]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the least time of each call in so many seconds, in turns; of three turns at least.

    ``clock`` is what a call's time is taken with: ``time.process_time`` counts all threads.
    """
    least = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    turns, last = 0, time.perf_counter() + seconds * len(calls)
    while turns < 3 or time.perf_counter() < last:
        for name, call in calls.items():
            end = time.perf_counter() + seconds / ROUNDS
            while time.perf_counter() < end:
                start = clock()
                call()
                least[name] = min(least[name], clock() - start)
        turns += 1
    return least


def start_page(name: str, doc: str | None, seconds: float) -> tuple[argparse.Namespace, Any, str]:
    """Return the options of ``python -m benchmarks NAME``, JAX, and a line about the machine."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}", description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--seconds", type=float, default=seconds, help="measuring time of each cell")
    add("--threads", type=int, default=1, help="of ours and of PyTorch; JAX has its own")
    options = parser.parse_args()
    torch, jax = map(import_module, ("torch", "jax"))
    torch.set_num_threads(options.threads)
    machine = describe()
    line = (
        f"{machine.processor}, {machine.cores} cores, threads: {options.threads} (JAX has its own),"
        f" Python {machine.python}, PyTorch {torch.__version__}, JAX {jax.__version__}."
    )
    return options, jax, line
