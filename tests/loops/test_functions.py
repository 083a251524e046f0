"""Results and errors of loops and branches: carries, trees, closures, sizes, messages."""

import pickle
from collections import namedtuple

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.errors import (
    ArgumentError,
    CarryError,
    DTypeError,
    GraphError,
    IndexOutOfRange,
    ParseError,
    RankError,
    SizeGuardError,
    SymbolicValueError,
    VerifyError,
)
from staticgrad.language.ir.bodies import walk_bodies
from staticgrad.language.ir.graph import Graph, bodies_of
from staticgrad.language.ir.verify import verify_graph
from tests.loops.programs import TWINS
from tests.ops.graphs import op_names, variable
from tests.ops.messages import assert_each_raises

State = namedtuple("State", "total count")


def test_trees_go_in_and_come_out():
    x = variable("x", sg.float64, (3, 2))

    def iteration(state, slices):
        following = State(state.total + slices["row"], [state.count[0] + 1, None])
        return following, {"sum": state.total.sum(), "pair": (slices["row"], slices["number"])}

    rows = {"row": x, "number": np.arange(3)}
    last, outs = sg.scan(iteration, State(np.zeros(2), [0, None]), rows)
    assert isinstance(last, State)
    assert last.count[1] is None
    feed = {"x": np.arange(6.0).reshape(3, 2)}
    total, count, sums, again, numbers = sg.evaluate(
        [last.total, last.count[0], outs["sum"], *outs["pair"]], feed
    )
    np.testing.assert_array_equal(total, [6.0, 9.0])
    assert count == 3
    np.testing.assert_array_equal(sums, [0.0, 1.0, 6.0])
    np.testing.assert_array_equal(again, feed["x"])
    np.testing.assert_array_equal(numbers, [0, 1, 2])


def test_a_number_takes_the_dtype_that_an_iteration_gives_it():
    narrow, wide = variable("x", sg.float32, (3,)), variable("y", sg.float64, (3,))

    def total(x, init=0.0):
        return sg.scan(lambda c, element: (c + element, None), init, x)[0]

    assert total(narrow).dtype == "float32"
    assert total(wide).dtype == "float64"
    assert total(narrow, 0).dtype == "float32"
    assert total(np.arange(3), 0).dtype == "int64"
    assert sg.fori_loop(0, 3, lambda i, y: y * 2.0, 1.0).dtype == "float64"
    closed = sg.fori_loop(0, 3, lambda i, y: y * narrow.sum(), 1.0)
    assert closed.dtype == "float32"
    strong = np.zeros((), "float32")
    with pytest.raises(
        CarryError, match=r"f32\[\] when an iteration begins, and f64\[\] when it ends"
    ):
        total(wide, strong)


def test_numbers_of_iterations_are_sizes_values_or_agree():
    x, n = sg.input("x", ("t", 2), "float64"), sg.input("n", (), "int32")
    steps = sg.fori_loop(2, x.shape[0], lambda i, y: y + i, 0)
    many = sg.fori_loop(0, n, lambda i, y: y * 2.0, x.sum())
    for rows in (0, 1, 2, 5):
        actual = sg.evaluate([steps, many], {"x": np.ones((rows, 2)), "n": 3})
        assert [*map(float, actual)] == [sum(range(2, rows)), 16.0 * rows]
    text = str(sg.Graph(steps))
    assert "iterations=max(t - 2, 0)" in text or "iterations=max(0, t - 2)" in text, text
    x, y = sg.input("x", ("s",), "float64"), sg.input("y", ("t",), "float64")
    dot = sg.scan(lambda c, pair: (c + pair[0] * pair[1], None), 0.0, (x, y))[0]
    assert sg.evaluate(dot, {"x": [1.0, 2.0], "y": [3.0, 4.0]}) == 11.0
    with pytest.raises(SizeGuardError, match="slices"):
        sg.evaluate(dot, {"x": [1.0, 2.0], "y": [3.0]})


