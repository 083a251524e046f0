"""A step of a module in evaluation mode warns, where a layer depends on the mode."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import EvaluationModeWarning

X, Y = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")


def net(*layers: Any) -> Any:
    return sg.nn.Sequential(sg.nn.Linear(3, 4), *layers, sg.nn.Linear(4, 2))


def in_function(model: Any, *params: Any) -> Callable[..., Any]:
    """Return a step that minimizes the error of a model."""
    opt = sg.optim.Adam(0.1)

    @sg.function
    def step(x: Any, y: Any) -> Any:
        loss = sg.nn.mse(model(x).reshape(y.shape), y)
        opt.minimize(loss, *params)
        return loss

    return step


def by_gradients(model: Any) -> None:
    """Step by gradients that the function computes."""
    opt = sg.optim.Adam(0.1)

    @sg.function
    def step(x: Any, y: Any) -> Any:
        loss, params = sg.nn.mse(model(x), y), model.parameters()
        opt.apply_gradients(dict(zip(params, sg.grad(loss, params), strict=True)))
        return loss

    step(X, Y)


def by_backward(model: Any) -> None:
    """Step as PyTorch does."""
    opt = sg.optim.SGD(model.parameters(), lr=0.1)
    sg.nn.mse(model(Tensor(X)), Tensor(Y)).backward()
    opt.step()


def graph_loss(model: Any) -> Any:
    return (model(sg.input("x", (4, 3), "float32")) ** 2).sum()


def in_parts(model: Any) -> None:
    """Step a model whose layers are called one by one."""
    opt = sg.optim.Adam(0.1)

    @sg.function
    def step(x: Any) -> Any:
        with model.scopes():
            for layer in model.layers:
                x = layer(x)
        opt.minimize((x**2).sum())

    step(X)


#: The ways to step the parameters of a module.
DOORS: dict[str, Callable[[Any], object]] = {
    "function": lambda model: in_function(model)(X, Y),
    "function, parameters": lambda model: in_function(model, model)(X, Y),
    "function on the tape": lambda model: in_function(model).eagerly(X, Y),
    "fit": lambda model: sg.train.fit(in_function(model), (X, Y), 1, batch_size=2),
    "apply_gradients": by_gradients,
    "parts": in_parts,
    "graph": lambda model: sg.optim.SGD(0.1).minimize(graph_loss(model), model),
    "updates": lambda model: sg.optim.SGD(0.1).updates(graph_loss(model), model),
    "tape": lambda model: sg.optim.SGD(0.1).minimize((model(Tensor(X)) ** 2).sum()),
    "backward": by_backward,
}


class Scaled(sg.nn.Module):
    """A module whose own result depends on the mode."""

    def __init__(self) -> None:
        self.linear = sg.nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.linear(x) * (2.0 if self.training else 1.0)


@pytest.mark.parametrize("door", DOORS)
def test_door(door: str) -> None:
    model = net(sg.nn.Dropout(0.5)).eval()
    words = r"trains Sequential \(Dropout\) in evaluation mode: model.train\(\) comes before"
    with pytest.warns(EvaluationModeWarning, match=words):
        DOORS[door](model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DOORS[door](model.train())  # the cure
        DOORS[door](net(sg.nn.ReLU(), sg.nn.Dropout(0.0), sg.nn.LayerNorm(4)).eval())


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (lambda: net(sg.nn.BatchNorm1d(4), sg.nn.Dropout(0.1)), "BatchNorm1d, Dropout"),
        (Scaled, "Scaled"),
        (lambda: net(sg.nn.TransformerBlock(4, 2, dropout=0.1)), "Dropout"),
    ],
    ids=["two layers", "own forward", "inner layer"],
)
def test_layers(model: Callable[[], Any], names: str) -> None:
    chosen = model()
    with pytest.warns(EvaluationModeWarning, match=rf"\({names}\)"):
        in_function(chosen.eval())(X[None] if names == "Dropout" else X, Y)


@pytest.mark.parametrize("layer", [sg.nn.BatchNorm1d(4), sg.nn.Dropout(0.5)], ids=["norm", "drop"])
def test_frozen_layer_of_a_module_in_training(layer: Any) -> None:
    model = net(layer)
    layer.eval()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        in_function(model)(X, Y)
    assert [str(warning.message) for warning in warned] == []


def test_teacher() -> None:
    teacher, student = net(sg.nn.Dropout(0.5)).eval(), net()

    def distil(*params: Any) -> None:
        opt = sg.optim.Adam(0.1)

        @sg.function
        def step(x: Any) -> Any:
            opt.minimize(sg.nn.mse(student(x), teacher(x)), *params)

        step(X)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distil(student)
    with pytest.warns(EvaluationModeWarning):
        distil()


def test_evaluation_between_steps() -> None:
    """Predictions between the loss and the step, or between steps, change nothing."""
    model = net(sg.nn.Dropout(0.5))
    opt = sg.optim.SGD(model.parameters(), lr=0.1)
    step, predict = in_function(model), sg.function(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            loss = sg.nn.mse(model.train()(Tensor(X)), Tensor(Y))
            loss.backward()
            model.eval()(Tensor(X))
            opt.step()
            opt.zero_grad()
            model.train()
            step(X, Y)
            model.eval()
            predict(X)
    with pytest.warns(EvaluationModeWarning):
        step(X, Y)  # train() was forgotten
