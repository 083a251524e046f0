"""Twelve whole models, each trained by one step: ``python -m benchmarks models``.

Sizes are those at which a step takes some milliseconds to some hundreds on one core. Weights are
drawn after He et al. (arXiv 1502.01852) unless a model says otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.harness.workload import Data, Kind, Loss, Make, Workload
from benchmarks.workloads import gpt, recurrent

Sizes = Mapping[str, Any]
Result = tuple[Any, dict[str, Any]]
_TAPS: Final = {3: (3, 3), 1: (1, 1), 4: (4, 4)}


def _drawn(random: np.random.Generator, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Normal weights by their fan-in; gains (names that begin with g) about 1, other vectors 0.

    Vectors are off by a tenth: behind exact ones the gradients of some gains are those of rounding.
    """
    arrays: dict[str, Any] = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            arrays[name] = float(name.startswith("g")) + 0.1 * random.normal(size=shape)
            continue
        inputs = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        arrays[name] = random.normal(size=shape) * np.sqrt(2 / inputs)
    return arrays


def _dense(name: str, widths: Sequence[int]) -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {}
    for k, pair in enumerate(itertools.pairwise(widths)):
        shapes |= {f"{name}w{k}": pair, f"{name}b{k}": (pair[1],)}
    return shapes


def _mlp(ops: Any, v: Mapping[str, Any], name: str, layers: int, h: Any, act: Any) -> Any:
    for k in range(layers):
        w, bias = v[f"{name}w{k}"], f"{name}b{k}"
        h = ops.linear(h, w, v[bias]) if bias in v else h @ w
        h = act(h) if k < layers - 1 else h
    return h


def _draw_labelled(
    random: np.random.Generator, image: Sequence[int], classes: int
) -> dict[str, Any]:
    return {
        "x": random.normal(size=image),
        "y": random.integers(0, classes, image[0]),
    }


# -- dense ----------------------------------------------------------------------------------------


def classifier(widths: Sequence[int], batch: int) -> Make:
    """Dense layers."""

    def make(random: np.random.Generator) -> Data:
        feeds = _draw_labelled(random, (batch, widths[0]), widths[-1])
        sizes = {"layers": len(widths) - 1}
        return Data(_drawn(random, _dense("", widths)), feeds, batch={"x": 0, "y": 0}, sizes=sizes)

    return make


def classifier_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    """Return the cross entropy of dense layers."""
    return ops.cross_entropy(_mlp(ops, v, "", sizes["layers"], v["x"], ops.relu), v["y"]), {}


def autoencoder(pixels: int, hidden: int, latent: int, batch: int) -> Make:
    """Kingma and Welling (arXiv 1312.6114); the noise is given."""

    def make(random: np.random.Generator) -> Data:
        shapes = _dense("e", (pixels, hidden, 2 * latent)) | _dense("d", (latent, hidden, pixels))
        feeds = {
            "x": random.uniform(size=(batch, pixels)),
            "noise": random.normal(size=(batch, latent)),
        }
        sizes = {"latent": latent}
        return Data(_drawn(random, shapes), feeds, batch={"x": 0, "noise": 0}, sizes=sizes)

    return make


def _vae_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    latent = sizes["latent"]
    code = _mlp(ops, v, "e", 2, v["x"], ops.relu)
    mean, spread = code[:, :latent], code[:, latent:]  # of which it is the logarithm's double
    at = mean + ops.exp(0.5 * spread) * v["noise"]
    logits = _mlp(ops, v, "d", 2, at, ops.relu)
    likelihood = ops.sum(ops.softplus(logits) - v["x"] * logits, axis=1)
    prior = 0.5 * ops.sum(ops.exp(spread) + mean * mean - 1.0 - spread, axis=1)
    return ops.mean(likelihood + prior), {}


