"""The text of graphs: canonical, complete, and read back to the same graph."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.building import within
from staticgrad.errors import ArgumentError, OpDefinitionError, ParseError
from staticgrad.ir.graph import Graph, constant
from staticgrad.ir.op import op_class
from staticgrad.ir.parser import parse
from staticgrad.ir.printer import first_difference, graph_constants, print_graph, same_graph
from staticgrad.ir.text import Reader, float_text, value_text
from staticgrad.scopes import scope
from staticgrad.types.arrays import ArrayData, TensorType
from staticgrad.types.dim import dim
from staticgrad.types.dtype import ALL_DTYPES, F32, F64
from staticgrad.types.lexis import Tokens, name_text, quoted, unquoted
from tests.ir.sample_ops import STEP, Everything, Link, TopTwo
from tests.random_graphs import graphs, input_value, parameter_value


def vector(name="x", extent=3):
    return input_value(name, TensorType(F32, (extent,)))


def again(graph):
    return parse(str(graph), constants=graph_constants(graph))


def value_of(text):
    reader = Reader(Tokens(text))
    value = reader.value()
    assert reader.kinds[reader.at] == "end"
    return value


# -- the laws -------------------------------------------------------------------------------------


def test_canonical_text_is_a_fixed_point():
    assert str(parse(STEP)) == STEP


@pytest.mark.slow
@given(graphs(empty=True))
def test_a_graph_reads_back(made):
    graph, _ = made
    read = again(graph)
    assert first_difference(read, graph) is None
    assert str(read) == str(graph)


def test_spacing_line_breaks_and_remarks_do_not_matter():
    loose = """# a remark
staticgrad-ir 1 graph   g(
  %x : f32[ 3 ],   # the input
) params() {
  %out:f32[3]=tanh(%x) # another remark
  # and one more
  return y=%out}"""
    loose = loose.replace("],   # the input\n)", "]\n)")
    assert str(parse(loose)) == (
        "staticgrad-ir 1\ngraph g(%x: f32[3]) {\n  %0: f32[3] = tanh(%x)\n  return y = %0\n}\n"
    )
    assert str(parse(loose.replace("\n", "\r\n"))) == str(parse(loose))


def test_leaves_come_first_wherever_they_were_made():
    x = vector()
    y = np.tanh(x)
    w = parameter_value("w", np.ones(3, "float32"))
    graph = Graph(y + w)
    assert [n.op.name for n in graph.nodes] == ["input", "tanh", "parameter", "add"]
    assert [n.op.name for n in again(graph).nodes] == ["input", "parameter", "tanh", "add"]
    assert same_graph(again(graph), graph)


_PRINTS = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
from tests.random_graphs import random_graph
for seed in range(12):
    print(random_graph(np.random.default_rng(seed))[0])
"""


@pytest.mark.slow
def test_text_does_not_depend_on_hashing_or_ids():
    root = str(Path.cwd())
    texts = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        command = [sys.executable, "-c", "a = [object()] * 3\n" * int(seed) + _PRINTS, root]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        texts.add(run.stdout)
    assert len(texts) == 1
    assert len(texts.pop()) > 1000


# -- what a text holds ----------------------------------------------------------------------------


def test_unused_inputs_dead_nodes_and_leaf_outputs_survive():
    x, unused, w = vector(), vector("unused"), parameter_value("w", np.ones(3, "float32"))
    live, dead = np.tanh(x), np.sin(x)
    graph = Graph.of_parts(
        nodes=[x.node, unused.node, w.node, live.node, dead.node],
        inputs=[x, unused],
        parameters=[w],
        outputs={"live": live, "input": unused, "parameter": w},
        updates=[(w, x)],
        name="",
    )
    read = again(graph)
    assert same_graph(read, graph)
    assert [v.node.op.label for v in read.inputs] == ["x", "unused"]
    assert read.nodes[-1].op.name == "sin"
    assert read.outputs["parameter"].node is read.parameters[0].node
    assert 'graph ""(' in str(graph)


def test_orders_lines_and_scopes_survive():
    x = vector()
    with scope("block3"), scope("attention"), within(order=2):
        y = np.tanh(x)
    line = y.node.origin.short
    graph = Graph(y)
    assert f"%0: f32[3] ^2 = tanh(%x)   # {line} [block3/attention]" in str(graph)
    node = again(graph).nodes[-1]
    assert node.order == 2
    assert (node.origin.short, node.origin.scope) == (line, "block3/attention")
    assert "#" not in print_graph(graph, comments=False)


def test_nodes_without_a_comment_point_into_the_text():
    node = parse(STEP).nodes[6]
    assert node.op.name == "constant"
    resolved = node.origin.resolve()
    assert resolved.line == 6
    assert resolved.text == STEP.splitlines()[5]


