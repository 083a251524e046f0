"""``sg.precision``: what narrow values cost and save, against both programs run by hand."""

import dataclasses
import json

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, FeedError, PipelineError
from tests.compiled.test_tradeoff import read_page
from tests.passes.test_narrow import layers


def test_errors_and_bytes_are_those_of_both_programs():
    loss, weights, feeds = layers()
    (slope,) = sg.grad(loss, weights[:1])
    value_before = weights[0].value.copy()
    step = sg.Graph({"loss": loss, "top": loss > 0}, updates={weights[0]: weights[0] - slope})
    actual = sg.precision(step, feeds, dtype=sg.float16, runs=1)
    np.testing.assert_array_equal(weights[0].value, value_before)
    results = {"loss": loss, "next": weights[0] - slope}
    exact = sg.compile(results).run(feeds)
    narrow = sg.compile(results, pipeline=actual.pipeline).run(feeds)
    assert [(e.name, e.largest == 0) for e in actual.errors] == [
        ("loss", True), ("top", True), ("next w0", False),
    ]  # fmt: skip
    distances = np.abs(narrow["next"].astype("f8") - exact["next"])
    size = np.sqrt(np.mean(exact["next"].astype("f8") ** 2))
    last = actual.errors[-1]
    np.testing.assert_allclose(
        [last.largest, last.mean], [distances.max() / size, distances.mean() / size]
    )
    assert (actual.ulp, actual.rounded_values, last.overflowed) == (2.0**-10, 5, 0)
    peaks = [sg.compile(step, pipeline=p).plan().peak_bytes for p in ("O1", actual.pipeline)]
    assert [actual.exact.peak_bytes, actual.narrow.peak_bytes] == peaks
    as_read = json.loads(json.dumps(actual.as_json()))
    assert (as_read["rounded"], as_read["narrow"]["peak_bytes"]) == (5, peaks[1])
    assert "next w0" in str(actual)
    read_page(actual._repr_html_())
    many = dataclasses.replace(actual, errors=actual.errors * 9)
    read_page(many._repr_html_())
    assert many._repr_html_().count("<tr>") == 1 + 12 + 1 + len(many.errors)


def test_narrow_values_that_spare_nothing_at_the_peak_are_told():
    x = sg.input("x", (512, 64), "float32")
    ws = [sg.parameter(f"w{k}", np.eye(64, dtype="f4")) for k in (0, 1)]
    loss = (sg.nn.gelu(x @ ws[0]) @ ws[1]).sum()
    program = {"loss": loss, "slope": sg.grad(loss, ws)[1]}
    actual = sg.precision(program, {"x": np.ones((512, 64), "f4")}, runs=1)
    assert actual.narrow.peak_bytes == actual.exact.peak_bytes
    assert "little is saved" in str(actual)
    assert "narrow saves little here" in sg.compile(program, pipeline=actual.pipeline).explain()
    h = sg.nn.gelu(sg.nn.gelu(sg.nn.gelu(x @ ws[0]) @ ws[1]) @ ws[0])
    slopes = sg.grad((h**2).mean(), ws)
    program = {"loss": (h**2).mean(), "slope": slopes[0], "other": slopes[1]}
    actual = sg.precision(program, {"x": np.ones((512, 64), "f4")}, runs=1)
    assert actual.narrow.peak_bytes < 0.95 * actual.exact.peak_bytes
    assert "little" not in str(actual)
    text = sg.compile(program, pipeline=actual.pipeline).explain()
    assert "narrow values are" in text
    assert "saves little" not in text


def test_what_overflows_is_counted():
    x = sg.input("x", (4,), "float32")
    h = sg.exp(x)
    graph = {"loss": (h * h).sum() * 0, "slope": sg.grad((h * h * 1e-5).sum(), x)}
    actual = sg.precision(graph, {"x": [1.0, 12.0, 13.0, 2.0]}, dtype="float16", pipeline="O0")
    assert [e.overflowed for e in actual.errors] == [0, 2]
    assert sg.precision(h, {"x": np.zeros(4)}, runs=1).rounded_values == 0


def test_what_cannot_be_compared_is_told():
    y = sg.tanh(sg.input("x", (3,)))
    with pytest.raises(ArgumentError, match="not a function") as refusal:
        sg.precision(sg.function(lambda x: x * 2))
    assert "f.graph(x, y)" in refusal.value.hint
    with pytest.raises(ArgumentError, match="runs=0"):
        sg.precision(y, {"x": np.zeros(3)}, runs=0)
    with pytest.raises(PipelineError, match="bfloat16"):
        sg.precision(y, {"x": np.zeros(3)}, dtype="int8")
    with pytest.raises(FeedError):
        sg.precision(y)


def test_what_products_multiply_is_listed():
    """A product and a convolution in bfloat16, and a convolution of three channels in float32."""
    random = np.random.default_rng(0)
    x = sg.input("x", (16, 3, 14, 14), "float32")
    sizes = {"first": (16, 3, 3, 3), "second": (16, 16, 3, 3), "last": (16, 5)}
    first, second, last = (
        sg.parameter(name, random.normal(size=size).astype("f4") / 9)
        for name, size in sizes.items()
    )
    h = sg.nn.conv(sg.nn.relu(sg.nn.conv(x, first, padding=1)), second, padding=1)
    program = {"y": sg.mean(sg.nn.relu(h), (2, 3)) @ last}
    feeds = {"x": random.normal(size=(16, 3, 14, 14)).astype("f4")}
    actual = sg.precision(program, feeds, products=True, readers="all", runs=1)
    multiplied = {
        (product.ops.split(",")[0], product.dtype)
        for product in actual.products
        if "conv" in product.ops or product.ops.startswith("matmul")
    }
    assert {("conv", "float32"), ("conv", "bfloat16"), ("matmul", "bfloat16")} <= multiplied
    assert all("test_precision.py" in product.line for product in actual.products)
    assert "kernels with products: " in str(actual)
    assert " in bfloat16" in str(actual)
    document = json.loads(json.dumps(actual.as_json()))
    assert len(document["products"]) == len(actual.products)
    plain = sg.precision(program, feeds, runs=1)
    assert {product.dtype for product in plain.products} == {"float32"}
    assert "kernels with products" not in str(plain)
