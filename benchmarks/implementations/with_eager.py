"""eager mode, ``staticgrad.eager``: the same ops and rules, run at once on NumPy.

Feeds are tensors made beforehand; SGD is its own optimizer, or updates of ``data`` by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

import staticgrad as sg
from benchmarks.harness.implementation import Implementation, Program, Settings, UnsupportedError
from benchmarks.harness.operations import Operations
from benchmarks.harness.workload import Array, Arrays, Data, Workload
from benchmarks.implementations.with_staticgrad import Staticgrad


class Eager(Staticgrad):
    """All functions of ``sg`` and ``sg.nn`` take tensors; constants become tensors."""

    def __init__(self, eager: Any) -> None:
        super().__init__()
        self.eager = eager

    conv2d = Operations.conv2d
    identity = Operations.identity

    def constant(self, array: Any) -> Any:
        return self.eager.Tensor(array)


class EagerProgram(Program):
    """See ``Program``."""

    def build(self) -> None:
        if self.workload.kind == "adam" or self.workload.has_moments:
            raise UnsupportedError("its Adam starts from moments of 0")
        self.eager = eager = import_module("staticgrad.eager")
        ops, workload, data = Eager(eager), self.workload, self.data
        feeds = {n: eager.Tensor(a) for n, a in data.feeds.items()}
        along = [eager.Tensor(a) for a in data.along.values()]
        self.variables = variables = {
            n: eager.Tensor(a, requires_grad=True) for n, a in data.variables.items()
        }
        wrt, names = list(variables.values()), list(variables)

        def forward() -> tuple[Any, dict[str, Any]]:
            loss, outputs = workload.loss(ops, {**variables, **feeds}, data.sizes)
            return loss, {"loss": loss, **outputs}

        if workload.kind == "sgd":
            optimizer = sg.optim.SGD(workload.rate).on(wrt)

            def train() -> Any:
                optimizer.zero_grad()
                loss, outputs = forward()
                loss.backward()
                optimizer.step()
                return outputs

            self.step = train
            return

        def gradient() -> Any:
            loss, outputs = forward()
            product = workload.kind == "hvp"
            gradients = eager.grad(loss, wrt, create_graph=product)
            outputs |= {f"gradient:{n}": g for n, g in zip(names, gradients, strict=True)}
            if product:
                slope = sum(sg.sum(g * v) for g, v in zip(gradients, along, strict=True))
                products = eager.grad(slope, wrt)
                outputs |= {f"hvp:{n}": m for n, m in zip(names, products, strict=True)}
            return outputs

        self.step = gradient

    def results(self, returned: Any) -> Mapping[str, Array]:
        return {name: np.asarray(value.data) for name, value in returned.items()}

    def parameters(self) -> Arrays:
        if self.workload.kind != "sgd":
            return {}
        return {name: tensor.data.copy() for name, tensor in self.variables.items()}


class EagerImplementation(Implementation):
    """See ``Implementation``."""

    name = "staticgrad.eager"
    package = "staticgrad.eager"
    settings = "define-by-run over NumPy, SGD of eager mode"
    peer = False

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        return {"STATICGRAD_CACHE_DIR": settings.cache}

    def load(self, settings: Settings) -> dict[str, str]:
        import_module("staticgrad.eager")
        return {"staticgrad": sg.__version__, "numpy": np.__version__}

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return EagerProgram(workload, data, settings)


IMPLEMENTATIONS = (EagerImplementation,)
