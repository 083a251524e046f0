"""The code of the runtime is Python that is read as the kernel language."""

import ast
import inspect
from pathlib import Path

import pytest

from staticgrad.errors import CompileError
from staticgrad.native import language, loader
from staticgrad.native.constants import SIZE_OF_ROW, Row
from staticgrad.native.entry import text as entry
from staticgrad.native.language import system
from staticgrad.native.language.translation import REGISTERED
from staticgrad.native.libraries import scipy_library
from staticgrad.native.source import PythonSource
from staticgrad.native.table import control_code, pool_code, rows
from staticgrad.native.table.control_code import LoopWord

ENTRIES = [
    rows.run_table,
    control_code.follow_row,
    control_code.run_through,
    pool_code.run_shared,
    pool_code.run_worker,
    entry.enter,
    scipy_library.guard_call,
    scipy_library.before_fork,
]
TYPED = Path(language.__file__).with_name("typed.pyi")


def words():
    """Return the names that code of the runtime may call besides its own functions."""
    functions = REGISTERED[0].FUNCTIONS
    return {*functions, *system.functions_of(loader.host()), "call", "range"}


def calls(text):
    """The names that a text calls."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {node.func.id for node in nodes}


@pytest.mark.parametrize("function", ENTRIES, ids=lambda function: function.__name__)
def test_code_of_the_runtime_calls_what_comes_before_it_and_words_of_the_language(function):
    actual = PythonSource(function, FUTEX_CALL=1, GETTID=2).functions()
    assert [*actual][-1] == "kernel"
    allowed = words()
    for name, text in actual.items():
        called = calls(text.content) - {name}
        assert {n for n in called - allowed if not n.startswith("code_of_")} == set()
        allowed.add(name)


def test_names_of_numbers_members_and_fields_become_numbers():
    actual = PythonSource(control_code.follow_row).functions()
    assert f"at(record, {int(LoopWord.ITERATIONS)})" in actual["begin"].content
    assert f"kind = at(row, {Row._fields.index('scratch')})" in actual["follow"].content
    assert f"steps * {SIZE_OF_ROW}" in actual["follow"].content
    for text in actual.values():
        tree = ast.parse(text.content)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        assert ast.get_docstring(tree.body[0]) is None


def test_functions_and_numbers_may_be_replaced():
    plain = PythonSource(pool_code.run_worker, hook=pool_code.no_hook, GETTID=186)
    replaced = PythonSource(pool_code.run_worker, hook=pool_code.hook, GETTID=178)
    assert plain != replaced
    assert calls(plain.functions()["hook"].content) == set()
    assert calls(replaced.functions()["hook"].content) == {"call", "at"}
    assert "called1(system, 178)" in replaced.functions()["kernel"].content


@pytest.mark.parametrize(("old", "new"), [("+ 8", "- 8"), ("8", "16"), ("number", "n")])
def test_a_file_that_was_changed_after_its_import_is_refused(old, new, monkeypatch):
    source = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda function: source(function).replace(old, new))
    with pytest.raises(CompileError, match="pool_code was changed after it was imported"):
        PythonSource(pool_code.place_of).functions()


def test_code_of_the_runtime_needs_its_files(monkeypatch):
    def missing(_):
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", missing)
    with pytest.raises(CompileError, match="place_of cannot be read: could not get"):
        PythonSource(pool_code.place_of).functions()


def test_what_type_checkers_read_are_words_of_the_language():
    tree = ast.parse(TYPED.read_text())
    declared = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert len(declared) > 40
    assert {name for name in declared - words() if not name.startswith("code_of_")} == set()
