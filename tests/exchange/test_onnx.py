"""Models in files of ONNX: operators, whole models both ways, training, errors."""

import copy
import importlib
import pickle
import pkgutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special

import staticgrad as sg
from staticgrad.errors import ArgumentError, ExportError, SavedFileError
from staticgrad.language.ops.windows import WindowSum
from staticgrad.onnx.operators import KNOWN, OPERATORS, STATIC
from tests.exchange.models import MODELS, model
from tests.exchange.node_tests import cases, gradient_error, outcome

onnx = pytest.importorskip("onnx")

import onnx.backend.test.case.node as onnx_operators  # noqa: E402

MLP = """
<ir_version: 8, opset_import: ["": 17]>
mlp (float[batch, 3] x) => (float[batch, 2] logits)
  <float[3, 4] w1, float[4] b1, float[4, 2] w2, float[2] b2>
{
  h = Gemm(x, w1, b1)
  a = Tanh(h)
  logits = Gemm(a, w2, b2)
}
"""


def parse_model(text, **arrays):
    """A model as ``onnx.parser`` reads it; arrays without values there are given, or random."""
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for info in proto.graph.value_info:
        sizes = [axis.dim_value for axis in info.type.tensor_type.shape.dim]
        array = arrays.get(info.name, random.normal(size=sizes).astype("float32"))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    del proto.graph.value_info[:]
    return proto


def reference(proto, feeds):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, feeds)


def input_names(proto):
    return [read.name for read in proto.graph.input]


def export_model(program, path, *inputs):
    sg.onnx.export(program, path, *inputs)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    return proto


# -- files ----------------------------------------------------------------------------------------


def damage_bytes(data):
    """Bytes of a model cut off at each place, and with one or two bytes changed."""
    yield from (data[:n] for n in range(len(data)))
    random = np.random.default_rng(0)
    for count in random.integers(1, 3, 400):
        damaged = bytearray(data)
        for _ in range(count):
            damaged[random.integers(len(data))] = random.integers(256)
        yield bytes(damaged)
    yield from (b"hello\n", b"\x89PNG\r\n\x1a\n" * 9, b"PK\x03\x04" * 20)


def test_damaged_files_load_or_are_one_error_that_names_the_file(tmp_path):
    path = tmp_path / "damaged.onnx"
    refused = []
    for data in damage_bytes(parse_model(MLP).SerializeToString()):
        path.write_bytes(data)
        try:
            sg.onnx.load(path).graph()
        except sg.StaticgradError as error:
            refused.append(error)
    assert {str(path) in error.headline for error in refused} == {True}
    assert [type(error) for error in refused].count(SavedFileError) > 450


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "there is no graph with results"),
        (b"hello", "is not a model of ONNX, or is damaged: DecodeError"),
        (MLP.replace("Gemm(x", "Gemm(z"), "reads 'z', which nothing before it defines"),
        (MLP.replace("logits = ", "other = "), "nothing defines the result 'logits'"),
    ],
)
def test_a_file_that_is_no_model_is_refused_when_it_is_read(data, says, tmp_path):
    path = tmp_path / "model.onnx"
    data = data if isinstance(data, bytes) else parse_model(data).SerializeToString()
    path.write_bytes(data)
    for source, name in ((path, str(path)), (data, "")):
        with pytest.raises(SavedFileError, match=says) as caught:
            sg.onnx.load(source)
        assert name in caught.value.headline


# -- operators ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_onnx_tests_of_operators_pass_or_do_not_apply():
    """An error that is not one of the known reasons, and a wrong result, fail."""
    outcomes = {name: outcome(case) for name, case in cases().items()}
    passed = [name for name, result in outcomes.items() if result == "passed"]
    assert len(passed) >= 1500
    for kind in ("pytorch-converted", "pytorch-operator"):
        assert {outcome(case) for case in cases(kind).values()} == {"passed"}
    errors = {name: gradient_error(cases()[name]) for name in passed[::5]}
    assert {name: e for name, e in errors.items() if e is not None and not e < 1e-6} == {}


def resize_to(size, operator, operands):
    """Return nodes that interpolate between the elements of the last axis, which has 4."""
    scales = f"k = Constant <value = float[3] {{1.0, 1.0, {size / 4}}}> ()"
    return f'{scales}\n y = {operator} <mode = "linear"> ({operands})'


def doubled_from_the_first(x):
    """Return elements and what is between them, as versions before 11 place them."""
    places = np.minimum(np.arange(8) / 2, 3)
    low, part = np.floor(places).astype(int), places % 1
    return x[..., low] * (1 - part) + x[..., np.minimum(low + 1, 3)] * part


#: ONNX's tests of an operator, or of a few, are a module, which makes them when it is imported.
MODULES = sorted(m.name for m in pkgutil.iter_modules(onnx_operators.__path__) if not m.ispkg)


