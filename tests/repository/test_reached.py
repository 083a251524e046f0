"""Definitions of files are reached: each kind of addition from its table, files by imports."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import staticgrad as sg
from passes import pipelines
from passes.base import Fixpoint, Pass, Pipeline
from passes.remat.base import Policy, as_policy
from passes.rewrite.rule import Rule
from passes.rules import EXACT, LATER, LATER_OF_DERIVATIVES, STABLE, VALUE
from staticgrad import exports
from staticgrad.language import ops
from staticgrad.language.ir.op import Op
from staticgrad.tools.lints import LINTS, Lint
from tests.helpers.syntax import syntax_tree

ROOT = Path(__file__).parents[2]
#: Passes that are imported when they are named.
LOADED = (*pipelines.RARE, *pipelines.LATE, *pipelines.OF_BUDGETS)


class Kind(NamedTuple):
    """Classes below ``base``, or objects of it, that modules of ``package`` define.

    ``reached`` is what the tables have; ``parts`` are classes that only other classes use.
    """

    package: str
    base: type
    reached: Callable[[], list[object]]
    parts: tuple[str, ...] = ()


def _public(module):
    return [getattr(module, name) for name in module.__all__]


def _applied_rules():
    later = {*LATER.values(), *LATER_OF_DERIVATIVES.values()}
    modules = [importlib.import_module(name) for name in later]
    return [*EXACT, *STABLE, *VALUE, *(rule for module in modules for rule in module.RULES)]


def _readable():
    """Ops that ``load_ops`` loads, which reads no packages within ``ops``."""
    files = {f"{ops.__name__}.{module.name}" for module in pkgutil.iter_modules(ops.__path__)}
    return [op for op in _below(Op) if op.__module__ in files]


KINDS = {
    "pass": Kind(
        "passes",
        Pass,
        lambda: [
            *(Pipeline, Fixpoint),
            *pipelines.PASSES,
            *(
                type(graph_pass)
                for name in LOADED
                for graph_pass in pipelines.pipeline(name).passes
            ),
        ],
    ),
    "rule": Kind("passes.rules", Rule, _applied_rules),
    "policy": Kind(
        "passes.remat",
        Policy,
        lambda: [type(as_policy(cls.name)) for cls in _below(Policy) if cls.name],
    ),
    "op": Kind("staticgrad.language.ops", Op, _readable),
    "layer": Kind("staticgrad.nn", sg.nn.Module, lambda: _public(sg.nn), ("Direction",)),
    "optimizer": Kind("staticgrad.optim", sg.optim.Optimizer, lambda: _public(sg.optim)),
    "schedule": Kind("staticgrad.optim", sg.optim.RateSchedule, lambda: _public(sg.optim)),
    "lint": Kind("staticgrad.tools.lints", Lint, lambda: [*LINTS.values()]),
}


def _below(base):
    for cls in base.__subclasses__():
        yield cls
        yield from _below(cls)


def _modules(package):
    """All modules of a package, whether or not something else imports them."""
    top = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(top.__path__, f"{package}.")]
    return [top, *(importlib.import_module(name) for name in names if "__main__" not in name)]


def _objects(module, base):
    """Objects of a class in the names of a module, also in its tuples."""
    for value in vars(module).values():
        yield from (x for x in (value if isinstance(value, tuple) else (value,)) if type(x) is base)


def _name(thing):
    return thing.__name__ if isinstance(thing, type) else thing.name


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_defines_is_in_the_table_of_its_kind(kind):
    """A class that no other one extends; of objects, each."""
    package, base, reached, parts = KINDS[kind]
    modules = _modules(package)
    if base in (Rule, Lint):
        defined = [value for module in modules for value in _objects(module, base)]
    else:
        names = {module.__name__ for module in modules}
        ours = [cls for cls in _below(base) if cls.__module__ in names]
        defined = [
            cls
            for cls in ours
            if not any(below in ours for below in cls.__subclasses__())
            and not cls.__name__.startswith("_")
        ]
    tables = [*map(id, reached())]
    assert len(defined) > 2
    assert {_name(x) for x in defined if id(x) not in tables} == {*parts}


def test_a_function_that_unary_or_binary_makes_is_public():
    """They make functions for users: the table of public names has each."""
    modules = [sg, *(getattr(sg, name) for name in exports.MODULES if name != "passes")]
    public = {id(inspect.unwrap(x)) for m in modules for x in _public(m) if callable(x)}
    functions = [
        (path.stem, node.targets[0].id)
        for path in (ROOT / "staticgrad/language/ops").glob("*.py")
        for node in syntax_tree(path).body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.value).startswith(("unary(", "binary("))
    ]
    assert len(functions) > 50
    actual = {(stem, n): getattr(getattr(ops, stem), n) for stem, n in functions}
    assert [key for key, f in actual.items() if id(inspect.unwrap(f)) not in public] == []


#: Folders whose files are imported by a walk over the folder, or read as text (``prelude``).
WALKED = (
    "staticgrad.language.ops.",
    "staticgrad.language.vecmath.",
    "staticgrad.compiler.by_numba.",
)
#: Files that only tests and commands of the repository import.
FOR_TESTS = {
    "staticgrad.analysis.planning.checking": "checks plans with nothing of the planner",
    "staticgrad.extend.distributions": "what distributions outside derive from",
    "passes.rules.tables": "all rules by name, for their tests and the guide",
}
#: Functions that nothing in the package names.
UNNAMED = {
    "walk_bodies",  # only tests call it
    *("widen_f16", "widen_bf16", "narrow_f16", "narrow_bf16"),  # named by an f-string
}


def _texts():
    """Module -> its text: to parse all of them takes seconds."""
    paths = [
        path for package in ("staticgrad", "passes") for path in (ROOT / package).rglob("*.py")
    ]
    return {
        ".".join(p.relative_to(ROOT).with_suffix("").parts): p.read_text("utf-8") for p in paths
    }


def test_every_file_is_imported_by_another_or_named_by_it():
    """A file that nothing imports is dead, or what it registers is missing."""
    texts = _texts()
    named = {f"staticgrad.{name}" for name in exports.MODULES}
    for text in texts.values():
        named |= {*re.findall(r"\b(?:staticgrad|passes)\.[\w.]+", text)}
        for package, names in re.findall(r"from ([\w.]+) import ([^(\n]+|\([^)]+\))", text):
            named |= {f"{package}.{name}" for name in re.findall(r"\w+", names)}
    files = {n for n in texts if not n.endswith("__") and not n.startswith(WALKED)}
    assert files - named - {*FOR_TESTS} == set()


def test_every_function_and_class_is_named_by_something():
    """Those at the top of a file without an underscore; ops and passes have names in texts."""
    texts = _texts()
    uses = Counter(word for text in texts.values() for word in re.findall(r"\w+", text))
    unused = set()
    for module, text in texts.items():
        functions = re.findall(r"^(@late_pass\([^()]*\)\n)?def ([a-z]\w*)[(\[]", text, re.M)
        unused |= {name for registered, name in functions if uses[name] == 1 and not registered}
        for name, bases in re.findall(r"^class ([A-Z]\w*)(\([^)]*\))?:", text, re.M):
            if uses[name] == 1 and "=" not in bases and not module.startswith(WALKED):
                unused.add(name)
    assert unused - UNNAMED == set()
