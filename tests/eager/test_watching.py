"""``detect_anomaly`` and ``profile``: what they find on the tape, against graphs and by hand."""

import re
import threading
import tracemalloc

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, checkpoint, detect_anomaly, detect_mutation, no_grad, profile
from staticgrad.errors import NonFiniteError, TapeError

CASES = {  # function, values, the operation that is to blame, in a derivative
    "log of zero": (lambda x: sg.log(x), [1.0, 0.0], "log", False),
    "root below zero": (lambda x: sg.sqrt(x - 1.0) * 2.0, [3.0, 0.5], "sqrt", False),
    "zero by zero": (lambda x: x / (x * 1.0), [2.0, 0.0], "div", False),
    "overflow": (lambda x: sg.exp(x * 100.0), [1.0, 80.0], "exp", False),
    "slope of a root": (lambda x: sg.sqrt(x), [4.0, 0.0], "div", True),
}


@pytest.mark.parametrize("case", CASES)
def test_an_anomaly_is_named_as_the_graph_names_it(case):
    function, values, op, backward = CASES[case]
    x = sg.input("x", (2,), "float64")
    y = function(x).sum()
    graph = sg.compile({"y": y, "slope": sg.grad(y, x)}, debug="nan", pipeline="dce")
    with pytest.raises(NonFiniteError) as by_graph:
        graph.run({"x": np.array(values)})
    t = Tensor(np.array(values), requires_grad=True)
    with detect_anomaly(), pytest.raises(NonFiniteError) as by_tape:
        function(t).sum().backward()
    assert by_tape.value.headline == by_graph.value.headline
    assert f"{op} makes" in by_tape.value.headline
    assert ("in the gradient" in by_tape.value.headline) == backward
    assert by_tape.value.details == by_graph.value.details
    assert t.grad is None, "nothing has changed"


def test_an_anomaly_has_the_line_that_made_it_also_in_the_backward_pass():
    t = Tensor([4.0, 0.0], requires_grad=True)
    with detect_anomaly():
        root = sg.sqrt(t)  # the line
        total = root.sum()
        with pytest.raises(NonFiniteError) as caught:
            total.backward()
    assert "# the line" in caught.value.at.resolve().text
    t = Tensor([1.0, -1.0])
    with detect_anomaly(), pytest.raises(NonFiniteError) as caught:
        sg.log(t)  # another line
    assert "# another line" in caught.value.at.resolve().text


def test_what_is_not_made_is_no_anomaly():
    bad = Tensor([np.inf, 1.0], requires_grad=True)
    with detect_anomaly():
        y = bad * 2.0 + 1.0
        assert np.isinf(y.data[0])
        sg.exp(bad).sum().backward()
        assert (bad > 0.0).data.all()
    sg.log(Tensor([0.0]))  # outside of it nothing is looked at


def test_anomalies_within_a_checkpoint():
    def inner(x):
        return sg.log(x)

    with detect_anomaly(), pytest.raises(NonFiniteError):
        checkpoint(inner, Tensor([0.0], requires_grad=True))

    t = Tensor([0.0], requires_grad=True)
    with detect_anomaly():
        y = checkpoint(sg.sqrt, t)
        with pytest.raises(NonFiniteError, match="in the gradient"):
            y.sum().backward()


def test_both_checks_hold_inside_of_each_other():
    t = Tensor([1.0, 2.0], requires_grad=True)
    with detect_mutation(), detect_anomaly():
        y = (t * t).sum()
        with pytest.raises(NonFiniteError):
            sg.log(t * 0.0)
    t.data[0] = 9.0
    with pytest.raises(TapeError, match="changed"):
        y.backward()


def test_modes_change_no_result():
    def step(t):
        y = sg.nn.softmax(sg.tanh(t * 3.0) / 2.0).max()
        y.backward()
        return y.data, t.grad

    data = np.random.default_rng(0).normal(size=20)
    expected = step(Tensor(data, requires_grad=True))
    for mode in (detect_anomaly, profile):
        with mode():
            actual = step(Tensor(data, requires_grad=True))
        for left, right in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(left, right)


