"""Loops that are not one kernel: ``explain`` says why, by what the body does."""

import pytest

import staticgrad as sg
from staticgrad.compiler.lowering.loops.refusals import WhyDriven

X, W = sg.input("x", (300,), "float32"), sg.input("w", (300, 300), "float32")
ROWS = sg.input("rows", (50, 300), "float32")
FEW, SHORT = sg.input("few", (4,), "float32"), sg.input("short", (50, 4), "float32")


def scan(step, start, rows):
    return sg.scan(lambda c, each: (step(c) + each,) * 2, start, rows)[0]


def doubled_until(**most):
    return sg.while_loop(lambda c: (c < 100.0).any(), lambda c: c * c, X, **most)


def branch(c):
    return sg.cond(c.sum() > 0.0, lambda c: c * 2.0, sg.cumsum, c)


NAMED, LONG_ROWS = (sg.input("rows", ("n", size), "float32") for size in (300, 30000))
AT = sg.input("at", ("n", 4), "int64")
TABLE = sg.input("table", ("rows", "columns"), "float32")
LONG, EMPTY, ONE = (sg.input("x", (size,), "float32") for size in (30000, 0, 1))


def looked_up(step, start):
    return sg.scan(lambda c, at: (step(c, at),) * 2, start, AT)[0]


def chain(c):
    """Many rows that read their neighbours, the first one beyond the end."""
    for _ in range(60):
        c = sg.sin(c) * 1.1 + sg.roll(c, 1)
    return c


#: Reason -> a loop that has it.
DRIVEN = {
    WhyDriven.Endless: lambda: doubled_until(),
    WhyDriven.Steps: lambda: scan(branch, FEW, SHORT),
    WhyDriven.Stage: lambda: scan(sg.sort, FEW, SHORT),
    WhyDriven.InnerEnd: lambda: scan(
        lambda c: sg.while_loop(lambda a: (a < 5.0).any(), lambda a: a * 1.5 + 1, c, max_steps=9),
        FEW,
        SHORT,
    ),
    WhyDriven.Serial: lambda: looked_up(lambda c, at: c.at[at].add(1.0), FEW),
    WhyDriven.OtherRow: lambda: scan(lambda c: c[:1] + 0.0 * c, LONG, LONG_ROWS),
    WhyDriven.AcrossRows: lambda: scan(lambda c: W @ c, X, NAMED),
    WhyDriven.Border: lambda: scan(
        chain, sg.input("x", (64,), "float32"), sg.input("rows", ("n", 64), "float32")
    ),
    WhyDriven.Partial: lambda: sg.scan(
        lambda c, each: (c, c * 0.0), EMPTY, sg.input("rows", ("n", 0), "float32")
    )[1],
    WhyDriven.Lookup: lambda: looked_up(lambda c, at: c[at], FEW),
    WhyDriven.EmptyLookup: lambda: looked_up(lambda c, at: c + TABLE[at[0] % 2][:1], ONE),
    WhyDriven.Shared: lambda: scan(lambda c: W @ c, X, ROWS),
    WhyDriven.Slower: lambda: scan(
        lambda c: c - c.mean(),
        sg.input("x", (3000,), "float32"),
        sg.input("rows", (50, 3000), "float32"),
    ),
}
ONE_KERNEL = {
    "an end": lambda: doubled_until(max_steps=9),
    "rows that read themselves": lambda: scan(lambda c: c * 0.5, X, ROWS),
}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("reason", DRIVEN, ids=lambda reason: reason.name)
def test_the_reason_is_explained(reason):
    explanation = sg.compile({"y": DRIVEN[reason]()}).explanation()
    (said,) = (step.driven for step in explanation.steps if step.inside)
    assert said == str(reason)
    assert f"not one kernel: {said}" in str(explanation)
    assert said in {step["driven"] for step in explanation.as_json()["steps"]}


@pytest.mark.parametrize("make", ONE_KERNEL.values(), ids=ONE_KERNEL)
def test_one_kernel_has_no_reason(make):
    explanation = sg.compile({"y": make()}).explanation()
    assert [step.driven for step in explanation.steps] == [""] * len(explanation.steps)
    assert "not one kernel" not in str(explanation)
