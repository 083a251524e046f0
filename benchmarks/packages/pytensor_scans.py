"""State space models by PyTensor's scan with their gradients: ours beside PyTensor's modes.

    python -m benchmarks pytensor_scans [--only NAME ...] [--steps 200 2000] [--modes NUMBA C]
                                        [--json FILE]

Local level: a Kalman filter's likelihood of one series. AR(2): 100 series, with two taps. Gates: a
recurrent network with the gates of an LSTM, 32 series of 32 states. Each row is a process, which
compiles the value with its gradients, compares them with NumPy's values in float64 (the gradient
along one direction with a central difference), and then measures: seconds of processor time from
the graph to the first result, with empty caches; the least processor time of a call; the memory
of a call: resident memory that it adds, and of ours the arena, which stays. In the modes PyTensor
differentiates the scan. ``sg.grad`` is the value by ``sg.pytensor.function``, differentiated here;
``budget`` the same with a memory budget: the first feasible one of a quarter, half and three
quarters of the arena.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.memory import Growth
from benchmarks.packages.pymc import PEERS, quiet, run_process

OURS: Final = "STATICGRAD"
#: Functions of ``sg.pytensor.function`` that are differentiated here, without and with a budget.
GRADIENT: Final = "sg.grad"
BUDGET: Final = "budget"
SHARES: Final = (0.25, 0.5, 0.75)
#: Relative differences: of values, and of a derivative from a central difference.
TOLERANCES: Final = (1e-10, 1e-5)
STEP: Final = 1e-5
#: Calls of a measurement take about so long, in seconds.
TURN: Final = 0.2
TURNS: Final = 7


class Problem(NamedTuple):
    """A state space model.

    Attributes:
        data: the series, one row a step, and the parameters by name.
        symbolic: the loss of PyTensor's variables.
        numeric: the same of arrays of NumPy.
    """

    data: tuple[Any, dict[str, Any]]
    symbolic: Callable[..., Any]
    numeric: Callable[..., Any]


def local_level(steps: int) -> Problem:
    """Return the likelihood of a random walk that is observed with noise, by Kalman's filter."""
    random = np.random.default_rng(0)
    series = np.cumsum(0.3 * random.normal(size=steps)) + 0.5 * random.normal(size=steps)

    def step(library: Any, y: Any, level: Any, variance: Any, move: Any, noise: Any) -> Any:
        expected = variance + library.exp(noise)
        surprise = y - level
        gain = variance / expected
        loss = 0.5 * (library.log(expected) + surprise**2 / expected)
        return level + gain * surprise, (1 - gain) * variance + library.exp(move), loss

    def symbolic(y: Any, move: Any, noise: Any) -> Any:
        pytensor, pt = map(import_module, ("pytensor", "pytensor.tensor"))
        start = [pt.constant(0.0, dtype="float64"), pt.constant(10.0, dtype="float64"), None]
        losses = pytensor.scan(
            lambda *arguments: step(pt, *arguments), sequences=[y], outputs_info=start,
            non_sequences=[move, noise], return_updates=False,
        )[2]  # fmt: skip
        return losses.sum()

    def numeric(y: Any, move: Any, noise: Any) -> Any:
        level, variance, total = 0.0, 10.0, 0.0
        for row in y:
            level, variance, loss = step(np, row, level, variance, move, noise)
            total += loss
        return total

    return Problem((series, {"move": np.array(-2.0), "noise": np.array(-1.0)}), symbolic, numeric)


def ar2(steps: int, count: int = 100) -> Problem:
    """Return the squared error of series that follow their two last values."""
    random = np.random.default_rng(1)
    series = random.normal(size=(steps, count))

    def step(y: Any, earlier: Any, last: Any, first: Any, second: Any, scale: Any) -> Any:
        return first * last + second * earlier + scale * y

    def symbolic(y: Any, first: Any, second: Any, scale: Any) -> Any:
        pytensor, pt = map(import_module, ("pytensor", "pytensor.tensor"))
        states = pytensor.scan(
            step, sequences=[y], non_sequences=[first, second, scale], return_updates=False,
            outputs_info=[{"initial": pt.zeros((2, count)), "taps": [-2, -1]}],
        )  # fmt: skip
        return ((states - y) ** 2).sum() / steps

    def numeric(y: Any, first: Any, second: Any, scale: Any) -> Any:
        earlier, last, total = np.zeros(count), np.zeros(count), 0.0
        for row in y:
            earlier, last = last, step(row, earlier, last, first, second, scale)
            total += ((last - row) ** 2).sum()
        return total / steps

    parameters = {
        "first": np.full(count, 0.5), "second": np.full(count, 0.3), "scale": np.ones(count)
    }  # fmt: skip
    return Problem((series, parameters), symbolic, numeric)


