"""A Sequential is the list of its layers."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.errors import StaticgradError

LAYERS = (sg.exp, sg.nn.relu, sg.nn.ReLU(), sg.nn.Linear(3, 3), sg.nn.Dropout(0.5))
places = st.integers(-4, 4)
slices = st.builds(slice, *[st.none() | places] * 2, st.sampled_from([None, 1, 2, -1]))
layer, several = st.sampled_from(LAYERS), st.lists(st.sampled_from(LAYERS), max_size=3)
changes = st.one_of(
    st.tuples(st.just("__setitem__"), places, layer),
    st.tuples(st.just("__setitem__"), slices, several),
    st.tuples(st.just("__delitem__"), places | slices),
    st.tuples(st.just("insert"), places, layer),
    st.tuples(st.just("append"), layer),
    st.tuples(st.just("extend"), several),
    st.tuples(st.just("pop"), places),
    st.tuples(st.just("pop")),
    st.tuples(st.just("remove"), layer),
    st.tuples(st.just("reverse")),
    st.tuples(st.just("__iadd__"), several),
)


@settings(max_examples=40, deadline=None)
@given(several, st.lists(changes, max_size=5), places | slices)
def test_a_sequential_changes_as_a_list_does(start, steps, place):
    wanted, net = [*start], sg.nn.Sequential(*start)
    for name, *arguments in steps:
        outcomes = []
        for each in (wanted, net):
            try:
                outcomes.append(getattr(each, name)(*arguments) in (None, each))
            except (IndexError, ValueError) as error:
                outcomes.append(isinstance(error, IndexError))
        assert outcomes[0] == outcomes[1] or name == "pop"
        assert net.layers == wanted == [*net]
    assert len(net) == len(wanted)
    assert [*reversed(net)] == wanted[::-1]
    assert [each in net for each in LAYERS] == [each in wanted for each in LAYERS]
    assert [*(net + net[1:])] == wanted + wanted[1:]
    if isinstance(place, slice):
        assert [*net[place]] == wanted[place]
    elif -len(wanted) <= place < len(wanted):
        assert net[place] is wanted[place]
    else:
        with pytest.raises(IndexError, match=f"has {len(wanted)} layers, none at {place}"):
            net[place]


def test_functions_are_traced_again_for_other_layers():
    net, x = sg.nn.Sequential(sg.nn.Linear(3, 2)), np.ones((4, 3), "float32")
    inside, itself = sg.function(lambda x: net(x)), sg.function(net)
    for change, width in (
        (lambda: net.append(sg.nn.Linear(2, 5)), 5),
        (lambda: net.__setitem__(1, sg.nn.Linear(2, 7)), 7),
        (lambda: net.__delitem__(-1), 2),
    ):
        inside(x), itself(x)
        change()
        assert inside(x).shape == itself(x).shape == (4, width)
        assert len(net.parameters()) == 2 * len(net)


def test_what_is_no_layer_or_no_place_is_refused():
    net = sg.nn.Sequential(sg.nn.Linear(3, 2), sg.nn.relu)
    for wrong, says in (
        (lambda: net.append(3), "a layer is 3, an int"),
        (lambda: net.insert(0, sg.nn.ReLU), "a layer is ReLU, a class"),
        (lambda: net.extend([sg.exp, None]), "a layer is None"),
        (lambda: net.__setitem__(slice(1), 3), "stand layers, not 3"),
        (lambda: net.__setitem__(slice(1), [3]), "a layer is 3"),
        (lambda: net["0"], "at an integer, not '0'"),
        (lambda: net.__delitem__(2), "2 layers, none at 2"),
    ):
        before = net.layers[:2]
        with pytest.raises(StaticgradError, match=says):
            wrong()
        assert net.layers[:2] == before
