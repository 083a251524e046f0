"""Loops as wholes: merged, pruned, residuals stacked, sums over time; every byte stays."""

from fractions import Fraction

import numpy as np
import pytest

import staticgrad as sg
from passes.loops.pruning import prune_bodies
from passes.loops.segments import run_in_segments
from passes.loops.whole import MergedLoops
from passes.pipelines import pipeline
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import plan
from staticgrad.language.ir.graph import Graph, Node, bodies_of
from staticgrad.language.ir.verify import verify_graph
from tests.compiled.agreement import assert_same
from tests.ops.graphs import variable


def loops(graph):
    return [node for node in graph.nodes if node.op.name == "loop"]


def inside(node):
    (body,) = bodies_of(node)
    return [node.op.name for node in body.nodes]


def test_which_loops_are_merged():
    x = variable("x", sg.float64, (4,))
    y = sg.scan(lambda c, element: (sg.sin(c * element), c), 1.0, x)[0]
    graph = MergedLoops()(Graph({"y": y, "dy": sg.jvp(y, x, np.ones(4))}))
    (loop,) = loops(graph)
    assert inside(loop).count("sin") == 1
    x, y = variable("x", sg.float64, (4,)), variable("y", sg.float64, (4,))

    def total(data, **options):
        return sg.scan(lambda c, element: (c * 0.5 + element, None), 0.0, data, **options)[0]

    graph = Graph({"a": total(x), "b": total(y), "c": total(x, reverse=True), "d": total(x[1:])})
    assert len(loops(pipeline("O1")(graph))) == 4
    x = variable("x", sg.float64, (4, 3))
    last, outs = sg.scan(lambda c, row: (c + row.sum(), c * row), 0.0, x)
    full = Graph({"last": last, "dead": outs.sum(0)})
    pruned = MergedLoops()(Graph({"last": last}, inputs=[x]).with_nodes(full.nodes, {}))
    (loop,) = loops(pruned)
    assert len(loop.types) == 1


def test_maps_of_one_array_are_merged_where_they_have_work_in_common():
    """Otherwise their stacks would be alive at once, for no time gained."""
    x = variable("x", sg.float64, (9, 8, 8))
    weights = np.random.default_rng(0).normal(size=(4, 8, 8))

    def peak_and_loops(body):
        outs = [sg.map(lambda row, w=w: body(row, w), x) for w in weights]
        graph = pipeline("O1")(Graph(sum((out * out).sum() for out in outs)))
        return plan(fuse(graph), {}).peak_bytes / (9 * 8 * 8 * 8), len(loops(graph))

    peak, four = peak_and_loops(lambda row, w: sg.sin(row @ w))
    assert (int(peak), four) == (1, 4)  # a stack is read before the next one is written
    assert peak_and_loops(lambda row, w: sg.sin(row + 1.0) @ w)[1] == 1
    assert peak_and_loops(lambda row, w: (row * 2.0) @ w)[1] == 4  # a product costs no time


def test_what_nobody_reads_goes():
    x, w = variable("x", sg.float64, (4,)), variable("w", sg.float64, (4,))

    def iteration(state, row):
        a, b, still, lost = state
        return (a + row[0], b * a, still, lost * w.sum() + b), (a, row[1], still)

    last, outs = sg.scan(iteration, (0.0, 1.0, x.sum(), 1.0), (x, w))
    graph = MergedLoops()(Graph({"a": last[0], "still": last[2] + outs[2][0]}))
    (loop,) = loops(graph)
    op = loop.op
    assert (op.carries, op.slices, len(loop.args)) == (1, 1, 3)
    first = MergedLoops()(Graph({"still": last[2]}))
    assert not loops(first)
    chosen = sg.cond(x.sum() > 0, lambda: (sg.sin(x), x, w), lambda: (w, sg.cos(w), x))
    (branch,) = (n for n in MergedLoops()(Graph(chosen[0])).nodes if n.op.name == "branch")
    assert len(branch.types) == 1
    assert all("cos" not in [n.op.name for n in case.nodes] for case in bodies_of(branch))


