"""Groups of one signature are lowered once, and to the kernel that each would have got alone."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
import staticgrad.lowering.signatures
from passes.pipelines import pipeline
from staticgrad.fusion.copies import with_copies
from staticgrad.fusion.groups import Group
from staticgrad.fusion.merging import fused
from staticgrad.lowering.fuse import fuse
from staticgrad.lowering.signatures import Lowerings, signature_of
from staticgrad.lowering.stages import lower_group
from tests.cases import check_all
from tests.diagonals import diagonals
from tests.ops.samples import is_called, samples_of
from tests.ops.test_every_op import NAMES, as_tuple, variable_like
from tests.passes.golden_models import MODELS
from tests.random_graphs import graphs


def trained(loss, weights):
    updates = {w: w - 0.1 * d for w, d in zip(weights, sg.grad(loss, weights), strict=True)}
    return sg.Graph({"loss": loss}, updates)


def residual_blocks(count):
    """x + gelu(layer_norm(x) @ w), ``count`` times, each with weights of its own."""
    x = sg.input("x", ("batch", 8))
    weights = [sg.parameter(f"w{n}", np.eye(8, dtype="f4")) for n in range(count)]
    value = x
    for w in weights:
        value = value + sg.nn.gelu(sg.nn.layer_norm(value) @ w)
    return trained(sg.square(value).mean(), weights)


def recurrence(count):
    """tanh(x[t] @ w + h @ u) at ``count`` times; every time reads x from another offset."""
    x = sg.input("x", (count, "batch", 4))
    w, u = sg.parameter("w", np.ones((4, 8), "f4")), sg.parameter("u", np.eye(8, dtype="f4"))
    h = sg.tanh(x[0] @ w)
    for time in range(1, count):
        h = sg.tanh(x[time] @ w + h @ u)
    return trained(sg.square(h).mean(), [w, u])


def check_groups(graph, merge=True):
    groups = with_copies(fused(graph, merge)).groups
    lowerings = Lowerings()
    for _ in range(2):  # the second time all is known
        for group in groups.all:
            if group.kind in ("call", "body"):  # they have no kernel of their own
                continue
            assert lowerings.lower(groups, group) == lower_group(groups, group)


@pytest.mark.thinned(3)
@diagonals(2, ("name", MODELS), ("merge", [True, False]))
def test_what_is_shared_is_what_each_group_would_get(name, merge):
    check_groups(pipeline("O1")(MODELS[name]()), merge)


@pytest.mark.slow
@given(graphs())
@settings(max_examples=40)
def test_what_is_shared_is_what_each_group_of_a_random_graph_would_get(drawn):
    graph, _ = drawn
    for merge in (True, False):
        check_groups(graph, merge)


@pytest.mark.slow
def test_every_op_on_values_of_its_own_and_on_shared_ones():
    """Twice on inputs of their own, and with inputs and results of each for the other."""

    def check(name):
        if is_called(name):
            return  # there is no kernel to share
        for sample in samples_of(name)[:3]:
            ones, others = (
                [variable_like(f"{letter}{n}", array) for n, array in enumerate(sample.arrays)]
                for letter in "xy"
            )
            mixed = [*ones[:1], *others[1:]]
            results = [as_tuple(sample.op(*args)) for args in (ones, others, mixed)]
            values = {f"{k}.{n}": v for k, each in enumerate(results) for n, v in enumerate(each)}
            for merge in (True, False):
                check_groups(sg.Graph(values), merge)

    check_all(check, zip(NAMES))


def lowered_groups(graph, monkeypatch):
    """How many groups were lowered while the graph was fused."""
    count = 0

    def counting(*given):
        nonlocal count
        count += 1
        return lower_group(*given)

    shorter = pipeline("O1")(graph)
    with monkeypatch.context() as patch:
        patch.setattr(staticgrad.lowering.signatures, "lower_group", counting)
        schedule = fuse(shorter)
    assert len({id(step.kernels()[0]) for step in schedule.steps}) == len(schedule.kernels)
    return count


@pytest.mark.thinned(2)
@pytest.mark.parametrize("make", [residual_blocks, recurrence])
def test_repeated_parts_are_lowered_once(make, monkeypatch):
    few, many = (lowered_groups(make(n), monkeypatch) for n in (4, 12))
    assert many == few


@pytest.mark.parametrize("name", MODELS)
def test_lowering_reads_no_field_of_a_group_that_its_signature_does_not(name, monkeypatch):
    """A field that is added and decides about kernels must be part of the signature."""
    groups = with_copies(fused(pipeline("O1")(MODELS[name]()))).groups
    read = set()

    def noted(group, attribute):
        read.add(attribute)
        return object.__getattribute__(group, attribute)

    for group in groups.all:
        with monkeypatch.context() as patch:
            patch.setattr(Group, "__getattribute__", noted)
            read.clear()
            lower_group(groups, group)
            lowered = {field.name for field in fields(Group)} & read
            read.clear()
            signature_of(groups, group)
            seen = set(read)
        assert lowered <= seen | {"checked"}  # follows from the forms of its nodes


PLACES = st.integers(0, 3)


@st.composite
def nearly_equal_parts(draw):
    """Several outputs of one form that differ in the places of what they read and write alone."""
    kind = draw(st.sampled_from(["minus", "sum", "pad", "set", "concat"]))
    step = draw(st.sampled_from([1, 2, -1]))
    width = 16
    x, y = (sg.input(name, (64, 3 + 2 * width), "float32") for name in "xy")
    wholes = draw(st.sampled_from([(x, x), (x, y)]))
    total = sg.exp(y.sum(axis=1, keepdims=True))

    def part():
        starts = (draw(PLACES), draw(PLACES))
        one, other = (
            whole[:, start : start + width * abs(step)][:, ::step]
            for whole, start in zip(wholes, starts, strict=True)
        )
        first, gap = draw(PLACES), draw(PLACES)
        match kind:
            case "minus":
                return one - other
            case "sum":
                return (one * other).sum(axis=1)
            case "pad":
                pads = [((0, 0), (place, 3 - place)) for place in (first, gap)]
                return sg.pad(one, pads[0]) + sg.pad(other, pads[1])
            case "set":
                second = slice(width + gap, 2 * width + gap)
                return x.at[:, first : first + width].set(one).at[:, second].add(other)
            case _:
                lengths = (first, gap, 6 - first - gap)
                fills = [sg.broadcast_to(total, (64, length)) for length in lengths]
                parts = [fills[0], one, fills[1], other, fills[2]]
                return sg.concat([each for each in parts if each.shape[1] != 0], axis=1)

    return sg.Graph({f"part {k}": part() for k in range(draw(st.integers(2, 5)))})


@pytest.mark.slow
@given(nearly_equal_parts())
@settings(max_examples=60)
def test_what_is_shared_by_parts_in_other_places_is_what_each_would_get(graph):
    for merge in (True, False):
        check_groups(pipeline("O1")(graph), merge)
