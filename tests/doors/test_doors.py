"""Doors and kinds: each cell equals NumPy, or is refused by an error that names both."""

import pytest

from tests.doors import cells, public
from tests.doors.doors import DOORS
from tests.doors.kinds import KINDS
from tests.helpers.cases import check_all

STATES, REASONS = cells.read()
COMPILED = [name for name, door in DOORS.items() if not door.quick]


def check(name, kind, thorough=True):
    door, expected = DOORS[name], STATES[name, kind]
    if expected == cells.OPEN:
        return  # counted below
    state, why = cells.outcome(door, KINDS[kind], thorough)
    assert state == expected, f"{name}, {kind}: {why or state}, not {expected}"


def skip_unless_installed(name):
    for package in DOORS[name].needs:
        if package != "cc":
            pytest.importorskip(package)


def test_each_cell_is_in_the_grid():
    assert STATES.keys() == {(door, kind) for door in DOORS for kind in KINDS}
    assert all(
        state in (cells.EQUAL, cells.OPEN) or state.startswith("SG") for state in STATES.values()
    )
    assert {cell for cell, state in STATES.items() if state == cells.OPEN} == REASONS.keys()


def test_the_page_and_the_grid_are_up_to_date():
    assert cells.GRID.read_text("utf-8") == cells.text(STATES, REASONS)
    assert cells.PAGE.read_text("utf-8") == cells.page()


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.quick])
def test_all_kinds_without_compilation(name):
    skip_unless_installed(name)
    check_all(lambda kind: check(name, kind, thorough=False), zip(KINDS))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if DOORS[n].slow else ()) for n in COMPILED],
)
def test_a_kind_of_each_compiled_door(name):
    """Another one for each door, so that all kinds are compiled."""
    skip_unless_installed(name)
    number = COMPILED.index(name)
    check(name, [*KINDS][number % len(KINDS)])


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_all_kinds(name):
    skip_unless_installed(name)
    check_all(lambda kind: check(name, kind), zip(KINDS))


def test_each_public_name_is_a_door_or_has_a_reason_not_to_be():
    covered = public.doors_by_name()
    missing = [name for name in public.names() if name not in covered and not public.reason(name)]
    assert not missing, f"neither a door nor a reason: {missing}"


def test_reasons_and_doors_are_of_names_that_exist():
    public_names = public.names()
    left = [name for name in public_names if name not in public.doors_by_name()]
    stale = [
        pattern
        for pattern in public.NO_DOOR
        if not any(public.fnmatchcase(name, pattern) for name in left)
    ]
    assert not stale, f"reasons without a name: {stale}"
    gone = [
        name for name in public.doors_by_name() if name.count(".") < 2 and name not in public_names
    ]
    assert not gone, f"doors of names that are gone: {gone}"


def test_every_element_type_is_a_column():
    import staticgrad as sg
    from staticgrad.exports import OTHERS, homes

    types = {getattr(sg, name) for name in homes({"": OTHERS["staticgrad.language.types.dtype"]})}
    assert not {dtype.name for dtype in types} - {str(kind.numpy) for kind in KINDS.values()}
