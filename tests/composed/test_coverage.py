"""The table of decisions: it has every one, and none at 0 is without a reason."""

from tests.composed.check import Case
from tests.composed.coverage import PAGE, REASONS, WAYS, decisions, decisions_of, read_page
from tests.composed.grammar import random_program


def test_the_page_has_every_decision():
    """A pass, a move, a path, a directive that is new: python -m tests.composed.coverage."""
    assert [*read_page()] == decisions(), f"{PAGE} is older than the tables"


def test_a_decision_that_no_program_takes_has_a_reason():
    rows = read_page()
    without_reason = [
        key for key, (composed, _, reason) in rows.items() if not composed + bool(reason)
    ]
    assert without_reason == []
    assert {*REASONS} <= {*decisions()}
    assert all(
        reason == REASONS[key] for key, (composed, _, reason) in rows.items() if not composed
    )


def test_the_decisions_of_a_program_are_in_the_table():
    program = next(p for p in map(random_program, range(50)) if {"scan", "product"} <= p.rows())
    actual = decisions_of(Case(program).graph, *WAYS["lowered limits"])
    assert actual <= {*decisions()}
    assert actual >= {("step", "kernel"), ("stage", "Map"), ("group", "map"), ("pass", "cse")}