@pytest.mark.parametrize("steps", [1, 2, 5, "named"])
def test_what_iterations_compute_alike_is_computed_once(steps):
    """Also in a nested loop, and for both directions of a gradient; not if no iteration may run."""
    rows = sg.dim("n") if steps == "named" else steps
    a, u = variable("a", sg.float64, (3, 3)), variable("u", sg.float64, (3,))
    x = variable("x", sg.float64, (rows, 3))

    def iteration(c, row):
        inner, _ = sg.scan(lambda d, _: (sg.linalg.solve(a @ a, d + row), None), c, np.ones(2))
        return inner, (a * 2.0).sum() + inner

    last, outs = sg.scan(iteration, u, x)
    loss = (last * last).sum() + outs.sum()
    graph = Graph({"loss": loss, **dict(zip("aux", sg.grad(loss, [a, u, x]), strict=True))})
    plain = pipeline("dce")(graph)
    hoisted = pipeline("dce,loops,cse")(graph)
    verify_graph(hoisted)
    names = [node.op.name for node in hoisted.nodes]
    assert (names.count("lu"), "sum" in str(hoisted).partition("loop")[0]) == (
        (1, True) if steps in (2, 5) else (0, False)
    )
    assert MergedLoops()(hoisted) is hoisted
    draw = np.random.default_rng(0).normal
    feeds = {"a": draw(size=(3, 3)) + 3.0 * np.eye(3), "u": draw(size=3)}
    feeds["x"] = draw(size=(0 if steps == "named" else steps, 3))
    if steps == "named":
        feeds["a"] *= 0.0  # a singular matrix that nothing solves with
    actual, expected = sg.evaluate(hoisted, feeds), sg.evaluate(plain, feeds)
    compiled = sg.compile(graph).run(feeds)
    for name, array in expected.items():
        assert actual[name].tobytes() == array.tobytes()
        np.testing.assert_allclose(compiled[name], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_product_of_a_stack_is_read_by_the_loop_over_the_stack(place, reverse):
    """The second loop computes a product of the first one's rows: it is stacked, computed once."""
    x, w = variable("x", sg.float64, (5, 3)), variable("w", sg.float64, (3, 3))

    def first(xp, w):
        def iteration(c, row):
            stacks = c + row, c * 0.5 - row, row * row
            return xp.tanh(stacks[place] @ w), stacks

        return iteration

    def second(xp, w):
        return lambda c, row: (xp.tanh(c + row @ w), (c * row,))

    _, stacks = sg.scan(first(sg, w), sg.zeros((3,), "float64"), x)
    last, (outs,) = sg.scan(second(sg, w), x[0], stacks[place], reverse=reverse)
    graph = pipeline("O1")(Graph({"last": last, "outs": outs, "others": sum(stacks)}))
    assert sum(inside(loop).count("matmul") for loop in loops(graph)) == 1
    draw = np.random.default_rng(0).normal
    arrays = {"x": draw(size=(5, 3)), "w": draw(size=(3, 3))}
    _, rows = scan_by_numpy(first(np, arrays["w"]), np.zeros(3), arrays["x"])
    step = 1 - 2 * reverse
    expected, (steps,) = scan_by_numpy(second(np, arrays["w"]), arrays["x"][0], rows[place][::step])
    results = sg.evaluate(graph, arrays)
    np.testing.assert_allclose(results["last"], expected, rtol=1e-13)
    np.testing.assert_allclose(results["outs"], steps[::step], rtol=1e-13)
    np.testing.assert_allclose(results["others"], sum(rows), rtol=1e-13)


def test_loops_that_differ_in_one_thing_keep_their_values():
    """Two loops differ in the direction, the start, the array, the body or the length."""
    x, y, s, t = (
        variable(n, sg.float64, shape)
        for n, shape in zip("xyst", ((4,), (4,), (), ()), strict=True)
    )
    feeds = {"x": np.array([1.0, 2.0, 4.0, 8.0]), "y": np.ones(4), "s": 3.0, "t": -1.0}

    def total(start, data, factor=0.5, **options):
        return sg.scan(lambda c, element: (c * factor + element, c), start, data, **options)

    def by_hand(start, data, factor=0.5, reverse=False, end=4):
        carry, begun = feeds[start], []
        values = feeds[data][:end]
        for element in values[::-1] if reverse else values:
            begun.append(carry)
            carry = carry * factor + element
        return carry, np.array(begun[::-1] if reverse else begun)

    first = (total(s, x), by_hand("s", "x"))
    for second, expected in (
        first,
        (total(s, x, reverse=True), by_hand("s", "x", reverse=True)),
        (total(t, x), by_hand("t", "x")),
        (total(s, y), by_hand("s", "y")),
        (total(s, x, 0.25), by_hand("s", "x", 0.25)),
        (total(s, x[:3]), by_hand("s", "x", end=3)),
    ):
        pairs = zip("abcd", (*first[0], *second), strict=True)
        graph = Graph(dict(pairs), inputs=[x, y, s, t])
        actual = sg.evaluate(pipeline("O1")(graph), feeds)
        for name, array in zip("abcd", (*first[1], *expected), strict=True):
            np.testing.assert_allclose(actual[name], array, rtol=1e-14)


def whiles(graph):
    return [node for node in graph.nodes if node.op.name == "while"]


def scan_by_numpy(step, carry, rows):
    stacks = []
    for row in rows:
        carry, out = step(carry, row)
        stacks.append(out)
    return carry, [np.stack(parts) for parts in zip(*stacks, strict=True)]


def differences_both_ways(xp, scan, x, c, w):
    ahead = scan(lambda c, row: (xp.tanh(c) * row, (c - row,)), c, x)[1]
    return [*ahead, *scan(lambda c, row: (xp.tanh(c) * row, (row - c,)), c, x)[1]]


def rows_and_the_whole_of_one_array(xp, scan, x, c, w):
    return scan(lambda c, row: (xp.tanh(c @ x + row), (c * row,)), c, x)[1]


def rows_in_one_loop_and_the_whole_in_another(xp, scan, x, c, w):
    by_rows = scan(lambda c, row: (xp.tanh(c), (c * row,)), c, x)[1]
    return [*by_rows, *scan(lambda c, row: (xp.tanh(c), ((c @ x) * row,)), c, w)[1]]


def stacks_one_behind_the_other(xp, scan, x, c, w):
    return [xp.concatenate(scan(lambda c, row: (xp.tanh(c), (c + row, c * row)), c, x)[1], 0)]


@pytest.mark.parametrize(
    "program",
    [
        differences_both_ways,
        rows_and_the_whole_of_one_array,
        rows_in_one_loop_and_the_whole_in_another,
        stacks_one_behind_the_other,
    ],
)
def test_loops_over_one_array_have_the_values_of_numpy(program):
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(5, 5)), rng.normal(size=5), rng.normal(size=(5, 5))
    values = [sg.input(name, a.shape, "float64") for name, a in zip("xcw", arrays, strict=True)]
    outputs = {f"y{k}": value for k, value in enumerate(program(sg, sg.scan, *values))}
    run = sg.compile(sg.Graph(outputs, inputs=values))
    actual = run.run(dict(zip("xcw", arrays, strict=True)))
    for number, expected in enumerate(program(np, scan_by_numpy, *arrays)):
        np.testing.assert_allclose(actual[f"y{number}"], expected, rtol=1e-13, atol=1e-13)