def test_guards_and_indices_inside_name_the_line_inside():
    x, y = sg.input("x", ("t", 3), "float64"), sg.input("y", ("n",), "float64")
    mapped = sg.map(lambda row: row.sum() * y[4], x)
    with pytest.raises(SizeGuardError) as refused:
        sg.evaluate(mapped, {"x": np.ones((2, 3)), "y": np.ones(4)})
    assert "row.sum() * y[4]" in str(refused.value)
    places = sg.input("i", ("t",), "int64")
    looked_up = sg.map(lambda i: sg.take(y, i), places)
    with pytest.raises(IndexOutOfRange) as beyond:
        sg.evaluate(looked_up, {"i": [0, 9], "y": np.ones(4)})
    assert "sg.take(y, i)" in str(beyond.value)
    assert sg.evaluate(looked_up, {"i": np.zeros(0, np.int64), "y": []}).shape == (0,)


def test_what_depends_on_no_iteration_is_built_before_but_may_fail_only_inside():
    w, x = variable("w", sg.float64, (2, 2)), variable("x", sg.float64, (3, 2))
    places = variable("i", sg.int64, (1,))

    def iteration(c, row):
        return c @ sg.exp(w).T + row, sg.take(row * 0.0 + w[0], places)

    last, outs = sg.scan(iteration, np.zeros(2), x)
    (loop,) = {last.node, outs.node}
    assert "exp" in op_names(last)
    (body,) = bodies_of(loop)
    inside = [node.op.name for node in body.nodes]
    assert "exp" not in inside
    assert "matmul" in inside
    assert "take" in inside
    assert inside.count("transpose") <= 1


def test_equal_loops_share_ops_and_take_operands():
    w = sg.parameter("w", np.ones((20, 20)))
    table = np.arange(400.0).reshape(20, 20)
    last, _ = sg.scan(lambda c, _: (c @ w + (c @ table) * 0.5, None), np.ones(20), length=2)
    (body,) = bodies_of(last.node)
    assert not body.parameters
    assert all(node.types[0].size <= 16 for node in body.nodes if node.op.name == "constant")
    assert w.node in [arg.node for arg in last.node.args]
    x = variable("x", sg.float64, (3,))
    first, second, third = (
        sg.scan(lambda c, e, k=k: (c * k + e, None), 0.0, x)[0].node for k in (2.0, 2.0, 3.0)
    )
    assert first.op == second.op
    assert hash(first.op) == hash(second.op)
    assert first.op != third.op
    merged = pipeline("cse")(Graph({"a": first.values[0], "b": second.values[0]}))
    assert [node.op.name for node in merged.nodes].count("loop") == 1


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", TWINS)
def test_text_and_pickle_read_back(name):
    twins = TWINS[name]
    values = [variable(f"x{i}", sg.float64, a.shape) for i, a in enumerate(twins.arrays)]
    y = twins.run_loop(*values)
    graph = Graph({"y": y, "dy": sg.grad(y, values[0], allow_disconnected=True)}, inputs=values)
    verify_graph(graph)
    again = sg.parse(str(graph))
    assert sg.same_graph(again, graph)
    assert str(again) == str(graph)
    assert sg.same_graph(pickle.loads(pickle.dumps(graph)), graph)
    feeds = {f"x{i}": a for i, a in enumerate(twins.arrays)}
    assert sg.evaluate(graph, feeds)["dy"].tobytes() == sg.evaluate(again, feeds)["dy"].tobytes()


def test_a_body_is_closed_and_fits_its_operands():
    text = """staticgrad-ir 1
graph g(%x: f64[2]) {
  %0: f64[2] = loop{body=graph body(%i: i64[], %c0: f64[2]) {
    %0: f64[2] = mul(%c0, BAD)
    return c0 = %0
  }, iterations=3, carries=1, slices=0}(%x)
  return y = %0
}
"""
    sg.parse(text.replace("BAD", "%c0"))
    with pytest.raises(ParseError, match="%x is not defined"):
        sg.parse(text.replace("BAD", "%x"))
    with pytest.raises(ParseError, match="a body takes"):
        sg.parse(
            text.replace("BAD", "%c0").replace("f64[2]", "f64[3]").replace("x: f64[3]", "x: f64[2]")
        )
    with pytest.raises(ParseError, match="no parameters"):
        sg.parse(
            text.replace("BAD", "@w").replace("%c0: f64[2]) {", "%c0: f64[2]) params(@w: f64[2]) {")
        )
    graph = sg.parse(text.replace("BAD", "%c0"))
    (body,) = walk_bodies(graph)
    broken = Graph.of_parts(
        nodes=body.nodes[1:], inputs=body.inputs, parameters=(), outputs=body.outputs
    )
    node = graph["y"].node
    wrong = type(node)(node.op.with_bodies([broken]), node.args, node.types, node.origin)
    with pytest.raises(VerifyError):
        verify_graph(Graph.of_parts(
            nodes=[graph.inputs[0].node, wrong], inputs=graph.inputs, parameters=(),
            outputs={"y": wrong.values[0]},
        ))  # fmt: skip


