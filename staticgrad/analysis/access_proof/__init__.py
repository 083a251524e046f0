"""A second proof of memory accesses, from what kernels and schedules say, and nothing else.

The verifiers of kernels, schedules and plans ask what lowering asks: how far a store may reach, how
many elements scratch has. A mistake there is in the proof too. Here each kernel of a plan is walked
once more at the plan's sizes, by the meaning of its records alone (``events``), and every element
that an access touches is looked at (``kernels``): it is inside its buffer, it was written before it
is read, and what runs at the same time writes apart. ``prove_plan`` does so for all steps of a plan
in their order, and says what it could not prove.
"""

from __future__ import annotations

from staticgrad.analysis.access_proof.plans import PlanProof, prove_plan

__all__ = ["PlanProof", "prove_plan"]
