"""Every rewrite rule, tried on adversarial values over all the dtypes and shapes that it takes.

A rule needs nothing here to be tested: where its pattern is closed, the pattern over inputs is the
program; else its ``examples`` are. Both sides are evaluated; ``exact`` rules must give equal bytes.
"""

import dataclasses
import inspect
import itertools
import re

import numpy as np
import pytest

import staticgrad as sg
from passes.cse import CommonSubexpressions
from passes.pipelines import pipeline
from passes.rewrite import hole, holes, rewrite, rule
from passes.rewrite.rule import Applied, Hole, substitute, subterms
from passes.rules.tables import RULES
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.eager import Tensor
from staticgrad.errors import FeedError, PipelineError, StaticgradError
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types import dim as dims
from staticgrad.language.types.dtype import as_dtype
from tests.helpers.diagonals import diagonals
from tests.helpers.limits import finfo
from tests.helpers.true_values import true_values

FLOATS = [0.0, -0.0, 1.0, -1.0, 2.5, -0.5, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1e-40,
          1.7e308, -3.4e38, 1.0 + 2**-52, 0.1, 3.0, 3.0]  # fmt: skip
SHAPES = {"vector": (18,), "empty": (0,), "one": (1,), "matrix": (6, 3)}
DTYPES = ["float64", "float32", "int64", "int8", "uint8", "uint64", "bool"]


def values(dtype, shape, turn):
    """Adversarial elements, another arrangement for each ``turn``."""
    kind = np.dtype(dtype).kind
    if kind == "f":
        with np.errstate(over="ignore"):
            pool = np.array(FLOATS).astype(dtype)
    elif kind == "b":
        pool = np.array([True, False, False])
    else:
        ends = np.iinfo(dtype)
        pool = np.array([0, 1, 2, 7, ends.max, ends.min, ends.max - 1, 3, 3], dtype)
    count = int(np.prod(shape))
    return np.roll(np.resize(pool, max(count, len(pool))), turn * 5 + turn)[:count].reshape(shape)


def programs(rule, dtype, shape):
    """The programs that the rule is tried on: (value, feeds)."""
    builders = rule.examples or (_pattern_builder(rule),)
    for build in builders:
        names = list(inspect.signature(build).parameters)
        bools = {t.name for t in subterms(rule.pattern) if isinstance(t, Hole) and t.dtype.is_bool}
        kinds = {n: "bool" if n in bools else dtype for n in names}
        for turns in itertools.product(range(3), repeat=len(names) - 1):
            feeds = {
                n: values(kinds[n], shape, turn) for n, turn in zip(names, (0, *turns), strict=True)
            }
            inputs = [sg.input(n, shape, kinds[n]) for n in names]
            yield build(*inputs), feeds


def _pattern_builder(rule):
    """The pattern itself, as a function of what is in its holes."""
    assert all(t.op is not None for t in subterms(rule.pattern) if isinstance(t, Applied)), (
        f"rule {rule.name!r} leaves attributes open: give it examples that it applies to"
    )
    names = sorted({t.name for t in subterms(rule.pattern) if isinstance(t, Hole)})

    def build(*operands):
        return substitute(rule.pattern, dict(zip(names, operands, strict=True)))

    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names]
    build.__signature__ = inspect.Signature(parameters)
    return build


