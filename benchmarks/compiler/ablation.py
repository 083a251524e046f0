"""Every special path of the compiler switched off: what it gains, where, and whether bits change.

    python -m benchmarks ablation --quick
    python -m benchmarks ablation --path siblings --path totals --json found.json
    python -m benchmarks ablation --hits                  # counts only, nothing runs
    python -m benchmarks ablation --page                  # the table of its page of results

The corpus has some 200 programs: the suite, convolutions with both gradients, products, and small
programs, among them one for each path that no other program reaches. Hits are calls in which a path
(``benchmarks/compiler/paths.py``) gives something else than the general one. Each program that it
changes is compiled both ways in one process and run in turns on one thread; a gain is the ratio of
the least process CPU times, off over on. Results are compared by bits.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, field
from functools import partial
from pathlib import Path as File
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.compiler import paths
from benchmarks.compiler.ablation_programs import OTHERS
from benchmarks.harness.builders import Builders
from benchmarks.harness.implementation import Settings
from benchmarks.harness.machine import describe
from benchmarks.harness.workload import Workload
from benchmarks.implementations.with_staticgrad import StaticgradProgram, feeds_of
from benchmarks.peers import convolutions
from benchmarks.suite.report import machine_text
from benchmarks.workloads import all_workloads
from staticgrad.support.records import dataclass

#: A program: makes a graph and feeds, anew each time, for parameters change.
Make = Callable[[], tuple[sg.Graph, dict[str, Any]]]
#: Seconds of a sample, and how many samples of each way.
SAMPLE: Final = 2e-3
SAMPLES: Final = 9
PAGE: Final = File(__file__).parents[1] / "results" / "compiler" / "ablation.md"
#: A gain, or a loss, beyond noise.
NOISE: Final = 0.1
#: M, N and K of products, and the form.
PRODUCTS: Final = tuple(
    (form, m, n, k)
    for form in ("nn", "nt", "tn")
    for m, n, k in (
        (1, 1024, 1024), (1024, 1, 1024), (1, 64, 4096), (3, 3, 3), (8, 8, 8), (17, 22, 301),
        (64, 64, 64), (1000, 10, 10), (64, 512, 784), (512, 512, 512), (256, 1024, 64),
        (2048, 5, 96), (64, 2048, 5), (400, 400, 1), (96, 300, 4), (8, 1024, 1024), (24, 700, 700),
        (384, 1024, 1024),
    )
)  # fmt: skip


def corpus() -> dict[str, Make]:
    """The programs by name."""
    programs: dict[str, Make] = {}
    for workload in all_workloads().values():
        programs[f"suite:{workload.name}"] = partial(_of_suite, workload)
    for kind in convolutions.KINDS:
        for part in convolutions.PARTS:
            programs[f"conv:{kind}:{part}"] = partial(_convolution, kind, part)
    for form, m, n, k in PRODUCTS:
        programs[f"gemm:{form} {m}x{n}x{k}"] = partial(_product, form, m, n, k)
    return programs | {f"small:{name}": make for name, make in OTHERS.items()}


def builders() -> Builders:
    """Return what builds the products and small programs; others are those of other commands."""
    others = ("suite:", "conv:")
    return {name: make for name, make in corpus().items() if not name.startswith(others)}


def _of_suite(workload: Workload) -> tuple[sg.Graph, dict[str, Any]]:
    data = workload.make()
    program = StaticgradProgram(workload, data, Settings(1, "", workload.dtype))
    program.build()
    return program.graph, feeds_of(workload, data)


def _convolution(kind: convolutions.Kind, part: str) -> tuple[sg.Graph, dict[str, Any]]:
    feeds = convolutions.draw_operands(kind)
    value, more = convolutions.parts(kind, feeds)[part]
    needs = {"result": "xw", "image": "wg", "filter": "xg"}[part]
    feeds = {name: array for name, array in ({**feeds, "g": more}).items() if name in needs}
    return sg.Graph({"o": value}), feeds


def _product(form: str, m: int, n: int, k: int) -> tuple[sg.Graph, dict[str, Any]]:
    random = np.random.default_rng(0)
    a = random.normal(size=(m, k) if form[0] == "n" else (k, m)).astype("float32")
    b = random.normal(size=(k, n) if form[1] == "n" else (n, k)).astype("float32")
    left, right = sg.input("a", a.shape, "float32"), sg.input("b", b.shape, "float32")
    c = (left if form[0] == "n" else left.T) @ (right if form[1] == "n" else right.T)
    return sg.Graph({"c": c}), {"a": a, "b": b}


# -- one program ----------------------------------------------------------------------------------


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """No schedule comes from the cache: it has those of the paths that were there."""
    from staticgrad.compiler.compiling import scheduling

    entry_name = scheduling.entry_name
    scheduling.entry_name = lambda *_, **__: None
    try:
        yield
    finally:
        scheduling.entry_name = entry_name


def compile_program(make: Make) -> tuple[Any, dict[str, Any], sg.Graph]:
    """A program on one thread, as it is compiled now, its feeds and its graph."""
    graph, feeds = make()
    with _nothing_kept():
        return sg.compile(graph, threads=1), feeds, graph


def hits(make: Make) -> Counter[str]:
    """The paths that a program takes, and how often; its kernels are written, not compiled."""
    with paths.counting() as counts:
        program, *_ = compile_program(make)
        _ = [kernel.source for kernel in program.kernels]
    return counts


@dataclass(frozen=True)
class Pair:
    """A program with a path and without."""

    program: str
    gain: float
    milliseconds: float
    alike: bool
    reason: str = ""


def pair(name: str, make: Make, path: str, rounds: int = SAMPLES) -> Pair | None:
    """Return what a path gains on a program; None where no kernel changes."""
    on, feeds, graph = compile_program(make)
    with paths.without(path):
        off, _, graph_without = compile_program(make)
        without = [kernel.source for kernel in off.kernels]
    if [kernel.source for kernel in on.kernels] == without:
        return None
    first, second = on.run(feeds), off.run(feeds)
    alike = _equal(first, second) and _equal(_values(graph), _values(graph_without))
    calls = [partial(on.run, feeds), partial(off.run, feeds)]
    with_path, without_path = _least(calls, rounds)
    return Pair(name, round(without_path / with_path, 3), round(with_path * 1e3, 4), alike)


def _values(graph: sg.Graph) -> dict[str, Any]:
    return {parameter.name: parameter.value for parameter in graph.parameters}


def _equal(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(np.asarray(first[k]).tobytes() == np.asarray(second[k]).tobytes() for k in first)


def _least(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The least seconds of process CPU time of each call, in turns."""
    counts = []
    for call in calls:
        call()
        start = time.process_time()
        call()
        counts.append(max(1, int(SAMPLE / max(1e-7, time.process_time() - start))))
    best = [float("inf")] * len(calls)
    for number in range(rounds):
        order = range(len(calls)) if number % 2 else reversed(range(len(calls)))
        for which in order:
            start = time.process_time()
            for _ in range(counts[which]):
                calls[which]()
            best[which] = min(best[which], (time.process_time() - start) / counts[which])
    return best


