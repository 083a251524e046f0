"""Modules by their paths: in names of parameters, graphs, errors, reports and files."""

import copy
import gc

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor


class Block(sg.nn.Module):
    def __init__(self):
        self.attn = sg.nn.MultiHeadAttention(8, 2)
        self.mlp = sg.nn.Sequential(sg.nn.Linear(8, 16), sg.nn.GELU(), sg.nn.Linear(16, 8))
        self.gain = sg.parameter("gain", np.ones(8, "float32"))

    def forward(self, x):
        return self.mlp(x + self.attn(x)) * self.gain


class Net(sg.nn.Module):
    def __init__(self):
        self.embedding = sg.nn.Embedding(5, 8)
        self.blocks = [Block(), Block()]
        self.tied = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return x @ self.tied.T


TOKENS = np.array([[0, 1, 2], [3, 4, 0]])


@pytest.fixture(autouse=True)
def no_other_models():
    gc.collect()  # paths are free again when the models that had them are gone


def _names(*modules):
    return [p.name for module in modules for p in module.parameters()]


@pytest.mark.slow
def test_parameters_are_named_by_paths_when_a_module_is_called():
    net, tokens = Net(), sg.input("tokens", (2, 3), "int64")
    logits = net(tokens)
    assert _names(net) == [path for path, _ in net.named_parameters()]
    assert "blocks.1.attn.query.weight" in _names(net)
    graph = sg.Graph({"logits": logits, "slopes": sg.grad(logits.sum(), net.blocks[0].gain)})
    text = str(graph)
    assert "matmul(%1, @blocks.0.attn.query.weight)" in text
    assert "[blocks.1/mlp/layers.2]" in text
    parameters = {p.name: p for p in graph.parameters}
    assert str(sg.parse(text, parameters=parameters)) == text
    assert sg.same_graph(sg.parse(text, parameters=parameters), graph)


@pytest.mark.slow
def test_traced_functions_and_tapes_name_them_too():
    net, second_net = Net(), Net()
    sg.function(net)(TOKENS)
    assert _names(net) == [path for path, _ in net.named_parameters()]
    del net
    gc.collect()
    second_net(Tensor(TOKENS, dtype="int64"))
    assert "blocks.1.attn.query.weight" in _names(second_net)


@pytest.mark.slow
def test_errors_say_in_which_module():
    net = Net()
    net.blocks[1].mlp.layers[2] = sg.nn.Linear(7, 8)
    with pytest.raises(sg.errors.ShapeError, match=r"blocks\.1\.mlp\.layers\.2\.weight  f32"):
        net(sg.input("tokens", (2, 3), "int64"))
    for call in (sg.function(net), lambda tokens: net(Tensor(tokens, dtype="int64"))):
        with pytest.raises(sg.errors.ShapeError) as caught:
            call(TOKENS)
        assert "[blocks.1/mlp/layers.2]" in str(caught.value)


@pytest.mark.slow
def test_reports_say_in_which_module(tmp_path):
    net = Net()

    @sg.function
    def step(tokens):
        loss = (net(tokens) ** 2).mean()
        sg.optim.SGD(0.1).minimize(loss)
        return loss

    page = step.compile(TOKENS).report(tmp_path / "page.html").read_text()
    assert "blocks.1/attn/query" in page
    assert "linear" not in page


@pytest.mark.slow
def test_two_models_are_told_apart():
    first, second = Net(), Net()
    third = copy.deepcopy(first)
    tokens = sg.input("tokens", (2, 3), "int64")
    sums = first(tokens) + second(tokens) + third(tokens)
    assert len({*_names(first, second, third)}) == 3 * len(_names(first))
    assert "blocks_1.0.gain" in _names(second)
    assert "blocks_2.0.gain" in _names(third)
    sg.compile(sums).run({"tokens": TOKENS})


def test_a_name_is_given_once():
    class Numbered(sg.nn.LSTMCell):
        pass

    class Numbered1(sg.nn.LSTMCell):
        pass

    layers = [kind(2, 2) for kind in (Numbered, Numbered, Numbered1, Numbered, Numbered1)]
    names = [p.name for layer in layers for p in layer.parameters()]
    assert len({*names}) == len(names)
    assert [layer.parameters()[0].name.partition(".")[0] for layer in layers] == [
        "numbered",
        "numbered1",
        "numbered11",
        "numbered2",
        "numbered12",
    ]


