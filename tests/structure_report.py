"""Imports of the packages' own modules, and the circles among them. Nothing is imported."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("staticgrad", "passes")


@dataclass(frozen=True)
class Module:
    """One file, as text and as a tree."""

    name: str
    path: Path
    text: str = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


@dataclass(frozen=True)
class Import:
    """``module`` is imported by ``by``; inside of a function, or for type checkers only."""

    by: str
    module: str
    inside: bool
    checked: bool


class Tree:
    """The packages of a checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = {m.name: m for m in self._read(*PACKAGES)}

    def _read(self, *folders: str) -> Iterator[Module]:
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*.py")):
                parts = path.relative_to(self.root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                yield Module(name, path, path.read_text("utf-8"))

    def imports(self) -> Iterator[Import]:
        """Imports of own modules, wherever they stand."""
        for module in self.modules.values():
            yield from self._imports(module.tree, module.name, False, False)

    def _imports(self, node: ast.AST, by: str, inside: bool, checked: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                continue  # holds no statement
            if isinstance(child, ast.Import | ast.ImportFrom):
                for name in self._named(child):
                    yield Import(by, name, inside, checked)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from self._imports(child, by, inside or function, checked or typing)

    def _named(self, node: ast.Import | ast.ImportFrom) -> set[str]:
        if isinstance(node, ast.Import):
            asked = {alias.name for alias in node.names}
        else:
            asked = {f"{node.module}.{alias.name}" for alias in node.names}
            asked = {name if name in self.modules else str(node.module) for name in asked}
        return asked & self.modules.keys()

    def circles(self) -> list[set[str]]:
        """Groups of modules that import each other in a run, at its start or from a function."""
        edges = defaultdict(set)
        for each in self.imports():
            if (
                not each.checked
                and each.by != each.module
                and not f"{each.by}.".startswith(f"{each.module}.")
            ):
                edges[each.by].add(each.module)
        return [group for group in components(edges) if len(group) > 1]


def components(edges: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components (Tarjan), iteratively."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []
    for root in [*edges]:
        work = [(root, iter(sorted(edges.get(root, ()))))] if root not in number else []
        if work:
            number[root] = low[root] = len(number)
            stack.append(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in number:
                    number[other] = low[other] = len(number)
                    stack.append(other)
                    work.append((other, iter(sorted(edges.get(other, ())))))
                    break
                if other in stack:
                    low[node] = min(low[node], number[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    group = {*stack[stack.index(node) :]}
                    del stack[stack.index(node) :]
                    found.append(group)
    return found
