"""The measured libraries, each a namespace and a way to run a call.

A library is given a case, its operands as arrays, and how they lie; it gives a function that runs
the call once and waits for it. The layout is part of the call: a view of the array that was fed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.every_op.cases import Array, Case, Layout

Step = Callable[[], Any]
KEPT = 8  # of a topk
#: Those whose results lie as the operands do; how such a call and a copy in C order are named.
UNORDERED = ("numpy", "torch")
IN_ORDER = ", in C order"
#: How a call is named that follows others of the same library.
AGAIN = ", again"


class Space:
    """NumPy's names from a namespace, and what libraries spell each in their own way."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)

    def view_operand(self, fed: Any, layout: Layout) -> Any:
        """The operand, of the array that is fed for a layout."""
        if layout == "transposed":
            return self.transpose_matrix(fed)
        if layout == "strided":
            return fed[:, ::2]
        if layout == "broadcast":
            return self.broadcast_to(fed, (self.rows, fed.shape[1]))
        return fed

    rows = 1

    def transpose_matrix(self, x: Any) -> Any:
        return x.T

    def special(self, name: str) -> Any:
        return getattr(self.library, name)

    def activation(self, name: str) -> Any:
        return getattr(self.library.nn, name)

    def copy(self, x: Any) -> Any:
        return x

    def flat(self, x: Any) -> Any:
        return self.reshape(x, (-1,))

    def cast(self, x: Any, dtype: str) -> Any:
        return x.astype(dtype)

    def clip_range(self, x: Any, low: float | None, high: float | None) -> Any:
        return self.clip(x, low, high)

    def reduce_axis(self, name: str, x: Any, axis: int | None) -> Any:
        return getattr(self.library, name)(x, axis=axis)

    def pad_border(self, x: Any) -> Any:
        return self.pad(x, ((1, 1), (1, 1)))

    def take_columns(self, x: Any, places: Any) -> Any:
        return self.take(x, places, axis=1)

    def along(self, x: Any, places: Any) -> Any:
        return self.take_along_axis(x, places, axis=1)

    def sort_rows(self, x: Any) -> Any:
        return self.sort(x, axis=1)

    def positions(self, x: Any) -> Any:
        return self.arange(x.shape[0] * x.shape[1], dtype="int64")


class Library(ABC):
    """A library by its name in the report."""

    name: ClassVar[str]

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.space = self.made_space()

    @abstractmethod
    def made_space(self) -> Space:
        """Imports the library."""

    @abstractmethod
    def step(self, case: Case, fed: Sequence[Array], layout: Layout, rows: int, ct: Any) -> Step:
        """The call, or with ``ct`` its gradient by the first operand for that cotangent."""

    def bind_case(self, case: Case, layout: Layout, rows: int) -> Callable[..., Any]:
        """The call over what is fed: operands of two axes lie in a layout."""
        self.space.rows = rows

        def call(*fed: Any) -> Any:
            operands = [
                self.space.view_operand(x, layout) if x.ndim == 2 and n not in case.as_drawn else x
                for n, x in enumerate(fed)
            ]
            return case.call(self.space, *operands)

        return call


# -- staticgrad -----------------------------------------------------------------------------------


class _OwnSpace(Space):
    def special(self, name: str) -> Any:
        if hasattr(self.library, name):
            return getattr(self.library, name)
        if name in self.library.special.__all__:
            return getattr(self.library.special, name)
        return import_module("staticgrad.language.ir.op").op_class(name)()

    def scatter_columns(self, x: Any, places: Any) -> Any:
        return self.library.scatter_add(x, places, x.shape[1], axis=1)

    def scatter_max(self, x: Any, places: Any) -> Any:
        return self.library.zeros_like(x).at[:, places].max(x)

    def write_columns(self, x: Any, places: Any) -> Any:
        return self.library.zeros_like(x).at[:, places].set(x)

    def scatter_along(self, x: Any, places: Any) -> Any:
        return import_module("staticgrad.language.ir.op").op_class("scatter_along")(1, x.shape[1])(
            x, places
        )

    def topk(self, x: Any) -> Any:
        return self.library.topk(x, min(KEPT, x.shape[1]))[0]

    def random(self, x: Any) -> Any:
        return self.library.random.Generator(0).uniform(shape=x.shape)


