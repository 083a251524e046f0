"""JAX: the whole step under ``jax.jit``, parameters donated, results waited for.

As its documentation advises: arrays are put on the device beforehand, ``donate_argnums`` for state
that is replaced, ``block_until_ready`` when timing, ``lax.scan`` for loops, and the persistent
compilation cache for warm starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.harness.implementation import Implementation, Program, Settings
from benchmarks.harness.operations import GATES, Operations, borders_of
from benchmarks.harness.workload import Adam, Array, Arrays, Data, Decoupled, Workload


class Jax(Operations):
    """``jax.numpy``, with the fused composites of ``jax.nn`` and ``jax.lax``."""

    def __init__(self, jax: Any) -> None:
        super().__init__(jax.numpy)
        self.jax = jax
        self.erf = jax.scipy.special.erf
        self.replace(jax.nn, "relu", "relu6", "silu", "softplus", "softmax", "sigmoid")
        self.replace(jax.nn, "logsumexp")

    def gelu(self, x: Any) -> Any:
        return self.jax.nn.gelu(x, approximate=False)

    def pick(self, x: Any, labels: Any) -> Any:
        return self.namespace.take_along_axis(x, labels[:, None], axis=1)[:, 0]

    def solve_lower(self, factor: Any, y: Any) -> Any:
        return self.jax.scipy.linalg.solve_triangular(factor, y, lower=True)

    def conv2d(self, x: Any, w: Any, b: Any, channels: tuple[int, int], side: int) -> Any:
        out = self.jax.lax.conv_general_dilated(x, w, (1, 1), "SAME")
        return out + b[:, None, None]

    def max_pool(self, x: Any, channels: int, side: int) -> Any:
        lax, window = self.jax.lax, (1, 1, 2, 2)
        return lax.reduce_window(x, -np.inf, lax.max, window, window, "VALID")

    def conv(self, x: Any, w: Any, sizes: Mapping[str, Sequence[int]], groups: int = 1,
             stride: int = 1, dilation: int = 1, padding: int | None = None,
             bias: Any = None) -> Any:  # fmt: skip
        lax, rank = self.jax.lax, x.ndim - 2
        border = borders_of(sizes["taps"], dilation, padding)
        out = lax.conv_general_dilated(
            x, w, (stride,) * rank, border, rhs_dilation=(dilation,) * rank,
            feature_group_count=groups,
        )  # fmt: skip
        return out if bias is None else out + bias.reshape(-1, *(1,) * rank)

    def max_pool_of(self, x: Any, taps: int, stride: int, padding: int) -> Any:
        lax, border = self.jax.lax, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)
        window, steps = (1, 1, taps, taps), (1, 1, stride, stride)
        return lax.reduce_window(x, -np.inf, lax.max, window, steps, border)

    def conv_transpose(self, x: Any, w: Any, stride: int) -> Any:
        axes = tuple(range(2, x.ndim))
        flipped = self.namespace.flip(self.namespace.swapaxes(w, 0, 1), axes)
        border = [(k - 2, k - 2) for k in w.shape[2:]]  # of a padding of 1
        return self.jax.lax.conv_general_dilated(
            x, flipped, (1,) * len(axes), border, lhs_dilation=(stride,) * len(axes)
        )

    def segment_sum(self, x: Any, ids: Any, count: int) -> Any:
        return self.jax.ops.segment_sum(x, ids, count)

    def top_k(self, x: Any, count: int) -> Any:
        return self.jax.lax.top_k(x, count)[0]

    def expm(self, x: Any) -> Any:
        return self.jax.scipy.linalg.expm(x)

    def repeat(self, body: Callable[[Any, Sequence[Any]], Any], start: Any, times: int,
               constants: Sequence[Any]) -> Any:  # fmt: skip
        return self.jax.lax.scan(lambda y, _: (body(y, constants), None), start, length=times)[0]

    def scan(self, body: Callable[[Any, Any], Any], start: Any, x: Any) -> Any:
        return self.jax.lax.scan(body, start, x)

    def lstm(self, x: Any, wx: Any, wh: Any, b: Any, time: int, hidden: int) -> Any:
        zeros = self.namespace.zeros((x.shape[1], hidden), x.dtype)

        def cell(state: Any, at: Any) -> Any:
            h, c = state
            return self.lstm_cell(at, h, c, (wx, wh, b), hidden), None

        return self.jax.lax.scan(cell, (zeros, zeros), x)[0][0]

    def recurrent(self, kind: str, x: Any, weights: Any, time: int, hidden: int,
                  every: bool = False) -> Any:  # fmt: skip
        cell = self.recurrent_cell(kind, hidden)
        for w, u, b in weights:
            first = (self.zero_state(x, hidden),) * (GATES[kind] - 2)

            def iteration(state: Any, at: Any, w: Any = w, u: Any = u, b: Any = b) -> Any:
                state = cell(at @ w + b, state, u)  # a product before the loop is slower here
                return state, state[0]

            last, x = self.jax.lax.scan(iteration, first, x)
        return x if every else last[0]


class JaxProgram(Program):
    """See ``Program``."""

    def build(self) -> None:
        self.jax = jax = import_module("jax")
        self.state = jax.device_put(self.data.variables)
        if self.workload.kind == "adam":
            count = np.asarray(Adam.STEPS_BEFORE)
            self.state = jax.device_put((self.data.variables, self.data.moments, count))
        elif self.workload.has_moments:
            zeros = {name: np.zeros_like(array) for name, array in self.data.variables.items()}
            count = np.zeros((), self.workload.dtype)
            self.state = jax.device_put((self.data.variables, zeros, zeros, count))
            if self.workload.kind == "momentum":
                self.state = jax.device_put((self.data.variables, zeros))
        self.feeds = jax.device_put(self.data.feeds)
        self.along = jax.device_put(self.data.along)
        function = getattr(self, f"_{self.workload.kind}")()
        donated = (0,) if self.workload.trains else ()
        self.function = jax.jit(function, donate_argnums=donated)
        self.lowered = self.function.lower(self.state, self.feeds, self.along)

    def compile(self) -> None:
        self.executable = self.lowered.compile()
        function, feeds, along, state = self.function, self.feeds, self.along, self.state
        wait = self.jax.block_until_ready
        if self.workload.trains:

            def step() -> Any:
                self.state, outputs = wait(function(self.state, feeds, along))
                return outputs

            self.step = step
        else:
            self.step = lambda: wait(function(state, feeds, along))

    def results(self, returned: Any) -> Mapping[str, Array]:
        return {name: np.asarray(value) for name, value in returned.items()}

    def parameters(self) -> Arrays:
        if not self.workload.trains:
            return {}
        with_moments = self.workload.kind != "sgd"
        variables = self.state[0] if with_moments else self.state
        return {name: np.array(value) for name, value in variables.items()}

    def moments(self) -> dict[str, tuple[Array, ...]]:
        count = {"adamw": 2, "momentum": 1}.get(self.workload.kind, 0)
        return {
            name: tuple(np.array(moments[name]) for moments in self.state[1 : 1 + count])
            for name in (self.data.variables if count else ())
        }

    def planned_bytes(self) -> int | None:
        analysis = self.executable.memory_analysis()
        return None if analysis is None else int(analysis.temp_size_in_bytes)

    def _loss(self) -> Callable[[Any, Any], Any]:
        ops, workload, sizes = Jax(self.jax), self.workload, self.data.sizes
        return lambda variables, feeds: workload.loss(ops, {**variables, **feeds}, sizes)

    def _sgd(self) -> Callable[[Any, Any, Any], Any]:
        value_and_grad = self.jax.value_and_grad(self._loss(), has_aux=True)
        rate = self.workload.rate

        def step(state: Any, feeds: Any, _: Any) -> Any:
            (loss, outputs), gradients = value_and_grad(state, feeds)
            new = {name: value - rate * gradients[name] for name, value in state.items()}
            return new, {"loss": loss, **outputs}

        return step

    def _adam(self) -> Callable[[Any, Any, Any], Any]:
        loss_of, rate, sqrt = self._loss(), self.workload.rate, self.jax.numpy.sqrt
        decay, decay_of_squares = Adam.BETAS
        dtype = self.workload.dtype

        def step(state: Any, feeds: Any, _: Any) -> Any:
            variables, moments, count = state
            loss, outputs = loss_of(variables, feeds)
            count = count + 1
            unbiased = (1 - decay**count).astype(dtype)
            unbiased_squares = (1 - decay_of_squares**count).astype(dtype)
            updated, new = {}, {}
            for name, value in variables.items():
                (mean, square), slope = moments[name], feeds[f"slope:{name}"]
                mean = decay * mean + (1 - decay) * slope
                square = decay_of_squares * square + (1 - decay_of_squares) * slope * slope
                new[name] = mean, square
                spread = sqrt(square / unbiased_squares) + Adam.EPSILON
                updated[name] = value - rate * (mean / unbiased) / spread
            return (updated, new, count), {"loss": loss, **outputs}

        return step

    def _adamw(self) -> Callable[[Any, Any, Any], Any]:
        value_and_grad = self.jax.value_and_grad(self._loss(), has_aux=True)
        rate, sqrt, map_tree = self.workload.rate, self.jax.numpy.sqrt, self.jax.tree.map
        decay, decay_of_squares = Adam.BETAS

        def step(state: Any, feeds: Any, _: Any) -> Any:
            variables, means, squares, count = state
            (loss, outputs), gradients = value_and_grad(variables, feeds)
            count = count + 1
            first, second = 1 - decay**count, 1 - decay_of_squares**count
            means = map_tree(lambda m, g: decay * m + (1 - decay) * g, means, gradients)
            squares = map_tree(
                lambda s, g: decay_of_squares * s + (1 - decay_of_squares) * g * g,
                squares, gradients,
            )  # fmt: skip

            def change(w: Any, m: Any, s: Any) -> Any:
                size = sqrt(s / second) + Adam.EPSILON
                return w - rate * (m / first / size + Decoupled.DECAY * w)

            new = map_tree(change, variables, means, squares)
            return (new, means, squares, count), {"loss": loss, **outputs}

        return step

    def _momentum(self) -> Callable[[Any, Any, Any], Any]:
        value_and_grad = self.jax.value_and_grad(self._loss(), has_aux=True)
        rate, map_tree = self.workload.rate, self.jax.tree.map

        def step(state: Any, feeds: Any, _: Any) -> Any:
            variables, sums = state
            (loss, outputs), gradients = value_and_grad(variables, feeds)
            sums = map_tree(lambda s, g: Decoupled.MOMENTUM * s + g, sums, gradients)
            new = map_tree(lambda w, s: w - rate * s, variables, sums)
            return (new, sums), {"loss": loss, **outputs}

        return step

    def _gradient(self) -> Callable[[Any, Any, Any], Any]:
        value_and_grad = self.jax.value_and_grad(self._loss(), has_aux=True)

        def value(variables: Any, feeds: Any, _: Any) -> Any:
            (loss, outputs), gradients = value_and_grad(variables, feeds)
            named = {f"gradient:{name}": g for name, g in gradients.items()}
            return {"loss": loss, **outputs, **named}

        return value

    def _hvp(self) -> Callable[[Any, Any, Any], Any]:
        value = self._gradient()

        def product(variables: Any, feeds: Any, along: Any) -> Any:
            def at(point: Any) -> Any:
                return value(point, feeds, None)

            results, products = self.jax.jvp(at, (variables,), (along,))
            return {**results, **{f"hvp:{n}": products[f"gradient:{n}"] for n in variables}}

        return product


class JaxImplementation(Implementation):
    """See ``Implementation``."""

    name = "jax"
    package = "jax"
    settings = "jit of the whole step, donated parameters, block_until_ready, persistent cache"

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        variables = {
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_X64": "1",
            "JAX_COMPILATION_CACHE_DIR": settings.cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        flags = [
            *["--xla_cpu_multi_thread_eigen=false"] * (settings.threads == 1),
            *["--xla_cpu_max_isa=AVX2"] * settings.avx2,
        ]
        return {**variables, "XLA_FLAGS": " ".join(flags)} if flags else variables

    def load(self, settings: Settings) -> dict[str, str]:
        jax = import_module("jax")
        import_module("jax.scipy.special")
        jax.devices()  # the backend starts here
        return {"jax": jax.__version__, "jaxlib": import_module("jaxlib").__version__}

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return JaxProgram(workload, data, settings)


IMPLEMENTATIONS = (JaxImplementation,)
