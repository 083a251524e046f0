"""Lines of source per public name, by wing: ``python -m benchmarks lines [--beside COMMIT]``.

A public name is one of ``sg`` or of a module of it that users reach (``sg.nn.Linear``); it counts
for the wing (the first folder) in which its function or class is defined, once if several names
are the same object. Lines are all those of ``.py`` files. ``--beside`` reads another commit of the
repository as well, from an archive of it, in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("staticgrad", "passes")
#: Run in the tree that is counted: prints the file of each public object.
_NAMES: Final = """
import inspect, json, sys, types
import staticgrad as sg
seen, files, modules = set(), [], [sg]
for name in sg.__all__:
    each = getattr(sg, name)
    if isinstance(each, types.ModuleType):
        modules.append(each)
for module in modules:
    for name in getattr(module, "__all__", ()):
        try:
            each = getattr(module, name)
        except Exception:
            continue
        if isinstance(each, types.ModuleType):
            continue
        inner = inspect.unwrap(each) if callable(each) else each
        home = getattr(inner, "__module__", None) or getattr(type(inner), "__module__", "")
        if home.split(".")[0] not in ("staticgrad", "passes") or (id(inner) in seen):
            continue
        seen.add(id(inner))
        files.append(getattr(sys.modules.get(home), "__file__", ""))
print(json.dumps(files))
"""


def wing(path: Path) -> str:
    """Return the first folder in a package, ``passes``, or ``.`` for files beside the folders."""
    parts = path.parts
    return parts[0] if parts[0] == "passes" else parts[1] if len(parts) > 2 else "."


def lines(tree: Path) -> Counter[str]:
    """Return the lines of Python by wing."""
    counts: Counter[str] = Counter()
    for package in PACKAGES:
        for file in (tree / package).rglob("*.py"):
            text = file.read_text("utf-8")
            counts[wing(file.relative_to(tree))] += text.count("\n")
    return counts


def names(tree: Path) -> Counter[str]:
    """Return the public names by the wing of their definition."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _NAMES],
        cwd=tree, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip
    files = [Path(path) for path in json.loads(run.stdout.splitlines()[-1]) if path]
    inside = [file.relative_to(tree) for file in files if file.is_relative_to(tree)]
    return Counter(wing(file) for file in inside)


def table(tree: Path, title: str) -> str:
    """Return the rows of a tree as Markdown, most lines first."""
    by_wing, public = lines(tree), names(tree)
    rows = [f"| {title} | lines | names | lines per name |", "|---|--:|--:|--:|"]
    for name, count in by_wing.most_common():
        per_name = f"{count / public[name]:,.0f}" if public[name] else ""
        rows.append(f"| {name} | {count:,} | {public[name]:,} | {per_name} |")
    total, public_total = by_wing.total(), public.total()
    rows.append(f"| all | {total:,} | {public_total:,} | {total / public_total:,.1f} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of this tree, and of another commit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks lines", description=__doc__)
    parser.add_argument("--beside", metavar="COMMIT", help="a commit to count as well")
    options = parser.parse_args(arguments)
    if options.beside:
        archive = subprocess.run(
            ["git", "archive", options.beside, *PACKAGES], cwd=ROOT, capture_output=True, check=True
        ).stdout
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
            print(table(Path(folder).resolve(), options.beside) + "\n")
    print(table(ROOT, "this tree"))
    return 0