def test_carries_of_a_while_loop_that_nobody_reads_go():
    x = variable("x", sg.float64, (4,))

    def test(state):
        _, _, count, _, limit = state
        return count < limit

    def iteration(state):
        total, lost, count, still, limit = state
        return total + sg.sin(total) * still, lost * total, count + 1, still, limit

    start = (x, x * 2.0, sg.constant(0), x * 3.0, sg.constant(5))
    last = sg.while_loop(test, iteration, start)
    graph = Graph({"total": last[0], "still": last[3]})
    pruned = MergedLoops()(graph)
    verify_graph(pruned)
    (loop,) = whiles(pruned)
    assert loop.op.carries == 2  # the total, and the count that the test reads
    assert len(loop.args) == 4  # what no iteration changes is an invariant
    array = np.linspace(0.1, 1.0, 4)
    expected = array
    for _ in range(5):
        expected = expected + np.sin(expected) * array * 3.0
    for program in (graph, pruned):
        results = sg.evaluate(program, {"x": array})
        np.testing.assert_allclose(results["total"], expected, rtol=1e-14)
        np.testing.assert_array_equal(results["still"], array * 3.0)
    compiled = sg.compile(graph).run({"x": array})
    np.testing.assert_allclose(compiled["total"], expected, rtol=1e-14)


