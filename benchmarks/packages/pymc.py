"""Log densities of PyMC with their gradients, by our mode of PyTensor and by its own modes.

    python -m benchmarks pymc [--only NAME ...] [--modes NUMBA C JAX] [--json FILE]
    python -m benchmarks pymc --first [--repeat 1]
    python -m benchmarks pymc --sample [--repeat 1]

Value and gradient of each model (``benchmarks.packages.pymc_models``) over one vector are one graph
of PyTensor, which each mode compiles. Value and gradient are compared with the first peer's at four
points before anything is timed: a mode that differs by more than 1e-12, relative to the larger of 1
and the number, has no times; unless the model is ill-conditioned: results of the first peer move by
more if the numbers of a point move by one unit in the last place (``one rounding`` in the table),
so that no mode can be closer to the true value. Then the least processor time of a call in turns,
of the function of PyTensor (``trust_input``), results dropped and held.

``--first``: seconds from the built model to the first value with gradient, by the clock and of the
processor; each row is a process, ``cold`` with empty caches, ``warm`` with those it has filled.

``--sample``: the same of ``pm.sample`` and ``nutpie.sample`` whole, compilation and sampling: 1,000
steps of tuning and 1,000 draws, two chains one after the other. The posterior means of a sampler
must be those of its own mode within the errors of both samples, or there are no times.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.peers.calls import Call, drop, hold

ROOT: Final = Path(__file__).parents[2]
OURS: Final = "STATICGRAD"
#: PyTensor's modes by the names of the options.
PEERS: Final = {"NUMBA": "NUMBA", "C": "CVM", "JAX": "JAX"}
#: The greatest difference from the reference, relative to the larger of 1 and the number.
TOLERANCE: Final = 1e-12
POINTS: Final = 4
#: Random directions in which each point moves by a rounding.
DIRECTIONS: Final = 8
#: Samplers and what compiles the density, ours and their own; the last one's means are compared.
SAMPLERS: Final = (f"pm.sample {OURS}", "pm.sample", f"nutpie {OURS}", "nutpie")
#: Calls of one loop take about so long, in seconds.
LOOP: Final = 0.01
#: Results that a loop holds at most.
MOST_HELD: Final = 2000


def quiet() -> None:
    """Silence warnings and the logging of PyMC and PyTensor."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def build(name: str) -> Any:
    """Build a model, and register our mode."""
    import_module("staticgrad.pytensor")
    return import_module("benchmarks.packages.pymc_models").MODELS[name]()


def builders() -> Builders:
    """Return what builds the models."""
    models = import_module("benchmarks.packages.pymc_models").MODELS
    return {name: partial(build, name) for name in models}


def start_of(model: Any) -> Any:
    """Return the initial point as a vector."""
    parts = [np.ravel(part) for part in model.initial_point().values()]
    return np.concatenate(parts).astype("float64")


def compile_density(model: Any, mode: str) -> Call:
    """Compile value and gradient of a log density as a function of one vector."""
    inputs = model.value_vars
    value = model.logp()
    gradient = import_module("pytensor.tensor").concatenate(
        [part.ravel() for part in import_module("pytensor").grad(value, inputs)]
    )
    (value, gradient), point = import_module("pymc.pytensorf").join_nonshared_inputs(
        model.initial_point(), [value, gradient], inputs
    )
    with model:  # whose settings say which bounds are checked
        function = import_module("pymc.pytensorf").compile([point], [value, gradient], mode=mode)
    function.trust_input = True
    return function  # type: ignore[no-any-return]


def difference(results: Any, reference: Any) -> float:
    """Return the greatest difference of values and gradients."""
    worst = 0.0
    for ours, theirs in zip(results, reference, strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        apart = np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))
        worst = max(worst, float(np.max(apart)))
    return worst


