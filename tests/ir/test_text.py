"""The text of graphs: canonical, complete, read back, bounded in work; mistakes in any text."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.errors import ParseError, UnknownNameError
from staticgrad.language.ir.graph import Graph, constant
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.parser import parse
from staticgrad.language.ir.printer import (
    first_difference,
    print_graph,
    same_graph,
)
from staticgrad.language.ir.schedule_text import parse_plan, parse_schedule
from staticgrad.language.scopes import scope
from staticgrad.language.types.arrays import ArrayData, TensorType
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import ALL_DTYPES, F32, F64
from staticgrad.support.building import within
from tests.helpers.cases import check_all
from tests.helpers.processes import python
from tests.helpers.random_programs import graphs, input_value, parameter_value
from tests.ir.kernel_samples import KERNELS
from tests.ir.sample_ops import STEP, Everything
from tests.ir.schedule_samples import PLAN, SCHEDULE


def vector(name="x", extent=3):
    return input_value(name, TensorType(F32, (extent,)))


def again(graph):
    return parse(str(graph), constants=graph.constants)


# -- the laws -------------------------------------------------------------------------------------


def test_canonical_text_is_a_fixed_point():
    assert str(parse(STEP)) == STEP
    assert repr(parse(STEP)) == "<graph step: 2 inputs, 2 parameters, 7 nodes, 3 outputs, 1 update>"


@pytest.mark.slow
@given(graphs(empty=True))
def test_a_graph_reads_back(graph_and_feeds):
    graph, _ = graph_and_feeds
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


_PRINTS = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
from tests.helpers.random_programs import random_graph
for seed in range(12):
    print(random_graph(np.random.default_rng(seed))[0])
"""


@pytest.mark.slow
def test_text_does_not_depend_on_hashing_or_ids():
    root = str(Path.cwd())
    texts = set()
    for seed in ("1", "2"):
        program = "a = [object()] * 3\n" * int(seed) + _PRINTS
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": root}
        texts.add(python("-c", program, root, env=environment).stdout)
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
    assert not graph.constants
    read = again(graph).nodes[0].op.data.array
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    if dtype.is_float:
        assert bits(read) == bits(array)
        with np.errstate(invalid="ignore"):
            assert np.array_equal(np.signbit(read), np.signbit(array) & ~np.isnan(array))
    else:
        assert read.tobytes() == array.tobytes()


def test_large_constants_are_bound_by_digest():
    small, large = np.arange(16.0), np.arange(17.0)
    graph = Graph(constant(large) + constant(np.append(small, 0)) + constant(large))
    arrays = graph.constants
    assert len(arrays) == 2
    digest = ArrayData(large).digest
    assert f'constant{{digest="{digest}"}}' in str(graph)
    assert str(again(graph)) == str(graph)
    assert np.array_equal(again(graph).nodes[0].op.data.array, large)
    with pytest.raises(sg.errors.ParseError, match="no array is bound") as caught:
        parse(str(graph))
    assert "constants=graph.constants" in caught.value.hint
    with pytest.raises(sg.errors.ArgumentError, match="digest"):
        parse(str(graph), constants=dict.fromkeys(arrays, large + 1))
    with pytest.raises(sg.errors.ParseError, match=r"the bound array is f64\[17\]"):
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


def test_only_plain_data_can_be_an_attribute():
    for wrong in ([1], {1}, np.float32(1), object()):
        with pytest.raises(sg.errors.OpDefinitionError, match="no way to write"):
            str(Graph(Everything(count=wrong)(vector())))
    nan = np.array([0x7FC00001], "uint32").view("float32")
    assert same_graph(Graph(constant(nan)), Graph(constant(np.array([np.nan], "float32"))))
    assert not same_graph(Graph(constant(np.float32(0))), Graph(constant(np.float32(-0.0))))
    graph = parse(STEP)
    assert same_graph(graph, graph)


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
    left_graph, right_graph = parse(STEP), parse(STEP.replace(old, new))
    report = first_difference(left_graph, right_graph)
    assert same_graph(left_graph, right_graph) == (report is None) == (not left)
    if report is not None:
        first, second = report.splitlines()
        assert left in first
        assert right in second


# -- size -----------------------------------------------------------------------------------------


GOLDEN = Path(__file__).parents[1] / "passes" / "golden"
TEXTS = [STEP, *(path.read_text("utf-8") for path in sorted(GOLDEN.glob("*.sg")))]


