"""Who reads what drafts compute, of those that have a place so far and of all."""

from __future__ import annotations

from staticgrad.analysis.users import ValueKey, users_of
from staticgrad.fusion.drafts import Draft, root_of
from staticgrad.fusion.groups import GroupKind, Home, Key, Source
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Graph, Node


class DraftReaders:
    """The nodes of a graph, how those that have a place are read, and the drafts that have them."""

    def __init__(self, graph: Graph) -> None:
        self._sources: dict[ValueKey, Source] = {}
        self._homes: dict[Key, Draft] = {}
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}

    def _home(self, key: Key) -> Draft | None:
        """The draft that computes a buffer; None for leaves."""
        draft = self._homes.get(key)
        if draft is not None and draft.merged_into is not None:
            draft = self._homes[key] = root_of(draft)
        return draft

    def _read_only_by(
        self, draft: Draft, reader: Node, other: Draft | None = None, roots: bool = False
    ) -> bool:
        """Whether nobody but ``reader`` and the nodes of ``other`` needs a pointwise draft.

        With ``roots`` its values may be outputs and updates besides: a later kernel stores them.
        """
        if not _is_unbound(draft, "map"):
            return False
        closed, elsewhere = [], None
        for node in reversed(draft.open):
            if self._is_read_by(node, draft, None, None):
                closed.append(node)  # for good: nobody leaves a draft
            elif not self._is_read_by(node, draft, reader, other, roots):
                elsewhere = node
                break
        for node in closed:
            del draft.open[node]
        if elsewhere is not None:  # asked first the next time: most often it still is
            draft.open[elsewhere] = draft.open.pop(elsewhere)
        return elsewhere is None

    def _is_read_by(
        self,
        node: Node,
        draft: Draft,
        reader: Node | None,
        other: Draft | None,
        roots: bool = False,
    ) -> bool:
        """Whether nobody but ``reader`` and the nodes of two drafts needs a node's value."""
        return (roots or (node, 0) not in self._roots) and all(
            user is reader or self._computes(user, draft, other) for user in self._users[node, 0]
        )

    def _computes(self, node: Node, draft: Draft, other: Draft | None) -> bool:
        """Whether a node is one of these drafts'; reductions are no nodes of theirs."""
        key = Home(node)
        home = self._home(key)
        return home is not None and home in (draft, other) and key not in home.reductions

    def _comes_with(self, other: Draft, node: Node, best: Draft) -> bool:
        """Whether a draft of a lower level may be computed where ``node`` is, in ``best``."""
        if self._read_only_by(other, node, best, roots=True):
            return True
        if not best.waits:
            return False
        users = [user for each in other.nodes for user in self._users[each, 0]]
        alike = all(
            isinstance(user.form, Pointwise) and user.types[0].shape == other.domain
            for user in users
        )
        return alike and other.kind == "map" and self._is_unread(other, best)

    def _is_unread(self, draft: Draft, other: Draft | None = None) -> bool:
        """Whether nobody with a place, but for the nodes of two drafts, reads one without one."""
        return _is_unbound(draft, "map", "gemm") and all(
            (user, 0) not in self._sources or self._home(Home(user)) in (draft, other or draft)
            for node in draft.nodes
            for user in self._users[node, 0]
        )


def _is_unbound(draft: Draft, *kinds: GroupKind) -> bool:
    """Whether a draft is of one of these kinds, and nothing says yet where its values are."""
    bound = draft.reductions or draft.stored or draft.checked or draft.regions
    return draft.kind in kinds and not bound
