"""Stabilisation: formulas that overflow or cancel, replaced by ones that do not."""

from __future__ import annotations

from passes.rewrite.base import Rewrite
from passes.rules import RULES, STABLE


class Stabilize(Rewrite, name="stabilize"):
    """log(softmax), log(sum(exp)), log(1 + x), 1 - sigmoid and their gradients; ``rules.stable``.

    In every level, O0 too, so that levels give equal bytes. Leave a rule out by its name,
    ``stabilize{without=('log-one-plus',)}``, or the pass by leaving it out of the pipeline.
    """

    keeps = "close"
    # Exact ones that bring what differentiation builds into the form that the others look for.
    rules = (*STABLE, RULES["reshape-twice"], RULES["reshape-to-itself"])
