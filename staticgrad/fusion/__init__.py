"""Which nodes of a graph share a kernel: Graph -> Groups, a frozen value, step by step.

``preparation`` rewrites the graph for it, ``grouping`` grows groups of one phase, ``merging`` joins
groups of two phases, ``cutting`` cuts those that ``cost`` finds to wait, ``copies`` adds what must
lie in a buffer of its own. ``legality`` says which groups may be one, and why two are two;
``updates`` decides where new values of parameters go. ``lowering`` makes a kernel of each group,
and ``lowering.fuse`` the schedule of them all.
"""
