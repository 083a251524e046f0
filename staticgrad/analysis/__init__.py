"""Pure functions of a graph: readers of values, valid sizes, numeric evaluation.

Analyses change nothing and store nothing; passes and stages call them. They depend on the graph and
the ops, never a pass, a kernel or a plan.
"""
