"""Random programs against the oracle, against themselves on every way, and against differences.

A few in the ordinary suite; a thousand by hand, in minutes:
``python -m pytest tests/compiled/test_random_programs.py -m exhaustive``. A failure shrinks to a
few nodes and prints its text and a script; the last tests plant mistakes and see that this is so.
"""

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import staticgrad as sg
from staticgrad.language.ir.forms import Assemble, Region
from staticgrad.language.ir.graph import ancestors
from staticgrad.language.ir.op import registered_ops
from tests.helpers.program_checks import (
    SLOW_WAYS,
    WAYS,
    MismatchError,
    check_derivatives,
    check_nodes,
    check_program,
    compare,
)
from tests.helpers.random_programs import (
    Program,
    descriptions,
    random_description,
    random_graph,
    read_description,
)

CHUNK = 50
QUIET = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
)


def check(description):
    """Everything that must hold; each program on one other way, in turn."""
    turn = sum(description.header)
    way = SLOW_WAYS[turn // 50 % 2] if turn % 50 == 0 else WAYS[turn % (len(WAYS) - 2)]
    program = Program(description)
    check_program(program, [way], layouts=3)
    if description.smooth and turn % 2 == 0:
        check_derivatives(program)


def run_chunk(chunk, count, check, phases=(Phase.generate, Phase.shrink), **options):
    """``check`` on ``count`` programs, the same ones for the same chunk."""

    @hypothesis.seed(chunk)
    @settings(QUIET, max_examples=count, phases=phases)
    @given(descriptions(**options))
    def on_each(description):
        check(description)

    on_each()


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 3, 4, 5])  # which hold six ways; each takes some 3 s
def test_random_programs(chunk):
    run_chunk(chunk, 4, check, max_steps=20)


@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", range(100, 100 + 1000 // CHUNK))
def test_a_thousand_random_programs(chunk):
    run_chunk(chunk, CHUNK, check, max_steps=30)


def drawn(count, **options):
    programs = []
    run_chunk(7, count, lambda d: programs.append(Program(d)), **options)
    return programs


#: Ops that few programs hold: special functions and factorizations are one step among many.
RARE_MODULES = ("complex_linalg", "linalg", "schur", "special")
RARE = {
    name
    for name, op in registered_ops().items()
    if op.__module__.startswith(
        tuple(f"staticgrad.language.ops.{module}" for module in RARE_MODULES)
    )
}


@pytest.mark.slow
def test_programs_hold_every_kind_of_op():
    rng = np.random.default_rng(0)
    programs = [Program(random_description(rng, 20, smooth=n % 2 == 0)) for n in range(250)]
    nodes = [node for program in programs for node in program.graph.nodes]
    ops = {node.op.name for node in nodes}
    rare = {
        *("custom_vjp", "custom_jvp", "logical_and", "logical_not", "logical_xor", "logical_or"),
        *("again", "checkpoint_name", "recomputed"),  # marks: tests of checkpoint policies
        *("bit_not", "panel_matmul"),  # of loops of many iterations
        *("rank_mean", "rank_part", "rank_scatter", "rank_gather"),  # of several processes
        "fft",  # of pairs, as the next ones: tests/complex_numbers
        *(name for name in registered_ops() if name.startswith("complex_")),
        *("sparse_product", "sampled_product", "sparse_solve"),  # tests/sparse
    }
    missing = {n for n in registered_ops() if "." not in n} - ops - rare - RARE
    assert len(missing) <= 6, sorted(missing)
    assert ops >= {"loop", "while", "branch", "conv", "conv_image", "conv_filter", "cholesky"}
    dtypes = {t.dtype.numpy.name for node in nodes for t in node.types}
    assert dtypes >= {"float32", "float64", "int64", "int32", "uint64", "bool"}
    assert len(dtypes) >= 9
    assert sum(bool(p.graph.updates) for p in programs) > 20
    assert sum(bool(p.graph.sizes) for p in programs) > 40
    assert sum(len(p.graph.outputs) > 2 for p in programs) > 40
    assert sum(any(node.order == 2 for node in p.graph.nodes) for p in programs) > 15


