"""Plans of abstract problems under budgets: ``python -m benchmarks plans --json FILE``.

Every plan goes through the independent checker. Overheads are what runs again, as shares of the
cost of all ops; where no plan meets a budget there is the smallest arena of its plans instead.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.memory.memory_problems import PROBLEMS
from staticgrad.analysis.planning.checking import check_plan
from staticgrad.analysis.planning.planner import plan_abstract
from staticgrad.analysis.planning.problem import MemoryProblem
from staticgrad.errors import BudgetInfeasible

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for; the report is written anew after each problem."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plans", description=__doc__)
    parser.add_argument("--problem", action="append", choices=[*PROBLEMS], help="default: all")
    parser.add_argument("--share", action="append", type=float, help="of the bytes of storing all")
    parser.add_argument("--effort", choices=("fast", "default"), default="default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add to this report")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text("utf-8"))["rows"]
    for name in options.problem or PROBLEMS:
        shares = options.share or (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
        for row in measure_problem(PROBLEMS[name](), shares, options.effort):
            rows.append(row)
            print(*row.values(), flush=True)
        if options.json:
            options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    print(table(rows))


def measure_problem(problem: MemoryProblem, shares: Sequence[float], effort: Any) -> Iterator[Row]:
    """A row for each share."""
    everything = plan_abstract(problem).height
    for share in shares:
        row: Row = {"problem": problem.name, "ops": len(problem.ops), "share": share}
        row["effort"] = effort
        begin = time.process_time()
        try:
            plan = plan_abstract(problem, share, effort=effort)
        except BudgetInfeasible as error:
            row["smallest"] = round((error.smallest_peak or 0) / everything, 4)
        else:
            row["overhead_pct"] = round(100.0 * plan.overhead, 4)
            row["arena_over_load"] = round(plan.height / max(plan.load, 1), 5)
        row["seconds"] = round(time.process_time() - begin, 3)
        if "overhead_pct" in row:
            check_plan(problem, plan.document(), budget=int(share * everything))
        yield row


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown: overheads in %, with the smallest share where none fits."""
    lines = ["| problem (ops) | share | overhead | seconds |", "|---|--:|--:|--:|"]
    for row in rows:
        cell = f"- ({row['smallest']:.2f})" if "smallest" in row else f"{row['overhead_pct']:.2f}"
        name = f"{row['problem']} ({row['ops']})"
        lines.append(f"| {name} | {row['share']:g} | {cell} | {row['seconds']} |")
    return "\n".join(lines)
