"""Loss scales, schedules, averages, L-BFGS, and what optimizers refuse: see also ``laws``."""

import inspect
import warnings

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import optim
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from staticgrad.optim.lbfgs import _times_inverse


def test_steps_that_are_not_finite_change_nothing():
    optimizer = optim.Adam(0.1, skip_nonfinite=True)
    w = sg.parameter("w", np.ones(3))
    updates = optimizer.apply({w: sg.input("g", (3,), "float64")})
    step = sg.compile(sg.Graph({}, updates))
    step.run({"g": np.ones(3)})
    initial = {p.name: p.value.copy() for p in updates}
    step.run({"g": np.array([1.0, np.nan, 1.0])})
    step.run({"g": np.array([1.0, np.inf, 1.0])})
    for p in updates:
        np.testing.assert_array_equal(p.value, initial[p.name])
    step.run({"g": np.ones(3)})
    assert int(next(p for p in updates if p.name == "adam.step").value) == 2


def test_a_loss_scale_halves_where_a_step_overflows_and_doubles_after_finite_ones():
    w = sg.parameter("w", np.zeros((), "float32"))
    x = sg.input("x", (), "float32")
    optimizer = optim.SGD(1.0, loss_scale=optim.LossScale(2.0**10, every=3))
    updates = optimizer.updates(w * x, [w])
    doublings, steps = (
        next(p for p in updates if p.name == f"sgd.{n}") for n in ("doublings", "finite_steps")
    )
    step = sg.compile(sg.Graph({}, updates))
    actual = []
    for value in (1.0, 3e38, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -3e38):
        step.run({"x": np.float32(value)})
        actual.append((int(doublings.value), int(steps.value), float(w.value)))
    assert actual == [
        (0, 1, -1.0), (-1, 0, -1.0), (-1, 1, -2.0), (-1, 2, -3.0), (0, 0, -4.0),
        (0, 1, -5.0), (0, 2, -6.0), (1, 0, -7.0), (0, 0, -7.0),
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["gradients first", "loss first"])
def test_steps_at_once_by_a_loss_and_by_gradients_are_steps_of_their_own(order):
    """The gradients of a loss are divided by the loss scale, those of one's own are not."""
    w = sg.parameter("w", np.array([1.0, 2.0]))
    opt = optim.SGD(0.125, loss_scale=1024.0)
    steps = [
        lambda: opt.apply_gradients({w: np.array([1.0, 2.0])}),
        lambda: opt.minimize((w * np.array([2.0, 4.0])).sum()),
    ]
    with sg.eager_mode():
        for step in steps if order == "gradients first" else steps[::-1]:
            step()
    np.testing.assert_array_equal(w.value, [1.0 - 0.375, 2.0 - 0.75])


class Numbered(sg.nn.Module):
    """Names of parameters of it differ in their numbers, and so do those of its instances."""

    def __init__(self):
        self.layers = [sg.nn.Linear(2, 2, seed=k) for k in range(11)]  # 10 is behind 9, not 1
        self.scale = sg.parameter("numbered", np.ones(2, "float32"))

    def forward(self, x):
        for layer in self.layers:
            x = sg.tanh(layer(x))
        return x * self.scale


@pytest.mark.slow
@pytest.mark.parametrize("how", ["graph", "function", "tape"])
@pytest.mark.parametrize("steps_before", [0, 1], ids=["before its first step", "after a step"])
def test_states_go_to_another_model_of_the_class_by_order(how, steps_before):
    x = np.linspace(-1, 1, 6, dtype="float32").reshape(3, 2)

    def make_model():
        model, opt = Numbered(), optim.Adam(0.05)
        if how == "graph":
            loss = (model(sg.input("x", (3, 2), "float32")) ** 2).mean()
            f = sg.compile(sg.Graph({"loss": loss}, opt.updates(loss, model)))
            return model, opt, lambda: f.run({"x": x})

        @sg.function
        def step(x):
            opt.minimize((model(x) ** 2).mean(), model)

        return model, opt, lambda: step(x) if how == "function" else step.eagerly(x)

    (first, adam, step), (second, its, further) = make_model(), make_model()
    for _ in range(3):
        step()
    for _ in range(steps_before):
        further()
    second.load_state_dict(first.state_dict())
    its.load_state_dict(adam.state_dict())
    for _ in range(2):
        step(), further()
    for p, twin in zip(first.parameters(), second.parameters(), strict=True):
        assert p.name != twin.name
        np.testing.assert_array_equal(twin.value, p.value)