def test_sizes_keep_their_promises():
    declared = dim("batch", min=2, max=64, multiple_of=2, hint=8)
    odd = dim("two words", min=1)
    x = input_value("x", TensorType(F32, (declared // 2, odd, dim("free"))))
    text = str(Graph(np.tanh(x)))
    assert "size batch {min=2, max=64, multiple_of=2, hint=8}\n" in text
    assert 'size $"two words" {min=1}\n' in text
    assert 'f32[batch//2, $"two words", free]' in text
    assert "size free" not in text
    read = parse(text)
    assert str(read) == text
    assert read.sizes["batch"] == declared.terms[0][0][0]
    assert read.sizes["batch"].hint == 8


NAMES = st.text(max_size=6) | st.sampled_from(
    [
        "0",
        "x.0",
        "a.b",
        "a.",
        "max",
        "f32",
        "nan",
        "\ud800",
        "\u2028",
        "\u202e",
        "\x85",
        '"',
        "\\",
        "\n",
    ]
)


@given(NAMES, NAMES, NAMES, NAMES)
def test_any_name_survives(name, output, size, parameter):
    x = input_value(name, TensorType(F32, (dim(size) if size else 2,)))
    w = parameter_value(parameter, np.zeros((), "float32"))
    graph = Graph({output: np.tanh(x) * w}, {w: w}, name=output)
    text = str(graph)
    assert len(text.splitlines()) == text.count("\n")
    read = again(graph)
    assert str(read) == text
    assert read.inputs[0].node.op.label == name
    assert read.parameters[0].name == parameter
    assert list(read.outputs) == [output]
    assert list(read.sizes) == ([size] if size else [])


@given(NAMES)
def test_names_have_one_spelling(name):
    assert unquoted(quoted(name)) == name
    spelled = name_text(name)
    assert spelled == name or unquoted(spelled) == name


def test_bare_and_quoted_names_are_one_name_but_numbers_are_not():
    text = 'staticgrad-ir 1\ngraph g(%"x": f32[], %"0": f32[]) {\n  %0: f32[] = add(%x, %"0")\n'
    graph = parse(text + "  return out = %0\n}\n")
    assert [arg.node.op.label for arg in graph.nodes[-1].args] == ["x", "0"]
    assert '(%x: f32[], %"0": f32[])' in str(graph)


# -- constants ------------------------------------------------------------------------------------


def bits(array):
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        return np.where(array != array, array.dtype.type("nan"), array).tobytes()


@pytest.mark.thinned(7)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@given(data=st.data())
def test_inline_constants_keep_every_bit(dtype, data):
    shape = data.draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,), (3, 0), (0, 3), (1, 1, 5)]))
    count = int(np.prod(shape))
    raw = data.draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    array = np.frombuffer(raw, f"u{dtype.itemsize}").reshape(shape)
    array = array % 2 == 1 if dtype.is_bool else array.view(dtype.numpy)
    graph = Graph(constant(array))
    assert not graph_constants(graph)
    read = again(graph).nodes[0].op.data.array
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    if dtype.is_float:
        assert bits(read) == bits(array)
        with np.errstate(invalid="ignore"):
            assert np.array_equal(np.signbit(read), np.signbit(array) & ~np.isnan(array))
    else:
        assert read.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, F32, "0.1"),
        (1 / 3, F32, "0.33333334"),
        (1 / 3, F64, "0.3333333333333333"),
        (16777216.0, F32, "16777216.0"),
        (1e16, F32, "1e+16"),
        (1e-45, F32, "1e-45"),
        (5e-324, F64, "5e-324"),
        (3.4028235e38, F32, "3.4028235e+38"),
        (-0.0, F32, "-0.0"),
        (float("-inf"), F32, "-inf"),
        (-float("nan"), F64, "nan"),
    ],
)
def test_floats_are_short(value, dtype, text):
    assert float_text(float(dtype.numpy.type(value)), dtype) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_is_as_short_as_numpy_makes_it(value):
    text = float_text(value, F32)
    assert np.float32(float(text)).tobytes() == np.float32(value).tobytes()
    digits = sum(c.isdigit() for c in text.partition("e")[0].strip("-0."))
    shortest = np.format_float_scientific(np.float32(value), trim="-").partition("e")[0]
    assert digits <= max(sum(c.isdigit() for c in shortest), len(str(int(abs(value)))))


def test_large_constants_are_bound_by_digest():
    small, large = np.arange(16.0), np.arange(17.0)
    graph = Graph(constant(large) + constant(np.append(small, 0)) + constant(large))
    arrays = graph_constants(graph)
    assert len(arrays) == 2
    digest = ArrayData(large).digest
    assert f'constant{{digest="{digest}"}}' in str(graph)
    assert str(again(graph)) == str(graph)
    assert np.array_equal(again(graph).nodes[0].op.data.array, large)
    with pytest.raises(ParseError, match="no array is bound") as caught:
        parse(str(graph))
    assert "graph_constants" in caught.value.hint
    with pytest.raises(ArgumentError, match="digest"):
        parse(str(graph), constants=dict.fromkeys(arrays, large + 1))
    with pytest.raises(ParseError, match=r"the bound array is f64\[17\]"):
        parse(str(graph).replace("f64", "f32"), constants=arrays)


