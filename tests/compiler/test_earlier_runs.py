"""Reports of a compiled program are a function of the program, never of earlier runs."""

import pickle
import shutil
from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.memory.optima import MODELS, step
from staticgrad.errors import VerifyError
from tests.exporting.libraries import module_of
from tests.exporting.printed import load_exported

ROWS = 6

#: Feeds of each kind for a float64 input of 6 rows of 4 elements, and the plans they have.
FEEDS = {
    "plain": lambda x: x,
    "another dtype": lambda x: x.astype("float32"),
    "Fortran order": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "a list": lambda x: x.tolist(),
    "another size": lambda x: np.concatenate([x, x, x]),
}


def data():
    return np.random.default_rng(7).normal(size=(ROWS, 4)).astype("float32").astype("float64")


class Program:
    """A program of one input, how it is compiled, and the sizes that reports take."""

    def __init__(self, graph, start=(), **options):
        self.graph, self.start, self.options = graph, dict(start), options
        self.sizes = {name: ROWS for name in graph.sizes if name not in options.get("sizes", {})}

    def compile(self):
        return sg.compile(self.graph, threads=1, **self.options)

    def run(self, f, x):
        try:
            return f.run({"x": x})
        finally:
            for parameter, value in self.start.items():
                parameter.value = value


def with_named_size():
    x = sg.input("x", ("n", 4), "float64")
    return Program(sg.Graph({"y": sg.tanh(x).sum(0), "z": sg.exp(x)}, name="named"))


def literal():
    x = sg.input("x", (ROWS, 4), "float64")
    return Program(sg.Graph({"y": sg.tanh(x).sum(0), "z": sg.exp(x)}, name="literal"))


def with_given_sizes():
    x = sg.input("x", ("n", 4), "float64")
    return Program(sg.Graph({"y": sg.tanh(x @ x.T)}, name="given"), sizes={"n": ROWS})


def training():
    x = sg.input("x", ("n", 4), "float64")
    w = sg.parameter("w", np.eye(4))
    loss = sg.square(sg.tanh(x @ w) @ w).mean()
    graph = sg.Graph({"loss": loss}, {w: w - 0.1 * sg.grad(loss, w)}, name="training")
    return Program(graph, {w: np.eye(4)})


def loop():
    """A loop that a budget divides, at larger sizes into other parts."""
    x = sg.input("x", ("n", 4), "float64")
    w = sg.parameter("w", np.eye(4) * 0.9)
    carry, _ = sg.scan(lambda c, _: (sg.tanh(c @ w) + sg.sin(c), None), x, None, length=9)
    graph = sg.Graph({"dw": sg.grad(carry.sum(), w)}, name="loop")
    return Program(graph, memory_budget=0.8)


PROGRAMS = {
    "named": with_named_size,
    "literal": literal,
    "given": with_given_sizes,
    "training": training,
    "loop": loop,
}


def exported_files(f, folder, sizes):
    """The texts of files, and the bytes of their arrays."""
    files = []
    for values in ({}, sizes):
        path = f.export(folder / "step.py", **values)
        with np.load(path.with_suffix(".npz")) as arrays:
            files.append((path.read_text(), {n: array.tobytes() for n, array in arrays.items()}))
    return files


#: By public name what it says without running; with sizes, and, where these are optional, without.
VIEWS = {
    "plan": lambda f, _, sizes: [f.plan(**sizes), f.plan(staged=["x"], **sizes)],
    "explain": lambda f, _, sizes: [f.explain(), f.explain(before=True, **sizes)],
    "explanation": lambda f, _, sizes: [
        f.explanation().as_json(), f.explanation(staged=["x"], **sizes).as_json(),
    ],
    "report": lambda f, folder, sizes: f.report(folder / "memory.html", **sizes).read_text(),
    "export": exported_files,
    "inputs": lambda f, *_: f.inputs,
    "outputs": lambda f, *_: f.outputs,
    "graph": lambda f, *_: str(f.graph),
    "program_graph": lambda f, *_: str(f.program_graph),
    "schedule": lambda f, *_: str(f.schedule),
    "single": lambda f, *_: f.single,
    "options": lambda f, *_: f.options,
    "threads": lambda f, *_: f.threads,
    "pickle": lambda f, *_: pickle.dumps(f),
    "repr": lambda f, *_: repr(f),
    "picture": lambda f, *_: f._repr_html_(),
    "tradeoff": lambda f, _, sizes: str(sg.tradeoff(f, sizes)),
}  # fmt: skip

