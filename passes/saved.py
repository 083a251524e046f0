"""Saved values: what a predicate saves of forward for backward; all else is computed again there.

``sg.compile(graph, checkpoint=sg.checkpoint_policies.dots_saveable)`` runs this pass in front of
``residuals``. What a later phase reads of an earlier one is cloned into it, unless the predicate
saves it, or it is there anyway: inputs, parameters, results, what ``sg.checkpoint`` marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passes.base import Pass, Pipeline, Watch
from passes.clones import Clones
from passes.remat import Policy, as_policy
from passes.remat.recompute import StoreAll
from passes.residuals import Residuals, bases
from staticgrad.analysis.liveness import phases_of
from staticgrad.errors import PipelineError
from staticgrad.functions.checkpoints.marks import kept_values, policy_named, text_of
from staticgrad.functions.checkpoints.saveable import Saveable, parts_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Identity
from staticgrad.language.ir.graph import Graph, Node, Symbolic


class SavedValues(Pass, name="saved"):
    """Clone what is not saved into the phases that read it.

    Options:
        policy: what is saved, as text: ``"dots_saveable"``, ``"save_only_these_names('h')"``; or,
            of a pass that is made in Python, the function itself.

    It may stand anywhere: what is cloned reads its operands through marks, by which ``cse`` does
    not merge it with what it is a clone of.
    """

    inside = False
    policy: Any = "nothing_saveable"

    def __post_init__(self) -> None:
        """Check the policy."""
        if isinstance(self.policy, str) and policy_named(self.policy) is None:
            raise PipelineError(
                f"saved: policy={self.policy!r} is not one of sg.checkpoint_policies",
                hint='"dots_saveable", "save_only_these_names(\'h\')"',
            )
        parts_of(self.saveable)

    @property
    def saveable(self) -> Saveable:
        """The policy itself."""
        policy = policy_named(self.policy) if isinstance(self.policy, str) else self.policy
        assert policy is not None  # checked when it was made
        return policy

    @property
    def is_foreign(self) -> bool:
        """True if the policy is a user's function, whose code may change unnoticed."""
        return not isinstance(self.policy, str)

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Recompute all but saved values in the backward pass: return the graph and clone count."""
        graph, count = program, 0
        kept_values(self.saveable, graph.nodes)  # names are checked where nothing is cloned, too
        for phase in range(max((node.order for node in graph.nodes), default=0), 0, -1):
            graph, clones = _with_clones(graph, phase, self.saveable)
            count += clones
        return graph, {self.name: count} if count else {}


def _with_clones(graph: Graph, phase: int, policy: Saveable) -> tuple[Graph, int]:
    """Return the graph in which a phase reads saved residuals, and clones of all others."""
    phases = phases_of(graph)
    saved = {*kept_values(policy, graph.nodes)}
    marked = [node.values[0] for node in graph.nodes if _is_kept(node)]
    available = {node for value in (*graph.roots, *marked) for node, _ in bases(value)}

    def runs_again(value: Symbolic) -> bool:
        node = value.node
        earlier = phases.get(node, phase) < phase and not node.is_leaf
        return earlier and node not in saved and node not in available

    clones = Clones(phase, runs_again, lambda value: value)

    def reading(node: Node, args: tuple[Symbolic, ...]) -> tuple[Symbolic, ...] | None:
        if phases[node] != phase or not any(map(runs_again, node.args)):
            return None
        pairs = zip(node.args, args, strict=True)
        operands = [clones.clone_of(old) if runs_again(old) else new for old, new in pairs]
        return tuple(rebuild(node, tuple(operands)).values)

    return graph.replace_nodes(reading), len(clones.nodes)


def _is_kept(node: Node) -> bool:
    form = node.form
    return isinstance(form, Identity) and form.materialized


# -- what ``checkpoint=`` says --------------------------------------------------------------------


def read_checkpoint(policy: Any) -> Policy | SavedValues:
    """Return a recomputation policy over steps, or the pass of a predicate over ops."""
    if isinstance(policy, str) and policy_named(policy) is not None:
        return SavedValues(policy)
    if isinstance(policy, str | type | Policy) or not callable(policy):
        return as_policy(policy)
    parts_of(policy)
    return SavedValues(text_of(policy) or policy)


def with_checkpoint(passes: Pipeline, policy: Any) -> tuple[Pipeline, Policy]:
    """Return a pipeline with the pass of a saving predicate, and the policy over steps."""
    chosen = read_checkpoint(policy)
    if isinstance(chosen, Policy):
        return passes, chosen
    members = list(passes.passes)
    place = next(
        (k for k, member in enumerate(members) if isinstance(member, Residuals)), len(members)
    )
    return Pipeline((*members[:place], chosen, *members[place:])), StoreAll()
