"""Simplification: the exact rewrite rules, applied until none applies. No byte changes."""

from __future__ import annotations

from passes.rewrite.base import Rewrite
from passes.rules import EXACT


class Simplify(Rewrite, name="simplify"):
    """Identities, strength reduction, chains of casts, choices and movement; see ``passes.rules``.

    Options as of ``Rewrite``: ``simplify{without=('where-same',)}``, ``simplify{limit=12}``.
    """

    rules = EXACT
