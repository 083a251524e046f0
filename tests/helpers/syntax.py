"""Syntax trees of files, parsed once for all tests of a process."""

import ast
from functools import cache


@cache
def syntax_tree(path):
    """Return the tree of a file of Python; nobody may change it."""
    return ast.parse(path.read_text("utf-8"))