# -- attributes -----------------------------------------------------------------------------------


def test_attributes_of_every_kind():
    n = dim("n")
    x = vector(extent=n)
    op = Everything(
        count=-3,
        extent=3 * n - (n + 1) // 2,
        flag=True,
        dense=False,
        scale=1e-7,
        mode='a "b"\n',
        dtype=F32,
        like=TensorType(F64, (n, 2)),
        axes=(1,),
        nested=((), "x"),
        table=ArrayData(np.array([[1, 2]], "int32")),
    )
    graph = Graph(op(x))
    expected = (
        "= sample.everything{count=-3, extent=3*n - (n + 1)//2, flag, dense=False, scale=1e-07, "
        'mode="a \\"b\\"\\u{a}", dtype=f32, like=f64[n, 2], axes=(1,), nested=((), "x"), '
        "table=i32[1, 2] [[1, 2]]}(%x)"
    )
    assert expected in str(graph)
    read = again(graph)
    assert read.nodes[-1].op == op
    assert str(read) == str(graph)
    assert "{count=0}" in str(Graph(Everything(count=0)(x)))


def test_an_attribute_array_can_be_large():
    graph = Graph(Everything(count=1, table=ArrayData(np.arange(40)))(vector()))
    assert list(graph_constants(graph)) == [ArrayData(np.arange(40)).digest]
    assert same_graph(again(graph), graph)
    assert again(graph).nodes[-1].op == graph.nodes[-1].op


SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from([F32, F64, TensorType(F32, (3,)), dim("n") + 1, -dim("n"), dim("n") // 2 * 3])
)
ATTRIBUTES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple))


@given(ATTRIBUTES)
def test_attribute_values_read_back(value):
    read = value_of(value_text(value))
    assert read == value
    assert value_text(read) == value_text(value)


def test_only_plain_data_can_be_an_attribute():
    for wrong in ([1], {1}, np.float32(1), object()):
        with pytest.raises(OpDefinitionError, match="no way to write"):
            str(Graph(Everything(count=wrong)(vector())))


# -- structural equality --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "left", "right"),
    [
        ("min=1", "min=2", "size batch {min=1}", "size batch {min=2}"),
        ("[a/b]", "", "", ""),
        ("hint=64", "hint=65", "", ""),
        ("^1", "^2", "", ""),
        ("graph step", "graph other", "", ""),
        ("mul(%x, @w)", "mul(@w, %x)", "mul(%x, @w)", "mul(@w, %x)"),
        ("tanh(%0)", "sin(%0)", "= tanh(%0)", "= sin(%0)"),
        ("1e-05", "1e-06", "1e-05", "1e-06"),
        ("loss = %1", "loss = %0", "loss = %1", "loss = %0"),
        ('"w/b" = %7', '"w/b" = %3', '"w/b" = %7', '"w/b" = %3'),
        ('  update @"w/b" = %7\n', "", 'update @"w/b"', "(nothing)"),
    ],
)
def test_the_first_difference_is_reported(old, new, left, right):
    one, other = parse(STEP), parse(STEP.replace(old, new))
    report = first_difference(one, other)
    assert same_graph(one, other) == (report is None) == (not left)
    if report is not None:
        first, second = report.splitlines()
        assert left in first
        assert right in second


def test_what_does_not_count():
    nan = np.array([0x7FC00001], "uint32").view("float32")
    assert same_graph(Graph(constant(nan)), Graph(constant(np.array([np.nan], "float32"))))
    assert not same_graph(Graph(constant(np.float32(0))), Graph(constant(np.float32(-0.0))))
    graph = parse(STEP)
    assert same_graph(graph, graph)


# -- size -----------------------------------------------------------------------------------------


TANH, LINK = op_class("tanh")(), Link()


def chain(count):
    x = vector()
    value = x
    for _ in range(count // 2):
        value = TANH(LINK(value, x))
    return Graph(value)


@pytest.mark.slow
def test_a_chain_of_20_000_nodes_prints_and_reads_back():
    text = str(chain(20_000))
    assert str(parse(text)) == text


def test_wide_nodes_are_no_trouble():
    x = vector()
    graph = Graph(Link()(*[x] * 5_000))
    assert same_graph(again(graph), graph)
    values = TopTwo()(x)
    assert same_graph(
        again(Graph({"a": values[1], "b": values[0]})), Graph({"a": values[1], "b": values[0]})
    )


def test_repr_is_short():
    assert repr(parse(STEP)) == "<graph step: 2 inputs, 2 parameters, 7 nodes, 3 outputs, 1 update>"
