"""Plans for several budgets of one problem; a smaller budget never gives a cheaper plan."""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.errors import BudgetInfeasible
from staticgrad.planning.placed import MemoryPlan
from staticgrad.planning.planner import Effort, PolicyName, plan_abstract
from staticgrad.planning.problem import MemoryProblem


def plan_front(
    problem: MemoryProblem,
    budgets: Sequence[int],
    *,
    policy: PolicyName = "optimal",
    effort: Effort = "default",
    align: int = 1,
    seed: int = 1,
) -> list[MemoryPlan | None]:
    """For each budget in bytes the cheapest plan of all that were found for any of them; None where
    none keeps it.

    A plan that keeps a smaller budget keeps a larger one as well, so costs never fall with the
    budget, although each is searched for by itself. Arguments are those of ``plan_abstract``.
    """
    found: list[MemoryPlan] = []
    for budget in dict.fromkeys(budgets):
        try:
            plan = plan_abstract(
                problem, budget, policy=policy, effort=effort, align=align, seed=seed
            )
        except BudgetInfeasible:
            continue
        found.append(plan)
    return [
        min(
            (plan for plan in found if plan.height <= budget),
            key=lambda plan: (plan.cost, plan.height),
            default=None,
        )
        for budget in budgets
    ]
