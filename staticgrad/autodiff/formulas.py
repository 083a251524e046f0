"""Stable formulas: the same functions, rewritten before they are differentiated.

A formula that overflows can have its value mended by a rewrite, but not its derivatives once they
are taken: of log(1 + exp(x)) at 800 the first is 1 / inf * inf. So the ``stable`` rewrite rules are
applied to the formula first, and derivatives are taken of what they give; ``stabilize`` makes the
same of the forward pass, so that ``cse`` merges the two. A gradient of a gradient meets stable
formulas again. No gradient depends on who else is asked for: a target that a rule would have
looked through is differentiated by in a formula of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from passes.rewrite import Rewritten, rewrite_nodes
from passes.rules import STABILIZING
from staticgrad.autodiff.cone import Cone, ValueKey, cone_between
from staticgrad.ir.graph import Symbolic
from staticgrad.records import dataclass


@dataclass(frozen=True)
class Formula:
    """One formula to differentiate.

    Attributes:
        cone: what lies between the targets and the outputs.
        outputs: what stands for the outputs, in their order.
        targets: for some of the values to differentiate by, what stands for them.
        changed: whether it is another formula than the one that was written.
    """

    cone: Cone
    outputs: tuple[Symbolic, ...]
    targets: Mapping[ValueKey, Symbolic]
    changed: bool = True


def stable_formulas(
    cone: Cone, outputs: Sequence[Symbolic], targets: Sequence[Symbolic]
) -> list[Formula]:
    """Formulas for ``outputs`` that have each of ``targets`` in one of them."""
    found = rewrite_nodes(cone.nodes, STABILIZING, beside=cone.beside)
    if found is None:
        return [Formula(cone, tuple(outputs), {t.key: t for t in targets}, False)]
    wanted = {target.key: target for target in targets}
    kept = {key: target for key, target in wanted.items() if found.keeps(target)}
    formulas = [_formula(outputs, kept, found)] if kept else []
    for key, target in wanted.items():
        if key not in kept:  # something in the middle: there it stays what it is
            own, alone = cone_between(outputs, [target]), {key: target}
            found = rewrite_nodes(own.nodes, STABILIZING, target.node, own.beside)
            plain = Formula(own, tuple(outputs), alone)
            formulas.append(plain if found is None else _formula(outputs, alone, found))
    return formulas


def _formula(
    outputs: Sequence[Symbolic], targets: Mapping[ValueKey, Symbolic], found: Rewritten
) -> Formula:
    ends = tuple(found.value(y) for y in outputs)
    starts = {key: found.value(target) for key, target in targets.items()}
    return Formula(cone_between(ends, starts.values()), ends, starts)
