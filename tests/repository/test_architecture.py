"""The rules that keep the house in order: sizes, names, layers, imports, the table of contents."""

import ast
import importlib
import inspect
import re
import subprocess
import tomllib
import typing
from pathlib import Path

import pytest

import staticgrad
from staticgrad import exports
from staticgrad.support import upward
from tests import exports as written
from tests.helpers.processes import python
from tests.helpers.syntax import nodes_of, syntax_tree

ROOT = Path(__file__).parents[2]
PACKAGES = ("staticgrad", "passes")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "examples")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".cfg", ".txt", ".sg", ".yml", ".yaml", ".json", ".ipynb"}


Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def place_of(path, node=None):
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{path.relative_to(ROOT)}{line}"


def without_docstrings(path):
    """Return the module, and public names of its top level, that have no docstring."""
    tree = syntax_tree(path)
    public = [node for node in tree.body if isinstance(node, Function | ast.ClassDef)]
    named = [node for node in public if not node.name.startswith("_")]
    documented = [tree, *(node for node in named if not is_overload(node))]
    return [place_of(path, node) for node in documented if not ast.get_docstring(node, clean=False)]


def is_overload(node):
    """Return whether it is a signature for type checkers; its text is the definition's."""
    marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", ())]
    return "overload" in marks


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run_python(program, *arguments):
    """Return what a fresh interpreter prints, with the packages of the checkout."""
    return python("-c", program, *arguments, cwd=ROOT).stdout


# Sizes and names


def test_the_environment_is_read_by_the_settings_alone():
    """``terminal.py`` reads CI and TERM, which are no settings; ``captured.py`` compares what a
    user's function reads there.
    """
    reads = re.compile(r"\b(?:environ|getenv)\b|__import__\(|\bbreakpoint\(")
    actual = {
        path.relative_to(ROOT).as_posix()
        for path in python_files(*PACKAGES)
        if reads.search(path.read_text("utf-8"))
    }
    assert actual == {
        "staticgrad/programs/captured.py",
        "staticgrad/support/config.py",
        "staticgrad/comparison/measure.py",
        "staticgrad/comparison/peers.py",
        "staticgrad/support/terminal.py",
    }


# Words


#: Where locks are made, and why none of them can stay taken in a forked child.
LOCKS = {
    "staticgrad/support/forks.py": "registered; the others of the package are such locks",
    "staticgrad/native/lock.py": "registered",
    "staticgrad/native/jit.py": "taken in calls of LLVM alone, for whose end a fork waits",
    "staticgrad/native/tiers.py": "of one thread, for whose end a fork waits",
    "staticgrad/native/entry/c_calls.py": "never waited for: a call without one goes by Python",
    "staticgrad/native/language/system.py": "the operations that native code makes locks of",
    "staticgrad/native/libraries/scipy_library.py": "registered; in native code",
    "staticgrad/native/table/pool_code.py": "registered; in native code",
    "staticgrad/native/undisturbed.py": "of one call, for whose end a fork waits",
    "staticgrad/compiler/runtime/entry.py": "a gate that is waited for with a time limit",
    "staticgrad/language/storage/locks.py": "registered",
    "staticgrad/language/storage/reservation.py": "a memory fence: nothing else refers to the lock",
    "staticgrad/support/terminal.py": "never waited for: who does not get it shows no line",
    "staticgrad/train/minibatches.py": "of one iterator, whose thread is not in the child at all",
}


def test_locks_are_registered_for_forks():
    makes = re.compile(
        r"\b(R?Lock|Condition|(Bounded)?Semaphore|Event|Barrier|allocate_lock)\(|cmpxchg|atomicrmw|swap_if"
    )
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    texts = {place_of(path): path.read_text("utf-8") for path in files}
    assert {name for name, text in texts.items() if makes.search(text)} == {*LOCKS}
    assert [name for name, text in texts.items() if "os.register_at_fork" in text] == [
        "staticgrad/support/forks.py"
    ]


def test_modules_and_public_names_say_what_they_are():
    assert [name for path in python_files(*PACKAGES) for name in without_docstrings(path)] == []


def tracked_files(*options):
    """The files of the repository; none in a source archive."""
    listing = ["git", "ls-files", "--cached", *options, "-z"]
    run = subprocess.run(listing, capture_output=True, text=True, cwd=ROOT, check=False)
    return [ROOT / name for name in run.stdout.split("\0") if name] if run.returncode == 0 else []


