"""Optimizers on the tape step in place: the same bits, all or nothing, old values for old tapes."""

import gc
import signal
import threading
from itertools import pairwise

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, detect_mutation, no_grad
from staticgrad.errors import DisconnectedError, ImmutableError, TapeError
from staticgrad.optim.state import states_made_by

RULES = [
    (sg.optim.SGD, {}),
    (sg.optim.SGD, {"momentum": 0.9}),
    (sg.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (sg.optim.Adam, {}),
    (sg.optim.AdamW, {}),
    (sg.optim.Adam, {"max_norm": 0.5, "skip_nonfinite": True}),
    (sg.optim.SGD, {"accumulate": 2, "max_value": 0.5}),
    (sg.optim.RMSProp, {}),
    (sg.optim.Lion, {}),
    (sg.optim.Adafactor, {}),
]
SHAPES = [(7,), (3, 5000), (100, 130), (), (0, 4)]


def step_by_arrays(rule, params, grads):
    """The rule on whole tensors, operation by operation: what a step means."""
    states = {}

    def state(owner, name, shape, dtype):
        return states.setdefault((owner, name), Tensor.of(np.zeros(shape, dtype)))

    for slopes in grads:
        with no_grad(), states_made_by(state):
            updated = rule.advance(dict(zip(params, map(Tensor.of, slopes), strict=True)))
        for tensor, value in updated.items():
            tensor.data = np.array(value.data)


@pytest.mark.thinned
@pytest.mark.parametrize(("cls", "options"), RULES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_give_the_bits_of_whole_arrays(cls, options, order, dtype):
    random = np.random.default_rng(0)

    def drawn():
        return [np.asarray(random.normal(size=s).astype(dtype), order=order) for s in SHAPES]

    if (order == "F" and cls is sg.optim.Adafactor) or options.get("max_norm"):
        order = "C"  # sums over an array are added up as it lies in memory
    start, grads = drawn(), [drawn() for _ in range(4)]
    rule = cls(0.1, **options)
    expected, actual = [[Tensor.of(a.copy(order)) for a in start] for _ in range(2)]
    step_by_arrays(rule, expected, grads)
    for tensor in actual:
        tensor.requires_grad = True
    arrays, steps = [tensor.array for tensor in actual], rule.on(actual)
    for slopes in grads:
        for tensor, slope in zip(actual, slopes, strict=True):
            tensor.grad = slope
        steps.step()
    for tensor, array, reference in zip(actual, arrays, expected, strict=True):
        assert tensor.array is array  # in place
        assert tensor.data.tobytes() == reference.data.tobytes()


def test_a_step_that_cannot_be_written_changes_nothing():
    a, b = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    steps = sg.optim.SGD(0.5, momentum=0.9).on([a, b])
    (a * b).sum().backward()
    b.data.flags.writeable = False
    with pytest.raises(ImmutableError):
        steps.step()
    assert a.tolist() == [1.0, 2.0]
    b.data = b.data.copy()
    steps.step()
    assert a.tolist() == [1.0 - 0.5 * 3.0, 2.0 - 0.5 * 4.0]  # and no momentum was kept


def test_a_rate_may_be_a_tensor_or_a_parameter_that_changes():
    rates = [Tensor(0.5), sg.parameter("rate", np.float32(0.5))]
    for rate in rates:
        w = Tensor([1.0], requires_grad=True)
        steps = sg.optim.SGD(rate).on([w])
        for value in (0.5, 0.25):
            if isinstance(rate, Tensor):
                rate.data[...] = value
            else:
                rate.value = value
            w.grad = np.ones(1, "float32")
            steps.step()
        assert w.item() == 0.25


def net_step(opt):
    w = sg.parameter("w", np.array([[1.0, 2.0], [3.0, 4.0]]))
    b = sg.parameter("b", np.zeros(2))

    @sg.function
    def step(x):
        loss = ((x @ w.T + b) ** 2).mean()
        opt.minimize(loss)
        return loss

    return w, b, step


@pytest.mark.slow
def test_a_function_that_runs_at_once_steps_as_a_compiled_one():
    x = np.random.default_rng(0).normal(size=(5, 2))
    for opt in (lambda: sg.optim.Adam(0.1), lambda: sg.optim.SGD(0.1, momentum=0.9, max_norm=0.1)):
        (w, b, eager), (v, c, compiled) = net_step(opt()), net_step(opt())
        for _ in range(4):
            np.testing.assert_allclose(eager.eagerly(x), compiled(x), rtol=1e-12)
        np.testing.assert_allclose(w.value, v.value, rtol=1e-12)
        np.testing.assert_allclose(b.value, c.value, rtol=1e-12)


def test_an_error_behind_a_step_leaves_everything_as_it_was():
    w, opt = sg.parameter("w", np.array([2.0])), sg.optim.SGD(0.5, momentum=0.9)

    @sg.function
    def step(x, fails):
        opt.minimize((w * x).sum())
        if fails:
            raise KeyError("mine")
        return w

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            step.eagerly(np.ones(1), True)
    assert w.value == 2.0
    step.eagerly(np.ones(1), False)
    assert w.value == 1.5  # momentum was zero


def test_frozen_and_shared_parameters():
    layer = sg.nn.Linear(2, 2, bias=False)
    net, opt = sg.nn.Sequential(layer, sg.nn.Tanh(), layer), sg.optim.SGD(0.1)
    frozen = sg.nn.Linear(2, 2)
    frozen_weight, start = frozen.weight.value, layer.weight.value

    @sg.function
    def step(x):
        loss = (frozen(net(x)) ** 2).sum()
        opt.minimize(loss, net.parameters())
        return loss

    x = np.ones((3, 2), "float32")
    step.eagerly(x)
    np.testing.assert_array_equal(frozen.weight.value, frozen_weight)
    stepped_weight = layer.weight.value
    layer.weight.value = start
    step(x)
    np.testing.assert_allclose(stepped_weight, layer.weight.value, rtol=1e-5)


def test_a_loss_that_does_not_reach_a_parameter_is_refused_at_its_line():
    w, v, opt = sg.parameter("w", np.ones(1)), sg.parameter("v", np.ones(1)), sg.optim.SGD(1.0)

    @sg.function
    def step():
        opt.minimize((w * w).sum(), [w, v])

    with pytest.raises(DisconnectedError) as caught:
        step.eagerly()
    assert "minimize((w * w)" in str(caught.value) or "test_stepping.py" in str(caught.value)
    assert w.value == 1.0


def _write_by_hand(w):
    w.value = np.zeros((2, 2))


def _write_in_place(w):
    w.value -= 5.0


def _write_compiled(w):
    f = sg.compile(sg.Graph({}, updates={w: w * 0.0}))
    for _ in range(40):  # until its locks are reserved
        f.run({})


def _write_by_a_step(w):
    sg.optim.SGD(1.0).apply_gradients({w: np.ones((2, 2))})


def _write_by_another_thread(w):
    thread = threading.Thread(target=_write_compiled, args=(w,))
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    "write",
    [_write_by_hand, _write_in_place, _write_compiled, _write_by_a_step, _write_by_another_thread],
)
def test_a_tape_has_the_values_that_it_was_made_of(write):
    start = np.array([[1.0, 2.0], [3.0, 4.0]])
    w = sg.parameter("w", start)
    running = sg.compile(sg.Graph({}, updates={w: w * 1.0}))
    for _ in range(40):
        running.run({})  # reserves the lock
    x = Tensor(np.array([[1.0, -1.0]]), requires_grad=True)
    with sg.eager_mode():
        transposed = sg.transpose(w)
        y = x @ w + x @ transposed
        z = (transposed[1:] * 2.0).sum()
    write(w)
    running.run({})
    changed = w.value
    assert not np.array_equal(changed, start)
    np.testing.assert_array_equal(transposed.data, start.T)
    np.testing.assert_array_equal((x @ transposed).data, x.data @ start.T)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, np.ones((1, 2)) @ (start.T + start))
    np.testing.assert_allclose(w.grad, [[2.0, 0.0], [0.0, -2.0]])
    assert z.item() == 2.0 * start.T[1:].sum()
    with sg.eager_mode():
        np.testing.assert_array_equal((w * 1.0).data, changed)
    np.testing.assert_array_equal(w.value, changed)


