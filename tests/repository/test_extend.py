"""``staticgrad.extend``: parts above the core, and packages outside, import it and public names.

The contract ``guests`` of ``lint-imports`` forbids these parts the packages of the core. Here the
names are read: what a part imports of another part is public there, or has a reason.
"""

import ast
import importlib
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

import staticgrad
from staticgrad import exports
from staticgrad.tools.documentation import extensions
from tests.helpers.syntax import syntax_tree

ROOT = Path(__file__).parents[2]
FUNCTIONS = "staticgrad.functions"
OPS = "staticgrad.language.ops"
#: Folders of programs of other libraries, with what they share.
BRIDGES = (
    "staticgrad.bridges", "staticgrad.distributed", "staticgrad.jax", "staticgrad.numba",
    "staticgrad.onnx", "staticgrad.pytensor", "staticgrad.scipy", "staticgrad.sklearn",
    "staticgrad.torch",
)  # fmt: skip

#: Those of them that have tables of operators.
TABLES = (
    "staticgrad.bridges", "staticgrad.jax", "staticgrad.onnx", "staticgrad.pytensor",
    "staticgrad.torch",
)  # fmt: skip


def of_functions(names):
    return tuple(f"{FUNCTIONS}.{name}" for name in names.split())


#: Families of functions that others call.
FAMILIES = (
    "staticgrad.linalg", "staticgrad.nn", "staticgrad.random", "staticgrad.sparse",
    "staticgrad.special",
)  # fmt: skip
#: Part -> its modules; the first are read, the others have what only it uses.
PARTS = {
    "fft": (("staticgrad.fft",), (f"{OPS}.fourier",)),
    "linalg": (
        ("staticgrad.linalg",),
        (f"{OPS}.linalg", f"{OPS}.complex_linalg", f"{OPS}.schur"),
    ),
    "sparse": (("staticgrad.sparse",), (f"{OPS}.sparse",)),
    "special": (("staticgrad.special",), (f"{OPS}.special", f"{OPS}.special_functions")),
    "ode": (
        ("staticgrad.ode", "staticgrad.implicit"),
        (*of_functions("loops tracing"), "staticgrad.programs.linear_systems"),
    ),
    "ndimage": (("staticgrad.ndimage",), ()),
    "interpolate": (("staticgrad.interpolate",), ()),
    "random": (("staticgrad.random",), ()),
    "nn": (("staticgrad.nn",), ()),
    "optim": (("staticgrad.optim",), ()),
    "saving": (("staticgrad.saving",), ()),
    "stats": (("staticgrad.stats",), ()),
    "train": (("staticgrad.train",), ()),
    "bridges": (BRIDGES, ()),
    "comparison": (("staticgrad.comparison",), ()),
    "documentation": (("staticgrad.tools.documentation",), ()),
    "lints": (("staticgrad.tools.lints",), ()),
}
#: What parts import of others that is not public, where no row of the contract has the reason.
PRIVATE = {
    "linalg": {
        f"{FUNCTIONS}.bounded": "sizes of results that depend on values",
        f"{FUNCTIONS}.statistics": "norms, of vectors there and of matrices here",
    },
    "ode": {
        f"{FUNCTIONS}.call_types": "types of functions of values and of arrays",
        "staticgrad.linalg.matrices": "an identity of the kind of a value",
    },
    "ndimage": {f"{FUNCTIONS}.arrange": "the modes of pad"},
    "nn": {
        "staticgrad.saving": "weights of PyTorch that are read one array after the other",
        f"{FUNCTIONS}.arrange": "the modes of pad",
        f"{FUNCTIONS}.call_types": "types of functions of values and of arrays",
        f"{FUNCTIONS}.statistics": "norms of vectors",
    },
    "special": {"staticgrad.support.buffer_bounds": "how many numbers routines of SciPy write"},
    "stats": {
        "staticgrad.random.draws": "shapes of draws",
        "staticgrad.special.quantiles": "tails that are exact where special functions stop",
        "staticgrad.special.values": "tails in float64",
    },
    "train": {"staticgrad.saving.files": "a place that cannot be written is found before training"},
    "bridges": {
        f"{FUNCTIONS}.index_arrays": "gathers of whole rows",
        "staticgrad.linalg.decompositions": "reflections as LAPACK has them",
        "staticgrad.linalg.structured": "the permutation of pivots",
        "staticgrad.nn.initial": "the generator of first values",
        "staticgrad.optim.state": "states that PyTorch keeps",
        "staticgrad.saving": "states that ranks send",
        "staticgrad.saving.trees": "states that ranks send",
    },
    "comparison": {
        "staticgrad.nn.module": "names of the modules of a program",
        "staticgrad.torch.aten.module": "a module of PyTorch with its loss, as of a step",
    },
    "documentation": {
        "passes.pipelines": "pipelines of the examples",
        **{f"{bridge}.*": "pages are written from the tables of bridges" for bridge in TABLES},
    },
    "lints": {"passes.pipelines": "lints read a graph that is simplified"},
}


