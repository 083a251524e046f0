"""Laws of every optimizer of the registry, checked on samples of its options.

The oracle is the rule of its paper in NumPy's float64 (``optimizer_rules.py``); schedules, clipping
and accumulation are written there as well. Most steps run by ``sg.evaluate``, without kernels.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import optim
from staticgrad.eager import Tensor
from staticgrad.errors import DisconnectedError, SavedFileError
from tests.laws.optimizer_rules import by_hand
from tests.laws.optimizers import SAMPLES, missing
from tests.laws.table import Laws


@dataclass(frozen=True)
class Sample:
    """An optimizer with options."""

    cls: type
    number: int

    @property
    def options(self):
        return SAMPLES[self.cls][self.number]

    def make(self, **more):
        """The optimizer with further options; a rate is also that of the default of groups."""
        options = {**self.options, **more}
        if self.cls is optim.ParameterGroups and "learning_rate" in more:
            rate = options.pop("learning_rate")
            options["default"] = dataclasses.replace(options["default"], learning_rate=rate)
            options["groups"] = options["groups"][1:]  # the first has a rate of its own
        return self.cls(**options)

    def __str__(self):
        return f"{self.cls.__name__}{self.number}"


ALL = [Sample(cls, k) for cls, samples in SAMPLES.items() for k in range(len(samples))]


def test_every_optimizer_and_option_has_a_sample(monkeypatch):
    @dataclass(frozen=True, eq=False)
    class Signed(optim.SGD):
        """Registered by being defined."""

    actual = optim.registered_optimizers()
    assert actual.index(optim.SGD) < actual.index(Signed)
    assert actual.index(optim.Adam) < actual.index(optim.AdamW)
    assert missing() == []
    monkeypatch.setitem(SAMPLES, optim.SGD, SAMPLES[optim.SGD][:1])
    monkeypatch.delitem(SAMPLES, optim.AdamW)
    assert {"AdamW has no sample", "SGD: no sample sets nesterov"} <= {*missing()}


# -- a loss of several parameters ------------------------------------------------------------------


def start(dtype="float64"):
    draw = np.random.default_rng(5)
    return [draw.normal(size=shape).astype(dtype) for shape in ((3, 4), (4,), (200, 2))]


def parameters(dtype="float64"):
    return [sg.parameter(f"p{k}", array) for k, array in enumerate(start(dtype))]


def batch(run, dtype="float64"):
    return np.random.default_rng(run).normal(size=(4,)).astype(dtype)


def loss_of(x, params):
    """Return a loss of matrices and vectors, of any kind of values, and not quadratic."""
    a, b, c = params
    return ((a * b + x) ** 2).sum() + sg.sqrt(c * c + 1.0).sum() * 0.3 + (b * b * b).sum()


def gradient(run, params):
    a, b, c = params
    inner = 2 * (a * b + batch(run))
    return [inner * b, (inner * a).sum(0) + 3 * b**2, 0.3 * c / np.sqrt(c * c + 1.0)]


def evaluate_steps(optimizer, params=None, **feeds):
    """The parameters, and a function of the number of a run that steps them by NumPy."""
    x = sg.input("x", (4,), "float64")
    params = params or parameters()
    loss = loss_of(x, params)
    graph = sg.Graph({"loss": loss}, optimizer.updates(loss, params))

    def step(run):
        more = {name: rates[run] for name, rates in feeds.items()}
        _, new = sg.evaluate(graph, {"x": batch(run), **more}, updates=True)
        for p, _ in graph.updates:
            p.value = new[p.name]

    return params, step


def compile_steps(optimizer, dtype="float64", **options):
    """The same by kernels, in a dtype."""
    x = sg.input("x", (4,), dtype)
    params = parameters(dtype)
    loss = loss_of(x, params)
    step = sg.compile(sg.Graph({"loss": loss}, optimizer.updates(loss, params)), **options)
    return params, lambda run: step.run({"x": batch(run, dtype)})


def trace_steps(optimizer, dtype):
    """A traced function that minimizes the loss."""
    params = parameters(dtype)

    @sg.function(threads=2)
    def train(x):
        loss = loss_of(x, params)
        optimizer.minimize(loss)
        return loss

    return params, train


def check(params, expected, rtol=1e-10, atol=1e-13):
    for p, array in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.value, array, rtol=rtol, atol=atol, err_msg=p.name)


def check_by_hand(optimizer, steps=3, **rates):
    """Steps of an optimizer are those of its rule; ``rates`` is fed, one number to each run."""
    params, step = evaluate_steps(optimizer, **rates)
    runs = steps * optimizer.accumulate
    for run in range(runs):
        step(run)
    check(params, by_hand(optimizer, start(), gradient, runs, *rates.values()))


LAWS = Laws()


# -- laws of the rule ------------------------------------------------------------------------------


@LAWS.law()
def steps_are_those_by_hand(sample, folder):
    check_by_hand(sample.make())


#: Options of all optimizers, each of which every rule is combined with.
COMMON = (
    {"max_norm": 0.5}, {"max_value": 0.05}, {"accumulate": 2}, {"loss_scale": 1024.0},
    {"skip_nonfinite": True},
)  # fmt: skip


@LAWS.law()
def options_of_all_optimizers_are_those_by_hand(sample, folder):
    for options in COMMON:
        if not options.keys() & sample.options.keys():
            check_by_hand(sample.make(**options))


@LAWS.law()
def schedules_give_each_step_its_rate(sample, folder):
    check_by_hand(sample.make(learning_rate=optim.exponential(0.02, 0.5, every=1)), 4)


@LAWS.law()
def rates_that_are_fed_belong_to_their_run(sample, folder):
    rate = sg.input("rate", (), "float64")
    runs = 3 * sample.options.get("accumulate", 1)
    check_by_hand(sample.make(learning_rate=rate), rate=[0.05 / (1.0 + k) for k in range(runs)])


#: Our optimizer -> options that PyTorch's has by our names.
OF_TORCH = {
    optim.SGD: "momentum nesterov dampening",
    optim.Adam: "eps amsgrad",
    optim.AdamW: "eps amsgrad",
    optim.NAdam: "eps momentum_decay",
    optim.RAdam: "eps",
    optim.Adamax: "eps",
    optim.Adadelta: "eps",
    optim.RMSProp: "eps momentum centered",
    optim.Adagrad: "eps",
}
#: Our option -> PyTorch's.
NAMED_OTHERWISE = {optim.Adadelta: ("decay", "rho"), optim.RMSProp: ("decay", "alpha")}


def options_of_torch(o):
    """Return the options of PyTorch's optimizer for the same steps."""
    options = {name: getattr(o, name) for name in OF_TORCH[type(o)].split()}
    options["weight_decay"] = getattr(o, "weight_decay", 0.0)
    if hasattr(o, "beta1"):
        options["betas"] = o.beta1, o.beta2
    if type(o) in NAMED_OTHERWISE:
        ours, theirs = NAMED_OTHERWISE[type(o)]
        options[theirs] = getattr(o, ours)
    return options


