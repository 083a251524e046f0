"""GradBench's evals by staticgrad, beside the tools of a checkout of GradBench that run here.

    git clone https://github.com/gradbench/gradbench
    python -m benchmarks gradbench --checkout gradbench [--tools manual jax] [--into FILE] > PAGE

The evals and the tools are GradBench's own, and so is the check of each result; this relays their
messages and keeps the least time of all runs of a row. Tools in C++ are built by their evals: they
need ``make``, a compiler and ``cpp/json.hpp``, and ``manual`` also checks the results. Tools in
Python run in the interpreter ``--python``, which needs GradBench's packages. Evals and rounds take
turns among the tools. Each runs on one thread. GradBench's tool of JAX does not wait for its
results, so its times are those of dispatch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.adapters.gradbench.modules import MODULES
from benchmarks.harness.machine import describe

#: Tools whose programs are in C++; those of the others are in Python.
IN_CPP: Final = ("manual", "tapenade", "codipack", "adol-c", "cppad", "adept", "enzyme")
OURS: Final = "staticgrad"
ROOT: Final = Path(__file__).parents[2]
#: Variables by which libraries take one thread.
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Eval -> sizes that take seconds in all, as its command line names them.
SHORT: Final[Mapping[str, Sequence[str]]] = {
    "lse": ("-n", "2500", "160000"),
    "llsq": ("-n", "16", "4096"),
    "gmm": ("-d", "2", "10", "-k", "5", "25"),
    "ode": ("-n", "1000", "10000", "-s", "1", "10"),
    "det": ("-l", "5", "8"),
    "ba": ("--max", "1"),
    "ht": ("--variant", "simple", "--min", "4", "--max", "4"),
    "lstm": ("-l", "2", "-c", "1024"),
}


class Row(NamedTuple):
    """A function of an eval at one input: the least seconds of its runs; whether it is right."""

    eval: str
    size: str
    function: str
    seconds: float
    is_valid: bool


def tool_command(tool: str, checkout: Path, python: str) -> list[str]:
    """Return the command that runs a tool."""
    if tool == OURS:
        return [sys.executable, "-m", "benchmarks.adapters.gradbench"]
    if tool in IN_CPP:
        return [python, "-m", "gradbench.cpp", tool]
    return [python, str(checkout / f"python/gradbench/gradbench/tools/{tool}/run.py")]


@contextmanager
def started_program(command: Sequence[str], folder: Path, paths: Iterable[Path]) -> Iterator[Any]:
    """Run a program that answers lines by lines; end it at last."""
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    settings |= dict.fromkeys(ONE_THREAD, "1")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=settings, stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: Any, line: str) -> str:
    """Send a line; return the answer, empty where the program has ended."""
    process.stdin.write(line)
    process.stdin.flush()
    return str(process.stdout.readline())


def rows_of(
    eval_name: str, tool: str, checkout: Path, python: str, options: Sequence[str]
) -> Iterator[Row]:
    """Relay the messages of an eval and a tool; yield a row for each checked evaluation."""
    library = (checkout / "python/gradbench", checkout / "python/gradbench/gradbench/tools" / tool)
    evaluator = [python, "-m", f"gradbench.evals.{eval_name}.run", *options]
    waiting: dict[int, tuple[str, str, float]] = {}
    with (
        started_program(evaluator, checkout, library) as asking,
        started_program(
            tool_command(tool, checkout, python), checkout, (ROOT, *library)
        ) as answering,
    ):
        for line in asking.stdout:
            message = json.loads(line)
            if message["kind"] == "end":
                return
            answer = ask(answering, line)
            if not answer:
                return
            response = json.loads(answer)
            if message["kind"] == "evaluate" and response.get("success"):
                runs = [t["nanoseconds"] for t in response["timings"] if t["name"] == "evaluate"]
                size = message.get("description", "")
                waiting[message["id"]] = size, message["function"], min(runs) * 1e-9
            if message["kind"] == "analysis":
                size, function, seconds = waiting.pop(message["of"])
                yield Row(eval_name, size, function, seconds, message["valid"])
            asking.stdin.write(answer)
            asking.stdin.flush()


def least(rows: Iterable[tuple[str, Row]]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return the least seconds by eval, size and function, and by tool; of valid rows."""
    seconds: dict[tuple[str, str, str], dict[str, float]] = {}
    for tool, row in rows:
        cells = seconds.setdefault(row[:3], {})
        if row.is_valid:
            cells[tool] = min(row.seconds, cells.get(tool, row.seconds))
    return seconds


def lines_of(
    seconds: Mapping[tuple[str, str, str], Mapping[str, float]], tools: Sequence[str]
) -> Iterator[str]:
    """Yield the table in milliseconds; the last column is ours over the best of the others."""
    yield f"| eval | size | function | {' | '.join(tools)} | ratio |"
    yield f"|---|---|---|{'--:|' * (len(tools) + 1)}"
    for (eval_name, size, function), cells in seconds.items():
        texts = [f"{cells[tool] * 1e3:.3g}" if tool in cells else "" for tool in tools]
        others = [cells[tool] for tool in cells if tool != OURS]
        ratio = f"{cells[OURS] / min(others):.2f}" if others and OURS in cells else ""
        yield f"| {eval_name} | {size} | {function} | {' | '.join(texts)} | {ratio} |"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("evals", nargs="*", default=[*MODULES], help="; ".join(MODULES))
    reader.add_argument("--checkout", type=Path, required=True)
    reader.add_argument("--tools", nargs="*", default=["manual", "tapenade", "adol-c", "pytorch"])
    reader.add_argument("--python", default=sys.executable, help="the interpreter of GradBench")
    reader.add_argument("--seconds", type=float, default=0.3, help="of runs of each row")
    reader.add_argument("--rounds", type=int, default=2)
    reader.add_argument("--short", action="store_true", help="two sizes of each eval")
    reader.add_argument("--into", type=Path)
    asked = reader.parse_args()
    tools, checkout = [OURS, *asked.tools], asked.checkout.resolve()
    rows: list[tuple[str, Row]] = []
    for eval_name in asked.evals:
        options = [] if eval_name == "hello" else ["--min-seconds", str(asked.seconds)]
        options += SHORT.get(eval_name, ()) if asked.short else ()
        for tool in tools * asked.rounds:
            measured = rows_of(eval_name, tool, checkout, asked.python, options)
            rows.extend((tool, row) for row in measured)
        wrong = sorted({(tool, *row[:3]) for tool, row in rows if not row.is_valid})
        print(f"{eval_name}: {len(rows)} rows, wrong: {wrong or 0}", file=sys.stderr, flush=True)
    print(f"{describe().processor}; milliseconds, least of all runs; ratio: ours / best\n")
    print("\n".join(lines_of(least(rows), tools)))
    if asked.into:
        written = [{"tool": tool, **row._asdict()} for tool, row in rows]
        document = {"machine": asdict(describe()), "rows": written}
        asked.into.write_text(json.dumps(document, indent=1))