class Own(Library):
    name = "staticgrad"

    def made_space(self) -> Space:
        return _OwnSpace(import_module("staticgrad"))

    def graph(self, case: Case, fed: Sequence[Array], layout: Layout, rows: int, ct: Any) -> Any:
        """The graph of the call, and its feeds."""
        sg = self.space.library
        feeds = {f"x{n}": array for n, array in enumerate(fed)}
        inputs = [sg.input(name, array.shape, array.dtype) for name, array in feeds.items()]
        out = self.bind_case(case, layout, rows)(*inputs)
        if ct is not None:
            feeds["ct"] = ct
            weighted = out * sg.input("ct", ct.shape, ct.dtype)
            out = sg.grad(weighted.sum(), inputs[0])
        graph = sg.Graph(out)
        read = [value.node.op.label for value in graph.inputs]
        return graph, {name: feeds[name] for name in read}

    def step(self, case: Case, fed: Sequence[Array], layout: Layout, rows: int, ct: Any) -> Step:
        graph, feeds = self.graph(case, fed, layout, rows, ct)
        compiled = self.space.library.compile(graph, threads=self.threads)
        return lambda: compiled.run(feeds)


# -- NumPy ----------------------------------------------------------------------------------------


class _NumpySpace(Space):
    def special(self, name: str) -> Any:
        return getattr(import_module("scipy.special"), name)

    def activation(self, name: str) -> Any:
        if name == "relu":
            return lambda x: np.maximum(x, 0)
        return import_module("scipy.special").expit

    def copy(self, x: Any) -> Any:
        return np.ascontiguousarray(x)

    def scatter_columns(self, x: Any, places: Any) -> Any:
        sums = np.zeros_like(x)
        np.add.at(sums.T, places, x.T)
        return sums

    def scatter_max(self, x: Any, places: Any) -> Any:
        maxima = np.zeros_like(x)
        np.maximum.at(maxima.T, places, x.T)
        return maxima

    def write_columns(self, x: Any, places: Any) -> Any:
        written = np.zeros_like(x)
        written[:, places] = x
        return written

    def scatter_along(self, x: Any, places: Any) -> Any:
        sums = np.zeros_like(x)
        np.add.at(sums, (np.arange(x.shape[0])[:, None], places), x)
        return sums

    def random(self, x: Any) -> Any:
        return np.random.default_rng(0).random(x.shape, dtype="float32")


class Numpy(Library):
    name = "numpy"

    def made_space(self) -> Space:
        return _NumpySpace(np)

    def step(self, case: Case, fed: Sequence[Array], layout: Layout, rows: int, ct: Any) -> Step:
        if ct is not None:
            raise NotImplementedError("gradients")
        call = self.bind_case(case, layout, rows)

        def step() -> Any:
            with np.errstate(all="ignore"):
                return call(*fed)

        return step


# -- JAX ------------------------------------------------------------------------------------------


class _JaxSpace(Space):
    def special(self, name: str) -> Any:
        return getattr(import_module("jax").scipy.special, name)

    def activation(self, name: str) -> Any:
        return getattr(import_module("jax").nn, name)

    def scatter_columns(self, x: Any, places: Any) -> Any:
        return self.zeros_like(x).at[:, places].add(x)

    def scatter_max(self, x: Any, places: Any) -> Any:
        return self.zeros_like(x).at[:, places].max(x)

    def write_columns(self, x: Any, places: Any) -> Any:
        return self.zeros_like(x).at[:, places].set(x)

    def scatter_along(self, x: Any, places: Any) -> Any:
        rows = np.arange(x.shape[0])[:, None]
        return self.zeros_like(x).at[rows, places].add(x)

    def topk(self, x: Any) -> Any:
        return import_module("jax").lax.top_k(x, min(KEPT, x.shape[1]))[0]

    def random(self, x: Any) -> Any:
        random = import_module("jax").random
        return random.uniform(random.key(0), x.shape, dtype="float32")

    def floor_divide(self, x: Any, y: Any) -> Any:
        return x // y

    def bitwise_left_shift(self, x: Any, y: Any) -> Any:
        return x << y

    def bitwise_right_shift(self, x: Any, y: Any) -> Any:
        return x >> y


