"""Models of images: convolutions of all kinds, and windows of attention."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness.layers import Layers
from benchmarks.harness.workload import Arrays
from benchmarks.peers.families import Values, model


def images(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return images [n, 3, side, side] and a class of each."""
    n, side = sizes["batch"], sizes["side"]
    return {
        "x": random.normal(size=(n, 3, side, side)),
        "y": random.integers(0, sizes["classes"], n),
    }


def classify(net: Layers, h: Any, y: Any) -> Any:
    """Return the loss of a dense layer behind the mean of each channel."""
    return net.cross_entropy(net.dense("head", net.ops.mean(h, (2, 3)), net.sizes["classes"]), y)


def conv_and_norm(
    net: Layers, name: str, x: Any, outputs: int, taps: int = 3, stride: int = 1, groups: int = 1
) -> Any:
    """Return a convolution behind batch normalization."""
    return net.batch_norm(f"{name}.bn", net.conv(name, x, outputs, taps, stride, groups=groups))


def squeeze_excite(net: Layers, name: str, x: Any, hidden: int, act: Any) -> Any:
    """Multiply channels by gates that depend on their means (arXiv 1709.01507)."""
    pooled = net.ops.mean(x, (2, 3), keepdims=True)
    inner = act(net.conv(f"{name}.1", pooled, hidden, 1, bias=True))
    return x * net.ops.sigmoid(net.conv(f"{name}.2", inner, x.shape[1], 1, bias=True))


def resnet50(net: Layers, v: Values) -> Any:
    """He et al., arXiv 1512.03385; the stride is in the 3 x 3 filters, as in torchvision."""
    relu, ops, width = net.ops.relu, net.ops, net.sizes["width"]
    h = ops.max_pool_of(relu(conv_and_norm(net, "stem", v["x"], width, 7, 2)), 3, 2, 1)
    for stage, depth in enumerate(net.sizes["depths"]):
        inner = width << stage
        for k in range(depth):
            name, stride = f"{stage}.{k}", 1 + (stage > 0 and k == 0)
            past = h if k else conv_and_norm(net, f"{name}.short", h, 4 * inner, 1, stride)
            h = relu(conv_and_norm(net, f"{name}.a", h, inner, 1))
            h = relu(conv_and_norm(net, f"{name}.b", h, inner, 3, stride))
            h = relu(conv_and_norm(net, f"{name}.c", h, 4 * inner, 1) + past)
    return classify(net, h, v["y"])


def vgg(net: Layers, v: Values) -> Any:
    """Simonyan and Zisserman, arXiv 1409.1556, with batch normalization."""
    h, ops = v["x"], net.ops
    for k, width in enumerate(net.sizes["widths"]):
        if width == 0:
            h = ops.max_pool_of(h, 2, 2, 0)
        else:
            h = ops.relu(net.batch_norm(f"{k}.bn", net.conv(f"{k}", h, width, bias=True)))
    h = ops.reshape(h, (h.shape[0], -1))
    for k in range(2):
        h = ops.relu(net.dense(f"dense{k}", h, net.sizes["hidden"], gain=2.0))
    return net.cross_entropy(net.dense("head", h, net.sizes["classes"]), v["y"])


def mobilenet_v2(net: Layers, v: Values) -> Any:
    """Sandler et al., arXiv 1801.04381."""
    act, sizes = net.ops.relu6, net.sizes
    h = act(conv_and_norm(net, "stem", v["x"], sizes["stem"], 3, 2))
    for stage, (expand, outputs, depth, first) in enumerate(sizes["stages"]):
        for k in range(depth):
            name, stride, past, inputs = f"{stage}.{k}", first if k == 0 else 1, h, h.shape[1]
            inner = inputs * expand
            if expand > 1:
                h = act(conv_and_norm(net, f"{name}.a", h, inner, 1))
            h = act(conv_and_norm(net, f"{name}.b", h, inner, 3, stride, inner))
            h = conv_and_norm(net, f"{name}.c", h, outputs, 1)
            h = h + past if stride == 1 and inputs == outputs else h
    return classify(net, act(conv_and_norm(net, "last", h, sizes["last"], 1)), v["y"])