def test_a_tensor_that_a_step_changed_is_found_out():
    w = Tensor([1.0, 2.0], requires_grad=True)
    steps = sg.optim.SGD(0.5).on([w])
    with detect_mutation():
        loss = (w * w).sum()
    loss.backward(retain_graph=True)
    steps.step()
    with pytest.raises(TapeError, match="changed between forward and backward"):
        loss.backward()


@pytest.mark.slow
def test_an_interrupt_finds_the_old_values_or_the_new_ones():
    params = [sg.parameter(f"w{k}", np.zeros(50_000)) for k in range(4)]
    opt, seen = sg.optim.SGD(1.0), []
    grads = {p: np.full(50_000, -1.0) for p in params}

    def look(*_):
        if len(seen) < 500:
            seen.append({float(v) for p in params for v in (p.value[0], p.value[-1])})

    handler = signal.signal(signal.SIGALRM, look)
    try:
        signal.setitimer(signal.ITIMER_REAL, 5e-3, 5e-3)
        for _ in range(60):
            opt.apply_gradients(grads)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
    assert seen
    assert all(len(values) == 1 for values in seen)
    gc.collect()
    assert {float(p.value[7]) for p in params} == {60.0}


SIZES = (30, 24, 16, 5)
STEPS = 50


def compiled_losses(initial, batches, dtype):
    x, labels = sg.input("x", ("batch", SIZES[0]), dtype), sg.input("labels", ("batch",), "int64")
    h = x
    parameters = []
    for n, (w0, b0) in enumerate(initial):
        w, b = sg.parameter(f"w{n}", w0), sg.parameter(f"b{n}", b0)
        parameters += [w, b]
        h = h @ w + b if n == len(initial) - 1 else sg.nn.relu(h @ w + b)
    loss = sg.nn.cross_entropy(h, labels)
    updates = sg.optim.SGD(0.1, momentum=0.5).updates(loss, parameters)
    step = sg.compile(sg.Graph({"loss": loss}, updates=updates))
    return [float(step.run({"x": a, "labels": c})["loss"]) for a, c in batches]


