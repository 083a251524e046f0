"""Every later reader of a call has a parameter's new value: tape, graph and NumPy."""

import numpy as np
import pytest

import staticgrad as sg

RNG = np.random.default_rng(3)
X = RNG.normal(size=(8, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.1
RATE = 0.1


def mean_square(w, x, y):
    return ((x @ w - y) ** 2).mean()


def slope(w, x=X, y=Y):
    return 2 * x.T @ (x @ w - y) / len(x)


def steps(w, opt):
    """Make three steps of one call, and return the loss after them."""

    def step(x, y):
        for _ in range(3):
            opt.minimize(mean_square(w, x, y))
        return mean_square(w, x, y)

    def by_hand(at):
        for _ in range(3):
            at = at - RATE * slope(at)
        return at, mean_square(at, X, Y)

    return step, by_hand


def reptile(w, _opt):
    """Step on one half, take the gradient on the other, step from the start."""

    def step(x, y):
        start, inner = w + 0.0, sg.optim.SGD(RATE)
        for _ in range(2):
            inner.minimize(mean_square(w, x[:4], y[:4]), [w])
        loss = mean_square(w, x[4:], y[4:])
        w.update(start - RATE * sg.grad(loss, w))
        return loss

    def by_hand(at):
        fast = at
        for _ in range(2):
            fast = fast - RATE * slope(fast, X[:4], Y[:4])
        return at - RATE * slope(fast, X[4:], Y[4:]), mean_square(fast, X[4:], Y[4:])

    return step, by_hand


def line_search(w, _opt):
    """Halve the step until the loss is less, in a known number of tries."""

    def step(x, y):
        start, first = w + 0.0, mean_square(w, x, y)
        direction = sg.grad(first, w)
        w.update(start - 4.0 * direction)
        for k in range(1, 6):
            tried = mean_square(w, x, y)
            w.update(sg.where(tried < first, w, start - 4.0 * 0.5**k * direction))
        return mean_square(w, x, y)

    def by_hand(at):
        first, direction, size = mean_square(at, X, Y), slope(at), 4.0
        for _ in range(5):
            if mean_square(at - size * direction, X, Y) < first:
                break
            size /= 2
        return at - size * direction, mean_square(at - size * direction, X, Y)

    return step, by_hand


def decay(w, opt):
    """An update between two reads: gradients add up over both values, none passes the update."""

    def step(x, y):
        first = mean_square(w, x, y)
        w.update(w * 0.5)
        opt.minimize(first + mean_square(w, x, y), [w])
        return w

    def by_hand(at):
        new = at * 0.5 - RATE * (slope(at) + slope(at * 0.5))
        return new, new

    return step, by_hand


@pytest.mark.parametrize(
    "program", [steps, reptile, line_search, pytest.param(decay, id="decayed")]
)
@pytest.mark.parametrize("way", ["graph", "tape"])
def test_later_reads_have_the_new_value(program, way):
    w = sg.parameter("w", np.array([0.3, 0.1, -0.2]))
    step, by_hand = program(w, sg.optim.SGD(RATE))
    f = sg.function(step)
    expected = w.value
    for _ in range(2):
        actual = (f if way == "graph" else f.eagerly)(X, Y)
        expected, result = by_hand(expected)
        np.testing.assert_allclose(actual, result, rtol=1e-12)
        np.testing.assert_allclose(w.value, expected, rtol=1e-12)


@pytest.mark.parametrize("make", [sg.optim.SGD, sg.optim.Adam], ids=["sgd", "adam"])
def test_a_critic_steps_more_often(make):
    """By default an optimizer leaves what another one has stepped in the call."""

    def losses(critic, actor, x):
        return ((critic - sg.stop_gradient(actor) * x) ** 2).mean(), (critic * actor * x).mean()

    actual = []
    for call in ("graph", "tape", "separate calls"):
        critic, actor = sg.parameter("critic", np.ones(3)), sg.parameter("actor", np.full(3, 0.5))
        of_critic, of_actor = make(RATE, name="first"), make(RATE, name="second")

        def critic_step(x, critic=critic, actor=actor, opt=of_critic):
            opt.minimize(losses(critic, actor, x)[0])

        def actor_step(x, critic=critic, actor=actor, opt=of_actor):
            loss = losses(critic, actor, x)[1]
            opt.minimize(loss, [actor])
            return loss

        def step(x, critic=critic, actor=actor, first=critic_step, opt=of_actor):
            for _ in range(3):
                first(x)
            loss = losses(critic, actor, x)[1]
            opt.minimize(loss)
            return loss

        if call == "separate calls":
            step_critic, step_actor = sg.function(critic_step), sg.function(actor_step)
            for _ in range(3):
                step_critic.eagerly(X)
            loss = step_actor.eagerly(X)
        else:
            f = sg.function(step)
            loss = (f if call == "graph" else f.eagerly)(X)
        actual.append((loss, *critic.value, *actor.value))
    np.testing.assert_allclose(actual[0], actual[2], rtol=1e-12)
    np.testing.assert_allclose(actual[1], actual[2], rtol=1e-12)


@pytest.mark.parametrize("way", ["graph", "tape"])
def test_state_of_the_program_is_no_parameter_to_step(way):
    w, h, opt = sg.parameter("w", np.ones(3)), sg.parameter("h", np.ones(3)), sg.optim.SGD(RATE)

    def step(x):
        for _ in range(2):
            new = sg.tanh(h * w + x)
            h.update(sg.stop_gradient(new))
            opt.minimize((new**2).sum())

    f = sg.function(step)
    (f if way == "graph" else f.eagerly)(X[0])
    at, state = np.ones(3), np.ones(3)
    for _ in range(2):
        new = np.tanh(state * at + X[0])
        at, state = at - RATE * 2 * new * (1 - new**2) * state, new
    np.testing.assert_allclose(w.value, at, rtol=1e-12)
    np.testing.assert_allclose(h.value, state, rtol=1e-12)


def test_a_loop_until_a_loss_runs_on_the_tape():
    w, opt = sg.parameter("w", np.zeros(3)), sg.optim.SGD(RATE)

    def step(x, y):
        loss, count = mean_square(w, x, y), 0
        while loss > 0.5:
            opt.minimize(loss)
            loss, count = mean_square(w, x, y), count + 1
        return loss, count

    at, expected = np.zeros(3), 0
    while mean_square(at, X, Y) > 0.5:
        at, expected = at - RATE * slope(at), expected + 1
    f = sg.function(step)
    loss, count = f.eagerly(X, Y)
    assert count == expected > 1
    np.testing.assert_allclose((loss, *w.value), (mean_square(at, X, Y), *at), rtol=1e-12)
    with pytest.raises(sg.errors.SymbolicValueError) as caught:
        f(X, Y)
    assert caught.value.at.resolve().text.strip() == "while loss > 0.5:"


def test_nothing_is_written_if_a_call_raises_after_a_step():
    w, opt = sg.parameter("w", np.ones(3)), sg.optim.Adam(RATE)

    def step(x, y, fails):
        for _ in range(2):
            opt.minimize(mean_square(w, x, y))
        if fails and mean_square(w, x, y) > 0:
            raise RuntimeError("stop")

    f = sg.function(step)
    f.eagerly(X, Y, False)
    value_before, state = w.value, opt.state_dict()
    with pytest.raises(RuntimeError):
        f.eagerly(X, Y, True)
    np.testing.assert_array_equal(w.value, value_before)
    for name, array in opt.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_what_was_read_before_keeps_its_value_and_its_gradient():
    w = sg.parameter("w", np.array([1.0, 2.0]))

    def step(x):
        early = (w * w * x).sum()
        w.update(w * 10.0)
        return early, sg.grad(early, w), w * 1.0, w

    for function in (sg.function(step), sg.function(step).eagerly):
        w.value = np.array([1.0, 2.0])
        early, slopes, later, last = function(np.ones(2))
        assert early == 5.0
        np.testing.assert_array_equal(slopes, [2.0, 4.0])
        np.testing.assert_array_equal(later, [10.0, 20.0])
        np.testing.assert_array_equal(last, [10.0, 20.0])


def test_tangents_and_loops_read_the_new_value():
    w = sg.parameter("w", np.array(2.0))

    def step(x):
        w.update(w * 3.0)
        tangent = sg.jvp(x * w * w, w, np.array(1.0))
        return tangent, sg.fori_loop(0, 2, lambda _i, h: h * w, x)

    for function in (sg.function(step), sg.function(step).eagerly):
        w.value = 2.0
        tangent, looped = function(np.array(0.5))
        assert (tangent, looped) == (6.0, 18.0)


def test_updates_collected_for_a_graph_read_the_new_value():
    w, opt = sg.parameter("w", np.zeros(3)), sg.optim.SGD(RATE)
    x, y = sg.input("x", (8, 3), "float64"), sg.input("y", (8,), "float64")
    with sg.nn.updates() as updates:
        for _ in range(2):
            opt.minimize(mean_square(w, x, y), [w])
    (new,) = updates.values()
    once = -RATE * slope(np.zeros(3))
    np.testing.assert_allclose(
        sg.evaluate(new, {"x": X, "y": Y}), once - RATE * slope(once), rtol=1e-12
    )
