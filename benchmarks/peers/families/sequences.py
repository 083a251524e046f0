"""Models of sounds, and models that go along time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.layers import Layers
from benchmarks.harness.workload import Arrays
from benchmarks.peers.families import Values, model
from benchmarks.peers.families.tokens import texts


def spectra(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return spectra [n, bands, time], and vectors that the last layer is to give."""
    n, time = sizes["batch"], sizes["time"]
    return {
        "x": random.normal(size=(n, sizes["bands"], time)),
        "y": random.normal(size=(n, time // 2, sizes["width"])),
    }


def whisper(net: Layers, v: Values) -> Any:
    """Radford et al., arXiv 2212.04356: the encoder."""
    ops, sizes, heads, width = net.ops, net.sizes, net.sizes["heads"], net.sizes["width"]
    h = ops.gelu(net.conv("conv1", v["x"], width, 3, bias=True))
    h = ops.transpose(ops.gelu(net.conv("conv2", h, width, 3, 2, bias=True)), (0, 2, 1))
    h = h + ops.constant(_sines(h.shape[1], width))
    for k in range(sizes["layers"]):
        h = h + net.attend(f"{k}", net.layer_norm(f"{k}.ln1", h), heads)
        h = h + net.mlp(f"{k}.mlp", net.layer_norm(f"{k}.ln2", h), 4 * width, ops.gelu)
    away = net.layer_norm("ln", h) - v["y"]
    return ops.mean(away * away)


def _sines(time: int, width: int) -> Any:
    rates = 10_000.0 ** (-np.arange(width // 2) / max(width // 2 - 1, 1))
    angles = np.arange(time)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype("float32")


def waves(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return waves [n, 1, samples], and a class of each."""
    n = sizes["batch"]
    return {"x": random.normal(size=(n, 1, sizes["samples"])), "y": random.integers(0, 12, n)}


def wav2vec2(net: Layers, v: Values) -> Any:
    """Baevski et al., arXiv 2006.11477: convolutions of the wave, of places, and attention."""
    ops, sizes, width = net.ops, net.sizes, net.sizes["width"]
    h = net.conv("0", v["x"], sizes["channels"], 10, 5, padding=0)
    channels = h.shape[1]
    gain, bias = net.gain_and_bias("gn", channels)
    away = h - ops.mean(h, axis=2, keepdims=True)
    h = away / ops.sqrt(ops.mean(away * away, axis=2, keepdims=True) + 1e-5)
    h = ops.gelu(h * ops.reshape(gain, (channels, 1)) + ops.reshape(bias, (channels, 1)))
    for k, taps in enumerate(sizes["taps"]):
        h = ops.gelu(net.conv(f"{k + 1}", h, channels, taps, 2, padding=0))
    h = net.dense("wide", net.layer_norm("ln0", ops.transpose(h, (0, 2, 1))), width)
    around, groups = sizes["around"], sizes["groups"]
    places = net.conv("places", ops.transpose(h, (0, 2, 1)), width, around, groups=groups,
                      bias=True)  # fmt: skip
    places = ops.gelu(places[:, :, : h.shape[1]])
    h = net.layer_norm("ln1", h + ops.transpose(places, (0, 2, 1)))
    for k in range(sizes["layers"]):
        h = net.layer_norm(f"{k}.ln1", h + net.attend(f"{k}", h, sizes["heads"]))
        h = net.layer_norm(f"{k}.ln2", h + net.mlp(f"{k}.mlp", h, 4 * width, ops.gelu))
    return net.cross_entropy(net.dense("head", ops.mean(h, 1), 12), v["y"])


def conformer(net: Layers, v: Values) -> Any:
    """Gulati et al., arXiv 2005.08100, without relative places; frames are cut before."""
    ops, sizes, width = net.ops, net.sizes, net.sizes["width"]
    n, bands, time = v["x"].shape
    h = ops.reshape(v["x"], (n, 1, bands, time))
    for k in range(2):
        h = ops.relu(net.conv(f"sub{k}", h, width, 3, 2, bias=True))
    h = ops.reshape(ops.transpose(h, (0, 3, 1, 2)), (n, h.shape[3], width * h.shape[2]))
    h = net.dense("wide", h, width)
    for k in range(sizes["layers"]):
        h = h + 0.5 * net.mlp(f"{k}.a", net.layer_norm(f"{k}.ln1", h), 4 * width, ops.silu)
        h = h + net.attend(f"{k}", net.layer_norm(f"{k}.ln2", h), sizes["heads"])
        inner = ops.transpose(net.layer_norm(f"{k}.ln3", h), (0, 2, 1))
        inner = net.conv(f"{k}.c1", inner, 2 * width, 1, bias=True)
        inner = inner[:, :width] * ops.sigmoid(inner[:, width:])
        inner = net.conv(f"{k}.c2", inner, width, sizes["taps"], groups=width)
        inner = ops.silu(net.batch_norm(f"{k}.bn", inner))
        h = h + ops.transpose(net.conv(f"{k}.c3", inner, width, 1, bias=True), (0, 2, 1))
        h = h + 0.5 * net.mlp(f"{k}.b", net.layer_norm(f"{k}.ln4", h), 4 * width, ops.silu)
        h = net.layer_norm(f"{k}.ln5", h)
    return net.cross_entropy(net.dense("head", h, 128), v["y"])


def frames(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return spectra [n, bands, time], and a class of each fourth frame."""
    n, time = sizes["batch"], sizes["time"]
    x = random.normal(size=(n, sizes["bands"], time))
    return {"x": x, "y": random.integers(0, 128, (n, time // 4))}


def mamba(net: Layers, v: Values) -> Any:
    """Gu and Dao, arXiv 2312.00752: a selective scan, one time after the other."""
    ops, sizes, width = net.ops, net.sizes, net.sizes["width"]
    inner, states, rank = 2 * width, sizes["states"], sizes["rank"]
    time = v["ids"].shape[1]
    table = net.table("table", sizes["words"], width)
    h = ops.embedding(v["ids"], table)
    for k in range(sizes["layers"]):
        inputs = net.dense(f"{k}.in", net.rms_norm(f"{k}.ln", h), 2 * inner, False)
        x, gate = inputs[:, :, :inner], inputs[:, :, inner:]
        x = net.conv(f"{k}.conv", ops.transpose(x, (0, 2, 1)), inner, 4, padding=3, groups=inner,
                     bias=True)  # fmt: skip
        x = ops.transpose(ops.silu(x[:, :, :time]), (0, 2, 1))
        chosen = net.dense(f"{k}.x", x, rank + 2 * states, False)
        step = ops.softplus(net.dense(f"{k}.dt", chosen[:, :, :rank], inner))
        to, back = chosen[:, :, rank : rank + states], chosen[:, :, rank + states :]
        decay = -ops.exp(net.parameter(f"{k}.a", (inner, states), 0.3, 1.0))
        decays = ops.exp(step[:, :, :, None] * decay)
        new = (step * x)[:, :, :, None] * to[:, :, None, :]

        def advance(state: Any, at: Any) -> Any:
            decays, new, back = at
            state = decays * state + new
            return state, ops.sum(state * back[:, None, :], axis=2)

        along = (ops.transpose(decays, (1, 0, 2, 3)), ops.transpose(new, (1, 0, 2, 3)),
                 ops.transpose(back, (1, 0, 2)))  # fmt: skip
        _, y = ops.scan(advance, new[:, 0] * 0.0, along)
        y = ops.transpose(y, (1, 0, 2)) + x * net.parameter(f"{k}.d", (inner,), mean=1.0)
        h = h + net.dense(f"{k}.out", y * ops.silu(gate), width, False)
    return net.cross_entropy(net.rms_norm("ln", h) @ ops.transpose(table, (1, 0)), v["y"])


def lines(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return ids [time, n], and those that follow them."""
    return {name: ids.T.copy() for name, ids in texts(random, sizes).items()}


def lstm(net: Layers, v: Values) -> Any:
    """Zaremba et al., arXiv 1409.2329, the medium model without dropout."""
    ops, width = net.ops, net.sizes["width"]
    x = ops.embedding(v["ids"], net.table("table", net.sizes["words"], width, 0.05))
    weights = [
        (net.parameter(f"w{k}", (width, 4 * width), 0.03),
         net.parameter(f"u{k}", (width, 4 * width), 0.03),
         net.parameter(f"b{k}", (4 * width,), 0.03))
        for k in range(net.sizes["layers"])
    ]  # fmt: skip
    h = ops.recurrent("lstm", x, weights, net.sizes["time"], width, every=True)
    return net.cross_entropy(net.dense("head", h, net.sizes["words"]), v["y"])


_SMALL = {"batch": 2, "time": 8, "bands": 3, "width": 4, "heads": 2, "layers": 1}
WORKLOADS = (
    model("whisper_tiny", "Whisper-tiny, the encoder, 1,000 frames of 80 bands", whisper, spectra,
          {"batch": 1, "time": 1000, "bands": 80, "width": 384, "heads": 6, "layers": 4}, _SMALL),
    model("wav2vec2_base", "wav2vec 2.0 base, 2 layers of 12, 16,000 samples", wav2vec2, waves,
          {"batch": 1, "samples": 16_000, "channels": 512, "taps": (3, 3, 3, 3, 2, 2),
           "width": 768, "around": 128, "groups": 16, "layers": 2, "heads": 12},
          _SMALL | {"samples": 100, "channels": 4, "taps": (3, 2), "around": 4, "groups": 2}),
    model("conformer_s", "Conformer-S, 2 sounds of 256 frames of 80 bands", conformer, frames,
          {"batch": 2, "time": 256, "bands": 80, "width": 144, "heads": 4, "layers": 16,
           "taps": 31}, _SMALL | {"bands": 4, "taps": 3}),
    model("mamba_130m", "Mamba-130M, 2 layers of 24, 8,192 words of 50,280, 64 tokens", mamba,
          texts, {"batch": 1, "time": 64, "words": 8192, "layers": 2, "width": 768, "states": 16,
                  "rank": 48}, _SMALL | {"words": 7, "states": 3, "rank": 2}),
    model("lstm_medium", "LSTM of Zaremba, medium: 2 layers of 650, 10,000 words, 20 x 35 tokens",
          lstm, lines, {"batch": 20, "time": 35, "words": 10_000, "layers": 2, "width": 650},
          _SMALL | {"words": 7, "layers": 2}, kind="momentum", rate=0.5),
)  # fmt: skip