def has_rule_of_torch(sample):
    """PyTorch's NAdam and RAdam take no largest moments."""
    plain = sample.cls in (optim.NAdam, optim.RAdam) and sample.options.get("amsgrad")
    return sample.cls in OF_TORCH and not plain


@LAWS.law(on=lambda samples: [s for s in samples if has_rule_of_torch(s)])
def steps_are_those_of_torch(sample, folder):
    torch = pytest.importorskip("torch")
    o = sample.make(accumulate=1, max_norm=None, max_value=None)
    params, step = evaluate_steps(o)
    tensors = [torch.tensor(array, requires_grad=True) for array in start()]
    name = {"RMSProp": "RMSprop"}.get(sample.cls.__name__, sample.cls.__name__)
    reference = getattr(torch.optim, name)(tensors, lr=o.learning_rate, **options_of_torch(o))
    for run in range(4):
        step(run)
        arrays = [t.detach().numpy() for t in tensors]
        for t, g in zip(tensors, gradient(run, arrays), strict=True):
            t.grad = torch.tensor(g)
        reference.step()
    exact = 1e-8 if name == "NAdam" else 1e-11  # NAdam of PyTorch has a product in float32
    check(params, [t.detach().numpy() for t in tensors], exact, exact * 1e-2)


@LAWS.law()
def steps_that_are_not_finite_change_nothing(sample, folder):
    """Neither parameters nor what the optimizer keeps of them."""
    optimizer, params = sample.make(skip_nonfinite=True), parameters()
    ins = {p: sg.input(f"d{p.name}", p.shape, "float64") for p in params}
    graph = sg.Graph({}, optimizer.apply(ins))

    def step(value):
        feeds = {x.name: np.full(x.shape, value) for x in ins.values()}
        for _ in range(optimizer.accumulate):
            _, new = sg.evaluate(graph, feeds, updates=True)
            for p, _ in graph.updates:
                p.value = new[p.name]
        return {p.name: p.value for p, _ in graph.updates}

    first = step(1.0)
    for value in (np.nan, np.inf):
        for name, array in step(value).items():
            if not name.endswith(("accumulator", "doublings", "finite_steps")):
                np.testing.assert_array_equal(array, first[name], err_msg=name)
    last = step(1.0)
    assert all(np.isfinite(array).all() for array in last.values())
    assert not np.array_equal(last["p0"], first["p0"])


