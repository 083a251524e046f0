"""Elementwise groups that one later group alone reads are part of it, whoever shares what."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.fusion.absorbing import absorbed
from staticgrad.fusion.grouping import group
from staticgrad.lowering.fuse import fuse


def shared(x: sg.Value, other: sg.Value) -> sg.Value:
    """Two nodes read ``other`` by way of what they share, one before the other is made."""
    base = sg.tanh(other)
    first = x * (base + 1.0)
    return first * sg.exp(-(base * base))


def late(x: sg.Value) -> sg.Value:
    """A product that waits for its operand."""
    return sg.sin(x) @ sg.constant(np.eye(8, 4), "float32")


def product() -> sg.Graph:
    x, other = sg.input("x", ("n", 8)), sg.input("other", ("n", 4))
    return sg.Graph({"y": shared(late(x), other)})


def elements() -> sg.Graph:
    """What is taken from memory in another order comes later than its other operand."""
    x, other = sg.input("x", ("n", 4, 2)), sg.input("other", ("n", 2, 4))
    return sg.Graph({"y": shared(sg.cumsum(x, axis=1).transpose((0, 2, 1)), other)})


@pytest.mark.parametrize(("make", "steps"), [(product, 2), (elements, 2)])
def test_what_two_nodes_of_one_group_share_is_computed_there(make, steps):
    graph = make()
    groups = group(graph)
    assert len(absorbed(groups)) == len(groups) - 1
    assert len(fuse(graph).steps) == steps
    rng = np.random.default_rng(0)
    shapes = (
        {"x": (5, 8), "other": (5, 4)} if make is product else {"x": (5, 4, 2), "other": (5, 2, 4)}
    )
    feeds = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    whole, apart = (
        sg.compile(graph, pipeline="").run(feeds),
        sg.compile(graph, fuse=False).run(feeds),
    )
    assert same_bytes(whole["y"], apart["y"])


def test_what_others_read_as_well_stays():
    x, other = sg.input("x", ("n", 8)), sg.input("other", ("n", 4))
    base = sg.tanh(other)
    y = late(x) * (base + 1.0) * sg.exp(-(base * base))
    groups = group(sg.Graph({"y": y, "sums": sg.cumsum(base, axis=0)}))
    assert len(groups) == 4  # the sine, the product, what is shared, the sums
    assert absorbed(groups) is groups
