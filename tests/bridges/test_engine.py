"""A fifth front end is a table: a library of ten operators, defined here, on the engine."""

import copy
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.bridges.coverage import list_reasons, list_rows
from staticgrad.bridges.fallback import SplitProgram, warn_of_fallback
from staticgrad.bridges.operands import ForeignType, fit_argument, size, value
from staticgrad.bridges.programs import (
    ForeignCall,
    ForeignProgram,
    RefusedCallError,
    ResultOf,
)
from staticgrad.bridges.sizes import arithmetic, compute_elements, compute_known
from staticgrad.bridges.tables import (
    ForeignOperator,
    OperatorRow,
    OperatorTable,
    unsupported_variant,
)
from staticgrad.errors import ArgumentError, ExportError
from staticgrad.extend.building import SourceLine


class Toy:
    """A node of the library: an operator of nodes and numbers; without one it is an input."""

    def __init__(self, op, *operands, shape=(None,), dtype="float64", line=0, **attributes):
        self.op, self.operands, self.attributes, self.line = op, operands, attributes, line
        self.type = ForeignType(dtype, shape)


# -- the front end --------------------------------------------------------------------------------

TABLE = OperatorTable(
    "Toy", {"less": OperatorRow(sg.less, "common"), "exp": OperatorRow(sg.exp, "result")},
    decorator="toy.row", silent=["layout"], refused={"print": "it calls Python"}, takes_known=True,
    cast_operand=value,
)  # fmt: skip
SIZES = arithmetic("add mul=multiply half=floor_divide")


@TABLE.row("add", operands="common")
def _add(x, y):
    return x + y


@TABLE.row("mul", operands="common")
def _mul(x, y):
    return x * y


@TABLE.row("total", "largest")
def _reduce(x, *, axis=None, op_name):
    return (sg.sum if op_name == "total" else sg.max)(x, axis)


@TABLE.row("length")
def _length(x):
    return np.asarray(x.shape[0], object)


@TABLE.row("repeat")
def _repeat(x, count):
    return sg.broadcast_to(value(x), (size(count, "the count"),))


@TABLE.row("sort")
def _sort(x, *, order="up"):
    if order != "up":
        raise unsupported_variant(f"the order {order!r}")
    return sg.sort(x)


class ToyProgram(ForeignProgram):
    table = TABLE

    @classmethod
    def apply(cls, op, operands, out, facts=()):
        function = SIZES.get(op.name)
        sizes = function and compute_known(lambda *xs: compute_elements(function, xs), operands)
        return super().apply(op, operands, out) if sizes is None else (sizes,)


def read(inputs, result):
    """Return the program that computes a node of the library from others."""
    places, calls = {node: ResultOf(k) for k, node in enumerate(inputs)}, []

    def visit(node):
        if not isinstance(node, Toy):
            return np.asarray(node)
        if node not in places:
            operands = [visit(operand) for operand in node.operands]
            op = ForeignOperator(node.op, node.attributes)
            calls.append(ForeignCall(op, operands, (node.type,), SourceLine("toy.txt", node.line)))
            places[node] = ResultOf(len(places))
        return places[node]

    return ToyProgram([x.type for x in inputs], calls, [visit(result)], [result.type])


# -- what the engine gives it ---------------------------------------------------------------------

X = Toy("")
N = Toy("", shape=())
A = np.array([3.0, -1.0, 2.0])


def function_of(inputs, result):
    program = read(inputs, result)

    def compute(*arguments):
        kinds = zip(arguments, program.inputs, strict=True)
        (y,) = program.values([fit_argument("x", x, kind, "Toy") for x, kind in kinds])
        return y

    return sg.function(compute)


def test_values_and_gradients_are_those_of_numpy():
    y = Toy("total", Toy("exp", Toy("mul", X, 2)), axis=0, shape=(), layout="rows")
    f = function_of([X], y)
    np.testing.assert_allclose(f(A), np.exp(2 * A).sum())
    np.testing.assert_allclose(sg.grad(f)(A), 2 * np.exp(2 * A))
    np.testing.assert_allclose(f(A[:2]), np.exp(2 * A[:2]).sum())
    below = Toy("less", X, 2.5, dtype="bool")
    np.testing.assert_array_equal(function_of([X], below)(A), A < 2.5)
    np.testing.assert_array_equal(function_of([X], Toy("sort", X))(A), np.sort(A))
    np.testing.assert_array_equal(function_of([X], Toy("largest", X, shape=()))(A), 3.0)


def test_a_number_is_an_input_that_changes_without_a_new_program():
    f = function_of([X, N], Toy("mul", X, N))
    for number in (2.0, 3.0, 4.5):
        np.testing.assert_array_equal(f(A, number), A * number)
    assert f.stats.traces == 2
    with pytest.raises(ArgumentError, match=r"x is f64\[3\], the input of Toy is float64\[\]"):
        f(A, A)