def test_the_repository_has_what_its_guide_names():
    beside = {".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "docs", "pyproject.toml"}
    beside |= {"CITATION.cff", "LICENSE", "conftest.py"}  # names that doctests share
    pages = {"ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"}
    first = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert first <= {*FOLDERS, *beside, *pages}


def test_the_top_of_tests_has_only_commands():
    """``python -m tests.NAME`` runs each; folders have what they are tested with."""
    loose = {path.name: path.read_text("utf-8") for path in (ROOT / "tests").glob("*.py")}
    assert [n for n in loose if "__main__" not in loose[n] and n != "conftest.py"] == []


def test_no_file_names_the_machine_it_was_written_on():
    files = tracked_files("--others", "--exclude-standard")
    if not files:  # a source archive
        files = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    private = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|tmp|private)/\w")
    actual = [
        f"{place_of(path)}: {line.strip()}"
        for path in files
        if path.is_file() and (path.suffix in TEXT_SUFFIXES or path.parent.name == ".ci")
        for line in path.read_text("utf-8").splitlines()
        if private.search(line)
    ]
    assert actual == []


# Imports


LAYERS = """
from importlinter.cli import lint_imports
raise SystemExit(lint_imports(config_filename="pyproject.toml", no_cache=True))
"""


def test_the_layers_hold():
    pytest.importorskip("importlinter.cli")
    run_python(LAYERS)  # in a process of its own: it configures logging for all


