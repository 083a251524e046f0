"""Old names give what the present ones give, warn once at the user's line, and are documented."""

import importlib
import inspect
import re
import sys
import types
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from passes.base import Pass
from passes.cse import CommonSubexpressions
from passes.narrow import Narrow
from passes.rewrite.driver import rewrite
from passes.rules.identities import IDENTITIES
from staticgrad.analysis.planning.problem import MemoryProblem
from staticgrad.comparison.report import Comparison
from staticgrad.compiler.compiling.mixed_precision import Precision
from staticgrad.eager import Tensor
from staticgrad.errors import DeprecatedNameWarning, UnknownArgumentError
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.schedule import Buffer
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.ops.transcendental import Tanh
from staticgrad.language.types.dtype import F32
from staticgrad.support.deprecations import (
    DEPRECATIONS,
    Deprecation,
    deprecated,
    deprecated_arguments,
    deprecated_attribute,
    deprecated_members,
)
from staticgrad.tools.documentation.reference import entry

ROOT = Path(__file__).parents[2]
DECLARATION = re.compile(r"^[^#\n]*\bdeprecated(_attribute|_arguments|_members)?\(", re.MULTILINE)


def small_graph():
    x = sg.input("x", (4,), "float64")
    return sg.Graph({"loss": (sg.tanh(x) * 1.0).sum()})


@cache
def explanation():
    x = sg.input("x", (4, 3), "float32")
    w, b = (sg.parameter(name, np.ones(3, "float32")) for name in ("w", "b"))
    loss = sg.sort(sg.tanh(x * w + b), axis=0).sum()
    step = sg.Graph({"loss": loss, "slope": sg.grad(loss, w)})
    return sg.compile(step).explanation(before=True)


@cache
def rewriting():
    seen = []
    rewrite(small_graph(), IDENTITIES, watch=seen.append)
    return seen[0]


def bare(kind, **fields):
    """Return a record with some of its fields alone."""
    record = object.__new__(kind)
    vars(record).update(fields)
    return record


@cache
def profile():
    x = sg.input("x", (4, 3), "float32")
    return sg.compile(sg.tanh(x)).profile({"x": np.ones((4, 3), "float32")})


@cache
def kernel():
    x = sg.input("x", (4, 3), "float32")
    (step,) = sg.compile(sg.tanh(x)).schedule.steps
    (only,) = step.kernels()
    return only


def problem():
    from passes.remat.base import Problem

    return Problem(None, None, None, frozenset(), (), (), retained=frozenset({2}))


#: Class -> an instance, whose old attributes are read.
INSTANCES = {
    "passes.base:Pass": CommonSubexpressions,
    "passes.remat.base:Problem": problem,
    "passes.rewrite.driver:Rewriting": rewriting,
    "staticgrad.analysis.planning.problem:MemoryProblem": lambda: object.__new__(MemoryProblem),
    "staticgrad.language.ir.schedule:Buffer": lambda: Buffer("t", "temp", F32, 4, retained=True),
    "staticgrad.language.ir.kernels.kernel:Kernel": kernel,
    "staticgrad.compiler.compiling.mixed_precision:Precision": lambda: bare(
        Precision, rounded_values=3
    ),
    "staticgrad.compiler.reports.profiling:StepProfile": lambda: profile().steps[0],
    "staticgrad.compiler.reports.profiling:ProfileRow": lambda: profile().rows()[0],
    "staticgrad.comparison.report:Comparison": lambda: bare(
        Comparison, work=(types.SimpleNamespace(name="built"),)
    ),
    "staticgrad.compiler.reports.explain:Explanation": explanation,
    "staticgrad.compiler.reports.explain:NodeCounts": lambda: explanation().dead,
    "staticgrad.compiler.reports.explain:UnfusedPair": lambda: explanation().unfused_pairs[0],
    "staticgrad.compiler.reports.explain:UnreadGradients": lambda: explanation().dead.unread,
    "staticgrad.language.ir.graph:Graph": small_graph,
    "staticgrad.eager.tensor:Tensor": lambda: Tensor(np.ones(2), requires_grad=True),
    "staticgrad.language.ir.op:Op": Tanh,
    "staticgrad.language.ops.operands:LinearOp": lambda: Reshape((2, 2)),
    "staticgrad.nn.module:FunctionLayer": sg.nn.ReLU,
    "staticgrad.optim.gradients:LossScale": sg.optim.LossScale,
    "staticgrad.optim.optimizer:Optimizer": lambda: sg.optim.SGD(0.1),
    "staticgrad.optim.rules:Adam": lambda: sg.optim.Adam(0.1),
    "staticgrad.optim.averaging:Average": lambda: sg.optim.Average(
        [sg.parameter("w", np.ones(3))], 0.5
    ),
    "staticgrad.stats.base:Distribution": lambda: sg.stats.norm,
    "staticgrad.train.fitting:History": lambda: sg.train.History(stop_reason="enough"),
}


