"""HIPS autograd: NumPy with a tape; updates are NumPy's, in place."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.harness.implementation import Implementation, Program, Settings, UnsupportedError
from benchmarks.harness.operations import Operations
from benchmarks.harness.workload import Array, Arrays, Data, Workload


class Autograd(Operations):
    """``autograd.numpy`` and its SciPy functions."""

    def __init__(self) -> None:
        super().__init__(import_module("autograd.numpy"))
        special = import_module("autograd.scipy.special")
        self.erf = special.erf

    def logsumexp(self, x: Any, axis: int) -> Any:
        return import_module("autograd.scipy.special").logsumexp(x, axis=axis)

    def solve_lower(self, factor: Any, y: Any) -> Any:
        linear = import_module("autograd.scipy.linalg")
        return linear.solve_triangular(factor, y, lower=True)

    def diagonal(self, x: Any) -> Any:
        return self.namespace.diagonal(x, 0, -1, -2)  # the axes that it can differentiate

    def softplus(self, x: Any) -> Any:
        return self.namespace.logaddexp(x, x * 0)


class AutogradProgram(Program):
    """See ``Program``."""

    def build(self) -> None:
        if self.workload.kind == "adam" or self.workload.has_moments:
            raise UnsupportedError("it has no Adam that updates arrays in place")
        autograd = import_module("autograd")
        ops, workload, data = Autograd(), self.workload, self.data
        self.variables = {name: array.copy() for name, array in data.variables.items()}
        outputs: dict[str, Any] = {}

        def loss(variables: Any) -> Any:
            value, results = workload.loss(ops, {**variables, **data.feeds}, data.sizes)
            outputs.update({name: _plain(array) for name, array in results.items()})
            return value

        value_and_grad = autograd.value_and_grad(loss)
        if workload.kind == "sgd":
            rate, variables = workload.rate, self.variables

            def train() -> Any:
                value, gradients = value_and_grad(variables)
                for name, gradient in gradients.items():
                    variables[name] -= rate * gradient
                return {"loss": value, **outputs}

            self.step = train
            return

        def step() -> Any:
            value, gradients = value_and_grad(self.variables)
            results = {"loss": value, **outputs}
            return results | {f"gradient:{n}": g for n, g in gradients.items()}

        self.step = step if workload.kind == "gradient" else self._product(autograd, step, loss)

    def _product(self, autograd: Any, step: Any, loss: Any) -> Any:
        (name,) = self.data.along
        vector = self.data.along[name]
        product = autograd.hessian_vector_product(lambda w: loss({name: w}))

        def add_product() -> Any:
            return step() | {f"hvp:{name}": product(self.variables[name], vector)}

        return add_product

    def results(self, returned: Any) -> Mapping[str, Array]:
        return {name: np.asarray(value) for name, value in returned.items()}

    def parameters(self) -> Arrays:
        if self.workload.kind != "sgd":
            return {}
        return {name: array.copy() for name, array in self.variables.items()}


def _plain(value: Any) -> Any:
    """The array in a box of the tape."""
    while hasattr(value, "_value"):
        value = value._value
    return value


class AutogradImplementation(Implementation):
    """See ``Implementation``."""

    name = "autograd"
    package = "autograd"
    settings = "value_and_grad over NumPy, in-place updates"
    quick = False

    def load(self, settings: Settings) -> dict[str, str]:
        import_module("autograd")
        version = import_module("importlib.metadata").version("autograd")
        return {"autograd": version, "numpy": np.__version__}

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return AutogradProgram(workload, data, settings)


IMPLEMENTATIONS = (AutogradImplementation,)
