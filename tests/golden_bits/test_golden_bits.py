"""Results have the same bits on every machine: see ``programs``."""

import pytest

from staticgrad.testing.bits import digest
from tests.golden_bits.programs import WITHOUT, programs, read
from tests.laws.recipes import recipes

PROGRAMS = programs()


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_have_the_bits_that_they_have_on_other_machines(name):
    assert digest(PROGRAMS[name]) == read()[name]


def test_every_program_has_a_digest():
    assert [*read()] == [*PROGRAMS], "python -m tests.golden_bits --write"
    assert set(WITHOUT) <= set(recipes())