class Jax(Library):
    name = "jax"

    def made_space(self) -> Space:
        self.jax = import_module("jax")
        import_module("jax.scipy.special")
        return _JaxSpace(self.jax.numpy)

    def step(self, case: Case, fed: Sequence[Array], layout: Layout, rows: int, ct: Any) -> Step:
        call, jax = self.bind_case(case, layout, rows), self.jax
        if ct is None:
            function = jax.jit(call)
        else:

            def gradient(*fed: Any) -> Any:
                first, *others, weights = fed
                _, back = jax.vjp(lambda x: call(x, *others), first)
                return back(weights)[0]

            function = jax.jit(gradient)
        operands = jax.device_put([*fed] if ct is None else [*fed, ct])
        return lambda: function(*operands).block_until_ready()


# -- PyTorch --------------------------------------------------------------------------------------


class _TorchSpace(Space):
    """PyTorch's names where they differ."""

    _NAMES: ClassVar[dict[str, str]] = {
        "equal": "eq", "concatenate": "cat", "power": "pow", "rint": "round",
        "negative": "neg", "invert": "bitwise_not",
    }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, self._NAMES.get(name, name))

    def special(self, name: str) -> Any:
        return getattr(self.library.special, name)

    def activation(self, name: str) -> Any:
        return getattr(self.library, name)

    def copy(self, x: Any) -> Any:
        return x.contiguous()

    def transpose_matrix(self, x: Any) -> Any:
        return x.t()

    def cast(self, x: Any, dtype: str) -> Any:
        return x.to(getattr(self.library, dtype))

    def cbrt(self, _: Any) -> Any:
        raise NotImplementedError("cbrt")

    def reduce_axis(self, name: str, x: Any, axis: int | None) -> Any:
        name = {"max": "amax", "min": "amin"}.get(name, name)
        function = getattr(self.library, name)
        if name == "sum":
            return function(x) if axis is None else function(x, axis, dtype=x.dtype)
        return function(x) if axis is None else function(x, axis)

    def pad_border(self, x: Any) -> Any:
        return self.library.nn.functional.pad(x, (1, 1, 1, 1))

    def take_columns(self, x: Any, places: Any) -> Any:
        return x.index_select(1, places)

    def along(self, x: Any, places: Any) -> Any:
        return x.gather(1, places)

    def scatter_columns(self, x: Any, places: Any) -> Any:
        return self.library.zeros_like(x).index_add(1, places, x)

    def scatter_max(self, x: Any, places: Any) -> Any:
        return self.library.zeros_like(x).index_reduce(1, places, x, "amax")

    def write_columns(self, x: Any, places: Any) -> Any:
        return self.library.zeros_like(x).index_copy(1, places, x)

    def scatter_along(self, x: Any, places: Any) -> Any:
        return self.library.zeros_like(x).scatter_add(1, places, x)

    def sort_rows(self, x: Any) -> Any:
        return self.library.sort(x, dim=1)[0]

    def topk(self, x: Any) -> Any:
        return self.library.topk(x, min(KEPT, x.shape[1]))[0]

    def positions(self, x: Any) -> Any:
        return self.library.arange(x.numel())

    def random(self, x: Any) -> Any:
        return self.library.rand(x.shape)


class Torch(Library):
    name = "torch"

    def made_space(self) -> Space:
        torch = import_module("torch")
        torch.set_num_threads(self.threads)
        return _TorchSpace(torch)

    def step(self, case: Case, fed: Sequence[Array], layout: Layout, rows: int, ct: Any) -> Step:
        torch = self.space.library
        tensors, call = [torch.from_numpy(x) for x in fed], self.bind_case(case, layout, rows)
        if ct is None:

            def forward() -> Any:
                with torch.no_grad():
                    return call(*tensors)

            return forward
        tensors[0].requires_grad_()
        weights = torch.from_numpy(ct)
        return lambda: torch.autograd.grad(call(*tensors), tensors[0], weights)[0]


LIBRARIES = (Own, Numpy, Jax, Torch)
