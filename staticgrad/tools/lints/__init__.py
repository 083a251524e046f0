"""Lints: hazards that no rewrite mends, named with the user's line and what to write.

A pure analysis of a graph: nothing runs, nothing changes. The lints stand in tables by subject,
each with programs that have the hazard and programs that do not; ``LINTS`` has all by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from staticgrad.errors import ArgumentError
from staticgrad.extend import Graph, Value, did_you_mean, list_names, public
from staticgrad.tools.lints import (
    broadcasting,
    derivatives,
    draws,
    exponentials,
    gradients,
    precision,
)
from staticgrad.tools.lints.program import LintedGraph, stabilize_program
from staticgrad.tools.lints.table import (
    Finding as Finding,
    Findings,
    Lint as Lint,
    Severity as Severity,
    by_op,
)

__all__ = ["LINTS", "Finding", "Lint", "Severity", "lint"]


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


@public
def lint(
    program: Graph | Value | Mapping[str, Value],
    *,
    without: Collection[str] = (),
    notes: bool = False,
) -> tuple[Finding, ...]:
    """Return the hazards of a program, by line; a finding is a hint, not proof of an error.

    Args:
        program: what ``sg.compile`` takes: a Graph, one Value, or a dict of Values. If it holds
            gradients, hazards of derivatives are reported where gradients flow; else everywhere.
        without: names of lints to leave out.
        notes: also what is less certain: ``arccos`` of something that is not known to stay
            inside.

    Returns:
        One Finding per lint and line; each prints as at most five lines.

    Raises:
        ArgumentError: ``without`` names a lint that there is not.
        GraphError: a program of another kind.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (3,))
    >>> [finding.rule for finding in sg.lint(sg.sqrt((x * x).sum()))]
    ['sqrt-at-zero']
    """
    unknown = [name for name in without if name not in LINTS]
    if unknown:
        raise ArgumentError(
            f"there is no lint {unknown[0]!r}",
            hint=f"{did_you_mean(unknown[0], LINTS)}there are {list_names(list(LINTS))}",
        )
    built = LintedGraph(program if isinstance(program, Graph) else Graph(program))
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