def work(call):
    """Count the functions that are called, those written in C included."""
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    profiler = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(profiler)
    return calls


def outcome(text):
    """The code of the error; empty for a graph. Anything but a coded error is raised."""
    try:
        sg.parse(text)
    except sg.errors.StaticgradError as error:
        return error.code if len(str(error)) < 4000 else f"a message of {len(str(error))}"
    return ""


def text_of(inputs="", parameters="", body="", result="%x"):
    declaration = f" params({parameters})" * bool(parameters)
    return f"staticgrad-ir 1\ngraph g({inputs}){declaration} {{ {body} return y = {result} }}"


ABSURD = [
    "100000000000000",
    str(2**62),
    str(2**63),
    str(2**70),
    f"0, {2**70}",
    "0, " + "1, " * 99 + "1",
]


@pytest.mark.parametrize("shape", ABSURD)
def test_parameters_and_constants_of_absurd_sizes_are_refused(shape):
    with pytest.raises(sg.errors.ParseError, match=r"parameter 'w', f32.*") as caught:
        sg.parse(text_of(parameters=f"@w: f32[{shape}]", result="@w"))
    assert caught.value.headline.endswith("does not fit into memory")
    assert caught.value.column == 18
    with pytest.raises(sg.errors.ParseError, match=r"no array can be|do not have the shape"):
        sg.parse(text_of(body=f"%0: f32[{shape}] = constant{{value=[]}}", result="%0"))


PIECES = re.compile(r"[A-Za-z_]\w*|\d+|\s+|[^\sA-Za-z_\d]")
#: What is put in the place of a piece, or beside it.
FOREIGN = [
    "", "-", "//", "*", "+", "(", ")", "[", "]", "{", "}", ",", ":", "=", "^", "0", "1", "7", "-1",
    "9" * 30, "9" * 50, str(2**63), "1e400", "nan", "inf", "None", "True", '"', '"\\u{110000}"',
    '"\\u{0}"', "$", '$"n"', "%x", "@w", "%0", "%1", "@", "%", "é", "\x00", "\ud800", "\r", "#",
    "max(", "batch", "f32", "i64", "bool", "f32[3]", "value", "digest", "shape=(3,)", "axes=(0,)",
    "constant{value=1.0}", "update", "return", "params", "size n {min=1}", "(a+b+c+d)", "//0",
]  # fmt: skip


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=160)
def test_mutated_texts_end_in_a_graph_or_a_coded_error(data):
    pieces = PIECES.findall(data.draw(st.sampled_from(TEXTS)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(pieces) - 1))
        how = data.draw(st.sampled_from(["replace", "insert", "repeat", "drop", "swap", "cut"]))
        if how == "replace":
            pieces[at] = data.draw(st.sampled_from(FOREIGN))
        elif how == "insert":
            pieces.insert(at, data.draw(st.sampled_from(FOREIGN)))
        elif how == "repeat":
            end = data.draw(st.integers(at, min(at + 12, len(pieces))))
            times = data.draw(st.sampled_from([2, 3, 50]))
            pieces[at:end] = pieces[at:end] * times
        elif how == "drop":
            del pieces[at : data.draw(st.integers(at, min(at + 12, len(pieces))))]
        elif how == "swap":
            second = data.draw(st.integers(0, len(pieces) - 1))
            pieces[at], pieces[second] = pieces[second], pieces[at]
        else:
            pieces = pieces[: at + 1]
        pieces = pieces or [""]
    text = "".join(pieces)
    refusal = ""

    def read():
        nonlocal refusal
        refusal = outcome(text)

    assert work(read) < 100_000 + 500 * len(text)
    if not refusal:
        graph = sg.parse(text)
        assert str(sg.parse(str(graph))) == str(graph)


# Rows: old text, new text with § before what is to blame, headline, and hint where there is one.

