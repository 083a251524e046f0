"""Public namespaces: where the name is, the code is; wrong names get the nearest one."""

import importlib
import inspect
from pathlib import Path

import pytest

import staticgrad as sg
from staticgrad.exports import MODULES
from tests.helpers.syntax import syntax_tree

ROOT = Path(__file__).parents[2]
#: Namespaces whose package is not always installed, and what is imported for them.
NEEDED = {"jax": "jax", "numba": "numba", "onnx": "onnx", "pytensor": "pytensor"}
NEEDED |= {"sklearn": "sklearn", "torch": "torch"}


def namespace(name):
    """Return the path that users import, and the module."""
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    path = "passes" if name == "passes" else f"staticgrad.{name}"
    return path, importlib.import_module(path)


@pytest.mark.parametrize("name", MODULES)
def test_the_code_of_a_namespace_is_in_the_folder_of_its_name(name):
    path, module = namespace(name)
    assert MODULES[name] == module.__name__ == path
    assert name == "passes" or getattr(sg, name) is module
    place = ROOT / path.replace(".", "/")
    assert Path(module.__file__) in (place / "__init__.py", place.with_suffix(".py"))


@pytest.mark.parametrize("name", ["fft", "linalg", "ode", "optim", "random", "sparse", "special"])
def test_functions_of_a_namespace_are_defined_in_its_folder(name):
    """But those of ``sg`` itself that NumPy has there, too, and functions that apply one op."""
    path, module = namespace(name)
    functions = [inspect.unwrap(getattr(module, entry)) for entry in module.__all__]
    homes = [f.__module__ for f in functions if inspect.isroutine(f) or inspect.isclass(f)]
    shared = ("staticgrad.functions.", "staticgrad.language.ops.", "staticgrad.nn.functional.")
    elsewhere = [home for home in homes if not home.startswith((path, *shared))]
    assert elsewhere == []
    assert sum(home.startswith(path) for home in homes) > len(homes) / 2


def test_no_file_only_puts_another_module_in_its_place():
    replacing = "sys.modules[__name__]"
    files = [*(ROOT / "staticgrad").rglob("*.py"), *(ROOT / "passes").rglob("*.py")]
    assert [path for path in files if replacing in path.read_text("utf-8")] == []
    for path in (ROOT / "staticgrad").glob("*.py"):
        body = syntax_tree(path).body
        assert path.stem == "__main__" or len(body) > 5, path


@pytest.mark.parametrize("name", MODULES)
def test_a_wrong_name_gets_the_nearest_one_from_an_import(name):
    path, module = namespace(name)
    names = ["pipelines"] if name == "passes" else [n for n in module.__all__ if len(n) > 4]
    correct = names[0]
    wrong = f"{correct[:2]}{correct[3:]}"
    assert not hasattr(module, wrong)
    with pytest.raises(ImportError, match=rf"has no '{wrong}'\n(.|\n)*hint: .*\b{correct}\b"):
        exec(f"from {path} import {wrong}", {})
    with pytest.raises(AttributeError, match=rf"has no '{wrong}'(.|\n)*\b{correct}\b"):
        getattr(module, wrong)
