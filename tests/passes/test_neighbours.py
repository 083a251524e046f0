"""Every pair of neighbouring groups has one reason to be two kernels, and every reason occurs."""

import functools
import json
import operator

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.cycles import LARGEST
from staticgrad.compiler.fusion.reasons import ReasonKind
from staticgrad.compiler.lowering.fuse import fusion
from tests.passes.golden_models import MODELS


def check(fusion_result):
    """Its pairs are those that the buffers of the steps tell, each once, with a reason."""
    pairs = fusion_result.neighbours()
    between = [(pair.computed_in, pair.read_in) for pair in pairs]
    assert len(set(between)) == len(between)
    writers = {}
    for number, step in enumerate(fusion_result.schedule.steps):
        for touch in step.accesses():
            if touch.mode in ("out", "inout"):
                writers.setdefault(touch.buffer, []).append(number)
    updated = {b.name for b in fusion_result.schedule.buffers if b.role == "parameter"}
    for number, step in enumerate(fusion_result.schedule.steps):
        for touch in step.accesses():
            if touch.mode in ("in", "inout") and touch.buffer not in updated:
                for writer in writers.get(touch.buffer, ()):
                    assert writer == number or (writer, number) in between
    for pair in pairs:
        assert pair.computed_in < pair.read_in
        assert str(pair.reason)
        json.dumps(pair.reason.numbers)
    return pairs


def reasons(outputs=None, updates=None, merge=True):
    """The reasons in a graph that is fused as it is written."""
    fusion_result = fusion(pipeline("dce")(sg.Graph(outputs, updates=updates or {})), merge)
    return [pair.reason for pair in check(fusion_result)]


def x_of(*shape):
    return sg.input("x", shape, "float64")


def center_rows(*shape):
    x = x_of(*shape)
    return x - x.mean(1, keepdims=True)


def y_of(*shape):
    return sg.input("y", shape, "float64")


def w_of(rows, columns, name="w"):
    return sg.parameter(name, np.ones((rows, columns)))


def chain(length):
    """Dependent operations of 4 cycles each, on large arrays, two vectors side by side: 1200 of
    them wait 2400 cycles.

    Runs of sqrt(4 * 320 / 4) = 17 balance: 71 of them wait for nothing, which is 600 cycles, and
    70 times storing takes 4.
    """
    value = x_of(1 << 20)
    for number in range(length):
        value = value * (0.5 + number) + 1.0
    return reasons(value)


def large_row(size):
    """Elements that take long, and hardly wait for each other."""
    x = x_of(size)
    return functools.reduce(operator.add, [sg.tanh(x * (k + 1.0)) for k in range(6)])


def two_halves():
    """Many values that are alive at a time, so that no cut is worth it; then as many again."""
    x = x_of(1 << 20)
    values = [x / float(k + 1) for k in range(LARGEST)]
    return reasons(functools.reduce(operator.add, values))


def both_ways():
    e = sg.exp(x_of("n", 3, 4))
    return reasons({"rows": e.sum(2), "planes": e.sum((1, 2))})


def with_log_of_sum():
    e = sg.exp(x_of("n", 5))
    return reasons(e + sg.log(e.sum(0)))


def behind_the_border():
    x = x_of("n", 20)
    product = sg.tanh(x) @ w_of(20, 3)
    return reasons({"y": product, "dx": sg.grad((product * product).sum(), x)})


def swap():
    a, b = (sg.parameter(name, np.ones(3)) for name in "ab")
    return reasons(updates={a: 2.0 * b, b: 2.0 * a})


def update_of(new_value, outputs=None):
    """The reasons in a graph with an update of a parameter of six elements."""
    a = sg.parameter("a", np.ones(6))
    return reasons(outputs, updates={a: new_value(a)})


def update_by_gradient():
    w, e = sg.parameter("w", np.ones(4)), sg.exp(x_of(4))
    loss = (e * w).sum()
    return reasons({"loss": loss, "e": e}, updates={w: w - sg.grad(loss, w)})


