"""Modules in programs: modes, trees, lists of layers, states of other models, caches, refusals."""

import copy
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    GraphError,
    ParameterValueError,
    RankError,
    ShapeError,
    UnknownArgumentError,
)
from staticgrad.language.ops.philox import FOLDED
from staticgrad.language.trees import flatten

nn = sg.nn
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


class Net(nn.Module):
    """Parameters of its own, in containers, shared, and in modules in containers."""

    def __init__(self, factor=2.0):
        self.blocks = [nn.Linear(3, 3), {"deep": nn.Linear(3, 3), "shared": None}]
        self.first = self.blocks[0]
        self.scales = (sg.parameter("one", np.ones(3, "f")), sg.parameter("two", np.ones(3, "f")))
        self.table = np.arange(3, dtype=np.float32)
        self.factor = factor

    def forward(self, x):
        deep = self.blocks[1]
        y = deep["deep"](self.first(x)) * self.factor + self.table
        if self.training:
            y = y * self.scales[0]
        return y * self.scales[1].T


def test_paths_and_counts():
    net = Net()
    names = ["blocks.0.weight", "blocks.0.bias", "blocks.1.deep.weight", "blocks.1.deep.bias"]
    assert [name for name, _ in net.named_parameters()] == [*names, "scales.0", "scales.1"]
    assert [path for path, _ in net.named_modules()] == ["", "blocks.0", "blocks.1.deep"]
    assert repr(net).splitlines()[0] == "Net: 30 parameters"
    assert len(flatten(net)[0]) == 9  # shared ones in every place, and the table
    nn.manual_seed(5)
    first_layer, second_layer = nn.Linear(3, 3), nn.Linear(3, 3)
    nn.manual_seed(5)
    again = nn.Linear(3, 3)
    np.testing.assert_array_equal(first_layer.weight.value, again.weight.value)
    assert not np.array_equal(first_layer.weight.value, second_layer.weight.value)
    assert np.abs(first_layer.weight.value).max() <= 1 / np.sqrt(3)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("how", ["closed over", "method", "itself"])
def test_what_is_static_is_part_of_the_signature(how):
    net = Net()
    f = sg.function({"closed over": lambda x: net(x), "method": net.forward, "itself": net}[how])

    def check(traces):
        np.testing.assert_allclose(f(X), net(Tensor(X)).data, rtol=1e-5, atol=1e-6)
        assert f.stats.traces == traces

    check(1)
    net.scales[0].value = np.full(3, 3.0)
    net.first.weight.value = np.eye(3)
    check(1)  # values of parameters are those of each call
    net.eval()
    check(2)
    net.train()
    check(3 if f.stats.traces == 2 else f.stats.traces)
    traces = f.stats.traces
    net.factor = -1.0
    check(traces + 1)
    net.first = nn.Linear(3, 3)
    check(traces + 2)
    net.blocks[1]["deep"] = nn.Linear(3, 3)
    check(traces + 3)


def test_modules_go_in_and_come_out():
    net = Net()

    @sg.function
    def loss(model, x):
        return (model(x) ** 2).mean()

    slopes = sg.grad(loss)(net, X)
    assert isinstance(slopes, Net)
    assert slopes.factor == net.factor
    with sg.eager_mode():
        (net(Tensor(X)) ** 2).mean().backward()
    np.testing.assert_allclose(slopes.scales[0], net.scales[0].grad, rtol=1e-4)
    np.testing.assert_allclose(
        slopes.blocks[1]["deep"].weight,
        net.blocks[1]["deep"].weight.grad,
        rtol=1e-4,
    )
    assert loss(net, X).shape == ()
    traces = loss.stats.traces
    loss(net.eval(), X)
    assert loss.stats.traces == traces + 1


