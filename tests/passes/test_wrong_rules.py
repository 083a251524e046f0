"""Rules that give something else than a value like the one they replace are refused by name."""

import re

import numpy as np
import pytest

import staticgrad as sg
from passes.rewrite import holes, rewrite, rule
from staticgrad.eager import Tensor
from staticgrad.errors import PipelineError

x, y = holes("x y")


def product(dtype="float32"):
    a, b = sg.input("a", (3,), dtype), sg.input("b", (3,), dtype)
    return sg.Graph(a * b)


GIVEN = {
    "an array": np.ones(3, "float32"),
    "a list": [1.0],
    "a tuple": (),
    "a text": "x",
    "a complex": 1j,
    "a Tensor": Tensor([1.0, 2.0, 3.0]),
    "a class float": float,
    "f64[3]": sg.input("c", (3,), "float64"),
    "f32[4]": sg.input("d", (4,), "float32"),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_no_value_of_the_type_is_refused(kind):
    given = GIVEN[kind]
    wrong = rule("wrong", x * y, lambda match: given)
    with pytest.raises(PipelineError, match=rf"'wrong' puts {re.escape(kind)}.* in the place of"):
        rewrite(product(), [wrong])


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(0.5, "int32"), (300, "uint8"), (-1, "uint8"), (2, "bool"), (float("nan"), "int64"),
     (10**400, "float32"), (2**70, "int64")],
)  # fmt: skip
def test_a_number_that_the_dtype_cannot_hold_is_refused(number, dtype):
    with pytest.raises(PipelineError, match=r"'wrong' puts an? (int|float), .* in the place of"):
        rewrite(product(dtype), [rule("wrong", x * y, lambda match: number)])


@pytest.mark.parametrize(
    ("number", "dtype"), [(0.1, "float32"), (1.0, "int8"), (True, "bool"), (1e300, "float32")]
)
def test_a_number_that_it_can_hold_is_taken(number, dtype):
    graph, hits = rewrite(product(dtype), [rule("number", x * y, lambda match: number)])
    ones = np.ones(3, dtype)
    with np.errstate(over="ignore"):
        wanted = np.full(3, number).astype(dtype)
    assert hits == {"number": 1}
    assert sg.evaluate(graph, {"a": ones, "b": ones})["output"].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("given", [None, 1, "yes", np.ones(3), product()["output"]])
def test_a_condition_without_a_truth_is_refused(given):
    unsure = rule("unsure", x * y, x, where=lambda match: given)
    with pytest.raises(PipelineError, match=r"'unsure': its condition gives .* not True or False"):
        rewrite(product(), [unsure])


@pytest.mark.parametrize("part", ["replacement", "condition"])
def test_what_a_rule_raises_passes_through_with_a_note(part):
    def fail(match):
        raise KeyError("missing")

    failing = rule("failing", x * y, fail) if part == "replacement" else None
    failing = failing or rule("failing", x * y, x, where=fail)
    with pytest.raises(KeyError, match="missing") as caught:
        rewrite(product(), [failing])
    assert ["failing" in note for note in caught.value.__notes__] == [True]
