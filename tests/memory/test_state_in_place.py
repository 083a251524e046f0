"""Training steps write their state in place: no copy of a parameter, over many kinds of models."""

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.harness.implementation import Settings
from benchmarks.implementations.with_staticgrad import StaticgradProgram
from benchmarks.peers.families import zoo
from benchmarks.workloads import all_workloads
from passes.pipelines import pipeline
from staticgrad.compiler.lowering.fuse import fusion

MODELS = all_workloads("models") | zoo()


def reasons_of_copies(graph):
    """Why each parameter that a graph writes by a copy is written so."""
    return [str(reason) for reason in fusion(pipeline("O1")(graph)).updates.values()]


def draw(name, *shape):
    rng = np.random.default_rng(sum(map(ord, name)))
    return sg.parameter(name, (rng.normal(size=shape) * 0.1).astype("float32"))


def leaves_of(modules):
    return [p for module in modules for p in module.parameters()]


def train(loss, parameters, optimizer=None):
    optimizer = optimizer or sg.optim.AdamW(1e-3)
    return sg.Graph({"loss": loss}, updates=optimizer.updates(loss, parameters))


# -- models ---------------------------------------------------------------------------------------


def convolve_and_normalize(count, classes=10, side=8):
    """Convolutions with batch normalization and labels: statistics of the forward pass."""
    x, y = sg.input("x", (4, 3, side, side)), sg.input("y", (4,), "int64")
    modules, h = [], x
    for k in range(count):
        width = 8 << k
        modules += [
            sg.nn.Conv2d(h.shape[1], width, 3, stride=1 + (k > 0), padding=1, seed=k),
            sg.nn.BatchNorm2d(width),
        ]
        h = sg.nn.relu(modules[-1](modules[-2](h)))
    modules.append(sg.nn.Linear(h.shape[1], classes, seed=9))
    loss = sg.nn.cross_entropy(modules[-1](h.mean((2, 3))), y)
    return loss, leaves_of(modules)


def residual(batch=2, side=32):
    """Blocks of ResNet-18's widths: filters' gradients with their updates in one kernel."""
    x, y = sg.input("x", (batch, 3, side, side)), sg.input("y", (batch,), "int64")
    modules = [sg.nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False, seed=0)]
    h = modules[0](x)
    for k, width in enumerate((64, 128, 256, 512)):
        stride = 1 + (k > 0)
        block = [
            sg.nn.Conv2d(h.shape[1], width, 3, stride=stride, padding=1, bias=False, seed=3 * k),
            sg.nn.BatchNorm2d(width),
            sg.nn.Conv2d(width, width, 3, padding=1, bias=False, seed=3 * k + 1),
            sg.nn.BatchNorm2d(width),
            sg.nn.Conv2d(h.shape[1], width, 1, stride=stride, bias=False, seed=3 * k + 2),
        ]
        inner = block[3](block[2](sg.nn.relu(block[1](block[0](h)))))
        h = sg.nn.relu(inner + block[4](h))
        modules += block
    modules.append(sg.nn.Linear(512, 100, seed=99))
    return sg.nn.cross_entropy(modules[-1](h.mean((2, 3))), y), leaves_of(modules)


