"""Programs whose compile time is asked for: the suite's, and what people write beside them.

Deep and wide graphs, steps written out, scans, Hessians, networks of many parameters; each in the
vocabulary of ``Operations``, so that all libraries compile the same. Arrays are small, for nothing
here is about how fast the programs run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, Final

import numpy as np

from benchmarks.harness.operations import GATES
from benchmarks.harness.workload import Adam, Data, Loss, Make, Workload
from benchmarks.workloads import all_workloads
from benchmarks.workloads.deep import layers, loss as deep
from benchmarks.workloads.gpt import loss as gpt, transformer
from benchmarks.workloads.recurrent import WORKLOADS as RECURRENT

Values = Mapping[str, Any]
Found = tuple[Any, dict[str, Any]]
#: Of the suite: those that differ in what they are made of.
OF_SUITE: Final = (
    "tiny", "mlp", "cnn", "resnet_block", "gpt", "lstm", "ode", "deep100", "blackscholes", "gp",
    "gmm", "ode_loop", "attention",
)  # fmt: skip

#: Ten programs of all kinds whose first result is asked for, and two as loops: ``lstm`` and ``ode``
#: are written out here, while JAX's are scans.
FIRST: Final = (
    "tiny", "mlp", "cnn", "gpt", "lstm", "lstm_scan", "ode", "ode_loop", "gp", "hmc", "resnet18",
    "unet",
)  # fmt: skip
#: Of the whole models: those with many layers.
OF_MODELS: Final = ("resnet18", "unet")

#: The parts of a cell's weights, side by side.
CELLS: Final = {"rnn": 1, **GATES}
#: A step; one without the gradient by the state before it, which takes a product less; a scan.
OF_A_CELL: Final = ("step", "step_alone", "long_scan")


def one(*shape: int) -> Make:
    """One variable called x."""
    return lambda random: Data({"x": random.uniform(-1, 1, shape)})


def state(random: np.random.Generator) -> Data:
    """A vector x, and a matrix w that is fed."""
    return Data({"x": random.uniform(-1, 1, 8)}, {"w": random.normal(size=(8, 8)) / 8})


def mean_square(ops: Any, value: Any) -> Found:
    """Return the mean square, with which most programs here end."""
    return ops.mean(value * value), {}


def write_out_steps(steps: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Euler's steps of x' = tanh(w x), written out."""
    x = v["x"]
    for _step in range(steps):
        x = x + 0.01 * ops.tanh(v["w"] @ x)
    return mean_square(ops, x)


