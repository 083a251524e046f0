"""Syntax trees of files, parsed once for all tests of a process."""

import ast
from functools import cache


@cache
def syntax_tree(path):
    """Return the tree of a file of Python; nobody may change it."""
    return ast.parse(path.read_text("utf-8"))


@cache
def nodes_of(tree):
    """Return the nodes of a tree that nobody changes, in the order of ``ast.walk``."""
    return tuple(ast.walk(tree))


def name_of(expression):
    """Return the last part of a dotted name, ``import_module`` of ``importlib.import_module``."""
    return getattr(expression, "attr", getattr(expression, "id", ""))
