"""``staticgrad plan`` and ``staticgrad tradeoff``: what is stored and what runs again, from files.

The one plans an abstract problem, the other lists what a budget chooses from for a graph's text.
They stand apart from the other commands because their documents go to files; what they print are
the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, get_args

import click

import staticgrad as sg
from staticgrad.analysis.planning.planner import Effort, plan_abstract
from staticgrad.analysis.planning.problem import problem_document
from staticgrad.compiler.reports.memory_page import memory_page
from staticgrad.errors import ArgumentError, BudgetInfeasible, StaticgradError

_FILE = click.Path(dir_okay=False)


def _named_sizes(_context: object, _option: object, texts: tuple[str, ...]) -> dict[str, int]:
    """Parse ``NAME=N`` options of the command line as sizes by name."""
    sizes = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal():
            raise click.BadParameter(f"{text!r} is not NAME=N", param_hint="--size")
        sizes[name] = int(number)
    return sizes


#: A graph's text, from a file or from standard input, and its named sizes.
GRAPH: Final = click.argument(
    "file", type=click.File("r", encoding="utf-8", errors="replace"), default="-"
)
SIZES: Final = click.option(
    "--size", "sizes", multiple=True, metavar="NAME=N", callback=_named_sizes,
    help="A named size; repeatable.",
)  # fmt: skip


@click.command()
@click.option("--abstract", "file", type=_FILE, required=True, help="The problem, as JSON.")
@click.option("--budget", metavar="BYTES", help="Of the arena: 1000000, 64MiB or 50%.")
@click.option("--effort", type=click.Choice(get_args(Effort)), default="default")
@click.option("--align", type=click.IntRange(min=1), default=1, help="Of sizes and offsets.")
@click.option("--json", "written", type=_FILE, help="Write the plan as JSON.")
def plan(
    file: str,
    budget: str | None,
    effort: Effort,
    align: int,
    written: str | None,
) -> None:
    """Plan what is stored and what runs again.

    The file has ops and values (staticgrad-memgraph/1), the plan is staticgrad-schedule/1. Exit
    code 1: the file is no problem, or no plan within the budget was found.
    """
    with _report_errors():
        abstract_plan = plan_abstract(file, _bytes(budget), effort=effort, align=align)
    _write(written, lambda: _json(abstract_plan.document()))
    click.echo(abstract_plan.summary())


@click.command()
@GRAPH
@SIZES
@click.option("--budget", metavar="BYTES", help="Show the plan of it: 1000000, 64MiB, 50%, fit.")
@click.option("--json", "written", type=_FILE, help="Write the plans' figures as JSON.")
@click.option("--html", "page", type=_FILE, help="Write the plan's memory as a page.")
@click.option("--problem", type=_FILE, help="Write what is planned, for `staticgrad plan`.")
def tradeoff(
    file: IO[str],
    sizes: dict[str, int],
    budget: str | None,
    written: str | None,
    page: str | None,
    problem: str | None,
) -> None:
    """List what less memory costs, before compiling.

    The graph is read from FILE, by default standard input. The page is of the plan of the budget,
    or of the one that stores everything. Exit code 1: no plan is within the budget.
    """
    with _report_errors():
        tradeoffs = sg.tradeoff(read_graph(file), sizes)
        nbytes = _bytes(budget)
        chosen = tradeoffs.everything if nbytes is None else tradeoffs.within(nbytes)
        if chosen is None:
            raise BudgetInfeasible(
                f"no plan found of {tradeoffs.graph!r} is within {budget}",
                hint=f"the smallest needs {tradeoffs.smallest.peak_bytes:,} bytes",
            )
    _write(written, lambda: _json(tradeoffs.as_json()))
    _write(page, lambda: memory_page(tradeoffs.graph, chosen.plan, tradeoffs))
    _write(problem, lambda: _json(problem_document(tradeoffs.problem)))
    click.echo(tradeoffs)
    if budget is not None:
        share, more = f"{tradeoffs.share(chosen):.1%}", f"{tradeoffs.extra(chosen):+z.1%}"
        click.echo(f"within {budget}: {chosen.peak_bytes:,} bytes, {share}, {more} of time")


def read_graph(file: IO[str]) -> sg.Graph:
    """The graph whose text a file has."""
    name = getattr(file, "name", "<stdin>")
    program = sg.parse(file.read(), file=name)
    if not isinstance(program, sg.Graph):
        raise ArgumentError(
            f"{name} is the text of a {type(program).__name__.lower()}; this command takes a graph",
            hint="print(graph) writes one",
        )
    return program


def _bytes(budget: str | None) -> int | str | None:
    return int(budget) if budget is not None and budget.strip().isdecimal() else budget


@contextmanager
def _report_errors() -> Iterator[None]:
    """Print an error of staticgrad to standard error inside of this context, and exit with 1."""
    try:
        yield
    except StaticgradError as error:
        more = [*error.details, *([f"hint: {error.hint}"] if error.hint else [])]
        text = "\n".join([error.headline, *(f"  {line}" for line in more)])
        click.echo(f"error: [{error.code}] {text}", err=True)
        sys.exit(1)


def _json(data: object) -> str:
    return json.dumps(data, indent=1) + "\n"


def _write(path: str | None, text: Callable[[], str]) -> None:
    """Write a text to the file that a command-line option names; exit with 1 if it cannot be."""
    if path is None:
        return
    try:
        Path(path).write_text(text(), "utf-8")
    except OSError as error:
        click.echo(f"error: {path} cannot be written: {error.strerror}", err=True)
        sys.exit(1)
