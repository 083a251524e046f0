"""One call, by what the caller's loop does with results: drops, holds or feeds them back.

    python -m benchmarks calls [--seconds 0.1] [--threads 1] > FILE
    python -m benchmarks calls --ours            # without JAX and PyTorch

A program multiplies a float32 vector by one number or by three. Times are per call, the least of
many loops, those of all columns in turns. A loop that drops forgets results at once; one that holds
appends them to a list; one that feeds back has the first result as its next argument (bound feeds
have it copied into the array that is bound). ``NumPy`` is ``np.multiply`` into ``np.empty``: what
the memory costs by itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import start_page

Call = Callable[[Any], Any]  #: gives a dict or a sequence of results
#: Bytes of each result.
SIZES: Final = (8, 1 << 10, 1 << 11, 1 << 12, 1 << 14, 1 << 16, 1 << 20, 1 << 24)
FACTORS: Final = (0.5, -0.25, 2.0)
#: Bytes that a loop may hold, and calls of one at most.
HELD_BYTES: Final = 16 << 20
MOST_CALLS: Final = 100  # a loop shorter than a time slice of the system
#: Rounds at least. Columns take turns in each.
ROUNDS: Final = 5


def products(count: int) -> Call:
    """Return a function of x, of any library, that gives x by the first factors."""
    return lambda x: tuple([x * factor for factor in FACTORS[:count]])


def product_of_numpy(count: int) -> Call:
    """Return the same with each result in memory of ``np.empty``."""
    factors = [np.float32(factor) for factor in FACTORS[:count]]
    return lambda x: [np.multiply(x, factor, out=np.empty(x.shape, x.dtype)) for factor in factors]


class BoundCall:
    """A call of bound feeds; its argument is copied into them, if it is not theirs."""

    def __init__(self, f: Any, x: Any) -> None:
        self.feed = x.copy()
        self._call = f.bind({"x": self.feed})

    def __call__(self, x: Any) -> Any:
        if x is not self.feed:
            self.feed[...] = x
        return self._call()


def graph_of(count: int) -> sg.Graph:
    """Return the graph of the products."""
    value = sg.input("x", ("n",), "float32")
    return sg.Graph({str(k): x for k, x in enumerate(products(count)(value))})


def builders() -> Builders:
    """Return what builds the products."""
    return {str(count): partial(graph_of, count) for count in (1, len(FACTORS))}


def our_calls(count: int, x: Any) -> dict[str, tuple[Call, Any]]:
    """Return our ways to call the program, and NumPy's, each with its argument."""
    f = sg.compile(graph_of(count))
    bound = BoundCall(f, x)
    return {
        "run": (lambda x: f.run({"x": x}), x),
        "bind": (bound, bound.feed),
        "function": (sg.function(products(count), sizes={"x": ("n",)}), x),
        "NumPy": (product_of_numpy(count), x),
    }


def peer_calls(count: int, x: Any) -> dict[str, tuple[Call, Any]]:
    """Return the same in JAX, waiting for results, and in PyTorch."""
    torch, jax = map(import_module, ("torch", "jax"))
    jitted = jax.jit(products(count))
    return {
        "JAX": (lambda x: jax.block_until_ready(jitted(x)), jax.numpy.asarray(x)),
        "PyTorch": (products(count), torch.from_numpy(x)),
    }


def arrays_of(results: Any) -> list[Any]:
    return [*results.values()] if isinstance(results, dict) else [*results]


def first_of(results: Any) -> Any:
    return results["0"] if isinstance(results, dict) else results[0]


def drop(call: Call, x: Any, calls: int) -> None:
    for _ in range(calls):
        call(x)


def hold(call: Call, x: Any, calls: int) -> list[Any]:
    results = []
    for _ in range(calls):
        results.append(call(x))  # noqa: PERF401 - a caller's loop
    return results


def feed_back(call: Call, x: Any, calls: int) -> Any:
    for _ in range(calls):
        x = first_of(call(x))
    return x


LOOPS: Final = {"dropped": drop, "held": hold, "fed back": feed_back}


def check(name: str, call: Call, x: Any, count: int) -> None:
    """Compare results with NumPy's, bitwise; they are held while others are made.

    Raises:
        SystemExit: they differ.
    """
    numbers = np.asarray(x).copy()
    all_results = hold(call, x, 12)
    for results in all_results:
        for factor, array in zip(FACTORS[:count], arrays_of(results), strict=True):
            if np.asarray(array).tobytes() != (numbers * np.float32(factor)).tobytes():
                raise SystemExit(f"{name}: results differ from NumPy's")
    back = np.asarray(feed_back(call, x, 5))
    if back.tobytes() != (numbers * np.float32(FACTORS[0] ** 5)).tobytes():
        raise SystemExit(f"{name}: results that are fed back differ from NumPy's")
    if isinstance(call, BoundCall):
        call.feed[...] = numbers


def least_loops(
    columns: dict[str, tuple[Call, Any]], nbytes: int, seconds: float
) -> dict[tuple[str, str], float]:
    """Return the least time of a call in each loop, by loop and column, in seconds."""
    count = max(2, min(MOST_CALLS, HELD_BYTES // nbytes))
    least = dict.fromkeys(((loop, name) for loop in LOOPS for name in columns), float("inf"))
    rounds, last = 0, time.perf_counter() + seconds * len(least)
    while rounds < ROUNDS or time.perf_counter() < last:
        for loop, name in least:
            call, x = columns[name]
            start = time.perf_counter()
            LOOPS[loop](call, x, count)
            least[loop, name] = min(least[loop, name], (time.perf_counter() - start) / count)
        rounds += 1
    return least


def main() -> int:
    """Print the page."""
    ours_alone = "--ours" in sys.argv
    if ours_alone:
        sys.argv.remove("--ours")
        machine = describe()
        line = f"{machine.processor}, {machine.cores} cores, Python {machine.python}."
        seconds, threads = 0.1, 1
    else:
        options, _, line = start_page("calls", __doc__, 0.1)
        seconds, threads = options.seconds, options.threads
    print(
        "# One call: results dropped, held, fed back\n\n"
        "`python -m benchmarks calls`: x times one number or three, µs a call, the least of many"
        f" loops.\n{line}\n\nResults are compared with NumPy's first, bitwise.\n"
    )
    is_begun = False
    with sg.options(threads=threads):
        for nbytes in SIZES:
            for count in (1, 3):
                x = np.linspace(1.0, 2.0, nbytes // 4, dtype=np.float32)
                columns = our_calls(count, x)
                if not ours_alone:
                    columns |= peer_calls(count, x)
                if not is_begun:
                    print(f"| bytes | results | loop | {' | '.join(columns)} |")
                    print("|--:|--:|---|" + "--:|" * len(columns))
                    is_begun = True
                for name, (call, argument) in columns.items():
                    check(name, call, argument, count)
                    drop(call, argument, 20)
                least = least_loops(columns, nbytes * count, seconds)
                for loop in LOOPS:
                    cells = " | ".join(f"{least[loop, name] * 1e6:,.1f}" for name in columns)
                    print(f"| {nbytes:,} | {count} | {loop} | {cells} |", flush=True)
    return 0
