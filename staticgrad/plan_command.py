"""The command ``staticgrad plan``: a problem of recomputation from a file to a plan.

It stands apart from the other commands because its documents go to files; what it prints is the
plan's figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import get_args

import click

from staticgrad.errors import StaticgradError
from staticgrad.planning.page import plan_page
from staticgrad.planning.placed import MemoryPlan
from staticgrad.planning.planner import Effort, PolicyName, plan_abstract

_FILE = click.Path(dir_okay=False)


@click.command()
@click.option("--abstract", "file", type=_FILE, required=True, help="The problem, as JSON.")
@click.option("--budget", metavar="BYTES", help="Of the arena: 1000000, 64MiB or 50%.")
@click.option("--policy", type=click.Choice(get_args(PolicyName)), default="optimal")
@click.option("--effort", type=click.Choice(get_args(Effort)), default="default")
@click.option("--align", type=click.IntRange(min=1), default=1, help="Of sizes and offsets.")
@click.option("--json", "written", type=_FILE, help="Write the plan as JSON.")
@click.option("--html", "page", type=_FILE, help="Write the plan as a page.")
def plan(
    file: str,
    budget: str | None,
    policy: PolicyName,
    effort: Effort,
    align: int,
    written: str | None,
    page: str | None,
) -> None:
    """Plan what is stored and what runs again.

    The file has ops and values (staticgrad-memgraph/1), the plan is staticgrad-schedule/1. Exit
    code 1: the file is no problem, or no plan within the budget was found.
    """
    given = int(budget) if budget is not None and budget.strip().isdecimal() else budget
    try:
        found = plan_abstract(file, given, policy=policy, effort=effort, align=align)
    except StaticgradError as error:
        more = [*error.details, *([f"hint: {error.hint}"] if error.hint else [])]
        text = "\n".join([error.headline, *(f"  {line}" for line in more)])
        click.echo(f"error: [{error.code}] {text}", err=True)
        sys.exit(1)
    for path, text in ((written, _document(found)), (page, plan_page(found))):
        if path is not None:
            _write(path, text)
    click.echo(found.summary())


def _document(found: MemoryPlan) -> str:
    return json.dumps(found.document(), indent=1) + "\n"


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        click.echo(f"error: {path} cannot be written: {error.strerror}", err=True)
        sys.exit(1)
