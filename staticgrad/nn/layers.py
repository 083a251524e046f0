"""Layers: sequences, matrix products, changes of shape, dropout, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from operator import index as integer
from typing import Any, Final, Literal, Self, overload

import numpy as np

from staticgrad.errors import ArgumentError, IndexOutOfRange, RankError
from staticgrad.extend import (
    Fraction,
    as_value,
    axis_of,
    describe_operands,
    kind_of,
    like,
    make_boundaries,
    product,
    public,
    quote,
)
from staticgrad.extend.windows import per_axis
from staticgrad.functions import einsum, matmul, ones, reshape, stop_gradient, where
from staticgrad.nn.convolutions import SpatialLayer
from staticgrad.nn.functional.attention import check_padding, embedding
from staticgrad.nn.functional.images.resizing import (
    Coordinates,
    Method,
    Rounding,
    pixel_shuffle,
    pixel_unshuffle,
    resize,
)
from staticgrad.nn.functional.normalization import local_response_norm
from staticgrad.nn.initial import Initial, Seed, first_value, source, weight_and_bias
from staticgrad.nn.module import FunctionLayer, Layer, new_layer_name
from staticgrad.nn.torch_weights import Matching, transpose_matrices
from staticgrad.random import Generator

#: PyTorch's words for how an image is read between its elements.
Sampling = Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"]
#: Those that read one element -> where it lies, and which one is nearest.
_NEAREST: Final[dict[str, tuple[Coordinates, Rounding]]] = {
    "nearest": ("asymmetric", "floor"),
    "nearest-exact": ("half_pixel", "round_prefer_ceil"),
}


class Linear(Layer):
    """``x @ weight + bias``, for x [..., in_features]: [..., out_features].

    Args:
        in_features, out_features: sizes; weight is [in_features, out_features].
        bias: whether there is one, [out_features].
        init: first values of the weight, by name or as a function (``nn/initial.py``); those of
            the bias are "uniform", too.
        dtype: of the parameters.
        seed: a number or a generator of NumPy; by default that of ``manual_seed``.

    >>> layer = sg.nn.Linear(3, 2)
    >>> layer
    Linear(3, 2): weight f32[3, 2], bias f32[2]
    >>> layer(sg.input("x", ("batch", 3), "float32")).shape
    (batch, 2)
    """

    @public
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        fans = (in_features, out_features)
        self.weight, self.bias = weight_and_bias(
            new_layer_name("linear"),
            fans,
            out_features if bias else None,
            fans,
            (init, dtype, seed),
        )

    def forward(self, x: Any) -> Any:
        """[..., out_features]."""
        out = matmul(x, self.weight)
        return out if self.bias is None else out + self.bias

    def _torch_layouts(self) -> Iterator[Matching]:
        yield Matching((self.weight,), ("weight",), transpose_matrices, transpose_matrices)


class Flatten(FunctionLayer):
    """The axes from ``start_dim`` to ``end_dim`` as one: [n, c, h, w] becomes [n, c * h * w].

    >>> sg.nn.Flatten()(sg.input("x", ("batch", 3, 4, 4), "float32")).shape
    (batch, 48)
    """

    start_dim: int = 1
    end_dim: int = -1

    def forward(self, x: Any) -> Any:
        """The axes before, one more, and the axes behind."""
        x = as_value(x)
        first, last = (axis_of(axis, x) for axis in (self.start_dim, self.end_dim))
        many = product(x.shape[first : last + 1])  # not -1, which is any size if there are no rows
        return reshape(x, (*x.shape[:first], many, *x.shape[last + 1 :]))


class Dropout(Layer):
    """Set each element to 0 with probability ``p`` in training, and divide the others by 1 - p.

    Srivastava et al., JMLR 15 (2014). Each call of a traced function, and each run of a graph with
    updates (``sg.Graph(outputs, opt.updates(loss, ws))``), has another mask. A graph without
    updates repeats its mask; a graph with updates does if they say so: ``{step: step}`` of
    ``step = layer.generator.step``. The generator draws the same bits for one seed and step in
    graphs and in eager mode, and is a part of ``state_dict``.

    Args:
        p: the probability, in [0, 1).
        seed: of the generator; by default drawn from the source of ``manual_seed``.

    >>> layer = sg.nn.Dropout(0.5, seed=1)
    >>> sg.evaluate(layer(sg.constant([1.0, 1.0, 1.0, 1.0])))
    array([2., 2., 0., 2.])
    >>> sg.evaluate(layer.eval()(sg.constant([1.0, 1.0, 1.0, 1.0])))
    array([1., 1., 1., 1.])
    """

    @public
    def __init__(self, p: Fraction = 0.5, *, seed: int | None = None) -> None:
        generator_seed = (
            int(source(None).integers(np.iinfo(np.int64).max)) if seed is None else seed
        )
        self.p, self.generator = p, Generator(generator_seed, new_layer_name("dropout"))

    def _has_modes(self) -> bool:
        return self.p > 0

    def forward(self, x: Any) -> Any:
        return self.generator.dropout(x, self.p) if self.training and self.p else x


@like(Dropout)
class Dropout1d(SpatialLayer, Dropout):
    """``Dropout`` of whole channels: each channel of [n, c, l] has one draw for its last axis.

    Tompson et al., arXiv 1411.4280.

    >>> layer = sg.nn.Dropout1d(0.2)
    >>> layer(sg.input("x", ("batch", 3, 8), "float32")).shape
    (batch, 3, 8)
    """

    def forward(self, x: Any) -> Any:
        """Zero whole channels at random in training, and scale the others (dropout)."""
        value = as_value(x)
        self.require_rank(value)
        if not self.training or not self.p:
            return value
        shape = (*value.shape[:2], *(1,) * self.axes)
        stays = self.generator.dropout(ones(shape, "float32", like=value), self.p) > 0.0
        return where(stays, value * (1.0 / (1.0 - self.p)), 0.0)


class Dropout2d(Dropout1d, axes=2):
    """Apply ``Dropout1d`` to images [n, c, h, w].

    >>> layer = sg.nn.Dropout2d(0.2)
    >>> layer(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 8, 8)
    """


class Dropout3d(Dropout1d, axes=3):
    """Apply ``Dropout1d`` to volumes [n, c, d, h, w].

    >>> layer = sg.nn.Dropout3d(0.2)
    >>> layer(sg.input("x", ("batch", 3, 4, 4, 4), "float32")).shape
    (batch, 3, 4, 4, 4)
    """


class Unflatten(FunctionLayer):
    """The axis ``axis`` as several of the sizes ``sizes``, of which one may be -1.

    >>> sg.nn.Unflatten(1, (3, -1))(sg.input("x", ("batch", 12), "float32")).shape
    (batch, 3, 4)
    """

    axis: int
    sizes: tuple[int, ...]

    def forward(self, x: Any) -> Any:
        """The axes before, those of the sizes, and the axes behind."""
        place = axis_of(self.axis, x)
        return reshape(x, (*x.shape[:place], *self.sizes, *x.shape[place + 1 :]))


class PixelShuffle(FunctionLayer, function=pixel_shuffle):
    """Channels as pixels, ``sg.nn.pixel_shuffle``: [n, c * r * r, h, w] to [n, c, h * r, w * r].

    >>> sg.nn.PixelShuffle(2)(np.arange(4.0).reshape(1, 4, 1, 1)).round(3)
    array([[[[0., 1.],
             [2., 3.]]]])
    """

    upscale_factor: int


class PixelUnshuffle(FunctionLayer, function=pixel_unshuffle):
    """Pixels as channels, ``sg.nn.pixel_unshuffle``: the inverse of ``PixelShuffle``.

    >>> sg.nn.PixelUnshuffle(2)(np.arange(4.0).reshape(1, 1, 2, 2)).shape
    (1, 4, 1, 1)
    """

    downscale_factor: int


class Upsample(Layer):
    """Images [n, c, ...] of another size, ``sg.nn.resize`` along all axes but these two.

    Args:
        size: of the result, one for all spatial axes or one for each.
        scale_factor: by which they grow instead, one for all or one for each; sizes are rounded
            down.
        mode: "nearest", the element at or before a pixel's corner; "nearest-exact", that of its
            middle; "linear", "bilinear", "trilinear", which are one; "bicubic".
        align_corners: whether the outermost elements stay where they are, of the other modes.

    Raises:
        ArgumentError: when it is made: not one of ``size`` and ``scale_factor``;
            ``align_corners`` of a nearest element.

    >>> sg.nn.Upsample(scale_factor=2)(np.array([[[1.0, 2.0]]]))
    array([[[1., 1., 2., 2.]]])
    """

    @public
    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: Sampling = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ArgumentError(
                "Upsample: either size or scale_factor",
                hint="sg.nn.Upsample(scale_factor=2)",
            )
        if align_corners and mode in _NEAREST:
            raise ArgumentError(f"Upsample: align_corners with mode={mode!r}", hint='"bilinear"')
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners = align_corners

    def forward(self, x: Any) -> Any:
        """[n, c, ...], of the other size."""
        value: Any = as_value(x)
        if value.ndim < 3:
            raise RankError(
                f"Upsample: x is {value.type}, not of 3 axes or more, [n, c, ...]",
                related=describe_operands(value),
            )
        count = value.ndim - 2
        size, scale = (
            argument if argument is None else per_axis(word, argument, count, value)
            for word, argument in (("size", self.size), ("scale_factor", self.scale_factor))
        )
        method: Method = "nearest" if self.mode == "nearest-exact" else self.mode
        coordinates, rounding = _NEAREST.get(self.mode, ("half_pixel", "round_prefer_ceil"))
        if self.align_corners:
            coordinates = "align_corners"
        return resize(value, size, method, scale=scale, coordinates=coordinates, rounding=rounding)


class LocalResponseNorm(FunctionLayer, function=local_response_norm):
    """Divide by the squares of ``size`` neighbouring channels, ``sg.nn.local_response_norm``.

    >>> sg.nn.LocalResponseNorm(3)([[1.0, 2.0, 3.0]]).round(3)
    array([[1.   , 1.999, 2.999]])
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


