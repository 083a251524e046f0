"""Models of 8-bit integers: results by NumPy's integers, scaled in float32."""

from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ExportError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RANDOM = np.random.default_rng(0)
TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}


def numbers(dtype, *shape):
    ends = np.iinfo(dtype)
    return RANDOM.integers(ends.min, ends.max + 1, shape).astype(dtype)


def run(nodes, inputs, constants, outputs=("y",), dtype="float32"):
    """Load a model of some nodes, and compute it; ``constants`` are in the file."""
    graph = helper.make_graph(
        nodes,
        "model",
        [
            helper.make_tensor_value_info(name, TYPES[x.dtype.name], x.shape)
            for name, x in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TYPES[dtype], None) for name in outputs],
        [numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = sg.onnx.load(helper.make_model(graph, opset_imports=opsets))
    f = sg.compile(model.graph())
    results = f.run(inputs)
    return f, [np.asarray(results[name]) for name in outputs]


def node(operator, inputs, output="y", **attributes):
    domain = "com.microsoft" if operator.startswith(("Q", "Dyn", "MatMulIntegerToFloat")) else ""
    if operator in ("QLinearMatMul", "QLinearConv", "QuantizeLinear", "DynamicQuantizeLinear"):
        domain = ""
    return helper.make_node(operator, inputs.split(), [output], domain=domain, **attributes)


def multiplies_words(f):
    return any("dot4_u8_i8" in kernel.source for kernel in f.kernels)


def quantize(x, zero, dtype="uint8"):
    ends = np.iinfo(dtype)
    return np.clip(np.rint(x) + np.float32(zero), ends.min, ends.max).astype(dtype)


def convolve(x, w, border=0):
    """A convolution in int64, with zeros around the image."""
    x = np.pad(x.astype("i8"), ((0, 0), (0, 0), (border, border), (border, border)))
    size, w = w.shape[2], w.astype("i8")
    y = np.zeros((len(x), len(w), x.shape[2] - size + 1, x.shape[3] - size + 1), "i8")
    for i, j in np.ndindex(y.shape[2:]):
        y[:, :, i, j] = np.tensordot(x[:, :, i : i + size, j : j + size], w, ((1, 2, 3),) * 2)
    return y


@pytest.mark.parametrize("signs", [*product(("uint8", "int8"), repeat=2)])
@pytest.mark.parametrize("zeros", ["none", "numbers", "rows and columns", "computed"])
def test_integer_products(signs, zeros):
    """Zero points of constants, of rows and columns, and ones that are inputs."""
    a, b = numbers(signs[0], 7, 12), numbers(signs[1], 12, 5)
    shapes = {"none": None, "rows and columns": ((7,), (5,))}.get(zeros, ((), ()))
    inputs, constants, names = {"a": a}, {"b": b}, "a b"
    zero_a = zero_b = np.int64(0)
    if shapes is not None:
        zero_a, zero_b = (numbers(sign, *shape) for sign, shape in zip(signs, shapes, strict=True))
        into = inputs if zeros == "computed" else constants
        into |= {"za": np.asarray(zero_a), "zb": np.asarray(zero_b)}
        names += " za zb"
    _, (y,) = run([node("MatMulInteger", names)], inputs, constants)
    left = a.astype("i8") - (zero_a[:, None] if zero_a.ndim else zero_a).astype("i8")
    np.testing.assert_array_equal(y, left @ (b.astype("i8") - zero_b.astype("i8")))


@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("computed", [False, True])
def test_integer_convolutions(border, computed):
    x, w = numbers("uint8", 2, 8, 6, 5), numbers("int8", 4, 8, 3, 3)
    zero = np.uint8(131)
    inputs, constants = {"x": x}, {"w": w}
    (inputs if computed else constants)["z"] = np.asarray(zero)
    attributes = {"pads": [border] * 4}
    f, (y,) = run([node("ConvInteger", "x w z", **attributes)], inputs, constants)
    assert multiplies_words(f)
    np.testing.assert_array_equal(y, convolve(x.astype("i8") - int(zero), w, border))


def test_quantized_products_and_convolutions():
    """Scales of columns and channels; the sum is scaled once, by sx sw / sy."""
    a, b = numbers("uint8", 9, 16), numbers("int8", 16, 6)
    sa, sb, sy = np.float32(0.02), RANDOM.uniform(0.01, 0.02, 6).astype("f4"), np.float32(0.7)
    za, zb, zy = np.uint8(3), np.zeros(6, "i1"), np.uint8(120)
    constants = {"sa": sa, "za": za, "b": b, "sb": sb, "zb": zb, "sy": sy, "zy": zy}
    f, (y,) = run(
        [node("QLinearMatMul", "a sa za b sb zb sy zy")], {"a": a}, constants, dtype="uint8"
    )
    total = (a.astype("i8") - 3) @ b.astype("i8")
    np.testing.assert_array_equal(y, quantize(total.astype("f4") * (sa * sb / sy), zy))
    assert multiplies_words(f)
    x, w = numbers("uint8", 2, 8, 6, 5), numbers("int8", 6, 8, 3, 3)
    bias = RANDOM.integers(-3000, 3000, 6).astype("i4")
    constants |= {"w": w, "bias": bias, "zb": zb}
    operands = "x sa za w sb zb sy zy bias"
    nodes = [node("QLinearConv", operands, pads=[1, 1, 1, 1])]
    f, (y,) = run(nodes, {"x": x}, constants, dtype="uint8")
    total = convolve(x.astype("i8") - 3, w, 1) + bias[:, None, None]
    factor = (sa * sb / sy)[:, None, None]
    np.testing.assert_array_equal(y, quantize(total.astype("f4") * factor, zy))
    assert multiplies_words(f)


def dequantize_nodes(*names):
    return [node("DequantizeLinear", f"{n} s{n} z{n}", f"{n}_float") for n in names]


def test_a_float_product_between_quantized_values():
    """Dequantized matrices are multiplied as integers, also a transposed
    weight, and the epilogue is float32."""
    a, b = numbers("uint8", 9, 16), numbers("int8", 6, 16)
    sa, sb, sy = np.float32(0.02), np.float32(0.013), np.float32(0.7)
    bias = RANDOM.normal(size=6).astype("f4")
    constants = {"sa": sa, "za": np.uint8(7), "b": b, "sb": sb, "zb": np.int8(0), "c": bias}
    constants |= {"sy": sy, "zy": np.uint8(9)}
    nodes = [
        *dequantize_nodes("a", "b"),
        node("Gemm", "a_float b_float c", "p", transB=1),
        node("Relu", "p", "r"),
        node("QuantizeLinear", "r sy zy"),
    ]
    f, (y,) = run(nodes, {"a": a}, constants, dtype="uint8")
    total = (a.astype("i8") - 7) @ b.T.astype("i8")
    expected = np.maximum(total.astype("f4") * (sa * sb) + bias, 0)
    np.testing.assert_array_equal(y, quantize(expected / sy, 9))
    assert multiplies_words(f)
    assert not any(buffer.dtype == "float32" and buffer.size == 96 for buffer in f.schedule.buffers)


def test_float_convolutions_and_pools_between_quantized_values():
    x, w = numbers("uint8", 2, 8, 6, 6), numbers("int8", 4, 8, 3, 3)
    sx, sw = np.float32(0.02), RANDOM.uniform(0.01, 0.02, 4).astype("f4")
    constants = {"sx": sx, "zx": np.uint8(7), "w": w, "sw": sw, "zw": np.zeros(4, "i1")}
    nodes = [
        node("DequantizeLinear", "x sx zx", "x_float"),
        node("DequantizeLinear", "w sw zw", "w_float", axis=0),
        node("MaxPool", "x_float", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", "m sx zx", "q"),
        node("DequantizeLinear", "q sx zx", "q_float"),
        node("Conv", "q_float w_float", pads=[1, 1, 1, 1]),
    ]
    f, (y,) = run(nodes, {"x": x}, constants)
    largest = x.reshape(2, 8, 3, 2, 3, 2).max((3, 5))
    total = convolve(largest.astype("i8") - 7, w, 1)
    np.testing.assert_array_equal(y, total.astype("f4") * (sx * sw)[:, None, None])
    assert multiplies_words(f)


@pytest.mark.parametrize(
    ("scale", "zero", "is_by_integers"),
    [
        (0.25, 7, True),
        ([0.25], [7], False),
        ([0.5, 0.25, 2.0], [7, 0, 255], False),  # a scale for each channel
        (-0.25, 7, False),  # the largest number is that of the smallest integer
    ],
)
def test_the_largest_of_windows_of_dequantized_numbers(scale, zero, is_by_integers):
    x = numbers("uint8", 2, 3, 5, 6)
    constants = {"s": np.float32(scale), "z": np.uint8(zero)}
    nodes = [
        node("DequantizeLinear", "x s z", "d", axis=1),
        node("MaxPool", "d", kernel_shape=[2, 3], strides=[1, 2]),
    ]
    f, (result,) = run(nodes, {"x": x}, constants)
    at = np.reshape(constants["z"], (1, -1, 1, 1)).astype("f4")
    floats = (x - at) * np.reshape(constants["s"], (1, -1, 1, 1))
    windows = np.lib.stride_tricks.sliding_window_view(floats, (2, 3), (2, 3))[:, :, :, ::2]
    np.testing.assert_array_equal(result, windows.max((-1, -2)))
    (pooled,) = (n.args[0].dtype for n in f.graph.nodes if n.op.name == "window_max")
    assert pooled.name == ("uint8" if is_by_integers else "float32")


def test_depthwise_convolutions_are_float():
    x, w = numbers("uint8", 1, 4, 6, 6), numbers("int8", 4, 1, 3, 3)
    constants = {"sx": np.float32(0.02), "zx": np.uint8(7), "w": w, "sw": np.float32(0.01)}
    constants["zw"] = np.int8(0)
    nodes = [*dequantize_nodes("x", "w"), node("Conv", "x_float w_float", group=4)]
    _, (y,) = run(nodes, {"x": x}, constants)
    for channel in range(4):
        part = convolve(x[:, channel : channel + 1].astype("i8") - 7, w[channel : channel + 1])
        np.testing.assert_allclose(y[:, channel : channel + 1], part * 0.0002, 1e-5, 1e-5)


def of_two(operator):
    a, b = numbers("uint8", 3, 5), numbers("uint8", 3, 5)
    constants = {"sa": np.float32(0.02), "za": np.uint8(120), "sb": np.float32(0.05)}
    constants |= {"zb": np.uint8(3), "sy": np.float32(0.1), "zy": np.uint8(50)}
    _, (y,) = run(
        [node(operator, "a sa za b sb zb sy zy")], {"a": a, "b": b}, constants, dtype="uint8"
    )
    return y, (a.astype("f8") - 120) * 0.02, (b.astype("f8") - 3) * 0.05


def test_sums_and_products_of_quantized_arrays():
    """Within one step of those in float64, where the rounding decides."""
    for operator, function in (("QLinearAdd", np.add), ("QLinearMul", np.multiply)):
        y, a, b = of_two(operator)
        expected = np.clip(np.rint(function(a, b) / 0.1) + 50, 0, 255)
        assert np.abs(y - expected).max() <= 1
        assert (y == expected).mean() > 0.9


def of_one(operator, scale=0.0173, **attributes):
    x = numbers("uint8", 2, 4, 6, 6)
    constants = {"sx": np.float32(0.02), "zx": np.uint8(100), "sy": np.float32(scale)}
    constants["zy"] = np.uint8(10)
    nodes = [node(operator, "x sx zx sy zy", **attributes)]
    _, (y,) = run(nodes, {"x": x}, constants, dtype="uint8")
    return y, (x.astype("f8") - 100) * 0.02


@pytest.mark.parametrize(
    ("operator", "attributes", "function"),
    [
        ("QLinearSigmoid", {}, lambda x: 1 / (1 + np.exp(-x))),
        ("QLinearLeakyRelu", {"alpha": 0.1}, lambda x: np.where(x < 0, x * 0.1, x)),
        ("QLinearGlobalAveragePool", {}, lambda x: x.mean((2, 3), keepdims=True)),
        (
            "QLinearAveragePool",
            {"kernel_shape": [2, 2], "strides": [2, 2]},
            lambda x: x.reshape(2, 4, 3, 2, 3, 2).mean((3, 5)),
        ),
        ("QLinearReduceMean", {"axes": [1]}, lambda x: x.mean(1, keepdims=True)),
        (
            "QLinearSoftmax",
            {"axis": 1, "opset": 13},
            lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True),
        ),
    ],
)
def test_functions_of_a_quantized_array(operator, attributes, function):
    y, x = of_one(operator, **attributes)
    expected = np.clip(np.rint(function(x) / 0.0173) + 10, 0, 255)
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= 1
    assert (y == expected).mean() > 0.9


def test_quantized_arrays_side_by_side_and_chosen():
    a, b = numbers("uint8", 3, 5), numbers("uint8", 3, 5)
    constants = {"s": np.float32(0.1), "z": np.uint8(50), "sa": np.float32(0.2)}
    constants |= {"za": np.uint8(10), "sb": np.float32(0.1), "zb": np.uint8(50)}
    nodes = [node("QLinearConcat", "s z a sa za b sb zb", axis=1)]
    _, (y,) = run(nodes, {"a": a, "b": b}, constants, dtype="uint8")
    scaled = np.clip((a.astype("i8") - 10) * 2 + 50, 0, 255)
    np.testing.assert_array_equal(y, np.concatenate([scaled, b], 1))
    choice = RANDOM.random((3, 5)) < 0.5
    constants["c"] = choice
    nodes = [node("QLinearWhere", "c a sa za b sb zb s z")]
    _, (y,) = run(nodes, {"a": a, "b": b}, constants, dtype="uint8")
    np.testing.assert_array_equal(y, np.where(choice, scaled, b))


@pytest.mark.parametrize("has_scale", [False, True])
def test_quantized_gemm(has_scale):
    a, b = numbers("uint8", 7, 12), numbers("int8", 5, 12)
    c = RANDOM.integers(-900, 900, 5).astype("i4")
    constants = {"sa": np.float32(0.02), "za": np.uint8(3), "b": b, "sb": np.float32(0.01)}
    constants |= {"zb": np.int8(0), "c": c, "sy": np.float32(0.3), "zy": np.uint8(100)}
    names = "a sa za b sb zb c sy zy" if has_scale else "a sa za b sb zb c"
    dtype = "uint8" if has_scale else "float32"
    f, (y,) = run([node("QGemm", names, transB=1)], {"a": a}, constants, dtype=dtype)
    total = ((a.astype("i8") - 3) @ b.T.astype("i8") + c).astype("f4")
    factor = np.float32(0.02) * np.float32(0.01)
    expected = quantize(total * (factor / np.float32(0.3)), 100) if has_scale else total * factor
    np.testing.assert_array_equal(y, expected)
    assert multiplies_words(f)


def test_products_of_floats_that_are_quantized_by_their_range():
    a, b = RANDOM.normal(size=(6, 16)).astype("f4"), numbers("int8", 16, 5)
    sb, bias = np.float32(0.02), RANDOM.normal(size=5).astype("f4")
    constants = {"b": b, "sb": sb, "zb": np.int8(0), "bias": bias}
    f, (y,) = run([node("DynamicQuantizeMatMul", "a b sb zb bias")], {"a": a}, constants)
    scale = (np.float32(a.max()) - np.float32(a.min())) / np.float32(255)
    zero = np.rint(-a.min() / scale)
    integers = quantize(a / scale, zero)
    total = (integers.astype("i8") - int(zero)) @ b.astype("i8")
    np.testing.assert_array_equal(y, total.astype("f4") * (scale * sb) + bias)
    assert multiplies_words(f)
    integers = {"a": numbers("uint8", 6, 16)}
    constants |= {"sa": np.float32(0.1), "za": np.uint8(8)}
    nodes = [node("MatMulIntegerToFloat", "a b sa sb za zb bias")]
    _, (y,) = run(nodes, integers, constants)
    total = (integers["a"].astype("i8") - 8) @ b.astype("i8")
    np.testing.assert_array_equal(y, total.astype("f4") * (np.float32(0.1) * sb) + bias)


def attend(q, k, v, allowed):
    """Attention in float64, of [time, size] each; a query without an allowed key takes all."""
    scores = q @ k.T / q.shape[1] ** 0.5
    allowed = allowed | ~allowed.any(axis=1, keepdims=True)
    weights = np.where(allowed, np.exp(scores - scores.max(axis=1, keepdims=True)), 0)
    return weights / weights.sum(axis=1, keepdims=True) @ v


@pytest.mark.parametrize("mask", ["none", "lengths", "keys", "pairs", "earlier", "nothing"])
def test_attention_of_integers(mask):
    """The projections by integers, exactly; the heads by NumPy in float64."""
    batch, time, heads, size = 2, 7, 4, 8
    width = heads * size
    x, w = numbers("uint8", batch, time, width), numbers("int8", width, 3 * width)
    scales = (RANDOM.random(3 * width) * 0.01 + 0.001).astype("f4")
    constants = {
        "w": w, "b": RANDOM.normal(size=3 * width).astype("f4"), "sx": np.float32(0.02),
        "sw": scales, "zx": np.uint8(120), "zw": np.zeros(3 * width, "i1"),
    }  # fmt: skip
    allowed = np.ones((batch, time, time), bool)
    if mask == "lengths":
        constants["m"] = np.array([3, 7], "i4")
        allowed = np.broadcast_to(np.arange(time) < constants["m"][:, None, None], allowed.shape)
    elif mask in ("keys", "pairs", "nothing"):
        shape = (batch, time, time) if mask == "pairs" else (batch, time)
        constants["m"] = (RANDOM.random(shape) > (1.0 if mask == "nothing" else 0.4)).astype("i4")
        rows = constants["m"] if mask == "pairs" else constants["m"][:, None]
        allowed = np.broadcast_to(rows > 0, allowed.shape)
    elif mask == "earlier":
        allowed = np.broadcast_to(np.tri(time, dtype=bool), allowed.shape)
    names = f"x w b sx sw {'m' if 'm' in constants else '-'} zx zw".split()
    attributes = {"num_heads": heads, "unidirectional": int(mask == "earlier")}
    attention = node("QAttention", "", **attributes)
    attention.input.extend("" if name == "-" else name for name in names)
    f, (y,) = run([attention], {"x": x}, constants)
    total = (x.astype("i8") - 120) @ w.astype("i8")
    projected = total * (0.02 * scales.astype("f8")) + constants["b"]
    parts = projected.reshape(batch, time, 3, heads, size)
    expected = np.empty((batch, time, heads, size))
    for n, h in np.ndindex(batch, heads):
        expected[n, :, h] = attend(*(parts[n, :, part, h] for part in range(3)), allowed[n])
    np.testing.assert_allclose(y, expected.reshape(batch, time, width), rtol=2e-5, atol=2e-5)
    assert multiplies_words(f)


def test_attention_with_weights_for_forbidden_keys_is_refused():
    constants = {"w": numbers("int8", 8, 24), "b": np.zeros(24, "f4"), "s": np.float32(1)}
    nodes = [node("QAttention", "x w b s s", num_heads=2, mask_filter_value=-1.0)]
    with pytest.raises(ExportError, match="mask_filter_value=-1"):
        run(nodes, {"x": numbers("uint8", 1, 3, 8)}, constants)


def test_an_operator_without_a_row_names_its_domain():
    x = numbers("uint8", 2, 3)
    with pytest.raises(ExportError, match=r"com\.microsoft\.QLinearNothing does not exist"):
        run([node("QLinearNothing", "x")], {"x": x}, {})