def test_what_only_a_removed_carry_reads_goes_with_it():
    """It reads a result of another loop that is not computed any more, here of another shape."""
    x = variable("x", sg.float64, (4,))

    def repeat(iteration, *start):
        last = sg.while_loop(
            lambda state: state[0] < 3, lambda state: (state[0] + 1, *iteration(*state[1:])),
            (sg.constant(0), *start),
        )  # fmt: skip
        return last[1:]

    total, wide = repeat(lambda a, b: (sg.sin(a), b * 2.0), x.sum(), x)
    last, _ = repeat(lambda a, b: (a + 1.0, b + a), total, sg.reshape(wide, (2, 2)))
    pruned = MergedLoops()(Graph({"last": last}))
    verify_graph(pruned)
    assert [loop.op.carries for loop in whiles(pruned)] == [2, 2]
    assert not any(node.op.name == "reshape" for node in pruned.nodes)
    array = np.array([0.1, 0.2, 0.3, -0.4])
    expected = np.sin(np.sin(np.sin(array.sum()))) + 3.0
    actual = sg.evaluate(pruned, {"x": array})["last"]
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def pruned_scans(x):
    """Return the last sum of a scan over a wide stack, whose other readers are not read."""
    wide = sg.scan(lambda c, row: (c + row.sum(), row[:, None] * row), 0.0, x)
    sums = sg.scan(
        lambda c, pair: (c + pair[0].sum(), pair[1].sum(0)), wide[0], (x, wide[1])
    )  # fmt: skip
    return sg.scan(lambda c, pair: (c * 0.5 + pair[0].sum(), pair[1]), sums[0], (x, sums[1]))[0]


def pruned_whiles(x):
    total, wide = sg.while_loop(lambda s: s[0] < 3.0, lambda s: (s[0] + 1.0, s[1] * 2.0), (0.0, x))
    return sg.while_loop(lambda s: s[0] < 9.0, lambda s: (s[0] + 2.0, s[1] + s[0]), (total, wide))[
        0
    ]


def pruned_branches(x):
    def choose(*values):
        return sg.cond(
            x.sum() > 0.0,
            lambda *v: tuple(k + 1.0 for k in v),
            lambda *v: tuple(k - 1.0 for k in v),
            *values,
        )

    total, wide = choose(x.sum(), x)
    return choose(total, wide)[0]


@pytest.mark.parametrize("build", [pruned_scans, pruned_whiles, pruned_branches])
def test_pruning_builds_no_node_of_a_wrong_type(build, monkeypatch):
    """Also where an operand that nothing needs was a result that is not computed any more."""
    x = variable("x", sg.float64, (4, 3))
    graph = Graph({"last": build(x)}, inputs=[x])
    nodes, construct = [], Node.__init__

    def record(node, *args, **options):
        construct(node, *args, **options)
        nodes.append(node)

    with monkeypatch.context() as patch:
        patch.setattr(Node, "__init__", record)
        pruned, changes = prune_bodies(graph)
    assert changes == {pruned_scans: 3}.get(build, 2)
    for node in nodes:
        inferred = node.op.infer(*[arg.type for arg in node.args])
        assert node.types == (inferred if isinstance(inferred, tuple) else (inferred,))
    verify_graph(pruned)
    array = np.random.default_rng(0).normal(size=(4, 3)) + 1.0
    expected = sg.evaluate(graph, {"x": array})["last"]
    np.testing.assert_array_equal(sg.evaluate(pruned, {"x": array})["last"], expected)


