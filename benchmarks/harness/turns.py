"""Shared parts of the pages beside PyTorch and JAX: options, times in turns, the machine.

Calls take turns in one process (``least_times``), or processes do: each has a call, prints what is
known of it as JSON, and then measures for as many seconds as each line that it reads says
(``answer_turns``); ``measure_in_turns`` is what writes these lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from benchmarks.harness.machine import describe

ROUNDS: Final = 20
#: Seconds of calls that are timed together by a clock of all threads: the processor time of a
#: thread that runs on another core is counted up to a tick late (4 ms).
_TOGETHER: Final = 0.04
Side = TypeVar("Side", bound=Hashable)
#: What is known of a call: its error, bytes, least seconds.
Figures = dict[str, float]


class Worker(NamedTuple):
    """A process that measures one call: the arguments of Python, and variables beside ours."""

    arguments: Sequence[str]
    environment: Mapping[str, str]


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


def answer_turns(
    call: Callable[[], Any], facts: Figures, clock: Callable[[], float] = time.perf_counter
) -> None:
    """Print what is known of a call, and its least time for each line of seconds that is read."""
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        least, calls, end = float("inf"), 0, time.perf_counter() + float(line)
        while calls < 3 or time.perf_counter() < end:
            first, start = calls, clock()
            until = time.perf_counter() + (_TOGETHER if clock is time.process_time else 0)
            while calls == first or time.perf_counter() < until:
                call()
                calls += 1
            least = min(least, (clock() - start) / (calls - first))
        status = Path("/proc/self/status")  # Linux alone says it
        lines = status.read_text().splitlines() if status.exists() else []
        peak = next((int(line.split()[1]) << 10 for line in lines if line[:5] == "VmHWM"), 0)
        print(json.dumps({"seconds": least, "peak": peak}), flush=True)


def measure_in_turns(
    workers: Mapping[Side, Worker], limit: Callable[[Side], float], turns: int, seconds: float
) -> dict[Side, Figures | str]:
    """Return the figures of processes by side, or why there are none.

    ``limit`` is the largest error of a side.
    """
    processes, results = dict[Side, Any](), dict[Side, Figures | str]()
    for side, worker in workers.items():
        processes[side] = subprocess.Popen(
            [sys.executable, *worker.arguments], env={**os.environ, **worker.environment},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        answer = processes[side].stdout.readline()
        if not answer:
            results[side] = "does not run"
        elif (figures := json.loads(answer))["error"] > limit(side):
            results[side] = f"wrong by {figures['error']:.0e}"
        else:
            results[side] = figures | {"seconds": float("inf")}
    for _ in range(turns):
        for side, figures in results.items():
            if isinstance(figures, str):
                continue
            print(seconds / turns, file=processes[side].stdin, flush=True)
            answer = json.loads(processes[side].stdout.readline())
            figures["seconds"] = min(figures["seconds"], answer["seconds"])
            figures["peak"] = answer["peak"]
    for process in processes.values():
        process.communicate()
    return results


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