def efficientnet(net: Layers, v: Values) -> Any:
    """Tan and Le, arXiv 1905.11946, without stochastic depth."""
    act, sizes = net.ops.silu, net.sizes
    h = act(conv_and_norm(net, "stem", v["x"], sizes["stem"], 3, 2))
    for stage, (expand, taps, first, outputs, depth) in enumerate(sizes["stages"]):
        for k in range(depth):
            name, stride, past, inputs = f"{stage}.{k}", first if k == 0 else 1, h, h.shape[1]
            inner = inputs * expand
            if expand > 1:
                h = act(conv_and_norm(net, f"{name}.a", h, inner, 1))
            h = act(conv_and_norm(net, f"{name}.b", h, inner, taps, stride, inner))
            h = squeeze_excite(net, f"{name}.se", h, max(1, inputs // 4), act)
            h = conv_and_norm(net, f"{name}.c", h, outputs, 1)
            h = h + past if stride == 1 and inputs == outputs else h
    return classify(net, act(conv_and_norm(net, "last", h, sizes["last"], 1)), v["y"])


def densenet(net: Layers, v: Values) -> Any:
    """Huang et al., arXiv 1608.06993."""
    ops, growth = net.ops, net.sizes["growth"]
    h = ops.relu(conv_and_norm(net, "stem", v["x"], 2 * growth, 7, 2))
    h = ops.max_pool_of(h, 3, 2, 1)
    for stage, depth in enumerate(net.sizes["depths"]):
        if stage:
            h = ops.relu(net.batch_norm(f"{stage}.bn", h))
            h = ops.mean_pool(net.conv(f"{stage}.conv", h, h.shape[1] // 2, 1))
        for k in range(depth):
            name = f"{stage}.{k}"
            inner = net.conv(f"{name}.a", ops.relu(net.batch_norm(f"{name}.abn", h)), 4 * growth, 1)
            inner = ops.relu(net.batch_norm(f"{name}.bbn", inner))
            h = ops.concatenate([h, net.conv(f"{name}.b", inner, growth, 3)], axis=1)
    return classify(net, ops.relu(net.batch_norm("last", h)), v["y"])


def squeezenet(net: Layers, v: Values) -> Any:
    """Iandola et al., arXiv 1602.07360, version 1.1."""
    ops = net.ops
    h = ops.relu(net.conv("stem", v["x"], net.sizes["stem"], 3, 2, padding=0, bias=True))
    for k, width in enumerate(net.sizes["widths"]):
        if width == 0:
            h = ops.max_pool_of(h, 3, 2, 0)
            continue
        h = ops.relu(net.conv(f"{k}.s", h, width, 1, bias=True))
        wide = [net.conv(f"{k}.e{taps}", h, 4 * width, taps, bias=True) for taps in (1, 3)]
        h = ops.relu(ops.concatenate(wide, axis=1))
    scores = ops.relu(net.conv("last", h, net.sizes["classes"], 1, bias=True))
    return net.cross_entropy(ops.mean(scores, (2, 3)), v["y"])


def shufflenet(net: Layers, v: Values) -> Any:
    """Ma et al., arXiv 1807.11164, version 2."""
    ops, relu, sizes = net.ops, net.ops.relu, net.sizes
    h = relu(conv_and_norm(net, "stem", v["x"], sizes["stem"], 3, 2))
    h = ops.max_pool_of(h, 3, 2, 1)
    for stage, (width, depth) in enumerate(sizes["stages"]):
        for k in range(depth):
            name, half, stride = f"{stage}.{k}", width // 2, 1 + (k == 0)
            if k:
                left, right = h[:, :half], h[:, half:]
            else:
                left = conv_and_norm(net, f"{name}.l", h, h.shape[1], 3, 2, h.shape[1])
                left, right = relu(conv_and_norm(net, f"{name}.m", left, half, 1)), h
            right = relu(conv_and_norm(net, f"{name}.a", right, half, 1))
            right = conv_and_norm(net, f"{name}.b", right, half, 3, stride, half)
            right = relu(conv_and_norm(net, f"{name}.c", right, half, 1))
            n, _, *side = right.shape
            h = ops.reshape(ops.stack([left, right], axis=2), (n, width, *side))
    return classify(net, relu(conv_and_norm(net, "last", h, sizes["last"], 1)), v["y"])


def convnext(net: Layers, v: Values) -> Any:
    """Liu et al., arXiv 2201.03545, without stochastic depth."""
    ops, h = net.ops, v["x"]

    def last_norm(name: str, x: Any) -> Any:
        normal = net.layer_norm(name, ops.transpose(x, (0, 2, 3, 1)), 1e-6)
        return ops.transpose(normal, (0, 3, 1, 2))

    for stage, (width, depth) in enumerate(net.sizes["stages"]):
        if stage:
            h = net.conv(f"{stage}.down", last_norm(f"{stage}.ln", h), width, 2, 2, padding=0,
                         bias=True)  # fmt: skip
        else:
            h = last_norm("ln", net.conv("stem", h, width, 4, 4, padding=0, bias=True))
        for k in range(depth):
            name = f"{stage}.{k}"
            inner = net.conv(f"{name}.conv", h, width, 7, groups=width, bias=True)
            inner = net.layer_norm(f"{name}.ln", ops.transpose(inner, (0, 2, 3, 1)), 1e-6)
            inner = net.mlp(name, inner, 4 * width, ops.gelu)
            inner = inner * net.parameter(f"{name}.scale", (width,), 0.1)
            h = h + ops.transpose(inner, (0, 3, 1, 2))
    pooled = net.layer_norm("last", ops.mean(h, (2, 3)), 1e-6)
    return net.cross_entropy(net.dense("head", pooled, net.sizes["classes"]), v["y"])


def regnet(net: Layers, v: Values) -> Any:
    """Radosavovic et al., arXiv 2003.13678: groups of few channels, squeeze and excitation."""
    relu = net.ops.relu
    h = relu(conv_and_norm(net, "stem", v["x"], net.sizes["stem"], 3, 2))
    for stage, (width, depth) in enumerate(net.sizes["stages"]):
        for k in range(depth):
            name, stride, inputs = f"{stage}.{k}", 1 + (k == 0), h.shape[1]
            past = h if k else conv_and_norm(net, f"{name}.short", h, width, 1, stride)
            inner = relu(conv_and_norm(net, f"{name}.a", h, width, 1))
            inner = relu(
                conv_and_norm(
                    net, f"{name}.b", inner, width, 3, stride, width // net.sizes["group"]
                )
            )
            inner = squeeze_excite(net, f"{name}.se", inner, max(1, inputs // 4), relu)
            h = relu(past + conv_and_norm(net, f"{name}.c", inner, width, 1))
    return classify(net, h, v["y"])


def swin(net: Layers, v: Values) -> Any:
    """Liu et al., arXiv 2103.14030, without stochastic depth."""
    ops, window = net.ops, net.sizes["window"]
    h = net.conv("stem", v["x"], net.sizes["stages"][0][0], 4, 4, padding=0, bias=True)
    h = net.layer_norm("ln", ops.transpose(h, (0, 2, 3, 1)))
    for stage, (width, heads, depth) in enumerate(net.sizes["stages"]):
        if stage:
            n, side, _, past = h.shape
            h = ops.reshape(h, (n, side // 2, 2, side // 2, 2, past))
            h = ops.reshape(ops.transpose(h, (0, 1, 3, 4, 2, 5)),
                            (n, side // 2, side // 2, 4 * past))  # fmt: skip
            h = net.dense(f"{stage}.down", net.layer_norm(f"{stage}.ln", h), width, bias=False)
        for k in range(depth):
            name = f"{stage}.{k}"
            shift = window // 2 if k % 2 and h.shape[1] > window else 0
            inner = net.layer_norm(f"{name}.ln1", h)
            h = h + _attend_windows(net, name, inner, heads, window, shift)
            h = h + net.mlp(name, net.layer_norm(f"{name}.ln2", h), 4 * width, ops.gelu)
    pooled = ops.mean(net.layer_norm("last", h), (1, 2))
    return net.cross_entropy(net.dense("head", pooled, net.sizes["classes"]), v["y"])


def _attend_windows(net: Layers, name: str, x: Any, heads: int, window: int, shift: int) -> Any:
    """Attention within windows of an image [n, side, side, c] that is shifted before."""
    ops, (n, side, _, width) = net.ops, x.shape
    count, tokens, size = side // window, window * window, width // heads
    if shift:
        x = ops.roll(x, (-shift, -shift), (1, 2))
    cut = ops.transpose(ops.reshape(x, (n, count, window, count, window, width)),
                        (0, 1, 3, 2, 4, 5))  # fmt: skip
    qkv = net.dense(f"{name}.qkv", ops.reshape(cut, (n * count**2, tokens, width)), 3 * width)
    q, k, value = (
        net.split_heads(qkv[:, :, part * width : (part + 1) * width], heads) for part in range(3)
    )
    at = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij"), -1)
    apart = at.reshape(-1, 1, 2) - at.reshape(1, -1, 2) + window - 1
    places = (apart[..., 0] * (2 * window - 1) + apart[..., 1]).reshape(-1)
    table = net.table(f"{name}.places", (2 * window - 1) ** 2, heads)
    bias = ops.reshape(ops.take(table, places, 0), (tokens, tokens, heads))
    bias = ops.reshape(ops.transpose(bias, (2, 0, 1)), (1, heads, tokens, tokens))
    if shift:
        mask = ops.constant(_shifted_mask(side, window, shift))
        scattered = ops.reshape(bias, (1, 1, heads, tokens, tokens)) + mask
        bias = ops.reshape(
            ops.broadcast_to(scattered, (n, count**2, heads, tokens, tokens)),
            (n * count**2, heads, tokens, tokens),
        )
    mixed = ops.biased_attention(q, k, value, bias, size**-0.5)
    out = net.dense(f"{name}.out", net.join_heads(mixed), width)
    out = ops.transpose(
        ops.reshape(out, (n, count, count, window, window, width)), (0, 1, 3, 2, 4, 5)
    )
    out = ops.reshape(out, (n, side, side, width))
    return ops.roll(out, (shift, shift), (1, 2)) if shift else out


def _shifted_mask(side: int, window: int, shift: int) -> Any:
    """Return -100 for pairs that were not neighbours, [1, windows, 1, tokens, tokens]."""
    region = np.zeros((side, side))
    edges = [0, side - window, side - shift, side]
    for k in range(3):
        region[edges[k] : edges[k + 1]] += 3 * k
        region[:, edges[k] : edges[k + 1]] += k
    count, tokens = side // window, window**2
    cut = region.reshape(count, window, count, window).transpose(0, 2, 1, 3).reshape(-1, tokens)
    mask = np.where(cut[:, :, None] == cut[:, None, :], 0.0, -100.0)
    return mask.reshape(1, count**2, 1, tokens, tokens).astype("float32")


_RATE = 0.01
_of_images = partial(model, feeds=images, kind="momentum", rate=_RATE)
_IMAGES = {"classes": 1000}
_SMALL = {"classes": 5, "batch": 2}
WORKLOADS = (
    _of_images("resnet50", "ResNet-50, 2 images of 64 x 64", resnet50,
               sizes=_IMAGES | {"batch": 2, "side": 64, "width": 64, "depths": (3, 4, 6, 3)},
               small=_SMALL | {"side": 16, "width": 2, "depths": (1, 2)}),
    _of_images("vgg11", "VGG-11 with batch norms, 4 images of 64 x 64",
               vgg, sizes=_IMAGES | {"batch": 4, "side": 64, "hidden": 4096, "widths":
                   (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)},
               small=_SMALL | {"side": 4, "hidden": 6, "widths": (2, 0, 3, 0)}),
    _of_images("mobilenet_v2", "MobileNetV2, 4 images of 96 x 96", mobilenet_v2,
               sizes=_IMAGES | {"batch": 4, "side": 96, "stem": 32, "last": 1280, "stages": (
                   (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                   (6, 160, 3, 2), (6, 320, 1, 1))},
               small=_SMALL | {"side": 8, "stem": 3, "last": 5,
                               "stages": ((1, 2, 1, 1), (2, 3, 2, 2))}),
    model("efficientnet_b0", "EfficientNet-B0, 2 images of 112 x 112", efficientnet, images,
          _IMAGES | {"batch": 2, "side": 112, "stem": 32, "last": 1280, "stages": (
              (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
              (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))},
          _SMALL | {"side": 8, "stem": 3, "last": 5,
                    "stages": ((1, 3, 1, 2, 1), (2, 5, 2, 3, 2))}),
    _of_images("densenet121", "DenseNet-121, 2 images of 64 x 64", densenet,
               sizes=_IMAGES | {"batch": 2, "side": 64, "growth": 32, "depths": (6, 12, 24, 16)},
               small=_SMALL | {"side": 16, "growth": 2, "depths": (2, 1)}),
    _of_images("squeezenet", "SqueezeNet 1.1, 4 images of 128 x 128", squeezenet,
               sizes=_IMAGES | {"batch": 4, "side": 128, "stem": 64, "widths":
                   (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64)},
               small=_SMALL | {"side": 17, "stem": 3, "widths": (0, 2, 2)}, rate=1e-3),
    _of_images("shufflenet_v2", "ShuffleNetV2 x1.0, 8 images of 96 x 96", shufflenet,
               sizes=_IMAGES | {"batch": 8, "side": 96, "stem": 24, "last": 1024,
                                "stages": ((116, 4), (232, 8), (464, 4))},
               small=_SMALL | {"side": 16, "stem": 4, "last": 5, "stages": ((8, 2),)}),
    model("convnext_tiny", "ConvNeXt-T, 1 image of 128 x 128", convnext, images,
          _IMAGES | {"batch": 1, "side": 128,
                     "stages": ((96, 3), (192, 3), (384, 9), (768, 3))},
          _SMALL | {"side": 16, "stages": ((4, 1), (6, 1))}),
    _of_images("regnet_y_400mf", "RegNetY-400MF, 8 images of 96 x 96", regnet,
               sizes=_IMAGES | {"batch": 8, "side": 96, "stem": 32, "group": 8,
                                "stages": ((48, 1), (104, 3), (208, 6), (440, 6))},
               small=_SMALL | {"side": 8, "stem": 4, "group": 2, "stages": ((4, 1), (6, 2))}),
    model("swin_t", "Swin-T, 1 image of 224 x 224", swin, images,
          _IMAGES | {"batch": 1, "side": 224, "window": 7,
                     "stages": ((96, 3, 2), (192, 6, 2), (384, 12, 6), (768, 24, 2))},
          _SMALL | {"side": 32, "window": 4, "stages": ((4, 2, 2), (6, 2, 1))}),
)  # fmt: skip
