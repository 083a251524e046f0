"""The tables of rewrite rules, by subject; ``tables.RULES`` has all of them by name.

A rule states its class: ``exact`` keeps every byte, ``stable`` comes closer to the true value,
``value`` holds within a stated error. Every rule here is tested by ``tests/passes/test_rules.py``
the moment it is written: nothing has to be added there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from passes.rewrite.rule import Rule, rules_of, table
from passes.rules import algebra, identities, movement, stable
from staticgrad.language.ir.graph import Node

#: Table -> its rules, in the order in which they are tried.
TABLES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "identities": identities.IDENTITIES,
    "strength": identities.STRENGTH,
    "casts": identities.CASTS,
    "choices": identities.CHOICES,
    "movement": movement.RULES,
    "stable": stable.RULES,
    "algebra": algebra.RULES,
}
RULES: Final[Mapping[str, Rule]] = table(rule for rules in TABLES.values() for rule in rules)
EXACT: Final[tuple[Rule, ...]] = tuple(rule for rule in RULES.values() if rule.kind == "exact")
VALUE: Final[tuple[Rule, ...]] = tuple(rule for rule in RULES.values() if rule.kind == "value")
STABLE: Final[tuple[Rule, ...]] = tuple(rule for rule in RULES.values() if rule.kind == "stable")
#: What stabilisation applies: also exact ones that bring formulas into the form that is looked for.
STABILIZING: Final[tuple[Rule, ...]] = (
    *STABLE, RULES["reshape-twice"], RULES["reshape-to-itself"],
)  # fmt: skip
#: Op -> the module of exact rules that only graphs with that op need: loading it takes time.
LATER: Final[Mapping[str, str]] = dict.fromkeys(
    ("window_max", "window_place"), "passes.rules.windows"
)
#: So for the rules that change derivatives alone, and no value.
LATER_OF_DERIVATIVES: Final[Mapping[str, str]] = dict.fromkeys(
    ("eigh", "svd"), "passes.rules.spectral"
)


def below_derivatives(nodes: Iterable[Node]) -> tuple[Rule, ...]:
    """Return the rules that are applied to these nodes before derivatives are taken."""
    return (*STABILIZING, *rules_of({node.op.name for node in nodes}, LATER_OF_DERIVATIVES))