class Bilinear(Layer):
    """x1 @ weight[o] @ x2 + bias[o], for x1 [..., in1_features] and x2 [..., in2_features].

    Args:
        in1_features, in2_features, out_features: sizes; weight is [out, in1, in2].
        bias, init, dtype, seed: as of ``Linear``; the first values are by ``in1_features``.

    >>> layer = sg.nn.Bilinear(3, 4, 2)
    >>> layer(sg.input("x", ("batch", 3), "float32"), sg.input("y", ("batch", 4), "float32")).shape
    (batch, 2)
    """

    @public
    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight, self.bias = weight_and_bias(
            new_layer_name("bilinear"),
            (out_features, in1_features, in2_features),
            out_features if bias else None,
            (in1_features, out_features),
            (init, dtype, seed),
        )

    def forward(self, x1: Any, x2: Any) -> Any:
        """[..., out_features]."""
        out = einsum("...i,oij,...j->...o", x1, self.weight, x2)
        return out if self.bias is None else out + self.bias


class Embedding(Layer):
    """The rows of ``weight`` that ids name: of ids [...] it gives [..., embedding_dim].

    Args:
        num_embeddings, embedding_dim: how many vectors, and their size: weight is
            [num_embeddings, embedding_dim].
        padding_idx: a row that stands for places without an entry: it is 0 at first, and its
            gradient is 0.
        init, dtype, seed: as ``Linear``; "normal" by default.

    Raises:
        ArgumentError: as ``Linear``; ``padding_idx`` is no row. An id that there is none of raises
            in the run.

    >>> layer = sg.nn.Embedding(10, 3)
    >>> layer(sg.input("ids", ("batch", 5), "int64")).shape
    (batch, 5, 3)
    """

    @public
    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        init: Initial = "normal",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        shape, name = (num_embeddings, embedding_dim), new_layer_name("embedding")
        self.weight = first_value(f"{name}.weight", shape, init, shape, source(seed), dtype)
        if padding_idx is not None:
            rows = self.weight.value.copy()
            rows[check_padding("Embedding", padding_idx, num_embeddings)] = 0
            self.weight.value = rows

    @classmethod
    @public
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Self:
        """Return a layer whose rows are an array's, [num_embeddings, embedding_dim].

        Args:
            embeddings: the rows.
            freeze: train the rows no further, as in PyTorch.
            padding_idx: a row whose gradient is 0; it keeps its numbers.

        Raises:
            RankError: the array is not a matrix.
        """
        rows = np.asarray(embeddings)
        if rows.ndim != 2:
            raise RankError(f"from_pretrained: {rows.dtype}{list(rows.shape)} is not a matrix")
        layer = cls(*rows.shape, init="zeros", dtype=rows.dtype)
        layer.weight.value = rows
        layer.padding_idx = padding_idx
        if freeze:
            layer.states = ("weight",)  # type: ignore[misc]  # of this layer alone
        return layer

    def forward(self, ids: Any) -> Any:
        """[..., embedding_dim]."""
        rows = stop_gradient(self.weight) if "weight" in self.states else self.weight
        return embedding(ids, rows, self.padding_idx)


