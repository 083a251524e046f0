"""Imports inside of functions, and circles of imports: each exception with its reason."""

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

import pytest

from tests.helpers.syntax import name_of, nodes_of, syntax_tree

LAZY = {
    "passes": "words for names that do not exist",
    "staticgrad.numba": "Numba, which few programs import",
    "passes.base": "only check=True compares graphs",
    "staticgrad.compiler.memory.divided": "few programs have loops that a budget divides",
    "staticgrad.compiler.lowering.fuse": "few programs have loops",
    "passes.loops.whole": "few programs have loops",
    "staticgrad.compiler.lowering.copies": "few programs have short rows",
    "staticgrad.compiler.lowering.stages": "few programs have windows, scans or short rows",
    "staticgrad.compiler.memory.planner": "few programs exceed a budget",
    "passes.remat.front": "a program without a budget starts without the search",
    "passes.narrow": "the exchange of ranks loads linear algebra",
    "passes.rewrite": "the base class needs the package's own names",
    "staticgrad.analysis.plan_report": "placements that first fit finds need no search",
    "staticgrad": "the facade loads nothing before it is asked",
    "staticgrad.compiler.compiling.artifacts": "few programs are explained",
    "staticgrad.compiler.by_numba": "the first kernel that Numba compiles loads it",
    "staticgrad.backends": "code is written where no schedule is on disk",
    "staticgrad.compiler.compiling.scheduling": "fusion is loaded where no schedule is on disk",
    "staticgrad.tools.lints.program": "derivatives first look whether a folder hides the package",
    "staticgrad.compiler.compiling.arguments": "few programs have a policy of their own",
    "staticgrad.tools.commands.cli": "each command loads what it needs",
    "staticgrad.compiler.compiling.compiler": "no profiler is loaded that nobody asks for",
    "staticgrad.eager.tape": "detect_mutation alone reads settings",
    "staticgrad.eager.rowwise": "few tensors are differentiated by their elements",
    "staticgrad.eager.tensor": "pictures are loaded by who looks at them",
    "staticgrad.eager.watching": "what is shown or raised is loaded then",
    "staticgrad.compiler.reports.explain": "pictures are loaded by who looks at them",
    "staticgrad.train.fitting": "pictures are loaded by who looks at them",
    "staticgrad.random.draws": "linear algebra is loaded for who draws vectors",
    "staticgrad.special.quantiles": "loops are loaded by inverses alone",
    "staticgrad.functions.indexing": "loops are loaded by products at equal indices",
    "staticgrad.nn.functional.normalization": "padding is loaded by norms across channels",
    "staticgrad.errors.tracebacks": "a call that failed is looked at again",
    "staticgrad.exporting": "a program becomes a module, seldom a library",
    "staticgrad.language.ir.plan": "pictures are loaded by who looks at them",
    "staticgrad.language.ir.parser": "graphs are read without the readers of kernels, 60 ms",
    "staticgrad.programs.traced": "few functions freeze their parameters, which loads late passes",
    "staticgrad.native": "LLVM and the interpreter of kernels are loaded by the first kernel",
    "staticgrad.native.entry.callables": "the package, and with it LLVM, makes code of the text",
    "staticgrad.native.jit": "Numba is for few kernels",
    "staticgrad.native.libraries.routines": "LLVM, SciPy and Python kernels are for who calls them",
    "staticgrad.native.source": "code that is on disk is loaded without the language",
    "staticgrad.analysis.planning.problem": "placements that first fit finds need no compiler",
    "staticgrad.analysis.planning.planner": "effort='exact' and others' policies alone need SciPy",
    "staticgrad.programs.derivatives": "derivatives of values need no compiler; few are forward",
    "staticgrad.linalg.iterative": "derivatives of solutions are loaded by who solves",
    "staticgrad.ode": "implicit steps alone have Jacobians",
    "staticgrad.ode.adjoint": "gradients alone have adjoints",
    "staticgrad.ode.solutions": "events alone have slopes",
    "staticgrad.programs.linear_systems": "tensors are loaded by who has them",
    "staticgrad.programs.transformed": "tensors are loaded by who has them",
    "staticgrad.programs.function": "tensors are loaded by who runs a function at once",
    "staticgrad.nn.torch_weights": "few models are read from files",
    "staticgrad.optim.averaging": "tensors are loaded by who has them",
    "staticgrad.optim.lbfgs": "tensors are loaded by who has them",
    "staticgrad.optim.optimizer": "tensors are loaded by who has them",
    "staticgrad.optim.schedules": "tensors are loaded by who has them",
    "staticgrad.language.ops": "few programs have complex values",
    "staticgrad.language.ops.collective": "building loads nothing native",
    "staticgrad.language.ops.custom": "building loads nothing native",
    "staticgrad.language.ops.fourier": "building loads nothing native",
    "staticgrad.language.ops.special_functions": "building loads nothing native",
    "staticgrad.language.ops.limits": "building loads nothing native",
    "staticgrad.language.ops.linalg": "building loads nothing native",
    "staticgrad.language.ops.sparse": "building loads nothing native",
    "staticgrad.compiler.runtime.executor": "a program of one run or two needs no native entry",
    "staticgrad.comparison.imported": "the table of PyTorch's operators is for its modules",
    "staticgrad.comparison.peers": "programs of PyTorch and JAX where these are installed",
}

