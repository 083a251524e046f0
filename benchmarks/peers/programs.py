"""Programs of many kinds, values and gradients, beside JAX and PyTorch on two threads.

    python -m benchmarks programs --into found.json --markdown > programs.md
    python -m benchmarks programs --only gram svd
    python -m benchmarks programs --rounds 0 --into found.json --markdown

Each program is written once (``benchmarks/peers/kinds``): a loss and its gradient, or a step of
SGD, under ``jax.jit`` and on PyTorch's tape. Results of all libraries must agree with JAX in
float64 before anything is timed. Times are the least of many calls, those of all libraries in
turns; every round goes through all programs again, and a file of ``--into`` keeps the lesser times
of earlier runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from math import exp, log
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.harness.builders import Builders, of_workloads
from benchmarks.harness.gate import judge
from benchmarks.harness.implementation import Implementation, Program, Settings
from benchmarks.harness.machine import describe, use_one_core
from benchmarks.harness.truth import Truth
from benchmarks.harness.turns import least_times
from benchmarks.harness.workload import Data, Workload
from benchmarks.implementations import all_implementations
from benchmarks.peers.kinds import programs

#: Libraries by the name of their implementation.
USUAL: Final = ("staticgrad", "jax", "torch")
OPTIONAL: Final = ("torch.compile",)  # its first results take long
#: What a program is meant to reach: best peer / ours.
WANTED: Final = 1.3
TITLES: Final = {"jax": "JAX", "torch": "PyTorch"}
#: Milliseconds by library, and why there are none.
Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Collection:
    """Programs that are measured alike: the command's name, the page's title, and what they are.

    ``reference`` is the library that computes the truth in float64; ``rounds`` and ``seconds`` are
    the defaults of these options.
    """

    name: str
    title: str
    about: str
    doc: str | None
    programs: Callable[[], dict[str, Workload]]
    reference: str = "jax"
    rounds: int = 3
    seconds: float = 0.5


PROGRAMS: Final = Collection(
    "programs", "Programs of many kinds", "a loss and its gradient, or a step of SGD", __doc__,
    programs,
)  # fmt: skip


class DifferentError(Exception):
    """The results of a library are not those of the truth."""


def truth_of(workload: Workload, data: Data, reference: Implementation) -> Truth:
    """Return the loss and the gradients that ``reference`` computes in float64."""
    wide = replace(workload, dtype="float64", kind="gradient")
    program = start_program(reference, wide, data.astype("float64"), 1)
    return Truth(dict(program.results(program.step())), None, 0.0, 0.0, 0.0)


def start_program(library: Implementation, workload: Workload, data: Data, threads: int) -> Program:
    """Return the program of a library, compiled."""
    program = library.program(workload, data, Settings(threads, "", workload.dtype))
    program.build()
    program.compile()
    return program


def check_program(program: Program, truth: Truth) -> Callable[[], Any]:
    """Return the call of a program whose results agree with the truth.

    Raises:
        DifferentError: they do not.
    """
    results = {k: np.array(v) for k, v in program.results(program.step()).items()}
    updated, moments = program.parameters(), program.moments()
    verdict = judge(program.workload, program.data, truth, results, updated, moments)
    if not verdict.is_correct:
        raise DifferentError(verdict.reason)
    program.tune()
    return program.step


def measure_program(
    workload: Workload,
    libraries: Mapping[str, Implementation],
    reference: Implementation,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return the least milliseconds of each library, or the text of what went wrong.

    ``copies`` are the parameters that a step of ours writes by a copy, where steps have moments.
    """
    data, calls, others = workload.make(), dict[str, Callable[[], Any]](), dict[str, Any]()
    truth = truth_of(workload, data, reference)
    for name, library in libraries.items():
        try:
            program = start_program(library, workload, data, options.threads)
            calls[name] = check_program(program, truth)
            if workload.has_moments and (copies := program.copies()) is not None:
                others["copies"] = copies
        except Exception as error:
            others[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            traceback.print_exc(file=sys.stderr)
    clock = time.process_time if options.processor_time else time.perf_counter
    least = least_times(calls, options.seconds, clock)
    return others | {name: 1e3 * seconds for name, seconds in least.items()}


def lesser(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lesser time of each library; a failure now replaces a time."""
    merged = {**earlier, **now}
    for name, result in now.items():
        if isinstance(result, float) and isinstance(earlier.get(name), float):
            merged[name] = min(result, earlier[name])
    return merged


def ratio(times: Mapping[str, Any]) -> float | None:
    """Return the time of the fastest peer over ours; None if either is missing."""
    peers = [t for name, t in times.items() if name != "staticgrad" and isinstance(t, float)]
    ours = times.get("staticgrad")
    return min(peers) / ours if peers and isinstance(ours, float) else None


def summary(results: Found) -> Iterator[str]:
    """Yield a line of all ratios, and one of those that are below what is wanted."""
    ratios = {name: r for name, times in results.items() if (r := ratio(times)) is not None}
    if ratios:
        mean = exp(sum(map(log, ratios.values())) / len(ratios))
        slower = sum(r < 1 for r in ratios.values())
        thin = sorted((r, name) for name, r in ratios.items() if r < WANTED)
        text = ", ".join(f"{name} {r:.2f}" for r, name in thin) or "none"
        yield f"{len(ratios)} programs, geometric mean {mean:.2f}, behind a peer: {slower}."
        yield f"Below {WANTED}: {text}."
    copies = {name: times["copies"] for name, times in results.items() if "copies" in times}
    if copies:
        some = [f"{name} {count}" for name, count in copies.items() if count]
        yield f"Copies of state in a step: {', '.join(some) or 'none'}."
    wrong = [f"{name} ({library}: {text})" for name, times in results.items()
             for library, text in times.items() if isinstance(text, str)]  # fmt: skip
    if wrong:
        yield f"Without a time: {'; '.join(wrong)}."


def table(results: Found, columns: Iterable[str], of: Collection = PROGRAMS) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    columns = [*columns]
    yield f"| program | | {' | '.join(columns)} | ratio |"
    yield f"|---|---|{'--:|' * (len(columns) + 1)}"
    for name, workload in of.programs().items():
        if name in results:
            times = [results[name].get(column) for column in columns]
            cells = [f"{t:.4g}" if isinstance(t, float) else "-" for t in times]
            best = ratio(results[name])
            shown = "-" if best is None else f"{best:.2f}"
            text = f"{workload.about}, {workload.dtype}"
            yield f"| {name} | {text} | {' | '.join(cells)} | {shown} |"


def page(
    results: Found, columns: Iterable[str], threads: int, quantity: str = "times",
    of: Collection = PROGRAMS,
) -> str:  # fmt: skip
    """Return the page of results."""
    machine = describe()
    versions = ", ".join(
        f"{title} {import_module(package).__version__}"
        for package, title in reversed(TITLES.items())
    )
    return "\n".join([
        f"# {of.title}",
        "",
        f"`python -m benchmarks {of.name}`: {of.about}, in"
        f" milliseconds; the least {quantity} of many calls, those of all libraries in turns."
        " Ratio: the fastest peer over staticgrad. Results agree with"
        f" {TITLES[of.reference]} in float64.",
        f"{machine.processor}, {machine.cores} cores, threads: {threads}, Python {machine.python},"
        f" {versions}.",
        "",
        *summary(results),
        "",
        *table(results, columns, of),
        "",
    ])  # fmt: skip


def load_libraries(names: Iterable[str], threads: int) -> dict[str, Implementation]:
    """Return loaded libraries by name, JAX with float64, and bound to one core if that is all."""
    if threads == 1:
        use_one_core()
    import_module("jax").config.update("jax_enable_x64", True)
    implementations = all_implementations()
    libraries = {name: implementations[name]() for name in names}
    for library in libraries.values():
        library.load(Settings(threads, ""))
    return libraries


def builders() -> Builders:
    """Return what builds the programs."""
    return of_workloads(programs())


def main(of: Collection = PROGRAMS) -> int:
    """Measure, and print a line of each program or the page; 1 if a result of ours is wrong."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {of.name}", description=of.doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    every, add = of.programs(), parser.add_argument
    add("--only", nargs="*", default=[*every], choices=[*every], metavar="PROGRAM")
    add("--impl", nargs="*", default=[*USUAL], choices=[*USUAL, *OPTIONAL])
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=of.rounds, help="times to go through all programs")
    add("--seconds", type=float, default=of.seconds, help="of each library of a program in a round")
    add("--processor-time", action="store_true",
        help="of all threads instead of the clock's, where others use the machine")  # fmt: skip
    add("--into", type=Path, help="a file of times, which keeps the lesser ones")
    add("--markdown", action="store_true", help="print the page of results instead of lines")
    add("--list", action="store_true", help="list the programs")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:20} {workload.about}" for name, workload in every.items()))
        return 0
    results: Found = {}
    if options.into and options.into.exists():
        results = json.loads(options.into.read_text())["programs"]
    say = partial(print, file=sys.stderr if options.markdown else sys.stdout, flush=True)
    loaded = load_libraries(dict.fromkeys((*options.impl, of.reference)), options.threads)
    libraries = {name: loaded[name] for name in options.impl}
    for _ in range(options.rounds):
        for name in options.only:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                now = measure_program(every[name], libraries, loaded[of.reference], options)
            results[name] = lesser(results.get(name, {}), now)
            say("\n".join([*table({name: results[name]}, libraries, of)][2:]))
            if options.into:
                document = {"machine": asdict(describe()), "programs": results}
                options.into.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        quantity = "processor times" if options.processor_time else "times"
        print(page(results, libraries, options.threads, quantity, of), end="")
    else:
        print("\n".join(summary(results)))
    return int(any(isinstance(times.get("staticgrad"), str) for times in results.values()))
