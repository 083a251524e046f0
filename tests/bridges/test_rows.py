"""Rows of the tables of PyTorch, JAX and PyTensor beside what these libraries computed.

The calls are recorded (``recorded_calls.py``), so none of the libraries is needed, and no commit
leaves any of them out. Rows without one draw, read programs of their own, or have sizes that only
a graph knows.
"""

import pytest

from tests.bridges.recorded_calls import PROGRAMS, find_difference, read_calls

#: Rows that have a call.
ROWS = {"aten": 330, "lax": 150, "pytensor": 145}


@pytest.mark.thinned(1, budgeted=True)
@pytest.mark.parametrize("library", PROGRAMS)
def test_a_row_computes_what_the_library_computed(library):
    calls, wrong = read_calls(library), {}
    assert len({call.row for call in calls}) >= ROWS[library]
    for call in calls:
        difference = find_difference(library, call)
        if difference:
            wrong[call.row] = difference
    assert wrong == {}


def test_a_wrong_result_a_wrong_type_and_an_error_are_seen():
    calls = [call for call in read_calls("aten") if call.row == "tanh"]
    (call, *_) = [call for call in calls if call.results[0].dtype == "float64"]
    assert find_difference("aten", call) == ""
    (result,) = call.results
    assert find_difference("aten", call._replace(results=[result * (1 + 1e-8)]))
    assert "float32" in find_difference("aten", call._replace(results=[result.astype("f")]))
    assert "results" in find_difference("aten", call._replace(results=[result, result]))
    operator = call.operator._replace(name="aten.none", bases=())
    assert "no row" in find_difference("aten", call._replace(operator=operator))
