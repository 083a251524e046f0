"""The share of the machine's limit that kernels of programs reach, beside another checkout.

    python -m benchmarks roofline [--only mlp gpt] [--runs 30] [--beside FOLDER] [--turns 3]

Programs: a training step of mlp, gpt, cnn, lstm and gp of the suite and of five larger networks
(``MODELS``), and the gradient of fifty steps of a heat equation, on one thread. The limits are
measured in the same run: fused multiplications and additions in registers, and reading from each
level of the caches and from memory. The least time of a step is the larger of its operations by the
first and its bytes by the bandwidth of the level that holds them (Williams et al., CACM 2009); of a
loop the level holds what one iteration touches. The share is that of the least time measured.
Processes take turns, and the least time of each step counts. Beside it is the share of operations
alone in the processor's time of a run, which other processes change less. Tables of Markdown:
programs, and steps below 60 %.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from benchmarks.harness.builders import Builders

ROOT: Final = Path(__file__).parents[2]
#: Networks of ``benchmarks models`` and ``benchmarks zoo``.
MODELS: Final = ("bert_base", "vit", "gpt2", "resnet18", "vae")
PROGRAMS: Final = ("mlp", "gpt", "cnn", "lstm", "heat", "gp", *MODELS)
#: The share below which a step is listed, and the least part of its program's time.
LOW: Final = 0.6
LEAST_PART: Final = 0.02
#: Levels of memory -> the bytes of an array that is read from there. An array larger than half of a
#: level is taken to be in the next one.
LEVELS: Final = {"L1": 1 << 14, "L2": 1 << 18, "L3": 1 << 22, "memory": 1 << 27}
Limits = dict[str, float]
Rows = list[dict[str, Any]]


def peak_source(lanes: int, chains: int = 10) -> str:
    """A kernel of independent chains of fused multiplications and additions."""
    names = [f"a{k}" for k in range(chains)]
    body = "\n".join(f"        {n} = fma({n}, x, y)" for n in names)
    start = "\n".join(f"    {n} = x" for n in names)
    return f"""\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    x = load{lanes}(p, 0)
    y = load{lanes}(p, {lanes})
{start}
    for i in range(begin, end):
{body}
    store{lanes}(p, 0, {" + ".join(names)})
"""


def read_source(lanes: int, chains: int = 8) -> str:
    """A kernel that adds up an array, as often as a word says."""
    names = [f"a{k}" for k in range(chains)]
    body = "\n".join(
        f"            {n} = {n} + load{lanes}(p, i + {k * lanes})" for k, n in enumerate(names)
    )
    start = "\n".join(f"    {n} = f32x{lanes}(0.0)" for n in names)
    return f"""\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    q = ptr_f32(t[1])
    times = t[2]
{start}
    for turn in range(0, times):
        for i in range(begin, end, {chains * lanes}):
{body}
    store{lanes}(q, 0, {" + ".join(names)})