#: Public names that are about runs, each with the reason.
OF_RUNS = {
    "run": "it runs",
    "bind": "a run that is bound to arrays",
    "profile": "measures runs",
    "wait": "gives nothing",
    "stats": "counts runs, plans and compiled kernels",
    "peak_bytes": "of the latest run, as its docstring says; f.plan(...).peak_bytes is of sizes",
    "memory": "by the plan of peak_bytes",
    "highest_touched": "measured in the latest run",
    "kernels": "what has been compiled so far, also for plans of other sizes under a budget",
    "source": "the sources of kernels",
    "address": "of code in this process",
    "user_data": "of code in this process",
    "c_function": "code in this process",
}


def test_every_public_name_has_a_view_or_a_reason():
    f = with_named_size().compile()
    public = {name for name in [*dir(type(f)), *vars(f)] if not name.startswith("_")}
    assert public <= VIEWS.keys() | OF_RUNS.keys()
    assert not VIEWS.keys() & OF_RUNS.keys()
    assert set(OF_RUNS) <= public


CASES = [
    (make, kind)
    for make, kind in product(PROGRAMS, FEEDS)
    if kind != "another size" or make not in ("literal", "given")
]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(*case, marks=pytest.mark.slow if case[0] == "loop" else pytest.mark.thinned(2))
        for case in CASES
    ],
)
def test_views_are_equal_before_and_after_runs(make, kind, tmp_path):
    program = PROGRAMS[make]()
    f, fresh = program.compile(), program.compile()
    expected = {name: view(fresh, tmp_path, program.sizes) for name, view in VIEWS.items()}
    program.run(f, FEEDS[kind](data()))
    for name, actual in expected.items():
        assert VIEWS[name](f, tmp_path, program.sizes) == actual, name
    program.run(f, FEEDS[kind](data()))
    program.run(f, data())
    for name, actual in expected.items():
        assert VIEWS[name](f, tmp_path, program.sizes) == actual, name


def test_plans_under_a_budget_do_not_depend_on_the_order_of_sizes():
    """They do not depend on a schedule from disk, either: the second program reads it."""
    graph = step("second order", *MODELS["second order"])
    forward, backward = (sg.compile(graph, threads=1, memory_budget=0.7) for _ in range(2))
    batches = (180, 256, 300)
    plans = {batch: forward.plan(batch=batch) for batch in batches}
    assert {batch: backward.plan(batch=batch) for batch in reversed(batches)} == plans
    assert all(len(plan.steps) > len(plan.schedule.steps) for plan in plans.values())


@pytest.mark.parametrize(
    ("size", "kind"),
    [("n", kind) for kind in FEEDS] + [(ROWS, kind) for kind in FEEDS if kind != "another size"],
)
def test_a_file_that_is_exported_after_a_run_has_its_results(size, kind, tmp_path):
    x = data()
    f = sg.compile(sg.tanh(sg.input("x", (size, 4), "float64")).sum(0), threads=1)
    f.run({"x": FEEDS[kind](x)})
    got = load_exported(f.export(tmp_path / "step.py"))["run"]({"x": x})
    np.testing.assert_allclose(got, np.tanh(x).sum(0), rtol=1e-14)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("size", ["n", ROWS])
def test_a_library_that_is_exported_after_a_run_has_its_results(size, tmp_path):
    x = data()
    f = sg.compile(sg.tanh(sg.input("x", (size, 4), "float64")).sum(0), threads=1)
    f.run({"x": x.astype("float32")})
    actual = module_of(f, tmp_path).Program().run({"x": x})["output"]
    np.testing.assert_allclose(actual, np.tanh(x).sum(0), rtol=1e-14)


def test_an_export_refuses_a_plan_with_a_copied_feed(tmp_path):
    exporting = pytest.importorskip("staticgrad.exporting")
    f = with_named_size().compile()
    plan = f.plan(staged=["x"], n=ROWS)
    for name in ("step.py", "step.so"):
        with pytest.raises(VerifyError, match="reads 'x' in the arena"):
            exporting.export(tmp_path / name, f.program_graph, [plan], {}, {}, False, opened=["n"])
    assert not [*tmp_path.iterdir()]
