"""The meaning of "compiled equals the oracle": bytes where promised, else a stated error."""

from collections.abc import Mapping

import numpy as np

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.graph import Input, Node, Symbolic
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import as_dtype
from staticgrad.support.building import capture
from tests.helpers.limits import finfo

Arrays = Mapping[str, np.ndarray]


def differing(actual, expected):
    """Describe for a message the elements in which two arrays differ."""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return f"{actual.dtype}{actual.shape} for {expected.dtype}{expected.shape}"
    places = [i for i in np.ndindex(*actual.shape) if not same_bytes(actual[i], expected[i])]
    shown = (f"{i}: {actual[i]!r} for {expected[i]!r}" for i in places[:4])
    return f"{len(places)} elements, " + "; ".join(shown)


def assert_same(actual, expected, what=""):
    """Equal names, types and bytes."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert same_bytes(actual[name], array), f"{what} {name}: {differing(actual[name], array)}"


def assert_near(actual, graph, feeds, what="", floats_only=False):
    """Integers and bools as the oracle has them; floats as near to float64 as its own precision.

    With ``floats_only`` the others may differ: a comparison turns on its operands' last place.

    The oracle's own distance from its run in float64 is the measure: it runs the same operations
    in the same precision. Beside it stands an allowance of 512 units in the last place of the
    largest element, for elements that the oracle happens to hit.
    """
    expected, wide = sg.evaluate(graph, feeds), sg.evaluate(graph, feeds, dtype="float64")
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        got = actual[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape), f"{what} {name}"
        if got.dtype.kind != "f":
            same = floats_only or np.array_equal(got, array)
            assert same, f"{what} {name}: {differing(got, array)}"
            continue
        finite = np.isfinite(array) & np.isfinite(wide[name])
        assert same_bytes(got[~finite], array[~finite]), f"{what} {name}: infinities or NaNs"
        true = wide[name][finite]
        reference_error = float(np.max(np.abs(array[finite] - true), initial=0.0))
        error = float(np.max(np.abs(got[finite] - true), initial=0.0))
        scale = float(np.max(np.abs(true), initial=1.0))
        allowed = 16 * reference_error + 512 * float(finfo(got.dtype).eps) * scale
        assert error <= allowed, f"{what} {name}: off by {error}, allowed {allowed}"


def input_like(name, array):
    """An input of an array's type."""
    kind = TensorType(as_dtype(array.dtype), array.shape)
    return Symbolic(Node(Input(name, kind), (), (kind,), capture()))


def used_feeds(graph, feeds):
    """Those of the feeds that the graph takes."""
    return {name: feeds[name] for name in (value.node.op.label for value in graph.inputs)}