def test_numbers_of_attributes_pass_over_names_that_are_there():
    class Scaled(sg.nn.Module):
        def __init__(self, name):
            self.scale = sg.parameter(name, 1.0)

    names = [Scaled(name).scale.name for name in ("numbered", "numbered_1", "numbered", "numbered")]
    assert names == ["numbered", "numbered_1", "numbered_2", "numbered_3"]


def test_a_parameter_keeps_its_name_in_a_second_module():
    class Holds(sg.nn.Module):
        def __init__(self, content):
            self.content = content

    first = Holds(sg.parameter("in_both", 1.0))
    assert [Holds(first.content).content.name, Holds([first.content]).content[0].name] == [
        "in_both"
    ] * 2
    pairs = [Holds([first.content, sg.parameter("second_in_list", 1.0)]).content for _ in range(2)]
    assert [[p.name for p in pair] for pair in pairs] == [
        ["in_both", "second_in_list"],
        ["in_both", "second_in_list_1"],
    ]
    tied = sg.parameter("twice_in_list", 1.0)
    assert Holds([tied, tied]).content[1].name == "twice_in_list"


@pytest.mark.slow
def test_names_stay_that_users_gave_or_that_graphs_have():
    gain = sg.parameter("mine", np.ones(8, "float32"))
    assert sg.exp(gain).shape == (8,)
    net, x = Net(), sg.input("x", (2, 8), "float32")
    net.blocks[0].gain = gain
    layer = net.blocks[0].mlp.layers[0]
    text_before = str(graph := sg.Graph(layer(x)))
    net(sg.input("tokens", (2, 3), "int64"))
    assert net.blocks[0].gain.name == "mine"
    assert str(graph) == text_before
    assert net.blocks[0].mlp.layers[2].weight.name == "blocks.0.mlp.layers.2.weight"


@pytest.mark.slow
def test_a_layer_alone_has_the_name_of_its_kind():
    layer = sg.nn.Linear(3, 2)
    layer(sg.input("x", (2, 3), "float32"))
    assert layer.weight.name.startswith("linear")
    net = sg.nn.Sequential(layer)
    net(sg.input("x", (2, 3), "float32"))
    assert layer.weight.name == "layers.0.weight"


@pytest.mark.slow
def test_states_and_files_follow(tmp_path):
    def make_step():
        net = Net()
        mean = sg.optim.Average(net.parameters(), decay=0.9)  # before the first call
        opt = sg.optim.Adam(0.01)

        @sg.function
        def step(tokens):
            loss = (net(tokens) ** 2).mean()
            opt.minimize(loss)
            mean.update()
            return loss

        return net, mean, step

    net, mean, step = make_step()
    old = [p.name for p in net.parameters()]
    step(TOKENS)
    assert "blocks.0.gain.average" in [p.name for p in mean.parameters()]
    program = step.compile(TOKENS)
    saved = {p.name: p.value for p in program.graph.parameters}
    assert "blocks.1.attn.query.weight.first_moment" in saved
    renamed = dict(zip(_names(net), old, strict=True))
    for name, old_name in renamed.items():  # a file of the time before names were paths
        for key in [key for key in saved if f"{key}.".startswith(f"{name}.")]:
            saved[old_name + key[len(name) :]] = saved.pop(key) + 1
    sg.save(tmp_path / "old.npz", saved)
    sg.load(tmp_path / "old.npz", into=program)
    for p in net.parameters():
        assert np.array_equal(p.value, saved[renamed[p.name]])


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("as_layers_named_them", [False, True])
def test_states_of_another_model_load(steps, as_layers_named_them):
    def make_step():
        net = sg.nn.Sequential(sg.nn.Linear(3, 4), sg.nn.Linear(4, 3))
        opt = sg.optim.Adam(0.01)

        @sg.function
        def step(x):
            loss = (net(x) ** 2).mean()
            opt.minimize(loss)
            return loss

        return net, opt, step

    x = np.ones((5, 3), "float32")
    (net, opt, step), (second_net, other_opt, other_step) = make_step(), make_step()
    layers = [p.name for p in net.parameters()]
    step(x)
    for _ in range(steps):
        other_step(x)
    states = opt.state_dict()
    for name, old_name in zip(_names(net), layers, strict=True):
        for key in [k for k in states if as_layers_named_them and k.startswith(f"{name}.")]:
            states[old_name + key[len(name) :]] = states.pop(key)
    second_net.load_state_dict(net.state_dict())
    other_opt.load_state_dict(states)
    assert [float(step(x)) for _ in range(2)] == [float(other_step(x)) for _ in range(2)]