"""


def _least(work: Callable[[], object], seconds: float = 0.3) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


def measured_limits() -> Limits:
    """Return operations by the second in float32, and bytes by the second of each level."""
    from staticgrad import native

    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
    lanes = native.vector_bits() // 32

    def call(source: str, record: Sequence[int], count: int) -> Callable[[], None]:
        words, run = np.array(record, np.int64), entry(native.kernel(source).address)
        return lambda: run(words.ctypes.data, 0, 0, count)

    numbers = np.full(64, 0.5, "f4")
    turns = 200_000
    peak = _least(call(peak_source(lanes), [numbers.ctypes.data], turns))
    limits = {"flops": 2.0 * 10 * lanes * turns / peak}
    for level, nbytes in LEVELS.items():
        array, result = np.ones(nbytes // 4, "f4"), np.zeros(64, "f4")
        times = max(1, (1 << 24) // nbytes)
        record = [array.ctypes.data, result.ctypes.data, times]
        spent = _least(call(read_source(lanes), record, array.size))
        limits[level] = nbytes * times / spent
    return limits


def heat() -> tuple[Any, dict[str, Any]]:
    """The gradient of fifty steps of an explicit heat equation on a torus, in float64."""
    import staticgrad as sg

    u = sg.input("u", (128, 128), "float64")

    def step(_: Any, v: Any) -> Any:
        around = sum(sg.roll(v, shift, axis) for shift in (1, -1) for axis in (0, 1))
        return v + 0.1 * (around - 4.0 * v)

    last = sg.fori_loop(0, 50, step, u)
    loss = sg.mean(last * last)
    random = np.random.default_rng(0)
    graph = sg.Graph({"loss": loss, "slope": sg.grad(loss, u)}, name="heat")
    return graph, {"u": random.normal(size=(128, 128))}


def build_program(name: str) -> tuple[Any, Mapping[str, Any]]:
    """Return the graph of a program and its feeds."""
    from benchmarks.implementations.with_staticgrad import Staticgrad, feeds_of, graph_of
    from benchmarks.peers.families import zoo
    from benchmarks.workloads import all_workloads

    if name == "heat":
        return heat()
    models = {**all_workloads("models"), **zoo()}
    workload = models[name] if name in MODELS else all_workloads()[name]
    data = workload.make()
    return graph_of(workload, data, Staticgrad()), feeds_of(workload, data)


def builders() -> Builders:
    """Return what builds the programs."""
    return {name: partial(build_program, name) for name in PROGRAMS}


def profile_steps(name: str, runs: int) -> tuple[Rows, float]:
    """Profile a program; return its steps as plain data, and the processor seconds of a run."""
    import staticgrad as sg

    graph, feeds = build_program(name)
    compiled = sg.compile(graph, threads=1)
    compiled.run(feeds)
    keys = ("kernel", "computes", "fastest", "nbytes", "flops", "products", "iterations")
    steps = compiled.profile(feeds, runs=runs).steps
    seconds = _least(lambda: compiled.run(feeds), 2.0)
    return [{key: getattr(step, key) for key in keys} for step in steps], seconds


def time_operations(step: Mapping[str, Any], limits: Limits) -> float:
    """Return the least seconds of a step's operations.

    An addition outside of products is half of a fused one; routines of libraries count as products.
    """
    maps = step["flops"] - step["products"]
    fused = re.fullmatch(r"k\d+", step["kernel"]) is None
    return float((step["products"] + (maps if fused else 2 * maps)) / limits["flops"])


def time_bound(step: Mapping[str, Any], limits: Limits) -> tuple[float, str]:
    """Return the least seconds of a step, and what limits it."""
    busy = time_operations(step, limits)
    touched = step["nbytes"] / max(1, step["iterations"])
    level = next((n for n, nbytes in LEVELS.items() if touched <= 2 * nbytes), "memory")
    transfer = step["nbytes"] / limits[level]
    return (busy, "operations") if busy >= transfer else (transfer, level)


def in_turns(
    names: Sequence[str], roots: Sequence[Path], runs: int, turns: int
) -> tuple[list[dict[str, Rows]], dict[str, float]]:
    """Return the steps of all programs by checkout, each at its least time of the turns, and the
    processor seconds of each program of this checkout."""
    by_root: list[dict[str, Rows]] = [{} for _ in roots]
    processor: dict[str, float] = {}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STATICGRAD_")}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(turns):
            for name in names:
                for number, root in enumerate(roots):
                    variables = {
                        "PYTHONPATH": str(root),
                        "STATICGRAD_CACHE_DIR": f"{folder}/{number}",
                    }
                    if root == ROOT:  # another one may not have the setting
                        variables["STATICGRAD_TIER"] = "full"
                    command = [
                        sys.executable,
                        "-P",
                        __file__,
                        "--program",
                        name,
                        "--runs",
                        str(runs),
                    ]
                    done = subprocess.run(
                        command, env={**inherited, **variables}, cwd=folder, check=True,
                        stdout=subprocess.PIPE, text=True,
                    )  # fmt: skip
                    profiled = json.loads(done.stdout.splitlines()[-1])
                    # another one may print the steps alone
                    steps: Rows = profiled[0] if isinstance(profiled[0], list) else profiled
                    if root == ROOT:
                        processor[name] = min(processor.get(name, profiled[1]), profiled[1])
                    fastest = by_root[number].setdefault(name, steps)
                    for best, step in zip(fastest, steps, strict=True):
                        best["fastest"] = min(best["fastest"], step["fastest"])
    return by_root, processor


def compare_with_bound(steps: Rows, limits: Limits) -> tuple[float, float, float]:
    """Return the seconds of a program, its bound, and the share."""
    spent, least = sum(s["fastest"] for s in steps), sum(time_bound(s, limits)[0] for s in steps)
    return spent, least, least / spent


def main() -> None:
    """Print the limits and both tables."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--only", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="programs")
    reader.add_argument("--runs", type=int, default=30, help="runs of a profile")
    reader.add_argument("--turns", type=int, default=3, help="processes of each program")
    reader.add_argument("--beside", type=Path, help="another checkout, measured in turns")
    reader.add_argument("--program", help="profile it in this process")
    options = reader.parse_args()
    if options.program:
        print(json.dumps(profile_steps(options.program, options.runs)))
        return
    names: Sequence[str] = options.only
    roots = [ROOT, *([options.beside.resolve()] if options.beside else [])]
    limits = measured_limits()
    by_root, processor = in_turns(names, roots, options.runs, options.turns)
    again = measured_limits()
    limits = {name: max(limits[name], again[name]) for name in limits}
    rates = ", ".join(f"{name} {limits[name] / 1e9:.0f} GB/s" for name in LEVELS)
    print(
        f"{limits['flops'] / 1e9:.0f} GFLOP/s in float32, {rates}; load {os.getloadavg()[0]:.1f}\n"
    )
    heads = ("step, us", "bound, us", "reached", "processor, us", "operations, us", "of FMAs")
    print(f"| program | {' | '.join(heads)} | before, us | reached before |")
    print(f"|---{'|--:' * 8}|")
    for name in names:
        cells = [compare_with_bound(rows_of[name], limits) for rows_of in by_root]
        texts = [f"{cells[0][0] * 1e6:,.0f}", f"{cells[0][1] * 1e6:,.0f}", f"{cells[0][2]:.0%}"]
        busy, seconds = sum(time_operations(s, limits) for s in by_root[0][name]), processor[name]
        texts += [f"{seconds * 1e6:,.0f}", f"{busy * 1e6:,.0f}", f"{busy / seconds:.0%}"]
        texts += [f"{cells[1][0] * 1e6:,.0f}", f"{cells[1][2]:.0%}"] if cells[1:] else ["-", "-"]
        print(f"| {name} | {' | '.join(texts)} |")
    print("\n| program | step | part of the time | us | bound, us | reached | limited by |")
    print("|---|---|--:|--:|--:|--:|---|")
    for name in names:
        spent = sum(step["fastest"] for step in by_root[0][name])
        timed = [step for step in by_root[0][name] if step["fastest"]]  # beyond the clock's steps
        for step in sorted(timed, key=lambda row: -row["fastest"]):
            least, by = time_bound(step, limits)
            share, part = least / step["fastest"], step["fastest"] / spent
            if share < LOW and part >= LEAST_PART:
                texts = [name, step["computes"][:60], f"{part:.0%}"]
                texts += [f"{seconds * 1e6:,.1f}" for seconds in (step["fastest"], least)]
                print(f"| {' | '.join([*texts, f'{share:.0%}', by])} |")


if __name__ == "__main__":
    main()
