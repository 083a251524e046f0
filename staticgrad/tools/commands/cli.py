"""The command line: ``staticgrad demo | compare | docs | doctor | cache | opt | explain | tune``
and ``lint``, ``plan | tradeoff``, which write files (``commands/plans.py``).

A command computes an ``Answer``; one place prints it, as text or with ``--json`` as one JSON
document on standard output. Exit codes: 0, it holds; 1, it does not, or staticgrad reported an
error (its message on standard error, never a traceback); 2, the command was misspelt.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

import staticgrad as sg
from staticgrad.errors import ParseError, StaticgradError
from staticgrad.extend import dataclass
from staticgrad.extend.building import capture
from staticgrad.support import terminal
from staticgrad.support.config import SPELLING, read_bytes
from staticgrad.tools.commands import plans
from staticgrad.tools.commands.plans import GRAPH, SIZES, read_graph

if TYPE_CHECKING:
    from staticgrad.tools.commands.demo import Progress

_PLAIN_LINES: Final = 6  # lines of progress where there is no terminal to redraw


@dataclass(frozen=True)
class Answer:
    """The result of a command: as data, as text or a table for people, and whether it succeeded."""

    data: Mapping[str, Any]
    text: object
    holds: bool = True


def answering(command: Callable[..., Answer]) -> Callable[..., None]:
    """Decorate a command of the command line: ``--json``, its printed answer and exit code."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
    @functools.wraps(command)
    def run(as_json: bool, **arguments: Any) -> None:
        """Run a command and print its answer or error, as text or as JSON."""
        try:
            answer = command(**arguments)
        except (StaticgradError, OSError) as error:  # a full disk, a folder without permission
            code, text, shown = None, str(error), str(error)
            if isinstance(error, StaticgradError):
                code, text, shown = error.code, error.headline, _message(error)
            if as_json:
                click.echo(json.dumps({"error": {"code": code, "message": text}}))
            click.echo(f"error: {shown}", err=True)
            sys.exit(1)
        if as_json:
            click.echo(json.dumps(answer.data, indent=2))
        elif isinstance(answer.text, str):
            click.echo(answer.text)
        elif answer.text is not None:  # a table as wide as the terminal allows
            from rich.console import Console

            Console().print(answer.text)
        sys.exit(0 if answer.holds else 1)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sg.__version__, prog_name="staticgrad")
def main() -> None:
    """A define-then-run autodiff compiler for CPUs."""


# Demo


