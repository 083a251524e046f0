"""Lints: hazards that no rewrite mends, named with the user's line and what to write.

A pure analysis of a graph, or of the text of a program in Python: nothing runs, nothing changes.
The lints stand in tables by subject, each with programs that have the hazard and programs that do
not; ``LINTS`` has those of graphs by name, ``SOURCE_LINTS`` those of texts.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import getsourcefile, unwrap
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from staticgrad.errors import ArgumentError
from staticgrad.extend import Graph, Value, did_you_mean, kind_of, list_names, public
from staticgrad.extend.programs import Function
from staticgrad.tools.lints import (
    broadcasting,
    derivatives,
    draws,
    exponentials,
    gradients,
    precision,
    retraces,
)
from staticgrad.tools.lints.program import LintedGraph, stabilize_program
from staticgrad.tools.lints.retraces import SourceLint as SourceLint
from staticgrad.tools.lints.sources import LintedSource
from staticgrad.tools.lints.table import (
    Finding as Finding,
    Findings,
    Lint as Lint,
    Severity as Severity,
    by_op,
)

__all__ = ["LINTS", "SOURCE_LINTS", "Finding", "Lint", "Severity", "SourceLint", "lint"]


def __dir__() -> list[str]:
    return sorted(__all__)


_SUBJECTS: Final = (derivatives, exponentials, precision, gradients, broadcasting, draws)
#: Every lint, by name.
LINTS: Final[Mapping[str, Lint]] = {
    rule.name: rule
    for subject in _SUBJECTS
    for rule in vars(subject).values()
    if isinstance(rule, Lint)
}
#: Every lint of the text of a program, by name.
SOURCE_LINTS: Final[Mapping[str, SourceLint]] = {
    rule.name: rule for rule in vars(retraces).values() if isinstance(rule, SourceLint)
}


_SOURCES: Final = (str, os.PathLike, ModuleType, FunctionType, MethodType, type, Function)


@public
def lint(
    program: Graph
    | Value
    | Mapping[str, Value]
    | str
    | os.PathLike[str]
    | ModuleType
    | Callable[..., Any],
    *,
    without: Collection[str] = (),
    notes: bool = False,
) -> tuple[Finding, ...]:
    """Return the hazards of a program, by line; a finding is a hint, not proof of an error.

    Args:
        program: what ``sg.compile`` takes: a Graph, one Value, or a dict of Values. If it holds
            gradients, hazards of derivatives are reported where gradients flow; else everywhere.
            Or a file of Python by its path, a module, or a function of the file: then its loops are
            read, not run, for calls that compile anew in each iteration.
        without: names of lints to leave out.
        notes: also what is less certain: ``arccos`` of something that is not known to stay
            inside.

    Returns:
        One Finding per lint and line; each prints as at most five lines.

    Raises:
        ArgumentError: ``without`` names a lint that there is not; a file that cannot be read, or is
            not Python.
        GraphError: a program of another kind.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (3,))
    >>> [finding.rule for finding in sg.lint(sg.sqrt((x * x).sum()))]
    ['sqrt-at-zero']
    """
    names = [*LINTS, *SOURCE_LINTS]
    unknown = [name for name in without if name not in names]
    if unknown:
        raise ArgumentError(
            f"there is no lint {unknown[0]!r}",
            hint=f"{did_you_mean(unknown[0], names)}there are {list_names(names)}",
        )
    if isinstance(program, _SOURCES):
        source = _source_of(program)
        rules = [rule for rule in SOURCE_LINTS.values() if rule.name not in without]
        return Findings(
            sorted((item for rule in rules for item in rule.findings(source)), key=_place)
        )
    built = LintedGraph(program if isinstance(program, Graph) else Graph(program))  # type: ignore[arg-type]
    chosen = [rule for rule in LINTS.values() if rule.name not in without]
    findings = [
        *_findings(built, [rule for rule in chosen if rule.where == "built"]),
        *_findings(
            stabilize_program(built), [rule for rule in chosen if rule.where == "stabilized"]
        ),
    ]
    by_place = {(finding.rule, finding.at): finding for finding in reversed(findings)}
    shown = [
        finding for finding in reversed(by_place.values()) if notes or finding.severity == "warning"
    ]
    return Findings(sorted(shown, key=_place))


def _source_of(program: str | os.PathLike[str] | ModuleType | Callable[..., Any]) -> LintedSource:
    """Read the file of a path, module or function."""
    try:
        if isinstance(program, str | os.PathLike):
            file = os.fspath(program)
            text = Path(file).read_text(encoding="utf-8")
        else:
            file = getsourcefile(unwrap(program)) or ""  # type: ignore[arg-type]
            text = "".join(linecache.getlines(file))
            if not text:
                raise OSError("no file has its text")
        return LintedSource(text, file)
    except (OSError, TypeError, UnicodeDecodeError) as error:
        subject = repr(program) if isinstance(program, str) else kind_of(program)
        raise ArgumentError(
            f"lint: the source of {subject} cannot be read: {error}",
            hint="the path of a file of Python, a module, a function, or a graph",
        ) from None
    except SyntaxError as error:
        raise ArgumentError(f"lint: {file!r} is not Python: {error}") from None


def _findings(program: LintedGraph, lints: Iterable[Lint]) -> list[Finding]:
    """Run lints over the forward nodes of a program, and return their findings."""
    table = by_op(lints)
    return [
        finding
        for node in program.graph.nodes
        if not node.order
        for rule in table.get(node.op.name, ())
        for finding in rule.findings(program, node)
    ]


def _place(finding: Finding) -> tuple[str, int, int]:
    where = finding.at.resolve()
    return where.file, where.line, where.column or 0
