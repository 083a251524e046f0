"""The partition of a graph into fusion groups: Graph -> Groups.

``passes.late`` rewrites the graph for it, and ``grouping`` grows groups of one phase. The
``engine`` then applies moves to them: ``merging`` has the table of all moves, and ``sinking``,
``rows``, ``blocks``, ``cutting`` and ``pools`` have some of them each. ``copies`` adds what must
lie in a buffer of its own. ``legality`` says which groups may be one, ``neighbours`` why two are
two, and ``updates`` where new values of parameters go. ``lowering`` makes a kernel of each group,
and ``lowering.fuse`` the schedule of them all.
"""
