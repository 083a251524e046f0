"""Many programs by run and then run: a file each in one folder, a row each in one table.

A file has ``example``, as ``staticgrad compare`` takes it. It may have ``torch`` and ``jax``, the
same program there, and ``by_run``, the function as the tape would have it, if a graph needs other
lines. A program is added by one file.
"""

from __future__ import annotations

import difflib
import inspect
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison import courses, memory, peers
from staticgrad.comparison.limits import limit_time
from staticgrad.comparison.loading import load_peer, subject
from staticgrad.comparison.measure import fresh
from staticgrad.comparison.programs import ComparedProgram, restore_afterwards
from staticgrad.comparison.report import (
    COMPILED_TORCH,
    EMPTY,
    JAX,
    TAPE,
    TORCH,
    Course,
    Pair,
    Peer,
    Timing,
    as_plain,
)
from staticgrad.comparison.table import FigureTable, format_range
from staticgrad.comparison.timing import PARTS, Race, Run, one_thread
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, agreement
from staticgrad.errors import StaticgradError, UnknownNameError
from staticgrad.extend import dataclass, did_you_mean, pages
from staticgrad.extend.pages import nbytes, ratio, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Counts up when a field of the JSON document changes its meaning or goes.
SCHEMA: Final = 2
FOLDER: Final = Path(sg.__file__).parents[1] / "examples" / "suite"
#: The programs of a small suite, which take a second or two each.
SMALL: Final = ("gaussian_process", "hmc", "kmeans", "mlp", "recommender")
#: Tables by their columns.
_TABLES: Final[Mapping[str, Sequence[str]]] = {
    "time of a step": (
        "tape", "PyTorch", "compiled", "torch.compile", "JAX", "tape / compiled", "its range",
    ),
    "bytes of a step": ("tape", "PyTorch", "arena", "torch.compile", "JAX"),
    "first result": ("tape", "compiled", "lines changed"),
    "half the bytes": ("arena", "half or least", "predicted time", "measured time"),
}  # fmt: skip
_BUDGET: Final = "50%"  # of the bytes of a compiled step, for the cost of recomputation
Watch = Callable[[str], object]


@dataclass(frozen=True)
class SuiteRow:
    """The figures of one program; ``problem`` says why there are none, or why both ways differ.

    ``alone``: the time of a first step on the tape of a program that makes no graph, ``refusal``
    the reason. ``batch_size`` examples are counted by ``batch_axes``.
    ``tape`` and ``arena``: bytes of a step. ``budget``: the bytes of the quickest plan within half
    of them, or of the smallest plan; ``predicted`` and ``measured`` its time relative to keeping
    all. ``lines``: how many lines a graph needs otherwise than the tape.
    """

    name: str
    pair: Pair | None = None
    tape: int = 0
    arena: int = 0
    budget: int = 0
    predicted: float = 1.0
    measured: float = 1.0
    lines: int = 0
    first: tuple[Course, ...] = ()
    peers: tuple[Peer, ...] = ()
    problem: str = ""
    alone: Timing | None = None
    refusal: str = ""
    batch_size: int = 0
    batch_axes: str = ""


