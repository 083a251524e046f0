"""What a lint says: the rule, what it found, the user's line, and what to write instead.

Data and its text, in the manner of the error messages and at most five lines long. It knows neither
graphs nor how anything is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from staticgrad.errors.wording import message
from staticgrad.source import Location

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

    def as_json(self) -> dict[str, Any]:
        """The finding as data, its line looked up."""
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
