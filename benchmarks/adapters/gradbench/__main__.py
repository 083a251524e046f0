"""A tool of GradBench: answers its messages, a line of JSON each, on standard input and output.

In a checkout of https://github.com/gradbench/gradbench, where staticgrad is installed:

    ./gradbench repo run --eval gmm --tool '$ python -m benchmarks.adapters.gradbench' -o run

Timings named "evaluate" are runs of a compiled program, those named "compile" the first call, which
traces and compiles. Runs are timed once the full code is there. One thread is used but for
``--multithreaded``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Iterator
from functools import cache
from typing import Any

import staticgrad as sg
from benchmarks.adapters.gradbench.modules import MODULES, as_json

Input = dict[str, Any]


@cache
def program(module: str, name: str, threads: Any) -> Any:
    """A function of a module, compiled at its first call."""
    return sg.function(MODULES[module].functions[name], threads=threads)


def evaluate(message: Input, threads: Any) -> Input:
    """Run a function as often as the message says; its output and the time of each run."""
    inputs, module = message["input"], message["module"]
    name = message["function"]
    run, args = program(module, name, threads), MODULES[module].read(inputs)
    write = MODULES[module].write.get(name, as_json)
    limits = inputs if isinstance(inputs, dict) else {}
    timings: list[Input] = []

    def time_run(timing: str) -> Any:
        start = time.perf_counter_ns()
        result = run(*args)
        timings.append({"name": timing, "nanoseconds": time.perf_counter_ns() - start})
        return result

    output = time_run("compile")
    run.wait()  # for the full code, which takes the place of the first runs'
    first = time.perf_counter()
    while True:
        output = time_run("evaluate")
        is_long = time.perf_counter() - first >= limits.get("min_seconds", 0)
        if is_long and len(timings) > limits.get("min_runs", 1):
            return {"success": True, "output": write(output), "timings": timings}


def respond(message: Input, threads: Any) -> Input:
    """The response to a message, without its number."""
    try:
        if message["kind"] == "start":
            return {"tool": "staticgrad", "config": {"version": sg.__version__, "threads": threads}}
        if message["kind"] == "define":
            is_known = message["module"] in MODULES
            return {"success": is_known} | (
                {} if is_known else {"error": "the module is not written"}
            )
        return evaluate(message, threads) if message["kind"] == "evaluate" else {}
    except Exception as error:  # of one evaluation: the session goes on
        return {"success": False, "error": "".join(traceback.format_exception(error))}


def responses(lines: Iterator[str], threads: Any) -> Iterator[str]:
    for line in lines:
        message = json.loads(line)
        yield json.dumps({"id": message["id"]} | respond(message, threads))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--multithreaded", action="store_true")
    threads = "auto" if parser.parse_args().multithreaded else 1
    for line in responses(iter(sys.stdin), threads):
        print(line, flush=True)


if __name__ == "__main__":
    main()