@pytest.mark.thinned(12, budgeted=True)  # 3 s together
@pytest.mark.parametrize("module", MODULES)
def test_onnx_tests_of_one_operator_pass_or_do_not_apply(module, monkeypatch):
    """The quick tests see each operator in some commits."""
    test_cases = []

    def note_test(node, inputs, outputs, name, **options):
        """Make a test of a node, unless it has sequences or chooses element types itself."""
        arrays = [*inputs, *outputs]
        if not all(isinstance(array, np.ndarray) for array in arrays) or options:
            return
        names = [[n for n in names if n] for names in (node.input, node.output)]
        infos = [
            [
                onnx.helper.make_tensor_value_info(
                    n, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
                for n, array in zip(*pairs, strict=True)
            ]
            for pairs in zip(names, (inputs, outputs), strict=True)
        ]
        model = onnx.helper.make_model(onnx.helper.make_graph([node], name, *infos))
        test_cases.append(
            SimpleNamespace(model=model, data_sets=[(inputs, outputs)], rtol=0, atol=0)
        )

    monkeypatch.setattr(onnx_operators, "expect", note_test)
    full_name = f"{onnx_operators.__name__}.{module}"
    monkeypatch.delitem(sys.modules, full_name, raising=False)
    with np.errstate(all="ignore"):
        importlib.import_module(full_name)
    monkeypatch.delitem(sys.modules, full_name)
    for case in test_cases:
        outcome(case)


#: Operators with options or of versions that the models here do not have.
NODES = {
    "upsampled": (9, resize_to(8, "Upsample", "x, k")),
    "old_resize": (10, resize_to(8, "Resize", "x, k")),
    "resized from 11 on": (11, resize_to(8, "Resize", 'x, "", k')),
    "resized to the same size": (13, resize_to(4, "Resize", 'x, "", k')),
    "old softmax": (11, "y = Softmax (x)"),
    "old log softmax": (11, "y = LogSoftmax <axis = 2> (x)"),
    "softmax": (13, "y = Softmax (x)"),
    "exclusive product": (
        26,
        "k = Constant <value_int = 1> ()\n y = CumProd <exclusive = 1> (x, k)",
    ),
    "reversed sums": (
        17,
        "k = Constant <value_int = 2> ()\n y = CumSum <exclusive = 1, reverse = 1> (x, k)",
    ),
    "lengths": (17, "y = ReduceL2 <axes = [1], keepdims = 0> (x)"),
    "last index": (17, "i = ArgMax <axis = 2, select_last_index = 1> (s)\n y = Cast <to = 1> (i)"),
    "padded along two axes": (
        18,
        "p = Constant <value_ints = [1, 2, 0, 1]> ()\n v = Constant <value_float = 7.0> ()\n"
        " a = Constant <value_ints = [2, 0]> ()\n y = Pad (x, p, v, a)",
    ),
    "reversed lengths": (
        17,
        "k = Constant <value_ints = [1, 3]> ()\n"
        " y = ReverseSequence <batch_axis = 0, time_axis = 1> (x, k)",
    ),
    "leaky": (17, "y = LeakyRelu <alpha = 0.3> (x)"),
    "scaled": (17, "y = Selu <alpha = 1.5, gamma = 2.0> (x)"),
    "normalized": (17, "y = LpNormalization <axis = 1, p = 1> (x)"),
    "mean of windows": (
        17,
        "y = AveragePool <kernel_shape = [2], pads = [1, 0], count_include_pad = 1> (x)",
    ),
}


#: Where the reference does not follow its specification: the specification.
SPECIFIED = {
    "upsampled": doubled_from_the_first,
    "old_resize": doubled_from_the_first,
    "old softmax": lambda x: np.exp(x) / np.exp(x).sum((1, 2), keepdims=True),
    "normalized": lambda x: x / abs(x).sum(1, keepdims=True),
}


@pytest.mark.parametrize("name", NODES)
def test_options_of_operators_are_those_of_the_reference(name):
    opset, body = NODES[name]
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype("float32")
    feeds = {"x": x, "s": np.sign(x).round(0).astype("float32")}
    proto = parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]>'
        f" g (float[2, 3, 4] x, float[2, 3, 4] s) => (float y) {{ z = Add(s, x)\n {body} }}"
    )
    expected = SPECIFIED[name](x) if name in SPECIFIED else reference(proto, feeds)[0]
    f = sg.compile(sg.onnx.load(proto).graph())
    actual = f.run({key: feeds[key] for key in ("x", "s") if key in str(f.graph)})
    np.testing.assert_allclose(actual["y"], expected, rtol=1e-5, atol=1e-6)


#: Operators with the defaults of their options, and with the variants that the rows above lack.
DEFAULTS = {
    "LpNormalization <axis = 1> (x)": lambda x: x / np.sqrt((x * x).sum(1, keepdims=True)),
    "Selu (x)": None,
    "LeakyRelu (x)": None,
    "Elu (x)": None,
    "Celu <alpha = 2.0> (x)": None,
    "HardSigmoid (x)": None,
    "HardSwish (x)": None,
    "ThresholdedRelu (x)": None,
    "Shrink <bias = 0.2, lambd = 0.3> (x)": None,
    "Gelu (x)": None,
    'Gelu <approximate = "tanh"> (x)': None,
    "Softmax (x)": None,
    "LogSoftmax <axis = 0> (x)": None,
    "AveragePool <kernel_shape = [2], pads = [1, 0]> (x)": None,
    "LpPool <kernel_shape = [2], p = 1> (x)": None,
    "CumSum (x, one)": None,
    "CumSum <reverse = 1> (x, one)": None,
    "ArgMin <axis = 1, keepdims = 0> (x)": None,
    "ReduceL2 (x, k)": None,
    "ReduceLogSumExp <keepdims = 0> (x, k)": None,
    "ReduceSumSquare (x)": None,
    "ReverseSequence (x, r)": lambda x: np.concatenate(
        [np.stack([x[1, :1], x[0, :1]]), x[:, 1:]], 1
    ),
    "Mod <fmod = 1> (x, half)": None,
    "Trilu <upper = 0> (x)": None,
    "Transpose (x)": None,
    "Flatten (x)": None,
}


def test_defaults_of_operators_are_those_of_the_reference():
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype("float32")
    for body, specified in DEFAULTS.items():
        proto = parse_model(
            '<ir_version: 8, opset_import: ["": 20]> g (float[2, 3, 4] x) => (y)'
            " <int64[1] k = {1}, int64 one = {1}, int64[3] r = {2, 1, 1}, float half = {0.5}>"
            f" {{ y = {body} }}"
        )
        expected = reference(proto, {"x": x})[0] if specified is None else specified(x)
        (actual,) = sg.evaluate([*sg.onnx.load(proto).graph().outputs.values()], {"x": x})
        assert actual.shape == expected.shape, body
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, err_msg=body)


def test_operators_follow_sizes_that_have_names():
    text = """
    <ir_version: 8, opset_import: ["": 17]> g (float[n, 2, 3] x) => (float[n, k] y)
      <int64 zero = {0}, int64[1] zeros = {0}, int64[1] minus = {-1}>
    {
      s = Shape(x)
      n = Gather<axis = 0>(s, zero)
      u = Unsqueeze(n, zeros)
      t = Concat<axis = 0>(u, minus)
      y = Reshape(x, t)
    }
    """
    loaded = sg.onnx.load(parse_model(text))
    graph = loaded.graph()
    assert str(graph["y"].type) == "f32[n, 6]"
    assert loaded.parameters() == []
    f = sg.compile(graph)
    for n in (4, 5):
        x = np.arange(6.0 * n, dtype="float32").reshape(n, 2, 3)
        np.testing.assert_array_equal(f.run({"x": x})["y"], x.reshape(n, 6))


def test_sizes_are_computed_without_an_axis():
    """An exporter's nodes for ``x.reshape(-1, x.shape[1] * 3 // 2)``, with sizes of rank 0."""
    text = """
    <ir_version: 8, opset_import: ["": 17]> g (float[n, m, 3] x) => (float[a, b] y)
      <int64 one = {1}, int64 two = {2}, int64 three = {3},
       int64[1] axis = {0}, int64[1] minus = {-1}>
    {
      s = Shape(x)
      m = Gather<axis = 0>(s, one)
      product = Mul(m, three)
      half = Div(product, two)
      same = Cast<to = 7>(half)
      width = Unsqueeze(same, axis)
      t = Concat<axis = 0>(minus, width)
      y = Reshape(x, t)
    }
    """
    x = np.arange(48.0, dtype="float32").reshape(4, 4, 3)
    y = sg.evaluate(sg.onnx.load(parse_model(text)).graph(), {"x": x})["y"]
    np.testing.assert_array_equal(y, x.reshape(8, 6))