def attempts(rule):
    """Every program that can be built for the rule, rewritten by it: (before, after, feeds)."""
    for dtype in DTYPES:
        for shape in SHAPES.values():
            try:
                built = list(programs(rule, dtype, shape))
            except (StaticgradError, TypeError):
                continue  # the ops of the rule take other dtypes or shapes
            for value, feeds in built:
                used = {i.node.op.label for i in sg.Graph(value).inputs}
                graph = CommonSubexpressions()(sg.Graph(value))
                rewritten, hits = rewrite(graph, [rule])
                yield graph, rewritten, hits, {n: a for n, a in feeds.items() if n in used}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_keeps_what_it_promises(name):
    rule, applied = RULES[name], 0
    for graph, rewritten, hits, feeds in attempts(rule):
        applied += bool(hits)
        verify_graph(rewritten)
        inputs = {i.node.op.label for i in rewritten.inputs}
        assert inputs == set(feeds)
        expected, actual = sg.evaluate(graph, feeds), sg.evaluate(rewritten, feeds)
        if rule.kind == "exact":
            assert same_bytes(expected["output"], actual["output"]), (
                f"\n{graph}\n{rewritten}\n{feeds}"
            )
    assert applied, f"rule {name!r} applied to none of its own examples"


def size_programs(rule):
    """The programs of a rule with every axis of 0, of 1, and named, and others made of them."""
    builders = rule.examples or (_pattern_builder(rule),)
    dtype = next(d for d in ("float64", "int64", "bool") if np.dtype(d).kind in rule.dtypes)
    bools = {t.name for t in subterms(rule.pattern) if isinstance(t, Hole) and t.dtype.is_bool}
    for build in builders:
        names = list(inspect.signature(build).parameters)
        for shape in SIZES:
            ones = itertools.product(*({extent, 1} for extent in shape))
            for partner in dict.fromkeys((shape, *(ones if len(names) > 1 else ()))):
                shapes = [shape, *[partner] * (len(names) - 1)]
                inputs = [
                    sg.input(n, extents, "bool" if n in bools else dtype)
                    for n, extents in zip(names, shapes, strict=True)
                ]
                try:
                    graph = sg.Graph(build(*inputs), inputs=inputs)
                except (StaticgradError, TypeError):
                    continue  # the rule takes other shapes or dtypes
                yield from filter(None, [graph, *resize_literals(graph)])


#: Axes of 0, of 1, of more, and named.
SIZES = [*itertools.product((0, 1, 4, "n"), (0, 1, 3, "m")), (), (0,), (1,), (8,), ("n",)]


def resize_literals(graph):
    """The graph with each literal size of its ops 0, 1 or named; and with reshapes of nothing.

    A value without elements may be reshaped to any shape without elements.
    """
    literals = {
        extent for node in graph.nodes for extent in sizes_of(node.op) if isinstance(extent, int)
    }
    changed = [graph]
    for literal, new in itertools.product(literals - {0, 1}, (0, 1, sg.dim("m"))):
        changed.append(rebuilt(graph, lambda op, old=literal, new=new: of_sizes(op, old, new)))
    changed = [variant for variant in changed if variant is not None]
    yield from changed[1:]
    for variant in changed:
        for node in variant.nodes:
            if isinstance(node.op, Reshape) and 0 in node.op.shape:
                for axis, extent in enumerate(node.op.shape):
                    shape = (*node.op.shape[:axis], extent + 1, *node.op.shape[axis + 1 :])
                    if 0 in shape:
                        expected = node.op, Reshape(shape)
                        yield rebuilt(variant, lambda op, of=expected: of[1] if op is of[0] else op)


def sizes_of(op):
    return (*getattr(op, "shape", ()), *getattr(op, "lengths", ()))


def of_sizes(op, old, new):
    """The op with sizes ``new`` in the place of ``old``."""
    names = [name for name, _ in op.attributes() if name in ("shape", "lengths")]
    changed = {n: tuple(new if s == old else s for s in getattr(op, n)) for n in names}
    return dataclasses.replace(op, **changed) if changed else op


def rebuilt(graph, change):
    """The graph with other ops over the same inputs, or None where they do not fit together."""
    new = {node: node.values for node in graph.nodes if node.is_leaf}
    try:
        for node in graph.nodes:
            if not node.is_leaf:
                results = change(node.op)(*(new[arg.node][arg.index] for arg in node.args))
                new[node] = results if isinstance(results, tuple) else (results,)
    except StaticgradError:
        return None
    outputs = {name: new[v.node][v.index] for name, v in graph.outputs.items()}
    return sg.Graph(outputs, inputs=graph.inputs)


