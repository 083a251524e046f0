"""Runs jobs, each in a process of its own, in shuffled order over several rounds; makes the report.

The first process of an implementation of a workload starts with empty caches of compiled code,
later ones with what it left. A process that crashes, hangs or is wrong becomes a row that says so.
Ctrl-C ends the run, and what was measured until then is reported. Nothing here measures.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import machine
from benchmarks.harness.implementation import Implementation, Settings
from benchmarks.harness.schema import Limits, Machine, Report, Round, Row, Status, decode
from benchmarks.harness.workload import Workload
from benchmarks.suite.worker import Job, Outcome

ROOT: Final = Path(__file__).parents[2]
#: Variables that pin a BLAS to an older core or change how a library compiles: never inherited.
CLEARED: Final = (
    "OPENBLAS_", "MKL_", "OMP_", "KMP_", "NUMBA_", "JAX_", "XLA_", "TORCH", "PYTENSOR_",
    "STATICGRAD_", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
)  # fmt: skip
THREADED: Final = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
#: Keeps NumPy's BLAS from wider instructions.
BLAS_AVX2: Final = {"OPENBLAS_CORETYPE": "Haswell", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """The options of a run.

    ``seconds`` is the measuring time of a process, ``timeout`` its longest life.
    """

    workloads: tuple[Workload, ...]
    implementations: tuple[type[Implementation], ...]
    threads: tuple[int, ...]
    rounds: int = 3
    seconds: float = 1.0
    timeout: float = 300.0
    seed: int = 0
    overhead: bool = True
    small: bool = False
    quick: bool = False  # leave out what takes long to compile
    avx2: bool = False  # no library uses wider instructions
    busy: bool = False  # another process holds one of the cores of rows with several threads


@dataclass(frozen=True)
class Pair:
    """One row to be."""

    workload: Workload
    implementation: type[Implementation]
    threads: int


class FailedRunError(Exception):
    """A process of the run itself failed: truths or limits."""


def environment(threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process: inherited without ``CLEARED``, threads set, and ``extra``."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(CLEARED)}
    inherited |= dict.fromkeys(THREADED, str(threads))
    paths = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), **extra}


def pairs_of(run: Run) -> list[Pair]:
    """Every row; an implementation with fewer threads than asked for runs once, with those."""
    pairs: dict[tuple[str, str, int], Pair] = {}
    for workload in run.workloads:
        for implementation in run.implementations:
            if run.quick and not implementation.is_quick(workload.name):
                continue
            for threads in run.threads:
                used = min(threads, implementation.threads or threads)
                key = (workload.name, implementation.name, used)
                pairs[key] = Pair(workload, implementation, used)
    return list(pairs.values())


def execute(run: Run, say: Say) -> Report:
    """Do all of it.

    Raises:
        FailedRunError: the truths or the limits could not be made.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="staticgrad-bench-") as place:
        folder = Path(place)
        work = _truths(run, folder, say)
        earlier, _ = _limits(run, folder, say)
        outcomes: dict[Pair, list[Outcome]] = {pair: [] for pair in pairs_of(run)}
        stopped = not _rounds(run, folder, say, outcomes)
        later, machine_found = _limits(run, folder, say)
    limits = tuple(starmap(_higher, zip(earlier, later, strict=True)))
    rows = tuple(
        _row(pair, results, work[pair.workload.name])
        for pair, results in outcomes.items()
        if results
    )
    cleared = sorted(k for k in os.environ if k.startswith(CLEARED[:-2]))
    notes: tuple[str, ...] = (f"cleared: {', '.join(cleared)}",) if cleared else ()
    if run.avx2:
        notes += ("No library used instructions wider than AVX2.",)
    if stopped:
        notes += ("The run was stopped before its end.",)
    if run.busy:
        notes += ("Another process held one of the cores of rows with several threads.",)
    return Report(
        machine_found, limits, rows, run.rounds, time.monotonic() - start, run.seed,
        dict.fromkeys(THREADED, "as many as the row says"), notes,
    )  # fmt: skip


def _truths(run: Run, folder: Path, say: Say) -> dict[str, Any]:
    say(f"float64 truths of {len(run.workloads)} workloads")
    names = tuple(w.name for w in run.workloads)
    job = Job(str(folder / "truths.json"), str(folder), requested=names, small=run.small)
    truths, detail, _ = launch(job, {}, max(run.timeout, 600.0))
    if truths is None:
        raise FailedRunError(f"no truths: {detail}")
    return dict(truths)


def _limits(run: Run, folder: Path, say: Say) -> tuple[tuple[Limits, ...], Machine]:
    limits, described = [], machine.describe()
    for threads in run.threads:
        say(f"limits of the machine, threads: {threads}")
        job = Job(str(folder / "limits.json"), str(folder), threads)
        extra = BLAS_AVX2 if run.avx2 else {}
        result, detail, _ = launch(job, extra, max(run.timeout, 60.0))
        if result is None:
            raise FailedRunError(f"no limits: {detail}")
        limits.append(decode(Limits, result["limits"], "limits"))
        described = decode(Machine, result["machine"], "machine")
    return tuple(limits), Machine(**{**asdict(described), "cores": machine.cores()})


