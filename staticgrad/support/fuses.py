"""Fuses of the compiler: they keep compile time about linear in the size of a program.

Each ends a search, or keeps the code of a kernel from growing, where programs are far larger than
those that people write. No program of ``python -m benchmarks ablation`` reaches one that the
comment does not say it of. None decides whether results are right, and none is about the speed of
kernels: that is for predicted times (``analysis/cost.py``) and measured limits (``limits.py``).
"""

from __future__ import annotations

from typing import Final

#: Elements of a constant that is searched for being one number throughout.
SEARCHED_ELEMENTS: Final = 4096
#: Nodes of two values that are compared, for being one expression twice.
COMPARED_NODES: Final = 24
#: Nodes of a formula that a late pass computes again.
FORMULA_NODES: Final = 16
#: Nodes that are visited to find out whether an element may be computed again at an index.
GATHERED_NODES: Final = 24
#: Nodes that are visited to find the reductions that read a window. Stages of a stencil reach it.
WINDOW_READERS: Final = 16
#: Positions in the order of groups between two that are merged.
GROUP_DISTANCE: Final = 4096
#: Groups that are visited to find out whether one depends on another.
VISITED_GROUPS: Final = 512
#: Instructions of a kernel of rows, and of a kernel for a vector of windows. LLVM takes more than
#: linear time for long functions.
ROW_INSTRUCTIONS: Final = 640
WINDOW_INSTRUCTIONS: Final = 400
#: Stages of a kernel that is joined of small ones in the body of a loop.
JOINED_STAGES: Final = 48