def effect_of_rounding(call: Call, points: Sequence[Any], reference: Sequence[Any]) -> float:
    """Return how far results move if each number of a point moves by one unit in the last place.

    It is the largest difference for some random directions at each point: about the error of a
    result that is right but for a rounding of the argument.
    """
    random = np.random.default_rng(1)
    worst = 0.0
    for x, results in zip(points, reference, strict=True):
        for _ in range(DIRECTIONS):
            neighbour = np.nextafter(x, np.where(random.integers(0, 2, x.size), np.inf, -np.inf))
            worst = max(worst, difference(call(neighbour), results))
    return worst


def least_times(calls: dict[str, Call], x: Any, seconds: float) -> dict[str, dict[str, float]]:
    """Return the least µs of a call by its name and loop, in turns; of three turns at least."""
    counts = {}
    for name, call in calls.items():
        drop(call, x, 3)
        start = time.process_time()
        drop(call, x, 3)
        spent = max((time.process_time() - start) / 3, 1e-7)
        counts[name] = max(1, min(MOST_HELD, int(LOOP / spent)))
    least = {name: {"dropped": float("inf"), "held": float("inf")} for name in calls}
    turns, end = 0, time.perf_counter() + seconds * len(calls)
    while turns < 3 or time.perf_counter() < end:
        for name, call in calls.items():
            for loop, run in (("dropped", drop), ("held", hold)):
                start = time.process_time()
                run(call, x, counts[name])
                spent = (time.process_time() - start) / counts[name] * 1e6
                least[name][loop] = min(least[name][loop], spent)
        turns += 1
    return least


def measure(name: str, modes: list[str], seconds: float) -> dict[str, Any]:
    """Compile a model in each mode, compare the results, and time the calls that agree."""
    model = build(name)
    start = start_of(model)
    random = np.random.default_rng(0)
    points = [start + 0.1 * random.normal(size=start.size) for _ in range(POINTS)]
    reference: list[Any] | None = None
    differences: dict[str, float | str] = {}
    calls: dict[str, Call] = {}
    rounding = 0.0
    for mode in [*modes, OURS]:
        try:
            call = compile_density(model, PEERS.get(mode, mode))
            results = [[np.array(part) for part in call(x)] for x in points]
        except Exception as error:  # a mode may lack an Op
            differences[mode] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
            continue
        if reference is None:
            reference, rounding = results, effect_of_rounding(call, points, results)
        worst = max(map(difference, results, reference))
        differences[mode] = worst
        if worst <= max(TOLERANCE, rounding):
            calls[mode] = call
    lowered = calls[OURS].vm.jit_fn if OURS in calls else None  # type: ignore[attr-defined]
    for program in lowered.programs if lowered is not None else ():
        program.wait()
    return {
        "model": name,
        "numbers": start.size,
        "differences": differences,
        "one rounding": rounding,
        "us": least_times(calls, points[0], seconds),
        "kernels": sum(len(program.kernels) for program in lowered.programs) if lowered else None,
        "by PyTensor": len(lowered.fallbacks) if lowered else None,
    }


def first(name: str, mode: str) -> dict[str, float]:
    """Return the seconds from a built model to its first value with gradient."""
    model = build(name)
    x = start_of(model)
    clock, processor = time.perf_counter(), time.process_time()
    call = compile_density(model, PEERS.get(mode, mode))
    call(x)
    return {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}


