"""Derivatives of graphs, as new nodes of the same graph.

Start reading at ``reverse``. Derivatives know the ops' own rules and the graph; they know no pass
and no kernel.
"""
