"""Loops that read and write single entries of an array, beside JAX and loops of Numba.

    python -m benchmarks entries [--sizes 1000 10000] [--seconds 1] > FILE

Each program is written once for both libraries, as a scan over indices whose carry is the array,
and once more in Python for Numba. Columns are nanoseconds of processor time for one iteration, the
least of many runs in turns, of values and of gradients by the array; results are compared first,
in float64. A program without derivative has none. JAX's columns are empty where it is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple

import numba
import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import least_times

#: One iteration: the library, the carry and the number of the iteration give the next carry.
Step = Callable[[Any, Any, Any], Any]


class EntryLoop(NamedTuple):
    """A loop: one iteration for both libraries, and all of them for Numba, in place."""

    step: Step
    in_place: Callable[[Any], None]
    is_smooth: bool = True
    dtype: str = "float64"


def relax(lib: Any, x: Any, i: Any) -> Any:
    """A sweep of Gauss and Seidel: each entry becomes the mean of its neighbours."""
    n = x.shape[0]
    return x.at[i].set(0.25 * x[i] + 0.375 * (x[(i + n - 1) % n] + x[(i + 1) % n]))


def relax_in_place(x: Any) -> None:
    n = x.shape[0]
    for i in range(n):
        x[i] = 0.25 * x[i] + 0.375 * (x[(i + n - 1) % n] + x[(i + 1) % n])


def shuffle(lib: Any, x: Any, i: Any) -> Any:
    """Two entries change places."""
    j = (i * 7919 + 13) % x.shape[0]
    a, b = x[i], x[j]
    return x.at[i].set(b).at[j].set(a)


def shuffle_in_place(x: Any) -> None:
    n = x.shape[0]
    for i in range(n):
        j = (i * 7919 + 13) % n
        x[i], x[j] = x[j], x[i]


def oscillate(lib: Any, x: Any, i: Any) -> Any:
    """An entry and its successor pass a share of their sine to each other."""
    n = x.shape[0]
    share = 0.1 * lib.sin(x[i])
    return x.at[(i + 1) % n].add(share).at[i].add(-share)


def oscillate_in_place(x: Any) -> None:
    n = x.shape[0]
    for i in range(n):
        share = 0.1 * np.sin(x[i])
        x[(i + 1) % n] += share
        x[i] -= share


def count(lib: Any, x: Any, i: Any) -> Any:
    """A count of the values of a linear congruential generator."""
    return x.at[(i * 1103515 + 12345) % x.shape[0]].add(1)


def count_in_place(x: Any) -> None:
    n = x.shape[0]
    for i in range(n):
        x[(i * 1103515 + 12345) % n] += 1


PROGRAMS: Final = {
    "Gauss-Seidel sweep": EntryLoop(relax, relax_in_place),
    "shuffle": EntryLoop(shuffle, shuffle_in_place),
    "oscillators": EntryLoop(oscillate, oscillate_in_place),
    "counts": EntryLoop(count, count_in_place, False, "int64"),
}


def graphs_of(program: EntryLoop, size: int) -> dict[str, sg.Graph]:
    """Return the graphs of the loop and of its gradient."""
    x = sg.input("x", (size,), program.dtype)
    last, _ = sg.scan(lambda c, i: (program.step(sg, c, i), None), x, sg.arange(size))
    graphs = {"value": sg.Graph({"y": last})}
    if program.is_smooth:
        graphs["gradient"] = sg.Graph({"y": sg.grad((last * last).sum(), x)})
    return graphs


def builders() -> Builders:
    """Return what builds the loops."""
    return {name: partial(graphs_of, program, 8) for name, program in PROGRAMS.items()}


def make_ours(program: EntryLoop, size: int) -> dict[str, Callable[[Any], Any]]:
    """Compile the loop and its gradient."""

    def compile_graph(graph: sg.Graph) -> Callable[[Any], Any]:
        compiled = sg.compile(graph)
        return lambda array: compiled.run({"x": array})["y"]

    return {kind: compile_graph(graph) for kind, graph in graphs_of(program, size).items()}


def make_jax(program: EntryLoop, size: int) -> dict[str, Callable[[Any], Any]]:
    """Compile the loop and its gradient by JAX; nothing where it is not installed."""
    if importlib.util.find_spec("jax") is None:
        return {}
    jax = import_module("jax")
    jax.config.update("jax_enable_x64", True)

    def last(x: Any) -> Any:
        step = program.step
        return jax.lax.scan(lambda c, i: (step(jax.numpy, c, i), None), x, jax.numpy.arange(size))[
            0
        ]

    calls = {"value": jax.jit(last)}
    if program.is_smooth:
        calls["gradient"] = jax.jit(jax.grad(lambda x: (last(x) ** 2).sum()))

    def wait_for(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: run(x).block_until_ready()

    return {name: wait_for(run) for name, run in calls.items()}


def measure(name: str, size: int, seconds: float) -> str:
    """Compare the results of a program at a size, and return its row of times."""
    program = PROGRAMS[name]
    array = (np.arange(size) * 37 % 101 / 7).astype(program.dtype)
    loop = numba.njit(program.in_place)
    ours, of_jax = make_ours(program, size), make_jax(program, size)
    expected = array.copy()
    loop(expected)
    np.testing.assert_allclose(ours["value"](array), expected, rtol=1e-12)
    for kind, run in of_jax.items():
        np.testing.assert_allclose(np.asarray(run(array)), ours[kind](array), rtol=1e-9)
    room = array.copy()

    def in_numba() -> None:
        room[:] = array
        loop(room)

    calls = {f"ours {kind}": (lambda run=run: run(array)) for kind, run in ours.items()}
    calls |= {f"JAX {kind}": (lambda run=run: run(array)) for kind, run in of_jax.items()}
    least = least_times({**calls, "Numba value": in_numba}, seconds, time.process_time)
    columns = ("ours value", "JAX value", "Numba value", "ours gradient", "JAX gradient")
    cells = [f"{least[c] / size * 1e9:,.1f}" if c in least else "-" for c in columns]
    return f"| {name} | {size:,} | {' | '.join(cells)} |"


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks entries", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--seconds", type=float, default=1.0, help="measuring time of each cell")
    options = parser.parse_args()
    print(
        "# Loops that write entries\n\n`python -m benchmarks entries`:", describe().processor + ","
    )
    print("nanoseconds of processor time for one iteration.\n")
    print("| program | entries | value | JAX | Numba | gradient | JAX |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in PROGRAMS:
        for size in options.sizes:
            print(measure(name, size, options.seconds), flush=True)
