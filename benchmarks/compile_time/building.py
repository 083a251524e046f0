"""Time that a public function takes to build its nodes, beside JAX's tracing and PyTensor's graphs.

    python -m benchmarks building [--only sum matmul] [--turns 40] [--json FILE] [--before FILE]

Each row is one call of a program's line: microseconds of processor time, the least of several
turns, and the nodes that it builds. Of JAX a call inside of ``jax.make_jaxpr``, with its equations
(those of inner programs too); of PyTensor a call with its Apply nodes. ``--before`` takes the file
that ``--json`` wrote of an earlier tree and prints its column, too. A library that is not installed
leaves its columns empty.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe

SHAPE: Final = (4, 8, 8)
#: Calls that one measurement divides its time by.
CALLS: Final = 50

#: Name -> the line, of the functions ``np`` of a library and of values x, y (4, 8, 8), m (4, 8, 8)
#: of bools and i (5,) of integers. A pair has PyTensor's spelling second.
LINES: Final[Mapping[str, str | tuple[str, str]]] = {
    "add": "x + y", "add number": "x + 1.0", "subtract": "x - y", "multiply": "x * y",
    "divide": "x / y", "negative": "-x", "power": "x ** 2.0", "exp": "np.exp(x)",
    "tanh": "np.tanh(x)", "maximum": "np.maximum(x, y)", "greater": "x > y",
    "where": ("np.where(m, x, y)", "np.switch(m, x, y)"), "astype": "x.astype('int32')",
    "clip": "np.clip(x, -1.0, 1.0)", "sum": "np.sum(x, axis=-1)", "sum all": "np.sum(x)",
    "max": "np.max(x, axis=1)", "mean": "np.mean(x, axis=(0, 1))", "var": "np.var(x, axis=-1)",
    "argmax": "np.argmax(x, axis=-1)", "cumsum": "np.cumsum(x, axis=-1)",
    "sort": "np.sort(x, axis=-1)", "matmul": "np.matmul(x, y)",
    "reshape": "x.reshape((8, 32))", "transpose": "x.transpose((2, 0, 1))",
    "broadcast": "np.broadcast_to(x, (3, 4, 8, 8))",
    "concatenate": "np.concatenate([x, y], axis=1)", "stack": "np.stack([x, y])",
    "slice": "x[:, 1:5]", "item": "x[1]", "new axis": "x[:, None]", "take": "x[i]",
}  # fmt: skip


def compile_lines(library: Any, only: Sequence[str], variant: int) -> dict[str, Any]:
    """Return name -> the line as a function of ``x, y, m, i`` that calls a library's functions."""
    functions = {}
    for name, line in LINES.items():
        if not only or name in only:
            text = line if isinstance(line, str) else line[variant]
            code = compile(f"lambda x, y, m, i: {text}", "lines_of_building.py", "eval")
            functions[name] = eval(code, {"np": library})
    return functions


def least_time(turn: Callable[[], object], turns: int) -> float:
    """Return the least processor time of a turn, in microseconds a call."""
    least = float("inf")
    for _ in range(turns):
        start = time.process_time()
        turn()
        least = min(least, time.process_time() - start)
    return least * 1e6 / CALLS


def repeat(function: Callable[..., object], values: Sequence[Any]) -> Callable[[], object]:
    """Return the function that calls a line on values as often as a turn counts."""
    return lambda: [function(*values) for _ in range(CALLS)]


Row = tuple[float, int]


def our_values() -> list[sg.Value]:
    """Return x, y, m and i."""
    x, y = (sg.input(name, SHAPE, "float32") for name in "xy")
    return [x, y, sg.input("m", SHAPE, "bool"), sg.input("i", (5,), "int64")]


def builders() -> Builders:
    """Return what builds the nodes of each line."""
    values = our_values()
    return {name: partial(call, *values) for name, call in compile_lines(sg, [], 0).items()}


