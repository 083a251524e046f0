"""Lints: each on its own examples, sound ranges, whole programs without hazards, the report."""

import dataclasses
import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.errors import ArgumentError, OpDefinitionError
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.ranges import Zero
from staticgrad.support import building
from staticgrad.tools import lints as package
from staticgrad.tools.commands import cli
from staticgrad.tools.lints import LINTS, Lint, lint
from staticgrad.tools.lints.ranges import ranges_of
from tests.passes import golden_models


@pytest.fixture(autouse=True)
def _examples_are_user_code(monkeypatch):
    """The examples stand in the package; here their lines are those of a user."""
    for file in Path(str(package.__file__)).parent.glob("*.py"):
        monkeypatch.setitem(building._is_library, str(file), False)


def program(build):
    """The program that an example builds, over as many float32 inputs as it takes."""
    names = list(inspect.signature(build).parameters)
    return build(*(sg.input(name, ("n", 3), "float32") for name in names))


def cases(kind):
    return [
        pytest.param(name, build, id=f"{name}-{k}")
        for name, rule in LINTS.items()
        for k, build in enumerate(getattr(rule, kind))
    ]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("name", "build"), cases("bad"))
def test_a_lint_sees_its_hazard(name, build):
    actual = [finding for finding in lint(program(build), notes=True) if finding.rule == name]
    assert actual
    for finding in actual:
        assert len(str(finding).splitlines()) <= 5
        assert finding.fix in str(finding)
        assert name in str(finding)
    assert all(finding.rule != name for finding in lint(program(build), notes=True, without=[name]))


@pytest.mark.thinned(5)
@pytest.mark.parametrize(("name", "build"), cases("good"))
def test_a_lint_says_nothing_of_what_is_right(name, build):
    assert [
        str(finding) for finding in lint(program(build), notes=True) if finding.rule == name
    ] == []


def test_the_names_are_one_per_lint():
    assert all(rule.name == name for name, rule in LINTS.items())
    assert len(LINTS) >= 12
    value = sg.arccos(sg.input("x", ("n",), "float32"))
    assert lint(value) == ()
    assert [finding.severity for finding in lint(value, notes=True)] == ["note"]
    first = next(iter(LINTS.values()))
    with pytest.raises(OpDefinitionError):
        dataclasses.replace(first, good=())
    with pytest.raises(OpDefinitionError):
        Lint("name", "about", (), first.check, bad=(), good=first.good)


#: Lints whose hazard is a NaN or infinity in a gradient, with the points where it shows.
SHOWN = {
    "sqrt-at-zero": [[0.0] * 3, [0.0, 1.0, -2.0], [1.0, 2.0, -0.5]],
    "where-gradient": [[0.0] * 3, [90.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, -2.0, 3.0]],
    "arc-at-one": [[1.0, 0.5, 0.0], [-1.0, 0.0, 0.3], [0.9, 2.0, -3.0]],
}


def gradients_at(build, points):
    """Gradients of the sum of an example, with respect to each of its inputs."""
    value = program(build)
    expected = list(Graph(value).inputs)
    with np.errstate(all="ignore"):
        slopes = sg.grad(value.sum(), expected, allow_disconnected=True)
        gradients = Graph({f"g{k}": g for k, g in enumerate(slopes)}, inputs=expected)
        feed = np.array([points], "float32")
        return sg.evaluate(gradients, {x.node.op.label: feed for x in expected})


@pytest.mark.parametrize(("name", "build"), [c for c in cases("bad") if c.values[0] in SHOWN])
def test_the_gradient_is_not_finite_where_a_lint_says_so(name, build):
    actual = [gradients_at(build, points) for points in SHOWN[name]]
    assert not all(np.isfinite(g).all() for gradients in actual for g in gradients.values())


@pytest.mark.parametrize(("name", "build"), [c for c in cases("good") if c.values[0] in SHOWN])
def test_the_gradient_has_no_nan_where_it_does_not(name, build):
    for points in SHOWN[name]:
        for gradient in gradients_at(build, points).values():
            assert not np.isnan(gradient).any(), points