def _higher(first: Limits, second: Limits) -> Limits:
    """The better of two measurements: a limit is what can be reached."""
    return Limits(
        first.threads,
        max(first.gemm32, second.gemm32),
        max(first.gemm64, second.gemm64),
        max(first.copy, second.copy),
    )


def _rounds(run: Run, folder: Path, say: Say, outcomes: dict[Pair, list[Outcome]]) -> bool:
    """Fill ``outcomes``; whether the run came to its end (Ctrl-C stops it)."""
    shuffle = random.Random(run.seed).shuffle
    try:
        for number in range(run.rounds):
            order = [p for p, results in outcomes.items() if all(o.status == "ok" for o in results)]
            shuffle(order)
            for place, pair in enumerate(order):
                outcome = _outcome(run, folder, pair, number)
                outcomes[pair].append(outcome)
                at = f"round {number + 1}/{run.rounds}, {place + 1}/{len(order)}"
                say(f"{at}: {_line(pair, outcome)}")
    except KeyboardInterrupt:
        measured = sum(bool(results) for results in outcomes.values())
        say(f"stopped: {measured} of {len(outcomes)} rows have results")
        return False
    return True


def _line(pair: Pair, outcome: Outcome) -> str:
    text = f"{pair.workload.name} {pair.implementation.name} x{pair.threads}: {outcome.status}"
    if outcome.round is None:
        return f"{text} {outcome.detail}"
    return f"{text}, {outcome.round.dropped.median * 1e6:.1f} us"


def _outcome(run: Run, folder: Path, pair: Pair, number: int) -> Outcome:
    name = f"{pair.workload.name}-{pair.implementation.name}"
    cache = folder / name
    cold = not cache.exists()
    cache.mkdir(exist_ok=True)
    settings = Settings(pair.threads, str(cache), pair.workload.dtype, run.avx2)
    place = f"{pair.implementation.__module__}:{pair.implementation.__name__}"
    job = Job(
        str(folder / "result.json"), str(folder), pair.threads, pair.workload.name, place,
        str(cache), run.seconds, run.overhead and number == 0, cold, run.small,
    )  # fmt: skip
    extra = pair.implementation.environment(settings) | (BLAS_AVX2 if run.avx2 else {})
    with _occupy_core(run.busy and pair.threads > 1):
        result, detail, status = launch(job, extra, run.timeout)
    if result is None:
        return Outcome(status, detail)
    return decode(Outcome, result, name)  # type: ignore[no-any-return]


@contextmanager
def _occupy_core(enabled: bool) -> Iterator[None]:
    """While another process never leaves the last core but one, where the system has affinities."""
    if not enabled or not hasattr(os, "sched_setaffinity"):
        yield
        return
    core = sorted(os.sched_getaffinity(0))[-2]
    loop = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", loop])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def launch(job: Job, extra: Mapping[str, str], timeout: float) -> tuple[Any, str, Status]:
    """Run one process: (its result or None, what went wrong, how to call that)."""
    result = Path(job.result)
    result.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.suite.worker"], cwd=ROOT, text=True,
        start_new_session=True, env=environment(job.threads, extra), stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = process.communicate(json.dumps(asdict(job)), timeout=timeout)
    except subprocess.TimeoutExpired:
        return None, f"no result within {timeout:.0f} s", "timeout"
    finally:
        _end(process)
    if process.returncode or not result.exists():
        return None, _last_words(errors) or f"exit status {process.returncode}", "crashed"
    return json.loads(result.read_text(encoding="utf-8")), "", "ok"


def _last_words(errors: str) -> str:
    """The line of a traceback that says what was raised, else the last line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip(" ^\n")]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    return (raised or lines or [""])[-1][:300]


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and what it started, in the session that is its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _row(pair: Pair, outcomes: Iterable[Outcome], work: Mapping[str, float]) -> Row:
    results = list(outcomes)
    last = results[-1]
    first = next((o for o in results if o.status != "ok"), None)
    rounds: tuple[Round, ...] = tuple(o.round for o in results if o.round is not None)
    details = [o.detail for o in results if o.detail]
    common: dict[str, Any] = {
        "workload": pair.workload.name,
        "implementation": pair.implementation.name,
        "threads": pair.threads,
        "peer": pair.implementation.peer,
        "dtype": pair.workload.dtype,
        "settings": pair.implementation.settings,
        "tolerance": pair.workload.tolerance,
        "versions": last.versions,
    }
    if first is not None:
        return Row(**common, status=first.status, detail=first.detail, error=first.error)
    return Row(
        **common,
        status="ok",
        detail=details[-1] if details else "",
        error=last.error,
        rounds=rounds,
        overhead=next((o.overhead for o in results if o.overhead is not None), None),
        memory=last.memory,
        flops=work["flops"],
        nbytes=work["nbytes"],
    )