# -- laws of the ways to run it --------------------------------------------------------------------


@LAWS.law()
def tensors_take_the_same_steps(sample, folder):
    for dtype, tolerance in (("float32", 2e-5), ("float64", 1e-11)):
        optimizer = sample.make()
        params, step = evaluate_steps(optimizer)
        tensors = [Tensor(array, requires_grad=True, dtype=dtype) for array in start(dtype)]
        steps = optimizer.on(tensors)
        for run in range(3 * optimizer.accumulate):
            step(run)
            steps.zero_grad()
            loss_of(Tensor(batch(run, dtype), dtype=dtype), tensors).backward()
            steps.step()
        for p, tensor in zip(params, tensors, strict=True):
            assert tensor.data.dtype == dtype
            np.testing.assert_allclose(tensor.data, p.value, rtol=tolerance, atol=tolerance)


@LAWS.law()
def functions_run_at_once_take_the_same_steps(sample, folder):
    optimizer = sample.make()
    others, step = evaluate_steps(optimizer)
    params, train = trace_steps(sample.make(), "float64")
    for run in range(2 * optimizer.accumulate):
        step(run)
        train.eagerly(batch(run))
    check(params, [p.value for p in others], 1e-11, 1e-13)


@LAWS.law()
def parameters_without_a_gradient_stay(sample, folder):
    """Gradients of one's own may leave parameters out; a loss has to depend on all."""
    optimizer, params = sample.make(), parameters()
    a, *others = params
    old_values = [p.value for p in others]
    graph = optimizer.apply({a: sg.constant(np.ones(a.shape))})
    assert not {p.name for p in graph} & {"p1", "p2"}
    optimizer = sample.make()
    for _ in range(optimizer.accumulate):
        optimizer.apply_gradients({a: np.ones(a.shape)})
    assert not np.array_equal(a.value, start()[0])
    check(others, old_values, 0.0, 0.0)
    assert not [name for name in optimizer.state_dict() if name.startswith(("p1", "p2"))]
    tensors = [Tensor(array, requires_grad=True) for array in start()]
    steps = sample.make().on(tensors)
    for _ in range(optimizer.accumulate):
        (tensors[0] * 1.0).sum().backward()
        steps.step()
        steps.zero_grad()
    np.testing.assert_allclose(tensors[0].data, a.value, rtol=1e-12)
    for tensor, array in zip(tensors[1:], old_values, strict=True):
        np.testing.assert_array_equal(tensor.data, array)
    with pytest.raises(DisconnectedError):
        sample.make().updates((a * 1.0).sum(), params)


# -- laws of what it keeps -------------------------------------------------------------------------


@LAWS.law()
def training_resumes_to_the_bit(sample, folder):
    """From a file of parameters and state, in the middle of an accumulation as well."""
    rate = optim.warm_up(0.02, steps=4)
    runs = 2 * sample.options.get("accumulate", 1) + 1
    first, second = (sample.make(learning_rate=rate) for _ in range(2))
    params, step = evaluate_steps(first)
    for run in range(runs):
        step(run)
    saved = {"params": [p.value for p in params], "optimizer": first.state_dict()}
    sg.save(folder / "state.npz", saved)
    others = parameters()
    read = sg.load(folder / "state.npz")
    for p, array in zip(others, read["params"], strict=True):
        p.value = array
    second.load_state_dict(read["optimizer"])
    _, again = evaluate_steps(second, others)
    for run in range(runs, runs + 3):
        step(run)
        again(run)
    check(others, [p.value for p in params], 0.0, 0.0)
    ours, theirs = first.state_dict(), second.state_dict()
    assert {*ours} == {*theirs}
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name], array, err_msg=name)