GRAPH = [
    ("mul(%x", "§mull(%x", "mull is not the name of an op", "did you mean mul?"),
    ("@w)", "§@v)", "@v is not defined before this line"),
    ('(@"w/b"', '(§@"wb"', '@"wb" is not defined before this line', 'did you mean @"w/b"?'),
    ("tanh(%0)", "tanh(§%1)", "%1 is not defined before this line"),
    ("f32[batch, 4] = mul", "§f32[batch, 5] = mul", "mul gives f32[batch, 4], the text says"),
    ("-ir 1", "-ir §2", "this is staticgrad-ir 2; this release reads version 1"),
    ("staticgrad-ir 1\n", "§", "the text of a graph starts with"),
    ("%7: f32[] = add", "§%4: f32[] = add", "%4 is defined twice"),
    ("%5, %6:", "%5, §%5:", "%5 is defined twice"),
    ("%5, %6:", "§%5:", "sample.top_two has 2 results, 1 are named"),
    ("tanh(%0)", "tanh{§axis=1}(%0)", "tanh has no attribute 'axis'", "it has none"),
    ("sample.top_two(%2)", "§sample.top_two(%1)", "takes one axis, got f32[batch, 4]"),
    ("{min=1", "{§least=1", "a size promises min, max, multiple_of, hint, not least"),
    ("batch {min=1", "§batch {max=3, min=5", "no size has min=5, max=3"),
    ("batch//2", "batch§//0", "a size divided by 0"),
    ("[batch, 4], %", "[batch, §-4], %", "the size -4 is negative"),
    ("constant{value=[1.0, nan, -0.0]", "§constant{value=[1.0, nan]", "not have the shape (3,)"),
    ("constant{value=[1.0, ", '§constant{value=["a", ', "'a' is not a float32"),
    ("constant{value=[1.0, ", "§constant{value=[1e39, ", "1e+39 is not a float32"),
    ("f32[3] = const", "u8[3] = §const", "1.0 is not a uint8"),
    ("constant{value=1e-05", "§constant{values=1e-05", "has either a value or a digest"),
    ('"größe" = @w', '§"größe = @w', "this string does not end on its line"),
    ('"größe" = @w', '§"gr\\öße" = @w', "\\ö is not an escape"),
    ("return loss = %1,", "return loss = %1, §loss = %1,", "the output loss is returned twice"),
    ("loss = %1,", "loss = %1 §loss = %1,", "expected a node, 'return'"),
    ('update @"w/b"', "update §%x", "only a parameter (@name) can be updated"),
    ("= %7\n", "= §%1\n", "its update f32[batch, 4]"),
    ("= %7\n", '= %7 update §@"w/b" = %7\n', "is updated twice"),
    ("%7\n}\n", "%7§\n", "expected a node, 'return', 'update' or '}'"),
    ("%7\n}\n", "%7\n} §more\n", "the graph has ended, but 'more' follows"),
    ("f32[batch, 4] ^1", "§float[batch, 4] ^1", "expected an element type, found 'float'"),
    ("@w: f32[4]", "§@w: f32[n]", "its sizes must be literal"),
    ("%x: f32[batch, 4]", "§@x: f32[batch, 4]", "expected an input (%name)"),
    ("tanh(%0)", "§input(%0)", "input stands in the header only"),
    ("tanh(%0)", "tanh(%0)§$", "'$' has no meaning here"),
    ("mul(%x, @w)", "mul(%x §@w)", "expected ',' or ')', found '@w'"),
    ("tanh(%0)", "§sample.picky{size=3}(%0)", "an even size, not 3"),
    ("tanh(%0)", 'sample.picky{§size="3"}(%0)', "size takes int, not '3'"),
    ("tanh(%0)", "sample.picky{size=2, §size=2}(%0)", "size is given twice"),
    ("tanh(%0)", "sample.picky{§size=[2]}(%0)", "a list can only be the value of a constant"),
    ("tanh(%0)", "§sample.everything(%0)", "needs the attribute 'count'"),
    ("tanh(%0)", "sample.everything{count=1, §axs=()}(%0)", "no attribute 'axs'", "axes"),
    ("tanh(%0)", "sample.everything{count=1, §axes=(1)}(%0)", "axes takes tuple[int, ...]"),
    ("tanh(%0)", 'sample.everything{count=1, axes=§("a")}(%0)', "(value,)"),
]
SCHEDULES = [
    ("-schedule 1", "-schedule §2", "this is staticgrad-schedule 2; this release reads"),
    ("staticgrad-schedule 1", "§staticgrad-ir 1", "the text of a schedule starts with"),
    ("{min=1", "{§least=1", "a size promises min, max, multiple_of, hint, not least"),
    ("buffer param.w", "buffer §in.x", "the buffer in.x is declared twice"),
    ("buffer param.w", "§buffers param.w", "expected a buffer, kernel, step, 'return'"),
    ("f32[3] parameter", "f32[3] §param", "param is not the role of a buffer"),
    ("buffer param.w: f32[3]", "buffer §param.w: f32[3, 1]", "one size, in elements"),
    ("param.w: f32", "param.w: §float", "expected an element type"),
    ("f32[1, 3] [[1.0", "§f32[1, 3] [[true", "true is not a float32"),
    ("= f32[1, 3]", "= §f32[3]", "the elements do not have the shape (3,)"),
    ("= f32[1, 3] [[1.0, -0.0, inf]]", "= §7", "expected an array"),
    ("step k0(", "step §k9(", "k9 is not a kernel defined before this line"),
    ("kernel k1(", "kernel §k0(", "the kernel k0 is defined twice"),
    ("(in.x, c3,", "(in.x, §cc3,", "cc3 is not a buffer of the schedule", "did you mean c3?"),
    ("step k0(in.x, c3,", "step §k0(in.x,", "k0 has 3 operands, 2 are given"),
    ("step k0(in.x, c3, t4 + 3; batch, 3)", "step §k0(in.x, c3, t4)", "k0 has 2 arguments"),
    ("t4 + 3; batch", "t4 §* 3; batch", "expected ',', ';' or ')'"),
    ("total batch", "§batch", "expected 'total' after the operands"),
    ("grain 5461", "grain §batch", "expected the iterations of a group"),
    ("return y = out.y", "return y = out.y, §y = out.y", "the output y is declared twice"),
    ("return y = out.y", "return y = §out.z", "out.z is not a buffer", "did you mean out.y?"),
    ("return y = out.y\n}\n", "return y = out.y§\n", "expected ',' or '}'"),
    ("return y = out.y\n}\n", "return y = out.y\n} §more\n", "the schedule has ended"),
    ("%2: f32 = mul", "%2: f32 = §add3", "add3 is not a primitive"),
    ('schedule "train step"', "schedule §{", "expected the schedule's name"),
]
PLANS = [
    ("staticgrad-plan", "§staticgrad-schedule", "the text of a plan starts with"),
    ("plan(batch=5)", "§plans(batch=5)", "expected 'plan'"),
    ("plan(batch=5)", "plan(batch=§x)", "expected the value of the size"),
    ("plan(batch=5)", "plan(batch=5, §batch=5)", "the size batch is declared twice"),
    ("arena 192", "arena §-192", "expected the bytes of the arena"),
    ("place t4 at", "place §t5 at", "t5 is not a buffer of the schedule"),
    ("live 0..1\n  place", "live 0 §place", "expected '..' after the first step"),
    ("run 1:", "run §3:", "the schedule has 3 steps"),
    ("run 1: k1", "run 0: §k1", "step 0 of the schedule is another kernel, or over other"),
    ("run 2: k2(param.w,", "run 2: §k2(in.x,", "over other buffers"),
    ("out.y; 5, 15)", "out.y; 5, §n)", "expected a number"),
    ("bytes c3 12", "bytes §in.x 12", "the bytes of in.x are given twice"),
    ("  bytes in.x", "  bytes in.x 1 §run 0", "expected place, run, bytes (in that order) or '}'"),
    ("out.y 20\n}\n", "out.y 20\n} §}\n", "the plan has ended"),
    ("mul %0, %1", "§mul %0", "mul takes 2 operands, got 1"),
]
MISTAKES = {
    "graph": (parse, [(STEP, *row) for row in GRAPH]),
    "schedule": (parse_schedule, [(SCHEDULE, *row) for row in SCHEDULES]),
    "plan": (parse_plan, [(PLAN, *row) for row in PLANS]),
}