def test_what_goes_up_is_listed():
    """A text that names a module of the package is imported by ``up``, or in its own package."""
    asked = set()
    for path in [*(ROOT / "staticgrad").rglob("*.py"), *(ROOT / "passes").rglob("*.py")]:
        folder = ".".join(path.relative_to(ROOT).parts[:2])
        for node in nodes_of(syntax_tree(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if node.func.id == "import_module" and texts and "staticgrad" in str(texts[0]):
                assert texts[0].startswith((folder, "staticgrad.errors")), path
            if node.func.id == "up":
                asked.update(texts)
    assert asked == {*upward.UPWARD}
    with pytest.raises(LookupError, match="not listed"):
        upward.up("staticgrad.compiler.compiling")


def test_every_module_stands_in_a_layer():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    layers = {f"{name}." for layer in contract["layers"] for name in re.findall(r"[\w.]+", layer)}
    modules = {module_name(path) for path in python_files("staticgrad")}
    packages = {
        "staticgrad",
        "staticgrad.errors",
        "staticgrad.language",
        "staticgrad.support",
        "staticgrad.tools",
    }  # their modules have layers
    assert {m for m in modules - packages if not f"{m}.".startswith((*layers,))} == set()


def test_the_picture_of_packages_shows_the_layers():
    """Line by line, as import-linter checks them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    layers = [
        re.sub(r"[()]|staticgrad\.(?=\w)", "", layer).split()
        for layer in contract["layers"]
        if layer != "staticgrad.__main__"
    ]
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    picture = page.partition("```text\n")[2].partition("```")[0]
    assert [line.split() for line in picture.splitlines()] == layers


IMPORTS = """
import builtins, importlib, sys, warnings
warnings.simplefilter("error")
asked = {"statement": builtins.__import__, "call": importlib.import_module}

def check(module, by):
    '''A module may ask for one that is still being loaded only if that is a package around it.'''
    unfinished = getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False)
    ours = module.partition(".")[0] in ("staticgrad", "passes")
    if ours and unfinished and not f"{by}.".startswith(f"{module}."):
        sys.exit(f"{by or 'a call'} imports {module}, which imports it")

def statement(module, globals=None, locals=None, fromlist=(), level=0):
    for name in (module, *(f"{module}.{name}" for name in fromlist or ())):
        check(name, (globals or {}).get("__name__", ""))
    return asked["statement"](module, globals, locals, fromlist, level)

def call(module, package=None):
    check(module, "")
    return asked["call"](module, package)

builtins.__import__, importlib.import_module = statement, call
for name in sys.argv[1:]:
    asked["call"](name)
"""


def test_any_module_can_be_imported_first():
    """Without cycles the order of imports cannot matter; a package always comes before its parts.

    One walk over all modules sees every cycle: as a module that asks for one still being loaded.
    """
    names = [module_name(path) for path in python_files(*PACKAGES) if path.stem != "__main__"]
    assert {"staticgrad", "passes"} <= set(names)
    run_python(IMPORTS, *names)


# The table of contents


def test_a_public_name_stands_in_the_tables_once():
    tables = (exports.FUNCTIONS, exports.OTHERS)
    entries = [entry for table in tables for names in table.values() for entry in names.split()]
    names = [*(entry.partition("=")[0] for entry in entries), *exports.MODULES, "__version__"]
    assert sorted(names) == sorted(staticgrad.__all__) == sorted(set(names))
    assert {*names} <= {*dir(staticgrad)}


def test_public_names_are_defined_where_the_tables_say():
    homes = exports.homes(exports.FUNCTIONS) | exports.homes(exports.OTHERS)
    for name, (place, attribute) in homes.items():
        module = importlib.import_module(place)
        value, public = getattr(module, attribute), getattr(staticgrad, name)
        assert not callable(value) or inspect.unwrap(public) is inspect.unwrap(value)
        routine = inspect.isroutine(value) or isinstance(value, type)
        if place != "staticgrad.functions" and routine:
            assert inspect.unwrap(value).__module__ in (place, place.replace(".support.", ".")), (
                name
            )
        assert public is getattr(staticgrad, name)
        assert inspect.getdoc(public) or name == "newaxis"  # which is None


GENERIC = sorted(
    {f"sg.{name}" for name in exports.homes(exports.FUNCTIONS)}
    | {f"sg.nn.{name}" for name in importlib.import_module("staticgrad").nn.__all__}
)


def test_functions_of_operands_are_typed_and_generic_in_their_kind():
    """Tensors give tensors, and type checkers know it: ``ArrayLike[AnyValue] -> AnyValue``."""
    for path in GENERIC:
        function = inspect.unwrap(eval(path, {"sg": staticgrad}))
        if not inspect.isfunction(function):
            continue
        types = {name: str(kind) for name, kind in function.__annotations__.items()}
        assert {*types} == {*inspect.signature(function).parameters, "return"}, path
        gives = types.pop("return")
        if any("ArrayLike[" in kind or "Value" in kind for kind in types.values()):
            overloaded = typing.get_overloads(function)
            assert "AnyValue" in gives or overloaded or gives == "At", (path, types, gives)


@pytest.mark.parametrize(("name", "home"), exports.MODULES.items())
def test_a_public_module_is_the_one_of_the_table(name, home):
    assert getattr(staticgrad, name) is importlib.import_module(home)


@pytest.mark.parametrize("first", [True, False])
def test_public_modules_are_imported_by_the_names_that_users_see(first):
    """``import staticgrad.special`` and ``sg.special`` are one module, whichever comes first."""
    names = [name for name in exports.MODULES if name not in ("passes", "errors")]
    ways = [f"sg.{name}" for name in names], [f"import staticgrad.{name}" for name in names]
    lines = ["import staticgrad as sg", *ways[first], *ways[not first]]
    lines += [
        f"from staticgrad.{name} import {getattr(staticgrad, name).__all__[0]}" for name in names
    ]
    lines += [f"assert sg.{name} is sys.modules['staticgrad.{name}']" for name in names]
    lines += [f"assert sg.{name}.__name__ == '{exports.MODULES[name]}'" for name in names]
    assert python("-c", "; ".join(["import sys", *lines])).stderr == ""


@pytest.mark.parametrize("path", written.STUBS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_type_checkers_read_is_written_from_the_tables(path):
    """``python -m tests.exports`` writes it."""
    assert path.read_text("utf-8") == written.STUBS[path]()


PUBLIC_MODULES = sorted(
    {"staticgrad", "staticgrad.comparison", "staticgrad.tools.lints"}
    | {*exports.MODULES.values()} - {"passes"}
)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_what_a_module_defines_for_users_is_public_in_it(name):
    """A function or class is in ``__all__``."""
    public_names = {
        attribute
        for attribute, value in vars(importlib.import_module(name)).items()
        if getattr(value, "__module__", "") == name and not attribute.startswith("_")
    }
    assert public_names - {*importlib.import_module(name).__all__} == set()


@pytest.mark.parametrize("name", ["passes/__init__.py", "passes.py"])
def test_a_folder_that_hides_passes_is_named_before_it_runs(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("print('ran')")
    program = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "import importlib, staticgrad\n"
        "for each in sys.argv[3:]:\n"
        "    try:\n"
        "        module, _, public = each.partition(':')\n"
        "        getattr(importlib.import_module(module), public or '__name__')\n"
        "    except staticgrad.StaticgradError as error: print(error.code, error)\n"
    )
    public = [f"staticgrad:{name}" for name in ("passes", "compile", "grad", "lint", "nn")]
    files = [path for path in python_files("staticgrad") if "passes" in path.read_text("utf-8")]
    inner = [module_name(path) for path in files if path.stem not in ("__main__", "elsewhere")]
    output = run_python(program, str(tmp_path), str(ROOT), *public, *inner)
    assert "ran" not in output.splitlines()
    assert output.count("SG505 ") > 5
    assert str(tmp_path / name.removesuffix("/__init__.py")) in output
    assert str(ROOT / "passes") in output