@LAWS.law()
def states_of_another_kind_are_refused(sample, folder):
    """State goes into an optimizer of its kind, and not into one without state."""
    stateful, same, plain = sample.make(), sample.make(), optim.SGD(0.1)
    params, step = evaluate_steps(stateful)
    step(0)
    states = stateful.state_dict()
    same.load_state_dict(states)
    assert {*same.state_dict()} == {*states}
    if any(state.ndim for state in states.values()):
        with pytest.raises(SavedFileError, match="SGD keeps nothing for a parameter"):
            plain.load_state_dict(states)
        assert plain.state_dict() == {}
    else:
        plain.load_state_dict(states)
    del params


@LAWS.law()
def text_builds_it_again(sample, folder):
    """``repr`` is a call with the options that are not the defaults."""
    if sample.cls is optim.ParameterGroups:
        return  # its groups are functions
    optimizer = sample.make()
    again = eval(repr(optimizer), vars(optim))
    for field in dataclasses.fields(optimizer):
        assert getattr(again, field.name) == getattr(optimizer, field.name), field.name


# -- laws of compiled steps ------------------------------------------------------------------------

#: Laws of kernels, which take half a second.
COMPILED = Laws()


@COMPILED.law()
def kernels_take_the_steps_by_hand(sample, folder):
    optimizer = sample.make()
    params, step = compile_steps(optimizer)
    runs = 3 * optimizer.accumulate
    for run in range(runs):
        step(run)
    check(params, by_hand(optimizer, start(), gradient, runs))


@COMPILED.law()
def functions_and_threads_take_them_to_the_bit(sample, folder):
    """A traced function minimizes, on two threads; the graph runs on one."""
    params, train = trace_steps(sample.make(), "float32")
    others, step = compile_steps(sample.make(), "float32", threads=1)
    for run in range(2 * sample.options.get("accumulate", 1)):
        assert train(batch(run, "float32")) == step(run)["loss"]
    check(params, [p.value for p in others], 0.0, 0.0)


#: Kernels that an update takes beside the one of a step counter.
KERNELS = {
    optim.Adafactor: "means of rows and of the whole",
    optim.LAMB: "norms of the parameter and of its step",
    optim.Lion: "one for each result",
    optim.Muon: "products",
}


@COMPILED.law()
def a_parameter_is_updated_in_one_kernel(sample, folder):
    together = {"max_norm", "skip_nonfinite", "loss_scale", "accumulate"}
    options = {name: x for name, x in sample.options.items() if name not in together}
    w = sg.parameter("w", np.ones((64, 64), "float32"))
    updates = sample.cls(**options).apply({w: sg.input("g", (64, 64))})
    counters = [p for p in updates if not p.ndim]
    kernels = len(sg.compile(sg.Graph({}, updates)).kernels) - len(counters)
    assert (kernels > 1) is (sample.cls in KERNELS)
    assert kernels == 1 or sample.cls is not optim.Lion or kernels == 2


@COMPILED.law()
def gradients_of_ones_own_take_the_steps_of_minimize(sample, folder):
    """In a function over three traces, at once on its tape, and as arrays where nothing is traced.

    To the last bits where both are compiled; what is stored from step to step is the same.
    """
    first, second = sample.make(), sample.make()
    params, others = parameters(), parameters()

    @sg.function
    def minimize_loss(x):
        first.minimize(loss_of(x.mean(0), params))

    @sg.function
    def apply_slopes(x):
        slopes = sg.grad(loss_of(x.mean(0), others), others)
        second.apply_gradients(dict(zip(others, slopes, strict=True)))

    for count in (1, 3, 4):
        x = np.random.default_rng(count).normal(size=(count, 4))
        minimize_loss(x)
        apply_slopes(x)
    apply_slopes.eagerly(x)
    minimize_loss(x)
    slopes = sg.grad(lambda values: loss_of(x.mean(0), values))([p.value for p in others])
    second.apply_gradients(dict(zip(others, slopes, strict=True)))
    minimize_loss(x)
    check(others, [p.value for p in params], 1e-11, 1e-13)
    ours, theirs = first.state_dict(), second.state_dict()
    assert {*ours} == {*theirs}
    for name, state in ours.items():
        np.testing.assert_allclose(theirs[name], state, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sample", ALL, ids=str)
def test_a_law_of_every_optimizer(sample, law, tmp_path):
    LAWS.check(law, [sample], tmp_path)


@pytest.mark.thinned(8)
@pytest.mark.parametrize("law", COMPILED)
@pytest.mark.parametrize("sample", ALL, ids=str)
def test_a_law_of_every_compiled_optimizer(sample, law, tmp_path):
    COMPILED.check(law, [sample], tmp_path)
