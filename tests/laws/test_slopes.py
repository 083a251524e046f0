"""The slopes of every elementwise op have digits: first and second derivatives beside mpmath.

The oracle is the op's function with 450 digits and differences of it (``helpers/true_values.py``);
no derivative rule takes part. The points reach from 1e-30 to 1e12, both ways, and to what float32
and float64 have near -1 and 1. An error is measured in units of the last place of the true slope,
or of what the slope changes by if the operands are rounded, where that is more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.eager import Tensor, grad as grad_of_tensors
from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import as_dtype
from tests.helpers.limits import finfo
from tests.helpers.true_values import FUNCTIONS, apply_op, context, exact
from tests.laws.samples import declaration_of, op_names, samples_of

#: The largest error; a formula that cancels has thousands at some of the points.
MOST = 64.0
STEP = context.mpf(10) ** -40  # of the differences, relative
LINE = (1e-30, 1e-9, 1e-4, 0.01, 0.3, 0.5, 0.75, 0.9, 0.999, 1.001, 1.5, 2.5, 4.0, 7.0, 10.0, 14.0,
        17.0, 20.0, 30.0, 36.0, 40.0, 60.0, 85.0, 200.0, 700.0, 1e5, 1e12)  # fmt: skip
PAIRS = (1e-9, 1e-3, 0.3, 0.9, 4.0, 17.0, 40.0, 700.0)


@dataclass(frozen=True)
class Loss:
    """A region where the slopes of an op lose digits, and why that is accepted.

    ``orders`` and ``doors`` are those of the slopes: 1 or 2, "graph" or "tape". ``at`` is a
    function of the operands.
    """

    reason: str
    at: Callable[..., bool]
    orders: tuple[int, ...] = (1, 2)
    doors: tuple[str, ...] = ("graph", "tape")

    def covers(self, order, door, operands):
        return order in self.orders and door in self.doors and self.at(*operands)


OF_RESULT = "read of the result alone, which a backward pass stores; 0 far out, as in PyTorch"
AT_ZERO = "the second derivative vanishes at 0: its error is an ulp of the first"
LOSSES = {
    "tanh": (Loss(OF_RESULT, lambda x: abs(x) > 2.0),),
    "sigmoid": (
        Loss(OF_RESULT + "; in a graph a rule makes another formula", lambda x: x > 2.0,
             doors=("tape",)),
        Loss(AT_ZERO, lambda x: abs(x) < 0.1, orders=(2,)),
    ),
    **dict.fromkeys(
        ("asin", "acos", "atanh"), (Loss(AT_ZERO, lambda x: abs(x) < 0.1, orders=(2,)),)
    ),
    "hypot": (
        Loss("the second derivative is that of a quotient, whose terms cancel, as in PyTorch",
             lambda x, y: x != y, orders=(2,)),
    ),
    "erfcx": (
        Loss("the terms of the derivative of x * erfcx(x) cancel", lambda x: x > 3.0, orders=(2,)),
    ),
    **dict.fromkeys(
        ("i0e", "i1e"),
        (Loss("Bessel functions of neighbouring orders cancel, as in PyTorch",
              lambda x: abs(x) > 3.0),),
    ),
    "betaln": (
        Loss("digamma(a) - digamma(a + b) cancels where one is much smaller",
             lambda a, b: a != b),
    ),
}  # fmt: skip
#: Ops of which ``true_values`` has no function.
ELSEWHERE = {
    **dict.fromkeys(
        ("gammainc", "gammaincc", "betainc", "zeta"), "tests/ops/test_special.py: by each operand"
    ),
    "polygamma": "tests/ops/test_special.py: the derivative is the function of the next order",
    "ndtri": "tests/ops/test_special.py: an inverse, which mpmath does not have",
    "erfinv": "tests/ops/test_special.py: an inverse; mpmath's takes a second in the tails",
}
#: Ops with attributes, which ``apply_op`` reads.
OF_ATTRIBUTES = ("integer_pow", "flat_power")


def differentiable_ops():
    """Return the names of the elementwise ops that carry a gradient of floats."""
    classes = {name: op_class(name) for name in op_names()}
    return [name for name, op in classes.items() if op.elementwise and op.differentiable]


NAMES = [name for name in differentiable_ops() if name not in ELSEWHERE]


@dataclass(frozen=True)
class Case:
    """An op over a grid: float operands, with a condition in front where the op has one."""

    op: object
    operands: tuple[np.ndarray, ...]
    moves: tuple[int, ...]

    def is_of(self, dtype):
        types = [a.dtype if a.dtype == bool else np.dtype(dtype) for a in self.operands]
        return self.op(
            *(sg.input(f"x{k}", (1,), t) for k, t in enumerate(types))
        ).dtype is as_dtype(dtype)


def cases(name):
    """The ops of the samples, each once, over the grid of as many operands as it has."""
    declared, ops = declaration_of(name), {}
    for sample in samples_of(name):
        if sample.smooth and sample.op.differentiable:
            ops.setdefault(sample.op, sample)
    for op, sample in ops.items():
        has_condition = sample.arrays[0].dtype == bool
        moves = tuple(
            k
            for k, is_moved in enumerate(sample.moves)
            if is_moved and (declared is None or k not in declared.fixed)
        )
        count = len(sample.arrays) - has_condition
        line = np.float32(LINE if count == 1 else PAIRS)
        grid = np.meshgrid(*[np.concatenate([-line, line])] * count)
        floats = tuple(axis.ravel().astype("float64") for axis in grid)
        condition = (np.arange(floats[0].size) % 2 == 0,) * has_condition
        yield Case(op, (*condition, *floats), moves)


class TrueSlopes:
    """The derivatives of an op by differences, and what they change by if operands are rounded."""

    def __init__(self, case):
        self.case = case
        self.operands = [exact(array) for array in case.operands]
        self.steps = [abs(operand) * STEP for operand in self.operands]
        self.values = {}

    def at(self, *moves):
        """The function moved by some steps: pairs of an operand and a number of steps."""
        key = tuple(sorted((k, n) for k, n in moves if n))
        if key not in self.values:
            operands = list(self.operands)
            for k, n in key:
                operands[k] = operands[k] + n * self.steps[k]
            self.values[key] = apply_op(self.case.op, operands)
        return self.values[key]

    def slope(self, k, *others):
        """The derivative by operand ``k``, where the others are moved."""
        return (self.at((k, 1), *others) - self.at((k, -1), *others)) / (2 * self.steps[k])

    def curve(self, k, *others):
        """The second derivative by operand ``k``."""
        ends = self.at((k, 1), *others) + self.at((k, -1), *others)
        return (ends - 2 * self.at(*others)) / self.steps[k] ** 2

    def cross(self, k, j):
        """The derivative by two different operands."""
        return (self.slope(k, (j, 1)) - self.slope(k, (j, -1))) / (2 * self.steps[j])

    def bend(self, k, j):
        """The derivative by operand ``j`` of the second one by ``k``."""
        if j != k:
            return (self.curve(k, (j, 1)) - self.curve(k, (j, -1))) / (2 * self.steps[j])
        far = self.at((k, 2)) - self.at((k, -2))
        return (far - 2 * (self.at((k, 1)) - self.at((k, -1)))) / (2 * self.steps[k] ** 3)

    def second(self, k, j):
        """The second derivative by two operands."""
        return self.curve(k) if j == k else self.cross(k, j)

    def is_smooth(self):
        """Return where the slopes of both sides are equal, and the function is finite."""
        smooth = True
        for k in self.case.moves:
            above = self.at((k, 1)) - self.at()
            below = self.at() - self.at((k, -1))
            larger = np.maximum(abs(above), abs(below))
            smooth &= (abs(above - below) <= larger * context.mpf(10) ** -20).astype(bool)
        return smooth

    def sensitivity(self, order):
        """The change of a slope per relative change of the operands."""
        moves = self.case.moves
        if len(order) == 1:
            (k,) = order
            terms = [self.second(k, j) * self.operands[j] for j in moves]
        elif order[0] == order[1]:
            terms = [self.bend(order[0], j) * self.operands[j] for j in moves]
        else:
            k, j = order
            terms = [self.bend(k, j) * self.operands[k], self.bend(j, k) * self.operands[j]]
        return sum(abs(term) for term in terms)

    def orders(self):
        """Yield the operands of each derivative, its true values and what rounding changes."""
        moves = self.case.moves
        pairs = [(k, j) for k in moves for j in moves if j >= k]
        for order in (*((k,) for k in moves), *pairs):
            true = self.slope(*order) if len(order) == 1 else self.second(*order)
            yield order, true, abs(true) + self.sensitivity(order)


def slopes_of_graph(case, dtype):
    """The derivatives by reverse mode of a graph, and behind the passes."""
    shape = case.operands[0].shape
    inputs = [
        sg.input(f"x{k}", shape, "bool" if array.dtype == bool else dtype)
        for k, array in enumerate(case.operands)
    ]
    by = [inputs[k] for k in case.moves]
    first = sg.grad(case.op(*inputs).sum(), by)
    outputs = {(k,): slope for k, slope in zip(case.moves, first, strict=True)}
    for k, slope in zip(case.moves, first, strict=True):
        second = sg.grad(slope.sum(), by, allow_disconnected=True)
        outputs |= {(k, j): curve for j, curve in zip(case.moves, second, strict=True)}
    graph = sg.Graph({f"y{n}": value for n, value in enumerate(outputs.values())}, inputs=inputs)
    feeds = {f"x{k}": as_operand(array, dtype) for k, array in enumerate(case.operands)}
    return dict(zip(outputs, sg.evaluate(pipeline("O1")(graph), feeds).values(), strict=True))


def slopes_of_tape(case, dtype):
    """The derivatives of tensors."""
    tensors = [Tensor(as_operand(a, dtype), a.dtype != bool) for a in case.operands]
    by = [tensors[k] for k in case.moves]
    with np.errstate(all="ignore"):
        first = grad_of_tensors([case.op(*tensors).sum()], by, create_graph=True)
        slopes = {(k,): slope.data for k, slope in zip(case.moves, first, strict=True)}
        for k, slope in zip(case.moves, first, strict=True):
            second = [np.zeros(1)] * len(by)
            if slope.requires_grad:
                second = [
                    curve.data
                    for curve in grad_of_tensors(
                        [slope.sum()], by, create_graph=True, allow_disconnected=True
                    )
                ]
            slopes |= {(k, j): curve for j, curve in zip(case.moves, second, strict=True)}
    return slopes


def as_operand(array, dtype):
    return array if array.dtype == bool else array.astype(dtype)


def errors(case):
    """Yield each slope that is too far from the true one: order, door, operands, message."""
    with context.workdps(450):
        true_slopes = TrueSlopes(case)
        smooth, orders = true_slopes.is_smooth(), list(true_slopes.orders())
        for dtype in filter(case.is_of, ("float32", "float64")):
            limits = finfo(dtype)
            doors = {"graph": slopes_of_graph(case, dtype), "tape": slopes_of_tape(case, dtype)}
            for order, true, size in orders:
                inside = (abs(true) > float(limits.tiny / limits.eps)) & (
                    abs(true) < float(limits.max * limits.eps)
                )
                places = np.flatnonzero(smooth & inside.astype(bool))
                for door, slopes in doors.items():
                    actual = np.broadcast_to(slopes[order], true.shape)
                    for place in places:
                        away = abs(context.mpf(float(actual[place])) - true[place])
                        error = away / (size[place] * float(limits.eps))
                        if not error <= MOST:
                            operands = [array[place] for array in case.operands]
                            yield (
                                len(order),
                                door,
                                operands,
                                (
                                    f"{case.op} {dtype} {door}: derivative {order} at {operands} is"
                                    f" {actual[place]}, not {float(true[place])}"
                                ),
                            )


@cache
def all_errors(name):
    return [error for case in cases(name) for error in errors(case)]


@pytest.mark.parametrize("name", NAMES)
def test_slopes_have_digits_to_second_order(name):
    """Over 27 sizes of an operand, both signs, both dtypes, by graph and by tape."""
    losses, needed = LOSSES.get(name, ()), set()
    for order, door, operands, message in all_errors(name):
        covering = [loss for loss in losses if loss.covers(order, door, operands)]
        assert covering, message
        needed.update(covering)
    assert needed == set(losses), "an exception that is not needed"


def test_every_elementwise_op_is_tried_or_has_a_reason():
    assert set(LOSSES) <= set(NAMES)
    assert set(ELSEWHERE) <= set(differentiable_ops())
    assert not set(ELSEWHERE) & set(FUNCTIONS)
    assert set(NAMES) <= {*FUNCTIONS, *OF_ATTRIBUTES}
