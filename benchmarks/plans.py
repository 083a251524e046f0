"""Policies side by side on abstract problems: ``python -m benchmarks plans --json FILE``.

Every plan goes through the independent checker. Overheads are what runs again, as shares of the
cost of all ops; a policy that keeps no budget has the smallest arena of its plans instead.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.memory_problems import PROBLEMS
from staticgrad.errors import BudgetInfeasible
from staticgrad.planning.checking import check_plan
from staticgrad.planning.planner import PolicyName, plan_abstract
from staticgrad.planning.problem import MemoryProblem

Row = dict[str, Any]
_POLICIES: Final = tuple(name for name in get_args(PolicyName) if name != "store_all")
_SOLVERS: Final = ("milp", "rounded")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for; the report is written anew after each problem."""
    found = argparse.ArgumentParser(prog="python -m benchmarks plans", description=__doc__)
    found.add_argument("--problem", action="append", choices=[*PROBLEMS], help="default: all")
    found.add_argument("--policy", action="append", choices=_POLICIES, help="default: all")
    found.add_argument("--share", action="append", type=float, help="of the bytes of storing all")
    found.add_argument("--effort", choices=("fast", "default"), default="default")
    found.add_argument("--solved", type=int, default=50, help="ops up to which solvers run")
    found.add_argument("--json", type=Path, metavar="FILE", help="add to this report")
    given = found.parse_args(arguments)
    rows: list[Row] = []
    if given.json and given.json.exists():
        rows = json.loads(given.json.read_text("utf-8"))["rows"]
    for name in given.problem or PROBLEMS:
        shares = given.share or (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
        policies = given.policy or _POLICIES
        for row in measured(PROBLEMS[name](), shares, policies, given.effort, given.solved):
            rows.append(row)
            print(*row.values(), flush=True)
        if given.json:
            given.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    print(table(rows))


def measured(
    problem: MemoryProblem,
    shares: Sequence[float],
    policies: Sequence[str],
    effort: Any,
    solved: int,
) -> Iterator[Row]:
    """A row for each share and policy."""
    everything = plan_abstract(problem).height
    for share in shares:
        for policy in policies:
            if policy in _SOLVERS and len(problem.ops) > solved:
                continue
            row: Row = {"problem": problem.name, "ops": len(problem.ops), "share": share}
            row["policy"] = policy
            row["effort"] = effort if policy == "optimal" else ""
            begin = time.process_time()
            try:
                plan = plan_abstract(problem, share, policy=policy, effort=effort)  # type: ignore[arg-type]
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
    policies = [name for name in _POLICIES if any(row["policy"] == name for row in rows)]
    lines = ["| problem (ops) | share | " + " | ".join(policies) + " | seconds |"]
    lines.append("|---|--:|" + "--:|" * (len(policies) + 1))
    cells: dict[tuple[str, float], dict[str, Row]] = {}
    for row in rows:
        cells.setdefault((f"{row['problem']} ({row['ops']})", row["share"]), {})[row["policy"]] = (
            row
        )
    for (name, share), found in cells.items():
        texts = [_cell(found.get(policy)) for policy in policies]
        seconds = found["optimal"]["seconds"] if "optimal" in found else ""
        lines.append(f"| {name} | {share:g} | " + " | ".join(texts) + f" | {seconds} |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row['overhead_pct']:.2f}" if "overhead_pct" in row else f"- ({row['smallest']:.2f})"
