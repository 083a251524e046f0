"""Conditions and choices: ``where`` chains, logic, comparisons. All exact."""

from __future__ import annotations

from typing import Final

from passes.rewrite import Rule, hole, holes, rule
from staticgrad import functions as sg

x, y, z = holes("x y z")
c, d = hole("c", "bool"), hole("d", "bool")

RULES: Final[tuple[Rule, ...]] = (
    rule("where-same", sg.where(c, x, x), x),
    rule("where-true", sg.where(True, x, y), x),
    rule("where-false", sg.where(False, x, y), y),
    rule("where-not", sg.where(sg.logical_not(c), x, y), sg.where(c, y, x)),
    rule("where-in-true", sg.where(c, sg.where(c, x, y), z), sg.where(c, x, z)),
    rule("where-in-false", sg.where(c, x, sg.where(c, y, z)), sg.where(c, x, z)),
    rule("not-twice", sg.logical_not(sg.logical_not(c)), c),
    rule("and-true", sg.logical_and(c, True), c),
    rule("and-false", sg.logical_and(c, False), False),
    rule("or-true", sg.logical_or(c, True), True),
    rule("or-false", sg.logical_or(c, False), c),
    rule("and-itself", sg.logical_and(c, c), c),
    rule("or-itself", sg.logical_or(c, c), c),
    rule("and-again", sg.logical_and(sg.logical_and(c, d), d), sg.logical_and(c, d)),
    rule("or-again", sg.logical_or(sg.logical_or(c, d), d), sg.logical_or(c, d)),
)
