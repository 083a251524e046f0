"""ONNX's own tests of operators, run here: an outcome for each, and gradients of a sample."""

import re
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

import staticgrad as sg

_TYPES = "an element type that is not here (text, floats of 8 bits, 4 and 2 bits)"
_VARIANT = "a variant of an operator"
#: Text of an error -> why a test does not apply.
REASONS = {
    "takes texts|computes of texts|numbers and texts": _TYPES,
    "is not a dtype": _TYPES,
    "has no function here": "an operator without a function",
    "is not supported|is no tensor": _VARIANT,
    "used outside|of one function|expected|zip": "a branch or a scan of another kind",
    "must be known": "a shape that depends on values",
    "of no elements": "the largest or smallest of no elements",
}
_NARROW = ("float32", "float16", "bfloat16")


@cache
def cases(kind="node"):
    """Every test of ONNX of a kind, by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # expected values that overflow on purpose
        return {case.name: case for case in load_model_tests(kind=kind)}


class Read(NamedTuple):
    """A test: its model as a module, operands, the feeds of those that are symbols, results."""

    model: sg.onnx.OnnxModel
    operands: dict
    feeds: dict
    expected: list


def read(case, dtype=None):
    """Read a test; ``dtype`` takes the place of float32 in its inputs."""
    proto, inputs, expected = _content(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sg.StaticgradWarning)  # results that are texts
        model, operands, feeds = sg.onnx.load(proto), {}, {}

    def symbol(name, array):
        feeds[name] = array.astype(dtype) if dtype and array.dtype == np.float32 else array
        return sg.input(name, array.shape, feeds[name].dtype)

    for info, array in zip(proto.graph.input, inputs, strict=False):
        name = info.name
        if array is None or name in model.static_inputs:
            operands[name] = array
        elif isinstance(array, list):
            operands[name] = [symbol(f"{name}_{k}", element) for k, element in enumerate(array)]
        else:
            operands[name] = symbol(name, array)
    return Read(model, operands, feeds, expected)


def _content(case):
    import onnx

    if case.model is not None:
        return case.model, *([_as_array(entry) for entry in part] for part in case.data_sets[0])
    folder = Path(case.model_dir) / "test_data_set_0"
    parts = []
    for part in ("input", "output"):
        files = sorted(folder.glob(f"{part}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        parts.append([_as_array(onnx.load_tensor(file)) for file in files])
    return onnx.load(folder.parent / "model.onnx"), *parts


def _as_array(content):
    from onnx import TensorProto, numpy_helper

    if isinstance(content, list):
        return [_as_array(element) for element in content]
    array = numpy_helper.to_array(content) if isinstance(content, TensorProto) else content
    return array if array is None else np.asarray(array)


def outcome(case, run=sg.evaluate):
    """Return "passed", or why a test does not apply; a wrong result is an error."""
    try:
        model, operands, feeds, expected = read(case)
        results = model(**operands)
        results = results if isinstance(results, tuple) else (results,)
        pairs = [*_pairs(results, expected)]
        named = {f"r{k}": r for k, (r, _) in enumerate(pairs) if isinstance(r, sg.Value)}
        flat = (v for o in operands.values() for v in (o if isinstance(o, list) else [o]))
        inputs = [value for value in flat if isinstance(value, sg.Value)]
        arrays = run(sg.Graph(named, inputs=inputs), feeds) if named else {}
    except sg.StaticgradError as error:
        text = f"{error.headline}"
        reason = next((r for pattern, r in REASONS.items() if re.search(pattern, text)), None)
        if reason is None:
            raise
        return f"{reason}: {text}"
    tables = dict(enumerate(model.texts.values())) if len(model.texts) == len(pairs) else {}
    for k, (result, expects) in enumerate(pairs):
        actual = np.asarray(arrays.get(f"r{k}", result))
        table = tables.get(k)
        check(actual if table is None else np.array(table, object)[actual], expects, case)
    return "passed"


def _pairs(results, expected):
    for result, expects in zip(results, expected, strict=True):
        if isinstance(expects, list):
            yield from zip(result, expects, strict=True)
        elif expects is not None or result is not None:
            yield result, expects


def check(array, expects, case):
    """Raise AssertionError unless a result is what the test expects, as exactly as it asks for."""
    assert (array.dtype, array.shape) == (expects.dtype, expects.shape)
    rtol, atol = max(case.rtol, 1e-3), max(case.atol, 1e-7)
    if expects.dtype.name == "bfloat16":  # whose numbers are 2**-8 apart
        rtol, atol = 2.0**-6, 2.0**-6
    if expects.dtype.name == "float16":  # 2**-11 apart; causal attention is 2 of them off theirs
        rtol = 2.0**-9
    np.testing.assert_allclose(array.astype(float), expects.astype(float), rtol, atol)


def gradient_error(case):
    """The relative error of a derivative along a random direction.

    Inputs are of double precision, and a little beside those of the test, which may lie on kinks;
    central differences have an error of about 1e-9. None where there is no derivative, or where a
    result is computed in single precision, in which differences are too inexact.
    """
    model, operands, feeds, _ = read(case, "float64")
    along = [name for name, array in feeds.items() if array.dtype == np.float64 and array.size]
    results = model(**operands)
    result = results[0] if isinstance(results, tuple) else results
    if not along or not isinstance(result, sg.Value) or result.dtype != "float64":
        return None
    if not all(np.isfinite(feeds[name]).all() for name in along):
        return None
    random = np.random.default_rng(0)
    feeds = feeds | {n: feeds[n] + random.uniform(0.0, 1e-3, feeds[n].shape) for n in along}
    weights = random.normal(size=tuple(map(int, result.shape)))
    total, inputs = (result * weights).sum(), [operands[name] for name in along]
    every = [operand for operand in operands.values() if isinstance(operand, sg.Value)]
    at = sg.Graph({"total": total}, inputs=every)
    if any(kind.dtype.name in _NARROW for node in at.nodes for kind in node.types):
        return None
    try:
        gradients = sg.grad(total, inputs)
    except sg.errors.DisconnectedError:
        return None
    graph = sg.Graph({"total": total, **dict(zip(along, gradients, strict=True))}, inputs=every)
    directions = {name: random.normal(size=feeds[name].shape) for name in along}
    slopes = sg.evaluate(graph, feeds)
    slope = sum((slopes[name] * directions[name]).sum() for name in along)
    step = 1e-6
    ends = [
        float(sg.evaluate(at, feeds | {n: feeds[n] + h * directions[n] for n in along})["total"])
        for h in (step, -step)
    ]
    difference = (ends[0] - ends[1]) / (2.0 * step)
    return abs(slope - difference) / max(abs(slope), abs(difference), 1.0)
