"""Rows of the tables of PyTorch, JAX and PyTensor beside what these libraries computed.

The calls are recorded (``recorded_calls.py``), so none of the libraries is needed, and no commit
leaves any of them out. Rows without one draw, read programs of their own, or have sizes that only
a graph knows.
"""

import math

import numpy as np
import pytest

from staticgrad.bridges.operands import ForeignType
from staticgrad.torch.aten.program import aten_operator
from tests.bridges.recorded_calls import (
    PROGRAMS,
    Computed,
    RecordedCall,
    find_difference,
    read_calls,
)

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
    operator, (kind, x) = aten_operator("aten.tanh"), (ForeignType("float64", (2,)), np.ones(2))
    result = np.full(2, math.tanh(1.0))
    call = RecordedCall("tanh", operator, {"x": Computed(x)}, (kind,), [result])
    assert find_difference("aten", call) == ""
    assert find_difference("aten", call._replace(results=[result * (1 + 1e-8)]))
    assert "float32" in find_difference("aten", call._replace(results=[result.astype("f")]))
    assert "results" in find_difference("aten", call._replace(results=[result, result]))
    unknown = operator._replace(name="aten.none", bases=())
    assert "no row" in find_difference("aten", call._replace(operator=unknown))