def losses():
    """One loss per composite of ``sg.nn``, over float32 inputs and parameters."""
    x = sg.input("x", ("n", 8), "float32")
    y = sg.input("y", ("n",), "int64")
    t = sg.input("t", ("n", 8), "float32")
    image = sg.input("image", ("n", 4, 5, 5), "float32")
    w = sg.parameter("w", np.ones((8, 8), "float32"))
    h = x @ w
    nn = sg.nn
    for name in ("relu", "silu", "softplus", "gelu", "elu", "leaky_relu", "softmax", "log_softmax",
                 "logsumexp", "layer_norm", "rms_norm"):  # fmt: skip
        yield name, getattr(nn, name)(h).sum(), [w]
    yield "gelu, approximate", nn.gelu(h, approximate=True).sum(), [w]
    for name in ("mse", "huber", "binary_cross_entropy_with_logits"):
        yield name, getattr(nn, name)(h, t), [w]
    yield "cross_entropy", nn.cross_entropy(h, y), [w]
    yield "group_norm", nn.group_norm(image * w[0, 0], 2).sum(), [w]
    yield "attention", nn.attention(h, h, h).sum(), [w]
    yield "batch_statistics", sg.add(*map(sg.sum, nn.batch_statistics(h))), [w]
    yield "embedding", nn.embedding(y % 8, w).sum(), [w]


@pytest.mark.thinned(4)
@pytest.mark.parametrize("case", list(losses()), ids=lambda case: case[0])
def test_a_training_step_of_a_composite_is_clean(case):
    _, loss, weights = case
    optimizer = sg.optim.Adam(1e-3)
    assert [str(finding) for finding in lint(loss)] == []
    step = Graph({"loss": loss}, updates=optimizer.updates(loss, weights))
    assert [str(finding) for finding in lint(step)] == []
    assert [str(finding) for finding in lint(sg.parse(str(step)))] == []


def test_a_finding_prints_the_users_line_and_what_to_write():
    x, y = sg.input("x", ("n",), "float32"), sg.input("y", ("n",), "float32")
    (actual,) = sg.lint({"r": sg.sqrt(x * x + y * y)})
    first, place, text, carets, fix = str(actual).splitlines()
    assert first == (
        "[sqrt-at-zero] sqrt: the operand can be 0, where the derivative is infinite and the"
        " gradient NaN"
    )
    assert "test_lints.py" in place
    assert "sg.sqrt(x * x + y * y)" in text
    assert set(carets.strip()) == {"^"}
    assert fix.startswith("  hint: sg.hypot(x, y)")
    assert actual.as_json()["line"] == actual.at.resolve().line


def test_a_hazard_of_the_derivative_counts_where_a_gradient_flows():
    x, w = sg.input("x", ("n", 3), "float32"), sg.parameter("w", np.ones((3, 2), "float32"))
    spread = sg.sqrt(sg.var(x))  # only reported
    loss = sg.mean((x @ w) * 2.0)
    assert len(lint({"loss": loss, "spread": spread})) == 1
    assert lint({"loss": loss, "spread": spread, "dw": sg.grad(loss, w)}) == ()
    scaled = loss * sg.sqrt(sg.var(x @ w))
    assert [f.rule for f in lint({"loss": scaled, "dw": sg.grad(scaled, w)})] == ["sqrt-at-zero"]


def test_findings_come_by_line_and_once_per_line():
    x = sg.input("x", ("n",), "float32")
    first = sg.log(abs(x))
    second = 1.0 / abs(x)
    actual = lint({"b": second, "a": first + second})
    assert [finding.rule for finding in actual] == ["log-at-zero", "division-by-zero"]
    with pytest.raises(ArgumentError, match="did you mean 'log-at-zero'"):
        lint(sg.input("x", (3,), "float32"), without=["log-at-zer"])


