"""The functions that operators and ops of other families call are those that ``sg`` has."""

import re
from pathlib import Path
from types import FunctionType

import pytest

from staticgrad import functions as ops
from staticgrad.ir.functional import FUNCTIONS, functions, load_functions

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for name in ("staticgrad", "passes")
    for path in (ROOT / name).rglob("*.py")
    if not {"native", "codegen"} & {*path.parts}  # whose functions are those of kernels
)


def test_what_type_checkers_are_told_is_what_is_there():
    """They see the package of ops; a run has the same functions, before they read NumPy's words."""
    public = {n: getattr(ops, n) for n in ops.__all__}
    called = {n: f for n, f in public.items() if isinstance(f, FunctionType)}
    assert len(called) > 200
    assert vars(functions) == {n: f.__wrapped__ for n, f in called.items()}


def test_functions_are_called_by_attributes_that_are_there():
    asked = {
        name
        for text in (path.read_text("utf-8") for path in SOURCES)
        if "import functional" in text or re.search(r"import .*\bfunctions\b", text)
        for name in re.findall(r"(?<![.\w\"])functions\.(\w+)", text)
    }
    load_functions()
    assert {"add", "astype", "where"} <= asked <= FUNCTIONS.keys()
    found = [p.name for p in SOURCES if re.search(r"\bFUNCTIONS\[\s*f?\"", p.read_text("utf-8"))]
    assert found == []


def test_operators_are_named_in_errors_by_their_function():
    x = ops.input("x", (2,))
    with pytest.raises(TypeError, match="add"):
        _ = x + {"a": 1}
