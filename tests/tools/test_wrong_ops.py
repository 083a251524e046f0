"""Deliberately wrong ops, each wrong in one place only: ``check_op`` finds every one of them."""

from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import CheckError
from staticgrad.language.ir.forms import Assemble, AxisMap, Region, View
from staticgrad.language.ops.elementwise import Floating
from staticgrad.language.ops.operands import LinearOp
from staticgrad.language.types.arrays import TensorType
from staticgrad.testing import check_op

POSITIVE = [(np.array([0.4, 1.2, 2.3]),)]
MADE = {}


class Cube(Floating, name="tests.cube"):
    """x * x * x."""

    def reference(self, x):
        return x * x * x

    def scalar(self, x):
        return x * x * x

    def partials(self, out, x):
        return (3.0 * x * x,)


class Flip(LinearOp, name="tests.flip"):
    """The last axis reversed."""

    exact = True

    def infer(self, x):
        return x

    def reference(self, x):
        return x[..., ::-1]

    def transpose_rule(self, ct, x, *indices):
        return Flip()(ct)

    def form(self, out, *types):
        last = out.rank - 1
        axes = [AxisMap(axis) for axis in range(last)]
        return View((*axes, AxisMap(last, out.shape[last] - 1, -1)))


def make_op(base, **wrong):
    """An instance of a copy of ``base``, registered, with some methods replaced."""
    name = f"{base.__name__}{len(MADE)}"
    MADE[name] = type(name, (base,), {"__module__": __name__, **wrong}, name=f"tests.wrong.{name}")
    MADE[name].__qualname__ = name
    globals()[name] = MADE[name]
    return MADE[name]()


def shift_view(form):
    """The view one place further: it ends outside the operand."""
    return View((*form.axes[:-1], replace(form.axes[-1], start=form.axes[-1].start + 1)))


@pytest.mark.slow
def test_the_right_ones_pass():
    check_op(Cube(), POSITIVE)
    check_op(Flip(), [(np.arange(12.0).reshape(3, 4),), (np.arange(5.0),)])


WRONG_CUBES = {
    "a partial is wrong at negative numbers": (
        {"partials": lambda self, out, x: (sg.where(x < 0.0, 2.9, 3.0) * x * x,)},
        r"the rules give a slope of .*order 1",
    ),
    "a second derivative is wrong": (
        {"partials": lambda self, out, x: (3.0 * x * sg.stop_gradient(x),)},
        r"the rules give a slope of .*order 2",
    ),
    "a second derivative is wrong at negative numbers": (
        {"partials": lambda self, out, x: (3.0 * x * sg.where(x < 0, sg.stop_gradient(x), x),)},
        r"the rules give a slope of .*order 2",
    ),
    "a partial is wrong at large numbers": (
        {"partials": lambda self, out, x: (3.0 * x * sg.minimum(x, 8.0),)},
        r"the rules give a slope of",
    ),
    "an element is wrong at -0": (
        {"scalar": lambda self, x: x * x * x + 0}, "scalar and reference differ in . of",
    ),
    "an element is wrong at an infinity": (
        {"scalar": lambda self, x: x * x * (x - x + x)}, "scalar and reference differ",
    ),
    "an element is wrong at denormals": (
        {"reference": lambda self, x: np.where(abs(x) < 1e-30, x, x * x * x)},
        "scalar and reference differ",
    ),
    "the result's dtype is wrong": (
        {"reference": lambda self, x: np.float64(1) * x * x * x},
        "infer says f32.*, reference gives f64",
    ),
    "the inferred dtype is wrong": (
        {"result_dtype": lambda self, operand: sg.float64}, "infer says f64.*, reference gives f32",
    ),
    "a derivative is of another dtype": (
        {"partials": lambda self, out, x: (3.0 * x.astype("float64") * x.astype("float64"),)}, "",
    ),
    "a kink goes unmentioned": (
        {
            "reference": lambda self, x: abs(x),
            "scalar": lambda self, x: abs(x),
            "partials": lambda self, out, x: (sg.sign(x),),
        },
        "has a kink, operand 1 at 0.0, and its class says nothing",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mistake", WRONG_CUBES)
def test_a_wrong_elementwise_op_is_refused(mistake):
    wrong, says = WRONG_CUBES[mistake]
    op = make_op(Cube, **wrong)
    if not says:  # the rule's cotangent is brought to the operand's dtype: nothing is wrong
        check_op(op, POSITIVE)
        return
    with pytest.raises(CheckError, match=says) as caught:
        check_op(op, POSITIVE)
    assert any("operand" in line or "at x0" in line for line in caught.value.details)


ROWS = [(np.arange(12.0).reshape(3, 4) + 0.5,), (np.arange(5.0) + 0.5,)]
WRONG_FLIPS = {
    "it reads outside its operand": (
        {"form": lambda self, *types: shift_view(Flip().form(*types))},
        "touches bytes 8 to 104 of .*, which has 96",
    ),
    "it reads another place": (
        {"form": lambda self, out, x: View(tuple(AxisMap(axis) for axis in range(out.rank)))},
        "the kernel and reference differ",
    ),
    "it leaves a place unwritten": (
        {"form": lambda self, out, x: Assemble((Region((0,) * out.rank, (1,) * out.rank),), 0)},
        "the kernel and reference differ",
    ),
    "its transpose is not a transpose": (
        {"transpose_rule": lambda self, ct, x, *indices: ct},
        "the rules give a slope of",
    ),
    "its shape is wrong": (
        {"infer": lambda self, x: TensorType(x.dtype, (*x.shape, 1))},
        "infer says f64.*, reference gives f64",
    ),
}


@pytest.mark.parametrize("mistake", WRONG_FLIPS)
def test_a_wrong_movement_op_is_refused(mistake):
    wrong, says = WRONG_FLIPS[mistake]
    with pytest.raises(CheckError, match=says):
        check_op(make_op(Flip, **wrong), ROWS)
