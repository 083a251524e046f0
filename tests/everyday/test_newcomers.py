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


def assert_weights_give_the_result(layer, x, others):
    """Compare with the weights' sums of a sequence of another length, later keys forbidden."""

    def attend_to(x, y):
        return layer(x, y, y, is_causal=True, average_attn_weights=False)

    values = others @ layer.value.weight.value + layer.value.bias.value
    on_tape = [result.detach().numpy() for result in attend_to(Tensor(x), Tensor(others))]
    for out, weights in (sg.function(attend_to)(x, others), on_tape):
        seen = np.einsum("bhts,bshd->bthd", weights, values.reshape(3, 7, 2, 4)).reshape(3, 5, 8)
        by_hand = seen @ layer.out.weight.value + layer.out.bias.value
        np.testing.assert_allclose(out, by_hand, rtol=1e-4, atol=1e-4)


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
        run = sg.function(lambda x, words=words: layer(x, x, x, **words))
        actual, weights = run(x)
        np.testing.assert_allclose(actual, attend(allowed, x, layer), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
        assert not weights[np.broadcast_to(~allowed.any(axis=1), weights.shape)].any()
    pair = layer(Tensor(x), need_weights=False)
    assert len(pair) == 2
    assert_weights_give_the_result(layer, x, RNG.normal(size=(3, 7, 8)).astype("float32"))
    assert pair[1] is None
    with pytest.raises(DTypeError, match="attn_mask is float32, not bool"):
        layer(x, x, x, attn_mask=np.zeros((5, 5), "float32"))
    head_weights = sg.function(lambda x: layer(x, x, x, average_attn_weights=False)[1])(x)
    assert head_weights.shape == (3, 2, 5, 5)
    v = (x @ layer.value.weight.value + layer.value.bias.value).reshape(3, 5, 2, 4)
    seen = np.einsum("bhts,bshd->bthd", head_weights, v).reshape(3, 5, 8)
    actual = seen @ layer.out.weight.value + layer.out.bias.value
    run = sg.function(lambda x: layer(x, x, x)[0])
    np.testing.assert_allclose(run(x), actual, rtol=1e-4, atol=1e-4)
    with pytest.raises(ArgumentError, match="batch_first=False"):
        sg.nn.MultiheadAttention(8, 2, batch_first=False)


# -- modules in PyTorch's words --------------------------------------------------------------------


def test_a_padding_row_is_zero_and_stays():
    ids = np.array([[1, 3, 0], [0, 2, 1]])
    for padding, row in ((0, 0), (-1, 3), (3, 3)):
        layer = sg.nn.Embedding(4, 2, padding_idx=padding, seed=0, dtype="float64")
        first_values = layer.weight.value.copy()
        assert not first_values[row].any()
        slopes = sg.grad(lambda layer: (layer(ids) ** 2).sum())(layer)
        counts = np.bincount(ids.ravel(), minlength=4)[:, None]
        np.testing.assert_allclose(slopes.weight, 2 * counts * first_values)
        slopes = sg.grad(lambda layer: (layer(ids - 4) + 1.0).sum())(layer)
        expected = np.where(np.arange(4)[:, None] == row, 0, counts) + np.zeros((4, 2))
        np.testing.assert_array_equal(slopes.weight, expected)
    for make in (
        lambda: sg.nn.Embedding(4, 2, padding_idx=4),
        lambda: sg.nn.embedding(ids, np.ones((4, 2)), -5),
    ):
        with pytest.raises(ArgumentError, match="is no row of 4"):
            make()


@pytest.mark.parametrize("freeze", [True, False])
def test_rows_of_an_array_train_if_they_are_not_frozen(freeze):
    rows = np.arange(8.0).reshape(4, 2)
    table = sg.nn.Embedding.from_pretrained(rows, freeze=freeze, padding_idx=1)
    head = sg.nn.Linear(2, 1, dtype="float64", seed=0)
    opt, x = sg.optim.SGD(0.001), np.array([0, 1, 3])

    @sg.function
    def step(x):
        loss = (head(table(x)) ** 2).sum()
        opt.minimize(loss)
        return loss

    assert step(x) > step(x)
    unchanged = (table.weight.value == rows).all(axis=1)
    assert unchanged.tolist() == ([True] * 4 if freeze else [False, True, True, False])
    assert len(table.parameters()) == 1 - freeze
    assert list(table.state_dict()) == ["weight"]
    with pytest.raises(sg.errors.RankError, match="is not a matrix"):
        sg.nn.Embedding.from_pretrained(np.ones(3))


def test_modules_are_walked_as_pytorch_does_it():
    net = sg.nn.Sequential(sg.nn.Linear(2, 3), sg.nn.Sequential(sg.nn.Linear(3, 1), sg.nn.ReLU()))
    first, inner = net[0], net[1]
    assert [*net.children()] == [first, inner]
    assert [child for _, child in inner.named_children()] == [inner[0], inner[1]]
    path = next(path for path, module in net.named_modules() if module is inner[0])
    assert net.get_submodule(path) is inner[0]
    assert net.get_submodule("") is net
    with pytest.raises(sg.errors.UnknownNameError, match=r"no module .layers\.7."):
        net.get_submodule("layers.7")
    called = []
    assert net.apply(called.append) is net
    assert called[-1] is net
    assert len(called) == 5
    assert called.index(inner[0]) < called.index(inner)


@pytest.mark.parametrize(
    "name", ["freeze", "register_forward_hook", "get_parameter", "share_memory", "extra_repr"]
)
def test_a_method_of_modules_that_is_missing_says_what_to_write(name):
    with pytest.raises(sg.errors.UnknownAttributeError) as caught:
        getattr(sg.nn.Linear(2, 2), name)
    assert caught.value.hint


def test_what_hints_say_for_utilities_of_pytorch_does_it():
    rows = [sg.constant(np.arange(1.0, n + 1)) for n in (3, 1, 2)]
    n = 3
    padded = sg.stack([sg.pad(row, (0, n - len(row))) for row in rows])
    np.testing.assert_array_equal(sg.evaluate(padded), [[1, 2, 3], [1, 0, 0], [1, 2, 0]])
    v, g = np.array([[3.0, 1.0], [4.0, 0.0]]), np.array([10.0, 2.0])
    weight = sg.evaluate(g * sg.constant(v) / sg.linalg.norm(v, axis=0))
    np.testing.assert_allclose(weight, [[6.0, 2.0], [8.0, 0.0]])
    net = sg.nn.Linear(2, 2, seed=0)
    average = sg.optim.Average(net, decay=0.5)
    first_values = net.weight.value.copy()
    net.weight.value = first_values + 2.0
    average.update()
    np.testing.assert_allclose(average.averages[net.weight].value, first_values + 1.0, rtol=1e-6)
    rng = sg.random.Generator(0)
    p = np.array([0.25, 0.0, 0.75])
    drawn = sg.evaluate(rng.categorical(sg.log(sg.constant(p)), shape=(400,)))
    counts = np.bincount(drawn, minlength=3)
    assert counts[1] == 0
    assert 60 < counts[0] < 140


def test_a_complex_step_by_hand_descends_along_the_conjugate():
    loss = lambda z: sg.abs(z - (1 + 2j)) ** 2
    z = np.complex128(0)
    for _ in range(60):
        z = z - 0.1 * np.conj(sg.grad(loss)(z))
    np.testing.assert_allclose(z, 1 + 2j, atol=1e-5)


@pytest.mark.parametrize("how", ["all", "named", "made with", "stopped"])
def test_a_loss_trains_the_teacher_unless_something_says_what_trains(how):
    teacher, student = (sg.nn.Linear(2, 1, seed=k, dtype="float64") for k in (0, 1))
    opt = sg.optim.SGD(student.parameters(), lr=0.1) if how == "made with" else sg.optim.SGD(0.1)

    @sg.function
    def step(x):
        seen = sg.stop_gradient(teacher(x)) if how == "stopped" else teacher(x)
        loss = ((student(x) - seen) ** 2).mean()
        opt.minimize(loss, student) if how == "named" else opt.minimize(loss)
        return loss

    first_values = [layer.weight.value.copy() for layer in (teacher, student)]
    step(np.array([[1.0, 2.0], [0.5, -1.0]]))
    changed = [
        (w != layer.weight.value).any()
        for w, layer in zip(first_values, (teacher, student), strict=True)
    ]
    assert changed == [how == "all", True]
