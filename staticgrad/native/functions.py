"""Functions of Python as sources of kernels: the code of the runtime, checked like any other code.

    source = PythonSource(follow)        # its entry is follow, behind all that it calls

A function keeps to the kernel language (``vocabulary.md``), whose words are declared for type
checkers in ``language/typed.pyi``. It is read by ``ast`` where machine code is made or Python runs
it. Names of numbers, members of enumerations and fields of named tuples (which stand for their
places) become numbers. Annotations and docstrings are left out.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import CodeType
from typing import Any

from staticgrad.errors import CompileError
from staticgrad.native.constants import ENTRY
from staticgrad.native.language.frontend import Function, FunctionText

Rewrite = Callable[[ast.FunctionDef, Mapping[str, Any]], ast.AST]
"""What becomes of a function, of its tree and the names of its module."""


def read(entry: Callable[..., Any], others: Mapping[str, Any]) -> Mapping[str, Function]:
    """Return the parsed functions of a ``PythonSource`` by name, the entry last.

    Raises:
        CompileError: their file is missing, or is not the one that was imported.
    """
    try:
        *called, last = trees_of(entry, _with_numbers, others).values()
    except OSError as error:
        raise CompileError(
            f"{entry.__module__}.{entry.__qualname__} cannot be read: {error}",
            hint="install staticgrad with its source files: code of the runtime is made of them",
        ) from error
    last.name = ENTRY
    return {tree.name: _unparse_function(tree) for tree in (*called, last)}


def _unparse_function(tree: ast.FunctionDef) -> FunctionText:
    parameters = tuple(argument.arg for argument in tree.args.args)
    return FunctionText(tree.name, parameters, ast.unparse(tree))


def trees_of(
    function: Callable[..., Any], rewrite: Rewrite, others: Mapping[str, Any]
) -> dict[str, ast.FunctionDef]:
    """Parse and rewrite a Python function of the runtime and those that it calls.

    ``others`` go before the names of their modules.

    Raises:
        OSError: the source of a function cannot be read.
        CompileError: a file was changed after it was imported.
    """
    done: dict[str, ast.FunctionDef] = {}
    _add_function(function, function.__name__, rewrite, others, done)
    return done


def _add_function(
    function: Any,
    name: str,
    rewrite: Rewrite,
    others: Mapping[str, Any],
    done: dict[str, ast.FunctionDef],
) -> None:
    """Parse and rewrite one Python function, after those that it calls."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    # The source text may have changed since the import: compare it with the bytecode.
    module = compile(ast.Module([tree], []), "<source>", "exec", dont_inherit=True)
    (code,) = (
        constant
        for constant in module.co_consts
        if inspect.iscode(constant) and constant.co_name == tree.name
    )
    if _bytecode(code) != _bytecode(function.__code__):
        raise CompileError(
            f"the file of {function.__module__} was changed after it was imported",
            hint="start Python anew",
        )
    seen = {**function.__globals__, **others}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = seen.get(node.func.id)
            if inspect.isfunction(called) and node.func.id not in done:
                _add_function(called, node.func.id, rewrite, others, done)
    tree.name, tree.returns = name, None
    for argument in tree.args.args:
        argument.annotation = None
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:] or [ast.Pass()]
    rewritten = ast.fix_missing_locations(rewrite(tree, seen))
    assert isinstance(rewritten, ast.FunctionDef)
    done[name] = rewritten


def _bytecode(code: CodeType) -> tuple[object, ...]:
    """Return what a function does, without its lines and texts."""
    numbers = [constant for constant in code.co_consts if isinstance(constant, int | float)]
    return code.co_code, code.co_names, code.co_varnames, numbers


def _with_numbers(tree: ast.FunctionDef, seen: Mapping[str, Any]) -> ast.AST:
    return ConstantNames(seen).visit(tree)


class ConstantNames(ast.NodeTransformer):
    """Names of a module that stand for numbers, as these."""

    def __init__(self, seen: Mapping[str, Any]) -> None:
        self.seen = seen

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """``PAGE``"""
        value = self.seen.get(node.id)
        if isinstance(node.ctx, ast.Load) and type(value) is int:
            return ast.Constant(value)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``LoopWord.LEFT``, ``Row.scratch``"""
        assert isinstance(node.value, ast.Name)
        kind = self.seen[node.value.id]
        if issubclass(kind, IntEnum):
            return ast.Constant(int(kind[node.attr]))
        return ast.Constant(kind._fields.index(node.attr))