W = sg.parameter("w", np.ones(2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: optim.ParameterGroups(0.1), "ParameterGroups takes optimizers"),
        (lambda: optim.ParameterGroups(optim.SGD(0.1, accumulate=2)), "is of all"),
        (lambda: optim.ParameterGroups(optim.SGD(0.1), {"w": 1}), "pairs of what belongs"),
        (lambda: optim.ParameterGroups(optim.SGD(0.1), [lambda p: True]), "pairs of what belongs"),
        (lambda: optim.ParameterGroups(optim.SGD(0.1), [([], {"lr": 1})]), "lr"),
        (lambda: optim.LossScale(3.0), "initial must be a power of two"),
        (lambda: optim.LossScale(every=0), "LossScale: every must be >= 1, got 0"),
        (lambda: optim.SGD(0.1, loss_scale=-1.0), "SGD: loss_scale must be a positive"),
        (lambda: optim.SGD(0.1, max_norm=0.0), "max_norm must be a positive"),
        (lambda: optim.SGD(0.1).on([]), "SGD: there are no parameters"),
        (lambda: optim.SGD(0.1).on([np.ones(2)]), "takes tensors"),
        (lambda: optim.SGD(0.1).step(3.0), "runs nothing"),
        (lambda: optim.SGD(0.1).apply_gradients([np.ones(2)]), "takes gradients by parameter"),
        (lambda: optim.SGD(0.1).apply({W: np.ones(3)}), "'w' is .3., the parameter .2."),
        (lambda: optim.SGD(0.1).apply_gradients({W: W * 2.0}), "no function is traced"),
        (lambda: setattr(optim.SGD(0.1), "learning_rate", 1.0), "SGD.learning_rate is set when"),
        (lambda: optim.Adam([]), "Adam: there are no parameters"),
        (lambda: optim.Adam([{"params": [W]}], lr=0.1), "Adam: groups of parameters"),
        (lambda: optim.SGD([W]), "SGD: missing a required argument: 'learning_rate'"),
        (lambda: optim.SGD(0.1).zero_grad(), "SGD has no attribute 'zero_grad'"),
        (lambda: optim.warm_up(-1.0, 3), "rate must be a finite number >= 0, got -1.0"),
        (lambda: optim.clip_by_value([], -1.0), "clip_by_value: max_value must be a positive"),
        (lambda: optim.Average([], decay=1.0), "decay must be"),
        (lambda: optim.SGD(-1.0), "learning_rate must be a finite number >= 0"),
        (lambda: optim.SGD(0.1, weight_decay=-1.0), "weight_decay must be a finite number >= 0"),
        (lambda: optim.SGD(0.1, accumulate=0), "accumulate must be >= 1"),
        (lambda: optim.LBFGS(1.0), "LBFGS: max_iter 1.0 is not an integer"),
        (lambda: optim.SGD(sg.input("r", (2,), "float64")), "learning_rate is f64"),
        (lambda: optim.Adam(beta1=1.0), "beta1 must be"),
        (lambda: optim.Adam(beta2=-0.1), "beta2 must be"),
        (lambda: optim.Adam(eps=-1.0), "eps must be"),
        (lambda: optim.AdamW(weight_decay=-1.0), "weight_decay must be"),
        (lambda: optim.clip_by_global_norm([], 1.0), "norm of no gradients"),
        (lambda: optim.clip_by_global_norm([], 0.0), "max_norm must be a positive"),
        (lambda: optim.SGD(0.1, skip_nonfinite=1), "skip_nonfinite=1 is an int"),
    ],
)  # fmt: skip
def test_what_is_refused(make, says):
    with pytest.raises(sg.StaticgradError, match=says):
        make()


# -- the graph of a step ---------------------------------------------------------------------------

STEPS = {
    "compiled": lambda opt, loss, w, y: opt.minimize(loss, [w]),
    "in a graph": lambda opt, loss, w, y: sg.Graph(opt.minimize(loss, [w]), name="step"),
    "all parameters": lambda opt, loss, w, y: opt.minimize(loss),
    "beside outputs": lambda opt, loss, w, y: sg.Graph({"loss": loss, "y": y}, opt.minimize(loss)),
}


