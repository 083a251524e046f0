"""The record of a lint (name, ops, check, examples) and its findings.

``tests/tools/test_lints.py`` runs every lint on its own examples; a lint needs examples that it
reports and examples that it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from staticgrad.errors import OpDefinitionError
from staticgrad.extend import Node, brief, dataclass, message
from staticgrad.extend.building import Location
from staticgrad.extend.pages import fragment, paragraph, table
from staticgrad.tools.lints.program import LintedGraph

#: What a lint sees at a node, or None.
Check = Callable[[LintedGraph, Node], "Seen | None"]
#: A function of float32 values [n, 3] that builds a program.
Example = Callable[..., Any]


@dataclass(frozen=True)
class Seen:
    """A hazard at a node: in words, and at which line if that is not the node's own."""

    headline: str
    fix: str
    severity: Severity = "warning"
    at: Location | None = None


@dataclass(frozen=True, eq=False)
class Lint:
    """One kind of hazard.

    Attributes:
        name: how findings and options call it.
        about: the hazard in one line, for lists.
        ops: names of the ops at which ``check`` is asked.
        check: what it sees at a node of derivative order 0, or None.
        bad, good: functions of float32 values [n, 3] that build a program with the hazard, and one
            without.
        where: ``built`` looks at the graph as written, ``stabilized`` behind the rules that mend
            formulas in every level.
    """

    name: str
    about: str
    ops: tuple[str, ...]
    check: Check
    bad: tuple[Example, ...]
    good: tuple[Example, ...]
    where: Literal["built", "stabilized"] = "built"

    def __post_init__(self) -> None:
        """Refuse a lint that nobody has tried.

        Raises:
            OpDefinitionError: an example of either kind is missing.
        """
        if not (self.bad and self.good):
            raise OpDefinitionError(f"lint {self.name!r} needs an example with and one without it")

    def findings(self, program: LintedGraph, node: Node) -> Iterator[Finding]:
        """Return its findings for one node."""
        seen = self.check(program, node)
        if seen is not None:
            at = node.origin if seen.at is None else seen.at
            yield Finding(self.name, seen.headline, at, seen.fix, seen.severity)


def hazard(
    name: str,
    about: str,
    ops: tuple[str, ...],
    bad: tuple[Example, ...],
    good: tuple[Example, ...],
    where: Literal["built", "stabilized"] = "built",
) -> Callable[[Check], Lint]:
    """Return a decorator that registers a check of nodes as a lint."""
    return lambda check: Lint(name, about, ops, check, bad, good, where)


def by_op(lints: Iterable[Lint]) -> dict[str, list[Lint]]:
    """Op name -> the lints that look at it."""
    lints_by_op: dict[str, list[Lint]] = {}
    for lint in lints:
        for name in lint.ops:
            lints_by_op.setdefault(name, []).append(lint)
    return lints_by_op


#: ``warning``: the formula itself reaches the hazard. ``note``: nothing in it stays away from it.
Severity = Literal["warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One hazard.

    Attributes:
        rule: name of the lint.
        headline: what is wrong, in one line.
        at: the user's line.
        fix: what to write instead, in one line.
        severity: ``warning`` or ``note``.
    """

    rule: str
    headline: str
    at: Location
    fix: str
    severity: Severity = "warning"

    def __str__(self) -> str:
        return message(f"[{self.rule}] {self.headline}", self.at, hint=self.fix)

    def _repr_html_(self) -> str:
        return Findings([self])._repr_html_()

    def as_json(self) -> dict[str, Any]:
        """Return a lint's finding as JSON data, with its source line."""
        where = self.at.resolve()
        return {
            "rule": self.rule,
            "severity": self.severity,
            "headline": self.headline,
            "file": where.file,
            "line": where.line,
            "scope": where.scope,
            "text": where.text.strip(),
            "fix": self.fix,
        }


class Findings(tuple[Finding, ...]):
    """The findings of ``lint``: a tuple that a notebook shows as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self)) or "no hazard found"

    def __repr__(self) -> str:
        return brief(tuple(self))

    def _repr_html_(self) -> str:
        """Show the lint's findings as an HTML table."""
        if not self:
            return fragment(paragraph("no hazard found"))
        rows = []
        for finding in self:
            where = finding.at.resolve()
            rows.append(
                [where.short, where.text.strip(), finding.rule, finding.headline, finding.fix]
            )
        return fragment(table(("line", "", "lint", "hazard", "write instead"), rows))
