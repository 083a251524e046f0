"""Texts that nobody means: each is a graph or one coded error, for work that its length bounds."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.errors import ArgumentError, OutOfMemory, ParseError, StaticgradError
from staticgrad.types.dim import HEAVIEST, dim, sum_of
from tests.ir.sample_ops import STEP

GOLDEN = Path(__file__).parents[1] / "passes" / "golden"
TEXTS = [STEP, *(path.read_text("utf-8") for path in sorted(GOLDEN.glob("*.sg")))]


def work(call):
    """How many functions are called, those written in C included."""
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return calls


def outcome(text):
    """The code of the error; empty for a graph. Anything but a coded error is raised."""
    try:
        sg.parse(text)
    except StaticgradError as error:
        return error.code if len(str(error)) < 4000 else f"a message of {len(str(error))}"
    return ""


def text_of(inputs="", parameters="", body="", result="%x"):
    given = f" params({parameters})" * bool(parameters)
    return f"staticgrad-ir 1\ngraph g({inputs}){given} {{ {body} return y = {result} }}"


def one_size(size):
    return text_of(f"%x: f32[{size}]")


SUM = "(a + b + c + d)"


def nested(depth):
    """Divisions of products of divisions: each level is repeated in every term of the next."""
    size = "a"
    for _ in range(depth):
        size = f"(({size} + b + c)*(a + b)*(c + d)*(a + d)//7)"
    return size


#: Name -> the text at a length, and whether it is a graph.
GROWING = {
    "power": (lambda n: one_size("*".join([SUM] * n)), False),
    "power divided": (lambda n: one_size("*".join([SUM] * n) + "//7"), False),
    "nested divisions": (lambda n: one_size(nested(min(n, 60))), False),
    "small powers": (
        lambda n: text_of(", ".join(f"%x{i}: f32[{'*'.join([SUM] * 5)}]" for i in range(n // 16)),
                          result="%x0"),
        False,
    ),
    "sum": (lambda n: one_size(" + ".join(f"a{i}" for i in range(n))), True),
    "sum divided": (lambda n: one_size(f"({' + '.join(f'a{i}' for i in range(n))})//7"), True),
    "product": (lambda n: one_size("*".join(f"a{i}" for i in range(n))), False),
    "numbers": (lambda n: one_size("*".join(["99"] * n)), False),
    "coefficient": (lambda n: one_size("a*" + "*".join(["99"] * n)), False),
    "maxima": (lambda n: one_size("max(" * 60 + "a" + ", b)" * 60), True),
    "inputs in a line": (
        lambda n: text_of(", ".join(f"%x{i}: f32[3]" for i in range(n)), result="%x0"), True
    ),
    "nodes in a line": (
        lambda n: text_of("%x: f32[3]", body=" ".join(
            f"%{i}: f32[3] = tanh(%{i - 1 if i else 'x'})" for i in range(n))), True
    ),
    "operands of many sizes": (
        lambda n: text_of(
            ", ".join(f"%x{i}: f32[n{i}]" for i in range(n)),
            body=f"%0: f32[{' + '.join(f'n{i}' for i in range(n))}] = concat{{axis=0}}"
            f"({', '.join(f'%x{i}' for i in range(n))})", result="%0"), True
    ),
    "unknown among many": (
        lambda n: text_of(", ".join(f"%x{i}: f32[3]" for i in range(n)), result="%x"), False
    ),
    "long name": (lambda n: text_of(f"%{'x' * n}: f32[3]", result=f"%{'y' * n}"), False),
    "long op": (lambda n: text_of("%x: f32[3]", body=f"%0: f32[3] = {'t' * n}(%x)"), False),
    "long line": (lambda n: text_of("%x: f32[3]" + " " * n + "!"), False),
    "long size name": (lambda n: one_size("*".join([f'($"{"n" * n}" + a)'] * 9)), False),
    "brackets": (lambda n: text_of(body=f"%0: f32[] = constant{{value={'[' * n}"), False),
    "digits": (lambda n: one_size("9" * n), False),
    "float": (lambda n: text_of(
        body=f"%0: f32[] = constant{{value={'9' * n}.5}}", result="%0"), True),
    "comments": (lambda n: text_of("%x: f32[3]") + "#\n" * n, True),
    "elements": (lambda n: text_of(
        body=f"%0: f32[{n}] = constant{{value=[{', '.join(['1.0'] * n)}]}}", result="%0"), True),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", GROWING)
def test_work_grows_with_the_length_only(kind):
    make, is_graph = GROWING[kind]
    long = make(2000)
    assert (outcome(long) == "") is is_graph
    small, large = work(lambda: outcome(make(500))), work(lambda: outcome(long))
    assert large <= max(6 * small, 1_000_000)
    assert len(outcome(long)) in (0, 5)


def test_places_in_one_long_line_share_its_text():
    graph = sg.parse(GROWING["inputs in a line"][0](100))
    texts = [value.node.origin.resolve().text for value in graph.inputs]
    assert len(set(map(id, texts))) == 1


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
    with pytest.raises(ParseError, match=r"parameter 'w', f32.*") as caught:
        sg.parse(text_of(parameters=f"@w: f32[{shape}]", result="@w"))
    assert caught.value.headline.endswith("does not fit into memory")
    assert caught.value.column == 18
    with pytest.raises(ParseError, match=r"no array can be|do not have the shape"):
        sg.parse(text_of(body=f"%0: f32[{shape}] = constant{{value=[]}}", result="%0"))


def test_a_parameter_of_absurd_size_is_refused():
    with pytest.raises(OutOfMemory, match=r"parameter 'w', .* does not fit into memory"):
        sg.parameter("w", np.broadcast_to(np.float32(1), (2**50,)))


def test_parameters_that_are_not_bound_start_at_zero():
    graph = sg.parse(text_of(parameters="@w: f32[3, 5], @b: bool[], @n: i64[0]", result="@w"))
    for parameter in graph.parameters:
        assert not parameter.value.any()
        assert parameter.store.array.ctypes.data % 64 == 0 or not parameter.store.array.size


def test_products_of_sizes_are_bounded_for_programs_too():
    a, b, c, d = map(dim, "abcd")
    size, largest = a + b + c + d, 0
    with pytest.raises(ArgumentError, match="a product of sizes multiplies out"):  # noqa: PT012
        while True:
            size = size * (a + b + c + d)
            largest = size.weight
    assert 1000 < largest <= HEAVIEST
    many = sum_of((1, dim(f"n{i}")) for i in range(1500))
    assert len((many * a).terms) == 1500  # rows of as many inputs, times something


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
            other = data.draw(st.integers(0, len(pieces) - 1))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            pieces = pieces[: at + 1]
        pieces = pieces or [""]
    text = "".join(pieces)
    found = ""

    def read():
        nonlocal found
        found = outcome(text)

    assert work(read) < 100_000 + 500 * len(text)
    if not found:
        graph = sg.parse(text)
        assert str(sg.parse(str(graph))) == str(graph)