def sample_model(name: str, sampler: str) -> dict[str, Any]:
    """Return the seconds of a sampler from a built model to its draws, and what they are like.

    ``means`` and ``errors`` have, for each number of the model, the mean of the draws and its
    standard error by ArviZ's effective number of draws.
    """
    model = build(name)
    clock, processor = time.perf_counter(), time.process_time()
    if sampler.startswith("nutpie"):
        nutpie = import_module("nutpie")
        make = sg.pytensor.nutpie if sampler.endswith(OURS) else nutpie.compile_pymc_model
        trace = nutpie.sample(
            make(model), draws=1000, tune=1000, chains=2, cores=1, seed=1, progress_bar=False
        )
    else:
        mode = {"mode": OURS} if sampler.endswith(OURS) else {}
        trace = import_module("pymc").sample(
            draws=1000, tune=1000, chains=2, cores=1, random_seed=1, progressbar=False,
            compute_convergence_checks=False, model=model, compile_kwargs=mode, nuts_sampler="pymc",
        )  # fmt: skip
    times = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    arviz = import_module("arviz")
    draws = trace.posterior
    size = arviz.ess(trace)
    size = getattr(size, "posterior", size)
    means, errors = [], []
    for variable in sorted(draws.data_vars):
        axes = ("chain", "draw")
        means += np.ravel(draws[variable].mean(axes)).tolist()
        count = np.maximum(np.ravel(size[variable]), 4.0)
        errors += (np.ravel(draws[variable].std(axes)) / np.sqrt(count)).tolist()
    return {**times, "means": means, "errors": errors}


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Return whether the means of two samples are the same within their errors."""
    if len(ours["means"]) != len(theirs["means"]):
        return False
    distance = np.abs(np.subtract(ours["means"], theirs["means"]))
    return bool((distance <= 5 * np.hypot(ours["errors"], theirs["errors"]) + 1e-9).all())


def measure_samples(name: str, repeat: int, limit: float) -> dict[str, Any]:
    """Return the least seconds of each sampler, cold and warm; none where means differ."""
    rows: dict[str, Any] = {}
    for sampler in SAMPLERS:
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    sample = first_in_a_process(name, sampler, cache, limit)
                    if sample is None:
                        break
                    best = rows.get(f"{sampler} {kind}", sample)
                    rows[f"{sampler} {kind}"] = sample | {
                        key: min(best[key], sample[key]) for key in ("clock", "processor")
                    }
    reference = rows.get(f"{SAMPLERS[-1]} warm")
    differing = [key for key, row in rows.items() if reference is None or not agree(row, reference)]
    for key in differing:
        rows[key] = None
    return {"model": name, "first": rows, "differing": differing}


def first_in_a_process(name: str, mode: str, cache: str, limit: float) -> dict[str, Any] | None:
    """Return the times of a process that has this folder for caches; None if it takes too long."""
    try:
        return run_process(
            ["benchmarks.packages.pymc", "--process", mode, "--only", name], cache, limit
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None


def run_process(arguments: list[str], cache: str, limit: float) -> dict[str, Any]:
    """Return what ``python -m ARGUMENTS`` prints last, of a process with this folder for caches.

    Raises:
        TimeoutExpired: it takes more than ``limit`` seconds.
        CalledProcessError: it fails.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTENSOR_FLAGS": f"base_compiledir={cache}/pytensor",
        "NUMBA_CACHE_DIR": f"{cache}/numba",
        "STATICGRAD_CACHE_DIR": f"{cache}/staticgrad",
        "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment.pop("STATICGRAD_TIER", None)  # as users begin
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True,
        timeout=limit, check=True,
    )  # fmt: skip
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def measure_first(name: str, modes: list[str], repeat: int, limit: float) -> dict[str, Any]:
    """Return the least seconds to a first value of each mode, cold and warm."""
    rows: dict[str, Any] = {}
    for mode in [*modes, OURS]:
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    times = first_in_a_process(name, mode, cache, limit)
                    if times is None:
                        rows.setdefault(f"{mode} {kind}", None)
                        break
                    best = rows.get(f"{mode} {kind}") or times
                    rows[f"{mode} {kind}"] = {key: min(best[key], times[key]) for key in times}
    return {"model": name, "first": rows}