def test_a_carry_that_drifts_is_reported_where_it_does():
    x = variable("x", sg.float32, (3, 2))
    with pytest.raises(CarryError) as grown:
        sg.scan(lambda c, row: (sg.concatenate([c, row]), None), np.zeros(2, "float32"), x)
    assert "the carry is f32[2] when an iteration begins, and f32[4] when it ends" in str(
        grown.value
    )
    assert "sg.concatenate([c, row])" in str(grown.value)
    with pytest.raises(CarryError, match=r"carry\['h'\] is f32\[2\].*f64\[2\]") as widened:
        sg.scan(lambda c, row: ({"h": c["h"] * np.float64(2)}, None), {"h": np.zeros(2, "f")}, x)
    assert ".astype('float32')" in str(widened.value)
    with pytest.raises(CarryError, match=r"sg.zeros\(\(2,\), 'float32'\)"):
        sg.scan(lambda c, row: (c + row, None), 0.0, x)
    for wrong in (lambda c, row: c, lambda c, row: None):
        with pytest.raises(CarryError, match="not a pair"):
            sg.scan(wrong, 0.0, x)
    with pytest.raises(CarryError, match=r"returned \[\?\], expected \?"):
        sg.scan(lambda c, row: ([c], None), 0.0, x)
    with pytest.raises(CarryError, match=r"the result\[1\] is i64\[\] of one function, and f32"):
        sg.cond(x.sum() > 0, lambda: (x, x.sum()), lambda: (x, x.astype("int64").sum()))


def test_values_do_not_leave_a_body_by_the_side_door():
    x = variable("x", sg.float64, (3,))
    leaked = []

    def iteration(c, element):
        leaked.append(c * element)
        return c + element, None

    sg.scan(iteration, 0.0, x)
    for use in (lambda: Graph(leaked[0]), lambda: sg.evaluate(leaked[0] + 1.0)):
        with pytest.raises(GraphError, match="inside of a loop") as refused:
            use()
        assert "sg.scan(iteration, 0.0, x)" in str(refused.value)

    def leaking(c, element):
        sg.scan(iteration, 0.0, element[None])
        return c + leaked[-1], None

    with pytest.raises(GraphError, match="another loop"):
        sg.scan(leaking, 0.0, x)


def test_python_cannot_branch_or_loop_over_values():
    x, n = sg.input("x", ("t",), "float64"), sg.input("n", (), "int64")
    with pytest.raises(SymbolicValueError, match="bool") as branch:
        bool(x.sum() > 0)
    assert "sg.cond(" in str(branch.value)
    assert "sg.while_loop(" in str(branch.value)
    with pytest.raises(SymbolicValueError) as loop:
        iter(x)
    assert "sg.scan(" in str(loop.value)
    with pytest.raises(SymbolicValueError) as counted:
        range(n)
    assert "sg.fori_loop(" in str(counted.value)


