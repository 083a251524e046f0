"""Mistakes planted in a program, and the search for them in each way, as data and as a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from staticgrad.extend import dataclass
from staticgrad.extend.pages import (
    details,
    fragment,
    paragraph,
    seconds,
    table,
    text_block,
    text_table,
)

_HEADS: Final = ("looked for", "way", "actions", "time", "found", "what was done last")


@dataclass(frozen=True)
class Action:
    """Something that was done, how long it took, and the text that it showed."""

    what: str
    seconds: float
    shown: str


@dataclass(frozen=True)
class Trail:
    """The actions of one way; ``found``: the last text has what was looked for."""

    way: str
    actions: tuple[Action, ...]
    found: bool

    @property
    def seconds(self) -> float:
        """The time of all actions."""
        return sum(action.seconds for action in self.actions)


@dataclass(frozen=True)
class Hunt:
    """Search for a planted mistake or an answer: what, at which line, and the trail of each way."""

    what: str
    line: str
    by_run: Trail
    then_run: Trail


@dataclass(frozen=True)
class Debugging:
    """Searches for the mistakes of a program, by run and then run."""

    model: str
    hunts: tuple[Hunt, ...]

    @property
    def holds(self) -> bool:
        """True if each way found everything."""
        return all(trail.found for hunt in self.hunts for trail in (hunt.by_run, hunt.then_run))

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table row for each search for a planted mistake, with actions and time."""
        return [
            (
                f"{hunt.what}, {hunt.line}", search.way, str(len(search.actions)),
                seconds(search.seconds), "yes" if search.found else "no",
                search.actions[-1].what,
            )
            for hunt in self.hunts
            for search in (hunt.by_run, hunt.then_run)
        ]  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([self.model, *text_table(_HEADS, self.rows(), (2, 3))])

    @property
    def summary(self) -> str:
        """Summarize the searches for planted mistakes: how many actions each way needed."""

        def tell_outcome(trail: Trail) -> str:
            return str(len(trail.actions)) if trail.found else "not found"

        counts = (
            f"{h.what} {tell_outcome(h.by_run)} and {tell_outcome(h.then_run)}" for h in self.hunts
        )
        return f"Actions by run and then run: {'; '.join(counts)}"

    def html(self) -> str:
        """Return the searches for planted mistakes as HTML: a table and all texts."""
        parts = [f'<div class="scroll">{table(_HEADS, self.rows(), (2, 3))}</div>']
        for hunt in self.hunts:
            for search in (hunt.by_run, hunt.then_run):
                body = "".join(
                    paragraph(f"{action.what}: {seconds(action.seconds)}")
                    + text_block(action.shown or "(nothing is shown)")
                    for action in search.actions
                )
                parts.append(details(f"{hunt.what}, {search.way}", body))
        return "".join(parts)

    def _repr_html_(self) -> str:
        return fragment(self.html())

    def as_json(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)
