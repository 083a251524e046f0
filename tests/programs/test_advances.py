"""State that each run of a graph with updates advances: generators, statistics of layers."""

import copy
import importlib.util
import pickle
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

import staticgrad as sg
from staticgrad import nn
from staticgrad.eager import Tensor
from staticgrad.errors import GraphError
from tests.exporting.libraries import module_of
from tests.ops.messages import assert_refused

X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
RUNS = 4


def counter():
    return sg.parameter("count", 0)


def mask_step(rng=None, others=()):
    """A step that only counts, and shows a mask of dropout."""
    rng, count = rng or sg.random.Generator(5), counter()
    x = sg.input("x", ("n", 3), "float32")
    y = rng.dropout(x, 0.5)
    return sg.Graph({"y": y}, {count: count + 1, **dict(others)}, name="masked"), rng


def masks(run, runs=RUNS):
    return [np.asarray(run()) == 0 for _ in range(runs)]


def assert_all_differ(actual):
    assert len({array.tobytes() for array in actual}) == len(actual)


def wanted_masks(seed=5, runs=RUNS, first=0):
    """Return Philox's masks of each step: draws of a generator whose step is set by hand."""
    rng = sg.random.Generator(seed)
    y = rng.dropout(sg.constant(X), 0.5)
    masks = []
    for step in range(first, first + runs):
        rng.step.value = np.uint64(step)
        masks.append(sg.evaluate(y) == 0)
    return masks


# -- one training by three ways -------------------------------------------------------------------


def digit_batches(count=6, dtype="float32"):
    digits = load_digits()
    x, y = (digits.data / 16).astype(dtype), digits.target.astype("int64")
    return [(x[k : k + 64], y[k : k + 64]) for k in range(0, 64 * count, 64)]


def by_graph(loss_of, weights, opt, dtype="float32"):
    x, y = sg.input("x", ("n", 64), dtype), sg.input("y", ("n",), "int64")
    loss = loss_of(x, y)
    f = sg.compile(sg.Graph({"loss": loss}, updates=opt.updates(loss, weights)))
    return lambda x, y: f.run({"x": x, "y": y})["loss"]


def by_function(loss_of, weights, opt, dtype="float32"):
    @sg.function
    def step(x, y):
        loss = loss_of(x, y)
        opt.minimize(loss, weights)
        return loss

    return step


def on_a_tape(loss_of, weights, opt, dtype="float32"):
    return by_function(loss_of, weights, opt).eagerly


WAYS = (by_graph, by_function, on_a_tape)


@pytest.mark.parametrize("way", WAYS)
def test_digits_with_dropout_have_the_losses_of_numpy_to_the_bit(way):
    """A linear classifier with hinge loss: all its numbers are exact multiples of 2**-16.

    So losses are equal exactly where the masks are, and these are what Philox says of the steps.
    """
    w, dropout = sg.parameter("w", np.zeros((64, 10))), nn.Dropout(0.5, seed=1)

    def hinge(x, y):
        sign = 2.0 * sg.nn.one_hot(y, 10, dtype="float64") - 1.0
        return sg.nn.relu(1.0 - sign * (dropout(x) @ w)).sum() / 64.0

    step = way(hinge, [w], sg.optim.SGD(2.0**-6), "float64")
    bits, weights = sg.random.Generator(1), np.zeros((64, 10))
    mask = bits.dropout(sg.ones((64, 64), "float64"), 0.5)
    losses = []
    for number, (x, y) in enumerate(digit_batches(12, "float64")):
        bits.step.value = np.uint64(number)
        dropped = x * sg.evaluate(mask)
        sign = 2.0 * np.eye(10)[y] - 1.0
        margin = 1.0 - sign * (dropped @ weights)
        losses.append(np.maximum(margin, 0.0).sum() / 64.0)
        assert step(x, y) == losses[-1], number
        weights += 2.0**-6 * dropped.T @ (sign * (margin > 0.0)) / 64.0
    np.testing.assert_array_equal(w.value, weights)
    assert losses[-1] < losses[0]
    assert dropout.generator.step.value == 12


def digits_net():
    nn.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5, seed=1), nn.Linear(32, 10)
    )


def digit_step(way, net, opt):
    return way(lambda x, y: nn.cross_entropy(net(x), y), net, opt)