def test_sizes_are_computed_while_the_program_is_built():
    length = Toy("length", X, shape=(), dtype="int64")
    count = Toy("half", Toy("add", length, 5, shape=(), dtype="int64"), 2, shape=(), dtype="int64")
    f = function_of([X, N], Toy("repeat", N, count))
    np.testing.assert_array_equal(f(A, 7.0), np.full(4, 7.0))
    (named,) = read([X, N], Toy("repeat", N, count)).values(
        [sg.input("x", ("n",), "float64"), sg.input("c", (), "float64")]
    )
    assert str(named.shape[0]) == "(n + 1)//2 + 2"
    with pytest.raises(RefusedCallError, match="repeat: the count: only a run computes it"):
        function_of([X], Toy("repeat", 1.0, Toy("total", X, shape=(), dtype="int64")))(A)


def test_an_operator_without_a_row_is_named_with_its_reason_and_line():
    program = read([X], Toy("exp", Toy("mystery", Toy("print", X, line=7), line=8)))
    assert [call.operator.name for call in program.missing()] == ["print", "mystery"]
    with pytest.raises(ExportError, match="print, mystery: no row in the table of Toy") as error:
        program.check_rows()
    assert "print: it calls Python" in str(error.value)
    assert "toy.txt:7" in str(error.value)
    assert "toy.row(name) makes a function its row" in str(error.value)
    with pytest.raises(RefusedCallError, match="print has no row: it calls Python"):
        program.run([A])


def test_what_a_row_refuses_is_computed_by_the_library_between_programs():
    """Its levels, names of sizes, known sizes behind a program, and numbers of NumPy."""
    middle = Toy("sort", Toy("exp", X), order="down", line=3)
    total = Toy("total", Toy("print", Toy("mul", middle, 2.0)), shape=())
    length = Toy("add", Toy("length", X, shape=(), dtype="int64"), 1, shape=(), dtype="int64")
    program = read([X], Toy("mul", Toy("repeat", total, length), Toy("largest", X, shape=())))
    runs = {"sort": lambda xs: [np.sort(xs[0])[::-1]], "print": lambda xs: [xs[0] + 1.0]}
    split = SplitProgram(program, lambda k: runs[program.calls[k].operator.name], {})
    assert split.fallbacks == {
        1: "sort: the order 'down' is not supported",
        3: "print has no row: it calls Python",
    }
    assert len(split.programs) == 3
    assert split.alone is None
    for array in (A, A[:2]):
        expected = np.full(array.size + 1, (2.0 * np.exp(array) + 1.0).sum() * array.max())
        np.testing.assert_allclose(split.run([array])[0], expected)
    single = SplitProgram(read([X], Toy("exp", X)), runs.get, {})
    np.testing.assert_allclose(single.alone.compiled.run({"x0": A})["y0"], np.exp(A))
    with pytest.warns(sg.StaticgradWarning, match="toy: sort"):
        warn_of_fallback("toy: sort in Python")
    warn_of_fallback("toy: sort in Python")  # warnings are errors: a second one would raise


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Toy("sort", X, line=4, order="down"), "sort: the order 'down' is not supported"),
        (Toy("exp", X, line=4, base=2), "exp: the attribute base=2 is not supported"),
        (Toy("exp", X, line=4, shape=()), r"exp: the shape is \(3,\) where Toy has \(\)"),
        (Toy("add", X, np.ones(2), line=4), "add: .*operands: f64"),
        (Toy("mul", X, X, X, line=4), "mul: TypeError: .*"),
    ],
)
def test_what_a_row_refuses_names_the_operator_the_line_and_the_operands(node, text):
    with pytest.raises(RefusedCallError, match=f"(?s){text}") as error:
        read([X], Toy("exp", node)).run([sg.input("x", (3,), "float64")])
    assert error.value.place == 0
    assert "toy.txt:4" in str(error.value)
    assert "operands: f64[3]" in str(error.value)


def test_operators_without_attributes_pickle():
    operator = ForeignOperator("exp")
    assert pickle.loads(pickle.dumps(operator)) == operator
    assert copy.deepcopy(operator) == operator


def test_programs_pickle_and_pages_list_the_table():
    program = pickle.loads(pickle.dumps(read([X], Toy("exp", X))))
    np.testing.assert_allclose(sg.evaluate(program.values([sg.constant(A)])[0]), np.exp(A))
    assert "| `toy.total` | `x`, `axis` |" in list_rows(TABLE, "operator | arguments", "toy.")
    assert "| it calls Python | `print` |" in list_reasons(TABLE.refused, "operators")