def update_that_a_loop_reads():
    start = sg.exp(x_of(6))
    last = sg.while_loop(lambda y: y.sum() < 5.0, lambda y: 1.1 * y, start)
    return update_of(lambda a: start, {"last": last})


def of_two_arrays():
    """Gradients over a forward kernel that stores one array; they would be two."""
    x = x_of("n", 20)
    e = sg.exp(x)
    slope = sg.grad(e.sum(), x) * e
    a, b = sg.sin(slope) @ w_of(20, 3), sg.cos(slope) @ w_of(20, 2, "v")
    return reasons({"sum": e.sum(), "a": a, "b": b})


def columns_of(length):
    e = sg.nn.softmax(x_of(40, length))
    return reasons({"e": e, "columns": sg.exp(e).sum(0)})


def looked_up_rows(columns=3):
    return sg.take(x_of("n", columns), sg.input("places", ("m",), "int64"), 0)


def positions(*shape):
    return x_of(*shape) * sg.iota(shape, 0, "float64")


MADE = {
    ReasonKind.FusionOff(): lambda: reasons(sg.exp(x_of(3) * 2.0), merge=False),
    ReasonKind.OtherSpace((3,), (4, 3)): lambda: reasons(
        sg.exp(x_of(3)) + sg.input("y", (4, 3), "float64")
    ),
    ReasonKind.OtherElements((3,), (-1,)): lambda: reasons(sg.tanh(sg.exp(x_of(3))[::-1])),
    ReasonKind.Unfinished((5,)): lambda: reasons(sg.exp(x_of(3, 5)).sum(1) + sg.input("y", (4, 3))),
    ReasonKind.OncePerRow("log", 5): lambda: reasons(sg.log(sg.exp(x_of(3, 5)).sum(1))),
    ReasonKind.FewRows(2, (60_000,)): lambda: reasons(sg.nn.softmax(x_of(2, 60_000))),
    ReasonKind.FewRows(1, (sg.dim("n"),)): lambda: reasons(sg.nn.softmax(x_of("n"))),
    ReasonKind.FewTerms(40, 1600): lambda: columns_of(40),
    ReasonKind.RowsInLanes(7): lambda: columns_of(7),
    ReasonKind.BrokenRow(2): lambda: reasons(
        sg.nn.softmax(x_of(7, 4, 3), (1, 2)) * sg.input("y", (3,))
    ),
    ReasonKind.WholeOperand("matmul", (3, 4)): lambda: reasons(sg.exp(x_of(3, 4)) @ w_of(4, 2)),
    ReasonKind.KernelOfItsOwn("sort"): lambda: reasons(sg.sort(sg.exp(x_of("n")))),
    ReasonKind.KernelOfItsOwn("copy"): lambda: reasons(sg.exp(x_of("n", 4)).T.reshape(-1)),
    ReasonKind.KernelOfItsOwn("scan"): lambda: reasons(sg.cumsum(sg.exp(x_of("n")), 0)),
    ReasonKind.PhaseBorder(0, 1): behind_the_border,
    ReasonKind.StoresMore(20480, 10240): of_two_arrays,
    ReasonKind.UpdateOrder("w"): update_by_gradient,
    ReasonKind.UpdateHeldBack("a", "mul"): swap,
    ReasonKind.UpdateElsewhere("a"): lambda: update_of(lambda a: a[::-1] * 2.0),
    ReasonKind.UpdateInParts("a", 2): lambda: update_of(
        lambda a: sg.concatenate([sg.exp(a[:3]), sg.sin(a[3:])])
    ),
    ReasonKind.UpdateChecks("a"): lambda: update_of(
        lambda a: sg.take(x_of(9), sg.input("places", (6,), "int64")) * 2.0
    ),
    ReasonKind.UpdateBeforeLoop("a"): update_that_a_loop_reads,
    ReasonKind.TwoProducts(): lambda: reasons((x := x_of(3, 4)) @ w_of(4, 2) + x @ w_of(4, 2, "v")),
    ReasonKind.ReductionInProduct(): lambda: reasons((x_of(3, 4) @ w_of(4, 2)).sum(1)),
    ReasonKind.LookupInProduct(): lambda: reasons(
        sg.input("y", ("m", 4), "float64") @ w_of(4, 6) + looked_up_rows(6)
    ),
    ReasonKind.LookupInColumns(): lambda: reasons(looked_up_rows().sum(0)),
    ReasonKind.OtherRows((2,), (1, 2)): both_ways,
    ReasonKind.PositionsInWindows(): lambda: reasons(
        sg.nn.max_pool(x_of(1, 2, 4, 4), 2) * sg.iota((1, 2, 2, 2), 0, "float64")
    ),
    ReasonKind.PositionsInRow(2): lambda: reasons(positions(2, 3, 5).sum((1, 2))),
    ReasonKind.TooLarge(4002, LARGEST): two_halves,
    ReasonKind.LongChain(2400, 880): lambda: chain(600),
    ReasonKind.SingleRow(1 << 20): lambda: reasons(large_row(1 << 20).sum()),
    ReasonKind.Copies(2): lambda: reasons((x_of(2, 4, 90) * w_of(4, 1) + w_of(4, 1, "v")).sum()),
    ReasonKind.Between("log", 3, 1): with_log_of_sum,
    ReasonKind.OtherReaders(0, 1): lambda: reasons({"e": (e := sg.exp(x_of(3, 5))), "s": e.sum(0)}),
}