def test_arguments_are_checked():
    x = variable("x", sg.float64, (3, 2))
    with pytest.raises(ArgumentError, match="neither slices nor a length"):
        sg.scan(lambda c, _: (c, None), 0.0)
    with pytest.raises(RankError, match="no axis of slices"):
        sg.map(lambda element: element, x.sum())
    with pytest.raises(ArgumentError, match="not an integer"):
        sg.scan(lambda c, _: (c, None), 0.0, length=2.5)
    with pytest.raises(DTypeError, match="not one bool") as test:
        sg.while_loop(lambda c: c, lambda c: c * 2.0, 1.0)
    assert "lambda c: c" in str(test.value)
    assert_each_raises(
        (ArgumentError, "not one element", lambda: sg.cond(x > 0, lambda: x, lambda: x)),
        (DTypeError, "neither a bool nor an integer",
         lambda: sg.cond(x.sum(), lambda: x, lambda: x)),
        (DTypeError, "not an integer", lambda: sg.switch(x.sum(), [lambda: x])),
        (ArgumentError, "no branches", lambda: sg.switch(variable("i", sg.int64), [])),
        (ArgumentError, "the sizes 3, t differ",
         lambda: sg.associative_scan(lambda a, b: a, (x, sg.input("y", ("t",), "float64")))),
        (CarryError, r"gives <.*f64\[1, 2\]> of two <",
         lambda: sg.associative_scan(lambda a, b: (a + b)[:1], variable("z", sg.float64, (8, 2)))),
    )  # fmt: skip


def test_what_a_traced_function_raises_names_it():
    x = variable("x", sg.float64, (3,))

    def failing(*_):
        raise KeyError("mine")

    uses = {
        "scan": lambda: sg.scan(failing, 0.0, x),
        "map": lambda: sg.map(failing, x),
        "fori_loop": lambda: sg.fori_loop(0, 3, failing, 0.0),
        "while_loop": lambda: sg.fori_loop(0, variable("n", sg.int64), failing, 0.0),
        "cond": lambda: sg.cond(x.sum() > 0, failing, failing),
    }
    for name, use in uses.items():
        with pytest.raises(KeyError) as raised:
            use()
        (note,) = raised.value.__notes__
        assert note.startswith(f"while {name} traced ")
        assert note.endswith("names_it.<locals>.failing")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_of_any_length(size, reverse):
    x = variable("x", sg.float64, (2, size))
    array = np.random.default_rng(size).normal(size=(2, size))
    actual = sg.evaluate(sg.associative_scan(sg.add, x, reverse, axis=1), {"x": array})
    expected = np.cumsum(array[:, ::-1], 1)[:, ::-1] if reverse else np.cumsum(array, 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_of_a_named_length(reverse):
    """Pairs of matrices and offsets: values and gradients are those of the literal program."""

    def combine(left, right):
        return right[0] @ left[0], right[0] @ left[1] + right[1]

    def outputs(length):
        a = sg.input("a", (length, 2, 2), "float64")
        b = sg.input("b", (length, 2, 1), "float64")
        states = sg.associative_scan(combine, (sg.sin(a), b), reverse)
        loss = (states[0] ** 2).sum() + sg.sin(states[1]).sum()
        by_a, by_b = sg.grad(loss, [a, b])
        second = sg.grad(sg.sin(by_a).sum(), a)
        return sg.Graph({"x": states[0], "y": states[1], "a": by_a, "b": by_b, "second": second})

    named = sg.compile(outputs("n"))
    for size in (0, 1, 2, 5, 12):
        rng = np.random.default_rng(size)
        feeds = {"a": rng.normal(size=(size, 2, 2)), "b": rng.normal(size=(size, 2, 1))}
        expected = sg.evaluate(outputs(size), feeds)
        for name, actual in named.run(feeds).items():
            np.testing.assert_allclose(actual, expected[name], rtol=1e-9, atol=1e-11, err_msg=name)
    x = sg.input("x", (3, "n"), "float64")
    array = np.random.default_rng(3).normal(size=(3, 6))
    actual = sg.compile(sg.associative_scan(sg.maximum, x, reverse, axis=1)).run({"x": array})
    step = -1 if reverse else 1
    expected = np.maximum.accumulate(array[:, ::step], 1)[:, ::step]
    np.testing.assert_array_equal(actual, expected)
    by_rows = sg.function(sg.vmap(lambda row: sg.associative_scan(sg.add, row, reverse)))
    np.testing.assert_allclose(by_rows(array), np.cumsum(array[:, ::step], 1)[:, ::step])