@main.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True)
@answering
def demo(seed: int, epochs: int) -> Answer:
    """Train a digit classifier and print the figures.

    Its images come with scikit-learn; nothing is downloaded.
    """
    from rich.table import Table

    from staticgrad.tools.commands import demo as program

    report = program.run(seed, epochs, _shown_progress(epochs))
    if terminal.is_there():
        terminal.write("")
    table = Table(title="staticgrad demo: scikit-learn's digits", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in report.rows():
        table.add_row(*row)
    return Answer(report.as_json(), table)


def _shown_progress(epochs: int) -> Callable[[Progress], None]:
    """Return a callback that shows the demo's progress: one line on a terminal, else some lines."""
    every = max(1, epochs // _PLAIN_LINES)
    as_json = click.get_current_context().params["as_json"]

    def watch(progress: Progress) -> None:
        """Print an epoch of the demo: redraw the terminal's line, or write a line now and then."""
        if as_json:
            return
        line = f"epoch {progress.epoch}/{epochs}" if progress.epoch else "compiling"
        line += "" if progress.loss is None else f"  loss {progress.loss:.4f}"
        if terminal.is_there():
            terminal.write(line)
        elif progress.epoch % every == 0 or progress.epoch == epochs:
            click.echo(line, err=True)

    return watch


# Comparison


@main.command()
@click.option(
    "--model", "spec", default="mlp", show_default=True, metavar="NAME",
    help="linear, mlp, deep, chars, path.py:name, or path.py.",
)  # fmt: skip
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(min=1), metavar="N",
    help="A batch size to time; repeatable.",
)  # fmt: skip
@click.option(
    "--batch-axis", "axis", metavar="AXIS",
    help="The axis that counts examples, 1 or x=1,y=0; by default it is looked for.",
)  # fmt: skip
@click.option(
    "--seconds", default=1.0, show_default=True, type=click.FloatRange(min=0.0),
    help="Wall time of each timing.",
)  # fmt: skip
@click.option(
    "--torch", "torch", is_flag=False, flag_value="", metavar="[NAME]",
    help="The program in PyTorch, a name in the file; alone: compile the translated one, too.",
)  # fmt: skip
@click.option(
    "--jax", "jax", metavar="NAME", help="The program in JAX, a name in the file.",
)  # fmt: skip
@click.option(
    "--suite", "folder", is_flag=False, flag_value="", metavar="[FOLDER]",
    help="Compare all programs of a folder, a file each; alone: those of examples/suite.",
)  # fmt: skip
@click.option(
    "--only", "names", multiple=True, metavar="NAME",
    help="A program of the suite, by its file without .py; repeatable.",
)  # fmt: skip
@click.option(
    "--small", is_flag=True,
    help="A suite in seconds: no other libraries, no first results, each timing once.",
)  # fmt: skip
@click.option(
    "--mistakes", is_flag=True,
    help="Plant mistakes in the program, and measure how each way finds them.",
)  # fmt: skip
@click.option(
    "--html", "page", is_flag=False, flag_value="staticgrad-comparison.html", metavar="[FILE]",
    type=click.Path(dir_okay=False, writable=True), help="Write a page with pictures.",
)  # fmt: skip
@answering
def compare(
    spec: str, batches: tuple[int, ...], axis: str | None, seconds: float, torch: str | None,
    jax: str | None,
    folder: str | None, names: tuple[str, ...], small: bool, mistakes: bool, page: str | None,
) -> Answer:  # fmt: skip
    """Run a program define-by-run and define-then-run.

    Both ways start from the same values, see the same batches, use the same rules, and run on one
    thread. A name in a file is a tuple of a module or function and its example arrays, or a
    function that returns one; without a name the only one counts.

    Exit code 1 if the two ways do not agree: other losses, a loss that is not a finite number, or
    one that differs from call to call.
    """
    from staticgrad.comparison import compare as run, page as pages, table

    as_json = click.get_current_context().params["as_json"]
    if folder is None and (names or small):
        raise click.UsageError("--only and --small are of --suite")

    def watch(what: str) -> None:
        if not as_json:
            click.echo(f"measuring {what}", err=True)

    if mistakes:
        from staticgrad.comparison import find_mistakes
        from staticgrad.extend.pages import document

        hunted = find_mistakes(spec)
        if page is not None:
            html = document(f"{hunted.model}: debugging", hunted._repr_html_())
            Path(page).write_text(html, encoding="utf-8")
            click.echo(f"written: {page}", err=True)
        return Answer(hunted.as_json(), str(hunted), True)
    if folder is not None:
        from staticgrad.comparison import suite

        every = suite.run(
            Path(folder or suite.FOLDER), names, seconds=seconds, small=small, watch=watch
        )
        if page is not None:
            Path(page).write_text(every.html(), encoding="utf-8")
            click.echo(f"written: {page}", err=True)
        return Answer(every.as_json(), every.text(), every.holds)
    comparison = run(spec, torch=True if torch == "" else torch, jax=jax, batches=batches,
                batch_axis=_axis(axis), seconds=seconds, watch=watch)  # fmt: skip
    if page is not None:
        Path(page).write_text(pages.page(comparison), encoding="utf-8")
        click.echo(f"written: {page}", err=True)
    return Answer(comparison.as_json(), table.tables(comparison), comparison.holds)


def _axis(text: str | None) -> int | dict[str, int] | None:
    """Parse the option of the batch axis: ``1``, or ``x=1,y=0``."""
    if text is None:
        return None
    try:
        if "=" not in text:
            return int(text)
        pairs = (pair.partition("=") for pair in text.split(","))
        return {name.strip(): int(axis) for name, _, axis in pairs}
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither an axis, 1, nor axes by array, x=1,y=0",
            param_hint="--batch-axis",
        ) from None


# Doctor


@main.command()
@click.option("--bits", is_flag=True, help="Compare the bits of results with other machines'.")
@answering
def doctor(bits: bool) -> Answer:
    """Examine the installation and test generated code."""
    if bits:
        return _compare_bits()
    from staticgrad.tools.commands.doctor import examine

    findings = examine()
    holds = all(finding.holds for finding in findings)
    width = max(len(finding.check) for finding in findings)
    lines = [
        f"{'ok  ' if finding.holds else 'FAIL'}  {finding.check:<{width}}  {finding.details}"
        for finding in findings
    ]
    checks = [{"check": f.check, "holds": f.holds, "found": f.details} for f in findings]
    return Answer({"holds": holds, "checks": checks}, "\n".join(lines), holds)


