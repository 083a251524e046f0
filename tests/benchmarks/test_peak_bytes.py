"""Steps of ``peak_bytes`` give what PyTorch's step gives; the cost of a share is that of a plan."""

from types import SimpleNamespace

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.memory.peak_bytes import _longer
from benchmarks.memory.peak_steps import STEPS


@pytest.mark.parametrize(
    ("name", "result"), [("float16", "loss"), ("hmc", "q"), ("k-means", "shift")]
)
def test_a_step_gives_what_it_gives_in_pytorch(name, result):
    torch = pytest.importorskip("torch")
    arrays, graph_of, step_of = STEPS[name]
    inputs = arrays()
    graph = graph_of(inputs)
    feeds = {value.node.label: inputs[value.node.label] for value in graph.inputs}
    actual = sg.evaluate(graph.outputs[result], feeds)
    expected = step_of(torch, {n: torch.from_numpy(a.copy()) for n, a in inputs.items()})()
    tolerance = 1e-2 if name == "float16" else 1e-5
    np.testing.assert_allclose(actual, expected.numpy(), rtol=tolerance, atol=1e-5)


def test_the_cost_of_a_share_is_that_of_the_quickest_plan_within_it():
    pairs = [(100, 1.0), (60, 1.5), (50, 2.0), (41, 3.0)]
    plans = [SimpleNamespace(peak_bytes=size, seconds=time) for size, time in pairs]
    assert _longer(plans, 100, 60) == 1.5
    assert _longer(plans, 100, 59) == 2.0
    assert _longer(plans, 100, 40) is None
