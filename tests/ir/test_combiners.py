"""The table of reduction kinds: what every row promises, and that no other name passes."""

import numpy as np
import pytest

from staticgrad.analysis.interpret import interpret
from staticgrad.errors import OpDefinitionError
from staticgrad.ir.expr import PRIMITIVES, Expr, literal, ref
from staticgrad.ir.forms import COMBINERS, Reduce
from staticgrad.ir.op import registered_ops
from staticgrad.native.plain.control import VOCABULARY
from staticgrad.ops.reduce import Reduction
from staticgrad.types.dtype import ALL_DTYPES
from tests.limits import finfo

CASES = [(k, d) for k, c in COMBINERS.items() for d in ALL_DTYPES if d.kind in c.kinds]


def numbers(dtype):
    """The extremes, zeros of both signs, and some numbers between."""
    if dtype.is_float:
        found = [-np.inf, finfo(dtype.numpy).min, -1.5, -0.0, 0.0, 2.0, np.inf, np.nan]
    elif dtype.is_bool:
        found = [False, True]
    else:
        info = np.iinfo(dtype.numpy)
        found = [info.min, 0, 1, info.max]
    return np.array(found, dtype.numpy)


@pytest.mark.parametrize(("kind", "dtype"), CASES, ids=lambda case: str(case))
def test_the_identity_changes_no_bit_on_either_side(kind, dtype):
    combiner, given = COMBINERS[kind], numbers(dtype)
    neutral, x = literal(combiner.identity(dtype), dtype), ref("x", dtype)
    for args in ((neutral, x), (x, neutral)):
        (found,) = interpret([Expr(combiner.combine, dtype, args)], lambda _: given)
        assert found.dtype == given.dtype
        assert found[~np.isnan(given)].tobytes() == given[~np.isnan(given)].tobytes()


@pytest.mark.parametrize("kind", COMBINERS)
def test_words_of_a_kind_exist(kind):
    assert COMBINERS[kind].kind == kind
    assert PRIMITIVES[COMBINERS[kind].combine].operands == 2
    assert COMBINERS[kind].horizontal in VOCABULARY


def test_every_reduction_has_a_kind():
    kinds = {op.kind for op in registered_ops().values() if issubclass(op, Reduction)}
    assert kinds == {*COMBINERS}
    with pytest.raises(OpDefinitionError, match="'product' is not a kind of reduction"):
        Reduce("product", (0,))