# -- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """The figures of a path."""

    path: str
    lines: int
    hits: int
    programs: Sequence[str]
    pairs: Sequence[Pair] = field(default_factory=list)

    def __str__(self) -> str:
        gains = sorted([pair.gain for pair in self.pairs], reverse=True)
        text = f"| {self.path} | {self.lines} | {self.hits} in {len(self.programs)} | "
        if not gains:
            return text + "| | |"
        best = max(self.pairs, key=lambda pair: pair.gain)
        worst = min(self.pairs, key=lambda pair: pair.gain)
        wrong = sum(not pair.alike for pair in self.pairs)
        text += f"{best.gain:.2f} {best.program} ... {worst.gain:.2f} {worst.program} | "
        above = sum(g > 1 + NOISE for g in gains)
        below = sum(g < 1 - NOISE for g in gains)
        bits = f"differ in {wrong}" if wrong else "equal"
        return f"{text}{above} / {below} of {len(gains)} | {bits} |"


def main() -> int:
    """Count, time, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ablation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the programs")
    parser.add_argument("--hits", action="store_true", help="count only")
    parser.add_argument("--path", action="append", default=[], help="only this one; repeat it")
    parser.add_argument("--program", action="append", default=[], help="only names with this")
    parser.add_argument("--most", type=int, default=12, help="timed programs of a path")
    parser.add_argument("--json", type=File)
    parser.add_argument("--page", action="store_true", help=f"write the table of {PAGE.name}")
    options = parser.parse_args()
    programs = corpus()
    if options.program:
        programs = {n: m for n, m in programs.items() if any(p in n for p in options.program)}
    if options.quick:
        programs = dict(list(programs.items())[::10])
    counted: dict[str, Counter[str]] = {}
    for name, make in programs.items():
        counted[name] = hits(make)
        print(f"# {name}: {len(counted[name])} paths", flush=True)
    table: list[Line] = []
    print("| path | lines | hits | gain | above / below 10 % | bits |\n|---|--:|--:|---|---|---|")
    for path in paths.PATHS:
        if options.path and path.name not in options.path:
            continue
        takers = [name for name, counts in counted.items() if counts[path.name]]
        pairs = []
        named_by_row = [name for name in takers if name == path.row]
        for name in (
            () if options.hits else dict.fromkeys((*named_by_row, *_spread(takers, options.most)))
        ):
            pair_of_program = pair(name, programs[name], path.name)
            pairs += [] if pair_of_program is None else [pair_of_program]
        table.append(
            Line(path.name, path.lines, sum(counted[n][path.name] for n in takers), takers, pairs)
        )
        print(table[-1], flush=True)
        if options.json:
            options.json.write_text(json.dumps([asdict(line) for line in table], indent=1) + "\n")
    if options.page:
        PAGE.write_text(replace_table(PAGE.read_text("utf-8"), table, len(programs)), "utf-8")
    return int(any(not one_pair.alike for line in table for one_pair in line.pairs))


def replace_table(text: str, table: Sequence[Line], count: int) -> str:
    """Return the text of the page with another first table, and what it was measured with."""
    title, _, _, *others = text.split("\n\n")
    about = (
        f"`python -m benchmarks ablation --page`, {machine_text(describe())}; one thread, {count}"
        " programs.\nA gain is the least CPU time without the path over that with it; of a path"
        " that many programs take, its own row and some others are timed."
    )
    head = "| path | lines | hits in programs | gain, best ... worst | above / below 10 % | bits |"
    rows = [head, "|---|--:|--:|---|--:|---|", *map(str, table)]
    return "\n\n".join([title, about, "\n".join(rows), *others])


def _spread(names: Sequence[str], most: int) -> Sequence[str]:
    """Some of these, one in so many."""
    step = max(1, -(-len(names) // most))
    return names[::step]
