"""Modules of PyTorch and functions of JAX, compared as they are, with themselves beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison.axes import ADDS, ANY_ORDER
from staticgrad.comparison.peers import measure_peers
from staticgrad.comparison.programs import ComparedProgram, program
from staticgrad.comparison.report import JAX, TORCH, Peer
from staticgrad.comparison.ways import DefineThenRun, agreement
from staticgrad.errors import ArgumentError, ProgramError

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(8, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


def agree(compared: ComparedProgram) -> None:
    steps_compared = agreement(compared, DefineThenRun(compared))
    assert not steps_compared.problem
    compared.restore()


def row(compared: ComparedProgram, name: str, **programs: Any) -> Peer:
    return {peer.name: peer for peer in measure_peers(compared, 0.0, **programs)}[name]


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, whose compiler gives the function back: compiling takes half a minute."""
    library = pytest.importorskip("torch")
    monkeypatch.setattr(library, "compile", lambda function: function)
    library.manual_seed(0)
    return library


def test_a_module_of_pytorch_is_traced_and_has_its_row(torch: Any) -> None:
    class Regression(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = torch.nn.Linear(4, 6), torch.nn.Linear(6, 1)

        def forward(self, x: Any, scale: float = 1.0) -> Any:
            return self.out(torch.tanh(self.hidden(x))) * scale

    net = Regression()
    state_before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    compared = program(net, (torch.from_numpy(X), Y), optimizer=sg.optim.Adam(1e-2))
    agree(compared)
    assert compared.name == "Regression"
    assert str(compared.batch) == f"axis 0 of x, target: {ADDS}"
    assert "batch" in compared.graph.sizes
    assert compared.size == 4 * 6 + 6 + 6 + 1
    first = torch.nn.functional.mse_loss(net(torch.from_numpy(X)), torch.from_numpy(Y))
    np.testing.assert_allclose(
        DefineThenRun(compared).step({"x": X, "target": Y}), first.item(), rtol=1e-6
    )
    peer = row(compared, TORCH)
    assert not peer.reason
    assert peer.losses < 1e-5
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, state_before[name])


def test_running_statistics_keep_examples_together(torch: Any) -> None:
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    )
    compared = program(net, (X, np.arange(8) % 3))
    agree(compared)
    assert str(compared.batch) == f"axis 0 of input, target: {ANY_ORDER}"
    peer = row(compared, TORCH)
    assert not peer.reason
    assert peer.losses < 1e-5


def test_losses_and_arguments_are_those_of_pytorch(torch: Any) -> None:
    class ByName(torch.nn.Module):  # type: ignore[misc]
        """A model as of transformers: arguments by name, results in a dict, its own loss."""

        def __init__(self) -> None:
            super().__init__()
            self.out = torch.nn.Linear(4, 1)

        def forward(self, left: Any = None, right: Any = None, labels: Any = None) -> Any:
            y = self.out(left + right)
            loss = {} if labels is None else {"loss": ((y - labels) ** 2).sum()}
            return {**loss, "y": y}

    by_labels = program(ByName(), ({"left": X, "right": X, "labels": Y},))
    by_target = program(ByName(), ({"left": X, "right": X}, Y))
    by_loss = program(ByName(), (X, X, Y), loss=lambda result, y: ((result["y"] - y) ** 2).sum())
    for compared in (by_labels, by_target):
        assert set(compared.batch.axes.values()) == {0}
        assert len(compared.batch.axes) == 3
    assert not row(by_labels, TORCH).reason
    assert by_loss.batch.axes == {"left": 0, "right": 0, "target": 0}


def test_mistakes_with_modules_of_pytorch_are_in_the_users_words(torch: Any) -> None:
    net = torch.nn.Linear(4, 1)
    with pytest.raises(ArgumentError, match=r"Linear, a torch\.nn\.Module, is a function of tens"):
        program(net, (X, Y), loss=sg.nn.mse)
    with pytest.raises(ArgumentError, match="Linear is given 3 arrays"):
        program(net, (X, Y, Y))
    with pytest.raises(ProgramError, match="Linear fails: RuntimeError"):
        program(net, (X[:, :3], Y))