def make_feeds(graph, n, m):
    """Ordinary values for the inputs, whose named sizes are ``n`` and ``m``."""
    random = np.random.default_rng(7)
    feeds = {}
    for value in graph.inputs:
        shape = [dims.evaluate(extent, {"n": n, "m": m}) for extent in value.shape]
        array = random.normal(size=shape) * 2
        feeds[value.node.label] = array > 0 if value.dtype.is_bool else array.astype("float64")
        if value.dtype.is_integer:
            feeds[value.node.label] = array.round().astype("int64")
    return feeds


@pytest.mark.thinned(8)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_holds_at_sizes_of_0_and_1(name):
    """Sizes are literal and named; a rule asks for no condition that the program does not have."""
    rule, applied = RULES[name], 0
    for program in size_programs(rule):
        graph = CommonSubexpressions()(program)
        rewritten, hits = rewrite(graph, [rule])
        if not hits:
            continue
        applied += 1
        verify_graph(rewritten)
        numbers = [(0, 0), (0, 1), (1, 0), (1, 1), (4, 3), (2, 5)] if program.sizes else [(0, 0)]
        for n, m in numbers:
            sizes = {k: v for k, v in (("n", n), ("m", m)) if k in program.sizes}
            feeds = make_feeds(program, n, m)
            try:
                expected = sg.evaluate(program, feeds, sizes=sizes)["output"]
            except FeedError:
                continue  # the program itself excludes these sizes
            actual = sg.evaluate(rewritten, feeds, sizes=sizes)["output"]
            assert expected.dtype == actual.dtype
            if rule.kind == "exact":
                assert same_bytes(expected, actual), f"\n{program}\n{rewritten}\n{feeds}"
            else:
                np.testing.assert_allclose(
                    actual, expected, 1e-9, 1e-12, err_msg=f"{program}\n{rewritten}"
                )
    assert applied, f"rule {name!r} applied nowhere"


#: Where formulas overflow, cancel and underflow in float32, but not yet in float64.
STEEP = np.float32([-80.0, -20.5, -3.0, -0.75, -1e-3, -1e-9, 0.0, 2e-9, 1e-4, 0.5, 1.0, 4.0, 17.25,
                    30.0, 95.0, 120.0, 200.0, -300.0])  # fmt: skip


#: Errors in units of eps where a result is near 0: log of what has been rounded to 1.
ABSOLUTE = dict.fromkeys(
    (f"less-{name}{end}" for name in ("log-sum-exp", "logsumexp") for end in ("", "-of-all")), 1.0
)


@pytest.mark.thinned(4)
@diagonals(
    2,
    ("dtype", ["float32", "float64"]),
    ("name", [n for n, r in RULES.items() if r.kind == "stable"]),
)
def test_a_stable_rule_comes_closer(name, dtype):
    """Both sides against the left one with 800 digits; what is finite in truth stays so."""
    rule = RULES[name]
    scale = 1.0 if dtype == "float32" else 8.0
    for build in rule.examples or (_pattern_builder(rule),):
        names = list(inspect.signature(build).parameters)
        graph = CommonSubexpressions()(
            sg.Graph(build(*(sg.input(n, (6, 3), dtype) for n in names)))
        )
        feeds = {
            n: (np.roll(STEEP, 7 * k).reshape(6, 3) * scale).astype(dtype)
            for k, n in enumerate(names)
            if n in _labels(graph)
        }
        rewritten, hits = rewrite(graph, [rule])
        assert hits, "it does not apply to its own example"
        truth = true_values(graph, feeds)
        limits = finfo(dtype)
        finite = np.isfinite(truth) & (np.abs(truth) < limits.max)
        assert finite.any()
        with np.errstate(invalid="ignore"):
            was, now = (
                np.abs(sg.evaluate(side, feeds)["output"].astype("float64") - truth)[finite]
                for side in (graph, rewritten)
            )
        near = 8 * limits.eps * np.abs(truth[finite]) + limits.tiny
        assert np.isfinite(now).all()
        assert ((now <= was) | np.isnan(was) | (now <= near)).all()
        rounding = ABSOLUTE.get(name, 0.0) * limits.eps
        assert (now <= 64 * limits.eps * np.abs(truth[finite]) + limits.tiny + rounding).all()