def test_a_while_loop_keeps_the_number_of_its_iterations():
    x = variable("x", sg.float64, ())
    graph = Graph(dict(zip("abn", while_with_number(x), strict=True)))
    read = Graph({"n": graph.outputs["n"]}, inputs=[x])
    pruned = MergedLoops()(read)
    (loop,) = whiles(pruned)
    assert loop.op.carries == 1
    assert int(sg.evaluate(pruned, {"x": np.array(100.0)})["n"]) == 7


def while_with_number(x):
    """Return what a halved number and another carry end as, and how often it was halved."""
    last = sg.while_loop(lambda s: s[0] >= 1.0, lambda s: (s[0] / 2.0, s[1] + s[0]), (x, x))
    return (*last, last[0].node.values[-1])


def test_carries_that_only_a_rule_reads_go_when_kernels_are_made():
    x = variable("x", sg.float64, (3,))

    @sg.custom_vjp
    def double(value, factor):
        return value * 2.0

    @double.rule
    def _(ct, out, value, factor):
        return ct * factor, None

    def iteration(state):
        value, factor, count = state
        return double(value, factor), factor * value, count + 1

    last = sg.while_loop(lambda s: s[2] < 3, iteration, (x, x, sg.constant(0)))
    compiled = sg.compile(Graph({"y": last[0]}))
    report, *_ = [r for r in compiled.explanation().late if r.name == "unmarked-loops"]
    assert report.changed
    array = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(compiled.run({"x": array})["y"], array * 8.0)


