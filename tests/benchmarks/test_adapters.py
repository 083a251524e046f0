"""The adapters to other suites, each through its protocol, beside NumPy's formulas."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import expit, logsumexp, multigammaln

from benchmarks.adapters import pyhpc
from benchmarks.adapters.gradbench import __main__ as gradbench
from benchmarks.peers.gradbench import Row, lines_of, rows_of
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


def lstm(inputs):
    """A character after the other, bit by bit."""
    main, extra = np.reshape(inputs["main_params"], (-1, 2, 4, BITS)), inputs["extra_params"]
    states, total = [np.array(state) for state in np.reshape(inputs["state"], (-1, 2, BITS))], 0.0
    for x, following in zip(inputs["sequence"], inputs["sequence"][1:], strict=False):
        x = x * extra[0]
        for (w, b), state in zip(main, states, strict=True):
            h, c = state
            c = c * expit(w[0] * x + b[0]) + expit(w[1] * h + b[1]) * np.tanh(w[3] * h + b[3])
            state[:] = expit(w[2] * x + b[2]) * np.tanh(c), c
            x = state[0]
        y = x * extra[1] + extra[2]
        total += (following * (y - np.log(2 + np.exp(y).sum()))).sum()
    return -total / ((len(inputs["sequence"]) - 1) * BITS)


def lstm_slopes():
    names = ("main_params", "extra_params")
    by = lambda n: slope(lambda part: lstm(LSTM | {n: part}), LSTM[n])  # noqa: E731
    return np.concatenate([by(name).ravel() for name in names])


def seen_error(parameters):
    """Return the error of an observation from its camera, point and weight."""
    camera, x, weight = parameters[:11], parameters[11:14], parameters[14]
    place = Rotation.from_rotvec(camera[:3]).apply(x - camera[3:6])
    flat = place[:2] / place[2]
    radius = flat @ flat
    flat = flat * (1 + camera[9] * radius + camera[10] * radius**2)
    return weight * (flat * camera[6] + camera[7:9] - BUNDLE["feat"])


def bundle_parameters():
    return np.concatenate([BUNDLE["cam"], BUNDLE["x"], [BUNDLE["w"]]])


def bundle_errors():
    error, weight = seen_error(bundle_parameters()), BUNDLE["w"]
    return {
        "reproj_error": {"elements": error, "repeated": 10},
        "w_err": {"element": 1 - weight**2, "repeated": 10},
    }


def bundle_jacobian():
    """The first observation is of camera 0 and point 0; the last element is a weight's."""
    values = [slope(lambda v, k=k: seen_error(v)[k], bundle_parameters()) for k in range(2)]
    columns = [*range(11), *range(22, 25), 22 + 9]
    return {
        "rows": [*range(0, 15 * 20, 15), *range(15 * 20, 15 * 20 + 11)],
        "cols": columns * 2 + [22 + 9 + 9],
        "vals": [*np.concatenate(values), -2 * BUNDLE["w"]],
    }


def hand_errors(theta, us):
    """Bone after bone, vertex after vertex."""
    model = HAND["data"]["model"]
    turns = np.zeros((BONES, 3))
    bent = iter(theta[6:])
    for finger in range(5):
        for joint in range(3):
            turns[2 + 4 * finger + joint, 0] = next(bent)
            if joint == 0:
                turns[2 + 4 * finger, 1] = next(bent)
    absolutes = []
    for bone, (x, z, y) in enumerate(turns):
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("xyz", [x, y, z]).as_matrix()
        relative = model["base_relatives"][bone] @ turn
        parent = model["parents"][bone]
        absolutes.append(relative if parent < 0 else absolutes[parent] @ relative)
    skin = np.zeros((len(model["weights"]), 3))
    for vertex, base in enumerate(model["base_positions"]):
        for bone, weight in enumerate(model["weights"][vertex]):
            place = absolutes[bone] @ model["inverse_base_absolutes"][bone] @ base
            skin[vertex] += weight * place[:3]
    skin = Rotation.from_rotvec(theta[:3]).apply(skin * [-1, 1, 1]) + theta[3:6]
    numbers, points = HAND["data"]["correspondences"], HAND["data"]["points"]
    if len(us) == 0:
        return (points - skin[numbers]).ravel()
    shares = np.concatenate([us, 1 - us.sum(axis=1, keepdims=True)], axis=1)
    corners = skin[model["triangles"][numbers]]
    return (points - np.einsum("nk,nkj->nj", shares, corners)).ravel()