def chain(length: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Elementwise operations, one behind the other."""
    x = v["x"]
    for number in range(length // 2):
        x = ops.tanh(x * (1.0 + 0.001 * (number % 50)))
    return mean_square(ops, x)


def nested_where(count: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """A function by cases: each ``where`` has the one before as a branch."""
    x, y = v["x"], v["x"]
    for number in range(count):
        y = ops.where(x > number / count, y * 1.01, x - y)
    return mean_square(ops, y)


def fan(count: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Branches that know nothing of each other, added up at the end."""
    parts = [ops.sum(ops.tanh(v["x"] * (0.5 + 0.001 * number))) for number in range(count)]
    return mean_square(ops, ops.stack(parts))


def concatenate_many(count: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """A concatenation of very many small values."""
    x = v["x"]
    parts = [x[number % 8 : number % 8 + 2] * float(number % 7) for number in range(count)]
    return mean_square(ops, ops.concatenate(parts, 0))


def reductions(count: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Each row's sum, one by one, and then of what is left after it."""
    x, total = v["x"], 0.0
    for _number in range(count):
        total = total + ops.sum(x * total)
        x = x * 0.999
    return total, {}


def slices(count: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """A recurrence over the rows of one array."""
    h = v["x"][0]
    for number in range(1, count):
        h = ops.tanh(v["x"][number] + 0.5 * h)
    return mean_square(ops, h)


def tangle(count: int, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """A graph in which operands are drawn from the 20 values before."""
    random, values = np.random.default_rng(1), [v["x"] * (1.0 + 0.1 * k) for k in range(20)]
    forms: list[Callable[[Any, Any], Any]] = [
        lambda a, b: ops.tanh(a + b),
        lambda a, b: a * b * 0.5,
        lambda a, b: ops.maximum(a, b),
        lambda a, b: a - ops.mean(b),
    ]
    for number in range(count // 3):
        first, second = random.integers(1, 20, 2)
        values.append(forms[number % 4](values[-first], values[-second]))
    return mean_square(ops, sum(values[-20:]))


def hessian(of: Callable[[Any, Any], Any], ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """The sum of squares of a Hessian, of which the gradient is of third order."""
    transforms = vars(ops).get("jax") or ops.namespace
    matrix = transforms.hessian(partial(of, ops))(v["x"])
    return ops.sum(matrix * matrix), {}


def rosenbrock(ops: Any, x: Any) -> Any:
    """The function of Rosenbrock (1960)."""
    return ops.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def small_network(ops: Any, x: Any) -> Any:
    """Two layers that share the weights that are asked about."""
    return ops.sum(ops.tanh(ops.tanh(ops.sin(x)[:, None] * x) @ x))


def per_sample(ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """The mean of the squared norms of each sample's gradient."""
    transforms = vars(ops).get("jax") or ops.namespace

    def of_one(w: Any, x: Any, y: Any) -> Any:
        away = ops.tanh(x @ w) - y
        return ops.sum(away * away)

    slopes = transforms.vmap(transforms.grad(of_one), in_axes=(None, 0, 0))
    return mean_square(ops, slopes(v["w"], v["x"], v["y"]))


def samples(random: np.random.Generator) -> Data:
    """A layer's weights, and a batch."""
    feeds = {"x": random.normal(size=(16, 20)), "y": random.normal(size=(16, 10))}
    return Data({"w": random.normal(size=(20, 10))}, feeds)


def bottlenecks(random: np.random.Generator) -> Data:
    """The filters of ResNet-50 (He et al., arXiv 1512.03385, table 1), an eighth as wide."""
    variables = {}
    for name, inputs, outputs, taps in _filters():
        scale = np.sqrt(2 / (inputs * taps * taps))
        variables[f"k.{name}"] = random.normal(size=(outputs, inputs, taps, taps)) * scale
        variables[f"g.{name}"], variables[f"b.{name}"] = np.ones(outputs), np.zeros(outputs)
    variables |= {"head": random.normal(size=(256, 10)) * 0.06, "bias": np.zeros(10)}
    feeds = {"x": random.normal(size=(2, 3, 32, 32)), "y": random.integers(0, 10, 2)}
    return Data(variables, feeds)


def _filters() -> Iterator[tuple[str, int, int, int]]:
    yield "first", 3, 8, 3
    inputs = 8
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 8 * 2**stage
        for block in range(blocks):
            name = f"{stage}.{block}"
            yield f"{name}.a", inputs, width, 1
            yield f"{name}.b", width, width, 3
            yield f"{name}.c", width, 4 * width, 1
            if block == 0:
                yield f"{name}.d", inputs, 4 * width, 1
            inputs = 4 * width


def resnet50(ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Cross entropy of a network of bottleneck blocks; pools halve the image between stages."""
    side = 32

    def layer(name: str, h: Any) -> Any:
        outputs, inputs, taps, _taps = v[f"k.{name}"].shape
        shape = {"image": (side, side), "taps": (taps, taps), "channels": (inputs, outputs)}
        out = ops.conv(h, v[f"k.{name}"], shape)
        return ops.batch_norm(out, v[f"g.{name}"], v[f"b.{name}"], 2 * side * side)

    h = ops.relu(layer("first", v["x"]))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            name = f"{stage}.{block}"
            inside = ops.relu(layer(f"{name}.b", ops.relu(layer(f"{name}.a", h))))
            short = layer(f"{name}.d", h) if block == 0 else h
            h = ops.relu(layer(f"{name}.c", inside) + short)
        if stage < 3:
            h = ops.max_pool(h, 32 * 2**stage, side)
            side //= 2
    logits = ops.mean(ops.mean(h, axis=3), axis=2) @ v["head"] + v["bias"]
    return ops.cross_entropy(logits, v["y"]), {}


def solving(ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Factors and solutions, and the gradient through them."""
    x = v["x"]
    positive = x @ x.T + 20.0 * ops.constant(np.eye(20, dtype="float32"))
    factor = ops.cholesky(positive)
    solved = ops.linalg.solve(positive, x)
    q, r = ops.linalg.qr(x)
    return ops.sum(factor * solved) + ops.sum(q * r), {}


def logistic(random: np.random.Generator) -> Data:
    """The data of a logistic regression, and where a trajectory of its weights starts."""
    x, y = random.normal(size=(200, 10)), random.integers(0, 2, 200).astype(float)
    return Data({"w": 0.1 * random.normal(size=10), "p": random.normal(size=10)}, {"x": x, "y": y})


def leapfrog(steps: int, rate: float, ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """The energy at the end of a trajectory of Hamiltonian Monte Carlo (Neal, 2011), written out.

    Its gradient is that of the trajectory's length and start, as for choosing both.
    """
    x, y, w, p = (v[name] for name in "xywp")

    def slope(w: Any) -> Any:
        return x.T @ (ops.sigmoid(x @ w) - y) + w

    for _step in range(steps):
        p = p - 0.5 * rate * slope(w)
        w = w + rate * p
        p = p - 0.5 * rate * slope(w)
    logits = x @ w
    energy = ops.sum(ops.softplus(logits) - y * logits)
    return energy + 0.5 * ops.sum(w * w) + 0.5 * ops.sum(p * p), {}


def many_moments(count: int) -> Make:
    """Adam of so many small parameters."""

    def make(random: np.random.Generator) -> Data:
        variables = {f"p{k}": random.normal(size=(4, 4 + k % 5)) for k in range(count)}
        slopes = {f"slope:{name}": random.normal(size=a.shape) for name, a in variables.items()}
        moments = {name: (np.zeros(a.shape), np.ones(a.shape)) for name, a in variables.items()}
        return Data(variables, slopes, moments=moments)

    return make


def nothing(ops: Any, v: Values, _: Mapping[str, int]) -> Found:
    """Adam takes no loss into account but says it."""
    return ops.sum(v["p0"]), {}


def cell(random: np.random.Generator, kind: str, iterations: int, alone: bool, hidden: int) -> Data:
    """Weights and the state before the first step, or weights ``alone`` and the state a feed.

    The state is given, so that no program may leave out what zeros would spare.
    """
    shape, inputs, width = (32, hidden), hidden // 2, CELLS[kind] * hidden
    weights = {"w": (inputs, width), "u": (hidden, width), "b": (width,)}
    states = dict.fromkeys("hc" if kind == "lstm" else "h", shape)
    bound = hidden**-0.5
    parts = [
        {name: random.uniform(-bound, bound, shape) for name, shape in shapes.items()}
        for shapes in (weights, states)
    ]
    x, y = random.uniform(-1, 1, (iterations, 32, inputs)), random.uniform(-1, 1, shape)
    feeds = {"x": x, "y": y} | (parts.pop() if alone else {})
    return Data({k: v for part in parts for k, v in part.items()}, feeds, sizes={"hidden": hidden})


def last_state(kind: str, scans: bool, ops: Any, v: Values, sizes: Mapping[str, int]) -> Found:
    """Half the squared distance of a cell's last state from a target, per sequence."""
    w, u, b = (v[name] for name in "wub")

    def rnn(part: Any, state: Any, u: Any) -> Any:
        return (ops.tanh(part + state[0] @ u),)

    step = rnn if kind == "rnn" else ops.recurrent_cell(kind, sizes["hidden"])

    def iteration(state: Any, at: Any) -> Any:
        return step(at @ w + b, state, u), None

    run = ops.scan if scans else lambda body, start, x: body(start, x[0])
    first = tuple(v[name] for name in "hc" if name in v)
    away = run(iteration, first, v["x"])[0][0] - v["y"]
    return 0.5 * ops.mean(ops.sum(away * away, axis=1)), {}


def of_cells(iterations: int = 1000, hidden: int = 128) -> Iterator[Workload]:
    """Yield the programs of each recurrent cell: a step, and a scan of so many."""
    for kind, program in product(CELLS, OF_A_CELL):
        scans, alone = program == "long_scan", program == "step_alone"
        count = iterations if scans else 1
        make = partial(cell, kind=kind, iterations=count, alone=alone, hidden=hidden)
        loss = partial(last_state, kind, scans)
        name, about = f"{kind}_{program}", "a recurrent cell and its gradients"
        yield Workload(name, "gradient", loss, make, make, 1e-3, about)


def _own() -> Iterator[Workload]:
    def gradient(name: str, loss: Loss, make: Make, about: str) -> Workload:
        return Workload(name, "gradient", loss, make, make, 1e-3, about)

    for count in (10, 300):
        make = layers(count, 32, 10, 8)
        yield Workload(f"deep{count}", "sgd", deep, make, make, 1e-3, f"{count} layers of 32")
    for steps in (100, 1000, 2000):
        yield gradient(
            f"unrolled_{steps}", partial(write_out_steps, steps), state, "steps written out"
        )
    for length in (1000, 4000):
        yield gradient(f"chain_{length}", partial(chain, length), one(64, 2), "elementwise")
    yield gradient("where_1500", partial(nested_where, 1500), one(64, 2), "nested cases")
    yield gradient("fan_1000", partial(fan, 1000), one(64, 2), "independent branches")
    yield gradient(
        "concat_10000", partial(concatenate_many, 10_000), one(64, 2), "a wide concatenation"
    )
    yield gradient("reductions_8000", partial(reductions, 8000), one(64, 2), "scalars of sums")
    yield gradient("slices_500", partial(slices, 500), one(500, 8), "rows of one array")
    yield gradient("tangle_10000", partial(tangle, 10_000), one(64, 2), "a random graph")
    yield gradient("tangle_50000", partial(tangle, 50_000), one(64, 2), "a random graph")
    yield gradient("hessian_rosenbrock", partial(hessian, rosenbrock), one(50), "third order")
    yield gradient("hessian_network", partial(hessian, small_network), one(20), "third order")
    yield gradient("per_sample", per_sample, samples, "vmap of a gradient, and its gradient")
    yield gradient("linalg", solving, one(20, 20), "Cholesky, solve, QR and their gradients")
    trajectory = partial(leapfrog, 10, 0.02)
    yield gradient("hmc", trajectory, logistic, "ten leapfrog steps of a logistic regression")
    yield Workload("resnet50", "sgd", resnet50, bottlenecks, bottlenecks, 1e-2, "53 convolutions")
    make = transformer(12, 32, 16, 2, 65)
    yield Workload("gpt12", "sgd", gpt, make, make, 1e-3, "12 blocks, 147 parameters")
    make = many_moments(200)
    about = f"200 parameters, after {Adam.STEPS_BEFORE} steps"
    yield Workload("adam_200", "adam", nothing, make, make, 1e-3, about)
    yield from RECURRENT
    yield from of_cells()


def programs() -> dict[str, Workload]:
    """Every program by name."""
    of_suite = all_workloads()
    models = all_workloads("models")
    chosen = [*(of_suite[name] for name in OF_SUITE), *(models[name] for name in OF_MODELS)]
    workloads = [*chosen, *_own()]
    by_name = {workload.name: workload for workload in workloads}
    assert len(by_name) == len(workloads), "two programs have one name"
    return by_name