def import_declaring():
    """Import the modules that declare old names, and return these."""
    for package in ("staticgrad", "passes"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "deprecations.py" and DECLARATION.search(path.read_text("utf-8")):
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return {
        place: row for place, row in DEPRECATIONS.items() if not place.startswith(__name__ + ":")
    }


TABLE = import_declaring()


def warned_at(caught, line):
    assert [warning.category for warning in caught] == [DeprecatedNameWarning]
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    return str(caught[0].message)


def line_here():
    return sys._getframe(1).f_lineno


def same(left, right):
    """Return whether two attributes are equal; of methods the functions are compared."""
    left, right = (getattr(member, "__func__", member) for member in (left, right))
    return left is right or left == right


@pytest.mark.parametrize("place", TABLE)
def test_an_old_name_gives_what_the_present_one_gives(place):
    row = TABLE[place]
    assert row.kind == "attribute", "another kind of old name needs a test here"
    owner, _, old = place.rpartition(".")
    instance = INSTANCES[owner]()
    line = line_here() + 2
    with pytest.warns(DeprecatedNameWarning) as caught:
        value = getattr(instance, old)
    text = warned_at(caught, line)
    assert f"{row.name} is deprecated since version {row.since}: use {row.instead};" in text
    assert same(value, getattr(instance, row.instead.rpartition(".")[2]))


def test_the_guide_lists_each_old_name():
    page = ROOT / "staticgrad/tools/documentation/guide/conventions.md"
    rows = {
        f"| `{row.name}` | `{row.instead}` | {row.since} | {row.removal} |"
        for row in TABLE.values()
    }
    text = page.read_text("utf-8").partition("## Deprecated names")[2]
    assert {line for line in text.splitlines() if line.startswith("| `")} == rows


def test_the_reference_and_the_stubs_have_no_old_name():
    for row in TABLE.values():
        owner, _, old = row.name.rpartition(".")
        if hasattr(sg, owner):
            assert f"- `{old}" not in entry(f"sg.{owner}", getattr(sg, owner))
    stubs = "".join(path.read_text("utf-8") for path in (ROOT / "staticgrad").rglob("*.pyi"))
    assert "deprecated" not in stubs


def version():
    return tuple(map(int, sg.__version__.split(".")[:2]))


@pytest.mark.parametrize("place", TABLE)
def test_an_old_name_is_of_this_version_or_the_one_before(place):
    row = TABLE[place]
    since, removal = (tuple(map(int, text.split("."))) for text in (row.since, row.removal))
    assert since <= version(), "deprecated in the future"
    assert version() < removal, "the old name goes: delete it, and its row of the guide"


def test_an_assignment_to_an_old_name_sets_the_present_one():
    history = sg.train.History()
    with pytest.warns(DeprecatedNameWarning, match=r"use History\.stop_reason"):
        history.stopped = "by hand"
    assert history.stop_reason == "by hand"


def test_an_override_by_an_old_name_is_used():
    with pytest.warns(DeprecatedNameWarning) as caught:

        class Old(Pass, name="tests.old"):
            line = line_here() - 1

            def traced(self, program, watch=None):
                return program, {"old": 3}

            def unrounded(self):
                return Narrow()

    assert [warning.category for warning in caught] == [DeprecatedNameWarning] * 2
    assert {str(warning.message).split()[1] for warning in caught} == {
        "test_an_override_by_an_old_name_is_used.<locals>.Old.traced",
        "test_an_override_by_an_old_name_is_used.<locals>.Old.unrounded",
    }
    assert {warning.lineno for warning in caught} == {Old.line}
    graph = small_graph()
    assert Old().apply(graph) == (graph, {"old": 3})
    assert Old()(graph) is graph
    assert Old().without_rounding() == Narrow()
    with pytest.warns(DeprecatedNameWarning):
        assert Old().traced(graph) == (graph, {"old": 3})


def test_an_old_method_of_the_base_may_be_taken_over():
    with pytest.warns(DeprecatedNameWarning, match=r"use Pass\.apply"):

        class Plain(CommonSubexpressions, name="tests.plain"):
            traced = Pass.traced

            def __call__(self, graph):
                return graph

    graph = small_graph()
    assert Plain().apply(graph) == (graph, {})


def test_an_optimizer_and_a_layer_with_old_overrides_are_used():
    with pytest.warns(DeprecatedNameWarning, match=r"Halved\.moved is .* use Adam\.move"):

        class Halved(sg.optim.Adam):
            def moved(self, p, direction):
                return p - direction * 0.5

    p = sg.parameter("p", np.ones(2))
    assert str(Halved(0.1).move(p, p)) == str(p - p * 0.5)
    with pytest.warns(DeprecatedNameWarning, match=r"use FunctionLayer\.compute"):

        class Doubled(sg.nn.ReLU):
            def computed(self, x):
                return x * 2.0

    assert Doubled()(np.ones(2)).tolist() == [2.0, 2.0]


def test_an_op_with_an_old_rule_is_mapped():
    with pytest.warns(DeprecatedNameWarning, match=r"Thrice\.batched is .* use Op\.batching_rule"):

        class Thrice(Op, name="tests.thrice"):
            def infer(self, x):
                return x

            def reference(self, x):
                return x * 3

            def batched(self, size, args, over):
                return self(args[0])

    x = sg.input("x", (2, 3))
    assert "tests.thrice" in str(sg.Graph(sg.vmap(Thrice())(x)))


class Shelf:
    """Old names of each kind."""

    def __init__(self):
        self.books = ["a"]

    found = deprecated_attribute("0.2", "books")

    @property
    @deprecated("0.2", "len(shelf.books)")
    def full(self):
        return len(self.books)

    @deprecated("0.2", "Shelf.add")
    def put(self, title):
        """Add a title."""
        return self.add(title)

    def add(self, title):
        self.books.append(title)
        return self


@deprecated_arguments("0.2", shelves="count")
def buy(count=1):
    return count


def test_functions_methods_and_properties_warn_when_they_are_called():
    shelf = Shelf()
    line = line_here() + 2
    with pytest.warns(DeprecatedNameWarning) as caught:
        assert shelf.put("b") is shelf
    assert "Shelf.put is deprecated since version 0.2: use Shelf.add;" in warned_at(caught, line)
    with pytest.warns(DeprecatedNameWarning, match=r"use len\(shelf\.books\)"):
        assert shelf.full == 2
    assert Shelf.put.__doc__ == "Add a title."
    assert Shelf.found is vars(Shelf)["found"]  # the class alone does not warn


def test_an_old_argument_is_the_present_one():
    line = line_here() + 2
    with pytest.warns(DeprecatedNameWarning) as caught:
        assert buy(shelves=4) == 4
    assert "buy(shelves) is deprecated since version 0.2: use buy(count=...)" in warned_at(
        caught, line
    )
    assert str(inspect.signature(buy)) == "(count=1)"
    assert buy(count=3) == buy(3) == 3
    with pytest.raises(UnknownArgumentError, match="is given count= and its old name shelves="):
        buy(count=3, shelves=4)


def test_old_members_of_modules_come_from_their_present_home(monkeypatch):
    module = types.ModuleType("tests.old_module")
    module.present = 7
    module.__getattr__ = deprecated_members(module.__name__, "0.2", old="present", log="math.log")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.warns(DeprecatedNameWarning, match=r"tests\.old_module\.old is .* use present"):
        assert module.old == 7
    with pytest.warns(DeprecatedNameWarning, match=r"use math\.log"):
        assert module.log(1.0) == 0.0
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        module.other  # noqa: B018
    for place in [place for place in DEPRECATIONS if place.startswith("tests.old_module:")]:
        del DEPRECATIONS[place]


def test_python_shows_the_warning_in_programs_and_not_in_libraries():
    assert issubclass(DeprecatedNameWarning, DeprecationWarning)
    assert Deprecation("attribute", "a:B.c", "B.d", "0.9").removal == "0.11"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert small_graph().found == {}