def test_a_description_reads_back_and_gives_one_program():
    program = drawn(3)[-1]
    again = Program(eval(str(program.description), {"read_description": read_description}))
    assert again.description == program.description
    assert sg.same_graph(again.graph, program.graph)
    assert all(np.array_equal(again.feeds[name], a) for name, a in program.feeds.items())


@pytest.mark.slow
def test_the_script_of_a_failure_runs(capsys):
    program = drawn(5)[-1]
    exec(program.script(), {})
    assert len(capsys.readouterr().out.splitlines()) == len(program.graph.outputs)


def shrunk(op, check, **options):
    """The smallest failure that hypothesis finds; of programs without the op, none is looked at."""

    def on(description):
        program = Program(description)
        if any(node.op.name == op for node in program.graph.nodes):
            check(program)

    with pytest.raises(MismatchError) as caught:
        run_chunk(1, 300, on, **{"min_steps": 1, "max_steps": 30} | options)
    return caught.value


def remaining_ops(program):
    """The ops that are left of the program, without its loss and derivatives."""
    outputs = program.graph.outputs
    program_outputs = [
        value for name, value in outputs.items() if name == "out" or name.startswith("more")
    ]
    nodes = ancestors(program_outputs)
    return [node.op.name for node in nodes if not node.is_leaf]


def nodes_alone(program):
    check_nodes(program, program.feeds)


def a_wrong_pass(program):
    """The graph before and after a pass that exchanges the operands of differences."""
    graph = program.stable.replace_nodes(
        lambda node, args: [node.op(*args[::-1])] if node.op.name == "sub" else None
    )
    expected, actual = (sg.evaluate(g, program.feeds) for g in (program.stable, graph))
    compare(program, "the pass", actual, expected)


PLANTED = {
    "an element is wrong": ("cos", "scalar", lambda self, x: x.sin(), nodes_alone, {}, 4),
    "padding is wrong": (
        "pad", "form", lambda self, out, x: Assemble((Region(self.starts, self.steps),), 1),
        nodes_alone, {}, 8,  # one step: x.at[...].set
    ),
    "a pass is wrong": ("sub", "flops", 1, a_wrong_pass, {}, 4),
    "the second partial is wrong": (
        "sin", "partials", lambda self, out, x: (sg.cos(sg.stop_gradient(x)),), check_derivatives,
        {"smooth": True, "max_steps": 12}, 4,
    ),
}  # fmt: skip


#: How a failure shrinks does not depend on who noticed it: one is enough in CI.
SHRUNK = "a pass is wrong"


@pytest.mark.parametrize(
    "mistake",
    [m if m == SHRUNK else pytest.param(m, marks=pytest.mark.exhaustive) for m in PLANTED],
)
def test_a_planted_mistake_shrinks_to_a_few_nodes(mistake, monkeypatch):
    name, method, wrong, check, options, most = PLANTED[mistake]
    monkeypatch.setattr(registered_ops()[name], method, wrong)
    error = shrunk(name, check, **options)
    assert len(remaining_ops(error.program)) <= most, str(error)
    assert "staticgrad-ir 1" in str(error)
    assert "sg.parse(text" in str(error)


def test_varied_graphs_have_ops_of_several_results_and_chains_of_casts():
    """Two results of one op are read by the same function, and integers lose their sign."""
    graphs = [random_graph(np.random.default_rng(seed), varied=True)[0] for seed in range(40)]
    count_of_several, casts = 0, set()
    for graph in graphs:
        for node in graph.nodes:
            count_of_several += len(node.types) > 1
            producer = node.args[0].node if node.op.name == "cast" else node
            if producer.op.name == node.op.name == "cast":
                casts.add((producer.args[0].dtype, producer.types[0].dtype, node.types[0].dtype))
    assert count_of_several > 20
    assert len(casts) > 60
    assert sum(
        source.kind == "i" and between.kind == "u" and three.is_float
        for source, between, three in casts
    )