def gates(steps: int, count: int = 32, states: int = 32) -> Problem:
    """Return the squared error of a recurrent network with the gates of an LSTM."""
    random = np.random.default_rng(2)
    series = random.normal(size=(steps, count, states))

    def step(library: Any, x: Any, state: Any, cell: Any, weights: Any, offset: Any) -> Any:
        z = state @ weights + offset
        parts = [z[:, k * states : (k + 1) * states] for k in range(4)]
        keep, write, read = [1 / (1 + library.exp(-part)) for part in parts[:3]]
        cell = keep * cell + write * library.tanh(parts[3] + x)
        return read * library.tanh(cell), cell

    def symbolic(x: Any, weights: Any, offset: Any) -> Any:
        pytensor, pt = map(import_module, ("pytensor", "pytensor.tensor"))
        results = pytensor.scan(
            lambda *arguments: step(pt, *arguments), sequences=[x], return_updates=False,
            outputs_info=[pt.zeros((count, states))] * 2, non_sequences=[weights, offset],
        )  # fmt: skip
        return (results[0] ** 2).sum() / steps

    def numeric(x: Any, weights: Any, offset: Any) -> Any:
        state, cell, total = np.zeros((count, states)), np.zeros((count, states)), 0.0
        for row in x:
            state, cell = step(np, row, state, cell, weights, offset)
            total += (state**2).sum()
        return total / steps

    parameters = {
        "weights": 0.2 * random.normal(size=(states, 4 * states)),
        "offset": 0.1 * random.normal(size=4 * states),
    }
    return Problem((series, parameters), symbolic, numeric)


PROBLEMS: Final[Mapping[str, Callable[[int], Problem]]] = {
    "local level": local_level, "AR(2)": ar2, "gates": gates,
}  # fmt: skip


def variables_of(problem: Problem) -> tuple[list[Any], Any]:
    """Return variables of PyTensor for the series and the parameters, and the loss of them."""
    pt = import_module("pytensor.tensor")
    series, parameters = problem.data
    arrays = {"y": series, **parameters}
    variables = [pt.tensor(name, shape=x.shape, dtype="float64") for name, x in arrays.items()]
    return variables, problem.symbolic(*variables)


def builders() -> Builders:
    """Return what builds the loss of each problem, over few steps."""

    def build(make: Callable[[int], Problem]) -> object:
        return variables_of(make(4))

    return {name: partial(build, make) for name, make in PROBLEMS.items()}


def compile_in_mode(problem: Problem, mode: str) -> tuple[Callable[[], Any], Any]:
    """Compile the loss and its gradients by a mode of PyTensor; our program or None is second."""
    pytensor = import_module("pytensor")
    variables, loss = variables_of(problem)
    outputs = [loss, *pytensor.grad(loss, variables[1:])]
    f = pytensor.function(variables, outputs, mode=mode, trust_input=True)
    series, parameters = problem.data
    arrays = [series, *parameters.values()]
    return lambda: f(*arrays), f.vm.jit_fn.programs[0] if mode == OURS else None


def compile_function(problem: Problem, budget: float | None) -> tuple[Callable[[], Any], Any]:
    """Compile the loss as a function of arrays with gradients from here; and its program."""
    variables, loss = variables_of(problem)
    value = import_module("staticgrad.pytensor").function(loss, variables)
    gradients = sg.value_and_grad(value, argnums=tuple(range(1, len(variables))))
    f = sg.function(gradients, memory_budget=budget)
    series, parameters = problem.data
    arrays = [series, *parameters.values()]
    program = f.compile(*arrays)

    def call() -> Any:
        value, slopes = f(*arrays)
        return [value, *slopes]

    return call, program


def compile_problem(problem: Problem, mode: str) -> tuple[Callable[[], Any], Any]:
    """Compile the loss and its gradients as a function without arguments; and our program."""
    if mode == GRADIENT:
        return compile_function(problem, None)
    if mode == BUDGET:
        for share in SHARES[:-1]:
            with suppress(sg.errors.BudgetInfeasible):
                return compile_function(problem, share)
        return compile_function(problem, SHARES[-1])
    return compile_in_mode(problem, PEERS.get(mode, mode))


