"""Abstract problems of training steps, generated from layer tables, with gradients and updates.

Values are float32 and sizes bytes; a step costs the seconds of a machine of 100 GFLOP/s and 20
GB/s, whichever of the two takes longer, so elementwise steps cost what their bytes do. Each layer's
gradients follow from what it reads and what its derivative needs; weights are updated once, by a
step of its own behind the last that reads them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from staticgrad.analysis.planning.problem import MemoryOp, MemoryProblem, MemoryValue

_FLOPS: Final = 100e9
_BYTES: Final = 20e9


@dataclass
class _Layer:
    name: str
    inputs: tuple[str, ...]
    output: str
    cost: float
    saved: tuple[str, ...]
    weight: str | None


@dataclass
class Network:
    """A forward pass, written layer by layer; ``problem`` adds the backward one."""

    name: str
    values: list[MemoryValue] = field(default_factory=list)
    ops: list[MemoryOp] = field(default_factory=list)
    layers: list[_Layer] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    resident: set[str] = field(default_factory=set)

    def add_leaf(self, name: str, elements: int) -> str:
        """An input or a weight."""
        self._value(name, 4 * elements)
        self.resident.add(name)
        return name

    def _value(self, name: str, size: int) -> str:
        self.values.append(MemoryValue(name, size))
        self.sizes[name] = size
        return name

    def layer(
        self,
        inputs: Sequence[str],
        elements: int,
        flops: float = 0.0,
        weight: str | None = None,
        needs: str = "inputs",
    ) -> str:
        """A layer and its value; ``needs`` says what its derivative reads: inputs, output, none."""
        output = self._value(f"a{len(self.layers)}", 4 * elements)
        cost = self._cost((*inputs, output), flops)
        operands = (*inputs, weight) if weight else tuple(inputs)
        step = f"f{len(self.layers)}"
        self.ops.append(MemoryOp(step, step, operands, (output,), cost))
        saved = {"inputs": tuple(inputs), "output": (output,), "none": ()}[needs]
        self.layers.append(_Layer(step, tuple(inputs), output, cost, saved, weight))
        return output

    def _cost(self, names: Sequence[str], flops: float) -> float:
        return max(flops / _FLOPS, sum(self.sizes[name] for name in names) / _BYTES) + 1e-6

    def problem(self) -> MemoryProblem:
        """The whole step: gradients in reverse order, sums where a value has several readers."""
        gradients: dict[str, str] = {self.layers[-1].output: ""}
        users = {layer.weight: layer.name for layer in reversed(self.layers) if layer.weight}
        weights: dict[str, str] = {}
        for layer in reversed(self.layers):
            above = gradients[layer.output]
            read = tuple(dict.fromkeys((*filter(None, (above,)), *layer.saved)))
            number = layer.name[1:]
            for k, name in enumerate(dict.fromkeys(layer.inputs)):
                if name not in self.resident:
                    also = (layer.weight,) if layer.weight else ()
                    gradient = self._add_gradient(
                        f"b{number}.{k}", (*read, *also), self.sizes[name], layer.cost
                    )
                    gradients[name] = self._sum(gradients.get(name), gradient)
            if layer.weight:
                size = self.sizes[layer.weight]
                gradient = self._add_gradient(f"w{number}", read, size, layer.cost)
                weights[layer.weight] = self._sum(weights.get(layer.weight), gradient)
                if users[layer.weight] == layer.name:
                    self._update(layer.weight, weights[layer.weight])
        last = self.layers[-1].output
        return MemoryProblem(
            tuple(self.values),
            tuple(self.ops),
            frozenset(self.resident),
            outputs=(last,),
            name=self.name,
        )

    def _add_gradient(self, name: str, read: tuple[str, ...], size: int, cost: float) -> str:
        value = self._value(f"g{name}", size)
        self.ops.append(MemoryOp(name, name, read, (value,), cost))
        return value

    def _sum(self, left: str | None, right: str) -> str:
        if not left:
            return right
        total = self._value(f"{right}+", self.sizes[right])
        cost = self._cost((left, right, total), 0.0)
        pairs = ((left, total), (right, total))
        self.ops.append(MemoryOp(f"s{right}", "sum", (left, right), (total,), cost, inplace=pairs))
        return total

    def _update(self, weight: str, gradient: str) -> None:
        cost = self._cost((weight, weight, gradient), 0.0)
        name = f"u{weight}"
        self.ops.append(MemoryOp(name, name, (gradient, weight), (), cost, mutates=(weight,)))


def chain(length: int, seed: int = 0) -> MemoryProblem:
    """Layers whose derivative reads their input; equal without a seed."""
    rng = random.Random(seed)
    net = Network(f"chain-{length}" if seed else f"unit-{length}")
    x = net.add_leaf("x", 1 << 10)
    for _ in range(length):
        elements = 1 << (rng.randint(10, 16) if seed else 14)
        x = net.layer([x], elements, (rng.uniform(0.1, 30) if seed else 1.0) * 1e6)
    return net.problem()


def mlp(layers: int, batch: int = 256, width: int = 512) -> MemoryProblem:
    """Dense layers with tanh and their weights."""
    net = Network(f"mlp-{layers}")
    x = net.add_leaf("x", batch * width)
    for i in range(layers):
        weight = net.add_leaf(f"w{i}", width * width)
        x = net.layer([x], batch * width, 2.0 * batch * width * width, weight)
        x = net.layer([x], batch * width, needs="output")
    net.layer([x], 1)
    return net.problem()


def rnn(steps: int, batch: int = 64, width: int = 256) -> MemoryProblem:
    """A recurrence: one weight, whose gradients are added over the steps."""
    net = Network(f"rnn-{steps}")
    weight = net.add_leaf("w", width * width)
    h = net.add_leaf("h", batch * width)
    for i in range(steps):
        x = net.add_leaf(f"x{i}", batch * width)
        h = net.layer([h], batch * width, 2.0 * batch * width * width, weight)
        h = net.layer([h, x], batch * width, needs="none")
        h = net.layer([h], batch * width, needs="output")
    net.layer([h], 1)
    return net.problem()


def _conv(net: Network, x: str, side: int, inside: int, outside: int, taps: int, batch: int) -> str:
    weight = net.add_leaf(f"w{len(net.layers)}", taps * inside * outside)
    elements = batch * side * side * outside
    return net.layer([x], elements, 2.0 * elements * taps * inside, weight)


def _normalize(net: Network, x: str, elements: int) -> str:
    return net.layer([net.layer([x], elements)], elements, needs="output")


def vgg16(batch: int = 32) -> MemoryProblem:
    """Thirteen convolutions, five pools, three dense layers (Simonyan and Zisserman, 2014)."""
    net = Network("vgg16")
    x, side, inside = net.add_leaf("x", batch * 3 * 224 * 224), 224, 3
    for outside, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = _conv(net, x, side, inside, outside, 9, batch)
            x = net.layer([x], batch * side * side * outside, needs="output")
            inside = outside
        side //= 2
        x = net.layer([x], batch * side * side * outside)
    width = 512 * 49
    for i, outside in enumerate((4096, 4096, 1000)):
        weight = net.add_leaf(f"d{i}", width * outside)
        x = net.layer([x], batch * outside, 2.0 * batch * width * outside, weight)
        x = net.layer([x], batch * outside, needs="output")
        width = outside
    net.layer([x], 1)
    return net.problem()


def resnet(depths: Sequence[int], batch: int = 32) -> MemoryProblem:
    """Bottleneck blocks (He et al., 2015)."""
    net = Network(f"resnet-{3 * sum(depths) + 2}")
    x, side, inside = net.add_leaf("x", batch * 3 * 224 * 224), 112, 64
    x = _normalize(net, _conv(net, x, side, 3, 64, 49, batch), batch * side * side * 64)
    side = 56
    x = net.layer([x], batch * side * side * 64)
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            side = side // 2 if stage and not block else side
            short = x
            y = _conv(net, x, side, inside, width, 1, batch)
            y = _normalize(net, y, batch * side * side * width)
            y = _conv(net, y, side, width, width, 9, batch)
            y = _normalize(net, y, batch * side * side * width)
            y = net.layer(
                [_conv(net, y, side, width, 4 * width, 1, batch)], batch * side**2 * 4 * width
            )
            if not block:
                short = _conv(net, x, side, inside, 4 * width, 1, batch)
            elements = batch * side * side * 4 * width
            x = net.layer([net.layer([y, short], elements, needs="none")], elements, needs="output")
            inside = 4 * width
    net.layer([net.layer([x], batch * inside, needs="none")], 1)
    return net.problem()


def unet(levels: int = 4, batch: int = 4, side: int = 256, width: int = 32) -> MemoryProblem:
    """Down and up again, each level beside what came down (Ronneberger et al., 2015)."""
    net = Network(f"unet-{levels}")
    x, inside = net.add_leaf("x", batch * 3 * side * side), 3
    skips = []
    for _ in range(levels):
        for _ in range(2):
            x = _conv(net, x, side, inside, width, 9, batch)
            x = net.layer([x], batch * side * side * width, needs="output")
            inside = width
        skips.append(x)
        side, width = side // 2, 2 * width
        x = net.layer([x], batch * side * side * inside)
    for skip in reversed(skips):
        x = _conv(net, x, side, inside, width, 9, batch)
        x = net.layer([x], batch * side * side * width, needs="output")
        inside, side, width = width, 2 * side, width // 2
        x = net.layer([x], batch * side * side * inside, needs="none")
        x = net.layer([x, skip], batch * side * side * (inside + width), needs="none")
        x = _conv(net, x, side, inside + width, width, 9, batch)
        x = net.layer([x], batch * side * side * width, needs="output")
        inside = width
    net.layer([x], 1)
    return net.problem()


def transformer(blocks: int, batch: int = 8, length: int = 256, width: int = 512) -> MemoryProblem:
    """Blocks of attention and two dense layers, normalized before (Xiong et al., 2020)."""
    net = Network(f"transformer-{blocks}")
    rows, heads = batch * length, 8
    x = net.add_leaf("x", rows * width)
    scores = batch * heads * length * length

    def dense(x: str, inside: int, outside: int) -> str:
        weight = net.add_leaf(f"w{len(net.layers)}", inside * outside)
        return net.layer([x], rows * outside, 2.0 * rows * inside * outside, weight)

    for _ in range(blocks):
        y = net.layer([x], rows * width)
        q, k, v = (dense(y, width, width) for _ in range(3))
        s = net.layer([q, k], scores, 2.0 * scores * width / heads)
        p = net.layer([s], scores, needs="output")
        c = net.layer([p, v], rows * width, 2.0 * scores * width / heads)
        x = net.layer([x, dense(c, width, width)], rows * width, needs="none")
        y = net.layer([x], rows * width)
        y = net.layer([dense(y, width, 4 * width)], rows * 4 * width)
        x = net.layer([x, dense(y, 4 * width, width)], rows * width, needs="none")
    net.layer([x], 1)
    return net.problem()


def random_graph(count: int, seed: int = 1) -> MemoryProblem:
    """Steps that read one to three of the forty before them; sizes and costs at random."""
    rng = random.Random(seed)
    values, ops = [MemoryValue("x", 64)], []
    for i in range(count):
        near = ["x", *(f"v{j}" for j in range(max(0, i - 40), i))]
        inputs = tuple(dict.fromkeys(rng.choices(near, k=rng.randint(1, 3))))
        values.append(MemoryValue(f"v{i}", 64 * rng.randint(1, 4096)))
        ops.append(MemoryOp(f"o{i}", f"o{i}", inputs, (f"v{i}",), float(rng.randint(1, 100))))
    problem = tuple(values), tuple(ops), frozenset({"x"})
    return MemoryProblem(*problem, outputs=(f"v{count - 1}",), name=f"random-{count}")


#: Problems by name, small ones first.
PROBLEMS: Final[dict[str, Callable[[], MemoryProblem]]] = {
    "unit-16": lambda: chain(16),
    "chain-24": lambda: chain(24, seed=1),
    "mlp-8": lambda: mlp(8),
    "transformer-2": lambda: transformer(2),
    "rnn-16": lambda: rnn(16),
    "vgg16": vgg16,
    "unet-4": unet,
    "random-100": lambda: random_graph(100),
    "resnet-50": lambda: resnet((3, 4, 6, 3)),
    "transformer-12": lambda: transformer(12),
    "mlp-100": lambda: mlp(100),
    "resnet-152": lambda: resnet((3, 8, 36, 3)),
    "rnn-200": lambda: rnn(200),
    "random-1000": lambda: random_graph(1_000),
    "chain-2000": lambda: chain(2_000, seed=1),
    "transformer-192": lambda: transformer(192),
    "random-10000": lambda: random_graph(10_000),
}
