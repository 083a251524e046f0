"""The adapters to other suites, each through its protocol, beside NumPy's formulas."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.special import logsumexp, multigammaln

from benchmarks.adapters import gradbench, pyhpc
from tests.helpers.processes import python

RANDOM = np.random.default_rng(0)
RUNS = {"min_runs": 2, "min_seconds": 0}


def slope(f, x, h=1e-6):
    """Central differences by each element."""
    x = np.asarray(x, "float64")
    slopes = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[place] = h
        slopes[place] = (f(x + step) - f(x - step)) / (2 * h)
    return slopes


def least_squares(x, n):
    t = np.linspace(-1, 1, n)
    return 0.5 * ((np.sign(t) - np.vander(t, len(x), increasing=True) @ x) ** 2).sum()


def cost(centroids, points):
    return ((points[:, None] - centroids[None]) ** 2).sum(axis=2).min(axis=1).sum()


def log_posterior(v):
    """By the densities themselves."""
    x, gamma, m = DATA, GAMMA, M
    alpha, mu, q, lower = v["alpha"], v["mu"], v["q"], v["l"]
    k, d = mu.shape
    prior, fits = 0.0, []
    for j in range(k):
        root = np.diag(np.exp(q[j]))
        root.T[np.triu_indices(d, 1)] = lower[j]
        precision = root.T @ root
        log_det = np.linalg.slogdet(precision)[1]
        away = x - mu[j]
        squares = np.einsum("ni,ij,nj->n", away, precision, away)
        fits.append(alpha[j] - logsumexp(alpha) + 0.5 * (log_det - squares - d * np.log(2 * np.pi)))
        n = d + m + 1
        prior += (m * log_det - gamma**2 * np.trace(precision)) / 2
        prior += n * d * np.log(gamma) - n * d / 2 * np.log(2) - multigammaln(n / 2, d)
    return logsumexp(fits, axis=0).sum() + prior


def ode(x, s):
    y, h = np.zeros(len(x)), 2 / s
    f = lambda y: x * np.concatenate([[1.0], y[:-1]])  # noqa: E731
    for _ in range(s):
        k1 = f(y)
        k2 = f(y + h / 2 * k1)
        k3 = f(y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(y + h * k3))
    return y


def mixture():
    shapes = {"alpha": (3,), "mu": (3, 2), "q": (3, 2), "l": (3, 1)}
    v = {name: RANDOM.normal(size=shape) * 0.5 for name, shape in shapes.items()}
    return v, RANDOM.normal(size=(7, 2)), 1.3, 2


X = RANDOM.normal(size=5)
POINTS, CENTROIDS = RANDOM.normal(size=(20, 2)), np.array([[-1.0, 0.0], [0.5, 0.3], [0.0, -1.0]])
NEAREST = ((POINTS[:, None] - CENTROIDS) ** 2).sum(axis=2).argmin(axis=1)
V, DATA, GAMMA, M = mixture()
MIXTURE = {"d": 2, "k": 3, "n": 7, "x": DATA, "m": M, "gamma": GAMMA, **V}


def slopes_of_mixture():
    by = lambda name: slope(lambda part: log_posterior(V | {name: part}), V[name])  # noqa: E731
    return {name: by(name) for name in V}


CASES = {
    ("hello", "square"): (3.0, lambda: 9.0),
    ("hello", "double"): (3.0, lambda: 6.0),
    ("lse", "primal"): ({"x": X}, lambda: logsumexp(X)),
    ("lse", "gradient"): ({"x": X}, lambda: slope(logsumexp, X)),
    ("llsq", "primal"): ({"x": X, "n": 9}, lambda: least_squares(X, 9)),
    ("llsq", "gradient"): ({"x": X, "n": 9}, lambda: slope(lambda x: least_squares(x, 9), X)),
    ("kmeans", "cost"): (
        {"points": POINTS, "centroids": CENTROIDS},
        lambda: cost(CENTROIDS, POINTS),
    ),
    ("kmeans", "dir"): (
        {"points": POINTS, "centroids": CENTROIDS},
        lambda: CENTROIDS - [POINTS[k == NEAREST].mean(axis=0) for k in range(3)],
    ),
    ("gmm", "objective"): (MIXTURE, lambda: log_posterior(V)),
    ("gmm", "jacobian"): (MIXTURE, slopes_of_mixture),
    ("ode", "primal"): ({"x": X, "s": 8}, lambda: ode(X, 8)),
    ("ode", "gradient"): ({"x": X, "s": 8}, lambda: slope(lambda x: ode(x, 8)[-1], X)),
}


def message(number, kind, **fields):
    return json.dumps({"id": number, "kind": kind} | fields, default=np.ndarray.tolist)


def assert_close(actual, expected):
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            assert_close(actual[name], expected[name])
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("module", "function"), CASES)
def test_gradbench_gets_the_output_of_every_function(module, function):
    inputs, expected = CASES[module, function]
    inputs = inputs | RUNS if isinstance(inputs, dict) else inputs
    asked = message(4, "evaluate", module=module, function=function, input=inputs)
    (line,) = gradbench.responses(iter([asked]), 1)
    actual = json.loads(line)
    assert actual["id"] == 4
    assert actual["success"], actual
    assert_close(actual["output"], expected())
    runs = [timing for timing in actual["timings"] if timing["name"] == "evaluate"]
    assert len(runs) >= (2 if isinstance(inputs, dict) else 1)
    assert all(run["nanoseconds"] > 0 for run in runs)


def test_every_function_of_gradbench_is_tested():
    assert {(m, name) for m, (_, named) in gradbench.MODULES.items() for name in named} == {*CASES}


def test_a_session_of_gradbench():
    asked = [
        message(0, "start", eval="hello"),
        message(1, "define", module="hello"),
        message(2, "define", module="lstm"),
        message(3, "evaluate", module="hello", function="double", input=3.0),
        message(4, "analysis", of=3, valid=True),
        message(5, "evaluate", module="hello", function="cube", input=3.0),
    ]
    shown = python("-m", "benchmarks.adapters.gradbench", input="\n".join(asked)).stdout
    actual = [json.loads(line) for line in shown.splitlines()]
    assert [response["id"] for response in actual] == [0, 1, 2, 3, 4, 5]
    assert actual[0]["tool"] == "staticgrad"
    assert [response["success"] for response in actual[1:4]] == [True, False, True]
    assert actual[3]["output"] == 6.0
    assert actual[4] == {"id": 4}
    assert not actual[5]["success"]
    assert "cube" in actual[5]["error"]


SUITE = {
    "backends.py": """
