"""A user's program, with the types that a strict type checker sees; it also runs.

mypy checks this file as ``pyproject.toml`` says, and ``test_types.py`` has pyright check it. A line
that must be refused carries the error of mypy: both report an ignore that is not needed.
"""

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from staticgrad.eager import Tensor

Array = npt.NDArray[Any]


def operators() -> None:
    x = sg.input("x", ("n", 3), "float32")
    w = sg.parameter("w", np.ones((3, 2), np.float32))
    h = x @ w
    for value in (h + 1, 1 + h, h - h, 2.0 * h, h / 2, 1 / h, h**2, -h, abs(h), h // 2, h % 2):
        assert_type(value, sg.Value)
    assert_type(w + 1, sg.Value)  # no parameter
    assert_type(h > 0, sg.Value)
    assert_type((h > 0) & ~(h == 1) | (h != 2), sg.Value)
    assert_type(divmod(h, 2), tuple[sg.Value, sg.Value])
    assert_type(h[0], sg.Value)
    assert_type(h[:, None].T, sg.Value)
    assert_type(h.mT, sg.Value)
    assert_type(h.at[0].set(1.0), sg.Value)
    assert_type(x.at[1:].add(h.sum()), sg.Value)
    assert_type(np.ones(2, np.float32) + h, sg.Value)


def inputs_and_outputs() -> None:
    x = sg.input("x", ("n", 3), "float32")
    f = sg.compile({"y": x * 2.0})
    assert_type(sorted(f.inputs), list[str])
    assert_type(f.outputs["y"].dtype.itemsize, int)
    assert_type(len(f.inputs["x"].shape), int)
    assert_type(f.graph.inputs[0].name, str)


def layers() -> None:
    h = x = sg.input("x", ("n", 3))
    for number in range(2):  # what was an input becomes the last layer
        w = sg.parameter(f"w{number}", np.eye(3))
        h = sg.nn.gelu(h @ w) + x
    c = sg.constant(np.ones(3))
    c = c * 2
    assert_type(h, sg.Value)
    assert_type(c, sg.Value)


def methods() -> None:
    x = sg.input("x", (2, 3), "float32")
    assert_type(x.sum(), sg.Value)
    assert_type(x.mean(0, keepdims=True).reshape(3, 1), sg.Value)
    assert_type(x.max(axis=1).argmax(), sg.Value)
    assert_type(x.astype("float64").transpose(), sg.Value)
    assert_type(x.clip(0, 1).round(2).cumsum(0).any(), sg.Value)
    assert_type(sg.exp(x) + sg.nn.softmax(x), sg.Value)
    assert_type(sg.where(x > 0, x, 0.0), sg.Value)


def functions() -> None:
    """They map values to values, tensors to tensors, and numbers to values."""
    t = Tensor([1.0])
    x = sg.input("x", (3,))
    w = sg.parameter("w", np.ones(3))
    for value in (sg.exp(x), sg.exp(w), sg.exp(np.ones(3)), sg.maximum(1.0, w), sg.maximum(1, 2.0)):
        assert_type(value, sg.Value)
    for tensor in (sg.exp(t), sg.maximum(t, 1.0), sg.maximum([1.0], t), sg.sum(t, axis=0)):
        assert_type(tensor, Tensor)
    assert_type(sg.where(x > 0, 1.0, w), sg.Value)
    assert_type(sg.where(t > 0, t, 0.0), Tensor)
    assert_type(sg.stack([x, w]), sg.Value)
    assert_type(sg.concatenate((t, t * 2)), Tensor)
    assert_type(sg.concatenate([t, np.ones(1)]), Any)  # a list of several kinds
    assert_type(sg.split(t, 1), list[Tensor])
    assert_type(sg.divmod(t, 2), tuple[Tensor, Tensor])
    assert_type(sg.topk(x, 1), tuple[sg.Value, sg.Value])
    assert_type(sg.einsum("i,i->", t, t), Tensor)
    assert_type(sg.quantile(sg.clip(t, 0.0, 1.0), 0.5), Tensor)
    assert_type(sg.nn.softmax(w), sg.Value)
    assert_type(sg.nn.gelu(t), Tensor)
    assert_type(sg.zeros((2, 2)), sg.Value)
    sg.exp(Tensor([1.0], requires_grad=True)).sum().backward()


def derivatives() -> None:
    w = sg.parameter("w", np.ones(3))
    b = sg.parameter("b", np.ones(3))
    loss = ((w * b) ** 2).sum()
    assert_type(sg.grad(loss, w), sg.Value)
    assert_type(sg.grad(loss, [w, b]), list[sg.Value])
    assert_type(sg.grad(loss, wrt=(w, b)), tuple[sg.Value, ...])
    assert_type(sg.grad(loss, {"w": w, "b": b}), dict[str, sg.Value])
    assert_type(sg.grad(loss, {"layer": [w, b]}), Any)
    assert_type(sg.value_and_grad(loss, [w]), tuple[sg.Value, list[sg.Value]])
    assert_type(sg.vjp(w * 2, [w], np.ones(3)), list[sg.Value])
    assert_type(sg.jvp(w * b, w, np.ones(3)), sg.Value)
    assert_type(sg.hvp(loss, w, np.ones(3)), sg.Value)
    assert_type(sg.hessian(loss, w), sg.Value)
    assert_type(sg.jacobian(w * b, (w, b)), tuple[sg.Value, ...])
    assert_type(sg.grad(sg.grad(loss, w).sum(), w) + 1, sg.Value)
    assert_type(sg.evaluate(loss), Array)
    assert_type(sg.evaluate({"loss": loss}), dict[str, Array])
    assert_type(sg.evaluate([loss]), Any)


def of_functions() -> None:
    """They map functions to functions, whose results have the arguments' kind."""

    def f(x: Any, scale: float = 1.0) -> Any:
        return (x * x).sum() * scale

    x = np.ones(3)
    slope: Array = sg.grad(f)(x, scale=2.0)
    value, (first, aside) = sg.value_and_grad(f, argnums=(0, 1))(x, 2.0)
    blocks: Array = sg.hessian(sg.checkpoint(f), 0)(x)
    rows: Array = sg.jacobian(sg.grad(f))(x)
    y, tangent = sg.jvp(f, x, slope)
    z, push = sg.linearize(f, x)
    pulled: Array = sg.vjp(f, x)[1](push(tangent * x) + value + first.sum() + aside)
    product: Array = sg.hvp(f, x, pulled) + blocks @ rows @ x + y + z
    assert product.shape == (3,)
    w = sg.parameter("w", x)
    assert_type(sg.grad(lambda: (w * w).sum(), [w])(), Any)


def loss(w: sg.Value, x: sg.Value) -> sg.Value:
    return ((x @ w) ** 2).sum()


def sizes(w: sg.Value, x: sg.Value) -> dict[str, sg.Value]:
    return {"w": w, "x": x}


def cubes(x: sg.Value) -> sg.Value:
    return x**3


@sg.function
def both(w: sg.Value, x: sg.Value) -> tuple[sg.Value, sg.Value]:
    """In here values, outside arrays."""
    assert_type(sg.grad(loss)(w, x), sg.Value)
    assert_type(sg.value_and_grad(loss)(w, x), tuple[sg.Value, sg.Value])
    assert_type(sg.vmap(loss, in_axes=(None, 0))(w, x), sg.Value)
    assert_type(sg.vmap(sg.grad(loss), in_axes=(None, 0))(w, x), sg.Value)
    assert_type(sg.hessian(loss)(w, x), sg.Value)
    assert_type(sg.jvp(cubes, w, w), tuple[sg.Value, sg.Value])
    assert_type(sg.vjp(cubes, w, w), tuple[sg.Value, sg.Value])
    assert_type(sg.hvp(lambda w: loss(w, x), w, w), sg.Value)
    assert_type(sg.checkpoint(loss)(w, x), sg.Value)
    last, all_of_them = sg.scan(add, w, x)
    assert_type(last, sg.Value)
    assert_type(all_of_them, tuple[sg.Value, sg.Value])
    assert_type(sg.fori_loop(0, 3, lambda _, w: w * 1.0, w) is w, bool)
    return w + last * 0.0, sg.grad(loss)(w, x)


def add(total: sg.Value, element: sg.Value) -> tuple[sg.Value, tuple[sg.Value, sg.Value]]:
    return total + element, (total, element)


@sg.function(static="power")
def raise_to(x: sg.Value, power: int) -> sg.Value:
    return x**power


def of_arrays() -> None:
    w, x = np.ones(3), np.ones((2, 3))
    assert_type(both(w, x), tuple[Array, Array])
    assert_type(both.eagerly(w, x), tuple[Array, Array])
    assert_type(both.graph(w, x), sg.Graph)
    assert_type(raise_to(x, 2), Array)
    assert_type(sg.function(sizes)(w, x), dict[str, Array])
    assert_type(sg.grad(loss)(w, x), Array)
    slope = sg.grad(cubes)
    assert_type(sg.grad(slope)(2.0), Array)
    assert_type(sg.jvp(cubes, w, w), tuple[Array, Array])
    assert_type(sg.value_and_grad(loss)(w, x), tuple[Array, Array])
    assert_type(sg.jacobian(loss)(w, x), Array)
    slopes = sg.grad(loss)
    assert_type(sg.jacobian(slopes)(w, x), Array)
    assert_type(sg.hessian(loss)(w, x), Array)
    mapped = sg.vmap(slopes, in_axes=(None, 0))
    all_slopes: Array = sg.function(mapped)(w, x)
    assert all_slopes.shape == (2, 3)
    assert_type(sg.hvp(cubes, 2.0, 1.0), Array)
    rows, labels = next(sg.train.Batches(x, w[:2]).epoch(0))
    assert_type((rows, labels), tuple[Array, Array])


def programs() -> None:
    x = sg.input("x", ("n",), "float32")
    w = sg.parameter("w", np.float32(1))
    y = sg.tanh(x) * w
    feeds = {"x": np.ones(2, np.float32)}
    assert_type(sg.compile(y).run(feeds), Array)
    assert_type(sg.compile({"y": y})(feeds), dict[str, Array])
    f = sg.compile(sg.Graph({"y": y}, updates={w: w - sg.grad(y.sum(), w)}), fuse=False)
    assert_type(f.run(feeds)["y"], Array)
    assert_type(f.run(feeds)["y"].sum(), Any)
    step: sg.Compiled = f  # of either kind
    assert_type(step.run(feeds), Any)


def tensors() -> None:
    t = Tensor([[1.0, 2.0]], requires_grad=True)
    assert_type(t * 2 + t, Tensor)
    assert_type(1 - t, Tensor)
    assert_type(t[0].T.reshape(2).sum(), Tensor)
    assert_type(t > 1, Tensor)
    assert_type(t.transpose(), Tensor)
    assert_type([row.max() for row in t], list[Tensor])
    (t * t).sum().backward()


class Perceptron(sg.nn.Module):
    def __init__(self, hidden: int) -> None:
        self.layers = sg.nn.Sequential(sg.nn.Linear(2, hidden), sg.nn.relu, sg.nn.Linear(hidden, 1))
        self.scale = sg.parameter("scale", [1.0], "float32")

    def forward(self, x: sg.Value) -> sg.Value:
        h = self.layers(x)
        assert_type(h, sg.Value)
        return h * self.scale


class Reader(sg.nn.Module):
    def __init__(self) -> None:
        self.lstm, self.gru = sg.nn.LSTM(2, 2), sg.nn.GRU(2, 2)
        self.block = sg.nn.TransformerBlock(2, 1)

    def forward(self, x: sg.Value, scale: float = 1.0) -> tuple[sg.Value, sg.Value]:
        out, (h, c) = self.lstm(x)
        actual, last = self.gru(out)
        assert_type(
            (out, h, c, actual, last), tuple[sg.Value, sg.Value, sg.Value, sg.Value, sg.Value]
        )
        assert_type(self.block(out), sg.Value)
        return self.block(actual) * scale, h + c


def modules() -> None:
    model, opt = Perceptron(3), sg.optim.SGD(0.1)
    assert_type(model.eval().train(), Perceptron)
    assert_type(model.parameters(), list[sg.Parameter])
    assert_type([name for name, _ in model.named_parameters()], list[str])
    assert_type(model.layers[1:], sg.nn.Sequential)
    t = Tensor([[1.0, 2.0]])
    assert_type(model.layers(t), Tensor)
    assert_type(sg.nn.Linear(2, 2)(sg.input("x", (1, 2))), sg.Value)
    assert_type(model(sg.input("x", (1, 2))), sg.Value)
    reader = Reader()
    sequence = sg.input("sequence", (3, 1, 2))
    assert_type(reader(sequence, scale=2.0), tuple[sg.Value, sg.Value])
    assert_type(sg.function(model)(np.ones((1, 2), "float32")), Array)
    assert_type(opt, sg.optim.SGD)
    assert_type(sg.optim.Adam(sg.optim.cosine(0.1, 10), beta1=0.8), sg.optim.Adam)
    assert_type(sg.optim.LossScale(every=10), sg.optim.LossScale)
    assert_type(sg.optim.LBFGS(max_iter=3), sg.optim.LBFGS)
    assert_type(sg.eager_mode(), sg.eager_mode)
    with sg.eager_mode():
        opt.minimize(model(t).sum())
    assert_type(sg.nn.l1_loss(t, t), Tensor)
    model.load_state_dict(model.state_dict())
    norm = sg.nn.BatchNorm1d(2)
    with sg.nn.updates() as updates:
        y = norm(sg.input("x", ("n", 2)))
    sg.compile(sg.Graph({"y": y}, updates)).run({"x": np.ones((3, 2), "float32")})


def spellings() -> None:
    """Names of PyTorch's and NumPy's that a call may use in the place of ours."""
    x = sg.input("x", (2, 3), "float32")
    w = sg.parameter("w", np.ones(3, np.float32))
    assert_type(sg.nn.functional.mse_loss(x, x), sg.Value)
    adam = sg.optim.Adam(lr=sg.optim.cosine(0.1, 10), betas=(0.8, 0.9), weight_decay=0.1)
    assert_type(adam, sg.optim.Adam)
    assert_type(sg.optim.SGD(lr=0.1, momentum=0.9), sg.optim.SGD)
    assert_type(sg.optim.AdamW(params=[w], lr=0.1), sg.optim.AdamW)
    rng = sg.random.Generator(0)
    assert_type(rng.normal(size=(2, 3)), sg.Value)
    assert_type(rng.normal(0.0, 2.0, size=3, dtype="float64"), sg.Value)
    assert_type(rng.uniform(low=-1.0, shape=("n",)), sg.Value)
    assert_type(x.exp().mm(x.t()), sg.Value)
    assert_type(x.add(other=1.0), sg.Value)


def refused_calls() -> list[Callable[[], object]]:
    """Calls that neither a type checker nor a run lets pass."""
    x = sg.input("x", (2, 3), "float32")
    y = (x * x).sum()
    return [
        lambda: y.summ(),  # type: ignore[attr-defined]
        lambda: x.sum(axes=1),  # type: ignore[call-arg]
        lambda: x.exp(1),  # type: ignore[call-arg]
        lambda: float(y),  # type: ignore[arg-type]
        lambda: sg.nothere(x),  # type: ignore[attr-defined]
        lambda: sg.nn.sofmax(x),  # type: ignore[attr-defined]
        lambda: sg.nn.Liner(3, 2),  # type: ignore[attr-defined]
        lambda: sg.nn.Linear(3),  # type: ignore[call-arg]
        lambda: sg.optim.Adm(0.1),  # type: ignore[attr-defined]
        lambda: sg.random.Generator(0).normal(shapes=3),  # type: ignore[call-overload]
        lambda: sg.optim.SGD(0.1, moment=0.9),  # type: ignore[call-arg]
        lambda: sg.linalg.qr(x, "full"),  # type: ignore[arg-type]
        lambda: sg.grad(y, "x"),  # type: ignore[call-overload]
        lambda: sg.compile([y]),  # type: ignore[call-overload]
        lambda: sg.compile(y).runs(),  # type: ignore[attr-defined]
    ]