def cells_of_calls(row: dict[str, Any], modes: list[str]) -> list[str]:
    """Return the cells of a model: µs dropped and held of each mode, ours over the best peer."""
    cells = [row["model"], str(row["numbers"])]
    times = row["us"]
    for mode in [OURS, *modes]:
        if mode in times:
            cells.append(f"{times[mode]['dropped']:,.1f} / {times[mode]['held']:,.1f}")
        else:
            worst = row["differences"].get(mode, "-")
            cells.append(f"differs by {worst:.0e}" if isinstance(worst, float) else str(worst))
    peers = [times[mode]["dropped"] for mode in modes if mode in times]
    is_compared = OURS in times and peers
    cells.append(f"{times[OURS]['dropped'] / min(peers):.2f}" if is_compared else "-")
    worst = row["differences"].get(OURS, "-")
    cells.append(f"{worst:.0e}" if isinstance(worst, float) else str(worst))
    return [*cells, f"{row['one rounding']:.0e}"]


def cells_of_first(row: dict[str, Any], modes: Sequence[str]) -> list[str]:
    """Return the cells of a model: seconds by the clock and of the processor, cold and warm."""
    cells = [row["model"]]
    for kind in ("cold", "warm"):
        for mode in modes:
            times = row["first"].get(f"{mode} {kind}")
            cells.append(f"{times['clock']:.1f} / {times['processor']:.1f}" if times else "-")
    return cells


def main() -> int:
    """Print a table; return 1 if our values differ from PyTensor's, or there are none."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks pymc", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", help="names of models; all without it")
    add("--modes", nargs="*", default=["NUMBA"], choices=[*PEERS], help="of PyTensor, beside ours")
    add("--seconds", type=float, default=0.5, help="measuring time of each call")
    add("--threads", type=int, default=1)
    add("--first", action="store_true", help="seconds to a first value")
    add("--sample", action="store_true", help="seconds of whole samplers")
    add("--repeat", type=int, default=1, help="turns of processes; the least counts")
    add("--limit", type=float, default=300.0, help="seconds that a process may take")
    add("--json", help="write the figures into this file")
    add("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet()
    if options.process:
        (name,) = options.only
        measure_process = sample_model if options.process in SAMPLERS else first
        print(json.dumps(measure_process(name, options.process)))
        return 0
    names = options.only or [*import_module("benchmarks.packages.pymc_models").MODELS]
    machine = describe()
    versions = ", ".join(
        f"{package} {import_module(package).__version__}"
        for package in ("pymc", "pytensor", "numba")
    )
    way = " --first" if options.first else " --sample" if options.sample else ""
    print(
        f"# Log densities of PyMC\n\n`python -m benchmarks pymc{way}`, {machine.processor},"
        f" {machine.cores} cores, threads: {options.threads}, Python {machine.python},"
        f" {versions}.\n"
    )
    modes = options.modes
    if options.first:
        print("Seconds from the built model to the first value, by the clock / of the processor.\n")
        columns = [f"{mode} {kind}" for kind in ("cold", "warm") for mode in [OURS, *modes]]
        columns = ["model", *columns]
    elif options.sample:
        print("Seconds of samplers with compilation, by the clock / of the processor.\n")
        columns = [f"{sampler} {kind}" for kind in ("cold", "warm") for sampler in SAMPLERS]
        columns = ["model", *columns]
    else:
        print("Value and gradient, µs of processor time a call, results dropped / held.\n")
        columns = ["model", "numbers", OURS, *modes, "ours / best", "difference", "one rounding"]
    print(f"| {' | '.join(columns)} |\n|---|{'--:|' * (len(columns) - 1)}")
    rows, failed = [], 0
    with sg.options(threads=options.threads):
        for name in names:
            if options.first:
                rows.append(measure_first(name, modes, options.repeat, options.limit))
                cells = cells_of_first(rows[-1], [OURS, *modes])
            elif options.sample:
                rows.append(measure_samples(name, options.repeat, options.limit))
                cells = cells_of_first(rows[-1], SAMPLERS)
                failed += bool(rows[-1]["differing"])
            else:
                rows.append(measure(name, modes, options.seconds))
                cells = cells_of_calls(rows[-1], modes)
                failed += OURS not in rows[-1]["us"]
            print(f"| {' | '.join(cells)} |", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": vars(machine), "rows": rows}))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