def mix(h, parameters, name, causal):
    """A transformer's block of width 16."""

    def weight(part, *shape):
        parameters.append(draw(f"{name}{part}", *shape))
        return parameters[-1]

    batch, time, width = h.shape
    n = sg.nn.layer_norm(h) * weight("g", width) + weight("b", width)
    q, k, v = (
        (n @ weight(part, width, width)).reshape(batch, time, 2, width // 2).transpose(0, 2, 1, 3)
        for part in "qkv"
    )
    read = sg.nn.attention(q, k, v, causal=causal).transpose(0, 2, 1, 3)
    h = h + read.reshape(batch, time, width) @ weight("o", width, width)
    return h + sg.nn.gelu(h @ weight("up", width, 32)) @ weight("down", 32, width)


def language(is_tied=False):
    ids, y = sg.input("ids", (2, 8), "int64"), sg.input("y", (16,), "int64")
    parameters = [draw("tokens", 50, 16), draw("places", 8, 16)]
    h = sg.nn.embedding(ids, parameters[0]) + parameters[1]
    for k in range(2):
        h = mix(h, parameters, f"block{k}", causal=True)
    if not is_tied:
        parameters.append(draw("head", 16, 50))
    head = parameters[0].T if is_tied else parameters[-1]
    return sg.nn.cross_entropy((h @ head).reshape(16, 50), y), parameters


def vision():
    x, y = sg.input("x", (2, 9, 12)), sg.input("y", (2,), "int64")
    parameters = [draw("patch", 12, 16), draw("places", 9, 16), draw("head", 16, 10)]
    h = mix(x @ parameters[0] + parameters[1], parameters, "block", causal=False)
    return sg.nn.cross_entropy(h.mean(1) @ parameters[2], y), parameters


def recurrent():
    x, y = sg.input("x", ("b", 6, 8)), sg.input("y", ("b", 16))
    module = sg.nn.LSTM(8, 16, seed=0)
    return sg.nn.mse(module(x)[0][:, -1], y), leaves_of([module])


def variational():
    x, rng = sg.input("x", (8, 12)), sg.random.Generator(0)
    e, m, s, d = (
        draw("e", 12, 8), draw("m", 8, 4), draw("s", 8, 4), draw("d", 4, 12)
    )  # fmt: skip
    hidden = sg.tanh(x @ e)
    mean, log_variance = hidden @ m, hidden @ s
    z = mean + sg.exp(0.5 * log_variance) * rng.normal(size=mean.shape, dtype="float32")
    divergence = (sg.exp(log_variance) + mean**2 - 1.0 - log_variance).mean()
    return sg.nn.mse(z @ d, x) + divergence, [e, m, s, d]


def segment():
    x = sg.input("x", (2, 3, 8, 8))
    modules = [
        sg.nn.Conv2d(3, 8, 3, padding=1, seed=0), sg.nn.BatchNorm2d(8),
        sg.nn.Conv2d(8, 16, 3, stride=2, padding=1, seed=1),
        sg.nn.ConvTranspose2d(16, 8, 2, stride=2, seed=2),
        sg.nn.Conv2d(16, 3, 3, padding=1, seed=3),
    ]  # fmt: skip
    fine = sg.nn.relu(modules[1](modules[0](x)))
    raised = modules[3](sg.nn.relu(modules[2](fine)))
    return sg.nn.mse(modules[4](sg.concatenate([fine, raised], 1)), x), leaves_of(modules)


def recommend():
    dense, ids, y = sg.input("d", (8, 5)), sg.input("ids", (8, 3), "int64"), sg.input("y", (8,))
    parameters = [draw("bottom", 5, 4), draw("top", 16, 1)]
    tables = [draw(f"table{k}", 20, 4) for k in range(3)]
    rows = [sg.nn.embedding(ids[:, k], table) for k, table in enumerate(tables)]
    joined = sg.concatenate([sg.nn.relu(dense @ parameters[0]), *rows], 1)
    logits = (joined @ parameters[1])[:, 0]
    return sg.nn.binary_cross_entropy_with_logits(logits, y), [*parameters, *tables]


# -- what else a step does ------------------------------------------------------------------------


def average(of_new):
    """An exponential moving average of the new weights, or of the old ones."""
    loss, parameters = language()
    updates = dict(sg.optim.AdamW(1e-3).updates(loss, parameters))
    for p in parameters:
        shadow = sg.parameter(f"average.{p.name}", p.value)
        updates[shadow] = 0.999 * shadow + 0.001 * (updates[p] if of_new else p)
    return sg.Graph({"loss": loss}, updates=updates)


def two_optimizers():
    loss, parameters = language()
    updates = sg.optim.AdamW(1e-3).updates(loss, parameters[:5])
    updates |= sg.optim.SGD(1e-2, momentum=0.9).updates(loss, parameters[5:])
    return sg.Graph({"loss": loss}, updates=updates)


def sharpness_aware():
    """P. Foret et al., arXiv 2010.01412: the gradient where the loss is worst nearby."""
    x, y = sg.input("x", (8, 6)), sg.input("y", (8,), "int64")
    weights = [draw("w", 6, 8), draw("b", 8), draw("v", 8, 5)]

    def loss_of(w, b, v):
        return sg.nn.cross_entropy(sg.tanh(x @ w + b) @ v, y)

    loss = loss_of(*weights)
    slopes = sg.grad(loss, weights)
    norm = sg.sqrt(sum((slope * slope).sum() for slope in slopes)) + 1e-12
    nearby = [w + 0.05 * slope / norm for w, slope in zip(weights, slopes, strict=True)]
    slopes = sg.grad(loss_of(*nearby), nearby)
    pairs = zip(weights, slopes, strict=True)
    return sg.Graph({"loss": loss}, updates={w: w - 0.1 * slope for w, slope in pairs})


STEPS = {
    "convolutions with batch norm": lambda: train(*convolve_and_normalize(3)),
    "resnet": lambda: train(*residual()),
    "resnet by sgd": lambda: train(*residual(), sg.optim.SGD(0.1, momentum=0.9)),
    "vision transformer": lambda: train(*vision()),
    "gpt": lambda: train(*language()),
    "tied weights": lambda: train(*language(is_tied=True)),
    "lstm": lambda: train(*recurrent()),
    "variational": lambda: train(*variational()),
    "u-net": lambda: train(*segment()),
    "recommender": lambda: train(*recommend(), sg.optim.Adagrad(0.01)),
    "accumulated gradients": lambda: train(*language(), sg.optim.AdamW(1e-3, accumulate=4)),
    "clipped by the global norm": lambda: train(*language(), sg.optim.AdamW(1e-3, max_norm=1.0)),
    "average of new weights": lambda: average(True),
    "average of old weights": lambda: average(False),
    "two optimizers": two_optimizers,
    "sharpness-aware": sharpness_aware,
}


@pytest.mark.parametrize("name", STEPS)
def test_no_state_is_copied(name):
    assert reasons_of_copies(STEPS[name]()) == []


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_state_of_a_benchmark_is_copied(name):
    workload = MODELS[name]
    program = StaticgradProgram(workload, workload.make(small=True), Settings(1, ""))
    program.build()
    assert reasons_of_copies(program.graph) == []


def test_a_value_that_a_check_needs_is_copied_and_the_reason_is_said():
    """A vector that a spectral norm goes on with: labels are checked behind it."""
    x, y = sg.input("x", (8, 6)), sg.input("y", (8,), "int64")
    w, u = draw("w", 6, 5), draw("u", 6)
    v = w.T @ u
    new = w @ v / sg.sqrt((v * v).sum())
    loss = sg.nn.cross_entropy(x @ (w / sg.sqrt((new * new).sum())), y)
    (reason,) = reasons_of_copies(sg.Graph({"loss": loss}, updates={u: new}))
    assert reason.startswith("u is written by a copy: the step ")


def test_statistics_are_as_those_of_numpy_and_kept_when_a_label_is_wrong():
    """The running variance is written behind the check of labels: a failing step changes none."""
    x, y = sg.input("x", (16, 4), "float64"), sg.input("y", (16,), "int64")
    norm = sg.nn.BatchNorm1d(4, dtype="float64")
    w = sg.parameter("w", np.ones((4, 3)))
    graph = train(sg.nn.cross_entropy(norm(x) @ w, y), [w], sg.optim.SGD(0.1))
    assert reasons_of_copies(graph) == []
    f = sg.compile(graph)
    state = {p.name: p for p, _ in graph.updates}
    start = {name: np.array(p.value) for name, p in state.items()}
    array = np.random.default_rng(0).normal(size=(16, 4)) * 3.0 + 1.0
    with pytest.raises(sg.errors.IndexOutOfRange):
        f.run({"x": array, "y": np.full(16, 7)})
    for name, p in state.items():
        np.testing.assert_array_equal(p.value, start[name])
    f.run({"x": array, "y": np.zeros(16, np.int64)})
    variance = next(np.array(p.value) for name, p in state.items() if name.endswith("var"))
    np.testing.assert_allclose(variance, 0.9 + 0.1 * array.var(0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("kind", ["BatchNorm1d", "Dropout"])
def test_layers_with_state_are_recomputed(kind):
    """Statistics and counters are written behind the forward part's second run."""
    layers = []
    for _ in range(8):
        between = sg.nn.BatchNorm1d(64) if kind == "BatchNorm1d" else sg.nn.Dropout(0.25)
        layers += [sg.nn.Linear(64, 64), between, sg.nn.ReLU()]
    net = sg.nn.Sequential(*layers)
    loss = sg.square(net(sg.input("x", (40, 64), "float32"))).mean()
    graph = sg.optim.SGD(0.1).minimize(loss, [*net.parameters()])
    stored, recomputed = sg.compile(graph), sg.compile(graph, checkpoint="sqrt")
    assert recomputed.plan().peak_bytes < 0.7 * stored.plan().peak_bytes
