"""Blocks with a way round for unusual values, where only some lanes of a vector need it.

Every backend must give what the block's definition gives, whichever lanes are unusual: none, one,
the last of a tail, all.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.ir.expr import ref
from staticgrad.types.dtype import as_dtype
from staticgrad.vecmath.blocks import expand
from tests.compiled.agreement import differing
from tests.diagonals import diagonals
from tests.native.support import MODES

#: Block -> the op, usual operands, unusual ones.
CASES = {
    "sin": (sg.sin, (0.7,), (1e22,)),
    "cos": (sg.cos, (-2.5,), (-1.7e38,)),
    "tan": (sg.tan, (3.0,), (float("inf"),)),
    "fmod": (sg.fmod, (7.5, -2.0), (3e38, 0.1)),
    "floor_quotient": (sg.floor_divide, (7.5, -2.0), (-3e38, 0.7)),
    "pow": (sg.pow, (1.3, 2.5), (-2.0, 3.0)),
    "exp": (sg.exp, (0.7,), (-800.0,)),
    "log": (sg.log, (0.7,), (1e-310,)),
    "log2": (sg.log2, (3.0,), (0.0,)),
    "log10": (sg.log10, (3.0,), (float("inf"),)),
    "log1p": (sg.log1p, (0.7,), (-1.0,)),
    "logit": (sg.special.logit, (0.6,), (1e-310,)),
}


def operands(name, dtype, unusual, count):
    _, usual, strange = CASES[name]
    rng = np.random.default_rng(count)
    arrays = []
    for plain, other in zip(usual, strange, strict=True):
        array = (plain * rng.uniform(0.5, 1.5, count)).astype(dtype)
        array[unusual] = other
        arrays.append(array)
    return arrays


@pytest.mark.slow
@diagonals(2, ("dtype", ["float32", "float64"]), ("mode", MODES), daily="vector")
def test_every_backend_follows_the_definition(dtype, mode):
    count = 53
    cases = list(CASES.items())
    if mode == "numba":  # which takes half a second for each: the way round is that of the block
        cases = cases[dtype == "float64" :: 2]
    for name, (op, usual, _) in cases:
        inputs = [sg.input(f"x{i}", ("n",), dtype) for i in range(len(usual))]
        with sg.options(jit=mode != "python", backend="auto" if mode == "python" else mode):
            f = sg.compile(op(*inputs))
            for unusual in ([], [0], [17], [count - 1], [3, 20, 21, 40], list(range(count))):
                arrays = operands(name, dtype, unusual, count)
                got = f.run({f"x{i}": array for i, array in enumerate(arrays)})
                root = expand(name, *(ref(str(i), as_dtype(dtype)) for i in range(len(usual))))
                (want,) = interpret([root], lambda leaf, a=arrays: a[int(leaf.attribute)])
                assert same_bytes(got, want), f"{name} {unusual}: {differing(got, want)}"