def _compare_bits() -> Answer:
    """Compare digests of results with those that ship: every machine computes the same bits."""
    from staticgrad.testing import bits

    facts = bits.machine()
    rows = [
        {"program": name, "digest": actual, "expected": expected, "holds": actual == expected}
        for name, actual, expected in bits.compare()
    ]
    different = [row for row in rows if not row["holds"]]
    lines = [f"{name:<12}{fact}" for name, fact in facts.items()]
    lines += [
        "",
        *(f"{'ok  ' if r['holds'] else 'FAIL'}  {r['program']:<24}  {r['digest']}" for r in rows),
    ]
    verdict = (
        f"{len(rows) - len(different)} of {len(rows)} programs have the bits of other machines"
    )
    lines += ["", verdict + ("; please report this page" if different else "")]
    data = {"holds": not different, "machine": facts, "programs": rows}
    return Answer(data, "\n".join(lines), not different)


# Cache


@main.group()
def cache() -> None:
    """Compiled kernels on disk."""


@cache.command()
@answering
def info() -> Answer:
    """Show the folder of the cache, the number of its kernels, and their bytes."""
    from staticgrad import native

    info = native.cache_info()
    folder = None if info.directory is None else str(info.directory)
    data = {
        "directory": folder, "kernels": info.entries, "bytes": info.bytes,
        "other_installations": info.others, "limit": info.limit, "refusal": info.refusal,
    }  # fmt: skip
    if folder is None:
        return Answer(data, f"no directory that is safe to write: {info.refusal}")
    others = f"; {info.others} of other installations" if info.others else ""
    size = f"{info.bytes} of {info.limit} bytes"
    return Answer(data, f"{folder}: {info.entries} kernels, {size}{others}")


@cache.command()
@click.option("--limit", metavar="SIZE", help="Bytes that may stay, 100MiB for one.")
@answering
def prune(limit: str | None) -> Answer:
    """Remove kernels of other installations, then the longest unused ones.

    An installation is a version of staticgrad, Numba, llvmlite, NumPy and Python. As much stays as
    --limit says, by default the setting cache_size.
    """
    from staticgrad import native

    most = None if limit is None else read_bytes(limit)
    if limit is not None and most is None:
        raise click.BadParameter(f"{limit!r}: {SPELLING}", param_hint="--limit")
    removed = native.prune_cache(most)
    return Answer({"removed": removed}, f"{removed} kernels removed")


@cache.command()
@answering
def clear() -> Answer:
    """Remove every kernel from the cache."""
    from staticgrad import native

    removed = native.clear_cache()
    return Answer({"removed": removed}, f"{removed} kernels removed")


@cache.command("dir")
@answering
def directory() -> Answer:
    """Print the cache's directory; exit code 1 if there is none."""
    from staticgrad import native

    folder = native.cache_info().directory
    shown = None if folder is None else str(folder)
    return Answer({"directory": shown}, shown or "", folder is not None)


# Documentation


@main.command()
@click.argument("name", required=False)
@click.option("--write", "folder", type=click.Path(file_okay=False), help="Write all as Markdown.")
@click.option("--site", type=click.Path(file_okay=False), help="Build all as HTML, by MkDocs.")
@click.option("--versions", is_flag=True, help="With --write: of a site of several versions.")
@answering
def docs(name: str | None, folder: str | None, site: str | None, versions: bool) -> Answer:
    """Read tutorials, the reference, error codes.

    NAME is an address, first-gradient, or a name, sg.nn.gelu. Without it the pages are listed.
    """
    from staticgrad.tools import documentation

    if site is not None:
        with tempfile.TemporaryDirectory() as work:
            first = str(documentation.build(site, folder or work))
        return Answer({"written": first}, f"written: {first}")
    if folder is not None:
        settings = str(documentation.write(folder, versions=versions))
        return Answer({"written": settings}, f"written: {settings}")
    if name is not None:
        text = documentation.page(name)
        shown: object = text
        if sys.stdout.isatty():
            from rich.markdown import Markdown

            shown = Markdown(text)
        return Answer({"name": name, "markdown": text}, shown)
    return Answer(documentation.titles(), documentation.contents())


# Plans of problems

main.add_command(plans.plan)
main.add_command(plans.tradeoff)


# Graphs as text