#: ``squeeze(1)`` as torch exports it.
SQUEEZE = """
<ir_version: 8, opset_import: ["": 17]> g (float[n, k, 3] x) => (float y)
  <int64[1] axis = {1}, int64 one = {1}>
{
  s = Shape(x)
  size = Gather<axis = 0>(s, one)
  same = Equal(size, one)
  y = If(same) <then_branch = t () => (float z) { z = Squeeze(x, axis) },
                else_branch = e () => (float z) { z = Identity(x) }>
}
"""


@pytest.mark.parametrize(("size", "shape"), [(1, (4, 3)), (2, (4, 2, 3))])
def test_a_branch_that_sizes_decide_is_taken_when_they_are_known(size, shape):
    loaded = sg.onnx.load(parse_model(SQUEEZE))
    assert loaded(sg.input("x", (4, size, 3), "float32")).shape == shape
    with pytest.raises(ExportError, match=r"if the size k is 1\n(.|\n)*sg.input"):
        loaded.graph()


def test_an_operator_that_onnx_defines_by_others_needs_no_row():
    text = '<ir_version: 8, opset_import: ["": 18]> g (float[n] x) => (float[n] y) { y = Mish(x) }'
    x = np.linspace(-3, 3, 7, dtype="float32")
    y = sg.function(sg.onnx.load(parse_model(text)))(x)
    np.testing.assert_allclose(y, reference(parse_model(text), {"x": x})[0], rtol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_operators_are_onnxruntimes(kind, gates, direction):
    runtime = pytest.importorskip("onnxruntime")
    d = 2 if direction == "bidirectional" else 1
    text = f"""
    <ir_version: 8, opset_import: ["": 17]>
    g (float[t, n, 3] x, int32[n] lengths) => (float[t, {d}, n, 4] y, float[{d}, n, 4] h)
      <float[{d}, {4 * gates}, 3] w, float[{d}, {4 * gates}, 4] r, float[{d}, {8 * gates}] b>
    {{ y, h = {kind}<hidden_size = 4, direction = "{direction}">(x, w, r, b, lengths) }}
    """
    proto = parse_model(text)
    feeds = {
        "x": np.random.default_rng(1).normal(size=(5, 2, 3)).astype("float32"),
        "lengths": np.array([5, 3], "int32"),
    }
    actual = sg.evaluate(sg.onnx.load(proto).graph(), feeds)
    session = runtime.InferenceSession(proto.SerializeToString())
    for name, expected in zip("yh", session.run(None, feeds), strict=True):
        np.testing.assert_allclose(actual[name], expected, atol=1e-6)


INTEGERS = {
    "slice": (lambda n: n[:, 1:], lambda n: n[:, 1:]),
    "order": (lambda n: sg.argsort(n)[:, :2], lambda n: np.argsort(n)[:, :2]),
    "product": (lambda n: sg.prod(n, axis=1), lambda n: np.prod(n, axis=1)),
    "product kept": (
        lambda n: sg.prod(n, axis=0, keepdims=True), lambda n: np.prod(n, axis=0, keepdims=True),
    ),
    "product of all": (sg.prod, np.prod),
    "quotient": (lambda n: n // 2, lambda n: n // 2),
    "bytes": (lambda n: sg.astype(n, "uint8"), lambda n: n.astype("uint8")),
    "narrow": (lambda n: sg.astype(n, "int32"), lambda n: n.astype("int32")),
    "columns": (lambda n: sg.take(n, np.array([2, 0]), axis=1), lambda n: n[:, [2, 0]]),
    "beside": (
        lambda n: sg.concatenate([n, n], axis=1), lambda n: np.concatenate([n, n], axis=1),
    ),
    "chosen": (lambda n: sg.where(n == 2, n, n * n), lambda n: np.where(n == 2, n, n * n)),
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGERS)
def test_known_integers_are_no_sizes(name, tmp_path):
    """A model that is called with an array of integers computes what it computes of a value."""
    build, truth = INTEGERS[name]
    n = sg.input("n", (2, 3), "int64")
    export_model(sg.Graph({"y": build(n)}), tmp_path / "m.onnx")
    called = sg.onnx.load(tmp_path / "m.onnx")
    array = np.array([[7, -3, 300], [-8, 2, 5]])
    expected = truth(array)
    run = sg.compile(sg.Graph({"y": called(n)})).run({"n": array})["y"]
    for actual in (np.asarray(called(array)), run):
        assert actual.dtype == expected.dtype
        assert np.array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_floor_division_is_written_to_the_last_integer(dtype, tmp_path):
    """By the standard's own evaluator, too, which rounds a quotient of integers down."""
    limits = np.iinfo(dtype)
    every = np.unique(
        np.clip([limits.min, -64, -3, -1, 0, 1, 2, 7, 63, limits.max], limits.min, limits.max)
    )
    x, y = (array.ravel() for array in np.meshgrid(every, every[every != 0]))
    fits = ~((x == limits.min) & (y == -1)) | (limits.min == 0)
    x, y = x[fits].astype(dtype), y[fits].astype(dtype)
    a, b = sg.input("a", x.shape, dtype), sg.input("b", y.shape, dtype)
    proto = export_model(sg.Graph({"q": a // b}), tmp_path / "m.onnx")
    called = sg.onnx.load(tmp_path / "m.onnx")
    expected = [int(m) // int(n) for m, n in zip(x, y, strict=True)]
    for actual in (reference(proto, {"a": x, "b": y})[0], np.asarray(called(x, y))):
        assert actual.dtype == dtype
        assert actual.tolist() == expected


def test_sums_of_integers_keep_their_element_type(tmp_path):
    """A sum of int32 is one of int32 in ONNX, and one of int64 in NumPy."""
    proto = parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        sums (int32[n, 2] x) => (int32[n, 1] y, int32[n] z)
        {
          axes = Constant <value = int64[1] {1}> ()
          y = ReduceSum (x, axes)
          z = ReduceMax <axes = [1], keepdims = 0> (x)
        }
    """)
    onnx.save(proto, tmp_path / "m.onnx")
    array = np.array([[1, 5], [-7, 2]], "int32")
    expected = [array.sum(1, keepdims=True), array.max(1)]
    for actual, truth in zip(sg.onnx.load(tmp_path / "m.onnx")(array), expected, strict=True):
        assert np.asarray(actual).dtype == "int32"
        assert np.asarray(actual).tolist() == truth.tolist()


def test_a_sum_of_windows_of_integers_is_refused(tmp_path):
    """The standard's AveragePool is for floats."""
    x = sg.input("x", (4, 7), "int32")
    summed = WindowSum(taps=(3,), strides=(1,), dilation=(1,), before=(1,), extents=(7,))(x)
    with pytest.raises(ExportError, match="a sum of windows of integers has no operator"):
        sg.onnx.export(sg.Graph({"y": summed}), tmp_path / "m.onnx")


# -- whole models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_exported_and_loaded(name, tmp_path):
    module, x, feeds = model(name)
    proto = export_model(module, tmp_path / "model.onnx", x)
    expected = sg.evaluate(sg.Graph({"output": module(x)}), feeds)["output"]
    np.testing.assert_allclose(reference(proto, feeds)[0], expected, atol=1e-5)
    loaded = sg.onnx.load(tmp_path / "model.onnx")
    graph = loaded.graph()
    np.testing.assert_array_equal(sg.evaluate(graph, feeds)["output"], expected)
    assert graph.sizes.keys() == sg.Graph({"y": module(x)}).sizes.keys()
    shapes = {parameter.name: parameter.shape for parameter in module.parameters()}
    assert {parameter.name: parameter.shape for parameter in loaded.parameters()} == shapes


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_are_those_of_onnxruntime(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    module, x, feeds = model(name)
    sg.onnx.export(module, tmp_path / "model.onnx", x)
    loaded = sg.onnx.load(tmp_path / "model.onnx")
    sg.onnx.export(loaded, tmp_path / "again.onnx")
    expected = sg.compile(loaded.graph()).run(feeds)["output"]
    for file in ("model", "again"):
        (actual,) = runtime.InferenceSession(tmp_path / f"{file}.onnx").run(None, feeds)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["older", "dynamo"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "transformer", "images", "gru"])
def test_models_that_pytorch_exports_are_loaded(name, dynamo, tmp_path):
    for package in ("torch", "onnxscript")[: 1 + dynamo]:
        pytest.importorskip(package)
    from tests.exchange.pytorch_models import export

    x, y = export(name, tmp_path / "model.onnx", dynamo)
    loaded = sg.onnx.load(tmp_path / "model.onnx")
    (result,) = sg.evaluate(loaded.graph(), {"x": x}).values()
    np.testing.assert_allclose(result, y, rtol=1e-5, atol=1e-5)


def test_a_loaded_model_is_trained():
    loaded = sg.onnx.load(parse_model(MLP))
    x, y = sg.input("x", ("batch", 3)), sg.input("y", ("batch",), "int64")
    loss = sg.nn.cross_entropy(loaded(x), y)
    updates = sg.optim.Adam(0.05).updates(loss, loaded.parameters())
    f = sg.compile(sg.Graph({"loss": loss}, updates))
    points = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    feeds = {"x": points, "y": (points.sum(axis=1) > 0).astype("int64")}
    losses = [float(f.run(feeds)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    assert f.stats.plans == 1


def test_statistics_are_kept_and_not_trained(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["": 17]> g (float[n, 2, 5] x) => (float[n, 2, 5] y)
      <float[2] scale, float[2] bias, float[2] mean, float[2] var = {1, 2}>
    { y = BatchNormalization(x, scale, bias, mean, var) }
    """
    loaded = sg.onnx.load(parse_model(text))
    assert [path for path, _ in loaded.named_parameters()] == ["weights.scale", "weights.bias"]
    assert sorted(loaded.state_dict()) == [
        *("statistics.mean", "statistics.var", "weights.bias", "weights.scale")
    ]
    export_model(loaded, tmp_path / "again.onnx")
    assert len(sg.onnx.load(tmp_path / "again.onnx").parameters()) == 2


def test_a_loaded_model_is_copied_pickled_and_saved(tmp_path):
    loaded = sg.onnx.load(parse_model(MLP))
    x = np.ones((2, 3), "float32")
    y = sg.function(loaded)(x)
    np.testing.assert_array_equal(sg.function(copy.deepcopy(loaded))(x), y)
    np.testing.assert_array_equal(sg.function(pickle.loads(pickle.dumps(loaded)))(x), y)
    sg.save(tmp_path / "run.npz", loaded)
    target = sg.onnx.load(parse_model(MLP, w1=np.zeros((3, 4), "float32")))
    sg.load(tmp_path / "run.npz", into=target)
    np.testing.assert_array_equal(sg.function(target)(x), y)
    eager = loaded(sg.eager.Tensor(x))
    np.testing.assert_allclose(eager.data, y, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_and_branches_are_exported_and_loaded(reverse, tmp_path):
    x, w = sg.input("x", ("t", 3)), sg.parameter("w", np.full(3, 0.5, "float32"))

    def step(carry, row):
        total = carry * w + row
        return total, sg.cond(total.sum() > 1.0, lambda: total * 2.0, lambda: total - 1.0)

    last, rows = sg.scan(step, sg.zeros((3,), "float32"), x, reverse=reverse)
    graph = sg.Graph({"last": last, "rows": rows})
    proto = export_model(graph, tmp_path / "loop.onnx")
    feeds = {"x": np.random.default_rng(0).normal(size=(5, 3)).astype("float32")}
    expected = sg.evaluate(graph, feeds)
    back = sg.evaluate(sg.onnx.load(tmp_path / "loop.onnx").graph(), feeds)
    for name, actual in zip(("last", "rows"), reference(proto, feeds), strict=True):
        np.testing.assert_allclose(actual, expected[name], rtol=1e-6)
        np.testing.assert_array_equal(back[name], expected[name])


#: Functions of two arrays [4, 3] of floats, each of which takes a writer of its own.
FUNCTIONS = {
    "rows turned": lambda x, y: x[::-1] + y[1:2],
    "columns": lambda x, y: sg.concatenate([x[:, ::2], sg.pad(y, ((0, 0), (1, 2)))], 1),
    "products": lambda x, y: x @ y.T + (x.T @ y).sum(),
    "reductions": lambda x, y: x.max(axis=0) - y.min(axis=1).mean() + sg.cumsum(x, 1),
    "divisions": lambda x, y: x // y + x % y + sg.fmod(x, y) + sg.trunc(x),
    "whole divisions": lambda x, y: sg.astype(x * 5, "int32") // 3 + sg.astype(y * 5, "int32") % -2,
    "powers": lambda x, y: x**3 + abs(y) ** x + sg.cbrt(abs(x)) + sg.exp2(y),
    "logarithms": lambda x, y: (
        sg.log1p(abs(x)) + sg.log2(abs(y)) + sg.logaddexp(x, y) + sg.expm1(x)
    ),
    "orders": lambda x, y: sg.sort(x, 1) + sg.topk(y, 3, 1)[0] + sg.argsort(x, 1),
    "places": lambda x, y: sg.take(x, np.array([2, 0, 1, 0]), 0) + sg.iota((4, 3), 1),
    "entries": lambda x, y: (
        sg.dynamic_update_slice(x.at[1].set(y[0]), y[:1, :2], [x.shape[0] - 2, 1])
        .at[:, sg.argmax(y[0])]
        .set(y[:, 0])
    ),
    "sizes": lambda x, y: x * sg.size_value(x.shape[0], "float32") + sg.arange(x.shape[0])[:, None],
    "choices": lambda x, y: sg.where((x != y) & (x > 0), sg.clip(x, -1.0, 0.5), sg.erfc(y)),
    "windows": lambda x, y: (
        sg.nn.avg_pool(x[None, None], 2, stride=1).sum() + sg.nn.max_pool(y[None], 3)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_written_is_what_is_computed(name, tmp_path):
    x, y = sg.input("x", ("n", 3)), sg.input("y", ("n", 3))
    graph = sg.Graph({"z": FUNCTIONS[name](x, y)}, inputs=[x, y])
    random = np.random.default_rng(0)
    feeds = {key: random.normal(size=(4, 3)).astype("float32") for key in "xy"}
    expected = sg.evaluate(graph, feeds)["z"]
    proto = export_model(graph, tmp_path / "f.onnx")
    np.testing.assert_allclose(reference(proto, feeds)[0], expected, rtol=1e-5, atol=1e-6)
    back = sg.onnx.load(tmp_path / "f.onnx").graph()
    np.testing.assert_allclose(sg.evaluate(back, feeds)["z"], expected, rtol=1e-5, atol=1e-6)


POOLS = {
    "two": ({"kernel_size": 2}, (2, 3, 6, 6), (2, 3, 6, 6)),
    "a border": ({"kernel_size": 3, "stride": 2, "padding": 1}, (2, 2, 7, 7), ("n", 2, 7, 7)),
    "overlapping": ({"kernel_size": 3, "stride": 1}, (1, 2, 5, 6), (1, 2, 5, 6)),
    "holes": ({"kernel_size": 2, "stride": 1, "dilation": 2}, (1, 2, 6, 6), ("n", 2, 6, 6)),
    "named sizes": ({"kernel_size": 2}, (2, 1, 5, 6), ("n", 1, "h", "w")),
}


@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_max_pooling_are_written(name, tmp_path):
    """Equal elements in a window, and a NaN; the gradient beside ONNX's own evaluator."""
    arguments, shape, sizes = POOLS[name]
    x = sg.input("x", sizes)
    weighted = (sg.nn.max_pool(x, **arguments) ** 2).sum()
    slope = sg.grad(weighted, x)
    chosen = sg.grad(sg.nn.max_pool(x, **arguments).sum(), x)
    graph = sg.Graph({"chosen": chosen, "dx": slope, "dd": sg.grad((slope**2).sum(), x)})
    array = np.random.default_rng(0).integers(-3, 4, shape).astype("float32")
    proto = export_model(graph, tmp_path / "f.onnx")
    expected = sg.evaluate(graph, {"x": array})
    for name, actual in zip(expected, reference(proto, {"x": array}), strict=True):
        np.testing.assert_array_equal(actual, expected[name], name)
    back = sg.evaluate(sg.onnx.load(tmp_path / "f.onnx").graph(), {"x": array})
    np.testing.assert_array_equal(back["dx"], expected["dx"])
    array[0, 0, 1, 1] = np.nan  # it wins; what ONNX's evaluator gives as the maximum is not it
    chosen = reference(proto, {"x": array})[0]
    np.testing.assert_array_equal(chosen, sg.evaluate(graph, {"x": array})["chosen"])
    assert chosen[0, 0, 1, 1] > 0


# -- errors ---------------------------------------------------------------------------------------


BEGIN = (
    '<ir_version: 8, opset_import: ["": 17, "other": 1]> g (float[n] x, int64[1] s) => (float[m] y)'
)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (
            "[up] y = other.Twice(x)",
            r"node 'up', Twice: the operator other.Twice does not exist, version 1",
        ),
        ("[up] y = DFT(x)", r"node 'up', DFT: the operator DFT has no function here, version 17"),
        ("[up] y = Elu<beta = 1.0>(x)", r"node 'up', Elu: the attribute beta=1.0 is not supported"),
        ("[up] y = Elu(x, x)", r"node 'up', Elu: 2 operands, and the row takes 1[\s\S]*x f32\[n\]"),
        ("[up] y = Concat<axis = 3>(x, x)", r"node 'up', Concat: [\s\S]*axis"),
    ],
)
def test_an_error_names_the_node_its_operator_and_what_is_missing(node, words):
    loaded = sg.onnx.load(parse_model(f"{BEGIN} {{ {node} }}"))
    with pytest.raises(ExportError, match=words):
        loaded(sg.input("x", ("n",)), np.array([3]))


def test_each_name_of_an_operand_that_must_be_known_is_that_of_a_row():
    names = {name for row in OPERATORS.values() for name in row.arguments}
    assert names >= STATIC | KNOWN


def test_what_must_be_known_is_given_as_an_array():
    loaded = sg.onnx.load(parse_model(f"{BEGIN} {{ y = Reshape(x, s) }}"))
    with pytest.raises(ArgumentError, match="the input 's' must be known"):
        loaded.graph()
    x = sg.input("x", (6,))
    with pytest.raises(ExportError, match="the input 'shape' must be known while"):
        loaded(x, sg.input("s", (1,), "int64"))
    assert loaded(x, s=np.array([6])).shape == (6,)
    with pytest.raises(ArgumentError, match=r"takes 2 inputs, got x[\s\S]*its inputs are"):
        loaded(x)


# -- numbers whose sign only a run decides --------------------------------------------------------

SLICES = [
    slice(start, stop, step)
    for start in (None, 0, 1, 4, -1, -2, -9)
    for stop in (None, 0, 2, -1, -3, -9)
    for step in (1, 3, -1, -2, -5)
]


def test_slices_of_named_sizes_are_those_of_numpy(tmp_path):
    """ONNX counts bounds below 0 from the back, and a reversed slice ends before its axis."""
    x = sg.input("x", ("b", "n"), "float32")
    outputs = {f"y{number}": x[:, part] for number, part in enumerate(SLICES)}
    run = evaluator(export_model(sg.Graph(outputs), tmp_path / "slices.onnx"))
    for n in range(10):
        array = np.arange(2.0 * n, dtype="float32").reshape(2, n)
        for part, result in zip(SLICES, run({"x": array}), strict=True):
            np.testing.assert_array_equal(result, array[:, part], str(part))


#: Name -> a value of x [n, 4] and i, positions of rows with repeats, and what NumPy writes for it.
SCATTERED = {
    "rows": (
        lambda x, i: sg.grad((sg.take(x, i, 0) ** 2).sum() + 0.0 * x.sum(), x),
        lambda x, i: 2 * x * np.bincount(i, minlength=len(x))[:, None],
    ),
    "columns": (
        lambda x, i: sg.grad((x[:, i] ** 2).sum(), x),
        lambda x, i: 2 * x * np.bincount(i, minlength=4),
    ),
    "added": (
        lambda x, i: x.at[:, i].add(1.0),
        lambda x, i: x + np.bincount(i, minlength=4),
    ),
    "matrices of positions": (
        lambda x, i: sg.grad((x[:, sg.stack([i, i[::-1]])] * 3.0).sum(), x),
        lambda x, i: 6.0 * np.bincount(i, minlength=4) + 0 * x,
    ),
    "along": (
        lambda x, i: sg.grad((sg.sort(x, 1) * np.arange(4, dtype="float32")).sum(), x),
        lambda x, i: np.argsort(np.argsort(x, 1), 1).astype("float32"),
    ),
    "every second": (
        lambda x, i: sg.grad((x[:, ::2] * 3.0).sum(), x),
        lambda x, i: np.tile(np.float32([3, 0, 3, 0]), (len(x), 1)),
    ),
    "every third from the end": (
        lambda x, i: sg.grad((x[:, ::-3] ** 2).sum(), x),
        lambda x, i: 2 * x * np.float32([1, 0, 0, 1]),
    ),
    "every second row, backwards": (
        lambda x, i: sg.grad((x[::-2] ** 2).sum(), x),
        lambda x, i: 2 * x * (np.arange(len(x))[::-1, None] % 2 == 0),
    ),
    "rows from the second on": (
        lambda x, i: sg.grad((x[1::3] ** 2).sum(), x),
        lambda x, i: 2 * x * (np.arange(len(x))[:, None] % 3 == 1),
    ),
}


@pytest.mark.parametrize("name", SCATTERED)
def test_gradients_of_what_is_read_are_written(name, tmp_path):
    x, i = sg.input("x", ("n", 4), "float32"), sg.input("i", (3,), "int64")
    written, by_numpy = SCATTERED[name]
    graph = sg.Graph({"y": written(x, i)}, inputs=[x, i])
    run = evaluator(export_model(graph, tmp_path / "scattered.onnx"))
    random = np.random.default_rng(0)
    for n in (3, 4, 7):
        array = random.normal(size=(n, 4)).astype("float32")
        for positions in ([2, 0, 2], [1, 1, 1]):
            places = np.array(positions)
            (actual,) = run({"x": array, "i": places})
            np.testing.assert_allclose(actual, by_numpy(array, places), rtol=1e-6)
            loaded = sg.function(sg.onnx.load(tmp_path / "scattered.onnx"))
            np.testing.assert_allclose(loaded(array, places), actual, rtol=1e-6)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 0, 1), (1, 2, 2), (2, 3, 3)]
)
def test_gradients_of_filters_are_written(stride, padding, dilation, tmp_path):
    """Compare with sums over windows, tap by tap."""
    random = np.random.default_rng(0)
    image = random.normal(size=(3, 2, 9, 8)).astype("float32")
    filters = random.normal(size=(4, 2, 2, 3)).astype("float32")
    x, f = sg.input("x", ("n", 2, 9, 8), "float32"), sg.input("f", filters.shape, "float32")
    y = sg.nn.conv2d(x, f, stride=stride, padding=padding, dilation=dilation)
    graph = sg.Graph({"slope": sg.grad((y**2).sum(), f), "y": y}, inputs=[x, f])
    run = evaluator(export_model(graph, tmp_path / "filters.onnx"))
    slope, result = run({"x": image, "f": filters})
    padded = np.pad(image.astype("float64"), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    expected = np.zeros(filters.shape)
    for i, j in np.ndindex(2, 3):
        rows = slice(i * dilation, i * dilation + (result.shape[2] - 1) * stride + 1, stride)
        columns = slice(j * dilation, j * dilation + (result.shape[3] - 1) * stride + 1, stride)
        seen = padded[:, :, rows, columns]
        expected[:, :, i, j] = np.einsum("ncab,noab->oc", seen, 2 * result.astype("float64"))
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def evaluator(proto):
    """Return the reference's function of feeds."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(proto)
    return lambda feeds: session.run(None, feeds)


def clip_places(start, stop, step, n):
    """Return the places of a slice whose bounds are sizes: they are clipped, not wrapped."""
    first, end = (0, n) if step > 0 else (n - 1, -1)
    first = first if start is None else max(start, 0) if step > 0 else min(start, n - 1)
    end = end if stop is None else min(stop, n) if step > 0 else max(stop, -1)
    return np.array(range(first, end, step), int)


def test_bounds_of_slices_that_are_sizes_are_clipped(tmp_path):
    x, lengths = sg.input("x", ("n",), "float32"), sg.input("lengths", ("m",), "float32")
    n, m = sg.dim("n"), sg.dim("m")
    bounds = {"None": None, "m": m, "m - 2": m - 2, "n - m": n - m, "(m - 3) // 2": (m - 3) // 2}
    parts = [(a, b, step) for a in bounds for b in bounds for step in (2, -1, -2)]
    results = {f"y{k}": x[bounds[a] : bounds[b] : s] for k, (a, b, s) in enumerate(parts)}
    guards = [sg.Graph({"y": value}).guards for value in results.values()]
    graph = sg.Graph({**results, "total": lengths.sum()})
    run = evaluator(export_model(graph, tmp_path / "bounds.onnx"))
    checked = 0
    for sizes in ({"n": k, "m": j} for k in range(5) for j in (0, 1, 4)):
        array = np.arange(float(sizes["n"]), dtype="float32")
        actual = run({"x": array, "lengths": np.ones(sizes["m"], "float32")})
        for (a, b, step), result, needed in zip(parts, actual, guards, strict=False):
            if all(guard.holds(sizes) for guard, _ in needed):
                places = clip_places(eval(a, {}, sizes), eval(b, {}, sizes), step, sizes["n"])
                np.testing.assert_array_equal(result, array[places], str((a, b, step, sizes)))
                checked += 1
    assert checked > 1000


QUOTIENTS = [
    "(n - 5) // 2", "(n - m) // 3", "7 // n", "(n - 3) // m", "n // (m - 2)", "(m - n) // (m - 2)",
    "n % m", "3 % n", "(n - 7) % m", "-n // m", "((n - 5) // 2 - 1) // (m + 1)", "n * m - 3 * n",
]  # fmt: skip


def test_quotients_of_sizes_are_rounded_down(tmp_path):
    """ONNX rounds them towards 0, and refuses to divide by 0, where a size is 0."""
    x, space = sg.input("x", ("n", "m"), "float32"), {"n": sg.dim("n"), "m": sg.dim("m")}
    outputs = {f"y{k}": sg.size_value(eval(t, {}, space)) for k, t in enumerate(QUOTIENTS)}
    proto = export_model(sg.Graph({**outputs, "total": x.sum()}), tmp_path / "quotients.onnx")
    run = evaluator(proto)
    for n in range(7):
        for m in range(5):
            actual = run({"x": np.ones((n, m), "float32")})
            for text, number in zip(QUOTIENTS, actual, strict=False):
                assert number == eval(text, {}, {"n": Whole(n), "m": Whole(m)}).value, (text, n, m)


class Whole:
    """An integer whose quotient by 0 is 0."""

    def __init__(self, value):
        self.value = value

    def _with(self, number):
        return number.value if isinstance(number, Whole) else number

    def __add__(self, number):
        return Whole(self.value + self._with(number))

    def __sub__(self, number):
        return Whole(self.value - self._with(number))

    def __mul__(self, number):
        return Whole(self.value * self._with(number))

    __rmul__ = __mul__

    def __neg__(self):
        return Whole(-self.value)

    def __floordiv__(self, number):
        divisor = self._with(number)
        return Whole(self.value // divisor if divisor else 0)

    def __rfloordiv__(self, number):
        return Whole(number) // self

    def __mod__(self, number):
        return self - self // number * number

    def __rmod__(self, number):
        return Whole(number) % self


RESHAPED = {
    "turned": lambda x, n, m: (x.reshape((m, n)), lambda a: a.reshape(a.shape[::-1])),
    "between": lambda x, n, m: (
        sg.reshape(sg.zeros((4, n, m), "float32") + x, (n, 4, m)),
        lambda a: (np.zeros((4, 1, 1), "f4") + a).reshape(len(a), 4, -1 if a.size else a.shape[1]),
    ),
    "empty": lambda x, n, m: (
        sg.reshape(sg.zeros((0, 4), "float32"), (4, 0)) + x.sum(), lambda a: np.zeros((4, 0), "f4"),
    ),
    "in front": lambda x, n, m: (sg.expand_dims(x, 0), lambda a: a[None]),
    "spread": lambda x, n, m: (sg.broadcast_to(x[:, None], (n, 3, m)),
                               lambda a: np.broadcast_to(a[:, None], (len(a), 3, a.shape[1]))),
}  # fmt: skip


@pytest.mark.parametrize("name", RESHAPED)
def test_sizes_of_0_are_sizes_in_reshapes(name, tmp_path):
    """ONNX reads a 0 in a shape as the operand's size unless it is told otherwise."""
    n, m = sg.dim("n"), sg.dim("m")
    x = sg.input("x", (n, m), "float32")
    y, compute = RESHAPED[name](x, n, m)
    path = tmp_path / "reshape.onnx"
    run = evaluator(export_model(sg.Graph({"y": y}), path))
    loaded = sg.onnx.load(path).graph()
    for k in (0, 1, 2, 3):
        for j in (0, 1, 3):
            array = np.arange(float(k * j), dtype="float32").reshape(k, j)
            expected = compute(array)
            for actual in (run({"x": array})[0], sg.evaluate(loaded, {"x": array})["y"]):
                assert actual.shape == expected.shape
                np.testing.assert_array_equal(actual, expected)


def test_slices_of_named_sizes_are_read_back(tmp_path):
    x = sg.input("x", ("n",), "float32")
    parts = [slice(2, None), slice(None, -2), slice(-3, None), slice(None, None, -2)]
    graph = sg.Graph({f"y{k}": x[part] for k, part in enumerate(parts)})
    path = tmp_path / "slices.onnx"
    export_model(graph, path)
    loaded = sg.onnx.load(path).graph()
    for n in range(6):
        array = np.arange(float(n), dtype="float32")
        for part, result in zip(parts, sg.evaluate(loaded, {"x": array}).values(), strict=True):
            np.testing.assert_array_equal(result, array[part], str((n, part)))


def test_functions_are_exported_as_they_are_called(tmp_path):
    """Arrays or named values are its inputs; a derivative is a function, too."""
    path = tmp_path / "model.onnx"

    def moments(x, options, power=2):
        return {"mean": x.mean(), "moment": (x**power).sum() * options["scale"]}

    x, scale = np.arange(3.0), np.array(0.5)
    for f in (moments, sg.function(moments)):
        for inputs in ((x, {"scale": scale}), (sg.input("x", ("n",), "float64"), {"scale": 0.5})):
            proto = export_model(f, path, *inputs)
            assert [output.name for output in proto.graph.output] == ["mean", "moment"]
            names = input_names(proto)
            assert names == ["x", "options.scale"][: len(names)]
            feeds = dict(zip(names, (x, scale), strict=False))
            np.testing.assert_allclose(reference(proto, feeds), [1.0, 2.5])
    proto = export_model(sg.grad(lambda v: (v**3).sum()), path, x)
    np.testing.assert_allclose(reference(proto, {"v": x})[0], 3.0 * x**2)


def test_modules_are_exported_by_arrays_as_after_training(tmp_path):
    net = sg.nn.Sequential(sg.nn.Linear(3, 2), sg.nn.Dropout(0.5))
    points = np.ones((4, 3), "float32")
    proto = export_model(net, tmp_path / "model.onnx", points)
    (result,) = reference(proto, {proto.graph.input[0].name: points})
    np.testing.assert_allclose(result, points @ net[0].weight.value + net[0].bias.value, rtol=1e-6)
    assert net.training
    with pytest.raises(
        ExportError, match=r"random_bits has no operator[\s\S]*model.eval\(\) first"
    ):
        sg.onnx.export(sg.function(net), tmp_path / "model.onnx", points)
    sg.onnx.export(sg.function(net.eval()), tmp_path / "model.onnx", points)


X = np.array([[-1.5, -0.0, 0.0, 2.0, 0.5], [3.0, -0.2, 0.7, 0.9, -4.0]], "float32")
Y = np.array([[1.0, -0.0, 0.0, -2.0, 0.5], [-3.0, 0.2, -0.7, 0.0, -0.0]], "float32")
P = np.abs(X) / 5 + np.float32(0.01)
#: What has no operator of its own: a function of ours, the same of NumPy or SciPy, operands.
DECOMPOSED = {
    "arctan2": (sg.arctan2, np.arctan2, Y, X),
    "arctan2 of infinities": (
        sg.arctan2, np.arctan2,
        *np.meshgrid(*2 * [np.array([-np.inf, -1, -0.0, 0, 2, np.inf, np.nan], "float32")]),
    ),
    "entr": (sg.special.entr, special.entr, X),
    "logit": (sg.special.logit, special.logit, P),
    "ndtr": (sg.special.ndtr, special.ndtr, X),
    "xlog1py": (sg.special.xlog1py, special.xlog1py, X, P),
    "rel_entr": (sg.special.rel_entr, special.rel_entr, X, P),
    "kl_div": (sg.special.kl_div, special.kl_div, X, P),
    "signbit": (sg.signbit, np.signbit, X),
    "all": (lambda x: sg.all(x > -1.0, axis=1), lambda x: np.all(x > -1.0, axis=1), X),
    "any": (lambda x: sg.any(x > 2.5, axis=1), lambda x: np.any(x > 2.5, axis=1), X),
    "cumprod": (lambda x: sg.cumprod(x, axis=1), lambda x: np.cumprod(x, axis=1), X),
    "remainder": (sg.remainder, np.remainder, X, P),
    "remainder of signs": (sg.remainder, np.remainder, X, -P),
    "searchsorted": (
        lambda v: sg.searchsorted(np.array([-1, 0, 0, 2], "float32"), v),
        lambda v: np.searchsorted(np.array([-1, 0, 0, 2], "float32"), v),
        np.array([-2, 0, 1, 3, np.nan], "float32"),
    ),
    "searchsorted on the right": (
        lambda v: sg.searchsorted(np.array([-1, 0, 0, 2], "float32"), v, side="right"),
        lambda v: np.searchsorted(np.array([-1, 0, 0, 2], "float32"), v, side="right"),
        np.array([-2, 0, 1, 3, np.nan], "float32"),
    ),
    "interp": (
        lambda x: sg.interp(x, np.array([-1.0, 0, 1], "float32"), np.array([0, 2, 3], "float32")),
        lambda x: np.interp(x, [-1.0, 0.0, 1.0], [0.0, 2.0, 3.0]), X,
    ),
    "a loop of none": (lambda x: sg.fori_loop(0, 0, lambda k, c: c * 2.0, x), np.array, X),
    "rows of a loop of none": (
        lambda x: sg.scan(lambda c, row: (c, row * 2.0), 0.0, x[:0])[1],
        lambda x: x[:0], X,
    ),
    "while": (
        lambda x: sg.while_loop(lambda c: sg.sum(c) < 100.0, lambda c: c * x + 1.0, x * x),
        lambda x: while_by_numpy(x), X,
    ),
    "while of none": (
        lambda x: sg.while_loop(lambda c: sg.sum(c) > 100.0, lambda c: c * c, x), np.array, X,
    ),
    "while of two carries": (
        lambda x: sg.while_loop(
            lambda c: c[1] < 3, lambda c: (sg.sin(c[0]) + c[1], c[1] + 1), (x, 0)
        )[0],
        lambda x: np.sin(np.sin(np.sin(x)) + 1) + 2, X,
    ),
}  # fmt: skip


def while_by_numpy(x):
    carry = x * x
    while carry.sum() < 100:
        carry = carry * x + 1
    return carry


@pytest.mark.parametrize("name", DECOMPOSED)
def test_what_has_no_operator_is_written_by_others(name, tmp_path):
    ours, theirs, *operands = DECOMPOSED[name]
    proto = export_model(ours, tmp_path / "m.onnx", *operands)
    with np.errstate(all="ignore"):
        expected = theirs(*operands)
        (actual,) = reference(proto, dict(zip(input_names(proto), operands, strict=True)))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("place", range(-1, 5))
def test_branches_of_several_cases(place, tmp_path):
    """The index is held between the first and the last."""
    cases = [lambda x, k=k: x * float(k) + 1.0 for k in range(4)]
    proto = export_model(lambda x, k: sg.switch(k, cases, x), tmp_path / "m.onnx", X, np.int64(0))
    feeds = dict(zip(input_names(proto), (X, np.array(place)), strict=True))
    expected = X * min(max(place, 0), 3) + 1
    np.testing.assert_allclose(reference(proto, feeds)[0], expected)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", ["rfft", "rfft2", "fft2", "ifft", "irfft", "irfft2", "irfftn"])
def test_fourier_transforms(name, named, norm, tmp_path):
    words = {"axes": (1, 0)} if name == "irfftn" else {"n": 7} if name == "irfft" else {}
    is_real = name.startswith("r")

    def transform(x, of):
        signal = x if is_real else x + 2j * x * x
        return getattr(of, name)(signal, norm=norm, **words)

    array = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    operand = sg.input("x", ("n", 6)) if named else array
    proto = export_model(lambda x: transform(x, sg.fft), tmp_path / "m.onnx", operand)
    expected = transform(array.astype("float64"), np.fft)
    if np.iscomplexobj(expected):
        expected = np.stack([expected.real, expected.imag], axis=-1)
    (actual,) = reference(proto, {"x": array})
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_exported_says_so(tmp_path):
    x, path = sg.input("x", ("n",)), tmp_path / "model.onnx"
    w = sg.parameter("w", np.ones(1, "float32"))
    with pytest.raises(ExportError, match=r"gammaln has no operator[\s\S]*test_onnx.py"):
        sg.onnx.export(sg.Graph({"y": sg.special.gammaln(x)}), path)
    places = sg.input("places", (2,), "int64")
    with pytest.raises(ExportError, match="places may be equal"):
        sg.onnx.export(sg.Graph({"y": x.at[places].set(0.0)}), path)
    with pytest.raises(ExportError, match="no updates of parameters"):
        sg.onnx.export(sg.Graph({"y": x * w}, {w: w * 2.0}), path)
    with pytest.raises(ArgumentError, match="the inputs of a module come behind the path"):
        sg.onnx.export(sg.nn.Linear(2, 3), path)
    with pytest.raises(ArgumentError, match="the inputs of a function come behind the path"):
        sg.onnx.export(lambda x: x, path)
    with pytest.raises(ArgumentError, match="a graph has its inputs already"):
        sg.onnx.export(sg.Graph({"y": x * 2.0}), path, x)
    with pytest.raises(ArgumentError, match="missing a required argument: 'b'"):
        sg.onnx.export(lambda a, b: a + b, path, np.ones(3))
    with pytest.raises(ArgumentError, match="takes a graph, a module, a function or a compiled"):
        sg.onnx.export(3, path)
    with pytest.raises(ArgumentError, match="takes the path of a file"):
        sg.onnx.export(sg.nn.Linear(2, 3), x)
    with pytest.raises(ArgumentError, match="takes the path of a model"):
        sg.onnx.load(3)
    n = sg.dim("n")
    double = sg.Graph({"y": sg.input("x", (2 * n,)) + sg.size_value(n, "float32")})
    with pytest.raises(ExportError, match="the size n is not the size of an axis"):
        sg.onnx.export(double, path)
    assert not path.exists()
