"""``python -m tests.doors [DOOR ...]``: run the cells, and write the grid and its page."""

import re
import sys

import click

from tests.doors.cells import GRID, PAGE, is_installed, outcome, page, read, text
from tests.doors.doors import DOORS
from tests.doors.kinds import KINDS


def main(names):
    """Run the cells of these doors, or of all, and write the grid and the page."""
    states, reasons = read()
    cells = {(door, kind) for door in DOORS for kind in KINDS}
    states = {cell: state for cell, state in states.items() if cell in cells}
    reasons = {cell: why for cell, why in reasons.items() if cell in cells}
    for name in names or DOORS:
        if not is_installed(DOORS[name]):
            click.echo(f"{name}: needs {', '.join(DOORS[name].needs)}")
            continue
        for kind in KINDS:
            reasons.pop((name, kind), None)
            states[name, kind], why = outcome(DOORS[name], KINDS[kind])
            if why:
                reasons[name, kind] = re.sub(r"\s+", " ", why.replace("|", "/"))
                click.echo(f"{name} | {kind} | {why}")
        GRID.write_text(text(states, reasons), "utf-8")
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