SIZE = 8 * 1000


def test_memory_of_a_step_by_hand():
    x = Tensor(np.ones(1000), requires_grad=True)
    with profile() as seen:
        y = sg.exp(x)
        assert seen.memory_allocated == SIZE
        z = y * 2.0
        assert seen.memory_allocated == 2 * SIZE
        del y  # exp reads its result
        assert seen.memory_allocated == 2 * SIZE
        with no_grad():
            temporary = z + 1.0
        del temporary
        assert (seen.memory_allocated, seen.peak_bytes) == (2 * SIZE, 3 * SIZE)
        z.sum().backward()
        del z
    assert seen.memory_allocated == SIZE  # the gradient
    assert seen.peak_bytes >= 3 * SIZE
    assert [ran.phase for ran in seen.operations[:4]] == ["forward"] * 4
    assert {ran.phase for ran in seen.operations[4:]} == {"backward"}
    assert [ran.op for ran in seen.operations[:4]] == ["exp", "mul", "add", "sum"]
    assert seen.timeline == [ran.held for ran in seen.operations]
    x.zero_grad()
    assert seen.memory_allocated == 0


def test_views_have_no_memory_of_their_own():
    x = Tensor(np.ones((10, 100)), requires_grad=True)
    with profile() as seen:
        y = x.reshape(100, 10).T
        assert seen.memory_allocated == 0
        z = y + 1.0
        view = z.T[3:]
        del z, y
        assert seen.memory_allocated == SIZE  # the view holds it
    assert view.shape == (97, 10)


def test_the_peak_is_about_what_numpy_allocates():
    random = np.random.default_rng(0)
    layers = [Tensor(random.normal(size=(64, 64)), requires_grad=True) for _ in range(5)]
    batch = Tensor(random.normal(size=(512, 64)))

    def step():
        h = batch
        for layer in layers:
            h = sg.tanh(h @ layer)
        loss = (h * h).mean()
        del h
        loss.backward()
        for layer in layers:
            layer.zero_grad()

    step()
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with profile() as seen:
        step()
    assert 0.85 * peak < seen.peak_bytes <= peak


def test_a_checkpoint_has_the_smaller_peak():
    x = Tensor(np.ones((100, 100)), requires_grad=True)

    def block(h):
        for _ in range(6):
            h = sg.tanh(h)
        return h

    peaks = []
    for run in (block, lambda h: checkpoint(block, h)):
        with profile() as seen:
            h = x
            for _ in range(4):
                h = run(h)
            total = h.sum()
            del h
            total.backward()
            del total
        peaks.append(seen.peak_bytes)
        x.zero_grad()
        assert seen.memory_allocated == 0
    assert peaks[1] < 0.6 * peaks[0]


def test_a_profile_is_of_its_block_and_its_thread():
    x = Tensor(np.ones(10))
    with profile() as seen:
        thread = threading.Thread(target=lambda: x * 2.0)
        thread.start()
        thread.join()
        assert seen.operations == []
        x + 1.0
    x * 3.0
    assert [ran.op for ran in seen.operations] == ["add"]
    with seen:  # begins anew
        x - 1.0
    assert [ran.op for ran in seen.operations] == ["sub"]


def test_a_profile_shows_lines_and_draws_itself():
    x = Tensor(np.ones(10), requires_grad=True)
    with profile() as seen:
        y = x
        for _ in range(3):
            y = sg.sin(y)  # a line
        y.sum().backward()
    text = str(seen)
    (row,) = [line for line in text.splitlines() if "forward" in line and " sin " in line]
    assert row.split()[2] == "3", row
    assert "test_watching.py" in row
    html = seen._repr_html_()
    drawings = re.findall("<svg.*?</svg>", html, re.DOTALL)  # for screens and for phones
    assert len(drawings) == 2
    assert all(f'<polyline class="{kind}"' in text for text in drawings for kind in "ea")
    assert "bytes of arrays" in html
    assert "0 operations" in str(profile())
    assert "<svg" not in profile()._repr_html_()