@pytest.mark.slow
def test_linting_is_linear_and_deep_graphs_are_no_trouble():
    value = sg.input("x", ("n",), "float32")
    for _ in range(1000):
        value = sg.sqrt(value * value + 1.0) / abs(value)
    assert len(lint(value)) == 1  # one line, a thousand quotients


@pytest.mark.slow
def test_models_and_their_steps_are_clean():
    """The golden models, before and after the passes, and as parsed text."""
    for make in golden_models.MODELS.values():
        graph = make()
        for variant in (graph, pipeline("O1")(graph), sg.parse(str(graph))):
            assert [str(finding) for finding in lint(variant, notes=True)] == []


HAZARD = """\
staticgrad-ir 1
graph g(%x: f32[n], %y: f32[n]) {
  %0: f32[n] = abs(%x)   # train.py:7
  %1: f32[n] = log(%0)   # train.py:8
  %2: f32[n] = acos(%y)   # train.py:9
  %3: f32[n] = add(%1, %2)   # train.py:9
  return y = %3
}
"""
CLEAN = HAZARD.replace("log(", "exp(")


def run(*arguments, text=HAZARD):
    return CliRunner().invoke(cli.main, ["lint", *arguments], input=text, catch_exceptions=False)


def test_hazards_are_printed_and_the_exit_code_is_one():
    result = run()
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "[log-at-zero] log: the operand can be 0, where the logarithm is -inf",
        "  train.py:8",
        "  hint: sg.log(x + 1e-12); of counts sg.log1p(x); p log p is sg.xlogy(p, p)",
    ]


def test_a_graph_without_any_exits_with_zero(tmp_path):
    (tmp_path / "g.sg").write_text(CLEAN)
    result = run(str(tmp_path / "g.sg"))
    assert (result.exit_code, result.stdout) == (0, "no hazards found\n")


def test_notes_and_exceptions_are_options():
    assert "[arc-at-one]" in run("--notes", text=CLEAN).stdout
    assert run("--without", "log-at-zero").exit_code == 0
    result = run("--without", "log-at-zer")
    assert result.exit_code == 1
    assert "did you mean 'log-at-zero'" in result.stderr


@pytest.mark.parametrize(("text", "rules"), [(HAZARD, ["log-at-zero"]), (CLEAN, [])])
def test_findings_as_json(text, rules):
    result = run("--json", text=text)
    data = json.loads(result.stdout)
    assert [finding["rule"] for finding in data["findings"]] == rules
    assert data["holds"] is (not rules)
    assert result.exit_code == len(rules)
    assert all(
        finding["file"] == "train.py" and finding["line"] == 8 for finding in data["findings"]
    )


UNARY = (
    *("absolute", "exp", "log", "sqrt", "square", "sigmoid", "tanh", "negative", "expm1", "log1p"),
    *("reciprocal", "cosh", "sinh", "floor", "sign", "sin", "erf", "cbrt", "exp2", "arctan"),
    *("rint", "trunc", "ceil", "log2"),
)
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "hypot")
COMPARE = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
AXES = ("sum", "max", "min", "mean", "prod")
NUMBERS = (0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0)
ROUND = (0.0, 1.0, -1.0, 0.25, -2.0, 2.5)


def random_program(rng, length):
    """A graph of ``length`` steps that no range analysis was written for; every value an output."""
    values = [sg.input("x", (5,), "float64"), sg.input("n", (5,), "int64").astype("float64")]

    def pick():
        return values[max(0, len(values) - 1 - int(rng.geometric(0.4)) + 1) % len(values)]

    for _ in range(length):
        x, operand = pick(), pick() if rng.random() < 0.5 else float(rng.choice(NUMBERS))
        kind = rng.integers(7)
        if kind <= 2:
            value = getattr(sg, rng.choice(UNARY))(x)
        elif kind <= 4:
            value = getattr(sg, rng.choice(BINARY))(x, operand)
        elif kind == 5:
            test = getattr(sg, rng.choice(COMPARE))(x, float(rng.choice(NUMBERS)))
            branches = (x, operand) if rng.random() < 0.5 else (operand, x)
            value = sg.where(test, *branches)
        else:
            value = x - getattr(sg, rng.choice(AXES))(x, keepdims=True)
            value = sg.broadcast_to(value, (5,))
        values.append(value)
    return Graph({f"v{k}": value for k, value in enumerate(values)})


