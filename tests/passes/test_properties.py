"""Every pass on random joint graphs: the same bytes, the same signature, nothing left to do."""

import functools

import numpy as np
import pytest

import staticgrad as sg
from passes.base import keeps
from passes.pipelines import LEVELS, PASSES, pipeline
from passes.rewrite import Rewrite, hole, rule
from passes.validation import mismatch
from staticgrad.language.ir.verify import verify_graph
from tests.helpers.program_checks import MismatchError, compare, run
from tests.helpers.random_programs import Program, random_description, random_graph

#: Every pass that keeps each byte, with its options; combinations; and the levels.
PIPELINES = (
    *(each.name for each in PASSES if each.keeps == "exact"),
    "cse{border=True}", "residuals{flops=1000}", "fold,dce,cse", "O1,cse{border=True},residuals",
    "narrow{dtype='float32'}", "O1,narrow{dtype='float32',readers='all'}", *LEVELS,
)  # fmt: skip


@functools.cache
def joint_graph(seed, varied=False):
    """A random graph with the gradient of its floating outputs, and feeds."""
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=30, varied=varied)
    outputs = dict(graph.outputs)
    floats = [value for value in outputs.values() if value.dtype.is_float]
    inputs = [value for value in graph.inputs if value.dtype.is_float]
    for position, value in enumerate(floats[:2]):
        gradients = sg.grad(value.sum(), inputs, allow_disconnected=True)
        outputs |= {f"d{position}_{i}": gradient for i, gradient in enumerate(gradients)}
    return sg.Graph(outputs, graph.updates, inputs=graph.inputs), feeds


def assert_same_bytes(before, after):
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, strict=True)
        signs = (np.signbit(x[~np.isnan(x)]) for x in (array, after[name]))
        assert array.dtype.kind != "f" or np.array_equal(*signs)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("text", PIPELINES)
@pytest.mark.parametrize("seed", range(8))
def test_values_and_signature_stay(seed, text):
    graph, feeds = joint_graph(seed)
    after = pipeline(text)(graph)
    verify_graph(after)
    assert after.inputs == graph.inputs
    assert after.parameters == graph.parameters
    assert list(after.outputs) == list(graph.outputs)
    more = any(name in str(pipeline(text)) for name in ("residuals", "narrow"))
    assert more or len(after.nodes) <= len(graph.nodes)
    before, now = (sg.evaluate(g, feeds, updates=True) for g in (graph, after))
    assert_same_bytes(before[0], now[0])
    assert_same_bytes(before[1], now[1])


@pytest.mark.thinned(13)
@pytest.mark.parametrize("text", PIPELINES)
def test_values_stay_of_ops_with_several_results_and_of_chains_of_casts(text):
    for seed in range(30):
        graph, feeds = joint_graph(seed, varied=True)
        after = pipeline(text)(graph)
        verify_graph(after)
        before, now = (sg.evaluate(g, feeds, updates=True) for g in (graph, after))
        for one, two in zip(before, now, strict=True):
            if "stabilize" not in str(pipeline(text)):
                assert_same_bytes(one, two)
                continue
            for name, array in one.items():  # log(1 + x) is nearer the true value
                close = 1e-12 if array.dtype == "float64" else 1e-5
                np.testing.assert_allclose(two[name], array, close, close, err_msg=str(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_second_run_changes_nothing(seed):
    graph, _ = joint_graph(seed)
    settle = pipeline("fixpoint(cse,fold,dce)")
    after = settle(graph)
    assert settle(after) is after
    for text in ("dce", "cse", "cse{border=True}", "fixpoint(residuals)"):
        once = pipeline(text)(graph)
        assert pipeline(text)(once) is once


@pytest.mark.parametrize("text", [*(each.name for each in PASSES), *LEVELS])
@pytest.mark.parametrize("seed", range(8, 11))
def test_every_pass_and_level_is_valid_on_special_values(seed, text):
    graph, _ = joint_graph(seed)
    passes = pipeline(text)
    assert mismatch(graph, passes.unrounded()(graph), keeps(passes)) is None


CHUNK = 100


def programs(first, count):
    """The same programs for the same numbers."""
    for number in range(first, first + count):
        rng = np.random.default_rng([17, number])
        steps = int(rng.integers(10, 31))
        yield Program(random_description(rng, steps, smooth=bool(number % 2)))


def evaluated(program, passes):
    """Outputs and updates by NumPy."""
    program.reset()
    graph = pipeline(passes)(program.graph)
    outputs, updates = sg.evaluate(graph, program.feeds, updates=True)
    return outputs | {f"parameter {name}": array for name, array in updates.items()}


def compiled(program, passes):
    """Outputs, and parameters after a run of kernels."""
    return run(program, sg.compile(program.graph, pipeline=passes), program.feeds)


def check_evaluated(program, one="O0", other="O1"):
    compare(program, f"evaluated, {other}", evaluated(program, other), evaluated(program, one))


def check_compiled(program):
    compare(program, "compiled, O1", compiled(program, "O1"), compiled(program, "O0"))


@pytest.mark.slow
def test_levels_agree_where_numpy_evaluates():
    for program in programs(0, 30):
        check_evaluated(program)


@pytest.mark.slow
def test_levels_agree_where_kernels_compute():
    for program in programs(30, 6):
        check_compiled(program)


@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", range(1000 // CHUNK))
def test_levels_agree_on_a_thousand_programs(chunk):
    for program in programs(50 + chunk * CHUNK, CHUNK):
        check_evaluated(program)
        check_compiled(program)


class Wrong(Rewrite, name="wrong_rewrite"):
    """x - y is not x + y."""

    rules = (rule("plus", hole("x") - hole("y"), hole("x") + hole("y"), dtypes="f"),)


def test_a_byte_that_differs_is_seen():
    program = next(p for p in programs(0, 9) if Wrong()(p.graph) is not p.graph)
    with pytest.raises(MismatchError, match="evaluated, wrong"):
        check_evaluated(program, other=Wrong())
