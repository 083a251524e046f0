"""staticgrad: the step as one graph, compiled; feeds are NumPy arrays, parameters its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import staticgrad as sg
from benchmarks.harness.implementation import Implementation, Program, Settings
from benchmarks.harness.operations import Operations, borders_of
from benchmarks.harness.workload import Adam, Array, Arrays, Data, Decoupled, Workload


class Staticgrad(Operations):
    """``sg`` spells like NumPy; ``sg.nn`` has the composites."""

    def __init__(self) -> None:
        super().__init__(sg)
        self.replace(sg.nn, "relu", "softplus", "gelu", "softmax", "logsumexp")
        self.replace(sg.nn, "cross_entropy", "layer_norm", "rms_norm", "embedding")
        self.replace(sg.nn, "relu6", "silu")

    def constant(self, array: Any) -> Any:
        return sg.constant(array)

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        return sg.take(x, self.constant(indices), axis)

    def causal_attention(self, q: Any, k: Any, v: Any, time: int, size: int) -> Any:
        return sg.nn.attention(q, k, v, causal=True)

    def identity(self, size: int) -> Any:
        return sg.eye(size, dtype="float64")

    def solve_lower(self, factor: Any, y: Any) -> Any:
        return sg.linalg.solve_triangular(factor, y, lower=True)

    def sigmoid(self, x: Any) -> Any:
        return sg.sigmoid(x)

    def frame_image(self, x: Any) -> Any:
        return sg.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))

    def conv2d(self, x: Any, w: Any, b: Any, channels: tuple[int, int], side: int) -> Any:
        return sg.nn.conv(x, w, b, padding=1)

    def max_pool(self, x: Any, channels: int, side: int) -> Any:
        return sg.nn.max_pool(x, 2)

    def attention(self, q: Any, k: Any, v: Any, size: int) -> Any:
        return sg.nn.attention(q, k, v)

    def conv(self, x: Any, w: Any, sizes: Mapping[str, Sequence[int]], groups: int = 1,
             stride: int = 1, dilation: int = 1, padding: int | None = None,
             bias: Any = None) -> Any:  # fmt: skip
        border = borders_of(sizes["taps"], dilation, padding)
        return sg.nn.conv(
            x, w, bias, padding=border, groups=groups, stride=stride, dilation=dilation
        )

    def max_pool_of(self, x: Any, taps: int, stride: int, padding: int) -> Any:
        return sg.nn.max_pool(x, taps, stride=stride, padding=padding)

    def mean_pool(self, x: Any) -> Any:
        return sg.nn.avg_pool(x, 2)

    def conv_transpose(self, x: Any, w: Any, stride: int) -> Any:
        return sg.nn.conv_transpose(x, w, stride=stride, padding=1)

    def segment_sum(self, x: Any, ids: Any, count: int) -> Any:
        return sg.segment_sum(x, ids, count)

    def scan(self, body: Callable[[Any, Any], Any], start: Any, x: Any) -> Any:
        return sg.scan(body, start, x)

    def top_k(self, x: Any, count: int) -> Any:
        return sg.topk(x, count)[0]

    def expm(self, x: Any) -> Any:
        return sg.linalg.expm(x)

    def batch_norm(self, x: Any, gain: Any, bias: Any, count: int) -> Any:
        return sg.nn.batch_norm(x, weight=gain, bias=bias)

    def loop(self, body: Callable[[Any, Sequence[Any]], Any], start: Any, times: int,
             constants: Sequence[Any]) -> Any:  # fmt: skip
        return sg.fori_loop(0, times, lambda _, value: body(value, constants), start)

    def recurrent(self, kind: str, x: Any, weights: Any, time: int, hidden: int,
                  every: bool = False) -> Any:  # fmt: skip
        outputs, states = sg.nn.stacked(getattr(sg.nn, kind), x, weights)
        if every:
            return outputs
        state = states[-1]
        return state[0] if kind == "lstm" else state


def graph_of(workload: Workload, data: Data, ops: Operations) -> sg.Graph:
    """The graph of a workload: batch axes are one named size, all others literal."""
    values: dict[str, Any] = {}
    for name, array in data.feeds.items():
        shape: list[Any] = list(array.shape)
        if name in data.batch:
            shape[data.batch[name]] = "batch"
        values[name] = sg.input(name, tuple(shape), array.dtype.name)
    for name, array in data.variables.items():
        values[name] = (
            sg.parameter(name, array)
            if workload.trains
            else sg.input(name, array.shape, array.dtype.name)
        )
    loss, outputs = workload.loss(ops, values, data.sizes)
    variables = [values[name] for name in data.variables]
    if workload.kind == "adam":
        return _adam(workload, data, values, {"loss": loss, **outputs})
    if workload.has_moments:
        updates = _optimizer(workload).updates(loss, variables)
        return sg.Graph({"loss": loss, **outputs}, updates=updates, name=workload.name)
    gradients = sg.grad(loss, variables)
    if workload.kind == "sgd":
        updates = {w: w - workload.rate * g for w, g in zip(variables, gradients, strict=True)}
        return sg.Graph({"loss": loss, **outputs}, updates=updates, name=workload.name)
    outputs = {"loss": loss, **outputs}
    outputs |= {f"gradient:{n}": g for n, g in zip(data.variables, gradients, strict=True)}
    if workload.kind == "hvp":
        along = [sg.input(f"along:{n}", a.shape, a.dtype.name) for n, a in data.along.items()]
        products = sg.hvp(loss, variables, along)
        outputs |= {f"hvp:{n}": p for n, p in zip(data.variables, products, strict=True)}
    return sg.Graph(outputs, name=workload.name)


def _optimizer(workload: Workload) -> Any:
    if workload.kind == "momentum":
        return sg.optim.SGD(workload.rate, Decoupled.MOMENTUM)
    return sg.optim.AdamW(workload.rate, *Adam.BETAS, Adam.EPSILON, Decoupled.DECAY)


def _adam(workload: Workload, data: Data, values: Mapping[str, Any], outputs: Any) -> sg.Graph:
    optimizer = sg.optim.Adam(workload.rate, *Adam.BETAS, Adam.EPSILON)
    slopes = {values[name]: values[f"slope:{name}"] for name in data.variables}
    graph = sg.Graph(outputs, updates=optimizer.apply(slopes), name=workload.name)
    parameters = {p.name: p for p in graph.parameters}
    parameters["adam.step"].value = np.asarray(Adam.STEPS_BEFORE)
    for name, (mean, square) in data.moments.items():
        parameters[f"{name}.first_moment"].value = mean
        parameters[f"{name}.second_moment"].value = square
    return graph


def feeds_of(workload: Workload, data: Data) -> Arrays:
    """Return the feeds of ``run``, by the names of the graph."""
    feeds = dict(data.feeds)
    if not workload.trains:
        feeds |= data.variables
    return feeds | {f"along:{name}": array for name, array in data.along.items()}


def open_sizes(data: Data) -> dict[str, int]:
    """The value of ``batch`` in these arrays, if any axis is open."""
    for name, axis in data.batch.items():  # they all agree
        return {"batch": data.feeds[name].shape[axis]}
    return {}


class StaticgradProgram(Program):
    """See ``Program``."""

    def build(self) -> None:
        self.graph = graph_of(self.workload, self.data, Staticgrad())

    def compile(self) -> None:
        self.compiled = sg.compile(self.graph, threads=self.settings.threads)
        run, feeds = self.compiled.run, feeds_of(self.workload, self.data)
        self.step = lambda: run(feeds)

    def tune(self) -> str:
        self.compiled.wait()  # for full code
        return ""

    def results(self, returned: Any) -> Mapping[str, Array]:
        return returned  # type: ignore[no-any-return]

    def parameters(self) -> Arrays:
        return {p.name: p.value for p in self.graph.parameters}

    def moments(self) -> dict[str, tuple[Array, ...]]:
        endings = {"adamw": ("first_moment", "second_moment"), "momentum": ("momentum",)}
        keys = endings.get(self.workload.kind, ())
        state = {p.name: p for p in self.graph.parameters}
        return {
            name: tuple(np.array(state[f"{name}.{key}"].value) for key in keys)
            for name in (self.data.variables if keys else ())
        }

    def copies(self) -> int | None:
        lines = self.compiled.explain().splitlines() if self.workload.trains else []
        return sum("is written by a copy" in line for line in lines)

    def planned_bytes(self) -> int | None:
        return self.compiled.plan(**open_sizes(self.data)).peak_bytes


class StaticgradImplementation(Implementation):
    """See ``Implementation``."""

    name = "staticgrad"
    package = "staticgrad"
    settings = "sg.compile(graph, threads=...), batch a named size"
    peer = False

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        threads = str(settings.threads)
        variables = {"STATICGRAD_CACHE_DIR": settings.cache, "STATICGRAD_THREADS": threads}
        return {**variables, "STATICGRAD_TARGET": "x86-64-v3"} if settings.avx2 else variables

    def load(self, settings: Settings) -> dict[str, str]:
        return {"staticgrad": sg.__version__}

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return StaticgradProgram(workload, data, settings)


IMPLEMENTATIONS = (StaticgradImplementation,)
