"""Runs a planned step: the arena, feeds, output arrays, and the table that the driver walks.

It takes kernels by address and plans as data. Of a graph only the inputs are read, against which
feeds are checked. Start reading at ``step``.
"""
