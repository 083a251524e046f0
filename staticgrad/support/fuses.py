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
#: Stages of a kernel that is joined of small ones in the body of a loop; scatters of one kernel.
JOINED_STAGES: Final = 48
#: Groups with the same operand that are tried for a merge with the next one.
MERGE_CANDIDATES: Final = 8
#: Scalars of scalars that each reader computes again, one in the other.
SCALAR_DEPTH: Final = 3
#: Remainders of strides that have code of their own in a kernel of windows.
WINDOW_PHASES: Final = 9
#: Numbers of rows that are tried for an unrolled loop, and runs of rows in one of its buffers.
ROW_CANDIDATES: Final = 3
ROW_RUNS: Final = 64
#: Rounds in which saved values that depend on each other are weighed; two are usual, whatever their
#: number. Values that would take more stay saved, and are counted.
WEIGHING_ROUNDS: Final = 64
#: Rounds in which saved values are chosen again without the clones that fusion did not take in.
CLONE_ROUNDS: Final = 8
#: Rewrites for one node of the input, with all that follow from them, before a cycle is assumed.
NODE_REWRITES: Final = 500
#: Spellings of one rule: those of four squares.
RULE_SPELLINGS: Final = 16
#: Levels of nested segments of a loop; each further level spares less. Shares of the iterations
#: that are tried with a level less.
SEGMENT_LEVELS: Final = 3
PART_TRIES: Final = 4
#: Copies of a kernel of windows along the last axis: each has a store in one loop.
STORED_COPIES: Final = 32
#: Nodes in a row that are computed again for each slice that reads them.
SLICED_NODES: Final = 2
