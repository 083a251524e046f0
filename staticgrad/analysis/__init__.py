"""Pure functions of a graph: who reads what, which sizes hold, what it evaluates to.

Analyses change nothing and remember nothing; passes and stages call them. They know the graph and
the ops, never a pass, a kernel or a plan.
"""
