"""From a graph to a compiled program, and what it would cost under other budgets and dtypes."""

from staticgrad.errors.tracebacks import refuse_shadowed_passes

refuse_shadowed_passes()
