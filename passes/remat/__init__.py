"""Recompute or store: policies that turn a schedule at concrete sizes into sequences of steps.

The unit is the step: under a policy or a budget whole kernels run again, with their compiled code,
so that results keep their bytes. One file per policy; ``base`` says what a policy is and how one
from outside registers, ``front`` what a budget chooses from.
"""

from passes.remat.base import Policy as Policy, Problem as Problem, as_policy as as_policy
from passes.remat.recompute import Recompute as Recompute, Sqrt as Sqrt, StoreAll as StoreAll