def recommender(tables: int, rows: int, width: int, dense: int, batch: int) -> Make:
    """Naumov et al. (arXiv 1906.00091): embeddings, products of all pairs, dense layers."""

    def make(random: np.random.Generator) -> Data:
        pairs = (tables + 1) ** 2
        shapes = _dense("below", (dense, 64, width)) | _dense("above", (width + pairs, 128, 2))
        variables = _drawn(random, shapes)
        feeds = {"x": random.normal(size=(batch, dense)), "y": random.integers(0, 2, batch)}
        for k in range(tables):
            variables[f"table{k}"] = random.normal(size=(rows, width)) * 0.1
            feeds[f"id{k}"] = random.integers(0, rows, batch)
        sizes = {"tables": tables, "pairs": pairs}
        return Data(variables, feeds, batch=dict.fromkeys(feeds, 0), sizes=sizes)

    return make


def _dlrm_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    tables = sizes["tables"]
    dense = _mlp(ops, v, "below", 2, v["x"], ops.relu)
    embedded = [ops.embedding(v[f"id{k}"], v[f"table{k}"]) for k in range(tables)]
    every = ops.stack([dense, *embedded], axis=1)
    pairs = ops.matmul(every, ops.transpose(every, (0, 2, 1)))
    flat = ops.concatenate([dense, ops.reshape(pairs, (-1, sizes["pairs"]))], axis=1)
    return ops.cross_entropy(_mlp(ops, v, "above", 2, flat, ops.relu), v["y"]), {}


def differential(widths: Sequence[int], steps: int, batch: int) -> Make:
    """A neural ODE (Chen et al., arXiv 1806.07366) by the classical Runge-Kutta method."""

    def make(random: np.random.Generator) -> Data:
        feeds = {name: random.normal(size=(batch, widths[0])) for name in ("x", "y")}
        sizes = {"layers": len(widths) - 1, "steps": steps}
        return Data(_drawn(random, _dense("", widths)), feeds, batch={"x": 0, "y": 0}, sizes=sizes)

    return make


def _ode_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    layers, steps = sizes["layers"], sizes["steps"]
    names = [f"{kind}{k}" for k in range(layers) for kind in "wb"]

    def step(y: Any, weights: Sequence[Any]) -> Any:
        named, width = dict(zip(names, weights, strict=True)), 1.0 / steps

        def slope(at: Any) -> Any:
            return _mlp(ops, named, "", layers, at, ops.tanh)

        first = slope(y)
        second = slope(y + 0.5 * width * first)
        third = slope(y + 0.5 * width * second)
        fourth = slope(y + width * third)
        return y + width / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)

    away = ops.loop(step, v["x"], steps, [v[name] for name in names]) - v["y"]
    return ops.mean(ops.sum(away * away, axis=1)), {}


def _pinn_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    away = _mlp(ops, v, "", sizes["layers"], v["x"], ops.tanh) - v["t"]
    return ops.mean(away * away), {}


def surface(widths: Sequence[int], batch: int) -> Make:
    """A smooth network of few inputs, as for differential equations; and a vector of weights."""

    def make(random: np.random.Generator) -> Data:
        variables = _drawn(random, _dense("", widths))
        along = {name: random.normal(size=array.shape) for name, array in variables.items()}
        feeds = {"x": random.normal(size=(batch, widths[0])), "t": np.zeros((batch, widths[-1]))}
        feeds["t"] += random.normal(size=feeds["t"].shape)
        sizes = {"layers": len(widths) - 1}
        return Data(variables, feeds, along, batch={"x": 0, "t": 0}, sizes=sizes)

    return make


# -- images: with GELU, for of a million ReLUs rounding decides some ------------------------------


