"""Schedules on disk: what is read back is what would be made, and nothing else is read back."""

import pickle
import textwrap

import numpy as np
import pytest

import staticgrad as sg
from passes.base import Pass, Pipeline
from passes.dce import DeadNodes
from passes.remat.recompute import StoreAll
from staticgrad.compiler import nest
from staticgrad.compiler.compiling import scheduling
from staticgrad.compiler.compiling.scheduling import KnownSchedule
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ops.transcendental import Exp
from staticgrad.native import cache
from staticgrad.native.jit import ObjectCode
from staticgrad.support.building import within
from tests.helpers.processes import python
from tests.helpers.random_programs import Program, random_description

#: That of the package itself; tests have one of their own.
sources_of_package = scheduling._sources
NO_SCHEDULE = KnownSchedule(None, None, "")


OPTIONS = [
    {},
    {"pipeline": "O0"},
    {"pipeline": "O2"},
    {"fuse": False},
    {"checkpoint": "sqrt"},
    {"checkpoint": "recompute"},
    {"threads": 1},
    {"threads": 3},
    {"sizes": {"n": 6}},
    {"sizes": {"n": 6}, "memory_budget": "1MiB"},
    {"backend": "vector"},
]


@pytest.fixture(autouse=True)
def _entries(tmp_path, monkeypatch):
    """Entries of the test's own; kernels are shared."""
    monkeypatch.setattr(scheduling, "_sources", lambda: str(tmp_path))


@pytest.fixture
def reads(monkeypatch):
    """List whether each compilation so far found its schedule; some have no entry."""
    hits = []
    read = scheduling.read_entry

    def read_and_record(name):
        entry = read(name)
        hits.append(entry is not None)
        return entry

    monkeypatch.setattr(scheduling, "read_entry", read_and_record)
    return hits


def step(scale=0.5, hint=6):
    """A loss with an index to look up, a constant part, two phases, and an update."""
    n = sg.dim("n", min=1, hint=hint)
    x = sg.input("x", (n, 4), "float32")
    at = sg.input("at", (n,), "int64")
    w = sg.parameter("w", np.ones((4, 3), "float32"))
    table = sg.exp(np.arange(12, dtype="float32").reshape(4, 3) * np.float32(scale))
    rows = sg.take(sg.nn.softmax(x @ w), at, axis=0)
    loss = (rows * (w * table).sum(0)).mean()
    return sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)}, name="step")


def feeds(n=6):
    x = np.linspace(-1, 1, n * 4, dtype="float32").reshape(n, 4)
    return {"x": x, "at": np.arange(n) % n}


def results(f):
    """Return what two steps give, and what they leave in the parameters, which are set back."""
    parameters = f.program_graph.parameters
    start = [p.value.copy() for p in parameters]
    outputs = {f"{name} {k}": array for k in range(2) for name, array in f.run(feeds()).items()}
    outputs |= {p.name: p.value.copy() for p in parameters}
    for p, value in zip(parameters, start, strict=True):
        p.value = value
    return outputs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_found_is_what_was_made(options, reads, monkeypatch):
    graph = step()
    compiled = sg.compile(graph, **options)
    with monkeypatch.context() as without:
        without.setattr(nest, "lower", None)
        actual = sg.compile(graph, **options)
    assert reads == [False, True]
    assert str(actual.schedule) == str(compiled.schedule)
    assert actual.explain(n=6) == compiled.explain(n=6)
    assert [k.name for k in actual.kernels] == [k.name for k in compiled.kernels]
    assert actual.source == compiled.source
    assert str(actual.graph) == str(compiled.graph)
    assert actual.plan(n=6).peak_bytes == compiled.plan(n=6).peak_bytes
    expected, got = results(compiled), results(actual)
    assert expected.keys() == got.keys()
    assert all(expected[name].tobytes() == got[name].tobytes() for name in expected)


@pytest.mark.parametrize("budget", [None, "1MiB"])
def test_a_plan_at_fixed_sizes_is_found_with_its_schedule(budget, reads, monkeypatch):
    graph, fixed = step(), {"sizes": {"n": 6}, "memory_budget": budget}
    compiled = sg.compile(graph, **fixed, threads=2)
    with monkeypatch.context() as without:
        without.setattr(Planner, "plan", None)
        actual = sg.compile(graph, **fixed, threads=2)
        assert actual.stats.plans == 1
        expected, repeated = results(compiled), results(actual)
    assert reads == [False, True]
    assert str(actual.plan()) == str(compiled.plan())
    assert actual.plan() == compiled.plan()
    assert all(expected[name].tobytes() == array.tobytes() for name, array in repeated.items())
    alone = sg.compile(graph, **fixed, threads=1)
    assert alone.plan().workers == 1, "a plan is for a number of workers"


