"""The tables of rewrite rules, by subject; ``tables.RULES`` has all of them by name.

A rule states its class: ``exact`` keeps every byte, ``stable`` comes closer to the true value,
``value`` holds within a stated error. Every rule here is tested by ``tests/passes/test_rules.py``
the moment it is written: nothing has to be added there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from passes.rewrite.rule import Rule, table
from passes.rules import algebra, identities, movement, spectral, stable

#: Table -> its rules, in the order in which they are tried.
TABLES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "identities": identities.IDENTITIES,
    "strength": identities.STRENGTH,
    "casts": identities.CASTS,
    "choices": identities.CHOICES,
    "movement": movement.RULES,
    "stable": stable.RULES,
    "algebra": algebra.RULES,
    "spectral": spectral.RULES,
}
RULES: Final[Mapping[str, Rule]] = table(rule for rules in TABLES.values() for rule in rules)
#: What changes derivatives alone, and no value.
OF_DERIVATIVES: Final = spectral.RULES
EXACT: Final = tuple(
    rule for rule in RULES.values() if rule.kind == "exact" and rule not in OF_DERIVATIVES
)
VALUE: Final = tuple(rule for rule in RULES.values() if rule.kind == "value")
STABLE: Final = tuple(rule for rule in RULES.values() if rule.kind == "stable")
#: What stabilisation applies: also exact ones that bring formulas into the form that is looked for.
STABILIZING: Final = (*STABLE, RULES["reshape-twice"], RULES["reshape-to-itself"])
#: What is applied before derivatives are taken.
BELOW_DERIVATIVES: Final = (*STABILIZING, *OF_DERIVATIVES)
#: Op -> the module of exact rules that only graphs with that op need: loading it takes time.
LATER: Final[Mapping[str, str]] = dict.fromkeys(
    ("window_max", "window_place"), "passes.rules.windows"
)