def test_a_network_with_all_kinds_of_state_trains_alike_by_every_way():
    """By graph and by function to the bit; sums of a tape are rounded in another order."""
    losses, states = {}, {}
    for way in WAYS:
        net = digits_net()
        step = digit_step(way, net, sg.optim.SGD(0.1))
        losses[way] = np.array([step(*batch) for batch in digit_batches()])
        states[way] = net.state_dict()
    np.testing.assert_array_equal(losses[by_graph], losses[by_function])
    np.testing.assert_allclose(losses[by_graph], losses[on_a_tape], rtol=1e-4)
    for name, array in states[by_graph].items():
        np.testing.assert_array_equal(array, states[by_function][name])
        np.testing.assert_allclose(array, states[on_a_tape][name], rtol=1e-3, atol=1e-4)
    assert states[by_graph]["layers.3.generator.step"] == 6


# -- what each run draws --------------------------------------------------------------------------


def test_each_run_of_a_graph_with_updates_draws_the_numbers_of_the_next_step():
    graph, rng = mask_step()
    f = sg.compile(graph)
    actual = masks(lambda: f.run({"x": X})["y"])
    np.testing.assert_array_equal(actual, wanted_masks())
    assert_all_differ(actual)
    assert rng.step.value == RUNS
    assert [p.name for p, _ in graph.updates] == ["count", "random.step"]
    text = str(graph)
    assert "update @random.step" in text
    assert str(sg.parse(text)) == text


def test_a_generator_that_nobody_keeps_advances():
    def noise(x):
        return x + sg.random.Generator(5).normal(shape=x.shape)

    count, x = counter(), sg.input("x", ("n", 3), "float32")
    f = sg.compile(sg.Graph({"y": noise(x)}, {count: count + 1}))
    assert_all_differ([f.run({"x": X})["y"] for _ in range(RUNS)])


def test_draws_are_repeated_where_the_updates_say_so():
    rng = sg.random.Generator(5)
    graph, _ = mask_step(rng, {rng.step: rng.step})
    f = sg.compile(graph)
    actual = masks(lambda: f.run({"x": X})["y"])
    np.testing.assert_array_equal(actual, wanted_masks(runs=1) * RUNS)
    assert rng.step.value == 0


def test_a_step_that_the_updates_name_is_advanced_once():
    rng = sg.random.Generator(5)
    graph, _ = mask_step(rng, rng.updates)
    f = sg.compile(graph)
    f.run({"x": X})
    assert rng.step.value == 1


def test_a_graph_without_updates_repeats_its_draws_and_lint_says_so():
    rng = sg.random.Generator(5)
    y = rng.dropout(sg.input("x", ("n", 3), "float32"), 0.5)
    f = sg.compile(y)
    np.testing.assert_array_equal(masks(lambda: f.run({"x": X})), wanted_masks(runs=1) * RUNS)
    assert rng.step.value == 0
    (finding,) = sg.lint(y)
    assert finding.rule == "repeated-draws"
    assert "rng.dropout(" in str(finding)
    assert sg.lint(mask_step()[0]) == ()
    read = sg.parse(str(sg.Graph({"y": y})))  # whose step is a parameter of the text
    assert [finding.rule for finding in sg.lint(read)] == ["repeated-draws"]


def test_passes_and_pickles_add_nothing_and_lose_nothing():
    graph, _ = mask_step()
    again = pickle.loads(pickle.dumps(graph))
    assert str(again) == str(graph)
    assert len(sg.Graph(graph.outputs, graph.updates).updates) == len(graph.updates)
    f = sg.compile(again, pipeline="O2")
    actual = masks(lambda: f.run({"x": X})["y"])
    np.testing.assert_array_equal(actual, wanted_masks())


def test_a_pickled_program_goes_on_from_its_step():
    graph, _ = mask_step()
    f = sg.compile(graph)
    f.run({"x": X})
    again = pickle.loads(pickle.dumps(f))
    actual = masks(lambda: again.run({"x": X})["y"], 3)
    np.testing.assert_array_equal(actual, wanted_masks(runs=3, first=1))