def test_a_schedule_without_a_plan_is_found(reads):
    graph = step()
    for _ in range(2):
        with pytest.raises(sg.errors.BudgetInfeasible):
            sg.compile(graph, sizes={"n": 6}, memory_budget=8)
    assert reads == [False, True]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("seed", range(8))
def test_random_programs_are_found_with_their_bytes(seed, reads):
    program = Program(random_description(np.random.default_rng(seed), 24, seed % 2 == 0))
    runs = []
    for _ in range(2):
        program.reset()
        runs.append(sg.compile(program.graph).run(program.feeds))
    assert len(reads) in (0, 2)  # those of foreign rules have no entry
    assert all(array.tobytes() == runs[1][name].tobytes() for name, array in runs[0].items())


def test_errors_of_a_found_program_are_at_the_users_line(reads):
    graph = step()
    texts = []
    for _ in range(2):
        with pytest.raises(sg.errors.IndexOutOfRange) as caught:
            sg.compile(graph).run(feeds() | {"at": np.full(6, 9)})
        texts.append(str(caught.value))
    assert reads == [False, True]
    assert texts[0] == texts[1]
    assert "sg.take(sg.nn.softmax(x @ w), at, axis=0)" in texts[1]


@pytest.mark.parametrize(
    "compile_another",
    [
        lambda: sg.compile(step(scale=0.25)),
        lambda: sg.compile(step(hint=7)),
        lambda: sg.compile(step(), pipeline="O0"),
        lambda: sg.compile(step(), fuse=False),
        lambda: sg.compile(step(), checkpoint="recompute"),
        lambda: sg.compile(step(), memory_budget="1MiB"),
        lambda: sg.compile(step(), sizes={"n": 6}),
    ],
)
def test_another_program_is_not_found(compile_another, reads):
    sg.compile(step(), threads=2)
    compile_another()
    assert reads == [False, False]


def loop_slope():
    """The slope of a loop, whose iterations a budget may divide."""
    x = sg.input("x", (64, 8), "float32")
    end = sg.fori_loop(0, 16, lambda _, y: sg.tanh(y) * 1.5, x)
    return sg.Graph({"slope": sg.grad(end.sum(), x)}, name="repeated")


def test_a_changed_source_of_the_package_makes_all_anew(tmp_path, reads, monkeypatch):
    files = [tmp_path / name for name in ("staticgrad/compiler/nest/a.py", "passes/rules/b.py")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("x = 1\n")
    monkeypatch.setattr(
        scheduling, "__file__", str(tmp_path / "staticgrad/compiler/compiling/c.py")
    )
    monkeypatch.setattr(scheduling, "_sources", sources_of_package)
    monkeypatch.setattr(cache, "state_of_sources", cache.state_of_sources.__wrapped__)
    graph = step()
    sg.compile(graph)
    sg.compile(graph)
    for file in files:
        file.write_text("x = 22\n")
        sg.compile(graph)
    assert reads == [False, True, False, False]


def made_in(file, text):
    """The graph that a file of that text makes."""
    file.write_text(textwrap.dedent(text))
    names = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    return names["graph"]


def test_a_changed_file_is_another_program(tmp_path, reads):
    """Its lines stand in messages."""
    file = tmp_path / "program.py"
    text = """
    import staticgrad as sg
    x = sg.input("x", (3,), "float32")
    graph = sg.Graph({"y": sg.exp(x) + 1.0})
    """
    sg.compile(made_in(file, text))
    sg.compile(made_in(file, text + "# a word more\n"))
    assert reads == [False, False]


class Foreign(Pass, name="foreign"):
    """A pass of somebody else, which may do something else tomorrow."""

    def __call__(self, program):
        return program


class ForeignExp(Exp, name="foreign.exp"):
    """An op of somebody else."""


class ForeignPolicy(StoreAll):
    """A policy of somebody else."""


def test_what_others_have_a_part_in_is_not_kept(reads, monkeypatch, tmp_path):
    x = sg.input("x", (3,), "float32")
    sg.compile(sg.exp(sg.host_call(np.sort, x, types=x)))
    sg.compile(sg.exp(ForeignExp()(x)))
    sg.compile(step(), pipeline=Pipeline((DeadNodes(), Foreign())))
    sg.compile(step(), checkpoint=ForeignPolicy())
    sg.compile(step(), debug=True)
    sg.compile(step(), debug="nan")
    with sg.options(check=True):
        sg.compile(step())
    with sg.options(dump=tmp_path):
        sg.compile(step())
    with sg.options(jit=False):
        sg.compile(step())
    assert reads == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps(("another", "thing", "")),
        pickle.dumps(((), NO_SCHEDULE)),
        pickle.dumps(((), NO_SCHEDULE, "sources")),
    ],
)
def test_an_entry_that_cannot_be_read_is_made_anew(content, reads, monkeypatch):
    graph, names = step(), list[str]()
    write = cache.write

    def write_and_record(name, code, *arguments):
        names.extend([name] if code.symbol == "schedule" else [])
        return write(name, code, *arguments)

    monkeypatch.setattr(cache, "write", write_and_record)
    expected = results(sg.compile(graph))
    (name,) = names
    write(name, ObjectCode(content, "schedule"))
    again = sg.compile(graph)
    assert all(expected[k].tobytes() == array.tobytes() for k, array in results(again).items())
    sg.compile(graph)
    assert reads == [False, False, True]


