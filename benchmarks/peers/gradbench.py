"""GradBench's evals by staticgrad, beside the tools of a checkout of GradBench that run here.

    git clone https://github.com/gradbench/gradbench
    python -m benchmarks gradbench --checkout gradbench [--tools manual jax] [--into FILE] > PAGE

The evals and the tools are GradBench's own, and so is the check of each result; this relays their
messages and keeps the least time of all runs of a row. Tools in C++ are built by their evals: they
need ``make``, a compiler and ``cpp/json.hpp``, and ``manual`` also checks the results. Tools in
Python run in the interpreter ``--python``, which needs GradBench's packages. Evals and rounds take
turns among the tools. Each runs on one thread. GradBench's tool of JAX does not wait for its
results, so its times are those of dispatch.

``--empty`` adds a column of ours whose cache of kernels is empty at each eval. ``--processor``
counts processor time, for a machine that does other work: all tools read that clock in the place
of the monotonic one (a library of ten lines, built by ``cc``), which costs a fraction of a
microsecond. ``--patience`` ends a tool's eval at an answer that took longer; sizes mostly grow.
``--from`` writes the table of documents that ``--into`` wrote before, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from shlex import split
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from benchmarks.adapters.gradbench.modules import MODULES
from benchmarks.harness.machine import describe

#: Tools whose programs are in C++; those of the others are in Python.
IN_CPP: Final = ("manual", "tapenade", "codipack", "adol-c", "cppad", "adept", "enzyme")
IN_PYTHON: Final = ("jax", "pytorch", "tensorflow")
OURS: Final = "staticgrad"
EMPTY: Final = "staticgrad, empty cache"
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
#: A library that reads the processor's clock in the place of the monotonic one.
CLOCK: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*read)(clockid_t, struct timespec *);
  if (!read) *(void **)&read = dlsym(RTLD_NEXT, "clock_gettime");
  return read(clock == CLOCK_MONOTONIC ? CLOCK_PROCESS_CPUTIME_ID : clock, time);
}
"""


class Row(NamedTuple):
    """A function of an eval at one input: the least seconds of its runs; whether it is right."""

    eval: str
    size: str
    function: str
    seconds: float
    is_valid: bool


def tool_command(tool: str, checkout: Path, python: str) -> list[str]:
    """Return the command that runs a tool."""
    if tool in {OURS, EMPTY}:
        return [sys.executable, "-m", "benchmarks.adapters.gradbench"]
    if tool in IN_CPP:
        return [python, "-m", "gradbench.cpp", tool]
    return [python, str(checkout / f"python/gradbench/gradbench/tools/{tool}/run.py")]


@contextmanager
def started_program(
    command: Sequence[str],
    folder: Path,
    paths: Iterable[Path],
    variables: Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """Run a program that answers lines by lines; end it at last."""
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), **(variables or {})}
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
    eval_name: str,
    tool: str,
    checkout: Path,
    python: str,
    options: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    patience: float = float("inf"),
) -> Iterator[Row]:
    """Relay the messages of an eval and a tool; yield a row for each checked evaluation.

    The tool runs with environment ``variables``; an answer that took longer than ``patience``
    seconds is the last.
    """
    library = (checkout / "python/gradbench", checkout / "python/gradbench/gradbench/tools" / tool)
    evaluator = [python, "-m", f"gradbench.evals.{eval_name}.run", *options]
    waiting: dict[int, tuple[str, str, float]] = {}
    with (
        started_program(evaluator, checkout, library) as asking,
        started_program(
            tool_command(tool, checkout, python), checkout, (ROOT, *library), variables
        ) as answering,
    ):
        is_slow = False
        for line in asking.stdout:
            message = json.loads(line)
            if message["kind"] == "end" or (is_slow and message["kind"] == "evaluate"):
                return
            start = time.monotonic()
            answer = ask(answering, line)
            is_slow |= message["kind"] == "evaluate" and time.monotonic() - start > patience
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


def wrong_tools(rows: Iterable[tuple[str, Row]]) -> dict[tuple[str, str, str], list[str]]:
    """Return the tools with a result that GradBench refuses, by eval, size and function."""
    wrong: dict[tuple[str, str, str], list[str]] = {}
    for tool, row in rows:
        tools = wrong.setdefault(row[:3], [])
        if not row.is_valid and tool not in tools:
            tools.append(tool)
    return wrong


