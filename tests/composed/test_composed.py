"""Random programs of one grammar over everything, by every door, beside NumPy and differences.

Three hundred programs are quick, others for each commit. More of them, each by every door:
``python -m tests.composed FIRST LAST``; .ci/nightly runs a hundred thousand.
"""

import pytest

from tests.composed.runs import Run, shrink_failure
from tests.composed.scripts import write_script

CHUNK = 10
TRIES = 60  # programs that are tried to shrink a failure; the command tries more


@pytest.mark.thinned(10)
@pytest.mark.parametrize("first", range(0, 3000, CHUNK))
def test_programs_by_the_doors_whose_turn_it_is(first):
    run = Run()
    for seed in range(first, first + CHUNK):
        error = run.check(seed, steps=(3, 8))
        if error is not None:
            smallest = shrink_failure(run.programs[seed], error, tries=TRIES)
            pytest.fail(f"seed {seed}: {error}\n{write_script(smallest)}")
