"""Runs a planned step: the arena, feeds, output arrays, and the table that the driver walks.

It takes kernels by address and plans as data. Graphs, passes and renderers are not known here,
beyond the inputs of a graph that feeds are checked against. Start reading at ``step``.
"""