@pytest.mark.parametrize("form", MISTAKES)
def test_mistakes_are_shown_where_they_are(form):
    parse, mistakes = MISTAKES[form]

    def check(text, old, new, message, hint=""):
        assert old in text
        marked = text.replace(old, new, 1)
        lines = marked.partition("§")[0].split("\n")
        with pytest.raises(ParseError) as caught:
            parse(marked.replace("§", ""), file="model.sg")
        error = caught.value
        assert message in error.headline
        assert hint in error.hint
        assert (error.line, error.column) == (len(lines), len(lines[-1]) + 1)
        shown = str(error).splitlines()
        assert len(shown) <= 12
        assert f"model.sg:{error.line}" in shown[1]
        assert "^" in shown[3]

    check_all(check, mistakes)


#: How a text is read, the texts, what is written into them, and from where on.
DAMAGED = {
    "graph": (parse, [STEP], ["", *'()9-,"%', "max(", "\\", "\n", "é", "e9"], 0),
    "kernel": (parse_kernel, KERNELS, ["", *"()9-,%@}\né"], 0),
    "schedule": (parse_schedule, [SCHEDULE], ["", *'()9-,"+}\n#'], 0),
    "plan": (parse_plan, [PLAN], ["", *'()9-,"}\n#', ".."], PLAN.index("plan(")),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", DAMAGED)
@given(data=st.data())
@settings(max_examples=200)
def test_damaged_text_is_a_parse_error_or_reads_back(form, data):
    """Up to three places are overwritten."""
    parse, texts, extras, first = DAMAGED[form]
    text = data.draw(st.sampled_from(texts))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(min(first, len(text)), len(text)))
        end = data.draw(st.integers(at, min(at + 4, len(text))))
        text = text[:at] + data.draw(st.sampled_from(extras)) + text[end:]
    try:
        actual = parse(text)
    except ParseError as error:
        assert 1 <= error.line <= len(text.splitlines()) + 1  # noqa: PT017
        assert len(str(error).splitlines()) <= 12  # noqa: PT017
    else:
        assert str(parse(str(actual))) == str(actual)