def exported_python(f, folder):
    f.export(folder / "masked.py")
    spec = importlib.util.spec_from_file_location("masked", folder / "masked.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_exported_file_draws_anew(tmp_path):
    module = exported_python(sg.compile(mask_step()[0]), tmp_path)
    actual = masks(lambda: module.run({"x": X})["y"])
    np.testing.assert_array_equal(actual, wanted_masks())


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_an_exported_library_draws_anew(tmp_path):
    module = module_of(sg.compile(mask_step()[0]), tmp_path, "masked")
    program = module.Program()
    actual = masks(lambda: program.run({"x": X})["y"])
    np.testing.assert_array_equal(actual, wanted_masks())


@pytest.mark.parametrize("options", [{"checkpoint": "recompute"}, {"checkpoint": "sqrt"}])
def test_what_is_recomputed_has_the_mask_of_its_run(options):
    """Losses and gradients of several runs are those of a program that stores everything."""

    def train(**options):
        nn.manual_seed(0)
        layers = [
            layer
            for k in range(6)
            for layer in (nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.3, seed=k))
        ]
        net, x = nn.Sequential(*layers), sg.input("x", ("n", 16), "float32")
        loss = (net(x) ** 2).mean()
        f = sg.compile(sg.Graph({"loss": loss}, sg.optim.SGD(0.1).updates(loss, net)), **options)
        rows = np.ones((64, 16), "float32")
        losses = [f.run({"x": rows})["loss"].tobytes() for _ in range(RUNS)]
        return losses, f.plan(n=64).peak_bytes

    stored, most = train()
    computed, peak = train(**options)
    assert computed == stored
    assert peak < most
    assert len({*stored}) == RUNS


def test_each_micro_batch_of_accumulated_gradients_has_a_mask():
    """Three runs, one step of the optimizer: its gradient is the mean of three masks."""
    w, rng = sg.parameter("w", np.ones(3, "float32")), sg.random.Generator(5)
    x = sg.input("x", ("n", 3), "float32")
    loss = (rng.dropout(x, 0.5) * w).sum()
    opt = sg.optim.SGD(1.0, accumulate=3)
    f = sg.compile(sg.Graph({"loss": loss}, opt.updates(loss, [w])))
    for _ in range(3):
        f.run({"x": X})
    gradients = [np.where(mask, 0.0, 2.0 * X).sum(0) for mask in wanted_masks(runs=3)]
    np.testing.assert_allclose(w.value, 1.0 - np.mean(gradients, axis=0), rtol=1e-5)
    assert rng.step.value == 3


def test_a_scan_draws_anew_in_each_iteration_and_run():
    rng, count = sg.random.Generator(5), counter()
    x = sg.input("x", ("n", 3), "float32")
    _, rows = sg.scan(lambda state, row: (state, rng.normal(shape=row.shape)), 0.0, x)
    graph = sg.Graph({"rows": rows}, {count: count + 1})
    f = sg.compile(graph)
    actual = np.concatenate([f.run({"x": X})["rows"] for _ in range(RUNS)])
    assert len({row.tobytes() for row in actual}) == len(actual) == RUNS * len(X)
    assert rng.step.value == RUNS


def test_a_loop_a_branch_and_a_batch_draw_anew_in_each_run():
    rng, count = sg.random.Generator(5), counter()
    x = sg.input("x", ("n", 3), "float32")
    values = {
        "loop": sg.fori_loop(0, 2, lambda _, h: h + rng.normal(shape=h.shape), x),
        "branch": sg.cond(x[0, 0] < 100.0, lambda h: h + rng.normal(shape=h.shape), lambda h: h, x),
        "batch": sg.vmap(lambda row: row + rng.normal(shape=row.shape))(x),
    }
    for name, value in values.items():
        f = sg.compile(sg.Graph({name: value}, {count: count + 1}))
        step_before = int(rng.step.value)
        assert_all_differ([f.run({"x": X})[name] for _ in range(RUNS)])
        assert rng.step.value == step_before + RUNS, name


def test_training_goes_on_from_a_file_to_the_bit(tmp_path):
    net, opt = digits_net(), sg.optim.Adam(0.01)
    batches = digit_batches()
    step = digit_step(by_graph, net, opt)
    for batch in batches[:2]:
        step(*batch)
    sg.save(tmp_path / "run.npz", {"net": net, "opt": opt})
    expected = [step(*batch).tobytes() for batch in batches[2:]]
    resumed_net, second = digits_net(), sg.optim.Adam(0.01)
    resumed = digit_step(by_graph, resumed_net, second)
    sg.load(tmp_path / "run.npz", into={"net": resumed_net, "opt": second})
    assert [resumed(*batch).tobytes() for batch in batches[2:]] == expected