@pytest.mark.parametrize("write", STEPS)
def test_minimize_of_values_is_the_graph_of_a_step(write):
    x, w = sg.input("x", (3,), "float64"), sg.parameter("w", np.ones(3))
    y = w * x
    step = sg.compile(STEPS[write](optim.SGD(0.25, momentum=0.5), (y * y).sum(), w, y))
    x_array, expected, velocity = np.array([1.0, -2.0, 0.5]), np.ones(3), np.zeros(3)
    for _ in range(3):
        outputs = step.run({"x": x_array})
        np.testing.assert_allclose(outputs["loss"], ((expected * x_array) ** 2).sum(), rtol=1e-14)
        velocity = 0.5 * velocity + 2.0 * expected * x_array**2
        expected = expected - 0.25 * velocity
        np.testing.assert_allclose(w.value, expected, rtol=1e-14)


def test_a_graph_of_a_graph_has_its_outputs_and_both_updates():
    x, w, v = sg.input("x", (2,), "complex128"), *(sg.parameter(n, np.ones(2)) for n in "wv")
    graph = sg.Graph({"y": x * w}, {w: w + 1.0, v: v * 3.0})
    again = sg.compile(sg.Graph(graph, {v: v * 2.0}, name="again"))
    x_array = np.array([1.0 + 2.0j, 3.0])
    np.testing.assert_array_equal(again.run({"x": x_array})["y"], x_array)
    np.testing.assert_array_equal([w.value, v.value], [[2.0, 2.0], [2.0, 2.0]])


def thrown_away_in_a_statement(opt, loss):
    opt.minimize(loss)


def thrown_away_in_a_loop(opt, loss):
    for _ in range(2):
        opt.minimize(loss, [W])


@pytest.mark.parametrize("write", [thrown_away_in_a_statement, thrown_away_in_a_loop])
def test_the_graph_of_a_step_that_nothing_reads_is_refused(write):
    with pytest.raises(sg.StaticgradError, match="nothing reads the graph of a step") as caught:
        write(optim.SGD(0.1), (W * W).sum())
    assert "sg.compile(opt.minimize(loss, ws))" in caught.value.hint
    last = write.__code__.co_firstlineno + len(inspect.getsourcelines(write)[0]) - 1
    assert f"test_optimizers.py:{last}" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda loss, step: sg.Graph({"step": step}), r"sg.Graph\(outputs, updates=graph\)"),
        (lambda loss, step: sg.compile(loss, step), r"sg.compile\(sg.Graph\(outputs, updates\)\)"),
        (lambda loss, step: sg.compile(loss, updates=step), r"sg.compile\(sg.Graph\(outputs"),
        (lambda loss, step: step.run({}), r"sg.compile\(graph\), then f.run"),
    ],
)
def test_a_step_in_the_wrong_place_is_answered(wrong, hint):
    loss = (W * W).sum()
    with pytest.raises(sg.StaticgradError, match=hint):
        wrong(loss, optim.SGD(0.1).minimize(loss, [W]))


# -- schedules and averages ------------------------------------------------------------------------