@main.command("opt")
@GRAPH
@click.option(
    "-p", "--pipeline", "passes", default="O1", show_default=True, metavar="TEXT", help="Passes."
)
@click.option("--disable", multiple=True, metavar="PASS", help="Leave a pass out; repeatable.")
@click.option(
    "-o", "--output", type=click.File("w", encoding="utf-8", lazy=True), help="Write to a file."
)
@click.option("--report", is_flag=True, help="Say on standard error what each pass did.")
@click.option("--steps", is_flag=True, help="Say on standard error which rule applied where.")
@answering
def opt(
    file: IO[str],
    passes: str,
    disable: tuple[str, ...],
    output: IO[str] | None,
    report: bool,
    steps: bool,
) -> Answer:
    """Run passes over a graph's text.

    The graph is read from FILE, by default standard input, and written to standard output. TEXT
    names passes, "dce,cse{border=True},fixpoint(cse,fold)", or a level: O0, O1, O2. To stop after
    the twelfth rewrite: "simplify{limit=12}".
    """
    from passes.pipelines import pipeline

    graph, reports = pipeline(passes).run(
        read_graph(file), disable=disable,
        watch=lambda rewriting: click.echo(str(rewriting), err=True) if steps else None,
    )  # fmt: skip
    text = str(graph).rstrip("\n")
    if report:
        took = [f"{report}, {report.seconds * 1e3:.2f} ms" for report in reports]
        click.echo("\n".join(took), err=True)
    if output is not None:
        output.write(text + "\n")
    did = [{**report.as_json(), "seconds": report.seconds} for report in reports]
    return Answer({"graph": text, "passes": did}, text if output is None else None)


@main.command()
@GRAPH
@SIZES
@click.option("--source", is_flag=True, help="Print the generated source of every kernel, too.")
@click.option("--before", is_flag=True, help="Print the graph ahead of the passes, too.")
@answering
def explain(file: IO[str], sizes: dict[str, int], source: bool, before: bool) -> Answer:
    """Show the kernels and memory of a graph's text.

    The graph is read from FILE, by default standard input. Its memory depends on its named sizes:
    give them all, --size batch=64.
    """
    program = sg.compile(read_graph(file), sizes=sizes)
    explanation = program.explanation(before=before)
    data = explanation.as_json()
    if source:
        data["source"] = program.source
    text = str(explanation)
    return Answer(data, f"{text}\n\n{program.source}" if source else text)


@main.command()
@GRAPH
@SIZES
@answering
def tune(file: IO[str], sizes: dict[str, int]) -> Answer:
    """Measure the schedules of a graph's kernels.

    Each kernel is timed with a few schedules, and the fastest is kept.

    The graph is read from FILE, by default standard input. Named sizes that --size does not give
    are taken at their hints. Choices go to the kernel cache, where sg.compile(tune=True) and
    STATICGRAD_TUNE=1 find them for sizes of the same class.
    """
    tuning = sg.compile(read_graph(file), sizes=sizes, tune=True).explanation().tuning
    return Answer({"tuning": [*tuning]}, "\n".join(tuning) or "no kernel has a choice of schedules")


@main.command("lint")
@GRAPH
@click.option("--without", multiple=True, metavar="LINT", help="Leave a lint out; repeatable.")
@click.option("--notes", is_flag=True, help="Also show what is less certain.")
@answering
def lint(file: IO[str], without: tuple[str, ...], notes: bool) -> Answer:
    """Look for hazards in a graph's text or a file.py.

    Hazards of a graph are numeric; of a program in Python they are loops that compile. The graph is
    read from FILE, by default standard input; FILE.py is read as Python and not run. Exit code 1 if
    there are any.
    """
    program = name if (name := getattr(file, "name", "")).endswith(".py") else read_graph(file)
    findings = sg.lint(program, without=without, notes=notes)
    data = {"holds": not findings, "findings": [finding.as_json() for finding in findings]}
    return Answer(data, "\n\n".join(map(str, findings)) or "no hazards found", not findings)


def _message(error: StaticgradError) -> str:
    """The error's text; without the line that raised it where that is the command's own."""
    running = capture().resolve().file
    if isinstance(error, ParseError) or error.related or error.at.resolve().file != running:
        return str(error)
    more = [*error.details, *([f"hint: {error.hint}"] if error.hint else [])]
    return "\n".join([f"[{error.code}] {error.headline}", *(f"  {line}" for line in more)])