# -- the statistics of layers ---------------------------------------------------------------------


def moved_statistics(batches, momentum=0.25):
    mean, var = np.zeros(3), np.ones(3)
    for rows in batches:
        mean += momentum * (rows.mean(0) - mean)
        var += momentum * (rows.var(0, ddof=1) - var)
    return mean, var


def assert_moved(norm, batches):
    mean, var = moved_statistics(batches)
    np.testing.assert_allclose(norm.running_mean.value, mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(norm.running_var.value, var, rtol=1e-5)


def test_a_graph_with_updates_moves_statistics_once_for_each_call_in_their_order():
    norm = nn.BatchNorm1d(3, momentum=0.25)
    x, y = sg.input("x", ("n", 3), "float32"), sg.input("y", ("m", 3), "float32")
    loss = (norm(x) ** 3).sum() + (norm(y) ** 3).sum() + (norm(x) ** 2).sum()
    graph = sg.Graph({"loss": loss}, sg.optim.SGD(0.1).updates(loss, norm))
    assert [p.name.rpartition(".")[2] for p, _ in graph.updates] == [
        "weight", "bias", "mean", "var",
    ]  # fmt: skip
    f = sg.compile(graph)
    first, second = 3.0 * X + 1.0, 0.5 * X[:4] - 2.0
    for _ in range(2):
        f.run({"x": first, "y": second})
    assert_moved(norm, [first, second, first] * 2)


def test_a_graph_moves_the_statistics_of_the_layers_that_it_runs():
    """Also where it has gradients alone; not of a layer that stands behind what it computes."""
    norm, unused = nn.BatchNorm1d(3, momentum=0.25), nn.BatchNorm1d(3)
    x, w = sg.input("x", ("n", 3), "float32"), sg.parameter("w", np.ones(3, "float32"))
    h = norm(x * w)
    loss = (h**3).sum()
    unused(h)
    f = sg.compile(sg.Graph(None, sg.optim.SGD(0.0).updates(loss, [w])))
    f.run({"x": X})
    assert_moved(norm, [X])
    np.testing.assert_array_equal(unused.running_mean.value, np.zeros(3))


def test_statistics_stay_where_the_updates_say_so():
    norm, count = nn.BatchNorm1d(3), counter()
    y = norm(sg.input("x", ("n", 3), "float32"))
    still = {p: p for p in (norm.running_mean, norm.running_var)}
    sg.compile(sg.Graph({"y": y}, still)).run({"x": X})
    np.testing.assert_array_equal(norm.running_mean.value, np.zeros(3))
    sg.compile(sg.Graph({"y": y}, {count: count + 1})).run({"x": X})
    assert norm.running_mean.value.any()


def test_a_program_without_updates_that_would_leave_statistics_is_refused():
    norm = nn.BatchNorm1d(3)
    y = norm(sg.input("x", ("n", 3), "float32"))
    for program in (y, {"y": y}, sg.Graph({"y": y})):
        with pytest.raises(GraphError, match="has no updates") as caught:
            sg.compile(program)
        assert caught.value.code == "SG201"
        assert "model.eval()" in caught.value.hint
    sg.compile(norm.eval()(sg.input("x", ("n", 3), "float32"))).run({"x": X})
    with pytest.raises(GraphError, match="has no updates"):
        nn.BatchNorm1d(3, affine=False)(X)
    moving = nn.BatchNorm1d(3, momentum=0.25, affine=False)
    moving(Tensor(X))
    assert_moved(moving, [X])


class Codebook(nn.Module):
    """A layer of a user whose state moves in its ``forward``."""

    def __init__(self):
        self.calls, self.total = sg.parameter("calls", 0), sg.parameter("total", np.zeros(3))
        self.inner = nn.BatchNorm1d(3, momentum=0.25)

    def forward(self, x):
        self.calls.update(self.calls + 1)
        self.total.update(self.total + x.sum(axis=0).astype("float64"))
        return self.inner(x) + 1.0


def test_what_a_module_of_a_user_updates_happens_in_each_run():
    layer, count = Codebook(), counter()
    y = layer(sg.input("x", ("n", 3), "float32"))
    f = sg.compile(sg.Graph({"y": y}, {count: count + 1}))
    for _ in range(RUNS):
        f.run({"x": X})
    assert layer.calls.value == RUNS
    np.testing.assert_allclose(layer.total.value, RUNS * X.sum(0), rtol=1e-5)
    assert_moved(layer.inner, [X] * RUNS)


def test_updates_that_no_graph_could_make_are_refused_at_once():
    count, x = counter(), sg.input("x", ("n", 3), "float32")

    class Unchanged(nn.Module):
        def forward(self, x):
            count.update(count + 1)
            return x

    with assert_refused(GraphError, "no numbers"):
        Unchanged()(x)
    with assert_refused(GraphError, "no numbers"):
        count.update(count + 1)
    norm = nn.BatchNorm1d(3)
    for name, call in {
        "vmap": lambda: sg.vmap(norm)(sg.input("xs", (2, 4, 3), "float32")),
        "scan": lambda: sg.scan(lambda c, rows: (c, norm(rows)), 0.0, sg.input("xs", (2, 4, 3))),
    }.items():
        with pytest.raises(GraphError, match=f"inside of {name}"):
            call()


def test_copies_of_a_network_move_their_own_state():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5, seed=2))
    copied, x = copy.deepcopy(net), sg.input("x", ("n", 3), "float32")
    loss = (copied(x) ** 2).sum()
    sg.compile(sg.Graph({"loss": loss}, sg.optim.SGD(0.1).updates(loss, copied))).run({"x": X})
    assert copied.layers[2].generator.step.value == 1
    assert net.layers[2].generator.step.value == 0
    np.testing.assert_array_equal(net.layers[1].running_mean.value, np.zeros(3))
    assert copied.layers[1].running_mean.value.any()


