"""Derivatives of graphs, as new nodes of the same graph.

Start reading at ``reverse``. Derivatives are built from the rules of the ops.
"""

from staticgrad.errors.tracebacks import refuse_shadowed_passes

refuse_shadowed_passes()