def measure_ours(only: Sequence[str], turns: int) -> dict[str, Row]:
    """Return name -> microseconds of a call and the nodes that it builds."""
    values, rows = our_values(), {}
    for name, function in compile_lines(sg, only, 0).items():
        nodes = sg.Graph({"result": function(*values)}).nodes
        count = sum(not node.is_leaf or node.op.name == "constant" for node in nodes)
        rows[name] = least_time(repeat(function, values), turns), count
    return rows


def measure_jax(only: Sequence[str], turns: int) -> dict[str, Row]:
    """Return the same of tracing by ``jax.make_jaxpr``, without what an empty trace takes."""
    jax, numpy = map(import_module, ("jax", "jax.numpy"))
    array = np.ones(SHAPE, "float32")
    values = [array, array, np.ones(SHAPE, "bool"), np.ones(5, "int32")]

    def trace(body: Callable[..., object]) -> Callable[[], Any]:
        return lambda: jax.make_jaxpr(lambda *args: body(*args))(*values)

    empty = least_time(trace(lambda *args: args), turns)
    rows = {}
    for name, function in compile_lines(numpy, only, 0).items():
        count = count_equations(trace(function)().jaxpr)
        turn = trace(lambda *args, f=function: [f(*args) for _ in range(CALLS)])
        rows[name] = least_time(turn, turns) - empty, count
    return rows


def count_equations(jaxpr: Any) -> int:
    """Count the equations of a jaxpr; an inner program's stand for the one that calls it."""
    count = 0
    for equation in jaxpr.eqns:
        inner = [p.jaxpr for p in equation.params.values() if hasattr(p, "jaxpr")]
        count += sum(map(count_equations, inner)) if inner else 1
    return count


def measure_pytensor(only: Sequence[str], turns: int) -> dict[str, Row]:
    """Return the same of PyTensor's variables, with the Apply nodes of a call."""
    pt, traversal = map(import_module, ("pytensor.tensor", "pytensor.graph.traversal"))
    x, y = (pt.tensor(name, shape=SHAPE, dtype="float32") for name in "xy")
    i = pt.tensor("i", shape=(5,), dtype="int64")
    values = [x, y, pt.tensor("m", shape=SHAPE, dtype="bool"), i]
    rows = {}
    for name, function in compile_lines(pt, only, 1).items():
        result = function(*values)
        count = sum(1 for _ in traversal.apply_ancestors([result]))
        rows[name] = least_time(repeat(function, values), turns), count
    return rows


def main() -> int:
    """Print a table of microseconds a call and a node."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks building", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", default=[], choices=[*LINES], metavar="NAME")
    add("--turns", type=int, default=40, help="measurements of each row; the least counts")
    add("--json", help="write the figures into this file")
    add("--before", help="a file of --json of an earlier tree")
    options = parser.parse_args()
    columns = {"staticgrad": measure_ours(options.only, options.turns)}
    if options.before:
        columns = {"before": json.loads(Path(options.before).read_text()), **columns}
    for name, module, measure in (
        ("JAX", "jax", measure_jax), ("PyTensor", "pytensor", measure_pytensor)
    ):  # fmt: skip
        if find_spec(module) is not None:
            columns[name] = measure(options.only, options.turns)
    if options.json:
        Path(options.json).write_text(json.dumps(columns["staticgrad"]))
    machine = describe()
    print(
        f"# Building\n\n`python -m benchmarks building`, {machine.processor},"
        f" {machine.cores} cores, Python {machine.python}. Each cell: µs a call / nodes.\n"
    )
    print(f"| line | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for name in columns["staticgrad"]:
        cells = [f"{rows[name][0]:.1f} / {rows[name][1]}" for rows in columns.values()]
        line = LINES[name] if isinstance(LINES[name], str) else LINES[name][0]
        print(f"| `{line}` | {' | '.join(cells)} |")
    means = [
        f"{statistics.geometric_mean(us / count for us, count in rows.values()):.1f}"
        for rows in columns.values()
    ]
    print(f"| geometric mean, µs a node | {' | '.join(means)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
