"""Cycles of kernels' innermost loops on processors of 128-bit vectors, by LLVM's machine models.

    python -m benchmarks cycles [--processors neoverse-n1 neoverse-v1 apple-m1] [--mca llvm-mca-22]

Kernels are compiled for each processor on whatever machine this is. llvm-mca (one of LLVM's tools,
which are not on PyPI) runs two hundred times over the loop in which a kernel spends its time: of
its innermost loops that are vector arithmetic by three fifths, or of all, the one with most of it.
The bound is that loop's vector instructions, shared evenly by the processor's vector units.
``dispatch`` is the cycles in which the model lets the loop's micro-operations into the pipeline:
LLVM models neoverse-n1 with three a cycle (Arm's optimization guide says up to eight), and apple-m1
as its ancestor of 2013 with three vector units (it has four), so that their cycles are too many.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final
from unittest import mock

import staticgrad as sg
from benchmarks.harness.builders import Builders
from staticgrad.native import loader
from staticgrad.native.target import Target, binding
from staticgrad.support.records import dataclass

#: Vector units of the processors, as LLVM models them.
UNITS: Final = {"neoverse-n1": 2, "neoverse-v1": 4, "neoverse-v2": 4, "ampere1": 2, "apple-m1": 3}
DEFAULT: Final = ("neoverse-n1", "neoverse-v1", "apple-m1")
ITERATIONS: Final = 200
#: The share of vector arithmetic in the lines of a loop that computes: others move or transform.
DENSE: Final = 0.6
#: An instruction on vector registers that is no load, store or move between registers' files.
_VECTOR: Final = re.compile(r"\s+(?!ld|st|mov\b|dup\b)\w+\s+v\d+\.")
_LABEL: Final = re.compile(r"(\.L\w+):")
_BRANCH: Final = re.compile(r"\s+(?:b(?:\.\w+)?|cbn?z|tbn?z)\s.*?(\.L\w+)\s*$")


@dataclass(frozen=True)
class Loop:
    """An innermost loop of machine code: its lines, and how many are vector arithmetic."""

    lines: tuple[str, ...]
    vector: int


@dataclass(frozen=True)
class Cycles:
    """Cycles of an iteration by the model, those that its dispatch allows, and the bound."""

    measured: float
    dispatch: float
    bound: float


def graphs() -> Iterator[tuple[str, sg.Graph]]:
    """A program of each family of kernels."""
    x, w = sg.input("x", (256, 256), "float32"), sg.input("w", (256, 256), "float32")
    images, filters = (
        sg.input("images", (4, 32, 32, 32), "float32"),
        sg.input("filters", (32, 32, 3, 3), "float32"),
    )
    yield "product", sg.Graph({"y": x @ w})
    yield "product, transposed", sg.Graph({"y": x.T @ w})
    yield "convolution 3 x 3", sg.Graph({"y": sg.nn.conv2d(images, filters, padding=1)})
    yield "softmax", sg.Graph({"y": sg.nn.softmax(x)})
    yield "exp", sg.Graph({"y": sg.exp(x)})
    yield "layer norm", sg.Graph({"y": sg.nn.layer_norm(x)})
    yield "transpose", sg.Graph({"y": x.T + 1.0})
    yield "sum of columns", sg.Graph({"y": x.sum(axis=0)})


def builders() -> Builders:
    """Return what builds all of them."""
    return {"graphs": lambda: dict(graphs())}


def write_assembly(processor: str) -> dict[str, list[str]]:
    """Compile the kernels of each program for a processor of aarch64; return their assembly.

    What this process compiles afterwards is for that processor, too: it is a child.
    """
    llvm = binding()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = Target("aarch64-unknown-linux-gnu", processor, "", 128, 0)
    with mock.patch.object(loader, "host", return_value=target):
        return {name: [k.asm for k in sg.compile(graph).kernels] for name, graph in graphs()}


def read_assembly(processor: str) -> dict[str, list[str]]:
    """Return the assembly of the kernels of each program for a processor, by a child process."""
    command = [sys.executable, "-m", "benchmarks", "cycles", "--assembly", processor]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assembly: dict[str, list[str]] = json.loads(text)
    return assembly


def innermost_loops(assembly: str) -> list[Loop]:
    """Return the loops without a label inside."""
    lines = assembly.splitlines()
    labels = {label[1]: at for at, line in enumerate(lines) if (label := _LABEL.match(line))}
    loops = []
    for end, line in enumerate(lines):
        branch = _BRANCH.match(line)
        start = labels.get(branch[1], end) if branch else end
        body = lines[start + 1 : end + 1]
        if start < end and not any(map(_LABEL.match, body)):
            code = tuple(line for line in body if line.strip() and line.strip()[0] not in "./#")
            loops.append(Loop(code, sum(map(bool, map(_VECTOR.match, code)))))
    return loops


def find_hot_loop(loops: Sequence[Loop]) -> Loop:
    """Return the loop with most vector arithmetic, of those that are mostly that if any is."""
    dense = [loop for loop in loops if loop.vector >= DENSE * len(loop.lines)]
    return max(dense or loops, key=lambda loop: loop.vector)


def count_cycles(loop: Loop, processor: str, mca: str) -> Cycles:
    """Return the cycles of an iteration of a loop by llvm-mca."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={processor}", f"-iterations={ITERATIONS}"]
    run = subprocess.run(
        command, input="\n".join(loop.lines), capture_output=True, text=True, check=True
    )

    def read(name: str) -> float:
        line = re.search(rf"{name}:\s+([\d.]+)", run.stdout)
        assert line is not None, run.stdout
        return float(line[1])

    dispatch = read("Total uOps") / ITERATIONS / read("Dispatch Width")
    return Cycles(read("Total Cycles") / ITERATIONS, dispatch, loop.vector / UNITS[processor])


def table(processors: Sequence[str], mca: str) -> Iterator[str]:
    """Yield the lines of a table of Markdown: a row per family of kernels and processor."""
    yield "| kernel | processor | instructions | vector | cycles | bound | share | dispatch |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for processor in processors:
        for name, kernels in read_assembly(processor).items():
            loop = find_hot_loop([loop for text in kernels for loop in innermost_loops(text)])
            cycles = count_cycles(loop, processor, mca)
            share = cycles.bound / cycles.measured
            yield (
                f"| {name} | {processor} | {len(loop.lines)} | {loop.vector} |"
                f" {cycles.measured:.1f} | {cycles.bound:.1f} | {share:.0%} |"
                f" {cycles.dispatch:.1f} |"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cycles", description=__doc__)
    parser.add_argument("--processors", nargs="+", choices=UNITS, default=DEFAULT)
    parser.add_argument("--mca", default="llvm-mca", help="the program, default llvm-mca")
    parser.add_argument("--assembly", choices=UNITS, help="print a processor's assembly as JSON")
    options = parser.parse_args(arguments)
    if options.assembly is not None:
        print(json.dumps(write_assembly(options.assembly)))
        return 0
    if shutil.which(options.mca) is None:
        parser.error(f"there is no program {options.mca}: install LLVM's tools, or name it (--mca)")
    for line in table(options.processors, options.mca):
        print(line)
    return 0
