"""Rules: what may stand in the place of what, as data, with the promise that each makes.

``exact`` rules keep every byte (any NaN equals any NaN); ``stable`` ones come closer to the true
value; ``value`` ones hold in exact arithmetic, within an error that they state. Rules of each class
keep derivatives too, at kinks and ties: a pass may be followed by ``grad``. A rule says nothing
about how it is found: that is ``matching``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from passes.rewrite.terms import Applied, Hole, Term, subterms
from staticgrad.errors import PipelineError
from staticgrad.kept import cached_property
from staticgrad.records import dataclass

if TYPE_CHECKING:
    from passes.rewrite.matching import Match

RuleClass = Literal["exact", "stable", "value"]
CLASSES: Final[tuple[RuleClass, ...]] = ("exact", "stable", "value")
#: The right side of a rule: a term, or a function of what was found (None: it does not apply).
Replacement = Term | float | Callable[["Match"], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """``pattern`` may be replaced by ``replacement``, which has the same type.

    Attributes:
        name: how reports and options call it.
        pattern: an op over terms.
        replacement: a term over the pattern's holes, a number, or a function of the Match that
            gives a value, or None where the rule does not apply after all.
        kind: ``exact``, ``stable`` or ``value``.
        where: a further condition on the Match.
        dtypes: letters of ``DType.kind`` that the result may have.
        error: for a ``value`` rule, how far the result may move.
        examples: functions of values, called with float arrays as ``(x, y, ...)``, that build what
            the rule applies to; needed where the pattern leaves attributes open. Tests run them.
    """

    name: str
    pattern: Applied
    replacement: Replacement
    kind: RuleClass = "exact"
    where: Callable[[Match], bool] | None = None
    dtypes: str = "biuf"
    error: str = ""
    examples: tuple[Callable[..., Any], ...] = ()

    def __post_init__(self) -> None:
        """Check that the rule is one.

        Raises:
            PipelineError: a pattern that is no op over terms, a hole on the right that is not on
                the left, an unknown class, a ``value`` rule that does not state its error.
        """
        if not isinstance(self.pattern, Applied):
            raise PipelineError(f"rule {self.name!r}: the pattern {self.pattern!r} is no op")
        if self.kind not in CLASSES:
            raise PipelineError(f"rule {self.name!r}: {self.kind!r} is none of {CLASSES}")
        if self.kind == "value" and not self.error:
            raise PipelineError(f"rule {self.name!r} changes values: it states no error")
        if isinstance(self.replacement, Term):
            known = set(map(str, _holes(self.pattern)))
            for free in _holes(self.replacement):
                if free.name not in known:
                    raise PipelineError(f"rule {self.name!r}: {free} is not in {self.pattern}")

    @cached_property
    def is_deep(self) -> bool:
        """Whether the pattern says something of other nodes than the one at its top."""
        below = (isinstance(each, Applied) for each in self.pattern.args)
        return self.pattern.over is not None or any(below)

    def __repr__(self) -> str:
        function = callable(self.replacement) and not isinstance(self.replacement, Term)
        right = "..." if function else repr(self.replacement)
        return f"{self.name}: {self.pattern} -> {right}"


def rule(name: str, pattern: Any, replacement: Any, kind: RuleClass = "exact", **more: Any) -> Rule:
    """A rule; see ``Rule`` for the rest of the arguments."""
    return Rule(name, pattern, replacement, kind, **more)


def table(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Rules by name, in order.

    Raises:
        PipelineError: two share a name.
    """
    found: dict[str, Rule] = {}
    for each in rules:
        if found.setdefault(each.name, each) is not each:
            raise PipelineError(f"two rules are named {each.name!r}")
    return found


def _holes(term: Term) -> Iterator[Hole]:
    return (each for each in subterms(term) if isinstance(each, Hole))