@pytest.mark.parametrize("name", [n for n, r in RULES.items() if r.kind == "value"])
def test_a_value_rule_stays_near(name):
    """Ordinary numbers in float64: what rounding explains, relative to the largest summand."""
    rule = RULES[name]
    random = np.random.default_rng(5)
    for build in rule.examples or (_pattern_builder(rule),):
        names = list(inspect.signature(build).parameters)
        graph = CommonSubexpressions()(
            sg.Graph(build(*(sg.input(n, (6, 3), "float64") for n in names)))
        )
        feeds = {n: random.normal(size=(6, 3)) for n in names if n in _labels(graph)}
        rewritten, hits = rewrite(graph, [rule])
        assert hits, "it does not apply to its own example"
        expected, actual = (sg.evaluate(side, feeds)["output"] for side in (graph, rewritten))
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-13)


def _labels(graph):
    return {i.node.op.label for i in graph.inputs}


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda x, y: (x + 0.0, x), "-0.0 + 0.0 is 0.0"),
        (lambda x, y: (x * 0.0, 0.0), "inf * 0 is NaN"),
        (lambda x, y: (-(x - y), y - x), "-(1 - 1) is -0.0"),
        (lambda x, y: (sg.log(sg.exp(x)), x), "it overflows"),
        (lambda x, y: (sg.maximum(x, y), sg.where(x > y, x, y)), "NaN wins"),
    ],
)
def test_a_wrong_rule_is_caught(wrong, kind):
    left, right = wrong(*holes("x y"))
    wrong_rule = rule("wrong", left, right)
    differences = [
        graph
        for graph, rewritten, _, feeds in attempts(wrong_rule)
        if not same_bytes(
            sg.evaluate(graph, feeds)["output"], sg.evaluate(rewritten, feeds)["output"]
        )
    ]
    assert differences, kind


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@pytest.mark.parametrize("final", ["float64", "int64", "int8", "bool"])
@pytest.mark.parametrize("between", [*INTEGERS, "bool"])
def test_a_cast_between_stays_where_it_changes_a_number(between, final):
    """A negative integer is another number without a sign, in however many bits."""
    for first in INTEGERS:
        ends = np.iinfo(first)
        data = np.array([ends.min, max(ends.min, -1), 0, 1, 2, ends.max], first)
        x = sg.input("x", data.shape, first)
        graph = sg.Graph(Cast(as_dtype(final))(Cast(as_dtype(between))(x)))
        rewritten, _ = rewrite(graph, [RULES["cast-of-widening-cast"], RULES["cast-to-itself"]])
        expected, actual = (sg.evaluate(side, {"x": data})["output"] for side in (graph, rewritten))
        assert same_bytes(expected, actual), f"{first} to {between} to {final}"


def test_rules_that_undo_each_other_are_named():
    x, y = holes("x y")
    graph = sg.Graph(sg.input("a", (3,)) - sg.input("b", (3,)))
    forth = rule("there", x - y, x + (-y))
    back = rule("back", x + (-y), x - y)
    with pytest.raises(PipelineError, match="without end: there, back"):
        rewrite(graph, [forth, back])


def test_a_rule_may_not_change_the_type():
    x = hole("x")
    graph = sg.Graph(-sg.input("a", (3,)))
    with pytest.raises(PipelineError, match="puts"):
        rewrite(graph, [rule("widens", -x, lambda m: m.x.astype("float64"))])
    with pytest.raises(PipelineError, match="puts"):
        rewrite(graph, [rule("grows", -x, lambda m: sg.stack([m.x, m.x]))])


