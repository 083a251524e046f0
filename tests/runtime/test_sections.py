"""Rows that workers share: no section crosses a row that waits, no group ends inside a grain."""

import pytest
from hypothesis import given, strategies as st

from staticgrad.compiler.runtime.sections import (
    PlannedRow,
    SoloReason,
    divide_into_sections,
)
from staticgrad.native import Row
from staticgrad.support.limits import CompilerLimits

ROWS = st.lists(
    st.builds(
        lambda total, grain, waits, seconds, alone, packs: PlannedRow(
            Row(1, 2, 3, total, grain),
            waits,
            seconds,
            SoloReason.CALL if alone else None,
            packs=packs,
        ),
        st.integers(1, 500),
        st.integers(0, 16),
        st.booleans(),
        st.floats(0.0, 50 * CompilerLimits.section_seconds),
        st.sampled_from([True, False, False, False]),
        st.booleans(),
    ),
    max_size=8,
)


@pytest.mark.parametrize("workers", [2, 3, 8])
@given(rows=ROWS)
def test_sections_keep_what_the_plan_decided(rows, workers):
    actual = divide_into_sections(rows, workers)
    assert [(r.row.total, r.waits, r.seconds) for r in actual] == [
        (r.row.total, r.waits, r.seconds) for r in rows
    ]
    groups = 0
    for number, (planned, planned_row) in enumerate(zip(actual, rows, strict=True)):
        row = planned.row
        assert (row.section == 0) == (planned.alone is not None)
        if planned_row.alone:
            assert planned.alone is planned_row.alone
        begins = row.section and (number == 0 or actual[number - 1].row.section != row.section + 1)
        if number and actual[number - 1].row.section > 1:
            assert row.section == actual[number - 1].row.section - 1, "a section is not cut"
            assert not planned_row.waits, "a row that waits begins a section"
        if row.section:
            groups = 0 if begins else groups
            assert row.first == groups
            assert row.grain % max(planned_row.row.grain, 1) == 0
            assert not row.grain or planned_row.row.grain, "a row without groups is one"
            groups += -(-row.total // row.grain) if row.grain else 1


def test_rows_of_one_section_and_of_two():
    """Three rows of 10 us each; the third waits for the others."""
    row = PlannedRow(Row(1, 2, 3, 100, 8), False, 1e-5)
    actual = divide_into_sections([row, row, row._replace(waits=True)], 2)
    assert [section_row.row.section for section_row in actual] == [2, 1, 1]
    assert [section_row.row.first for section_row in actual] == [
        0,
        -(-100 // actual[0].row.grain),
        0,
    ]
    assert {section_row.row.grain % 8 for section_row in actual} == {0}
    assert [section_row.alone for section_row in divide_into_sections([row], 1)] == [
        SoloReason.ONE_WORKER
    ]


@pytest.mark.parametrize(
    ("tiles", "workers", "grain"), [(16, 2, 2), (16, 4, 1), (15, 2, 1), (64, 2, 8), (36, 4, 1)]
)
def test_tiles_of_a_product_are_joined_where_workers_have_equally_many(tiles, workers, grain):
    product = PlannedRow(Row(1, 2, 3, tiles, 1), False, 1e-3, packs=True)
    assert [row.row.grain for row in divide_into_sections([product], workers)] == [grain]
    assert [
        row.row.grain for row in divide_into_sections([product._replace(packs=False)], workers)
    ] == [-(-tiles // (16 * workers))]
