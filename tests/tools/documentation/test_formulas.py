"""The reference shows derivatives as formulas, and the source of each name."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.tools.documentation import reference
from staticgrad.tools.documentation.formulas import derivatives

ROOT = Path(sg.__file__).parents[1]
#: Names of ops that NumPy and SciPy spell otherwise.
OTHERS = {"sigmoid": scipy.special.expit, "pow": np.power, "gammaln": scipy.special.gammaln}
NAMESPACE = {**vars(scipy.special), **vars(np), **OTHERS}
#: Where a function is not defined at .4 and .7: two numbers where it is.
WITHIN = {"acosh": (1.4, 1.7), "arccosh": (1.4, 1.7)}


def names():
    for _, path, names_of_room in reference.rooms().values():
        for name in names_of_room:
            yield f"{path}.{name}", getattr(reference.owner(path), name)


def shown_slopes():
    for path, value in names():
        if inspect.isfunction(value):
            operands = tuple(inspect.signature(value).parameters)[:3]
            text = reference.entry(path, value)
            slopes = re.findall(r"^- by `(\w+)`: `(.*)`$", text, re.MULTILINE)
            if slopes:
                yield path, value, operands[: len(slopes)], dict(slopes)


def number(result):
    symbolic = isinstance(result, sg.Value) and not isinstance(result, Tensor)
    return float(sg.evaluate(result) if symbolic else result)


def test_formulas_are_the_slopes_of_their_functions(monkeypatch):
    monkeypatch.setattr(reference, "dtypes", lambda value: "")  # which takes most of the time
    monkeypatch.setattr(reference, "_describe_source", lambda value, sources: "")
    count, step = 0, 1e-6
    for path, value, operands, slopes in shown_slopes():
        at = WITHIN.get(path.rpartition(".")[2], (0.4, 0.7, 0.3))[: len(operands)]
        for k, name in enumerate(operands):
            around = [[a + d * (i == k) for i, a in enumerate(at)] for d in (step, -step)]
            high, low = (number(value(*map(np.float64, point))) for point in around)
            slope = eval(slopes[name], dict(NAMESPACE), dict(zip(operands, at, strict=True)))
            assert slope == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-7), path
            count += 1
    assert count > 90


@pytest.mark.parametrize(
    "f",
    [lambda x, y: y / (x - (y - x)), lambda x, y: -(x - y) * (x / y), lambda x, y: x - (y - x) * y],
)
def test_formulas_have_the_parentheses_that_they_need(f):
    actual, x, y, step = derivatives(f, ("x", "y")), 0.7, 0.4, 1e-6
    assert eval(actual["x"]) == pytest.approx((f(x + step, y) - f(x - step, y)) / (2 * step))
    assert eval(actual["y"]) == pytest.approx((f(x, y + step) - f(x, y - step)) / (2 * step))


def test_what_is_too_long_or_not_by_elements_has_no_formula():
    for function in (sg.floor, sg.sum, sg.nn.gelu, sg.nn.softmax):
        assert derivatives(function, ("x",)) == {}


SOME = {"sg.tanh", "sg.Value", "sg.nn.ReLU", "sg.stats.norm", "sg.grad", "sg.optim.Adam"}


@pytest.mark.parametrize("chosen", [SOME, pytest.param(set(), marks=pytest.mark.slow)])
def test_every_name_shows_where_it_is_defined_and_its_source(monkeypatch, chosen):
    monkeypatch.setattr(reference, "dtypes", lambda value: "")
    monkeypatch.setattr(reference, "derivatives", lambda value, operands: {})
    missing = []
    for path, value in names():
        if chosen and path not in chosen:
            continue
        if callable(value):
            text = reference.entry(path, value, sources=True)
            location = re.search(r"<summary>Source: `(.*)`, line (\d+)</summary>", text)
            if location is None:
                missing.append(path)
                continue
            source = text.partition("</summary>\n\n```python\n")[2].partition("\n```")[0]
            (definition,) = ast.parse(source).body
            line = (ROOT / location[1]).read_text("utf-8").splitlines()[int(location[2]) - 1]
            assert line.strip() == source.splitlines()[0], path
            assert ast.get_docstring(definition) is None
    assert missing == []


#: Modules and names whose examples are programs of the guides: they need files, processes, chains.
SHOWN_IN_GUIDES = {"sg.backends", "sg.checkpoint_policies", "sg.comparison", "sg.distributed",
                   "sg.extend", "sg.onnx", "sg.testing", "sg.sparse", "sg.train"}  # fmt: skip
OTHERS_SHOWN = {"sg.BudgetInfeasible", "sg.StaticgradError", "sg.StaticgradWarning",
                "sg.eager.enable_autograd", "sg.nn.bidirectional", "sg.nn.stacked", "sg.nn.updates",
                "sg.numba_call", "sg.optim.slot", "sg.stats.Samples", "sg.stats.hmc"}  # fmt: skip


def test_every_name_has_an_example():
    same = {id(getattr(sg, name)) for name in sg.__all__}
    missing = {
        path
        for path, value in names()
        if callable(value)
        and path.rpartition(".")[0] not in SHOWN_IN_GUIDES
        and (path.count(".") == 1 or id(value) not in same)
        and ">>>" not in reference.docstring(value)
    }
    assert missing <= OTHERS_SHOWN


@pytest.mark.parametrize("layer", [sg.nn.AvgPool1d(2), sg.nn.CircularPad1d(1), sg.nn.Flatten()])
def test_layers_take_lists(layer):
    x = [[[1.0, 3.0, 5.0, 7.0]]]
    np.testing.assert_array_equal(layer(x), layer(np.array(x)))
    if not isinstance(layer, sg.nn.Flatten):
        with pytest.raises(sg.errors.RankError, match=r"SG104[\s\S]*not of 3 axes"):
            layer([1.0, 2.0])
