"""Pieces of Python source are put together so that Python's parser reads what was meant."""

import ast
import operator

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.compiler.by_numba.text import (
    Text,
    add,
    call,
    choose,
    element,
    every,
    is_between,
    multiply,
    operate,
    sign,
)
from staticgrad.errors import ExportError
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ops.convert import Bitcast
from staticgrad.language.types.dtype import as_dtype
from tests.codegen.golden import ON_FILE
from tests.exporting.printed import load_exported, plain_texts_parse
from tests.ir.kernel_samples import KERNELS
from tests.laws.samples import as_tuple, op_names, samples_of
from tests.laws.test_ops import variable_like

BINARY = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "<<",
    ">>",
    "&",
    "^",
    "|",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
]
LEAVES = st.sampled_from(["a", "b", "3", "-2", "1.5", "np.inf", "x[i]", "f32(2.0)"])


def pieces(parts):
    """Pieces made of others, each with the same in parentheses all over: ``(text, meaning)``."""
    pair = st.tuples(parts, parts)
    return st.one_of(
        st.tuples(st.sampled_from(BINARY), pair).map(
            lambda p: (operate(p[0], p[1][0][0], p[1][1][0]), f"({p[1][0][1]} {p[0]} {p[1][1][1]})")
        ),
        st.tuples(st.sampled_from(["-", "~", "not"]), parts).map(
            lambda p: (sign(p[0], p[1][0]), f"({p[0]} {p[1][1]})")
        ),
        st.tuples(parts, pair).map(
            lambda p: (
                choose(p[0][0], p[1][0][0], p[1][1][0]),
                f"({p[1][0][1]} if {p[0][1]} else {p[1][1][1]})",
            )
        ),
        pair.map(lambda p: (every([p[0][0], p[1][0]]), f"({p[0][1]} and {p[1][1]})")),
        pair.map(lambda p: (is_between(p[0][0], p[1][0]), f"(0 <= {p[0][1]} < {p[1][1]})")),
        pair.map(lambda p: (call("f", p[0][0], p[1][0]), f"f({p[0][1]}, {p[1][1]})")),
        pair.map(lambda p: (element("x", p[0][0], p[1][0]), f"x[{p[0][1]}, {p[1][1]}]")),
    )


PIECES = st.recursive(
    LEAVES.map(lambda leaf: (Text(leaf, 1 if leaf[-1] in ")]" else 0), leaf)), pieces, max_leaves=8
)


def tree(source):
    return ast.dump(ast.parse(source, mode="eval"))


@given(PIECES)
def test_the_parser_reads_the_tree_that_was_meant(drawn):
    text, meaning = drawn
    assert tree(text.alone) == tree(meaning)
    assert tree(f"{text} * 2") == tree(f"({meaning}) * 2")
    assert tree(f"2 // {text}") == tree(f"2 // ({meaning})")