class SetupContext:
    def __init__(self, f):
        self.f = f
    def __call__(self, **options):
        self.found = next(self.f(**options))
        return self
    def __enter__(self):
        return self.found
    def __exit__(self, *error):
        pass
__backends__ = {}
""",
    "benchmarks/__init__.py": "",
    "benchmarks/equation_of_state/__init__.py": """
import importlib
import numpy as np
def try_import(backend):
    return importlib.import_module(f".eos_{backend}", __name__)
def get_callable(backend, size, device="cpu"):
    module, inputs = try_import(backend), (np.arange(1.0, size + 1), np.ones(size))
    return lambda: module.run(*inputs, device=device)
__implementations__ = ("numpy",)
""",
    "benchmarks/equation_of_state/eos_numpy.py": """
import numpy as np
def run(s, t, device="cpu"):
    return np.sqrt(s) * t + s**2
""",
    "run.py": """
import sys
import numpy as np
from backends import __backends__
from benchmarks import equation_of_state as benchmark
def main():
    name, size = sys.argv[1], int(sys.argv[2])
    assert name in benchmark.__implementations__
    with __backends__[name](device="cpu") as module:
        found = benchmark.get_callable(name, size)()
    expected = benchmark.get_callable("numpy", size)()
    print(module.__name__, type(found).__name__, np.allclose(found, expected))
""",
}


def test_pyhpc_runs_its_numpy_programs_compiled(tmp_path):
    """In a folder that is laid out as the suite's."""
    for name, text in SUITE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shown = python("-m", "benchmarks.adapters.pyhpc", str(tmp_path), "staticgrad", "10").stdout
    assert shown.split() == ["staticgrad", "ndarray", "True"]


def test_pyhpc_refuses_other_devices():
    module = ModuleType("numpy_program")
    module.run = lambda x: x + 1.0
    np.testing.assert_array_equal(pyhpc.compile_run(module)(np.ones(2), device="cpu"), [2.0, 2.0])
    with pytest.raises(RuntimeError, match="CPU"):
        next(pyhpc.setup("gpu"))
    assert "run" not in sys.modules
