"""Mistakes in a text, and wrong arrays bound to it: one clear error each, at its place."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.errors import ParseError, UnknownNameError
from staticgrad.ir.parser import parse
from staticgrad.types.arrays import TensorType
from staticgrad.types.dim import dim
from staticgrad.types.dtype import F32
from tests.cases import check_all
from tests.ir.mistakes import check_damaged, check_mistake
from tests.ir.sample_ops import STEP
from tests.random_graphs import input_value, parameter_value

#: Old text, new text with § before what is to blame, headline, hint.
MISTAKES = [
    ("mul(%x", "§mull(%x", "mull is not the name of an op", "did you mean mul?"),
    ("@w)", "§@v)", "@v is not defined before this line", ""),
    ('(@"w/b"', '(§@"wb"', '@"wb" is not defined before this line', 'did you mean @"w/b"?'),
    ("tanh(%0)", "tanh(§%1)", "%1 is not defined before this line", ""),
    ("f32[batch, 4] = mul", "§f32[batch, 5] = mul", "mul gives f32[batch, 4], the text says", ""),
    ("-ir 1", "-ir §2", "this is staticgrad-ir 2; this release reads version 1", ""),
    ("staticgrad-ir 1\n", "§", "the text of a graph starts with", ""),
    ("%7: f32[] = add", "§%4: f32[] = add", "%4 is defined twice", ""),
    ("%5, %6:", "%5, §%5:", "%5 is defined twice", ""),
    ("%5, %6:", "§%5:", "sample.top_two has 2 results, 1 are named", ""),
    ("tanh(%0)", "tanh{§axis=1}(%0)", "tanh has no attribute 'axis'", "it has none"),
    ("sample.top_two(%2)", "§sample.top_two(%1)", "takes one axis, got f32[batch, 4]", ""),
    ("{min=1", "{§least=1", "a size promises min, max, multiple_of, hint, not least", ""),
    ("batch {min=1", "§batch {max=3, min=5", "no size has min=5, max=3", ""),
    ("batch//2", "batch§//0", "a size divided by 0", ""),
    ("[batch, 4], %", "[batch, §-4], %", "the size -4 is negative", ""),
    (
        "constant{value=[1.0, nan, -0.0]",
        "§constant{value=[1.0, nan]",
        "not have the shape (3,)",
        "",
    ),
    ("constant{value=[1.0, ", '§constant{value=["a", ', "'a' is not a float32", ""),
    ("constant{value=[1.0, ", "§constant{value=[1e39, ", "1e+39 is not a float32", ""),
    ("f32[3] = const", "u8[3] = §const", "1.0 is not a uint8", ""),
    ("constant{value=1e-05", "§constant{values=1e-05", "has either a value or a digest", ""),
    ('"größe" = @w', '§"größe = @w', "this string does not end on its line", ""),
    ('"größe" = @w', '§"gr\\öße" = @w', "\\ö is not an escape", ""),
    ("return loss = %1,", "return loss = %1, §loss = %1,", "the output loss is returned twice", ""),
    ("loss = %1,", "loss = %1 §loss = %1,", "expected a node, 'return'", ""),
    ('update @"w/b"', "update §%x", "only a parameter (@name) can be updated", ""),
    ("= %7\n", "= §%1\n", "its update f32[batch, 4]", ""),
    ("= %7\n", '= %7 update §@"w/b" = %7\n', "is updated twice", ""),
    ("%7\n}\n", "%7§\n", "expected a node, 'return', 'update' or '}'", ""),
    ("%7\n}\n", "%7\n} §more\n", "the graph has ended, but 'more' follows", ""),
    ("f32[batch, 4] ^1", "§float[batch, 4] ^1", "expected an element type, found 'float'", ""),
    ("@w: f32[4]", "§@w: f32[n]", "its sizes must be literal", ""),
    ("%x: f32[batch, 4]", "§@x: f32[batch, 4]", "expected an input (%name)", ""),
    ("tanh(%0)", "§input(%0)", "input stands in the header only", ""),
    ("tanh(%0)", "tanh(%0)§$", "'$' has no meaning here", ""),
    ("mul(%x, @w)", "mul(%x §@w)", "expected ',' or ')', found '@w'", ""),
    ("tanh(%0)", "§sample.picky{size=3}(%0)", "an even size, not 3", ""),
    ("tanh(%0)", 'sample.picky{§size="3"}(%0)', "size takes int, not '3'", ""),
    ("tanh(%0)", "sample.picky{size=2, §size=2}(%0)", "size is given twice", ""),
    ("tanh(%0)", "sample.picky{§size=[2]}(%0)", "a list can only be the value of a constant", ""),
    ("tanh(%0)", "§sample.everything(%0)", "needs the attribute 'count'", ""),
    ("tanh(%0)", "sample.everything{count=1, §axs=()}(%0)", "no attribute 'axs'", "axes"),
    ("tanh(%0)", "sample.everything{count=1, §axes=(1)}(%0)", "axes takes tuple[int, ...]", ""),
    ("tanh(%0)", 'sample.everything{count=1, axes=§("a")}(%0)', "(value,)", ""),
]


def test_mistakes_are_shown_where_they_are():
    check_all(partial(check_mistake, parse, STEP), MISTAKES)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=300)
def test_damaged_text_is_a_parse_error_or_a_graph(data):
    check_damaged(parse, STEP, ["", *'()9-,"%', "max(", "\\", "\n", "é", "e9"], data)


@pytest.mark.parametrize("open_", ["(", "-", "max(1, ", "["])
def test_endless_nesting_is_refused(open_):
    for text in (
        STEP.replace("batch//2", open_ * 9_999, 1),
        STEP.replace("value=1e-05", f"value={open_ * 9_999}", 1),
    ):
        with pytest.raises(ParseError):
            parse(text)


def test_numbers_of_too_many_digits_are_refused():
    with pytest.raises(ParseError, match="too many digits"):
        parse(STEP.replace("f32[4]", f"f32[{'9' * 5000}]"))


def test_parameters_are_bound_by_name_or_start_at_zero():
    w = parameter_value("w", np.arange(4, dtype="float32"))
    graph = parse(STEP, parameters={"w": w})
    assert graph.parameters[0].node is w.node
    assert graph.parameters[1].value == 0
    graph = parse(STEP, parameters={"w/b": np.float32(3)})
    assert graph.parameters[1].value == 3
    assert np.array_equal(graph.parameters[0].value, np.zeros(4))
    x = input_value("x", TensorType(F32, (dim("batch", min=1), 4)))
    assert parse(STEP, inputs={"x": x}).inputs[0] is x


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
