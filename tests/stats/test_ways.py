"""Distributions in every way of running: graph, evaluator, vmap, files, ONNX."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import StaticgradError
from tests.exporting.printed import run_exported

ours = sg.stats
X = np.array([0.2, 0.5, 0.7])
TWO = ours.mixture([ours.norm(0.0, 1.0), ours.norm(1.0, 2.0)], [0.5, 0.5])
COV = 2.0 * np.eye(3)
FORMULAS = {
    "norm.logpdf": lambda x: ours.norm.logpdf(x, 0.3, 2.0),
    "gamma.logpdf": lambda x: ours.gamma.logpdf(x, 2.0),
    "gamma.logsf": lambda x: ours.gamma.logsf(x, 2.0),
    "beta.ppf": lambda x: ours.beta.ppf(x, 2.0, 3.0),
    "t.logcdf": lambda x: ours.t.logcdf(x, 3.0),
    "laplace.cdf": lambda x: ours.laplace.cdf(x),
    "poisson.logpmf": lambda x: ours.poisson.logpmf(x * 10.0, 2.0),
    "mixture": lambda x: TWO.logpdf(x),
    "simplex": lambda x: ours.transforms.simplex.forward(x),
    "multivariate_normal": lambda x: ours.multivariate_normal.logpdf(x, np.zeros(3), COV),
}  # fmt: skip
#: Those whose functions ONNX does not have.
NOT_IN_ONNX = (
    "beta.ppf", "gamma.logpdf", "gamma.logsf", "multivariate_normal", "poisson.logpmf", "t.logcdf",
)  # fmt: skip


def program(name):
    x = sg.input("x", (3,), "float64")
    value = FORMULAS[name](x)
    return x, value


@pytest.mark.parametrize("name", FORMULAS)
def test_compiled_and_mapped(name):
    x, value = program(name)
    slope = sg.grad(value.sum(), x)
    expected = FORMULAS[name](X)
    out = sg.compile({"y": value, "slope": slope}).run({"x": X})
    np.testing.assert_allclose(out["y"], expected, rtol=1e-12)
    np.testing.assert_allclose(out["slope"], sg.evaluate(slope, {"x": X}), rtol=1e-9, atol=1e-15)
    rows = sg.input("rows", (2, 3), "float64")
    mapped = sg.evaluate(sg.vmap(FORMULAS[name])(rows), {"rows": np.stack([X, X / 2])})
    np.testing.assert_allclose(mapped[1], FORMULAS[name](X / 2), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_exported_files(name, tmp_path):
    _, value = program(name)
    f = sg.compile({"y": value})
    actual = run_exported(f, {"x": X}, tmp_path / "program.py")
    np.testing.assert_array_equal(actual["y"], f.run({"x": X})["y"])


@pytest.mark.parametrize("name", FORMULAS)
def test_onnx_computes_the_same_or_refuses(name, tmp_path):
    pytest.importorskip("onnx")
    _, value = program(name)
    path = tmp_path / "model.onnx"
    try:
        sg.onnx.export(sg.Graph({"y": value}), path)
    except StaticgradError:
        assert name in NOT_IN_ONNX
        return
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {"x": X})
    np.testing.assert_allclose(actual, FORMULAS[name](X), rtol=1e-9, atol=1e-12)