def _convolve(
    ops: Any, x: Any, w: Any, sizes: tuple[int, int, int], taps: int = 3, stride: int = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """``sizes``: the side of the image, channels in and out."""
    side, *channels = sizes
    shape = {"image": (side, side), "taps": _TAPS[taps], "channels": channels}
    return ops.conv(x, w, shape, groups, stride)


def _normal(ops: Any, v: Mapping[str, Any], name: str, x: Any, count: int) -> Any:
    return ops.batch_norm(x, v[f"g{name}"], v[f"b{name}"], count)


def _units(kind: str, widths: Sequence[int], side: int) -> list[tuple[str, int, int, int, int]]:
    """Name, channels in and out, side and stride of the units: all but the first stage halve."""
    units, channels, repeats = [], widths[0], 2 if kind == "residual" else 1
    for stage, width in enumerate(widths):
        for k in range(repeats):
            stride = 2 if stage and k == 0 else 1
            units.append((f"{stage}{k}", channels, width, side, stride))
            channels, side = width, side // stride
    return units


def images(kind: str, widths: Sequence[int], side: int, batch: int, classes: int = 10) -> Make:
    """Residual networks (arXiv 1512.03385), or depthwise separable ones (arXiv 1704.04861)."""

    def make(random: np.random.Generator) -> Data:
        shapes: dict[str, Sequence[int]] = {"stem": (widths[0], 3, 3, 3)}
        shapes |= {"gstem": (widths[0],), "bstem": (widths[0],)}
        for name, c, d, _, stride in _units(kind, widths, side):
            first = (c, 1, 3, 3) if kind == "separable" else (d, c, 3, 3)
            second = (d, c, 1, 1) if kind == "separable" else (d, d, 3, 3)
            shapes |= {f"k{name}": first, f"l{name}": second, f"gk{name}": (first[0],)}
            shapes |= {f"bk{name}": (first[0],), f"gl{name}": (d,), f"bl{name}": (d,)}
            if kind == "residual" and (stride > 1 or c != d):
                shapes[f"m{name}"] = (d, c, 1, 1)
        shapes |= {"w": (widths[-1], classes), "b": (classes,)}
        feeds = _draw_labelled(random, (batch, 3, side, side), classes)
        sizes = {"kind": kind, "widths": widths, "side": side, "batch": batch}
        return Data(_drawn(random, shapes), feeds, sizes=sizes)

    return make


def _image_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    kind, side, batch, widths = (sizes[n] for n in ("kind", "side", "batch", "widths"))
    h = _convolve(ops, v["x"], v["stem"], (side, 3, widths[0]))
    h = ops.gelu(_normal(ops, v, "stem", h, batch * side**2))
    for name, c, d, size, stride in _units(kind, widths, side):
        count = batch * (size // stride) ** 2
        apart = kind == "separable"
        inner = _convolve(
            ops, h, v[f"k{name}"], (size, c, c if apart else d), 3, stride, c if apart else 1
        )
        inner = ops.gelu(_normal(ops, v, f"k{name}", inner, count))
        inner = _convolve(
            ops, inner, v[f"l{name}"], (size // stride, inner_channels(kind, c, d), d),
            1 if apart else 3,
        )  # fmt: skip
        inner = _normal(ops, v, f"l{name}", inner, count)
        if not apart:
            past = h
            if f"m{name}" in v:
                past = _convolve(ops, h, v[f"m{name}"], (size, c, d), 1, stride)
            inner = inner + past
        h = ops.gelu(inner)
    pooled = ops.mean(ops.mean(h, axis=3), axis=2)
    return ops.cross_entropy(ops.linear(pooled, v["w"], v["b"]), v["y"]), {}


def inner_channels(kind: str, c: int, d: int) -> int:
    """Channels between the two convolutions of a unit."""
    return c if kind == "separable" else d


def segmenter(widths: Sequence[int], side: int, batch: int) -> Make:
    """A U-Net (arXiv 1505.04597) that doubles images by repetition; one channel in and out."""

    def make(random: np.random.Generator) -> Data:
        shapes: dict[str, Sequence[int]] = {}
        for k, (c, d) in enumerate(zip((1, *widths), widths, strict=False)):
            shapes |= {f"down{k}": (d, c, 3, 3), f"again{k}": (d, d, 3, 3)}
        for k, (d, c) in enumerate(itertools.pairwise(widths)):
            shapes |= {f"up{k}": (d, c + d, 3, 3), f"then{k}": (d, d, 3, 3)}
        shapes["last"] = (1, widths[0], 1, 1)
        feeds = {name: random.normal(size=(batch, 1, side, side)) for name in "xt"}
        sizes = {"widths": widths, "side": side}
        return Data(_drawn(random, shapes), feeds, batch={"x": 0, "t": 0}, sizes=sizes)

    return make


def _unet_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    widths, side, h, skips = sizes["widths"], sizes["side"], v["x"], []
    for k, (c, d) in enumerate(zip((1, *widths), widths, strict=False)):
        h = ops.gelu(_convolve(ops, h, v[f"down{k}"], (side, c, d)))
        h = ops.gelu(_convolve(ops, h, v[f"again{k}"], (side, d, d)))
        if k < len(widths) - 1:
            skips.append(h)
            h, side = ops.max_pool(h, d, side), side // 2
    for k in reversed(range(len(widths) - 1)):
        d, c = widths[k], widths[k + 1]
        h, side = ops.concatenate([skips[k], ops.double_image(h, c, side)], axis=1), side * 2
        h = ops.gelu(_convolve(ops, h, v[f"up{k}"], (side, c + d, d)))
        h = ops.gelu(_convolve(ops, h, v[f"then{k}"], (side, d, d)))
    away = _convolve(ops, h, v["last"], (side, widths[0], 1), 1) - v["t"]
    return ops.mean(away * away), {}


# -- tokens ---------------------------------------------------------------------------------------


def patches(
    mixes: str, layers: int, width: int, side: int, patch: int, batch: int, classes: int = 10
) -> Make:
    """Images as tokens, with attention (arXiv 2010.11929) or dense layers (arXiv 2105.01601)."""

    def make(random: np.random.Generator) -> Data:
        tokens, pixels = (side // patch) ** 2, 3 * patch * patch
        shapes: dict[str, Sequence[int]] = {"patch": (pixels, width), "head": (width, classes)}
        for k in range(layers):
            for name in ("before", "between"):
                shapes |= {f"g{name}{k}": (width,), f"b{name}{k}": (width,)}
            if mixes == "attention":
                shapes |= {f"qkv{k}": (width, 3 * width), f"out{k}": (width, width)}
            else:
                shapes |= _dense(f"mix{k}", (tokens, 2 * tokens, tokens))
                del shapes[f"mix{k}b1"]  # the norms behind it take it away
            shapes |= _dense(f"each{k}", (width, 2 * width, width))
        shapes |= {"glast": (width,), "blast": (width,)}
        variables = _drawn(random, shapes) | {"place": random.normal(size=(tokens, width)) * 0.02}
        feeds = _draw_labelled(
            random, (batch, tokens, pixels), classes
        )  # cut into patches beforehand
        sizes = {"layers": layers, "width": width, "tokens": tokens, "mixes": mixes}
        return Data(variables, feeds, batch={"x": 0, "y": 0}, sizes=sizes)

    return make


def _mix_tokens(ops: Any, v: Mapping[str, Any], sizes: Sizes, k: int, h: Any) -> Any:
    width, tokens, heads = sizes["width"], sizes["tokens"], 4
    if sizes["mixes"] != "attention":
        mixed = _mlp(ops, v, f"mix{k}", 2, ops.transpose(h, (0, 2, 1)), ops.gelu)
        return ops.transpose(mixed, (0, 2, 1))
    qkv, size = h @ v[f"qkv{k}"], width // heads

    def part(n: int) -> Any:
        cut = ops.reshape(qkv[:, :, n * width : (n + 1) * width], (-1, tokens, heads, size))
        return ops.transpose(cut, (0, 2, 1, 3))

    joined = ops.transpose(ops.attention(part(0), part(1), part(2), size), (0, 2, 1, 3))
    return ops.reshape(joined, (-1, tokens, width)) @ v[f"out{k}"]


def _patch_loss(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    h = v["x"] @ v["patch"] + v["place"]
    for k in range(sizes["layers"]):
        h = h + _mix_tokens(ops, v, sizes, k, ops.layer_norm(h, v[f"gbefore{k}"], v[f"bbefore{k}"]))
        inner = ops.layer_norm(h, v[f"gbetween{k}"], v[f"bbetween{k}"])
        h = h + _mlp(ops, v, f"each{k}", 2, inner, ops.gelu)
    pooled = ops.mean(ops.layer_norm(h, v["glast"], v["blast"]), axis=1)
    return ops.cross_entropy(pooled @ v["head"], v["y"]), {}


def text(vocabulary: int, layers: int, time: int, batch: int, width: int, hidden: int) -> Make:
    """Token ids [time, batch] and a class of each sequence, for LSTMs one upon another."""

    def make(random: np.random.Generator) -> Data:
        data = recurrent.sequence("lstm", layers, time, batch, width, hidden)(random)
        variables = data.variables | {
            "table": random.normal(size=(vocabulary, width)),
            "head": random.normal(size=(hidden, 5)) * hidden**-0.5,
        }
        feeds = {
            "ids": random.integers(0, vocabulary, (time, batch)),
            "y": random.integers(0, 5, batch),
        }
        return Data(variables, feeds, batch={"ids": 1, "y": 0}, sizes=data.sizes)

    return make


def _read(ops: Any, v: Mapping[str, Any], sizes: Sizes) -> Result:
    weights = [tuple(v[f"{name}{k}"] for name in "wub") for k in range(sizes["layers"])]
    x = ops.embedding(v["ids"], v["table"])
    last = ops.recurrent("lstm", x, weights, sizes["time"], sizes["hidden"])
    return ops.cross_entropy(last @ v["head"], v["y"]), {}


def _model(
    name: str, loss: Loss, make: Callable[..., Make], large: Sequence[Any], small: Sequence[Any],
    about: str, kind: Kind = "sgd", rate: float = 1e-2,
) -> Workload:  # fmt: skip
    return Workload(
        name, kind, loss, make(*large), make(*small), 2e-4, about, rate=rate, group="models"
    )


_resnet, _mobile = partial(images, "residual"), partial(images, "separable")
_vit, _mixer = partial(patches, "attention"), partial(patches, "dense")

WORKLOADS: Final = (
    _model("dense4", classifier_loss, classifier, ((784, 512, 256, 128, 10), 128),
           ((6, 5, 4, 3, 2), 3), "784-512-256-128-10, batch 128"),
    _model("vae", _vae_loss, autoencoder, (784, 400, 20, 128), (6, 5, 2, 3),
           "variational autoencoder 784-400-20, batch 128", rate=1e-4),
    _model("dlrm", _dlrm_loss, recommender, (8, 10_000, 32, 13, 512), (2, 5, 3, 4, 3),
           "8 tables of 10,000 rows of 32, all pairs, batch 512"),
    _model("neural_ode", _ode_loss, differential, ((8, 64, 64, 8), 20, 256),
           ((2, 3, 2), 2, 3), "Runge-Kutta, 20 steps of 8-64-64-8, batch 256"),
    _model("pinn", _pinn_loss, surface, ((2, 64, 64, 64, 1), 1024), ((2, 3, 3, 1), 3),
           "Hessian-vector product of tanh layers 2-64-64-64-1, batch 1024", kind="hvp"),
    _model("resnet18", _image_loss, _resnet, ((64, 128, 256, 512), 32, 4), ((2, 3), 6, 2),
           "ResNet-18 on 4 images of 32x32"),
    _model("mobilenet", _image_loss, _mobile, ((32, 64, 128, 256, 512), 64, 8), ((4, 4), 8, 2),
           "depthwise separable, 32 to 512 channels, 8 images of 64x64"),
    _model("unet", _unet_loss, segmenter, ((16, 32, 64), 64, 8), ((2, 3), 4, 2),
           "U-Net, 16-32-64 channels, 8 images of 64x64", rate=1e-3),
    _model("vit", _patch_loss, _vit, (4, 128, 32, 4, 16), (1, 8, 4, 2, 2),
           "vision transformer, 4 layers of 128, 16 images in 64 patches"),
    _model("mixer", _patch_loss, _mixer, (4, 128, 32, 4, 16), (1, 8, 4, 2, 2),
           "MLP-Mixer, 4 layers of 128, 16 images in 64 patches"),
    _model("gpt2", gpt.loss, gpt.transformer, (4, 256, 128, 4, 1000), (1, 8, 4, 2, 5),
           "GPT, 4 layers of 256, context 128, batch 4, 1,000 tokens"),
    _model("lstm_text", _read, text, (2000, 2, 48, 32, 64, 128), (5, 2, 3, 2, 3, 4),
           "two LSTMs of 128 over 48 embedded tokens, batch 32", rate=1.0),
)  # fmt: skip