@pytest.mark.slow
def test_another_process_finds_it(tmp_path):
    """And neither runs passes nor fuses, nor loads what makes kernels."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import numpy as np
            import staticgrad as sg
            from passes.base import Pipeline

            ran = []
            run = Pipeline.run

            def record(self, graph, **options):
                ran.extend([] if options else [graph])  # the late passes have options
                return run(self, graph, **options)

            Pipeline.run = record
            x = sg.input("x", ("n", 3), "float32")
            w = sg.parameter("w", np.ones((3,), "float32"))
            loss = (sg.exp(x * w).sum(1) ** 2).mean()
            f = sg.compile(sg.Graph({"loss": loss, "dw": sg.grad(loss, w)}))
            found = f.run({"x": np.ones((2, 3), "float32")})
            print(len(ran), found["loss"].tobytes().hex(), found["dw"].tobytes().hex())
            names = ("lowering.fuse", "fusion", "lowering", "nest")
            makers = [f"staticgrad.compiler.{name}" for name in names]
            print(*[each for each in makers if each in sys.modules])
            print(len(f.explain()) > 100, len(ran))
            """
        )
    )
    first, second = (python(script).stdout.split("\n") for _ in range(2))
    assert first[0].split()[1:] == second[0].split()[1:]
    assert [first[0][0], second[0][0]] == ["1", "0"]
    assert (first[1], second[1]) == (
        "staticgrad.compiler.lowering.fuse staticgrad.compiler.fusion"
        " staticgrad.compiler.lowering staticgrad.compiler.nest",
        "",
    )
    assert first[2] == second[2] == "True 1", "explain asks for the passes"


def test_graphs_that_differ_in_the_derivative_order_of_a_node_have_two_entries():
    def name(order):
        x = sg.input("x", ("n",))
        with within(order=order):
            graph = sg.Graph({"y": sg.exp(x) + 1.0})
        return scheduling.entry_name(graph, Pipeline(()), StoreAll(), ())

    assert name(0) == name(0) is not None
    assert name(0) != name(1)


def entry_of(y):
    return scheduling.entry_name(sg.Graph({"y": y}), Pipeline(()), StoreAll(), ())


CONSTANTS = [
    np.float32(0.0),
    np.float32(-0.0),
    np.nextafter(np.float32(0.0), np.float32(1.0)),  # the bytes of the integer 1
    np.int32(1),
    np.ones(1, np.int32),
    np.ones((1, 1), np.int32),
    np.array([1, 0], np.int32),
    np.array([0, 1], np.int32),
    np.array([1], np.int64),  # the bytes of the two numbers
    np.zeros(0, np.float32),
    np.zeros((0, 2), np.float32),
    np.zeros((2, 0), np.float32),
    np.array([True, False]),
    np.array([1, 0], np.uint8),
]


def test_each_constant_has_an_entry_of_its_own():
    """Constants differ in dtype, shape or bits, whatever they have in common."""

    def entries():
        return [entry_of(sg.constant(array)) for array in CONSTANTS]

    first = entries()
    assert first == entries()
    assert None not in first
    assert len({*first}) == len(CONSTANTS)


def test_each_choice_of_operands_has_an_entry_of_its_own():
    """Nodes differ in the values that they read, in their order, and in the results read."""

    def entries():
        x, y = (sg.input(name, (4, 4), "float64") for name in "xy")
        (a, b), (c, d) = sg.linalg.eigh(x), sg.linalg.eigh(y)
        pairs = [(x, y), (y, x), (x, x), (y, y), (b, x), (d, x), (b, y), (b, d)]
        along = [(a, c), (c, a), (a, a)]
        return [
            entry_of(sg.stack([x, y, b, d]).sum() + sg.stack([a, c]).sum() + (p - q).sum())
            for p, q in (*pairs, *along)
        ]

    first = entries()
    assert first == entries()
    assert None not in first
    assert len({*first}) == len(first)
