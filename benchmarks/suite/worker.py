"""One process of a run: reads a job from standard input, writes a JSON result to its file.

A job is one implementation of one workload, or the measurement of the machine's limits, or the
truths. Every phase is timed by itself, in the order in which a user meets them; results pass the
gate before anything is timed for long.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.gate import judge, judge_second
from benchmarks.harness.implementation import (
    Implementation,
    Program,
    Settings,
    UnsupportedError,
    implementation_at,
)
from benchmarks.harness.machine import describe, measure_limits, together
from benchmarks.harness.measure import steady
from benchmarks.harness.operations import NotYetError
from benchmarks.harness.schema import Memory, Phases, Round, Status, decode
from benchmarks.harness.truth import Truth
from benchmarks.harness.workload import Workload
from benchmarks.workloads import all_workloads


@dataclass(frozen=True)
class Job:
    """``implementation`` is "module:class"; an empty one asks for the limits or the truths.

    ``truths`` is the folder of the truths, ``requested`` the workloads to write
    truths of; ``overhead`` asks for the time of a call at tiny sizes.
    """

    result: str
    truths: str
    threads: int = 1
    workload: str = ""
    implementation: str = ""
    cache: str = ""
    seconds: float = 1.0
    overhead: bool = False
    cold: bool = False
    small: bool = False
    requested: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The result of a process."""

    status: Status
    detail: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    error: float | None = None
    round: Round | None = None
    overhead: float | None = None
    memory: Memory | None = None


def run(job: Job) -> Outcome:
    """Measure one implementation of one workload."""
    workload = all_workloads("")[job.workload]
    settings = Settings(job.threads, job.cache, workload.dtype)
    start = time.perf_counter()
    implementation = implementation_at(job.implementation)()
    try:
        versions = implementation.load(settings)
        imported = time.perf_counter() - start
        outcome = _measure(job, workload, implementation, settings, imported)
    except NotYetError as error:
        return Outcome("not yet", str(error))
    except UnsupportedError as error:
        return Outcome("unsupported", str(error))
    return replace(outcome, versions=versions)


def _measure(
    job: Job,
    workload: Workload,
    implementation: Implementation,
    settings: Settings,
    imported: float,
) -> Outcome:
    truth = Truth.load(Path(job.truths) / f"{workload.name}.npz")
    data = workload.make(job.small)
    resident = _resident()
    program = implementation.program(workload, data, settings)
    build, compiling = _time_phase(program.build), _time_phase(program.compile)
    start = time.perf_counter()
    returned = program.step()
    phases = Phases(imported, build, compiling, time.perf_counter() - start)
    results, updated = program.results(returned), program.parameters()
    verdict = judge(workload, data, truth, results, updated, program.moments())
    del returned
    if verdict.is_correct and workload.trains:
        verdict = judge_second(workload, truth, verdict, _loss(program))
    if not verdict.is_correct:
        error = verdict.error if np.isfinite(verdict.error) else None
        return Outcome("wrong", verdict.reason, error=error)
    chosen = program.tune()
    measured = _timings(program, phases, job)
    if not np.isfinite(_loss(program)):
        return Outcome("wrong", "the loss is no longer finite after the timed calls")
    memory = Memory(resident, _peak(), program.planned_bytes())
    overhead = _overhead(workload, implementation, settings) if job.overhead else None
    return Outcome(
        "ok", chosen, error=verdict.error, round=measured, overhead=overhead, memory=memory
    )


def _timings(program: Program, phases: Phases, job: Job) -> Round:
    start, cpu = time.perf_counter(), time.process_time()
    dropped = steady(program.step, job.seconds)
    busy = (time.process_time() - cpu) / (time.perf_counter() - start)
    retained = steady(program.step, job.seconds / 2, keep=True)
    return Round(phases, dropped, retained, busy, job.cold, together(job.threads))


def _loss(program: Program) -> float:
    return float(program.results(program.step())["loss"])


def _overhead(workload: Workload, implementation: Implementation, settings: Settings) -> float:
    """Median seconds of a call at tiny sizes: what remains when there is hardly any work."""
    program: Program = implementation.program(workload, workload.make(True), settings)
    program.build()
    program.compile()
    program.step()
    program.tune()
    return steady(program.step, 0.2).median


def _time_phase(phase: Callable[[], Any]) -> float:
    start = time.perf_counter()
    phase()
    return time.perf_counter() - start


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident() -> int:
    """Resident bytes now, or the peak so far where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return _peak()
    return int(pages) * resource.getpagesize()


def write_truths(job: Job) -> dict[str, Any]:
    """One ``.npz`` per workload in the folder of truths; the work of each."""
    truth_of = import_module("benchmarks.harness.certificate").truth_of  # it loads staticgrad
    work = {}
    for name in job.requested:
        truth: Truth = truth_of(all_workloads("")[name], job.small)
        truth.save(Path(job.truths) / f"{name}.npz")
        work[name] = {"flops": truth.flops, "nbytes": truth.nbytes}
    return work


def main() -> None:
    """Do the job on standard input."""
    job: Job = decode(Job, json.load(sys.stdin), "job")
    # Before any library counts the processors. One thread is not bound to one processor: a library
    # that runs several threads anyway would lose time, and its CPU shows that it does.
    if job.threads > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-job.threads :])
    if job.implementation:
        result: Any = asdict(run(job))
    elif job.requested:
        result = write_truths(job)
    else:
        limits = asdict(measure_limits(job.threads))
        result = {"limits": limits, "machine": asdict(describe())}
    Path(job.result).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