def eager_losses(initial, batches, dtype):
    layers = []
    for w0, b0 in initial:
        layer = sg.nn.Linear(*w0.shape, dtype=dtype)
        layer.load_state_dict({"weight": w0, "bias": b0})
        layers += [layer, sg.nn.ReLU()]
    net, losses = sg.nn.Sequential(*layers[:-1]), []
    optimizer = sg.optim.SGD(0.1, momentum=0.5)
    for a, c in batches:
        loss = sg.nn.cross_entropy(net(Tensor(a, dtype=dtype)), c)
        optimizer.minimize(loss)
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_both_ways_of_training_give_the_same_losses(dtype, tolerance):
    rng = np.random.default_rng(0)
    initial = [
        ((rng.normal(size=(m, n)) / np.sqrt(m)).astype(dtype), np.zeros(n, dtype))
        for m, n in pairwise(SIZES)
    ]
    truth = rng.normal(size=(SIZES[0], SIZES[-1]))
    batches = []
    for _ in range(STEPS):
        x = rng.normal(size=(32, SIZES[0])).astype(dtype)
        batches.append((x, np.argmax(x @ truth, axis=1)))
    expected = compiled_losses(initial, batches, dtype)
    actual = eager_losses(initial, batches, dtype)
    for step, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert abs(ours - theirs) <= tolerance * (step + 1) * abs(theirs), step
    assert np.mean(actual[-5:]) < 0.8 * np.mean(actual[:5])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_gradient_that_lies_over_its_tensor_is_read_before_it_is_written(momentum):
    """The gradient is the tensor's own array from the end; blocks would read what they wrote."""
    tensor = Tensor(np.arange(10_000.0), requires_grad=True)
    steps = sg.optim.SGD(0.1, momentum=momentum).on([tensor])
    expected, velocity = np.arange(10_000.0), np.zeros(10_000)
    for _ in range(3):
        tensor.grad = tensor.data[::-1]
        steps.step()
        velocity = momentum * velocity + expected[::-1]
        expected = expected - 0.1 * velocity
    np.testing.assert_allclose(tensor.data, expected, rtol=1e-12)


def test_a_loss_that_is_a_parameter_alone_is_minimized():
    p = sg.parameter("p", np.array(2.0))
    with sg.eager_mode():
        sg.optim.SGD(0.25).minimize(Tensor.lift(p))
    assert float(p.value) == 1.75
