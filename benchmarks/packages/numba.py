"""Steps of gradient descent: a loop in ``numba.njit``, the same in Python, and JAX's ``fori_loop``.

    python -m benchmarks numba [--steps 10000] [--repeat 5] [--json FILE]

Three gradients in float64: Rosenbrock's function of 10 and of 1,000 numbers, and a logistic
regression of 200 rows and 20 columns. Each loop makes as many steps from the same point. Its end is
compared with that of a loop in NumPy first; then the loops run in turns, and the time of a step is
the least of all repetitions. By hand is a gradient that a person wrote for Numba.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numba
import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe

#: Largest relative difference of the ends of two loops.
TOLERANCE: Final = 1e-9
#: Steps from Python, which take long: the time of a step is that of these.
FEWER: Final = 10
Loop = Callable[[Any, int], Any]


class Problem(NamedTuple):
    """A loss in the library ``np``, where descent begins, its rate, and a gradient by hand."""

    name: str
    loss: Callable[[Any, Any], Any]
    start: Any
    rate: float
    by_hand: Callable[[Any, Any], None]


def rosenbrock(np: Any, x: Any) -> Any:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


@numba.njit
def rosenbrock_by_hand(x: Any, slope: Any) -> None:
    slope[:] = 0.0
    for i in range(x.size - 1):
        residual = x[i + 1] - x[i] * x[i]
        slope[i] += -400.0 * x[i] * residual - 2.0 * (1.0 - x[i])
        slope[i + 1] += 200.0 * residual


ROWS: Final = np.random.default_rng(0).normal(size=(200, 20))
SIGNS: Final = np.sign(ROWS @ np.linspace(-1, 1, 20) + 0.1)


def logistic(np: Any, w: Any) -> Any:
    return np.log1p(np.exp(-SIGNS * (ROWS @ w))).mean()


@numba.njit
def logistic_by_hand(w: Any, slope: Any) -> None:
    margins = SIGNS * np.dot(ROWS, w)
    slope[:] = np.dot(-SIGNS / (1.0 + np.exp(margins)) / SIGNS.size, ROWS)


PROBLEMS: Final = (
    Problem("Rosenbrock, 10", rosenbrock, np.zeros(10), 1e-3, rosenbrock_by_hand),
    Problem("Rosenbrock, 1,000", rosenbrock, np.zeros(1000), 1e-3, rosenbrock_by_hand),
    Problem("logistic regression, 200 x 20", logistic, np.zeros(20), 0.1, logistic_by_hand),
)


def our_loops(problem: Problem) -> dict[str, Loop]:
    """Return the loops that call a compiled gradient."""
    x = sg.input("x", problem.start.shape, "float64")
    program = sg.compile(sg.grad(problem.loss(np, x), x))
    gradient, rate = sg.numba.function(program), problem.rate

    @numba.njit
    def in_place(x: Any, steps: int) -> Any:
        x, slope = x.copy(), np.empty_like(x)
        for _ in range(steps):
            gradient(x, out=slope)
            for i in range(x.size):
                x[i] -= rate * slope[i]
        return x

    @numba.njit
    def new_arrays(x: Any, steps: int) -> Any:
        for _ in range(steps):
            x = x - rate * gradient(x)
        return x

    def from_python(x: Any, steps: int) -> Any:
        for _ in range(steps):
            x = x - rate * program.run({"x": x})
        return x

    loop_program: Any = sg.function(
        lambda x, steps: sg.fori_loop(
            0, steps, lambda _, x: x - rate * sg.grad(lambda x: problem.loss(np, x))(x), x
        )
    )

    def as_a_program(x: Any, steps: int) -> Any:
        return loop_program(x, steps)

    return {
        "sg.numba, out=": in_place,
        "sg.numba": new_arrays,
        "f.run from Python": from_python,
        "sg.fori_loop": as_a_program,
    }


def builders() -> Builders:
    """Return what compiles the gradient of each problem, and makes the loops that call it."""
    return {problem.name: partial(our_loops, problem) for problem in PROBLEMS}


def other_loops(problem: Problem) -> dict[str, Loop]:
    """Return the loops of other libraries; those of JAX where it is installed."""
    by_hand, rate = problem.by_hand, problem.rate

    @numba.njit
    def in_numba(x: Any, steps: int) -> Any:
        x, slope = x.copy(), np.empty_like(x)
        for _ in range(steps):
            by_hand(x, slope)
            for i in range(x.size):
                x[i] -= rate * slope[i]
        return x

    loops: dict[str, Loop] = {"Numba, by hand": in_numba}
    try:
        jax = import_module("jax")
    except ImportError:
        return loops
    jax.config.update("jax_enable_x64", True)
    gradient = jax.grad(lambda x: problem.loss(jax.numpy, x))
    step = jax.jit(lambda x: x - rate * gradient(x))
    loop = jax.jit(lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: x - rate * gradient(x), x))

    def from_python(x: Any, steps: int) -> Any:
        x = jax.numpy.asarray(x)
        for _ in range(steps):
            x = step(x)
        return jax.block_until_ready(x)

    loops["jax.lax.fori_loop"] = lambda x, steps: jax.block_until_ready(loop(x, steps))
    loops["jax.jit from Python"] = from_python
    return loops


def expected_end(problem: Problem, steps: int) -> Any:
    """Return the end of the loop, by NumPy and the gradient by hand run as Python."""
    x, slope = problem.start.copy(), np.empty_like(problem.start)
    by_hand: Any = problem.by_hand
    for _ in range(steps):
        by_hand.py_func(x, slope)
        x = x - problem.rate * slope
    return x


def measure(problem: Problem, steps: int, repeat: int) -> dict[str, float]:
    """Return microseconds of a step for each loop, after all have ended at the same point."""
    loops = our_loops(problem) | other_loops(problem)
    checked = min(steps, 300)
    expected = expected_end(problem, checked)
    scale = np.abs(expected).max()
    for name, loop in loops.items():
        difference = np.abs(np.asarray(loop(problem.start, checked)) - expected).max() / scale
        if not difference <= TOLERANCE:
            raise SystemExit(f"{problem.name}: {name} differs from NumPy by {difference:.2g}")
    least = dict.fromkeys(loops, float("inf"))
    for _ in range(1 + repeat):  # the first time may compile
        for name, loop in loops.items():
            count = steps // FEWER if name.endswith("from Python") else steps
            begin = time.perf_counter()
            loop(problem.start, count)
            least[name] = min(least[name], (time.perf_counter() - begin) / count)
    return {name: 1e6 * seconds for name, seconds in least.items()}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    rows = {problem.name: measure(problem, options.steps, options.repeat) for problem in PROBLEMS}
    columns = [*next(iter(rows.values()))]
    machine = describe()
    line = (
        f"{machine.processor}, {machine.cores} cores, Python {machine.python}, Numba"
        f" {numba.__version__}; {options.steps:,} steps, µs a step"
    )
    print(f"{line}\n")
    print(f"| gradient | {' | '.join(f'`{name}`' for name in columns)} |")
    print(f"|---|{'--:|' * len(columns)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[column]:.2f}' for column in columns)} |")
    if options.json:
        figures = {"machine": line, "steps": options.steps, "microseconds": rows}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
