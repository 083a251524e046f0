"""What the code is made of, counted: files, lines, names, imports, exceptions to the rules.

``python -m tests.structure_report`` prints a table of this checkout; with paths of others, a column
for each, so that a change of structure can be seen in numbers. Nothing is imported.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
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

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def docstring_lines(self) -> int:
        found = 0
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    found += (first.end_lineno or 0) - first.lineno + 1
        return found


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

    def tests(self) -> list[Module]:
        return [*self._read("tests")]

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

    def repeated_classes(self) -> dict[str, list[str]]:
        """Class name -> the modules that define it, where these are several."""
        found = defaultdict(list)
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(module.name)
        return {name: places for name, places in found.items() if len({*places}) > 1}

    def ignores(self) -> list[str]:
        """The codes of ``type: ignore`` comments."""
        marks = (
            re.findall(r"# type: ignore(\[[\w, -]+\])?", m.text) for m in self.modules.values()
        )
        return [code for each in marks for code in each]


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


def rows(tree: Tree) -> dict[str, object]:
    """The table of one checkout: what is counted -> the number."""
    modules, tests = [*tree.modules.values()], tree.tests()
    lengths = sorted(len(m.lines) for m in modules)
    written = [line.strip() for m in modules for line in m.lines]
    blank, comment = written.count(""), sum(line.startswith("#") for line in written)
    doc = sum(m.docstring_lines() for m in modules)
    text = "\n".join(m.text for m in modules)
    ignores, imports = tree.ignores(), [*tree.imports()]
    found: dict[str, object] = {
        "files / lines of staticgrad and passes": f"{len(modules)} / {len(written)}",
        "lines: code / docstring / comment / blank": (
            f"{len(written) - blank - comment - doc} / {doc} / {comment} / {blank}"
        ),
        "files / lines of tests": f"{len(tests)} / {sum(len(m.lines) for m in tests)}",
        "file length: median / 90 % / longest": (
            f"{statistics.median(lengths):.0f} / {lengths[len(lengths) * 9 // 10]} / {lengths[-1]}"
        ),
        "files under 60 lines": sum(n < 60 for n in lengths),
        "`type: ignore` / of them `no-any-return`": (
            f"{len(ignores)} / {sum('no-any-return' in code for code in ignores)}"
        ),
        "function-level imports of own modules": sum(i.inside for i in imports),
        "circles of imports (types apart) / modules in them": (
            f"{len(tree.circles())} / {sum(map(len, tree.circles()))}"
        ),
        "public class names defined twice": len(tree.repeated_classes()),
        'look-ups `FUNCTIONS["..."]`': len(re.findall(r"FUNCTIONS\[\s*f?\"", text)),
        "tests of an element's width (`bits == 32`)": len(re.findall(r"\bbits [=!]= \d", text)),
    }
    rooms: dict[str, int] = defaultdict(int)
    for m in modules:
        rooms[
            ".".join(m.name.split(".")[:2])
            if m.path.parent != tree.root / "staticgrad"
            else "staticgrad"
        ] += len(m.lines)
    found["lines by room"] = ", ".join(
        f"{name.removeprefix('staticgrad.')} {n}"
        for name, n in sorted(rooms.items(), key=lambda item: -item[1])
        if n > 600
    )
    return found


def table(roots: list[Path]) -> str:
    """A Markdown table with a column for each checkout."""
    columns = [rows(Tree(root)) for root in roots]
    lines = ["| what | " + " | ".join(root.name for root in roots) + " |"]
    lines.append("|---" * (len(roots) + 1) + "|")
    lines += [
        f"| {name} | " + " | ".join(str(column[name]) for column in columns) + " |"
        for name in columns[0]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table([Path(name).resolve() for name in sys.argv[1:]] or [ROOT]))
