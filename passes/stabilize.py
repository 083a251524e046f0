"""Stabilisation: formulas that overflow or cancel, replaced by ones that do not."""

from __future__ import annotations

from passes.rewrite.base import Rewrite
from passes.rules import STABILIZING


class Stabilize(Rewrite, name="stabilize"):
    """log(softmax), log(sum(exp)), log(1 + x), 1 - sigmoid and their like; ``rules.stable``.

    In every level, O0 too, so that levels give equal bytes. Leave a rule out by its name,
    ``stabilize{without=('log-one-plus',)}``, or the pass by leaving it out of the pipeline.
    Derivatives are always those of the stable formula; ``staticgrad.autodiff.formulas``.
    """

    keeps = "close"
    rules = STABILIZING