T = np.arange(12.0)
#: A schedule, and what it is by hand at 0, 1, ... 11.
SCHEDULES = {
    "constant": (optim.constant(0.3), np.full(12, 0.3)),
    "step_decay": (optim.step_decay(0.8, every=4, factor=0.5), 0.8 * 0.5 ** (T // 4)),
    "exponential": (optim.exponential(0.8, 0.9, every=2), 0.8 * 0.9 ** (T / 2)),
    "cosine": (
        optim.cosine(0.5, steps=8, least=0.1),
        0.1 + 0.2 * (1 + np.cos(np.pi * np.minimum(T / 8, 1))),
    ),
    "warm_up": (
        optim.warm_up(optim.step_decay(0.5, every=3), steps=4),
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005],
    ),
    "one_cycle": (
        optim.one_cycle(1.0, steps=10, rise=0.4, first=5.0, last=10.0),
        np.where(
            T < 3,
            1.0 - 0.4 * (1 + np.cos(np.pi * T / 3)),
            0.02 + 0.49 * (1 + np.cos(np.pi * np.minimum((T - 3) / 6, 1))),
        ),
    ),
    "multi_step": (optim.multi_step(0.8, (7, 3), factor=0.5), [0.8] * 3 + [0.4] * 4 + [0.2] * 5),
    "linear": (optim.linear(0.2, 1.0, steps=4), np.minimum(0.2 + 0.2 * T, 1.0)),
    "polynomial": (
        optim.polynomial(0.5, steps=10, power=2.0),
        0.5 * np.maximum(1 - T / 10, 0.0) ** 2,
    ),
    "cosine_restarts": (
        optim.cosine_restarts(0.6, steps=4, least=0.2),
        0.2 + 0.2 * (1 + np.cos(np.pi * (T % 4) / 4)),
    ),
    "cosine_restarts of growing length": (
        optim.cosine_restarts(1.0, steps=1, longer=3),
        [1.0]
        + [0.5 * (1 + np.cos(np.pi * (t - 1) / 3)) for t in (1, 2, 3)]
        + [0.5 * (1 + np.cos(np.pi * (t - 4) / 9)) for t in range(4, 12)],
    ),
    "own": (optim.RateSchedule(lambda t: 0.1 / (1.0 + t)), 0.1 / (1.0 + T)),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    """They are numbers, values of a graph, and steps of an optimizer with and without a counter."""
    schedule, expected = SCHEDULES[name]
    np.testing.assert_allclose(schedule(T), expected, rtol=1e-13)
    assert schedule(3) == pytest.approx(expected[3])
    t = sg.input("t", (), "int64")
    actual = sg.astype(schedule(t), "float64") if name != "constant" else t * 0.0 + schedule(t)
    assert sg.evaluate(actual, {"t": np.int64(5)}) == pytest.approx(expected[5])
    v, w = sg.parameter("v", 0.0), sg.parameter("w", 0.0)
    updates = {
        **optim.SGD(schedule).updates(v * 1.0, [v]),
        **optim.Lion(schedule).updates(w * 1.0, [w]),
    }
    step = sg.compile(sg.Graph({}, updates))
    for _ in range(12):
        step.run()
    assert [float(v.value), float(w.value)] == pytest.approx([-np.sum(expected)] * 2)
    if name != "own":
        assert repr(eval(repr(schedule), vars(optim))) == repr(schedule)


#: A schedule, and the one of torch over 60 steps: a function of the module, a rate and its own.
TORCH_SCHEDULES = {
    "constant": (optim.constant(0.3), lambda lrs, opt: lrs.ConstantLR(opt, 1.0), 0.3),
    "step_decay": (optim.step_decay(0.8, every=7), lambda lrs, opt: lrs.StepLR(opt, 7), 0.8),
    "exponential": (
        optim.exponential(0.8, 0.9),
        lambda lrs, opt: lrs.ExponentialLR(opt, 0.9),
        0.8,
    ),
    "cosine": (
        optim.cosine(0.5, steps=60, least=0.1),
        lambda lrs, opt: lrs.CosineAnnealingLR(opt, 60, 0.1),
        0.5,
    ),
    "warm_up": (
        optim.warm_up(optim.cosine(0.5, steps=50), steps=10),
        lambda lrs, opt: lrs.SequentialLR(
            opt, [lrs.LinearLR(opt, 1 / 11, 1.0, 10), lrs.CosineAnnealingLR(opt, 50)], [10]
        ),
        0.5,
    ),
    "multi_step": (
        optim.multi_step(0.8, (7, 30)),
        lambda lrs, opt: lrs.MultiStepLR(opt, [7, 30]),
        0.8,
    ),
    "linear": (
        optim.linear(0.2, 0.8, steps=9),
        lambda lrs, opt: lrs.LinearLR(opt, 0.25, 1.0, 9),
        0.8,
    ),
    "polynomial": (
        optim.polynomial(0.5, steps=40, power=2.0),
        lambda lrs, opt: lrs.PolynomialLR(opt, 40, 2.0),
        0.5,
    ),
    "cosine_restarts": (
        optim.cosine_restarts(0.5, steps=4, longer=2, least=0.1),
        lambda lrs, opt: lrs.CosineAnnealingWarmRestarts(opt, 4, 2, 0.1),
        0.5,
    ),
    "one_cycle": (
        optim.one_cycle(0.5, steps=60),
        lambda lrs, opt: lrs.OneCycleLR(opt, 0.5, total_steps=60),
        0.5,
    ),
    "one_cycle of another form": (
        optim.one_cycle(0.5, steps=60, rise=0.01, first=3.0, last=7.0),
        lambda lrs, opt: lrs.OneCycleLR(
            opt, 0.5, total_steps=60, pct_start=0.01, div_factor=3.0, final_div_factor=7.0
        ),
        0.5,
    ),
}


@pytest.mark.parametrize("name", TORCH_SCHEDULES)
def test_schedules_are_those_of_torch(name):
    torch = pytest.importorskip("torch", reason="the schedules are compared with PyTorch's")
    schedule, make, rate = TORCH_SCHEDULES[name]
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its own deprecated argument
        theirs, expected = make(torch.optim.lr_scheduler, opt), []
        for _ in range(60):
            expected.append(opt.param_groups[0]["lr"])
            opt.step()
            if len(expected) < 60:
                theirs.step()
    np.testing.assert_allclose(schedule(np.arange(60.0)), expected, rtol=1e-11)


def test_a_plateau_is_that_of_torch():
    torch = pytest.importorskip("torch", reason="the schedules are compared with PyTorch's")
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        opt, factor=0.5, patience=2, threshold=0.1, threshold_mode="abs", min_lr=0.1
    )
    ours = optim.Plateau(1.0, factor=0.5, patience=2, gain=0.1, least=0.1)
    losses = np.round(np.random.default_rng(0).normal(size=60) ** 2, 2).tolist()
    for loss in [*losses[:20], float("nan"), *losses[20:]]:
        theirs.step(loss)
        ours.observe(loss)
        assert float(ours.rate.value) == opt.param_groups[0]["lr"]


def test_a_plateau_falls_after_its_patience():
    def losses():
        return [5.0, 4.0, 4.0, 3.95, 3.0, 3.0, 3.0, np.nan, 3.0, 3.0]

    expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    at_once = optim.Plateau(1.0, factor=0.5, patience=1, least=0.25, gain=0.1)
    actual = []
    for loss in losses():
        at_once.observe(loss)
        actual.append(float(at_once.rate.value))
    assert actual == expected
    traced = optim.Plateau(1.0, factor=0.5, patience=1, least=0.25, gain=0.1)
    w = sg.parameter("w", 0.0)
    optimizer = optim.SGD(traced)

    @sg.function
    def step(loss):
        optimizer.minimize(w * 1.0, [w])
        traced.observe(loss)
        return traced.rate * 1.0

    assert [float(step(np.float64(loss))) for loss in losses()] == expected
    assert float(w.value) == -sum([1.0, *expected[:-1]])


@pytest.mark.parametrize("warm_up", [0, 10])
def test_averages(warm_up):
    w = sg.parameter("w", np.zeros(2, "float32"))
    optimizer, mean = optim.SGD(1.0), optim.Average([w], decay=0.75, warm_up=warm_up)

    @sg.function
    def step(x):
        loss = (w * x).sum()
        optimizer.minimize(loss)
        mean.update()
        return loss

    expected, now = np.zeros(2), np.zeros(2)
    for t in range(4):
        step(np.array([1.0, -2.0], "float32"))
        now = now - np.array([1.0, -2.0])
        decay = min(0.75, (1 + t) / (10 + t)) if warm_up else 0.75
        expected = decay * expected + (1 - decay) * now
        np.testing.assert_allclose(mean.averages[w].value, expected, rtol=1e-6)
    with mean.average_parameters():
        np.testing.assert_allclose(w.value, expected, rtol=1e-6)
    np.testing.assert_array_equal(w.value, now)
    previous = mean.averages[w].value.copy()
    mean.update()
    assert not np.array_equal(mean.averages[w].value, previous)
    updates = optimizer.updates((w * w).sum(), [w])
    graph = sg.Graph({}, {**updates, **mean.updates(updates)})
    sg.compile(graph).run()


def test_signatures_name_the_hyperparameters():
    """``help``, editors and notebooks show them."""
    shown = [*inspect.signature(sg.optim.Adam).parameters]
    assert shown[:5] == ["learning_rate", "beta1", "beta2", "eps", "weight_decay"]
    assert [*inspect.signature(sg.optim.cosine).parameters] == ["rate", "steps", "least"]
    for cls in sg.optim.registered_optimizers():
        assert "kwargs" not in inspect.signature(cls).parameters


A = np.array([[2.0, 0.5], [0.5, 1.0]])
START = np.array([1.0, -2.0])


def quadratic(w):
    """w·Aw/2, whose gradient is A @ w."""
    return ((sg.constant(A) * w).sum(1) * w).sum() * 0.5


def run_steps(step, feeds):
    """The value of w after each run; the updates are committed."""
    values = []
    for feed in feeds:
        _, updates = sg.evaluate(step, feed, updates=True)
        for p, _value in step.updates:
            p.value = updates[p.name]
        values.append(updates["w"])
    return np.array(values)


def test_state_is_named_after_its_parameter_and_optimizer():
    w = sg.parameter("w", START)
    momentum = sg.optim.SGD(0.1, momentum=0.9, accumulate=2).updates(quadratic(w), [w])
    assert {p.name: str(p.type) for p in momentum} == {
        "w": "f64[2]",
        "w.momentum": "f64[2]",
        "w.accumulator": "f64[2]",
        "sgd.micro_step": "i64[]",
    }
    adam = sg.optim.Adam(name="fast").updates(quadratic(w), [w])
    assert {p.name for p in adam} == {"w", "w.first_moment", "w.second_moment", "fast.step"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_learning_rates_that_are_inputs_or_parameters(dtype):
    rate, w = sg.input("rate", (), dtype), sg.parameter("w", START)
    step = sg.Graph(updates=sg.optim.SGD(rate).updates(quadratic(w), [w]))
    actual = run_steps(step, [{"rate": r} for r in (0.5, 0.25, 0.0)])
    first = START - 0.5 * A @ START
    second = first - 0.25 * A @ first
    np.testing.assert_allclose(actual, [first, second, second], rtol=1e-14)
    rate, w = sg.parameter("rate", 0.5), sg.parameter("w", START)
    updates = {**sg.optim.SGD(rate).updates(quadratic(w), [w]), rate: rate * 0.5}
    actual = run_steps(sg.Graph(updates=updates), [{}, {}])
    np.testing.assert_allclose(actual, [first, second], rtol=1e-14)


def test_clipping_scales_all_gradients_together():
    a, b = sg.input("a", (2,), "float64"), sg.input("b", (), "float32")
    clipped = sg.optim.clip_by_global_norm({"a": a, "b": [b]}, 1.0)
    assert [str(clipped["a"].type), str(clipped["b"][0].type)] == ["f64[2]", "f32[]"]
    values = [clipped["a"], clipped["b"][0], sg.optim.global_norm([a, b])]
    actual = sg.evaluate(values, {"a": [2.0, 3.0], "b": 6.0})
    assert actual[2] == 7.0
    np.testing.assert_allclose(actual[0], [2 / 7, 3 / 7], rtol=1e-15)
    np.testing.assert_allclose(actual[1], 6 / 7, rtol=1e-7)
    short = sg.evaluate(values, {"a": [0.1, 0.2], "b": 0.3})
    assert short[0].tolist() == [0.1, 0.2]
    zero = sg.evaluate(values, {"a": [0.0, 0.0], "b": 0.0})
    assert zero[0].tolist() == [0.0, 0.0]
    assert np.isnan(sg.evaluate(values, {"a": [np.nan, 0.0], "b": 1.0})[1])
    w = sg.parameter("w", START)
    (g,) = sg.optim.clip_by_global_norm([sg.grad(quadratic(w), w)], 0.5)
    step = sg.Graph(updates=sg.optim.SGD(1.0).apply({w: g}))
    change = START - run_steps(step, [{}])[0]
    assert np.linalg.norm(change) == pytest.approx(0.5, rel=1e-14)


RNG = np.random.default_rng(3)
DATA = RNG.normal(size=(12, 5))
B = RNG.normal(size=12)


def rosenbrock(x):
    return ((1.0 - x[:-1]) ** 2 + 100.0 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def log_barrier(x):
    """Defined where all elements are above 0, which a first step may leave."""
    return (x - sg.log(x)).sum() * 40.0


#: DATA loss, where it begins, and where it is least.
LOSSES = {
    "valley": (rosenbrock, np.array([-1.2, 1.0, 0.5]), np.ones(3)),
    "least squares": (
        lambda x: ((DATA @ x - B) ** 2).sum(), np.zeros(5), np.linalg.lstsq(DATA, B, rcond=None)[0]
    ),
    "log": (log_barrier, np.full(3, 0.01), np.ones(3)),
    "there": (lambda x: (x**2).sum(), np.zeros(2), np.zeros(2)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_minima_are_found_in_both_worlds(name):
    loss, start, place = LOSSES[name]
    opt = sg.optim.LBFGS(history_size=5, tolerance_grad=1e-7)
    search = sg.function(lambda x: opt.minimum(loss, x))
    actual, at_once = search(start), search.eagerly(start)
    np.testing.assert_allclose(actual.x, place, atol=1e-7)
    assert actual.converged
    assert actual.slope <= 1e-7
    assert actual.iterations == at_once.iterations <= (0 if name == "there" else 60)
    np.testing.assert_allclose(at_once.x, actual.x, rtol=1e-6, atol=1e-8)
    assert isinstance(opt.minimum(loss, Tensor(start, dtype="float64")).x, Tensor)


def test_the_inverse_is_that_of_bfgs_written_as_matrices():
    steps, slope = RNG.normal(size=(4, 6)), RNG.normal(size=6)
    curved = np.diag(np.arange(1.0, 7.0))
    steps[0] = 0.0  # no step yet
    changes = steps @ curved
    inverse = np.eye(6) * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y in zip(steps[1:], changes[1:], strict=True):
        left = np.eye(6) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    actual = sg.function(_times_inverse)(slope, steps, changes)
    np.testing.assert_allclose(actual, inverse @ slope, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_is_fitted_to_batches_of_any_size(dtype):
    model = sg.nn.Sequential(sg.nn.Linear(3, 1, dtype=dtype), sg.tanh)
    opt = sg.optim.LBFGS(max_iter=30, tolerance_grad=1e-4)

    @sg.function
    def fit(x, y):
        return opt.minimize(lambda m: ((m(x)[:, 0] - y) ** 2).mean(), model).value

    weights = np.array([0.5, -0.3, 0.2])
    for rows in (20, 30, 40):
        x = RNG.normal(size=(rows, 3)).astype(dtype)
        assert fit(x, np.tanh(x @ weights + 0.1).astype(dtype)) < 1e-6
    assert fit.stats.traces == 2
    weight, bias = (p.value for p in model.parameters())
    np.testing.assert_allclose(weight[:, 0], weights, atol=3e-3)
    np.testing.assert_allclose(bias, 0.1, atol=3e-3)
    previous = [p.value for p in model.parameters()]
    fit.eagerly(x, np.tanh(x @ weights).astype(dtype))
    np.testing.assert_allclose(model.parameters()[1].value, 0.0, atol=3e-3)
    assert not np.array_equal(previous[1], model.parameters()[1].value)


@pytest.mark.slow
def test_what_cannot_be_minimised_is_refused():
    opt, x = sg.optim.LBFGS(), sg.input("x", (3,), "float64")
    with pytest.raises(ArgumentError, match="not a function"):
        opt.minimum(x.sum(), x)
    with pytest.raises(ShapeError, match="one number"):
        opt.minimum(lambda x: x, x)
    with pytest.raises(DTypeError, match="int64"):
        opt.minimum(rosenbrock, np.arange(3))
    with pytest.raises(DTypeError, match="one floating dtype"):
        opt.minimum(lambda t: t[0].sum(), (x, np.ones(2, "float32")))
    with pytest.raises(ArgumentError, match="there are no parameters"):
        opt.minimum(rosenbrock, ())
    with pytest.raises(ArgumentError, match="not a parameter"):
        opt.minimize(rosenbrock, x)
    for wrong in ({"max_iter": 0}, {"history_size": 1.5}, {"tolerance_grad": 0.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            sg.optim.LBFGS(**wrong)
    stuck = sg.function(lambda x: opt.minimum(lambda x: sg.sqrt(x).sum() * np.nan, x))(np.ones(2))
    assert (stuck.iterations, bool(stuck.converged)) == (0, False)
    np.testing.assert_array_equal(stuck.x, 1.0)


def test_lbfgs_says_that_a_loss_is_a_function():
    w = sg.parameter("w", np.zeros(2))
    with pytest.raises(sg.errors.ArgumentError, match="not a function") as caught:
        sg.function(lambda x: sg.optim.LBFGS().minimize(((x @ w) ** 2).sum()))(np.ones((3, 2)))
    assert "LBFGS().minimize(lambda model" in caught.value.hint
