"""Choices between words without branches: both are computed, and one is selected.

What is computed for it may cost a few instructions, and neither fail nor touch memory. A block, its
branches and the joins behind it are most of what a choice costs LLVM and the reader.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

_WORDS: Final = (ast.Add, ast.Sub, ast.Mult)

#: Whether a name stands for a word here.
Known = Callable[[str], bool]


def is_plain(expression: ast.expr, known: Known) -> bool:
    """Whether an expression is a word of sums and products of words."""
    if isinstance(expression, ast.Name):
        return known(expression.id)
    if isinstance(expression, ast.Constant):
        return type(expression.value) is int
    if isinstance(expression, ast.UnaryOp):
        return isinstance(expression.op, ast.USub) and is_plain(expression.operand, known)
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, _WORDS):
        return is_plain(expression.left, known) and is_plain(expression.right, known)
    return False


def is_test(expression: ast.expr, known: Known) -> bool:
    """Whether an expression compares such words, or joins comparisons of them."""
    if isinstance(expression, ast.BoolOp):
        return all(is_test(value, known) for value in expression.values)
    if not isinstance(expression, ast.Compare) or len(expression.ops) > 1:
        return False
    return is_plain(expression.left, known) and is_plain(expression.comparators[0], known)


def is_choice(expression: ast.IfExp, known: Known) -> bool:
    """Whether a conditional expression chooses between such words by them."""
    found = is_plain(expression.body, known) and is_plain(expression.orelse, known)
    return found and is_test(expression.test, known)


def assignment(statement: ast.If, known: Known) -> tuple[str, ast.expr] | None:
    """The name to which a statement does no more than to give such a word, or nothing, by them."""
    if statement.orelse or len(statement.body) != 1 or not is_test(statement.test, known):
        return None
    match statement.body[0]:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if known(name):
            return (name, value) if is_plain(value, known) else None
    return None