def files_of(module):
    path = ROOT / module.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def public_names():
    """(module, name) of each public name, where it is defined."""
    tables = (exports.FUNCTIONS, exports.OTHERS, exports.LAYERS)
    names = {home for table in tables for home in exports.homes(table).values()}
    names |= {*importlib.import_module("staticgrad.special").NAMES.values()}
    for module in (*exports.MODULES.values(), FUNCTIONS):
        names |= {
            (module, name) for name in getattr(importlib.import_module(module), "__all__", ())
        }
    names |= {tuple(module.rpartition(".")[::2]) for module in exports.MODULES.values()}
    optimizers = importlib.import_module("staticgrad.optim")
    classes = [getattr(optimizers, name) for name in optimizers.__all__]
    names |= {(c.__module__, c.__name__) for c in classes if isinstance(c, type)}
    for family in FAMILIES:  # the form that functions call, by the file that has it
        functions = importlib.import_module(family).__all__
        names |= {(module_of(path), name) for path in files_of(family) for name in functions}
    return names


def is_public(module, name):
    if module == "staticgrad":
        return name in (*staticgrad.__all__, "extend")
    if f"{module}.".startswith("staticgrad.extend."):
        return True
    return module == "staticgrad.exports" or (module, name) in public_names()


def imported_names(path):
    """(module, name) of what a file imports of ours, or reads of a module of functions."""
    tree = syntax_tree(path)
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in (
            "staticgrad",
            "passes",
        ):
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                if full_name in {*exports.FUNCTIONS, *exports.LAYERS, FUNCTIONS}:
                    modules[alias.asname or alias.name] = full_name
                else:
                    yield node.module, alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in modules:
            yield modules[node.value.id], node.attr


@cache
def ignored_imports():
    """Patterns of the contract: (importer, imported), each with a reason there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (guests,) = [contract for contract in contracts if contract["id"] == "guests"]
    rows = [row.replace("**", "*").split(" -> ") for row in guests["ignore_imports"]]
    return [(importer, names) for importer, names in rows]


def private_imports(part):
    """(file, module, name) of what the part imports that is neither its own nor public."""
    read, beside = PARTS[part]
    allowed = tuple(f"{module}." for module in (*read, *beside))
    for path in (path for module in read for path in files_of(module)):
        for module, name in imported_names(path):
            if not f"{module}.{name}.".startswith(allowed) and not is_public(module, name):
                yield module_of(path), module, name


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_extend_and_public_names(part):
    """Or a name with a reason, in ``PRIVATE`` or in a row of the contract."""
    reasons, used, without = PRIVATE.get(part, {}), set(), []
    for file, module, name in private_imports(part):
        places = (module, f"{module}.{name}")
        if any(
            fnmatchcase(file, importer) and any(fnmatchcase(place, row) for place in places)
            for importer, row in ignored_imports()
        ):
            continue
        patterns = [p for p in reasons if any(fnmatchcase(place, p) for place in places)]
        used.update(patterns)
        if not patterns:
            without.append(f"{file}: from {module} import {name}")
    assert without == []
    assert {*reasons} - used == set()


# The names themselves


@pytest.mark.parametrize("name", extensions.MODULES)
def test_a_module_of_extend_only_imports_and_each_name_says_what_it_is(name):
    module = importlib.import_module(f"staticgrad.extend.{name}".rstrip("."))
    body = syntax_tree(Path(module.__file__)).body
    allowed = ast.ImportFrom | ast.Assign | ast.Expr  # its docstring, and namespace(globals())
    assert [node for node in body if not isinstance(node, allowed)] == []
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    bound = {alias.asname or alias.name for node in imports for alias in node.names}
    assert bound == {*module.__all__}
    assert sorted(module.__all__) == sorted({*module.__all__})
    if name not in ("dtypes", "optional"):
        assert [name for name in module.__all__ if not extensions.describe(module, name)] == []


def test_the_page_of_names_has_each_module():
    files = {path.stem for path in (ROOT / "staticgrad" / "extend").glob("*.py")}
    assert {*extensions.MODULES} == {"", *files} - {"__init__"}
    page = extensions.page()
    for name in ("as_value", "PositiveInt", "within", "unflatten", "astype", "Continuous"):
        assert f"`{name}`" in page


def test_functions_of_one_op_are_those_of_the_table():
    """Those that load little: rules of derivatives and special functions are elsewhere."""
    elsewhere = (f"{OPS}.custom", f"{OPS}.special")
    public = {
        attribute
        for module, attribute in exports.homes(exports.FUNCTIONS).values()
        if module.startswith(f"{OPS}.") and module not in elsewhere
    }
    ops = importlib.import_module("staticgrad.extend.ops")
    first, shared = extensions.subjects(ops).values()
    assert {*first} == public
    assert not {*shared} & public


def test_a_package_outside_imports_extend_public_modules_and_passes():
    """``outside.py`` adds one thing of each kind; ``native`` runs the text of a kernel there."""
    path = ROOT / "tests" / "repository" / "outside.py"
    ours = {
        (module, name) for module, name in imported_names(path) if not module.startswith("passes")
    }
    private = {(module, name) for module, name in ours if not is_public(module, name)}
    assert private == {("staticgrad", "native")}
    assert ("staticgrad.extend", "Floating") in ours
