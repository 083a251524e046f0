"""Calls that newcomers type first: other libraries' spellings, and functions of plain arrays."""

import copy
import pickle

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, SymbolicValueError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4)).astype("float32")
Y = RNG.integers(0, 3, 16)
TIMES = np.linspace(0.0, 2.0, 5)


def spring(t, y):
    return [y[1], -y[0] * (1.0 + t)]


#: Functions of arrays and numbers alone -> their results by NumPy, SciPy or hand.
AT_ONCE = {
    "fftfreq": (lambda: sg.fft.fftfreq(5, 0.5), np.fft.fftfreq(5, 0.5)),
    "rfftfreq": (lambda: sg.fft.rfftfreq(np.int64(6), d=2.0), np.fft.rfftfreq(6, 2.0)),
    "rk4": (lambda: sg.ode.rk4(lambda t, y: -y, 2.0, TIMES, steps=50), 2.0 * np.exp(-TIMES)),
    "rk45": (lambda: sg.ode.rk45(lambda t, y: -y, np.ones(2), 0.0, 1.0), np.full(2, np.exp(-1))),
    "solve": (
        lambda: sg.ode.solve(spring, np.array([1.0, 0.0]), TIMES, rtol=1e-8, atol=1e-10),
        solve_ivp(spring, (0, 2), [1, 0], t_eval=TIMES, rtol=1e-10, atol=1e-12).y.T,
    ),
    "root": (lambda: sg.implicit.root(lambda x, a: x**3 - a, np.ones(2), 8.0), np.full(2, 2.0)),
    "fixed_point": (lambda: sg.implicit.fixed_point(sg.cos, 1.0), 0.7390851332151607),
    "global_norm": (lambda: sg.optim.global_norm([np.array([3.0]), {"b": np.array([4.0])}]), 5.0),
    "clip_by_global_norm": (
        lambda: sg.optim.clip_by_global_norm([np.array([3.0, 4.0])], 1.0)[0], [0.6, 0.8]
    ),
    "clip_by_value": (lambda: sg.optim.clip_by_value({"w": np.array([3.0])}, 1.0)["w"], [1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_ONCE)
def test_functions_of_plain_arrays_compute_at_once(name):
    call, expected = AT_ONCE[name]
    actual = call()
    assert isinstance(actual, np.ndarray | np.generic)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_what_reads_a_value_stays_a_value():
    rate = sg.parameter("rate", 2.0)
    actual = sg.ode.rk4(lambda t, y: -rate * y, 1.0, TIMES, steps=50)
    np.testing.assert_allclose(sg.evaluate(actual), np.exp(-2 * TIMES), rtol=1e-6)
    slope = sg.evaluate(sg.grad(actual[-1], rate))
    np.testing.assert_allclose(slope, -2 * np.exp(-4.0), rtol=1e-6)
    size = sg.input("x", ("n",)).shape[0]
    actual = sg.fft.fftfreq(size) * sg.ones((size,))
    assert str(actual.shape) == "(n,)"


def test_numbers_that_constants_determine_are_said_to_be_there():
    constant = sg.linspace(0.0, 1.0, 3).sum()
    for ask in (float, bool, np.asarray, lambda x: f"{x:.2f}"):
        with pytest.raises(SymbolicValueError, match="it depends on no input"):
            ask(constant)
    assert sg.evaluate(constant) == 1.5
    named = sg.ones((sg.dim("n"),)).sum()
    for value in (constant * sg.input("x", ()), constant * sg.parameter("w", 1.0), named):
        with pytest.raises(SymbolicValueError) as caught:
            float(value)
        assert "depends on no input" not in caught.value.hint


def test_solvers_take_the_arguments_of_scipy():
    actual = sg.ode.solve(fun=spring, y0=np.array([1.0, 0.0]), t_eval=TIMES, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(actual, AT_ONCE["solve"][1], rtol=1e-6, atol=1e-9)
    f = sg.function(lambda k: sg.ode.rk4(lambda t, y: (y[1], -k * y[0]), np.ones(2), TIMES)[-1])
    ours = sg.function(
        lambda k: sg.ode.rk4(lambda t, y: sg.stack([y[1], -k * y[0]]), np.ones(2), TIMES)[-1]
    )
    np.testing.assert_array_equal(f(2.0), ours(2.0))


def test_samplers_and_generators_take_the_arguments_of_others():
    def density(x):
        return -(x**2).sum() / 2

    ours = sg.stats.nuts(density, np.zeros(1), 3, draws=5, warmup=5, chains=1)
    pymc = sg.stats.nuts(density, np.zeros(1), seed=3, draws=5, tune=5, chains=1)
    jax = sg.stats.nuts(density, np.zeros(1), rng_key=3, num_samples=5, num_warmup=5, num_chains=1)
    for theirs in (pymc, jax):
        np.testing.assert_array_equal(theirs.draws, ours.draws)
    first, second = sg.random.Generator(4), sg.random.Generator(4)
    np.testing.assert_array_equal(
        sg.evaluate(first.normal(size=(2, 3))), sg.evaluate(second.normal(shape=(2, 3)))
    )


# -- optimizers that are made with parameters ------------------------------------------------------


def model():
    return sg.nn.Sequential(sg.nn.Linear(4, 8, seed=0), sg.nn.ReLU(), sg.nn.Linear(8, 3, seed=1))


def losses_of(net, opt, steps=4):
    @sg.function
    def step(x, y):
        loss = sg.nn.cross_entropy(net(x), y)
        opt.minimize(loss)
        return loss

    return [float(step(X, Y)) for _ in range(steps)]


@pytest.mark.parametrize(
    "make",
    [
        lambda net: sg.optim.Adam(net.parameters(), lr=0.01),
        lambda net: sg.optim.Adam(net.parameters(), 0.01),
        lambda net: sg.optim.Adam(params=net, lr=0.01),
        lambda net: sg.optim.Adam((p for p in net.parameters()), learning_rate=0.01),
    ],
)
def test_parameters_come_first_as_in_pytorch(make):
    net, twin = model(), model()
    actual = losses_of(net, make(net))
    assert actual == losses_of(twin, sg.optim.Adam(0.01))


def test_only_the_given_parameters_are_updated():
    net = model()
    values_before = [p.value for p in net.parameters()]
    losses_of(net, sg.optim.SGD(net[2].parameters(), lr=0.1), steps=1)
    values_after = [p.value for p in net.parameters()]
    changed = [bool((a != b).any()) for a, b in zip(values_before, values_after, strict=True)]
    assert changed == [False, False, True, True]
    opt = sg.optim.SGD(net[2], lr=0.1)
    x, y = sg.input("x", (2, 4), "float32"), sg.input("y", (2,), "int64")
    updates = opt.updates(sg.nn.cross_entropy(net(x), y))
    assert {p.name for p in updates} == {p.name for p in net[2].parameters()}


def test_the_training_loop_of_pytorch_runs_on_the_tape():
    net, twin = model(), model()
    opt = sg.optim.Adam(net.parameters(), lr=0.01)
    actual = []
    for _ in range(4):
        opt.zero_grad()
        loss = sg.nn.cross_entropy(net(Tensor(X)), Tensor(Y))
        loss.backward()
        opt.step()
        actual.append(loss.item())
    np.testing.assert_allclose(actual, losses_of(twin, sg.optim.Adam(0.01)), rtol=1e-5)


def test_tensors_are_stepped_as_in_pytorch():
    w = Tensor([1.0, 2.0], requires_grad=True)
    opt = sg.optim.SGD([w], lr=0.25, momentum=0.5)
    for _ in range(2):
        opt.zero_grad()
        (w * w).sum().backward()
        opt.step()
    assert w.tolist() == [0.0, 0.0]  # 1 - .5 = .5, then .5 - .25 * (.5 * 2 + 1)


def test_copies_step_the_parameters_of_the_copied_model():
    net = model()
    opt = sg.optim.Adam(net.parameters(), lr=0.01)
    for again in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        copied, its = again((net, opt))
        initial = [p.value for p in net.parameters()]
        losses_of(copied, its, steps=1)
        assert all((p.value == b).all() for p, b in zip(net.parameters(), initial, strict=True))
        assert any((p.value != b).any() for p, b in zip(copied.parameters(), initial, strict=True))


# -- attention in PyTorch's words ------------------------------------------------------------------


def attend(allowed, q, layer):
    """The layer by hand, in float64, with a mask [batch, heads, t, s] of what is allowed."""
    parts = [layer.query, layer.key, layer.value]
    w = [(p.weight.value.astype("float64"), p.bias.value.astype("float64")) for p in parts]
    b, t, d = q.shape
    q, k, v = ((q @ m + c).reshape(b, t, 2, d // 2).swapaxes(1, 2) for m, c in w)
    scores = np.where(allowed, q @ k.swapaxes(-1, -2) / np.sqrt(d // 2), -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    out = (shares / shares.sum(-1, keepdims=True)) @ v
    out = out.swapaxes(1, 2).reshape(b, t, d)
    return out @ layer.out.weight.value + layer.out.bias.value


def test_masks_of_pytorch_forbid():
    layer = sg.nn.MultiheadAttention(8, 2, batch_first=True, seed=0)
    for p in layer.parameters():
        p.value = RNG.normal(size=p.shape).astype(p.dtype.numpy)
    x = RNG.normal(size=(3, 5, 8)).astype("float32")
    later = np.triu(np.ones((5, 5), bool), 1)
    heads = RNG.random((6, 5, 5)) < 0.4
    heads[:, range(5), range(5)] = False
    padding = np.zeros((3, 5), bool)
    padding[0, 3:] = True
    for words, allowed in (
        ({"attn_mask": later}, ~later[None, None]),
        ({"key_padding_mask": padding}, ~padding[:, None, None]),
        ({"attn_mask": heads}, ~heads.reshape(3, 2, 5, 5)),
        ({"attn_mask": later, "key_padding_mask": padding}, ~later & ~padding[:, None, None]),
        ({"is_causal": True}, ~later[None, None]),
    ):
        run = sg.function(lambda x, words=words: layer(x, x, x, need_weights=False, **words)[0])
        np.testing.assert_allclose(run(x), attend(allowed, x, layer), rtol=1e-4, atol=1e-4)
    pair = layer(Tensor(x), need_weights=False)
    assert len(pair) == 2
    assert pair[1] is None
    with pytest.raises(DTypeError, match="attn_mask is float32, not bool"):
        layer(x, x, x, attn_mask=np.zeros((5, 5), "float32"))
    with pytest.raises(ArgumentError, match="weights are not returned"):
        layer(x, x, x, need_weights=True)
    with pytest.raises(ArgumentError, match="batch_first=False"):
        sg.nn.MultiheadAttention(8, 2, batch_first=False)