#: Functions of a network with statistics and draws, and of rows: derivatives, loops, containers.
THROUGH = {
    "jvp": lambda net, x: sg.jvp(lambda x: net(x)[0].sum(), (x,), (sg.ones_like(x),))[1],
    "vjp": lambda net, x: sg.vjp(lambda x: net(x).sum(), x)[0],
    "grad": lambda net, x: sg.grad(lambda x: (net(x) ** 3).sum())(x),
    "linearize": lambda net, x: sg.linearize(lambda x: net(x).sum(), x)[0],
    "hvp": lambda net, x: sg.hvp(lambda x: (net(x) ** 3).sum(), (x,), (sg.ones_like(x),))[0],
    "jacobian": lambda net, x: sg.jacobian(lambda x: (net(x) ** 2).sum(axis=0))(x),
    "checkpoint": lambda net, x: sg.checkpoint(net)(x),
    "vmap": lambda net, x: sg.vmap(net)(sg.stack([x, x])),
    "map": lambda net, x: sg.map(net, sg.stack([x, x])),
    "cond": lambda net, x: sg.cond(x[0, 0] < 9.0, net, lambda x: x, x),
    "fori_loop": lambda net, x: sg.fori_loop(0, 2, lambda _, h: net(h), x),
    "while_loop": lambda net, x: sg.while_loop(lambda h: h.sum() < -1e9, net, x, max_steps=2),
}


def outcome(name, by_hand):
    """The results of two runs and the state behind them, or the code of an error."""
    nn.manual_seed(0)
    net, count = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5, seed=3)), counter()
    try:
        if by_hand:
            value = THROUGH[name](net, sg.input("x", (6, 3), "float32"))
            program = sg.compile(sg.Graph({"y": value}, {count: count + 1}))
            outputs = [program.run({"x": X})["y"] for _ in range(2)]
        else:
            f = sg.function(lambda x: THROUGH[name](net, x))
            outputs = [f(X) for _ in range(2)]
    except GraphError as error:
        return error.code
    return [np.asarray(a).tobytes() for a in (*outputs, *net.state_dict().values())]


@pytest.mark.parametrize("name", THROUGH)
def test_a_graph_by_hand_advances_what_a_function_does(name):
    """Through derivatives and recomputation; in bodies both refuse to move statistics."""
    actual = outcome(name, by_hand=True)
    assert actual == outcome(name, by_hand=False)
    refused = name in ("vmap", "map", "cond", "fori_loop", "while_loop")
    assert (actual == "SG201") == refused