@pytest.mark.parametrize("open_", ["(", "-", "max(1, ", "["])
def test_endless_nesting_is_refused(open_):
    for text in (
        STEP.replace("batch//2", open_ * 9_999, 1),
        STEP.replace("value=1e-05", f"value={open_ * 9_999}", 1),
    ):
        with pytest.raises(ParseError):
            parse(text)
    with pytest.raises(ParseError, match="too many digits"):
        parse(STEP.replace("f32[4]", f"f32[{'9' * 5000}]"))


@pytest.mark.parametrize(
    ("bound", "error", "message"),
    [
        ({"w": np.zeros(5, "float32")}, ParseError, r"its array float32\[5\]"),
        ({"w": np.zeros(4)}, ParseError, r"its array float64\[4\]"),
        ({"w": parameter_value("v", np.zeros(4, "float32"))}, ParseError, "bound to 'v'"),
        ({"W": np.zeros(4)}, UnknownNameError, "no input or parameter 'W'"),
    ],
)
def test_wrong_bindings_are_refused(bound, error, message):
    with pytest.raises(error, match=message):
        parse(STEP, parameters=bound)


def test_parse_reads_every_text_that_a_compiled_program_prints():
    """A loop that the driver runs, a constant of 40 elements, a routine of LAPACK, named sizes."""
    x = sg.input("x", ("n", "n"))
    scale = sg.constant(np.arange(40.0, dtype="float32"))
    y = sg.linalg.solve(x, sg.ones((x.shape[0],))).sum() * sg.sort(scale)
    carry, _ = sg.scan(
        lambda c, t: (sg.sin(c) * scale + t, None), y, sg.arange(5.0, dtype="float32")
    )
    f = sg.compile(carry)
    values = [f.program_graph, f.graph, f.schedule, f.plan(n=3), *f.schedule.kernels]
    assert len(values) > 5
    for value in values:
        constants = getattr(value, "constants", {})
        for text in (str(value), f"# a comment\n  \n{value}"):
            read = sg.parse(text, constants=constants)
            assert type(read) is type(value)
            assert str(read) == str(value)
    assert sg.parse(str(f.schedule), constants=f.schedule.constants) == f.schedule
    assert f.plan(n=3).constants.keys() == f.schedule.constants.keys() != set()
    with pytest.raises(ParseError, match="no array is bound") as caught:
        sg.parse(str(f.schedule))
    assert "constants=graph.constants gives it" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "form"), [(SCHEDULE, "schedule"), (PLAN, "plan"), (KERNELS[0], "kernel")]
)
def test_parse_refuses_leaves_of_graphs_for_other_texts(text, form):
    with pytest.raises(sg.errors.ArgumentError, match=f"this is the text of a {form}"):
        sg.parse(text, parameters={"w": np.ones(3)})
    with pytest.raises(ParseError, match="<text>:"):
        sg.parse(text.partition("{")[0])
