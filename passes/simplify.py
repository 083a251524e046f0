"""The passes that apply a table of rewrite rules to a fixpoint: exact, stable, within an
error.
"""

from __future__ import annotations

from passes.rewrite.base import Rewrite
from passes.rewrite.spelling import register_exact
from passes.rules import EXACT, LATER, STABILIZING, VALUE

register_exact(EXACT)


class Simplify(Rewrite, name="simplify"):
    """Identities, strength reduction, chains of casts, choices and movement; see ``passes.rules``.

    Options as of ``Rewrite``: ``simplify{without=('where-same',)}``, ``simplify{limit=12}``.
    """

    may_fail = True
    rules = EXACT
    later = LATER


class Algebra(Rewrite, name="algebra"):
    """Sums of broadcasts, sums of products, chains of matrix products, factors; ``rules.algebra``.

    Results move by what the rules state; a policy, a budget or fusion still changes no bit.
    """

    may_fail = True
    keeps = "close"
    rules = VALUE


class Stabilize(Rewrite, name="stabilize"):
    """log(softmax), log(sum(exp)), log(1 + x), 1 - sigmoid and their like; ``rules.stable``.

    In every level, O0 too, so that levels give equal bytes. Leave a rule out by its name,
    ``stabilize{without=('log-one-plus',)}``, or the pass by leaving it out of the pipeline.
    Derivatives are always those of the stable formula; ``staticgrad.autodiff.reverse``.
    """

    may_fail = True
    keeps = "close"
    rules = STABILIZING
