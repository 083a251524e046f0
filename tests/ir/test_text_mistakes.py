"""Mistakes in texts of graphs, kernels, schedules and plans: one clear error each, at its place."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.errors import ParseError, UnknownNameError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.parser import parse
from staticgrad.ir.schedule_text import parse_plan, parse_schedule
from tests.cases import check_all
from tests.ir.kernel_samples import (
    KERNELS,
)
from tests.ir.sample_ops import STEP
from tests.ir.schedule_samples import PLAN, SCHEDULE
from tests.random_programs import parameter_value

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
        before = marked.partition("§")[0].split("\n")
        with pytest.raises(ParseError) as caught:
            parse(marked.replace("§", ""), file="model.sg")
        error = caught.value
        assert message in error.headline
        assert hint in error.hint
        assert (error.line, error.column) == (len(before), len(before[-1]) + 1)
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
        found = parse(text)
    except ParseError as error:
        assert 1 <= error.line <= len(text.splitlines()) + 1  # noqa: PT017
        assert len(str(error).splitlines()) <= 12  # noqa: PT017
    else:
        assert str(parse(str(found))) == str(found)


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
