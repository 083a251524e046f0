"""Benchmarks that print a row as it is measured, and write all of them to a file."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import describe


def arguments(description: str, names: Iterable[str]) -> ArgumentParser:
    """Return a reader of the programs to measure, and of files to write and to stand beside."""
    choices = [*names]
    reader = ArgumentParser(description=description)
    reader.add_argument("names", nargs="*", default=choices, help="; ".join(choices))
    reader.add_argument("--into", type=Path)
    reader.add_argument("--beside", type=Path)
    return reader


def print_rows(
    asked: Namespace,
    heads: Sequence[str],
    measured: Callable[[str], dict[str, Any]],
    line: Callable[[Any, Mapping[str, Any]], str],
) -> list[dict[str, Any]]:
    """Measure the programs asked for, print a line of each, and return the rows.

    ``line`` takes a row and that of the same program in the file ``--beside``, or an empty one.
    """
    earlier: dict[str, Any] = {}
    if asked.beside:
        earlier = {row["program"]: row for row in json.loads(asked.beside.read_text())["rows"]}
    print(f"| {' | '.join(heads)} |\n|---|{'--:|' * (len(heads) - 1)}")
    rows: list[dict[str, Any]] = []
    for name in asked.names:
        rows.append(measured(name))
        print(line(rows[-1], earlier.get(name, {})), flush=True)
        if asked.into:
            document = {"machine": asdict(describe()), "rows": rows}
            asked.into.write_text(json.dumps(document, indent=1))
    return rows
