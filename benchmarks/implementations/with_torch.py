"""PyTorch, eager and compiled, for CPUs.

As its documentation advises: ``torch.set_num_threads``, ``zero_grad(set_to_none=True)``, the fused
functions of ``torch.nn.functional``, ``torch.optim.SGD`` with whichever of its loops (``foreach``
on, off, or ``fused``) is fastest here, ``torch.func`` for Hessian-vector products; and
``torch.compile`` of the loss, whose backward pass it compiles with it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.harness.implementation import Implementation, Program, Settings, UnsupportedError
from benchmarks.harness.operations import Operations, borders_of
from benchmarks.harness.workload import Adam, Array, Arrays, Data, Decoupled, Workload


class Torch(Operations):
    """``torch``, with ``torch.nn.functional`` for what it fuses."""

    def __init__(self, torch: Any) -> None:
        super().__init__(torch)
        self.functional = torch.nn.functional
        self.replace(self.functional, "relu", "relu6", "silu", "softplus")
        self.replace(self.functional, "cross_entropy", "gelu")
        self.replace(torch, "sigmoid")

    def constant(self, array: Any) -> Any:
        return self.namespace.as_tensor(array)

    def max(self, x: Any, axis: int, keepdims: bool = False) -> Any:
        return self.namespace.amax(x, axis, keepdims)

    def cumprod(self, x: Any, axis: int) -> Any:
        return self.namespace.cumprod(x, axis)

    def solve_lower(self, factor: Any, y: Any) -> Any:
        solve = self.namespace.linalg.solve_triangular
        return solve(factor, y[:, None], upper=False)[:, 0]

    def transpose(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.permute(axes)

    def concatenate(self, parts: Any, axis: int) -> Any:
        return self.namespace.cat(parts, axis)

    def logsumexp(self, x: Any, axis: int) -> Any:
        return self.namespace.logsumexp(x, axis)

    def embedding(self, ids: Any, table: Any) -> Any:
        return self.functional.embedding(ids, table)

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return self.functional.linear(x, w.t(), b)

    def layer_norm(self, x: Any, gain: Any, bias: Any, eps: float = 1e-5) -> Any:
        return self.functional.layer_norm(x, x.shape[-1:], gain, bias, eps)

    def causal_attention(self, q: Any, k: Any, v: Any, time: int, size: int) -> Any:
        return self.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def conv2d(self, x: Any, w: Any, b: Any, channels: tuple[int, int], side: int) -> Any:
        return self.functional.conv2d(x, w, b, padding=1)

    def max_pool(self, x: Any, channels: int, side: int) -> Any:
        return self.functional.max_pool2d(x, 2)

    def attention(self, q: Any, k: Any, v: Any, size: int) -> Any:
        return self.functional.scaled_dot_product_attention(q, k, v)

    def double_image(self, x: Any, channels: int, side: int) -> Any:
        return self.functional.interpolate(x, scale_factor=2)

    def conv(self, x: Any, w: Any, sizes: Mapping[str, Sequence[int]], groups: int = 1,
             stride: int = 1, dilation: int = 1, padding: int | None = None,
             bias: Any = None) -> Any:  # fmt: skip
        convolution = getattr(self.functional, f"conv{x.ndim - 2}d")
        border = tuple(width for width, _ in borders_of(sizes["taps"], dilation, padding))
        return convolution(x, w, bias, stride, border, dilation, groups)

    def max_pool_of(self, x: Any, taps: int, stride: int, padding: int) -> Any:
        return self.functional.max_pool2d(x, taps, stride, padding)

    def mean_pool(self, x: Any) -> Any:
        return self.functional.avg_pool2d(x, 2)

    def rms_norm(self, x: Any, gain: Any, eps: float) -> Any:
        return self.functional.rms_norm(x, x.shape[-1:], gain, eps)

    def softmax(self, x: Any) -> Any:
        return self.namespace.softmax(x, -1)

    def biased_attention(self, q: Any, k: Any, v: Any, bias: Any, scale: float) -> Any:
        attend = self.functional.scaled_dot_product_attention
        return attend(q, k, v, attn_mask=bias.to(q.dtype), scale=scale)

    def conv_transpose(self, x: Any, w: Any, stride: int) -> Any:
        return getattr(self.functional, f"conv_transpose{x.ndim - 2}d")(x, w, None, stride, 1)

    def segment_sum(self, x: Any, ids: Any, count: int) -> Any:
        return x.new_zeros(count, *x.shape[1:]).index_add(0, ids, x)

    def sort(self, x: Any, axis: int) -> Any:
        return self.namespace.sort(x, axis)[0]

    def top_k(self, x: Any, count: int) -> Any:
        return self.namespace.topk(x, count)[0]

    def median(self, x: Any, axis: int) -> Any:
        return self.namespace.median(x, axis)[0]

    def identity(self, size: int) -> Any:
        return self.namespace.eye(size, dtype=self.namespace.float64)

    def expm(self, x: Any) -> Any:
        return self.namespace.linalg.matrix_exp(x)

    def batch_norm(self, x: Any, gain: Any, bias: Any, count: int) -> Any:
        return self.functional.batch_norm(x, None, None, gain, bias, training=True)

    def lstm(self, x: Any, wx: Any, wh: Any, b: Any, time: int, hidden: int) -> Any:
        zeros = x.new_zeros(1, x.shape[1], hidden)
        weights = [wx.t(), wh.t(), b, self.namespace.zeros_like(b)]
        return self.namespace.lstm(
            x, (zeros, zeros), weights, True, 1, 0.0, True, False, False
        )[0][-1]  # fmt: skip

    def recurrent(self, kind: str, x: Any, weights: Any, time: int, hidden: int,
                  every: bool = False) -> Any:  # fmt: skip
        states = (x.new_zeros(len(weights), x.shape[1], hidden),) * (2 if kind == "lstm" else 1)
        flat = []
        for w, u, b in weights:
            flat += [w.t(), u.t(), b, self.namespace.zeros_like(b)]
        layers = getattr(self.namespace, kind)
        first = states if kind == "lstm" else states[0]
        out, last, *_ = layers(x, first, flat, True, len(weights), 0.0, True, False, False)
        return out if every else last[-1]


class TorchLoops(Torch):
    """For torch.compile, which unrolls a Python loop but does not trace the fused layers."""

    lstm, recurrent = Operations.lstm, Operations.recurrent

    def zero_state(self, x: Any, hidden: int) -> Any:
        return x.new_zeros(x.shape[1], hidden)


class TorchProgram(Program):
    """Eager; see ``Program``."""

    operations: type[Torch] = Torch

    def build(self) -> None:
        self.torch = torch = import_module("torch")
        ops, workload, sizes = self.operations(torch), self.workload, self.data.sizes

        def loss(variables: Any, feeds: Any) -> Any:
            return workload.loss(ops, {**variables, **feeds}, sizes)

        self.loss = self.wrap(loss)
        self.feeds = self._tensors(self.data.feeds)
        self.along = self._tensors(self.data.along)
        self.variables = self._tensors(self.data.variables)
        if workload.kind == "hvp":
            self.step = self._hvp()
            return
        for tensor in self.variables.values():
            tensor.requires_grad_()
        self.step = self._training(None) if workload.trains else self._gradient()

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function; the compiled variants compile it."""
        return function

    def tune(self) -> str:
        """The fastest loop of the optimizer, by a short trial of each."""
        if not self.workload.trains:
            return ""
        times = {}
        for name in ("foreach", "single", "fused"):
            step = self._training(name)
            step()
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < 0.1:
                step()
                calls += 1
            times[name] = (time.perf_counter() - start) / calls
        best = min(times, key=lambda name: times[name])
        self.step = self._training(best)
        return f"{self.workload.kind}: {best}"

    def results(self, returned: Any) -> Mapping[str, Array]:
        return {name: value.detach().numpy() for name, value in returned.items()}

    def parameters(self) -> Arrays:
        if not self.workload.trains:
            return {}
        return {name: t.detach().numpy().copy() for name, t in self.variables.items()}

    def moments(self) -> dict[str, tuple[Array, ...]]:
        names = {"adamw": ("exp_avg", "exp_avg_sq"), "momentum": ("momentum_buffer",)}
        keys = names.get(self.workload.kind, ())
        states = (
            {name: self.optimizer.state[t] for name, t in self.variables.items()} if keys else {}
        )
        return {
            name: tuple(state[key].numpy().copy() for key in keys) for name, state in states.items()
        }

    def _tensors(self, arrays: Arrays) -> dict[str, Any]:
        return {name: self.torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    def _training(self, loop: str | None) -> Callable[[], Any]:
        options = {"foreach": loop == "foreach", "fused": loop == "fused"} if loop else {}
        if self.workload.kind == "adam":
            return self._adam(options)
        optimizer = self.optimizer = self._optimizer(options)
        loss_of, variables, feeds = self.loss, self.variables, self.feeds

        def step() -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss, outputs = loss_of(variables, feeds)
            loss.backward()
            optimizer.step()
            return {"loss": loss.detach(), **outputs}

        return step

    def _optimizer(self, options: dict[str, bool]) -> Any:
        optim, rate, variables = self.torch.optim, self.workload.rate, self.variables.values()
        if self.workload.kind == "adamw":
            decay = {"weight_decay": Decoupled.DECAY}
            return optim.AdamW([*variables], rate, Adam.BETAS, Adam.EPSILON, **decay, **options)
        momentum = Decoupled.MOMENTUM if self.workload.kind == "momentum" else 0.0
        return optim.SGD([*variables], lr=rate, momentum=momentum, **options)

    def _adam(self, options: dict[str, bool]) -> Callable[[], Any]:
        torch, loss_of, variables, feeds = self.torch, self.loss, self.variables, self.feeds
        optimizer = torch.optim.Adam(
            list(variables.values()), self.workload.rate, Adam.BETAS, Adam.EPSILON, **options
        )
        for name, tensor in variables.items():
            mean, square = self.data.moments[name]
            tensor.grad = feeds[f"slope:{name}"]
            optimizer.state[tensor] = {
                "step": torch.tensor(float(Adam.STEPS_BEFORE)),
                "exp_avg": torch.from_numpy(mean.copy()),
                "exp_avg_sq": torch.from_numpy(square.copy()),
            }

        def step() -> Any:
            with torch.no_grad():
                loss, outputs = loss_of(variables, feeds)
            optimizer.step()
            return {"loss": loss, **outputs}

        return step

    def _gradient(self) -> Callable[[], Any]:
        loss_of, variables, feeds = self.loss, self.variables, self.feeds
        wrt, names = list(variables.values()), [f"gradient:{name}" for name in variables]
        grad = self.torch.autograd.grad

        def step() -> Any:
            loss, outputs = loss_of(variables, feeds)
            gradients = grad(loss, wrt)
            return {"loss": loss, **outputs, **dict(zip(names, gradients, strict=True))}

        return step

    def _hvp(self) -> Callable[[], Any]:
        func, ops = self.torch.func, self.operations(self.torch)
        workload, sizes = self.workload, self.data.sizes

        def loss(variables: Any, feeds: Any) -> Any:
            return workload.loss(ops, {**variables, **feeds}, sizes)[0]

        def product(variables: Any, feeds: Any, along: Any) -> Any:
            grad_and_value = func.grad_and_value(loss)

            def slope(at: Any) -> Any:
                return grad_and_value(at, feeds)

            (gradients, value), (products, _) = func.jvp(slope, (variables,), (along,))
            return value, gradients, products

        compiled, names = self.wrap(product), list(self.variables)

        def step() -> Any:
            value, gradients, products = compiled(self.variables, self.feeds, self.along)
            results = {"loss": value} | {f"gradient:{n}": gradients[n] for n in names}
            return results | {f"hvp:{n}": products[n] for n in names}

        return step


class TorchImplementation(Implementation):
    """Eager PyTorch."""

    name = "torch"
    package = "torch"
    settings = "eager, fused functions, zero_grad(set_to_none), fastest SGD loop"
    mode: str | None = None

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        isa = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        return isa if settings.avx2 else {}

    def load(self, settings: Settings) -> dict[str, str]:
        torch = import_module("torch")
        torch.set_num_threads(settings.threads)
        return {"torch": torch.__version__}

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return TorchProgram(workload, data, settings)


class CompiledTorchProgram(TorchProgram):
    """The same through torch.compile."""

    operations = TorchLoops

    def __init__(self, workload: Workload, data: Data, settings: Settings, mode: str) -> None:
        super().__init__(workload, data, settings)
        self.mode = mode

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.torch.compile(function, mode=self.mode)  # type: ignore[no-any-return]


class CompiledTorch(TorchImplementation):
    """torch.compile in its default mode."""

    name = "torch.compile"
    settings = "torch.compile(loss), default mode, zero_grad(set_to_none), fastest SGD loop"
    mode = "default"
    quick = False

    @classmethod
    def environment(cls, settings: Settings) -> dict[str, str]:
        caches = {"TORCHINDUCTOR_CACHE_DIR": settings.cache, "TORCHINDUCTOR_FX_GRAPH_CACHE": "1"}
        return super().environment(settings) | caches

    def load(self, settings: Settings) -> dict[str, str]:
        if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
            raise UnsupportedError("torch.compile needs a C++ compiler")
        return super().load(settings)

    def program(self, workload: Workload, data: Data, settings: Settings) -> Program:
        return CompiledTorchProgram(workload, data, settings, str(self.mode))


class TunedTorch(CompiledTorch):
    """torch.compile, max-autotune."""

    name = "torch.compile-max"
    settings = "torch.compile(loss), mode max-autotune, zero_grad(set_to_none), fastest SGD loop"
    default = False  # on CPUs it tunes matrix products only, and takes minutes to do so
    mode = "max-autotune"


IMPLEMENTATIONS = (TorchImplementation, CompiledTorch, TunedTorch)
