"""Memory planning: order of steps, budgets, loops in segments, one arena.

``planner`` turns a schedule and its sizes into a plan; ``passes.remat`` holds the policies that it
follows to meet a budget.
"""

from staticgrad.errors.tracebacks import refuse_shadowed_passes

refuse_shadowed_passes()
