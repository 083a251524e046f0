"""Every model at twenty budgets, from storing everything down to the smallest arena found.

    python -m tests.memory.budgets [--only TEXT] [--into FILE]

At each budget, of steps of SGD: outputs and parameters have the bytes of store_all, the arena is
within the budget and is the highest byte that was touched, and the verifier of plans agrees. A
smaller budget is never predicted to be faster. ``--into`` writes the table.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from staticgrad.analysis.cost import plan_seconds
from staticgrad.optim import SGD
from tests.memory.models import BATCH, MODELS
from tests.memory.sweep import STEPS, subject
from tests.optimizers import Case

BUDGETS = 20


class Kept(NamedTuple):
    """What a budget gave: steps that ran, those of them again, and predicted seconds."""

    budget: int
    arena: int
    runs: int
    again: int
    seconds: float


def kept(name, count=BUDGETS):
    """A model at budgets that are evenly spread, the largest first; each is checked."""
    made = subject(name, Case(SGD))
    found = []
    for place in range(count):
        budget = made.peak - (made.peak - made.smallest) * place // (count - 1)
        plan = made.checked(True, memory_budget=budget)
        runs = len(plan.steps)
        again = runs - len(plan.schedule.steps)
        found.append(Kept(budget, plan.peak_bytes, runs, again, plan_seconds(plan)))
    return found


def rises(found):
    """Whether no smaller budget is predicted to be faster than a larger one."""
    seconds = [each.seconds for each in found]
    return all(one <= two * (1 + 1e-9) for one, two in pairwise(seconds))


def lines(found):
    """The table as Markdown."""
    yield "# Budgets of the models of the tests"
    yield ""
    yield f"`python -m tests.memory.budgets`: {BUDGETS} budgets each, evenly spread from the arena"
    yield f"of store_all to the smallest found, batch {BATCH}, {STEPS} steps of SGD in debug mode."
    yield "At every budget all bytes are those of store_all, the arena is within the budget and is"
    yield "the highest byte touched, and predicted time does not fall with the budget. More time:"
    yield "as predicted, a quarter of the way down, half of it, three quarters, at the smallest."
    yield ""
    yield "| model | steps | store_all, bytes | smallest | run again | more time |"
    yield "|---|--:|--:|--:|--:|---|"
    for name, rows in found.items():
        first, last = rows[0], rows[-1]
        places = (len(rows) // 4, len(rows) // 2, 3 * len(rows) // 4, -1)
        more = ", ".join(f"{100 * (rows[at].seconds / first.seconds - 1):.1f} %" for at in places)
        share = last.arena / first.arena
        yield (
            f"| {name} | {first.runs} | {first.arena:,} | {last.arena:,} ({share:.3f}) "
            f"| {last.again} | {more} |"
        )


def main():
    """Check the models; 1 if a promise is broken."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--only", default="", help="models whose names have this text")
    reader.add_argument("--into", type=Path, help="the file of the table")
    given = reader.parse_args()
    found = {name: kept(name) for name in MODELS if given.only in name}
    text = "\n".join(lines(found)) + "\n"
    sys.stdout.write(text)
    if given.into:
        given.into.write_text(text, "utf-8")
    return 1 - all(map(rises, found.values()))


if __name__ == "__main__":
    sys.exit(main())