NUMBERED = {
    "sort": lambda k, a, i: k.sort(k.sin(a[0] * i)),
    "cumsum": lambda k, a, i: k.cumsum(a[0] * i + 1.0),
    "product": lambda k, a, i: ((a * i) @ (a + i))[0],
    "solve": lambda k, a, i: k.linalg.solve(a + i * 5.0, a[:, 1]),
    "of the number alone": lambda k, a, i: a[0] + k.cumsum(k.sin(k.arange(4.0) * i)),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_what_depends_on_the_number_of_the_iteration_stays_in_the_loop(name):
    """An expensive value of invariants and the number is another in each iteration."""
    formula = NUMBERED[name]
    a, c = sg.input("a", (4, 4), "float64"), sg.input("c", (4,), "float64")
    last = sg.fori_loop(0, 5, lambda i, s: 0.5 * s + formula(sg, a, i * 1.0), c)
    matrix, expected = np.random.default_rng(0).normal(size=(4, 4)), np.ones(4)
    for i in range(5):
        expected = 0.5 * expected + formula(np, matrix, float(i))
    result = sg.compile(last).run({"a": matrix, "c": np.ones(4)})
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("part", ["1/4", "1/2", "3/4"])
@pytest.mark.parametrize("reverse", [False, True])
def test_segments_beside_stored_iterations_read_their_rows(reverse, part):
    """Segments, a remainder, and iterations that are stored; the second loop runs either way."""
    w, start = (sg.input(name, (5,), "float64") for name in ("w", "start"))
    rows = sg.input("rows", (13,), "float64")
    last, _ = sg.scan(lambda c, k: (sg.tanh(c * w + k), None), start, rows, reverse=reverse)
    graph = pipeline("O1")(sg.Graph({"slope": sg.grad((last**2).sum(), start)}))
    divided = run_in_segments(graph, 1, Fraction(part))
    assert divided is not graph
    weights, terms = np.linspace(0.5, 1.5, 5), np.linspace(-1, 1, 13)

    def losses(c):
        for k in terms[::-1] if reverse else terms:
            c = np.tanh(c * weights + k)
        return c**2

    expected = (losses(np.ones(5) + 1e-5) - losses(np.ones(5) - 1e-5)) / 2e-5
    feeds = {"w": weights, "rows": terms, "start": np.ones(5)}
    result = sg.evaluate(divided, feeds)["slope"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("count", [0, 2])
def test_a_loop_that_may_have_no_iterations_keeps_what_may_fail(count):
    """Without iterations no matrix is factored, so that a singular one is no error."""
    rows = sg.input("rows", ("n", 3), "float64")
    matrix = sg.input("matrix", (3, 3), "float64")
    last, _ = sg.scan(lambda s, r: (s + sg.linalg.inv(matrix) @ r, None), np.zeros(3), rows)
    f = sg.compile(last)
    feeds = {"rows": np.ones((count, 3)), "matrix": 2.0 * np.eye(3)}
    np.testing.assert_array_equal(f.run(feeds), np.full(3, count / 2))
    feeds["matrix"] = np.zeros((3, 3))
    if count:
        with pytest.raises(sg.errors.LinearAlgebraError):
            f.run(feeds)
    else:
        np.testing.assert_array_equal(f.run(feeds), np.zeros(3))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("columns", "width"), [(1, 64), (2, 70), (8, 64), (9, 64), (3, 20)])
def test_weights_multiply_few_columns_as_rows_with_the_same_bits(columns, width, transposed):
    """Outside of loops, too: beside NumPy in float64, with a bias and rows that read each other."""
    random = np.random.default_rng(width)
    weight = (random.normal(size=(width, width)) / width**0.5).astype("f4")
    array, bias = random.normal(size=(width, columns)).astype("f4"), np.float32(0.5)
    x, w = sg.input("x", array.shape), sg.parameter("w", weight)
    y = sg.nn.softmax(sg.tanh((w.T if transposed else w) @ x + bias), axis=0)
    graph = sg.Graph({"y": y, "slope": sg.grad((y * y).sum(), [x, w])[1]})
    results = []
    for options in ({}, {"disable": ["transposed-factors"]}, {"fuse": False}, {"freeze": True}):
        f = sg.compile(graph, verify=True, **options)
        results.append((f.run({"x": array}), str(f.schedule)))
    for values, _ in results[1:]:
        assert_same(values, results[0][0], f"{columns} columns")
    is_few = columns in range(2, 9) and width >= 64
    assert (results[0][1] != results[1][1]) == is_few
    exact = weight.astype("f8")
    exact = np.exp(np.tanh((exact.T if transposed else exact) @ array + bias))
    np.testing.assert_allclose(results[0][0]["y"], exact / exact.sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("columns", "width"), [(1, 64), (2, 70), (8, 64), (9, 64), (3, 20)])
def test_few_columns_are_multiplied_as_rows_with_the_same_bits(columns, width, transposed):
    """A product of a matrix of every iteration and 2 to 8 columns is computed transposed."""
    random = np.random.default_rng(columns)
    arrays = {
        "x": random.normal(size=(9, width, columns)).astype("f4"),
        "u": (random.normal(size=(width, width)) / width**0.5).astype("f4"),
    }
    x, u = (sg.input(name, array.shape, "float32") for name, array in arrays.items())

    def step(state, at):
        state = sg.tanh(at + (u.T if transposed else u) @ state)
        return state, state

    _, states = sg.scan(step, x[0], x)
    graph = sg.Graph({"y": states, "slope": sg.grad((states * states).sum(), u)})
    compiled = sg.compile(graph, verify=True)
    usual = sg.compile(graph, disable=["transposed-factors"])
    assert_same(compiled.run(arrays), usual.run(arrays), f"{columns} columns")
    is_changed = str(compiled.schedule) != str(usual.schedule)
    assert is_changed or columns not in range(2, 9) or width < 64
