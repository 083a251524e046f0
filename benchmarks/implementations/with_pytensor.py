"""PyTensor: ``pytensor.function`` in its default mode, parameters as shared variables with updates.

As its documentation advises: float32 configured, ``pytensor.scan`` for loops, static shapes given,
``trust_input`` for the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.harness.implementation import Implementation, Program, Settings, UnsupportedError
from benchmarks.harness.operations import GATES, Operations
from benchmarks.harness.workload import Adam, Array, Arrays, Data, Workload


class PyTensor(Operations):
    """``pytensor.tensor``."""

    def __init__(self, pytensor: Any) -> None:
        super().__init__(pytensor.tensor)
        self.pytensor = pytensor

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return self.namespace.dot(x, w) + b

    def pick(self, x: Any, labels: Any) -> Any:
        return x[self.namespace.arange(x.shape[0]), labels]

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        scores = self.namespace.special.log_softmax(logits, axis=-1)
        return -self.mean(self.pick(scores, labels))

    def cholesky(self, x: Any) -> Any:
        return import_module("pytensor.tensor.slinalg").cholesky(x)

    def solve_lower(self, factor: Any, y: Any) -> Any:
        linear = import_module("pytensor.tensor.slinalg")
        return linear.solve_triangular(factor, y, lower=True)

    def softmax(self, x: Any) -> Any:
        return self.namespace.special.softmax(x, axis=-1)

    def logsumexp(self, x: Any, axis: int) -> Any:
        return self.namespace.logsumexp(x, axis=axis)

    def sigmoid(self, x: Any) -> Any:
        return self.namespace.sigmoid(x)

    def softplus(self, x: Any) -> Any:
        return self.namespace.softplus(x)

    def repeat(self, body: Callable[[Any, Sequence[Any]], Any], start: Any, times: int,
               constants: Sequence[Any]) -> Any:  # fmt: skip
        values = self.pytensor.scan(
            lambda y, *fixed: body(y, fixed), outputs_info=[start], n_steps=times,
            non_sequences=list(constants), return_updates=False,
        )  # fmt: skip
        return values[-1]

    def lstm(self, x: Any, wx: Any, wh: Any, b: Any, time: int, hidden: int) -> Any:
        zeros = self.namespace.zeros((x.shape[1], hidden), x.dtype)

        def cell(at: Any, h: Any, c: Any, *weights: Any) -> Any:
            return self.lstm_cell(at, h, c, weights, hidden)

        states, _ = self.pytensor.scan(
            cell, sequences=[x], outputs_info=[zeros, zeros], non_sequences=[wx, wh, b],
            return_updates=False,
        )  # fmt: skip
        return states[-1]

    def recurrent(self, kind: str, x: Any, weights: Any, time: int, hidden: int,
                  every: bool = False) -> Any:  # fmt: skip
        cell = self.recurrent_cell(kind, hidden)
        for w, u, b in weights:
            outputs = self.pytensor.scan(
                lambda part, *states: list(cell(part, states[:-1], states[-1])),
                sequences=[self.namespace.dot(x, w) + b],
                outputs_info=[self.zero_state(x, hidden)] * (GATES[kind] - 2),
                non_sequences=[u], return_updates=False,
            )  # fmt: skip
            x = outputs[0] if isinstance(outputs, list | tuple) else outputs
        return x if every else x[-1]


class PyTensorProgram(Program):
    """See ``Program``."""

    def build(self) -> None:
        self.pytensor = pytensor = import_module("pytensor")
        self.shared: dict[str, Any] = {}
        values = {name: self._make_input(name, array) for name, array in self.data.feeds.items()}
        for name, array in self.data.variables.items():
            if self.workload.trains:
                self.shared[name] = pytensor.shared(array.copy(), name, shape=array.shape)
                values[name] = self.shared[name]
            else:
                values[name] = self._make_input(name, array)
        loss, outputs = self.workload.loss(PyTensor(pytensor), values, self.data.sizes)
        variables = [values[name] for name in self.data.variables]
        self.outputs = {"loss": loss, **outputs}
        self.updates = []
        if self.workload.has_moments:
            raise UnsupportedError("it has no optimizers with moments")
        if self.workload.kind == "adam":
            self.updates = self._adam(values)
            self.inputs = [v for n, v in values.items() if n not in self.shared]
            return
        gradients = pytensor.grad(loss, variables)
        if self.workload.kind == "sgd":
            rate = np.asarray(self.workload.rate, self.workload.dtype)
            self.updates = [(w, w - rate * g) for w, g in zip(variables, gradients, strict=True)]
        else:
            names = [f"gradient:{name}" for name in self.data.variables]
            self.outputs |= dict(zip(names, gradients, strict=True))
        along = {name: self._make_input(f"along_{name}", a) for name, a in self.data.along.items()}
        for name, vector in along.items():
            i = list(self.data.variables).index(name)
            product = pytensor.tensor.sum(gradients[i] * vector)
            self.outputs[f"hvp:{name}"] = pytensor.grad(product, variables[i])
        self.inputs = [v for n, v in values.items() if n not in self.shared] + list(along.values())

    def _adam(self, values: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        shared, dtype = self.pytensor.shared, self.workload.dtype
        count = shared(np.asarray(Adam.STEPS_BEFORE, "float64"))
        updates = [(count, count + 1)]
        decay, decay_of_squares = (np.asarray(b, dtype) for b in Adam.BETAS)
        unbiased, unbiased_squares = ((1 - b ** (count + 1)).astype(dtype) for b in Adam.BETAS)
        rate, epsilon = np.asarray(self.workload.rate, dtype), np.asarray(Adam.EPSILON, dtype)
        for name, moments in self.data.moments.items():
            mean, square = (shared(a.copy(), shape=a.shape) for a in moments)
            slope = values[f"slope:{name}"]
            new = decay * mean + (1 - decay) * slope
            new_square = decay_of_squares * square + (1 - decay_of_squares) * slope * slope
            spread = self.pytensor.tensor.sqrt(new_square / unbiased_squares) + epsilon
            updated = values[name] - rate * (new / unbiased) / spread
            updates += [(mean, new), (square, new_square), (values[name], updated)]
        return updates

    def compile(self) -> None:
        arrays = list(self.data.feeds.values())
        if not self.workload.trains:
            arrays += self.data.variables.values()
        arrays += self.data.along.values()
        outputs = list(self.outputs.values())
        function = self.pytensor.function(self.inputs, outputs, updates=self.updates)
        function.trust_input = True
        self.step = lambda: function(*arrays)

    def results(self, returned: Any) -> Mapping[str, Array]:
        return {n: np.asarray(v) for n, v in zip(self.outputs, returned, strict=True)}

    def parameters(self) -> Arrays:
        return {name: np.array(value.get_value()) for name, value in self.shared.items()}

    def _make_input(self, name: str, array: Array) -> Any:
        return self.pytensor.tensor.tensor(name, dtype=array.dtype.name, shape=array.shape)


class PyTensorImplementation(Implementation):
    """See ``Implementation``."""

    name = "pytensor"
    package = "pytensor"
    quick = frozenset({"blackscholes"})  # the others compile for up to a minute
    settings = "default mode, shared variables with updates, scan, trust_input"

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        flags = f"base_compiledir={settings.cache},floatX={settings.dtype}"
        variables = {"PYTENSOR_FLAGS": flags, "NUMBA_CACHE_DIR": settings.cache}
        return {**variables, "NUMBA_CPU_NAME": "haswell"} if settings.avx2 else variables

    def load(self, settings: Settings) -> dict[str, str]:
        pytensor = import_module("pytensor")
        import_module("pytensor.tensor.special")
        linker = str(pytensor.compile.mode.get_default_mode().linker)
        return {"pytensor": pytensor.__version__, "linker": linker}

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return PyTensorProgram(workload, data, settings)


IMPLEMENTATIONS = (PyTensorImplementation,)
