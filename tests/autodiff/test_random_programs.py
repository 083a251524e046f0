"""Gradients of random programs, to second order, against differences of the oracle in float64."""

import numpy as np
import pytest

import staticgrad as sg
from tests.helpers.random_programs import random_graph

STEP = 1e-5


def loss_of(graph):
    """A scalar that depends on every floating output, bounded in value and slope."""
    parts = [np.tanh(v.astype("float64")).sum() for v in graph.outputs.values() if v.dtype.is_float]
    return sum(parts[1:], parts[0]) if parts else None


def smooth_program(seed):
    graph, feeds = random_graph(
        np.random.default_rng(seed), smooth=True, integers=False, parameters=False, max_ops=25
    )
    return loss_of(graph), {value: feeds[value.node.op.label] for value in graph.inputs}


def in_float64(value, feeds):
    graph = sg.Graph(value, inputs=list(feeds))
    return sg.evaluate(graph, feeds, dtype="float64")["output"]


def along(gradients, directions):
    """The sum over all inputs of gradient times direction, in the graph."""
    products = [
        (gradient.astype("float64") * directions[leaf]).sum()
        for leaf, gradient in gradients.items()
    ]
    return sum(products[1:], products[0])


@pytest.mark.parametrize("seed", range(24))
def test_first_and_second_derivatives(seed, rng):
    loss, feeds = smooth_program(seed)
    directions = {leaf: rng.normal(size=array.shape) for leaf, array in feeds.items()}
    points = [
        {leaf: array + sign * STEP * directions[leaf] for leaf, array in feeds.items()}
        for sign in (1, -1)
    ]
    current = loss
    for order in (1, 2):
        gradients = sg.grad(current, {leaf: leaf for leaf in feeds}, allow_disconnected=True)
        for leaf, gradient in gradients.items():
            assert gradient.type == leaf.type
            assert gradient.node.order in (1, order)  # 1: zeros, for the loss became linear in it
        ahead, below = (in_float64(current, at) for at in points)
        slope = along(gradients, directions)
        expected = (ahead - below) / (2 * STEP)
        np.testing.assert_allclose(in_float64(slope, feeds), expected, rtol=1e-6, atol=1e-6)
        current = slope
