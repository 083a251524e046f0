"""Bytes of a step of many kinds of programs, as ``staticgrad compare`` measures them.

    python -m benchmarks peak_kinds [--into FILE] [--beside FILE] [NAME ...]

The programs of ``examples/suite``, and those of ``benchmarks/memory/varying``, whose graph differs
from step to step: an ``if`` and a ``while`` of Python run on the tape alone and have no arena. The
arena is planned for one thread, the tape's bytes are those of its arrays, PyTorch's the peak of its
tensors by its profiler, if its losses are those of the tape. A figure above PyTorch's is followed
by its reason, which is that of the page. ``--beside`` shows the arenas of an earlier file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.harness.builders import Builders
from benchmarks.harness.rows import arguments, print_rows
from staticgrad.analysis.plan_check import largest_at_peak
from staticgrad.comparison import causes, memory, peers, suite
from staticgrad.comparison.loading import load_peer, subject
from staticgrad.comparison.programs import restore_afterwards
from staticgrad.comparison.report import why_more, why_other
from staticgrad.comparison.timing import one_thread
from staticgrad.comparison.ways import DefineThenRun
from staticgrad.errors import UnknownNameError

_FOLDERS: Final = (suite.FOLDER, Path(__file__).parent / "varying")
_HEADS: Final = (
    "program", "arena, B", "before, B", "PyTorch, B", "tape, B", "arena / PyTorch",
    "tape / PyTorch",
)  # fmt: skip


def files_by_name() -> dict[str, Path]:
    """Return the files of the programs."""
    return {file.stem: file for folder in _FOLDERS for file in sorted(folder.glob("*.py"))}


def builders() -> Builders:
    """Return what loads the programs, with their graphs."""
    return {name: partial(subject, f"{file}:example") for name, file in files_by_name().items()}


def measure_row(file: Path) -> dict[str, Any]:
    """Return the row of a program."""
    spec = f"{file}:example"
    chosen = subject(spec)
    try:
        peer = load_peer(spec, "torch")
    except UnknownNameError:
        peer = None  # a module, which is translated
    row: dict[str, Any] = {"program": file.stem, "arena": None}
    with one_thread(), restore_afterwards(chosen):
        batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
        warm = 2 if chosen.graph is not None else 0  # a first step, if steps differ
        tape = memory.tape_memory(chosen, batch, warm)
        chosen.restore()
        torch = peers.torch_memory(chosen, peer)
        row |= {"tape": tape.peak, "torch": torch.tape or None, "reason": torch.reason}
        row["why"] = [] if torch.causes is None else [why_other(tape.causes, torch.causes)]
        if chosen.graph is not None:
            plan = DefineThenRun(chosen).plan(chosen.batch_size)
            row["arena"] = plan.peak_bytes
            if torch.causes is not None:
                compiled = causes.of_plan("compiled", plan)
                largest = largest_at_peak(plan)
                row["why"].append(why_more(plan.peak_bytes, compiled, torch.causes, largest))
    row["why"] = [reason for reason in row["why"] if reason]
    return row


def line(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    arena, torch, tape = (row[name] for name in ("arena", "torch", "tape"))
    sizes = (arena, earlier.get("arena"), torch, tape)
    shares = (nbytes / torch if nbytes is not None and torch else None for nbytes in (arena, tape))
    cells = [
        row["program"],
        *("" if size is None else f"{size:,}" for size in sizes),
        *("" if share is None else f"{share:.2f}" for share in shares),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table and reasons; with ``--into`` write a file of JSON."""
    files = files_by_name()
    asked = arguments("Bytes of a step of many kinds of programs.", files).parse_args()
    rows = print_rows(asked, _HEADS, lambda name: measure_row(files[name]), line)
    for row in rows:
        for text in (*row["why"], *filter(None, [row["reason"]])):
            print(f"- {row['program']}: {text}")


if __name__ == "__main__":
    main()