class ModuleList(list[Any]):
    """A list of modules. Any list is one: parameters are found in lists and dicts.

    >>> len(sg.nn.ModuleList(sg.nn.Linear(2, 2) for _ in range(3)))
    3
    """

    @public
    def __init__(self, modules: Iterable[Any] = ()) -> None:
        super().__init__(modules)


class ModuleDict(dict[str, Any]):
    """A dict of modules. Any dict is one: parameters are found in lists and dicts.

    >>> list(sg.nn.ModuleDict({"up": sg.nn.Linear(2, 4), "down": sg.nn.Linear(4, 2)}))
    ['up', 'down']
    """

    @public
    def __init__(self, modules: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(modules)


@make_boundaries
class Sequential(Layer, MutableSequence[Callable[..., Any]]):
    """A chain of modules and functions; each one takes the result of the one before.

    It is a list of them: ``net[0] = layer``, ``net.append(layer)``, ``del net[-1]``, ``net + net``.
    After such a change, traced functions are traced again.

    Args:
        layers: callables of one value.

    >>> sg.nn.Sequential(sg.nn.Linear(8, 4), sg.nn.gelu, sg.nn.Dropout(0.1), sg.nn.Linear(4, 2))
    Sequential: 46 parameters
      layers.0: Linear(8, 4): weight f32[8, 4], bias f32[4]
      layers.1: gelu
      layers.2: Dropout(p=0.1)
      layers.3: Linear(4, 2): weight f32[4, 2], bias f32[2]
    """

    _torch_names = {"layers": ""}  # noqa: RUF012 - as the base declares it

    def __init__(self, *layers: Callable[..., Any]) -> None:
        self.layers = [_check_layer(layer) for layer in layers]

    def forward(self, x: Any) -> Any:
        """Return the result of the last layer."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self.layers)

    @overload
    def __getitem__(self, place: int) -> Callable[..., Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequential: ...
    def __getitem__(self, place: int | slice) -> Any:
        """A layer; or those of a slice, shared, in a Sequential."""
        selected = self.layers[self._check_index(place)]
        return Sequential(*selected) if isinstance(selected, list) else selected

    @overload
    def __setitem__(self, place: int, layer: Callable[..., Any]) -> None: ...
    @overload
    def __setitem__(self, place: slice, layer: Iterable[Callable[..., Any]]) -> None: ...
    def __setitem__(self, place: Any, layer: Any) -> None:
        """Put a layer in the place of another one, or layers in those of a slice."""
        place = self._check_index(place)
        if not isinstance(place, slice):
            self.layers[place] = _check_layer(layer)
        elif isinstance(layer, Iterable):
            self.layers[place] = [_check_layer(element) for element in layer]
        else:
            raise ArgumentError(
                f"Sequential: a slice takes layers, not {quote(layer)}",
                hint="net[1:3] = [layer, other]",
            )

    def __delitem__(self, place: int | slice) -> None:
        del self.layers[self._check_index(place)]

    def insert(self, index: int, value: Callable[..., Any]) -> None:
        """Put a layer in front of the one at a place."""
        self.layers.insert(index, _check_layer(value))

    def extend(self, values: Iterable[Callable[..., Any]]) -> None:
        """Put layers behind the last one, all of them or none."""
        self.layers.extend([_check_layer(layer) for layer in values])

    def __add__(self, layers: Iterable[Callable[..., Any]]) -> Sequential:
        """The layers of both, shared."""
        if isinstance(layers, Sequential | list | tuple):
            return Sequential(*self.layers, *layers)
        return NotImplemented

    def _check_index(self, place: Any) -> Any:
        """Check the index of a layer in a Sequential: an integer or a slice."""
        if isinstance(place, slice):
            return place
        if isinstance(place, bool) or not hasattr(place, "__index__"):
            raise ArgumentError(
                f"Sequential: a layer is at an integer, not {quote(place)}",
                hint="net[0], net[-1]",
            )
        index, count = integer(place), len(self.layers)
        if not -count <= index < count:
            raise IndexOutOfRange(f"Sequential has {count} layers, none at {index}")
        return index


def _check_layer(candidate: Any) -> Callable[..., Any]:
    """Refuse what is no layer of a Sequential: neither module nor function."""
    if not callable(candidate) or isinstance(candidate, type):
        raise ArgumentError(
            f"Sequential: a layer is {quote(candidate)}, {kind_of(candidate)}",
            hint="Sequential(*layers), and objects of the classes: sg.nn.ReLU()",
        )
    layer: Callable[..., Any] = candidate
    return layer
