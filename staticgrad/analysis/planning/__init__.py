"""Recomputation and placement as problems of their own: no graph, no kernel, no schedule.

    problem = read_problem("problem.json")
    plan = plan_abstract(problem, budget=1 << 20)
    check_plan(problem, plan.document())

What is planned is a sequence of ops in which one may occur several times, and an offset for every
allocation of it. ``checking`` judges plans by rules that no search shares.
"""
