"""Every parameter of every covered NumPy function: right, or refused by name with a code."""

import inspect

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError
from staticgrad.language.calls.functional import numpy_function
from tests.helpers.diagonals import every_nth
from tests.numpy_names import covered_functions
from tests.ops import keyword_calls as table

pytestmark = pytest.mark.skipif(not table.IS_READABLE, reason="older NumPy")

NAMES = covered_functions()
#: Those that need no ``size=`` of a graph: no run decides how many results there are.
OF_KNOWN_SIZE = [n for n in NAMES if "size" not in inspect.signature(getattr(sg, n)).parameters]
every_function = pytest.mark.parametrize("name", NAMES)


def names_parameter(sample, headline):
    """Return whether a refusal names the parameter, or one that is passed beside it."""
    words = [sample.parameter, *sample.kwargs]
    return any(f"{word}=" in headline or f"{word!r}" in headline for word in words)


@every_function
def test_every_parameter_is_right_or_refused_by_name(name):
    tried = set()
    for sample in table.samples(name):
        tried.add(sample.parameter)
        for way in table.ways(sample):
            headline = table.refusal(sample, way)
            if headline is not None:
                assert names_parameter(sample, headline), f"{sample}: {headline}"
                continue
            outputs = table.results(table.make_call(sample, table.tensor, way))
            table.check(outputs, sample)
    missing = {*table.parameters(name)} - tried - {"args", "kw"}
    assert not missing, f"no sample of {missing} is a call of NumPy's"


@pytest.mark.thinned(14)
@every_nth(2, "name", OF_KNOWN_SIZE)
def test_graphs_give_the_same(name):
    """One graph of all that is taken: evaluated node by node, and compiled.

    Tensors try each of them daily by the same composition of ops.
    """
    outputs, feeds, inputs, expected = {}, {}, [], []

    def make_input(array):
        key = f"x{len(feeds)}"
        feeds[key] = array
        inputs.append(sg.input(key, array.shape, array.dtype.name))
        return inputs[-1]

    for sample in table.samples(name):
        if table.refusal(sample) is not None:
            continue
        results = table.results(table.make_call(sample, make_input, "sg"))
        places = []
        for value in results:
            places.append(f"y{len(outputs)}")
            outputs[places[-1]] = value
        expected.append((sample, places))
    outputs = {k: v if isinstance(v, sg.Value) else sg.constant(v) for k, v in outputs.items()}
    graph = sg.Graph(outputs, inputs=inputs)
    for arrays in (sg.evaluate(graph, feeds), sg.compile(graph).run(feeds)):
        for sample, places in expected:
            table.check([arrays[place] for place in places], sample)


@every_function
def test_named_sizes_give_the_same(name):
    """Each sample over named sizes, where the function takes these; equal ones have one name."""
    for sample in table.samples(name):
        if table.refusal(sample) is not None:
            continue
        feeds, inputs = {}, []

        def make_input(array, feeds=feeds, inputs=inputs):
            shape = tuple(f"n{size}" if size > 1 else size for size in array.shape)
            inputs.append(sg.input(f"x{len(feeds)}", shape, array.dtype.name))
            feeds[f"x{len(feeds)}"] = array
            return inputs[-1]

        try:
            results = table.results(table.make_call(sample, make_input, "sg"))
        except StaticgradError:
            continue
        outputs = {
            str(k): value if isinstance(value, sg.Value) else sg.constant(value)
            for k, value in enumerate(results)
        }
        table.check([*sg.evaluate(sg.Graph(outputs, inputs=inputs), feeds).values()], sample)


#: What options are computed by formulas of our own, and is smooth where the samples are.
SMOOTH = (
    "sum", "prod", "mean", "var", "std", "max", "min", "nansum", "nanmean", "nanvar",
    "nanstd", "nanmax", "nanmin", "pad", "diff", "average", "cov", "corrcoef", "ravel",
    "cross", "clip", "take", "einsum", "trace", "reshape",
    "concatenate", "stack", "dot", "kron", "cumsum", "cumprod", "nan_to_num", "tensordot",
    "linspace",
)  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_numpys_differences(name):
    """Compare every accepted sample with differences of NumPy's function, by each element."""
    checked = 0
    for sample in table.samples(name):
        if table.refusal(sample) is not None or sample.kwargs.get("dtype", "float64") != "float64":
            continue
        leaves = []

        def leaf(array, leaves=leaves):
            floats = array.dtype.kind == "f"
            leaves.append(Tensor(array, requires_grad=floats, dtype=array.dtype))
            return leaves[-1]

        outputs = table.results(table.make_call(sample, leaf, "sg"))
        weights = [np.random.default_rng(k).normal(size=v.shape) for k, v in enumerate(outputs)]
        pairs = [(v, w) for v, w in zip(outputs, weights, strict=True) if carries(v)]
        if not pairs:
            continue
        total = sum(((v * w).sum() for v, w in pairs), start=Tensor(0.0, dtype="float64"))
        total.backward()
        for place, tensor in enumerate(leaves):
            if tensor.grad is None:
                continue
            checked += 1
            expected = differences(
                sample,
                place,
                [w if carries(v) else None for v, w in zip(outputs, weights, strict=True)],
            )
            np.testing.assert_allclose(tensor.grad, expected, 1e-6, 1e-7, err_msg=str(sample))
    assert checked > 0


def carries(value):
    return isinstance(value, Tensor) and value.requires_grad


def differences(sample, place, weights):
    """Central differences of the weighted sum of NumPy's results, by the array at a place."""
    size = table.operand(sample, place).size
    slopes = []
    for element in range(size):
        ends = []
        for step in (1e-6, -1e-6):
            shifted = table.shift_element(sample, place, element, step)
            results = table.results(shifted.numpy_result())
            ends.append(
                sum(
                    float((r * w).sum())
                    for r, w in zip(results, weights, strict=True)
                    if w is not None
                )
            )
        slopes.append((ends[0] - ends[1]) / 2e-6)
    return np.array(slopes).reshape(table.operand(sample, place).shape)


@every_function
def test_places_are_those_of_numpy(name):
    """Arguments by position mean the same; options have NumPy's names."""
    function = getattr(np, name)
    ours = numpy_function(name)
    assert ours is not None
    if isinstance(function, np.ufunc):
        return
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    theirs = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    for place, parameter in enumerate(inspect.signature(ours).parameters.values()):
        if parameter.kind not in kinds or parameter.default is inspect.Parameter.empty:
            continue
        if place >= len(theirs):
            continue  # by position NumPy takes fewer
        assert (parameter.name, theirs[place].name) in RENAMED or parameter.name == theirs[
            place
        ].name


#: Options that have another name here, but NumPy's place.
RENAMED = {("columns", "M"), ("min", "a_min"), ("max", "a_max"), ("stop", "stop")}