def test_a_number_is_matched_bit_for_bit_wherever_it_is_repeated():
    a = sg.input("a", (2, 3))
    zeros = [0.0, np.zeros((2, 3), "f4"), sg.zeros((2, 3)), sg.zeros((3, 2)).T]
    for zero in zeros:
        assert rewrite(sg.Graph(a - zero), [RULES["subtract-zero"]])[1]
        assert not rewrite(sg.Graph(a + zero), [RULES["add-minus-zero"]])[1]
    for operand in (-0.0, np.array([0.0, 0.0, 1.0], "f4"), np.zeros((0, 1, 1), "f4")):
        assert not rewrite(sg.Graph(a - operand), [RULES["subtract-zero"]])[1]


def test_a_rule_may_ask_for_the_type_of_an_operand():
    x, y = holes("x y")
    of_three = rule("of-three", x + y, x * y, reads=lambda kind: kind.shape == (3,))
    a, b, c = sg.input("a", (3,)), sg.input("b", (2, 1)), sg.input("c", (2, 3))
    graph = sg.Graph({"read": a + b, "read by the other": b + a, "not read": b + c})
    rewritten, hits = rewrite(graph, [of_three])
    assert hits == {"of-three": 2}
    ops = {name: value.node.op.name for name, value in rewritten.outputs.items()}
    assert ops == {"read": "mul", "read by the other": "mul", "not read": "add"}


def test_the_limit_stops_between_two_rewrites():
    value = sg.input("a", (3,))
    for _ in range(4):
        value = sg.negative(-value)
    graph = sg.Graph(value)
    seen = []
    rewritten, hits = rewrite(graph, [RULES["negate-twice"]], limit=1, watch=seen.append)
    assert (len(rewritten.nodes), hits, len(seen)) == (7, {"negate-twice": 1}, 1)
    assert seen[0].rule is RULES["negate-twice"]
    assert re.fullmatch(r"test_rules.py:\d+: negate-twice: neg.*-> x \(exact\)", str(seen[0]))
    assert rewrite(graph, [RULES["negate-twice"]], limit=0)[0] is graph


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
    replacement = GIVEN[kind]
    wrong = rule("wrong", x * y, lambda match: replacement)
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
        expected = np.full(3, number).astype(dtype)
    assert hits == {"number": 1}
    assert sg.evaluate(graph, {"a": ones, "b": ones})["output"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("condition", [None, 1, "yes", np.ones(3), product()["output"]])
def test_a_condition_without_a_truth_is_refused(condition):
    unsure = rule("unsure", x * y, x, where=lambda match: condition)
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


@pytest.mark.parametrize("first", ["ab", "Ab", "aB", "AB"])
@pytest.mark.parametrize("second", ["ac", "Ac", "aC", "AC", "ba", "cb", "cB", "Cb", "CA"])
def test_common_factors_of_products_keep_which_operand_is_transposed(first, second):
    """Capitals are transposed matrices: AB is a.T @ b.T."""
    random = np.random.default_rng(8)
    feeds = {name: random.normal(size=(9, 9)) for name in "abc"}
    inputs = {name: sg.input(name, (9, 9), "float64") for name in feeds}

    def product(names, of):
        left, right = (of[n] if n in of else of[n.lower()].T for n in names)
        return left @ right

    total = product(first, inputs) + product(second, inputs)
    optimized = pipeline("O2")(sg.Graph({"total": total}, inputs=list(inputs.values())))
    want = product(first, feeds) + product(second, feeds)
    assert np.abs(sg.evaluate(optimized, feeds)["total"] - want).max() < 1e-12
    has_common = first[0] == second[0] or first[1] == second[1]
    assert str(optimized).count("= matmul") == (1 if has_common else 2)