def hand_slopes(us):
    theta, count = HAND["theta"], 3 * len(HAND["data"]["points"])
    by_pose = [slope(lambda t, k=k: hand_errors(t, us)[k], theta) for k in range(count)]
    if len(us) == 0:
        return by_pose
    by_shares = [slope(lambda u, k=k: hand_errors(theta, u)[k], us)[k // 3] for k in range(count)]
    return np.concatenate([by_shares, by_pose], axis=1)


def mixture():
    shapes = {"alpha": (3,), "mu": (3, 2), "q": (3, 2), "l": (3, 1)}
    v = {name: RANDOM.normal(size=shape) * 0.5 for name, shape in shapes.items()}
    return v, RANDOM.normal(size=(7, 2)), 1.3, 2


X = RANDOM.normal(size=5)
POINTS, CENTROIDS = RANDOM.normal(size=(20, 2)), np.array([[-1.0, 0.0], [0.5, 0.3], [0.0, -1.0]])
NEAREST = ((POINTS[:, None] - CENTROIDS) ** 2).sum(axis=2).argmin(axis=1)
V, DATA, GAMMA, M = mixture()
MIXTURE = {"d": 2, "k": 3, "n": 7, "x": DATA, "m": M, "gamma": GAMMA, **V}
BITS, BONES = 3, 22
LSTM = {
    "main_params": RANDOM.normal(size=(4, 4 * BITS)),
    "extra_params": RANDOM.normal(size=(3, BITS)),
    "state": RANDOM.normal(size=(4, BITS)),
    "sequence": RANDOM.integers(0, 2, (6, BITS)).astype("float64"),
}
BUNDLE = {
    "n": 2, "m": 3, "p": 10, "cam": RANDOM.normal(size=11), "x": RANDOM.normal(size=3), "w": 0.7,
    "feat": RANDOM.normal(size=2),
}  # fmt: skip
HAND = {
    "theta": RANDOM.normal(size=26),
    "data": {
        "points": RANDOM.normal(size=(4, 3)),
        "correspondences": np.array([5, 0, 3, 3]),
        "model": {
            "parents": [-1, 0, *(0 if k % 4 == 0 else k + 1 for k in range(20))],
            "base_relatives": RANDOM.normal(size=(BONES, 4, 4)),
            "inverse_base_absolutes": RANDOM.normal(size=(BONES, 4, 4)),
            "base_positions": RANDOM.normal(size=(6, 4)),
            "weights": RANDOM.random((6, BONES)),
            "triangles": RANDOM.integers(0, 6, (6, 3)),
            "is_mirrored": True,
        },
    },
}
NO_SHARES, SHARES = np.zeros((0, 2)), RANDOM.random((4, 2))
MATRIX = RANDOM.normal(size=(5, 5))
#: What GradBench expects.
MEETS, SADDLE = 0.2071918746486116, 4 * [8.246324826140356e-06]


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
    ("lstm", "objective"): (LSTM, lambda: lstm(LSTM)),
    ("lstm", "jacobian"): (LSTM, lstm_slopes),
    ("ba", "objective"): (BUNDLE, bundle_errors),
    ("ba", "jacobian"): (BUNDLE, bundle_jacobian),
    ("ht", "objective"): (
        HAND | {"us": NO_SHARES}, lambda: hand_errors(HAND["theta"], NO_SHARES),
    ),
    ("ht", "jacobian"): (HAND | {"us": NO_SHARES}, lambda: hand_slopes(NO_SHARES)),
    ("ht", "objective", "shares"): (
        HAND | {"us": SHARES}, lambda: hand_errors(HAND["theta"], SHARES),
    ),
    ("ht", "jacobian", "shares"): (HAND | {"us": SHARES}, lambda: hand_slopes(SHARES)),
    ("det", "primal"): ({"A": MATRIX.ravel(), "ell": 5}, lambda: np.linalg.det(MATRIX)),
    ("det", "gradient"): (
        {"A": MATRIX.ravel(), "ell": 5},
        lambda: np.ravel(np.linalg.det(MATRIX) * np.linalg.inv(MATRIX).T),
    ),
    **{("particle", modes): ({"w": 0.0}, lambda: MEETS) for modes in ("rr", "ff", "fr", "rf")},
    **{
        ("saddle", modes): ({"start": [1.0, 1.0]}, lambda: SADDLE)
        for modes in ("rr", "ff", "fr", "rf")
    },
}  # fmt: skip


def message(number, kind, **fields):
    return json.dumps({"id": number, "kind": kind} | fields, default=np.ndarray.tolist)


def assert_close(actual, expected):
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            assert_close(actual[name], expected[name])
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_gradbench_gets_the_output_of_every_function(case):
    module, function = case[:2]
    inputs, expected = CASES[case]
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
    modules = gradbench.MODULES.items()
    assert {(m, name) for m, module in modules for name in module.functions} == {
        case[:2] for case in CASES
    }


def test_a_session_of_gradbench():
    asked = [
        message(0, "start", eval="hello"),
        message(1, "define", module="hello"),
        message(2, "define", module="unwritten"),
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


EVAL = """
import json, sys
number = 0
def send(**message):
    global number
    print(json.dumps({"id": number, **message}), flush=True)
    number += 1
    return json.loads(sys.stdin.readline())
print_to = send(kind="start", eval="hello")
assert send(kind="define", module="hello")["success"]
for function, expected in (("square", 9.0), ("double", 7.0)):
    sent = send(kind="evaluate", module="hello", function=function, input=3.0, description="x=3")
    send(kind="analysis", of=sent["id"], valid=sent["output"] == expected)
print(json.dumps({"id": number, "kind": "end"}), flush=True)
"""


def test_an_eval_of_a_checkout_is_relayed_with_its_verdicts(tmp_path):
    """In a folder that is laid out as GradBench's; the eval expects a wrong slope."""
    folder = tmp_path / "python/gradbench/gradbench/evals/hello"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text(EVAL)
    rows = [*rows_of("hello", "staticgrad", tmp_path, sys.executable, [])]
    assert [(row.size, row.function, row.is_valid) for row in rows] == [
        ("x=3", "square", True), ("x=3", "double", False),
    ]  # fmt: skip
    assert all(row.seconds > 0 for row in rows)


def test_the_table_of_gradbench_has_the_least_times_of_valid_rows():
    rows = [
        ("staticgrad", Row("lse", "n=2", "primal", 3e-3, True)),
        ("staticgrad", Row("lse", "n=2", "primal", 2e-3, True)),
        ("manual", Row("lse", "n=2", "primal", 4e-3, True)),
        ("jax", Row("lse", "n=2", "primal", 1e-3, False)),
    ]
    lines = [*lines_of(rows, ["staticgrad", "manual", "jax"])]
    assert lines[2:] == ["| lse | n=2 | primal | 2 | 4 |  | 0.50 | jax |"]
    rows.append(("jax", Row("lse", "n=2", "gradient", 5e-3, True)))
    lines = [*lines_of(rows, ["staticgrad", "manual", "jax"])]
    assert lines[3:] == ["| lse | n=2 | gradient |  |  | 5 jax |  |  |"]


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
