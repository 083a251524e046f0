"""Parts of a table: which points a file has, of which tree, machine, day and kind of run.

A run may stop at any time; the next one goes on with the points that the file lacks for the same
tree and kind. So a table of thousands of points is measured in short stretches of a quiet machine.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.harness.machine import describe

#: What a table is measured of: the folders whose content decides about times.
MEASURED: Final = ("staticgrad", "passes")
_KIND: Final = ("tree", "machine", "threads", "avx2")


def tree() -> str:
    """Git's digests of the folders that are measured; ``+`` where files differ from them."""
    digests = [_git("rev-parse", "--short=12", f"HEAD:{name}") for name in MEASURED]
    changed = _git("status", "--porcelain", "--", *MEASURED)
    return " ".join(digests) + "+" * bool(changed)


def _git(*words: str) -> str:
    folder = Path(__file__).parents[3]
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def part(threads: int, avx2: bool) -> dict[str, Any]:
    """Return the fields that are written beside each point of a run."""
    return {
        "tree": tree(),
        "machine": describe().processor,
        "threads": threads,
        "avx2": avx2,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def measured_points(path: Path, about: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """The points of a file that were measured of the same tree, on the same machine, in one way."""
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    alike = [e for e in entries if all(e.get(key) == about[key] for key in _KIND)]
    return {tuple(entry["point"].values()) for entry in alike}


def merge(parts: Iterable[Path], into: Path) -> None:
    """Write the points of several files, of each the one that is read last."""
    lines: dict[tuple[Any, ...], str] = {}
    for path in parts:
        for line in path.read_text(encoding="utf-8").splitlines():
            lines[tuple(json.loads(line)["point"].values())] = line
    into.write_text("".join(f"{line}\n" for line in lines.values()), encoding="utf-8")


def describe_points(path: Path) -> str:
    """Count the points of a file by tree, day, kind of run and machine."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    counts = Counter(tuple(entry.get(key, "?") for key in (*_KIND, "date")) for entry in entries)
    lines = []
    for (tree_, machine, threads, avx2, date), count in counts.items():
        how = f"{threads} thread{'s' * (threads != 1)}{', AVX2' * (avx2 is True)}"
        lines.append(f"- {count} points: {date}, {machine}, {how}, trees {tree_}")
    return "\n".join(lines)