NUMBERS = {"a": 5, "b": -3, "c": 2}
INTEGERS = st.recursive(
    st.sampled_from([*((Text(name), value) for name, value in NUMBERS.items()),
                     (0, 0), (1, 1), (-4, -4), (Text("7"), 7)]),
    lambda parts: st.one_of(
        *(
            st.tuples(parts, parts).map(lambda p, f=f: (f(p[0][0], p[1][0]), f(p[0][1], p[1][1])))
            for f in (operator.add, operator.sub, operator.mul)
        ),
        st.tuples(parts, st.integers(2, 4)).map(lambda p: (p[0][0] // p[1], p[0][1] // p[1])),
        st.tuples(parts, st.integers(2, 4)).map(lambda p: (p[0][0] % p[1], p[0][1] % p[1])),
        st.lists(parts, min_size=1, max_size=4).map(
            lambda ps: (add(*(p[0] for p in ps)), sum(p[1] for p in ps))
        ),
        st.lists(parts, min_size=1, max_size=3).map(
            lambda ps: (multiply(*(p[0] for p in ps)), int(np.prod([p[1] for p in ps])))
        ),
    ),
    max_leaves=7,
)  # fmt: skip


@given(INTEGERS)
def test_arithmetic_of_pieces_is_that_of_numbers(drawn):
    text, number = drawn
    assert eval(str(text), {}, NUMBERS) == number
    assert eval(f"100 - {text} * 3", {}, NUMBERS) == 100 - number * 3
    assert eval(getattr(text, "alone", str(text)), {}, NUMBERS) == number


def test_a_string_that_is_no_name_is_put_in_parentheses():
    assert (Text("i") * "a + b").alone == "i * (a + b)"
    assert add("a - b", 1).alone == "(a - b) + 1"


# -- texts of kernels -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_FILE)
def test_texts_of_kernels_on_file_parse(name):
    assert plain_texts_parse(parse_kernel(ON_FILE[name]))


def test_texts_of_sample_kernels_parse():
    for text in KERNELS:
        assert plain_texts_parse(parse_kernel(text))


#: A mask that ends before its axis, read as a condition: of programs and what NumPy makes of them.
MASKS = {
    "chosen": (lambda b, x: sg.where(sg.pad(b, 1), x, -x), lambda p, x: np.where(p, x, -x)),
    "not": (lambda b, x: sg.where(~sg.pad(b, 1), x, -x), lambda p, x: np.where(~p, x, -x)),
    "both chosen": (
        lambda b, x: sg.where(sg.pad(b, 1), sg.pad(x[1:-1], 1), x),
        lambda p, x: np.where(p, np.pad(x[1:-1], 1), x),
    ),
    "chosen by chosen": (
        lambda b, x: sg.where(sg.where(sg.pad(b, 1), x > 0, sg.pad(b, 1)), x, 1.0),
        lambda p, x: np.where(np.where(p, x > 0, p), x, 1.0),
    ),
    "sum": (
        lambda b, x: sg.where(sg.pad(b, 1), x, 0.0).sum(), lambda p, x: np.where(p, x, 0.0).sum(),
    ),
    "stencil": (
        lambda b, x: (
            sg.where(sg.pad(b, 1)[:-2], x[2:], 0.0) + sg.where(sg.pad(b, 1)[2:], x[:-2], 0.0)
        ),
        lambda p, x: np.where(p[:-2], x[2:], 0.0) + np.where(p[2:], x[:-2], 0.0),
    ),
    "shifted": (
        lambda b, x: sg.where(sg.pad(b[1:], (0, 1)), x[1:-1], 0.0),
        lambda p, x: np.where(np.append(p[2:-1], False), x[1:-1], 0.0),
    ),
    "product": (
        lambda b, x: sg.where(sg.pad(b, 1), x, 0.0) @ x, lambda p, x: np.where(p, x, 0.0) @ x,
    ),
    "table": (
        lambda b, x: sg.where(sg.pad(sg.outer(b, b), 1), sg.outer(x, x), 0.0),
        lambda p, x: np.where(np.outer(p, p), np.outer(x, x), 0.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_padded_masks_are_conditions_in_plain_loops(name, tmp_path):
    program, compute = MASKS[name]
    b, x = sg.input("b", (4,), "bool"), sg.input("x", (6,), "float64")
    feeds = {"b": np.array([True, False, True, True]), "x": np.arange(-2.0, 4.0)}
    expected = compute(np.pad(feeds["b"], 1), feeds["x"])
    graph = sg.Graph({"y": program(b, x)})
    np.testing.assert_array_equal(sg.compile(graph, backend="numba").run(feeds)["y"], expected)
    file = load_exported(sg.compile(graph).export(tmp_path / "program.py"))
    np.testing.assert_array_equal(file["run"](feeds)["y"], expected)


PAIRS = [("int8", "uint8"), ("uint8", "int8"), ("int16", "uint16"), ("uint16", "int16")]
PAIRS += [("float32", "int32"), ("uint64", "float64"), ("int64", "uint64")]


@pytest.mark.slow
def test_bits_read_as_other_numbers_are_numpys(tmp_path):
    random = np.random.default_rng(0)
    feeds = {
        f"x{k}": random.integers(0, 256, 9 * np.dtype(source).itemsize).astype("u1").view(source)
        for k, (source, _) in enumerate(PAIRS)
    }
    inputs = [sg.input(name, (9,), str(array.dtype)) for name, array in feeds.items()]
    views = [Bitcast(as_dtype(kind))(x) for x, (_, kind) in zip(inputs, PAIRS, strict=True)]
    graph = sg.Graph({f"x{k}": view for k, view in enumerate(views)})
    file = load_exported(sg.compile(graph).export(tmp_path / "program.py"))
    for run in (file["run"], sg.compile(graph, backend="numba").run):
        for (name, result), (_, kind) in zip(run(feeds).items(), PAIRS, strict=True):
            assert result.tobytes() == feeds[name].view(kind).tobytes()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", op_names())
def test_exported_texts_of_every_op_parse(name, tmp_path):
    """A routine without loops in files is refused in words."""
    refused = []
    for sample in samples_of(name)[:4]:
        inputs = [variable_like(f"x{k}", array) for k, array in enumerate(sample.arrays)]
        outputs = as_tuple(sample.op(*inputs))
        compiled = sg.compile({f"y{k}": output for k, output in enumerate(outputs)})
        try:
            text = compiled.export(tmp_path / "program.py").read_text("utf-8")
        except ExportError as error:
            text = repr(error.headline)
            refused.append(text)
        assert ast.parse(text).body
    assert all("cannot be exported" in text for text in refused)