def test_states_of_other_models_are_told_in_one_error():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    state_before = model.state_dict()
    assert "layers.1.running_mean" in state_before
    assert {"layers.2.generator.key", "layers.2.generator.step"} <= {*state_before}
    assert "layers.1.running_mean" not in dict(model.named_parameters())
    wrong = {**state_before, "layers.0.weight": np.ones((2, 2)), "more": np.ones(1)}
    wrong["layers.0.bias"] = wrong["layers.0.bias"] + 1.0
    del wrong["layers.1.bias"]
    with pytest.raises(ParameterValueError, match="3 places") as caught:
        model.load_state_dict(wrong)
    for text in ("layers.1.bias: missing", "'more': unknown", "layers.0.weight: parameter"):
        assert text in str(caught.value)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state_before[name])
    wrong["layers.0.weight"] = state_before["layers.0.weight"]
    model.load_state_dict(wrong, strict=False)
    np.testing.assert_array_equal(
        model.state_dict()["layers.0.bias"], state_before["layers.0.bias"] + 1.0
    )
    with pytest.raises(ParameterValueError, match="arrays by name"):
        model.load_state_dict([1])


def test_batch_statistics_move_and_serve():
    norm, x = nn.BatchNorm1d(3, momentum=0.25), 3.0 * X + 1.0
    f = sg.function(lambda x: norm(x))
    mean, var = np.zeros(3), np.ones(3)
    for count in (6, 4, 5):  # the last two by a graph of named sizes
        rows = x[:count]
        f(rows)
        mean += 0.25 * (rows.mean(0) - mean)
        var += 0.25 * (rows.var(0, ddof=1) - var)
        np.testing.assert_allclose(norm.running_mean.value, mean, rtol=1e-5)
        np.testing.assert_allclose(norm.running_var.value, var, rtol=1e-5)
    expected = (x - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(norm.eval()(Tensor(x)).data, expected, rtol=1e-4, atol=1e-5)
    opt = sg.optim.SGD(0.1)

    @sg.function
    def step(x):
        loss = (norm(x) ** 2).mean()
        opt.minimize(loss)  # the statistics are none of its parameters
        return loss

    step(x), step.eagerly(x)
    np.testing.assert_allclose(norm.running_mean.value, mean, rtol=1e-5)
    assert not np.array_equal(norm.weight.value, np.ones(3))
    with pytest.raises(GraphError, match="has no updates"):
        sg.compile(norm.train()(sg.input("x", (4, 3))))
    with pytest.raises(RankError, match="2 or 3 axes"):
        norm(Tensor(np.ones(3)))


@pytest.mark.parametrize("how", ["function", "eagerly", "tensors", "graph"])
def test_several_batches_of_a_step_move_statistics_one_after_the_other(how):
    """One network is called on true examples and on those of a generator."""
    norm, long_batch, short_batch = (
        nn.BatchNorm1d(3, momentum=0.25),
        3.0 * X + 1.0,
        0.5 * X[:4] - 2.0,
    )

    def sum_normalized(first_batch, second_batch):
        return norm(first_batch).sum() + norm(second_batch).sum() + norm(first_batch).sum()

    if how == "function":
        sg.function(sum_normalized)(long_batch, short_batch)
    elif how == "eagerly":
        sg.function(sum_normalized).eagerly(long_batch, short_batch)
    elif how == "tensors":
        sum_normalized(Tensor(long_batch), Tensor(short_batch))
    else:
        with nn.updates() as updates:
            y = sum_normalized(sg.input("one", ("n", 3)), sg.input("other", ("m", 3)))
        sg.compile(sg.Graph({"y": y}, updates)).run({"one": long_batch, "other": short_batch})
    mean, var = np.zeros(3), np.ones(3)
    for rows in (long_batch, short_batch, long_batch):
        mean += 0.25 * (rows.mean(0) - mean)
        var += 0.25 * (rows.var(0, ddof=1) - var)
    np.testing.assert_allclose(norm.running_mean.value, mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.value, var, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rotary", [False, True])
def test_a_cache_gives_what_all_at_once_gives(rotary):
    block = nn.TransformerBlock(8, 2, causal=True, rotary=rotary, dtype="float64").eval()
    x = np.random.default_rng(1).normal(size=(2, 7, 8))
    f = sg.function(lambda x: block(x))
    at_once = f(x)
    step = sg.function(lambda x, cache: block(x, cache=cache))
    cache, parts = block.attention.empty_cache(2, 7, "float64"), []
    for rows in (x[:, :3], x[:, 3:4], x[:, 4:5], x[:, 5:7]):
        out, cache = step(rows, cache)
        parts.append(out)
    np.testing.assert_allclose(np.concatenate(parts, 1), at_once, rtol=1e-10)
    assert int(cache.length) == 7
    assert step.stats.traces <= 2


@pytest.mark.slow
def test_recurrent_states_go_on():
    x = np.random.default_rng(1).normal(size=(6, 2, 3))
    for kind in (nn.RNN, nn.GRU, nn.LSTM):
        layer = kind(3, 4, 2, dtype="float64")
        f = sg.function(lambda x, state=None, layer=layer: layer(x, state))
        at_once, last = f(x)
        first, state = f(x[:4])
        second, again = f(x[4:], state)
        np.testing.assert_allclose(np.concatenate([first, second]), at_once, rtol=1e-12)
        for state_array, last_array in zip(flatten(again)[0], flatten(last)[0], strict=True):
            np.testing.assert_allclose(state_array, last_array, rtol=1e-12)
        turned = kind(3, 4, 2, batch_first=True, dtype="float64")
        turned.load_state_dict(layer.state_dict())
        y = turned(Tensor(x.swapaxes(0, 1), dtype="float64"))[0]
        np.testing.assert_allclose(y.data.swapaxes(0, 1), at_once, rtol=1e-12)


@pytest.mark.slow
def test_dropout_has_one_state_in_both_worlds():
    model = nn.Sequential(nn.Dropout(0.5, seed=1), nn.Dropout(0.25, seed=2))
    f, x = sg.function(lambda x: model(x)), np.ones((40, 50), np.float32)
    first, second = f(x), f.eagerly(x)
    assert not np.array_equal(first, second)
    state = model.state_dict()
    third = f(x)
    model.load_state_dict(state)
    np.testing.assert_array_equal(f.eagerly(x), third)
    np.testing.assert_array_equal(model.eval()(Tensor(x)).data, x)
    assert 0.55 < (first == 0).mean() < 0.7
    layer = nn.Dropout(0.5, seed=1)
    layer.generator.streams = FOLDED - 1  # as after many traces
    first_mask, second_mask, again = (layer(Tensor(x)).data for _ in range(3))
    assert not np.array_equal(first_mask, second_mask)
    assert not np.array_equal(second_mask, again)
    assert (int(layer.generator.step.value), layer.generator.streams) == (3, FOLDED - 1)


def test_what_does_not_fit_is_refused():
    for wrong in (
        lambda: nn.Linear(-1, 2),
        lambda: nn.Conv2d(3, 4, 0),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.GroupNorm(4, 6),
        lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"),
        lambda: nn.LayerNorm(()),
        lambda: nn.LayerNorm((2, 3.5)),
        lambda: nn.Upsample(),
        lambda: nn.Upsample(2, 2),
        lambda: nn.Upsample(2, mode="nearest", align_corners=True),
        lambda: nn.Dropout(1.0),
        lambda: nn.LSTM(3, 4, 0),
        lambda: nn.TransformerBlock(4, 2, norm="batch"),
        lambda: nn.BatchNorm1d(3, momentum=2.0),
        lambda: nn.Sequential(nn.ReLU),
    ):
        with pytest.raises(ArgumentError):
            wrong()
    with pytest.raises(RankError, match="for 2 axes"):
        nn.Conv2d(3, 4, (1, 2, 3))
    with pytest.raises(RankError, match=re.escape("not of 4 axes")):
        nn.MaxPool2d(2)(Tensor(np.ones((2, 3, 4))))
    refused = [
        (lambda: nn.PReLU(0), ArgumentError, "got 0"),
        (lambda: nn.PReLU(2, "a"), ArgumentError, "not a number"),
        (lambda: nn.InstanceNorm2d(3)(sg.input("x", (2, 3, 4))), RankError, "of 4 axes"),
        (lambda: nn.InstanceNorm1d(3)(sg.input("x", (2, 6, 4))), ShapeError, r"\[n, 3, ...\]"),
        (lambda: nn.LSTMCell(2.5, 3), ArgumentError, "input_size"),
        (lambda: nn.LayerNorm((3, 4))(Tensor(np.ones((2, 4, 3)))), ShapeError, "3, 4]"),
        (lambda: nn.LayerNorm((3, 4))(Tensor(np.ones(4))), RankError, "3, 4]"),
        (lambda: nn.Upsample(2)(Tensor(np.ones((2, 4)))), RankError, "of 3 axes or more"),
        (lambda: nn.Conv2d(2, 3, 3, color=1), UnknownArgumentError, "Conv2d: there is no argument"),
        (lambda: nn.Conv3d(2), UnknownArgumentError, "Conv3d: missing"),
        (lambda: nn.MaxPool2d(2, color=1), UnknownArgumentError, "MaxPool2d: there is no argument"),
    ]
    for call, error, text in refused:
        with pytest.raises(error, match=text):
            call()


@pytest.mark.parametrize(
    ("layer", "ndim"), [(nn.Dropout1d, 3), (nn.Dropout2d, 4), (nn.Dropout3d, 5)]
)
def test_whole_channels_are_dropped(layer, ndim):
    x = np.ones((40, 50, *(2, 3, 4)[: ndim - 2]), np.float32)
    x[0, 0] = np.inf
    actual = sg.function(layer(0.25, seed=3))(x)
    flat = actual.reshape(40, 50, -1)
    assert not np.isnan(actual).any()
    assert (flat == flat[:, :, :1]).all(), "a channel is dropped as a whole"
    assert {0.0, np.float32(1 / 0.75)} == {*np.unique(flat[1:])}
    dropped = flat[1:, :, 0] == 0
    assert abs(dropped.mean() - 0.25) < 0.04
    for axis, what in ((1, "images"), (0, "channels")):  # four standard deviations at most
        share = dropped.mean(axis=axis)
        assert np.abs(share - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / dropped.shape[axis]), what
    with pytest.raises(RankError, match="axes"):
        layer()(sg.input("x", (2, 3)))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_cell_along_time_is_the_layer(kind):
    layer, cell = getattr(nn, kind)(3, 4), getattr(nn, f"{kind}Cell")(3, 4)
    cell.load_state_dict({n: p.value for n, p in layer.directions[0].named_parameters()})
    x = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)

    @sg.function
    def by_hand(x):
        state, outputs = None, []
        for row in x:
            state = cell(row, state)
            outputs.append(state[0] if kind == "LSTM" else state)
        return sg.stack(outputs)

    np.testing.assert_allclose(by_hand(x), sg.function(layer)(x)[0], rtol=1e-5, atol=1e-6)


def test_lists_and_dicts_of_modules_have_the_names_of_pytorch():
    class Net(nn.Module):
        def __init__(self):
            self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
            self.heads = nn.ModuleDict({"a": nn.Identity(), "b": nn.Linear(2, 1)})
            self.scales = nn.ModuleList([sg.parameter("listed", np.ones(2, "float32"))])

        def forward(self, x):
            for block in self.blocks:
                x = nn.tanh(block(x)) * nn.sigmoid(self.scales[0])
            return self.heads["b"](self.heads["a"](x))

    first, second = Net(), Net()
    assert {"blocks.1.bias", "heads.b.weight", "scales.0"} <= first.state_dict().keys()
    x = np.ones((3, 2), "float32")
    total = sg.function(lambda x: first(x) + second(x))(x)  # names of parameters differ
    np.testing.assert_allclose(total, first(Tensor(x)).data + second(Tensor(x)).data, rtol=1e-5)
    copied = copy.deepcopy(first)
    assert isinstance(copied.blocks, nn.ModuleList)
    np.testing.assert_array_equal(copied(Tensor(x)).data, first(Tensor(x)).data)
    np.testing.assert_array_equal(sg.evaluate(nn.one_hot([1], 2)), [[0, 1]])


def test_threads_that_seed_build_the_same_models():
    """In any order; a thread that seeds nothing goes on with the source of the main thread."""
    nn.manual_seed(3)
    first = nn.Linear(4, 1).weight.value
    expected = [first, nn.Linear(4, 1).weight.value]
    together = threading.Barrier(3)

    def build(seeds):
        if seeds:
            nn.manual_seed(3)
        together.wait(timeout=10)
        weights = [nn.Linear(4, 1).weight.value]
        together.wait(timeout=10)
        return [*weights, nn.Linear(4, 1).weight.value]

    with ThreadPoolExecutor(3) as pool:
        for actual in pool.map(build, [True] * 3):
            np.testing.assert_array_equal(actual, expected)
    nn.manual_seed(3)
    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_array_equal(pool.submit(nn.Linear, 4, 1).result().weight.value, first)
    np.testing.assert_array_equal(nn.Linear(4, 1).weight.value, expected[1])