@pytest.mark.thinned(5)
@pytest.mark.parametrize("seed", range(100))
def test_ranges_hold_on_random_programs(seed):
    rng = np.random.default_rng(seed)
    graph = random_program(rng, 8)
    every = {f"n{k}": v for k, node in enumerate(graph.nodes) for v in node.values}
    full = Graph(every, inputs=graph.inputs)
    ranges = ranges_of(full)
    for turn in range(6):
        feeds = {
            "x": rng.choice(ROUND, 5) if turn % 2 else rng.normal(size=5),
            "n": rng.integers(-2, 3, 5),
        }
        arrays = sg.evaluate(full, {i.node.op.label: feeds[i.node.op.label] for i in full.inputs})
        # Beyond these numbers exponentials round to 0, which ranges leave out on purpose.
        if any(np.abs(a[np.isfinite(a)]).max(initial=0) > 30 for a in arrays.values()):
            continue
        for name, array in arrays.items():
            range_, finite = ranges[every[name].key], array[np.isfinite(array)].astype("float64")
            slack = 1e-12 * (1 + np.abs(finite))
            assert (finite >= range_.low - slack).all(), f"{name} {range_} {array}\n{full}"
            assert (finite <= range_.high + slack).all(), f"{name} {range_} {array}\n{full}"
            if range_.zero is Zero.NEVER and all(np.isfinite(a).all() for a in arrays.values()):
                assert (finite != 0).all(), f"{name} {range_} {array}\n{full}"


X = sg.input("x", ("n", 3), "float32")
#: Value -> (low, high, zero) by hand.
KNOWN = [
    (X, -math.inf, math.inf, Zero.MAYBE),
    (X * X, 0, math.inf, Zero.REACHED),
    (X * X + 1.0, 1, math.inf, Zero.NEVER),
    (sg.nn.relu(X), 0, math.inf, Zero.CHOSEN),
    (sg.exp(X).sum(-1), 0, math.inf, Zero.NEVER),
    (sg.exp(X) / sg.exp(X).sum(), 0, math.inf, Zero.NEVER),
    (X - sg.max(X, -1, keepdims=True), -math.inf, 0, Zero.REACHED),
    (sg.ptp(X), 0, math.inf, Zero.REACHED),
    (sg.var(X), 0, math.inf, Zero.REACHED),
    (sg.norm(X), 0, math.inf, Zero.REACHED),
    (sg.sum(X > 0).astype("float32"), 0, math.inf, Zero.CHOSEN),
    (sg.where(X > 0, X, 1.0), 0, math.inf, Zero.NEVER),
    (sg.where(X < 0, X, -1.0), -math.inf, 0, Zero.NEVER),
    (sg.floor(sg.sigmoid(X)), 0, 1, Zero.CHOSEN),
    (sg.clip(X, -1.0, 2.0), -1, 2, Zero.MAYBE),
    (sg.maximum(X, 0.5), 0.5, math.inf, Zero.NEVER),
    (-sg.sigmoid(X), -1, 0, Zero.NEVER),
    (sg.log1p(sg.exp(X)), 0, math.inf, Zero.NEVER),
    (sg.constant(np.float32([1, 2])) + 1.0, 2, 3, Zero.NEVER),
]


@pytest.mark.parametrize(("value", "low", "high", "zero"), KNOWN, ids=range(len(KNOWN)))
def test_ranges_by_hand(value, low, high, zero):
    actual = ranges_of(Graph(value))[value.key]
    assert (actual.low, actual.high) == (low, high)
    assert actual.zero is zero
