"""Which nodes of a graph share a kernel, and in which order the kernels run.

``grouping`` grows groups of nodes, ``merging`` joins groups of two phases, ``updates`` decides
where new values of parameters are written. ``passes.fuse`` makes the schedule of them.
"""