def lines_of(rows: Sequence[tuple[str, Row]], tools: Sequence[str]) -> Iterator[str]:
    """Yield the table in milliseconds; ratio is ours over the best of the others."""
    columns = [tool for tool in tools if tool not in IN_PYTHON]
    in_python = [tool for tool in tools if tool in IN_PYTHON]
    heads = [*columns, *(["best in Python"] if in_python else [])]
    yield f"| eval | size | function | {' | '.join(heads)} | ratio | wrong |"
    yield f"|---|---|---|{'--:|' * (len(heads) + 1)}---|"
    wrong = wrong_tools(rows)
    for key, cells in least(rows).items():
        texts = [f"{cells[tool] * 1e3:.3g}" if tool in cells else "" for tool in columns]
        if in_python:
            best = min(((cells[tool], tool) for tool in in_python if tool in cells), default=None)
            texts.append(f"{best[0] * 1e3:.3g} {best[1]}" if best else "")
        others = [cells[tool] for tool in cells if tool not in {OURS, EMPTY}]
        ratio = f"{cells[OURS] / min(others):.2f}" if others and OURS in cells else ""
        yield f"| {' | '.join(key)} | {' | '.join(texts)} | {ratio} | {', '.join(wrong[key])} |"


@contextmanager
def clock_variables(of_processor: bool) -> Iterator[dict[str, str]]:
    """Yield the variables that load the library of the processor's clock, which is built; or none.

    Args:
        of_processor: use that clock.
    """
    if not of_processor:
        yield {}
        return
    with TemporaryDirectory() as folder:
        source, library = Path(folder, "clock.c"), Path(folder, "clock.so")
        source.write_text(CLOCK)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        yield {"LD_PRELOAD": str(library)}


def write_document(path: Path, rows: Iterable[tuple[str, Row]]) -> None:
    """Write the rows as JSON, with the machine."""
    written = [{"tool": tool, **row._asdict()} for tool, row in rows]
    path.write_text(json.dumps({"machine": asdict(describe()), "rows": written}, indent=1))


def measure(asked: argparse.Namespace) -> list[tuple[str, Row]]:
    """Run the evals by ours and the tools in turns; return each row with its tool."""
    tools, checkout = [OURS, *([EMPTY] if asked.empty else []), *asked.tools], asked.checkout
    rows: list[tuple[str, Row]] = []
    with clock_variables(asked.processor) as clock:
        for eval_name in asked.evals:
            options = [] if eval_name == "hello" else ["--min-seconds", str(asked.seconds)]
            options += split(asked.sizes) or (SHORT.get(eval_name, ()) if asked.short else ())
            for tool in tools * asked.rounds:
                with TemporaryDirectory() as folder:
                    cache = {"STATICGRAD_CACHE_DIR": folder} if tool == EMPTY else {}
                    measured = rows_of(
                        eval_name,
                        tool,
                        checkout.resolve(),
                        asked.python,
                        options,
                        variables=clock | cache,
                        patience=asked.patience,
                    )
                    rows.extend((tool, row) for row in measured)
                if asked.into:
                    write_document(asked.into, rows)
            wrong = sorted({(tool, *row[:3]) for tool, row in rows if not row.is_valid})
            print(
                f"{eval_name}: {len(rows)} rows, wrong: {wrong or 0}", file=sys.stderr, flush=True
            )
    return rows


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("evals", nargs="*", default=[*MODULES], help="; ".join(MODULES))
    source = reader.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkout", type=Path)
    source.add_argument("--from", dest="documents", nargs="+", type=Path)
    reader.add_argument("--tools", nargs="*", default=["manual", "tapenade", "adol-c", "pytorch"])
    reader.add_argument("--python", default=sys.executable, help="the interpreter of GradBench")
    reader.add_argument("--seconds", type=float, default=0.3, help="of runs of each row")
    reader.add_argument("--rounds", type=int, default=2)
    reader.add_argument("--short", action="store_true", help="two sizes of each eval")
    reader.add_argument("--sizes", default="", help="options of the eval, as --sizes='-n 10 -s 1'")
    reader.add_argument("--empty", action="store_true", help="ours with an empty cache, too")
    reader.add_argument("--processor", action="store_true", help="count processor time")
    reader.add_argument("--patience", type=float, default=float("inf"), help="seconds of an answer")
    reader.add_argument("--into", type=Path)
    asked = reader.parse_args()
    if asked.documents:
        texts = (json.loads(path.read_text()) for path in asked.documents)
        written = [row for text in texts for row in text["rows"]]
        rows = [(row.pop("tool"), Row(**row)) for row in written]
    else:
        rows = measure(asked)
    tools = [*dict.fromkeys(tool for tool, _ in rows)]
    print(f"{describe().processor}; milliseconds, least of all runs; ratio: ours / best\n")
    print("\n".join(lines_of(rows, tools)))