def differences(problem: Problem, results: Any) -> tuple[float, float]:
    """Return the relative differences of the value, and of the derivative in one direction."""
    series, parameters = problem.data
    random = np.random.default_rng(3)
    directions = [random.normal(size=array.shape) for array in parameters.values()]

    def at(step: float) -> Any:
        shifted_parameters = [
            a + step * d for a, d in zip(parameters.values(), directions, strict=True)
        ]
        return problem.numeric(series, *shifted_parameters)

    value, slope = at(0.0), (at(STEP) - at(-STEP)) / (2 * STEP)
    ours = sum(np.sum(g * d) for g, d in zip(results[1:], directions, strict=True))
    pairs = ((results[0], value), (ours, slope))
    first, second = (abs(float(a - b)) / max(1.0, abs(float(b))) for a, b in pairs)
    return first, second


def measure(name: str, steps: int, mode: str) -> dict[str, Any]:
    """Return the figures of a problem in a mode; ``refused`` in the place of wrong values."""
    import_module("staticgrad.pytensor")
    problem = PROBLEMS[name](steps)
    start = time.process_time()
    call, program = compile_problem(problem, mode)
    results = call()
    first = time.process_time() - start
    of_value, of_slope = differences(problem, results)
    if of_value > TOLERANCES[0] or of_slope > TOLERANCES[1]:
        return {"refused": f"differs by {of_value:.0e}, {of_slope:.0e}"}
    arena = None
    if program is not None:
        program.wait()
        arena = program.peak_bytes
    del results
    growth = Growth()
    call()
    grown = growth.bytes()
    start = time.process_time()
    call()
    count = max(1, int(TURN / max(time.process_time() - start, 1e-6)))
    least = float("inf")
    for _ in range(TURNS):
        start = time.process_time()
        for _ in range(count):
            call()
        least = min(least, (time.process_time() - start) / count)
    return {"us": least * 1e6, "growth": grown, "first": first, "arena": arena}


def measure_in_a_process(name: str, steps: int, mode: str, options: Any) -> dict[str, Any]:
    """Return the same of a process with empty caches."""
    arguments = [
        "benchmarks.packages.pytensor_scans", "--process", mode, "--only", name,
        "--steps", str(steps), "--threads", str(options.threads),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as cache:
        try:
            return run_process(arguments, cache, options.limit)
        except subprocess.TimeoutExpired:
            return {"refused": f"more than {options.limit:.0f} s"}
        except subprocess.CalledProcessError as error:
            return {"refused": (error.stderr.strip().splitlines() or ["-"])[-1][:80]}


def cells_of(mode: str, row: dict[str, Any]) -> list[str]:
    """Return the cells of a row: time of a call, memory, time to the first result."""
    if "refused" in row:
        return [mode, row["refused"], "-", "-", "-"]
    memory = row["growth"] + (row["arena"] or 0)
    arena = "-" if row["arena"] is None else f"{row['arena'] / 1024:,.0f}"
    return [
        mode, f"{row['us']:,.0f}", f"{memory / 1024:,.0f}", arena, f"{row['first']:.1f}"
    ]  # fmt: skip


def main() -> int:
    """Print a table; return 1 if a result of ours differs, or there is none."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks pytensor_scans", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", default=[*PROBLEMS], choices=[*PROBLEMS])
    add("--steps", nargs="*", type=int, default=[200, 2000])
    add("--modes", nargs="*", default=["NUMBA", "C"], choices=[*PEERS], help="of PyTensor")
    add("--threads", type=int, default=1)
    add("--limit", type=float, default=300.0, help="seconds that a process may take")
    add("--json", help="write the figures into this file")
    add("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet()
    if options.process:
        (name,), (steps,) = options.only, options.steps
        with sg.options(threads=options.threads):
            print(json.dumps(measure(name, steps, options.process)))
        return 0
    machine = describe()
    print(
        f"# State space models\n\n`python -m benchmarks pytensor_scans`, {machine.processor},"
        f" {machine.cores} cores, threads: {options.threads}, Python {machine.python}.\n"
    )
    columns = ["model", "steps", "mode", "µs a call", "memory, KiB", "arena, KiB", "first, s"]
    print(f"| {' | '.join(columns)} |\n|---|--:|---|{'--:|' * (len(columns) - 3)}")
    rows, failed = [], 0
    for name in options.only:
        for steps in options.steps:
            for mode in [OURS, GRADIENT, BUDGET, *options.modes]:
                row = measure_in_a_process(name, steps, mode, options)
                rows.append({"model": name, "steps": steps, "mode": mode, **row})
                failed += mode not in PEERS and "refused" in row
                print(f"| {' | '.join([name, str(steps), *cells_of(mode, row)])} |", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": vars(machine), "rows": rows}))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
