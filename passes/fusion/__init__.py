"""Which nodes of a graph share a kernel: Graph -> Groups, a frozen value, step by step.

``grouping`` grows groups of one phase, ``merging`` joins groups of two phases, ``copies`` adds what
must lie in a buffer of its own; ``updates`` decides where new values of parameters are written.
``passes.lowering`` makes a kernel of each group, and ``passes.fuse`` the schedule of them all.
"""