def test_every_reason_is_made_below():
    assert {reason.kind for reason in MADE} == {*ReasonKind}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("reason", MADE, ids=lambda reason: f"{reason.kind.name}: {reason}")
def test_the_reason_is_found_with_its_numbers(reason):
    assert reason in MADE[reason]()


@pytest.mark.parametrize("level", ["O0", "O1"])
@pytest.mark.parametrize("name", MODELS)
def test_every_pair_of_four_training_steps_has_one_reason(name, level):
    check(fusion(pipeline(level)(MODELS[name]())))


def test_explain_says_why_a_parameter_is_copied():
    a, b = (sg.parameter(name, np.ones(3)) for name in "ab")
    f = sg.compile(sg.Graph(updates={a: 2.0 * b, b: 2.0 * a}))
    text = "a is written by a copy: the step mul has to run before it is written"
    assert text in f.explain()


def test_explain_tells_them_with_their_lines():
    x = sg.input("x", (20, "n"), "float64")
    f = sg.compile(sg.Graph(sg.log(sg.cosh(x).sum(0))))
    (actual,) = f.explanation().as_json()["apart"]
    assert (actual["computed_in"], actual["read_in"]) == (0, 1)
    assert (actual["computes"], actual["reads"]) == ("sum", "log")
    assert (actual["reason"], actual["numbers"]) == ("Unfinished", {"over": [20]})
    assert all("test_neighbours.py" in line for line in actual["lines"])
    assert "0 -> 1: sum -> log: a reduction over [20] is known only after" in f.explain()


@pytest.mark.parametrize("widths", [(1, 1), (2, 0), (0, 3), (3, 1), (2, 2)])
def test_a_slice_of_a_padded_array_is_that_of_numpy(widths):
    """At its first and last elements; each slice alone, as others keep the padded array."""
    array, x = np.arange(1.0, 13.0), sg.input("x", (12,), "float64")
    for part in (slice(1, -1), slice(2, None), slice(None, -2), slice(3, -3)):
        outputs = {"x": sg.pad(x, widths)[part] * 2.0, "s": sg.pad(x * x, widths)[part] + 1.0}
        actual = sg.compile(outputs).run({"x": array})
        np.testing.assert_array_equal(actual["x"], np.pad(array, widths)[part] * 2.0)
        np.testing.assert_array_equal(actual["s"], np.pad(array * array, widths)[part] + 1.0)
