"""Loops that are not one kernel: ``explain`` says why, by what the body does."""

import pytest

import staticgrad as sg

X, W = sg.input("x", (300,), "float32"), sg.input("w", (300, 300), "float32")
ROWS = sg.input("rows", (50, 300), "float32")
FEW, SHORT = sg.input("few", (4,), "float32"), sg.input("short", (50, 4), "float32")


def scan(step, start, rows):
    return sg.scan(lambda c, each: (step(c) + each,) * 2, start, rows)[0]


def doubled_until(**most):
    return sg.while_loop(lambda c: (c < 100.0).any(), lambda c: c * c, X, **most)


def branch(c):
    return sg.cond(c.sum() > 0.0, lambda c: c * 2.0, sg.cumsum, c)


DRIVEN = {
    "no end but its test": (lambda: doubled_until(), "only its test ends it"),
    "large products": (lambda: scan(lambda c: W @ c, X, ROWS), "workers share the steps"),
    "rows of a named number": (
        lambda: scan(lambda c: W @ c, X, sg.input("rows", ("n", 300), "float32")),
        "reduces across rows",
    ),
    "a sort": (lambda: scan(sg.sort, FEW, SHORT), "its body sorts"),
    "a branch": (lambda: scan(branch, FEW, SHORT), "its body has loops, branches"),
}
ONE_KERNEL = {
    "an end": lambda: doubled_until(max_steps=9),
    "rows that read themselves": lambda: scan(lambda c: c * 0.5, X, ROWS),
}


@pytest.mark.parametrize(("make", "reason"), DRIVEN.values(), ids=DRIVEN)
def test_the_reason_is_explained(make, reason):
    explanation = sg.compile({"y": make()}).explanation()
    (said,) = (step.driven for step in explanation.steps if step.inside)
    assert reason in said
    assert f"not one kernel: {said}" in str(explanation)
    assert said in {step["driven"] for step in explanation.as_json()["steps"]}


@pytest.mark.parametrize("make", ONE_KERNEL.values(), ids=ONE_KERNEL)
def test_one_kernel_has_no_reason(make):
    explanation = sg.compile({"y": make()}).explanation()
    assert [step.driven for step in explanation.steps] == [""] * len(explanation.steps)
    assert "not one kernel" not in str(explanation)
