"""Every test can fail by what it looks at: it asserts, or calls a function of the tests that does.

Names are resolved as Python does, but for methods: a call ``x.check()`` is that of any ``check`` of
the module of the test, or of a module that it imports from.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.syntax import name_of, nodes_of, syntax_tree

ROOT = Path(__file__).parents[2]

#: Test -> why it needs no assertion.
WITHOUT = {
    "test_sklearn.py::test_the_estimators_pass_scikit_learns_checks": "its parameter is a check",
    "test_sklearn.py::test_weights_pass_scikit_learns_check_of_repeated_rows": "one of its checks",
}

#: Functions of packages that raise unless what they look at is right.
RAISING = (
    *("raises", "warns", "fail", "check_op", "check_grads", "check_gradients"),
    *("verify_graph", "verify_schedule", "check_plan"),
)


class Module:
    """The functions of a file of tests, and the names that it imports from others."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions: dict[str, list[ast.FunctionDef]] = {}
        self.imports: dict[str, tuple[str, str]] = {}  # name here -> (module, name there)
        self.tables: dict[str, list[ast.FunctionDef]] = {}  # LAWS -> functions under @LAWS.law
        for node in nodes_of(tree):
            if isinstance(node, ast.FunctionDef):
                self.functions.setdefault(node.name, []).append(node)
                for part in node.decorator_list:
                    table = ast.unparse(part).partition(".")[0]
                    if table != "pytest":
                        self.tables.setdefault(table, []).append(node)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                for part in node.names:
                    self.imports[part.asname or part.name] = (str(node.module), part.name)


@cache
def module_of(name: str) -> Module | None:
    """Return the module of a dotted name; None if there is no such file."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    return Module(syntax_tree(path)) if path.exists() else None


def looks(node: ast.AST) -> bool:
    """Return whether a part of a function is an assertion itself."""
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Raise):
        return any(name in ast.dump(node) for name in ("AssertionError", "MismatchError"))
    if not isinstance(node, ast.Call):
        return False
    name = name_of(node.func)
    checked = any(
        keyword.arg == "check"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for keyword in node.keywords
    )
    return name.startswith("assert_") or name in RAISING or checked


def called_functions(
    module: Module, function: ast.FunctionDef
) -> Iterator[tuple[Module, ast.FunctionDef]]:
    """Yield the functions that a function calls, or gets as fixtures, with their modules."""
    names = {argument.arg for argument in function.args.args}
    methods: set[str] = set()
    for node in (inner for part in function.body for inner in ast.walk(part)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            base = node.value.id if isinstance(node.value, ast.Name) else ""
            imported_module = (
                module_of(".".join(module.imports[base])) if base in module.imports else None
            )
            if imported_module is not None:
                yield from (
                    (imported_module, definition)
                    for definition in imported_module.functions.get(node.attr, ())
                )
            else:
                methods.add(node.attr)
    for name in names:
        yield from ((module, definition) for definition in module.functions.get(name, ()))
        yield from ((module, definition) for definition in module.tables.get(name, ()))
        if name in module.imports:
            source, name_there = module.imports[name]
            imported_module = module_of(source)
            if imported_module is not None:
                yield from (
                    (imported_module, definition)
                    for definition in imported_module.functions.get(name_there, ())
                )
    sources = (module_of(source) for source, _ in module.imports.values())
    for searched_module in (module, *filter(None, sources)):
        for name in methods:
            yield from (
                (searched_module, definition)
                for definition in searched_module.functions.get(name, ())
            )


def asserts(module: Module, test: ast.FunctionDef) -> bool:
    """Return whether a test, or a function that it calls, has an assertion."""
    waiting, seen = [(module, test)], set()
    while waiting:
        where, function = waiting.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        if any(map(looks, ast.walk(function))):
            return True
        waiting += called_functions(where, function)
    return False


def without_assertions(path: Path) -> list[str]:
    """Return the tests of a file that have no assertion."""
    module = Module(syntax_tree(path))
    assert any(name.startswith("test_") for name in module.functions), path
    return [
        f"{path.name}::{name}"
        for name, functions in module.functions.items()
        if name.startswith("test_")
        and not all(asserts(module, definition) for definition in functions)
    ]


def test_every_test_has_an_assertion():
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 300
    assert [name for path in files for name in without_assertions(path)] == [*WITHOUT]


@pytest.mark.parametrize(
    ("body", "is_right"),
    [
        ("    assert f()", True),
        ("    f()", False),
        ("    helper()", True),
        ("    through()", True),
        ("    quiet()", False),
        ("    with pytest.raises(ValueError):\n        f()", True),
        ("    np.testing.assert_allclose(f(), 1)", True),
        ("    subprocess.run(['a'], check=True)", True),
        ("    subprocess.run(['a'], check=False)", False),
        ("    Counted().check()", True),
        ("    for law in LAWS:\n        LAWS[law](1)", True),
    ],
)
def test_assertions_are_found_in_helpers(body, is_right, tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text(
        "def helper():\n    assert g()\n"
        "def through():\n    return helper()\n"
        "def quiet():\n    return f()\n"
        "@LAWS.law()\ndef holds(each):\n    assert each\n"
        "class Counted:\n    def check(self):\n        assert self.right\n"
        f"def test_it():\n{body}\n"
    )
    assert without_assertions(path) == ([] if is_right else ["test_it.py::test_it"])
