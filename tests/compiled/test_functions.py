"""Functions that are made of several ops, compiled: values and two derivatives as the oracle has.

One program per setting holds them all; sizes are named in one, literal in the other. What is one op
is derived and compiled in ``test_ops``.
"""

import numpy as np
import pytest

import staticgrad as sg

FUNCTIONS = {
    "roll": lambda x: sg.roll(x, 3, 1),
    "repeat": lambda x: sg.repeat(x, 2, 1),
    "tile": lambda x: sg.tile(x, (2, 1)),
    "diagonal": lambda x: sg.diagonal(x, 1),
    "rot90": sg.rot90,
    "array_split": lambda x: sg.array_split(x, 3, 1)[1],
    "einsum": lambda x: sg.einsum("ij,kj,kl->il", x, x, x),
    "einsum of a batch": lambda x: sg.einsum("ij,ik->ijk", x, x),
    "tensordot": lambda x: sg.tensordot(x, x, ([1], [1])),
    "vecdot": lambda x: sg.vecdot(x, x),
    "kron": lambda x: sg.kron(x, x),
    "prod": lambda x: sg.prod(x, 1),
    "linear_scan": lambda x: sg.linear_scan(x, 2.0 * x, 1),
    "norm": lambda x: sg.norm(x, axis=1),
    "norm of order 3": lambda x: sg.norm(x, 3, 1),
    "average": lambda x: sg.average(x, 1, weights=x),
    "diff": sg.diff,
    "nanmean": lambda x: sg.nanmean(x, 0),
    "ptp": lambda x: sg.ptp(x, 1),
    "clip": lambda x: sg.clip(x, 0.3, 0.6),
    "sinc": sg.sinc,
    "round": lambda x: sg.round(x, 1) * x,
    "copysign": lambda x: sg.copysign(x, x - 0.5),
    "heaviside": lambda x: sg.heaviside(x - 0.5, 0.5) * x,
    "set a slice": lambda x: x.at[1:, ::2].set(2.0 * x[1:, ::2]),
    "add at indices": lambda x: x.at[[0, 0, 1], [1, 1, 2]].add(x[:3, 0]),
    "set at indices": lambda x: x.at[:, [1, 1, 2]].set(x[:, 0, None]),
    "linspace": lambda x: sg.linspace(x[0, 0], x[1, 1], 9),
    "attention": lambda x: sg.nn.attention(x, x, x, causal=True),
}


def program(shape):
    x = sg.input("x", shape)
    outputs = {}
    for name, function in FUNCTIONS.items():
        value = function(x)
        first = sg.grad((value * value).sum(), x, allow_disconnected=True)
        second = sg.grad((first * first).sum(), x, allow_disconnected=True)
        outputs |= {name: value, f"{name}, slope": first, f"{name}, curve": second}
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "fuse"), [((6, 8), True), (("n", "m"), False)])
def test_functions_agree_with_the_oracle(shape, fuse):
    array = np.random.default_rng(0).uniform(0.2, 0.9, (6, 8)).astype(np.float32)
    outputs = program(shape)
    found = sg.compile(outputs, fuse=fuse).run({"x": array})
    wide = sg.evaluate(outputs, {"x": array}, dtype="float64")
    for name, expected in wide.items():
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        assert found[name].dtype == (np.float32 if expected.dtype.kind == "f" else expected.dtype)
        np.testing.assert_allclose(
            found[name], expected, rtol=3e-4, atol=3e-5 * scale, err_msg=name
        )
