"""Steps of ``peak_bytes`` that are no loss with a step of SGD, each written for PyTorch too.

Each is a function that makes a graph, and one that makes a step of eager PyTorch, of equal arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.workload import Array

#: Makes the graph of a step, of arrays by name.
MakeGraph = Callable[[Mapping[str, Array]], sg.Graph]
#: Makes a step of eager PyTorch, of the module ``torch`` and tensors by name.
MakeTorch = Callable[[Any, Mapping[str, Any]], Callable[[], Any]]

_RATE: Final = 0.01
_LEAPS: Final = 8


def _layers(widths: tuple[int, ...], batch: int) -> dict[str, Array]:
    random = np.random.default_rng(0)
    shapes = {f"w{k}": pair for k, pair in enumerate(pairwise(widths))}
    weights = {n: random.normal(size=s).astype("float32") / 16 for n, s in shapes.items()}
    x = random.normal(size=(batch, widths[0])).astype("float32")
    return {**weights, "x": x, "y": random.integers(0, widths[-1], batch)}


def _weights(arrays: Mapping[str, Any]) -> list[str]:
    return [name for name in arrays if name.startswith("w")]


def _half(arrays: Mapping[str, Array]) -> sg.Graph:
    weights = [sg.parameter(name, arrays[name]) for name in _weights(arrays)]
    x, y = (sg.input(n, arrays[n].shape, arrays[n].dtype.name) for n in "xy")
    h: Any = x.astype("float16")
    for w in weights[:-1]:
        h = sg.nn.relu(h @ w.astype("float16"))
    h = h @ weights[-1].astype("float16")
    loss = sg.nn.cross_entropy(h.astype("float32"), y)
    optimizer = sg.optim.SGD(_RATE, loss_scale=sg.optim.LossScale(initial=1024.0))
    return sg.Graph({"loss": loss}, optimizer.updates(loss, weights), name="float16")


def _half_in_torch(torch: Any, tensors: Mapping[str, Any]) -> Callable[[], Any]:
    weights = [tensors[name].requires_grad_() for name in _weights(tensors)]
    optimizer = torch.optim.SGD(weights, lr=_RATE)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        h = tensors["x"].half()
        for w in weights[:-1]:
            h = torch.relu(h @ w.half())
        h = h @ weights[-1].half()
        loss = torch.nn.functional.cross_entropy(h.float(), tensors["y"])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def _drop_units(arrays: Mapping[str, Array]) -> sg.Graph:
    weights = [sg.parameter(name, arrays[name]) for name in _weights(arrays)]
    h, y = (sg.input(n, arrays[n].shape, arrays[n].dtype.name) for n in "xy")
    random = sg.random.Generator(0)
    for w in weights[:-1]:
        h = random.dropout(sg.nn.relu(h @ w), 0.5)
    loss = sg.nn.cross_entropy(h @ weights[-1], y)
    updates = {**sg.optim.SGD(_RATE).updates(loss, weights), **random.updates}
    return sg.Graph({"loss": loss}, updates, name="dropout")


def _drop_units_in_torch(torch: Any, tensors: Mapping[str, Any]) -> Callable[[], Any]:
    weights = [tensors[name].requires_grad_() for name in _weights(tensors)]
    optimizer, functions = torch.optim.SGD(weights, lr=_RATE), torch.nn.functional

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        h = tensors["x"]
        for w in weights[:-1]:
            h = functions.dropout(torch.relu(h @ w), 0.5)
        loss = functions.cross_entropy(h @ weights[-1], tensors["y"])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _energy(w: Any, x: Any, y: Any) -> Any:
    """Minus the logarithm of the posterior of a logistic regression."""
    margin = y * (x @ w)
    return -((1.0 / (1.0 + (-margin).exp())).log()).sum() + 0.5 * (w * w).sum()


def _regression() -> dict[str, Array]:
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 16)).astype("float32")
    signs = np.sign(random.normal(size=256)).astype("float32")
    w, p = random.normal(size=(2, 16)).astype("float32") / 4
    return {"q": w, "p": p, "x": x, "y": signs}


def _leap(arrays: Mapping[str, Array]) -> sg.Graph:
    v: dict[str, Any] = {n: sg.input(n, a.shape, a.dtype.name) for n, a in arrays.items()}
    q, p, x, y = (v[name] for name in "qpxy")

    def slope(q: Any) -> Any:
        margin = y * (x @ q)
        energy = -sg.log(1.0 / (1.0 + sg.exp(-margin))).sum() + 0.5 * (q * q).sum()
        return sg.grad(energy, q)

    p = p - 0.5 * _RATE * slope(q)
    for leap in range(_LEAPS):
        q = q + _RATE * p
        p = p - (0.5 if leap == _LEAPS - 1 else 1.0) * _RATE * slope(q)
    return sg.Graph({"q": q, "p": p}, name="hmc")


def _leap_in_torch(torch: Any, tensors: Mapping[str, Any]) -> Callable[[], Any]:
    def slope(q: Any) -> Any:
        at = q.detach().requires_grad_()
        return torch.autograd.grad(_energy(at, tensors["x"], tensors["y"]), at)[0]

    def step() -> Any:
        q, p = tensors["q"], tensors["p"]
        p = p - 0.5 * _RATE * slope(q)
        for leap in range(_LEAPS):
            q = q + _RATE * p
            p = p - (0.5 if leap == _LEAPS - 1 else 1.0) * _RATE * slope(q)
        return q

    return step


def _points() -> dict[str, Array]:
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 16)).astype("float32")
    return {"x": x, "centres": x[:32].copy()}


def _move_centres(arrays: Mapping[str, Array]) -> sg.Graph:
    x = sg.input("x", arrays["x"].shape, "float32")
    centres = sg.parameter("centres", arrays["centres"])
    distances = (centres * centres).sum(1) - 2.0 * (x @ centres.T)
    nearest = sg.nn.one_hot(sg.argmin(distances, axis=1), len(arrays["centres"]), dtype="float32")
    means = (nearest.T @ x) / sg.maximum(nearest.sum(0), 1.0)[:, None]
    return sg.Graph({"shift": abs(means - centres).max()}, {centres: means}, name="k-means")


def _move_centres_in_torch(torch: Any, tensors: Mapping[str, Any]) -> Callable[[], Any]:
    x, centres = tensors["x"], tensors["centres"]

    def step() -> Any:
        distances = (centres * centres).sum(1) - 2.0 * (x @ centres.T)
        nearest = torch.nn.functional.one_hot(distances.argmin(1), len(centres)).float()
        means = (nearest.T @ x) / nearest.sum(0).clamp_min(1.0)[:, None]
        shift = abs(means - centres).max()
        centres.copy_(means)
        return shift

    return step


#: Step -> its arrays, its graph, and what makes a step of PyTorch.
STEPS: Final[Mapping[str, tuple[Callable[[], dict[str, Array]], MakeGraph, MakeTorch]]] = {
    "float16": (lambda: _layers((256, 256, 256, 10), 64), _half, _half_in_torch),
    "dropout": (lambda: _layers((784, 512, 256, 10), 128), _drop_units, _drop_units_in_torch),
    "hmc": (_regression, _leap, _leap_in_torch),
    "k-means": (_points, _move_centres, _move_centres_in_torch),
}