def test_a_module_that_was_imported_by_hand_has_its_row(torch: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    model = sg.torch.module(net, torch.from_numpy(X))
    assert {*model.torch_state()} == {*net.state_dict()}
    model.load_torch({name: tensor + 1.0 for name, tensor in net.state_dict().items()})
    compared = program(model, (X, Y))
    assert compared.name == "Sequential"
    peer = row(compared, TORCH, torch=net)
    assert not peer.reason
    assert peer.losses < 1e-5


@pytest.fixture
def jax() -> Any:
    return pytest.importorskip("jax")


def parameters() -> Any:
    hidden = DRAW.normal(size=(4, 6)).astype("float32")
    return {"hidden": hidden, "bias": np.zeros(6, "float32"), "out": hidden[:1].T.repeat(6, 0)[:6]}


def test_a_loss_of_jax_is_traced_and_trained_and_has_its_row(jax: Any) -> None:
    def loss(params: Any, x: Any, y: Any) -> Any:
        h = jax.nn.relu(x @ params["hidden"] + params["bias"])
        h = (h - h.mean(0)) / (h.std(0) + 1.0)  # no example counts by itself
        return ((h @ params["out"] - y) ** 2).mean()

    for params in (parameters(), jax.tree.map(jax.numpy.asarray, parameters())):
        compared = program(loss, (params, X, Y))
        agree(compared)
        assert compared.name == "loss"
        assert compared.size == 4 * 6 + 6 + 6
        assert str(compared.batch) == f"axis 0 of x, y: {ANY_ORDER}"
        assert compared.refusal is not None
        assert compared.refusal.message == "JAX traces a function for the sizes of its arrays"
        peer = row(compared, JAX, torch=False)
        assert not peer.reason
        assert peer.losses < 1e-5


def test_a_function_of_jax_is_compared_with_its_gradients(jax: Any) -> None:
    def energy(w: Any, x: Any) -> Any:
        return jax.numpy.sum(jax.numpy.tanh(x @ w) ** 2)

    compared = program(energy, (X[:4, :3], X))
    agree(compared)
    assert [*compared.gradient_arguments] == [0, 1]
    peer = row(compared, JAX, torch=False)
    assert not peer.reason
    assert peer.losses < 1e-5


def test_a_symmetry_of_parameters_is_no_batch() -> None:
    """The six hidden units may be permuted, and are in more arrays than the examples are."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        h = sg.nn.relu(x @ params["hidden"] + params["bias"])
        h = (h - h.mean(0)) / (h.std(0) + 1.0)
        return ((h @ params["out"] - y) ** 2).mean()

    def loss_of_rows(hidden: Any, bias: Any, out: Any, x: Any, y: Any) -> Any:
        return loss({"hidden": hidden, "bias": bias, "out": out}, x, y)

    compared = program(loss, (parameters(), X, Y))
    assert compared.batch.axes == {"x": 0, "y": 0}
    assert str(compared.batch) == (
        f"axis 0 of x, y: {ANY_ORDER}; arguments that carry data were asked, not the parameters"
        " before them"
    )
    in_a_row = program(loss_of_rows, (*parameters().values(), X, Y))
    assert in_a_row.batch.axes == {"x": 0, "y": 0}
    assert in_a_row.batch.reason == ANY_ORDER


def test_a_container_of_inputs_in_front_counts_examples() -> None:
    def loss(inputs: Any, y: Any) -> Any:
        return ((inputs[0] * inputs[1] - y) ** 2).mean()

    compared = program(loss, ((X, X + 1.0), Y))
    assert compared.batch.axes == {"inputs_0": 0, "inputs_1": 0, "y": 0}