#: Imports that go up -> why. Without them there is no circle, whatever is counted: imports inside
#: of functions, those for type checkers, calls of ``up`` and ``import_module``. No other one may
#: close a circle.
UPWARD: dict[tuple[str, str], str] = {}

#: Modules below the tools that import ``staticgrad`` itself, which loads nothing until a name is
#: asked for -> why. The table of public names is no way around the layers.
FACADE = {
    "staticgrad.xp": "the standard's namespace has every public function",
    "staticgrad.language.ir.kinds": "a constrained type variable names its types: of one with a"
    " bound mypy infers Value for operands of functions, which gives 300 errors",
    "staticgrad.language.ir.graph": "graphs in pickles are text, which sg.parse reads",
    "staticgrad.language.calls.pickling": "pickles say the version that wrote them",
    "staticgrad.language.ir.value": "x.__array_namespace__() is the package",
}

ROOT = Path(__file__).parents[2]
PACKAGES = ("staticgrad", "passes")
CALLS = ("up", "import_module")


@dataclass(frozen=True)
class Module:
    """One file, as text and as a tree."""

    name: str
    path: Path
    text: str = field(repr=False)

    @cached_property
    def tree(self):
        return syntax_tree(self.path)


@dataclass(frozen=True)
class Import:
    """``module`` is imported by ``by``; inside of a function, or for type checkers only."""

    by: str
    module: str
    inside: bool
    checked: bool