@dataclass(frozen=True)
class Suite:
    """The rows of all programs, and where they were measured."""

    version: str
    machine: str
    rows: tuple[SuiteRow, ...]

    @property
    def holds(self) -> bool:
        """True if both ways agree in every program."""
        return not any(row.problem for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return the suite as JSON has it."""
        fields: dict[str, Any] = as_plain({"schema": SCHEMA, "holds": self.holds, **vars(self)})
        return fields

    def tables(self) -> Sequence[FigureTable]:
        """Return tables of the comparison suite with a row for each program."""
        every = [_cells(row) for row in self.rows]
        tables = []
        for title, heads in _TABLES.items():
            shown = [k for k in range(len(heads)) if any(cells[title][k] != "-" for cells in every)]
            rows = [
                (row.name, *(cells[title][k] for k in shown))
                for row, cells in zip(self.rows, every, strict=True)
            ]
            if shown:
                tables.append(FigureTable(title, [heads[k] for k in shown], rows))
        return tables

    def text(self) -> RenderableType:
        """Return the tables for a terminal, and the reasons for missing figures."""
        from rich.console import Group

        return Group(*(table.text() for table in self.tables()), *self.reasons)

    @property
    def reasons(self) -> Sequence[str]:
        """Say which programs of the suite fail or make no graph, and which libraries lack one."""
        sentences = [f"{row.name}: PROBLEM: {row.problem}" for row in self.rows if row.problem]
        sentences += [f"{row.name}: no graph: {row.refusal}" for row in self.rows if row.refusal]
        return sentences + [
            f"{row.name}: {peer.name}: {peer.reason}"
            for row in self.rows for peer in row.peers if peer.reason
        ]  # fmt: skip

    def html(self) -> str:
        """Return the suite's table as one HTML page."""
        reasons = "".join(pages.paragraph(text, "soft") for text in self.reasons)
        tables = "".join(
            f'<h2>{escape(table.title)}</h2><div class="scroll">{table.html()}</div>'
            for table in self.tables()
        )
        body = (
            f'<div class="sg"><style>{pages.STYLE} body {{ margin: 1.5rem; }}</style>'
            f"<h1>Define by run beside define then run: {len(self.rows)} programs</h1>"
            f"<p>staticgrad {escape(self.version)} on {escape(self.machine)}. Times are the least"
            " processor time of a step on one thread; bytes are beside parameters, optimizer state"
            " and batch.</p>"
            f"{tables}{reasons}</div>"
        )
        return pages.document("define by run, define then run: a suite", body)


def _cells(row: SuiteRow) -> Mapping[str, Sequence[str]]:
    """Return the figures of a suite row by table."""
    cells = {title: ["-"] * len(heads) for title, heads in _TABLES.items()}
    if row.alone is not None:
        cells["time of a step"][0] = seconds(row.alone.cpu)
        sizes = {peer.name: nbytes(peer.tape) for peer in row.peers if peer.tape}
        cells["bytes of a step"][:2] = [nbytes(row.tape), sizes.get(TORCH, "-")]
    if row.pair is None:
        return cells
    times, sizes = {}, {}
    for peer in row.peers:
        if peer.pair is not None:
            times[peer.name], sizes[peer.name] = seconds(peer.pair.by_run.cpu), nbytes(peer.tape)
    then = (COMPILED_TORCH, JAX)
    cells["time of a step"] = [
        seconds(row.pair.by_run.cpu), times.get(TORCH, "-"), seconds(row.pair.then_run.cpu),
        *(times.get(name, "-") for name in then), ratio(row.pair.ratio), format_range(row.pair),
    ]  # fmt: skip
    cells["bytes of a step"] = [
        nbytes(row.tape), sizes.get(TORCH, "-"), nbytes(row.arena),
        *(sizes.get(name, "-") for name in then),
    ]  # fmt: skip
    first = [seconds(course.total) for course in row.first] or ["-", "-"]
    cells["first result"] = [*first[:2], str(row.lines or "-")]
    if row.budget < row.arena:
        cells["half the bytes"] = [
            nbytes(row.arena), nbytes(row.budget), ratio(row.predicted), ratio(row.measured)
        ]  # fmt: skip
    return cells


def run(
    folder: Path = FOLDER, names: Iterable[str] = (), seconds: float = 0.5, first: bool = True,
    small: bool = False, watch: Watch = lambda what: None,
) -> Suite:  # fmt: skip
    """Run the comparison for all programs of a folder.

    Args:
        folder: with a file for each program.
        names: of files, without ``.py``; by default all.
        seconds: of wall time of each timing.
        first: measure first results in fresh processes, too.
        small: measure neither first results nor other libraries, each timing once, of the package's
            own folder by default the programs of ``SMALL``: seconds instead of minutes.
        watch: called with the name of each program.

    Raises:
        UnknownNameError: the folder has no program, or none with such a name.
    """
    files = {file.stem: file for file in sorted(Path(folder).glob("*.py"))}
    short = SMALL if small and Path(folder) == FOLDER else files
    selected = [*(names or short)]
    if not files or (unknown := [name for name in selected if name not in files]):
        raise UnknownNameError(
            f"{str(folder)!r} has no program {unknown[0]!r}" if files else
            f"{str(folder)!r} has no programs",
            hint=did_you_mean(unknown[0], files) if files else
            "a folder with files that have example = step, x, y",
        )  # fmt: skip
    rows = []
    for name in selected:
        watch(name)
        try:
            rows.append(_row(name, files[name], 0.0 if small else seconds, first, small))
        except StaticgradError as error:
            rows.append(SuiteRow(name, problem=error.headline))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return Suite(sg.__version__, machine, tuple(rows))


def _row(name: str, file: Path, spent: float, first: bool, small: bool) -> SuiteRow:
    """Compare one program of the suite in all libraries that its file has."""
    spec = f"{file}:example"
    chosen = subject(spec)

    def beside_of(library: str) -> Any:
        try:
            return load_peer(spec, library)
        except UnknownNameError:
            return None

    others = {"torch": beside_of("torch") or True, "jax": beside_of("jax")}
    if chosen.graph is None:
        return _alone(name, chosen, spent, False if small else others["torch"])
    with one_thread(), restore_afterwards(chosen):
        trained, size = DefineThenRun(chosen), chosen.batch_size
        agreed = agreement(chosen, trained)
        chosen.restore()
        batch = chosen.draw(size, np.random.default_rng(0))
        within = memory.half(trained, size, _BUDGET)
        tape, called = DefineByRun(chosen), DefineThenRun(chosen, called=True)
        race = _time_steps(size, spent, lambda: tape.call(batch), lambda: called.call(batch))
        measured = 1.0
        if within is not None:  # by itself: beside a tape short steps took 4 to 6 times as long
            less = trained.call_with_plan(within[1])
            runs = _time_steps(size, spent, lambda: trained.call(batch), lambda: less(batch))
            measured = 1.0 / runs.pair().ratio
        chosen.restore()
        plan = trained.plan(size)
        return SuiteRow(
            name,
            race.pair(),
            memory.tape_peak(chosen, batch),
            plan.peak_bytes,
            within[0].peak if within else plan.peak_bytes,
            within[0].time if within else 1.0,
            measured,
            lines=_count_changed_lines(beside_of("by_run"), chosen),
            first=_first_results(spec, chosen) if first and not small else (),
            peers=() if small else peers.measure_peers(chosen, spent, **others),
            problem=agreed.problem,
            batch_size=size,
            batch_axes=str(chosen.batch),
        )  # fmt: skip


def _alone(name: str, chosen: ComparedProgram, spent: float, torch: Any) -> SuiteRow:
    """Return the suite row of a program without a graph: first step and time of the tape."""
    assert chosen.refusal is not None
    with one_thread(), restore_afterwards(chosen):
        tape, batch = DefineByRun(chosen), chosen.draw(chosen.batch_size, np.random.default_rng(0))
        with limit_time(chosen.name, chosen.origin):
            tape.call(batch)
        race = Race(chosen.batch_size, lambda: tape.call(batch), reset=chosen.restore)
        race.run(spent)
        chosen.restore()
        return SuiteRow(
            name,
            tape=memory.tape_memory(chosen, batch, warm=0).peak,
            peers=(peers.torch_memory(chosen, torch),) if torch is not False else (),
            alone=race.timings()[0],
            refusal=chosen.refusal.message,
            batch_size=chosen.batch_size,
            batch_axes=str(chosen.batch),
        )


def _first_results(spec: str, chosen: ComparedProgram) -> tuple[Course, ...]:
    """Return the beginning of courses in fresh processes: the tape's, the compiled step's."""
    plan = courses.CoursePlan(chosen.batch_size, edited=False)
    with TemporaryDirectory() as cache:
        return tuple(fresh(spec, state, plan, cache, chosen.batch) for state in (TAPE, EMPTY))


def _time_steps(size: int, spent: float, *runs: Run) -> Race:
    """Return steps, timed in turns."""
    race = Race(size, *runs)
    for _ in range(PARTS):
        race.run(spent / PARTS)
    return race


def _count_changed_lines(by_run: Any, chosen: ComparedProgram) -> int:
    """Count the lines in which the compiled program differs from ``by_run``."""
    if by_run is None:
        return 0
    tape_lines, graph_lines = (
        inspect.getsource(f).splitlines()[1:] for f in (by_run, chosen.written)
    )
    return sum(line.startswith("+ ") for line in difflib.ndiff(tape_lines, graph_lines))
