"""Every table of rewrite rules, those too that are loaded with the ops that they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from passes import rules
from passes.rewrite.rule import Rule, table
from passes.rules import spectral, windows

#: Table -> its rules, in the order in which they are tried.
TABLES: Final[Mapping[str, tuple[Rule, ...]]] = {
    **rules.TABLES,
    "spectral": spectral.RULES,
    "windows": windows.RULES,
}
RULES: Final[Mapping[str, Rule]] = table(rule for members in TABLES.values() for rule in members)