class Tree:
    """The packages of a checkout."""

    def __init__(self, root):
        self.root = root
        self.modules = {m.name: m for m in self._read(*PACKAGES)}

    def _read(self, *folders):
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*.py")):
                parts = path.relative_to(self.root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                yield Module(name, path, path.read_text("utf-8"))

    def imports(self):
        """Imports of own modules, wherever they stand."""
        for module in self.modules.values():
            yield from self._imports(module.tree, module.name, False, False)

    def _imports(self, node, by, inside, checked):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                continue  # holds no statement
            if isinstance(child, ast.Import | ast.ImportFrom):
                for name in self._named_modules(child):
                    yield Import(by, name, inside, checked)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from self._imports(child, by, inside or function, checked or typing)

    def _named_modules(self, node):
        if isinstance(node, ast.Import):
            asked = {alias.name for alias in node.names}
        else:
            asked = {f"{node.module}.{alias.name}" for alias in node.names}
            asked = {name if name in self.modules else str(node.module) for name in asked}
        return asked & self.modules.keys()

    def edges(self):
        """Return the modules that each one imports, in whatever way, and how it does.

        What a package has in ``__init__`` is loaded before its parts: they may import it.
        """
        edges = defaultdict(dict)
        for edge in [*self.imports(), *self._upward()]:
            parent = f"{edge.by}.".startswith(f"{edge.module}.")
            if not parent or edge.module == "staticgrad":  # which users load first, and lists names
                way = " for type checkers" if edge.checked else " in a function" * edge.inside
                edges[edge.by].setdefault(edge.module, way)
        return edges

    def _upward(self):
        """Yield what modules import by ``up("...")`` and ``import_module("...")``."""
        for module in self.modules.values():
            for node in nodes_of(module.tree):
                if isinstance(node, ast.Call) and name_of(node.func) in CALLS:
                    for name in node.args:
                        if isinstance(name, ast.Constant) and name.value in self.modules:
                            yield Import(module.name, name.value, inside=True, checked=False)


def components(edges):
    """Strongly connected components (Tarjan), iteratively."""
    number = {}
    low = {}
    stack = []
    groups = []
    for root in [*edges]:
        work = [(root, iter(sorted(edges.get(root, ()))))] if root not in number else []
        if work:
            number[root] = low[root] = len(number)
            stack.append(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in number:
                    number[successor] = low[successor] = len(number)
                    stack.append(successor)
                    work.append((successor, iter(sorted(edges.get(successor, ())))))
                    break
                if successor in stack:
                    low[node] = min(low[node], number[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    group = {*stack[stack.index(node) :]}
                    del stack[stack.index(node) :]
                    groups.append(group)
    return groups


@cache
def tree():
    return Tree(ROOT)


def test_imports_inside_of_functions_have_a_reason():
    actual = {edge.by for edge in tree().imports() if edge.inside and not edge.checked}
    assert actual == {*LAZY}


def test_the_table_of_public_names_is_imported_for_a_reason():
    actual = {edge.by for edge in tree().imports() if edge.module == "staticgrad"}
    guests = ("staticgrad.tools.", "staticgrad.comparison", "staticgrad.testing")
    assert {name for name in actual if not name.startswith(guests)} == {*FACADE}


def circle(edges, group):
    """The shortest way from a module of a circle back to it, as text, an import a line."""
    ways = []
    for first in sorted(group):
        paths, waiting = {first: [first]}, [first]
        while waiting:
            node = waiting.pop(0)
            for successor in sorted(edges[node].keys() & group):
                if successor == first:
                    ways.append([*paths[node], first])
                elif successor not in paths:
                    paths[successor] = [*paths[node], successor]
                    waiting.append(successor)
    way = min(ways, key=len)
    return "\n".join(f"{a} imports {b}{edges[a][b]}" for a, b in pairwise(way))


def circles(edges):
    """Each circle of imports, as text."""
    return [circle(edges, group) for group in components(edges) if len(group) > 1]


def test_no_imports_make_a_circle():
    """Imports of any kind: each module can be read, and loaded, after those that it imports."""
    edges = tree().edges()
    for by, module in UPWARD:
        del edges[by][module]  # an import that is gone has no reason any more
    actual = circles(edges)
    assert actual == [], "\n\n".join(actual)


@pytest.mark.parametrize("pair", UPWARD, ids=lambda pair: pair[0])
def test_each_import_that_goes_up_makes_a_circle(pair):
    edges = tree().edges()
    for by, module in UPWARD.keys() - {pair}:
        del edges[by][module]
    (actual,) = circles(edges)
    assert f"{pair[0]} imports {pair[1]}" in actual


def test_a_circle_is_shown_by_its_imports():
    edges = defaultdict(dict, a={"b": "", "c": ""}, b={"c": " in a function"}, c={"b": "", "d": ""})
    assert circles(edges) == ["b imports c in a function\nc imports b"]
