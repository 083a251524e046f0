"""Walks of graphs: of nodes, expressions, steps, groups, buffers.

All are iterative, and take time linear in the edges that they follow.

    >>> edges = {"y": "ab", "a": "x", "b": "x", "x": ""}
    >>> [*reach("y", edges.__getitem__)]
    ['y', 'b', 'x', 'a']
    >>> [*operands_first("y", edges.__getitem__)]
    ['x', 'a', 'b', 'y']
    >>> sort_topologically([(2,), (), (1,)])
    [1, 2, 0]
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T", bound=Hashable)


def reach(first: Iterable[T], successors: Callable[[T], Iterable[T]]) -> Iterator[T]:
    """Yield each element that is reachable from ``first`` once, depth first, the last edge first.

    ``successors`` is called for an element after the caller has processed it, so it may use what
    the caller has stored. A caller that stops iterating visits nothing further.
    """
    visited: set[T] = set()
    pending = [*first]
    while pending:
        element = pending.pop()
        if element not in visited:
            visited.add(element)
            yield element
            pending += successors(element)


def operands_first(first: Iterable[T], operands: Callable[[T], Iterable[T]]) -> Iterator[T]:
    """Yield each element that ``first`` depends on once, after all its operands (postorder).

    The elements of ``first`` and the operands of an element are visited from left to right.
    """
    visited: set[T] = set()
    pending = [*first][::-1]
    while pending:
        if pending[-1] in visited:
            pending.pop()
            continue
        missing = [operand for operand in operands(pending[-1]) if operand not in visited]
        if missing:
            pending += reversed(missing)
            continue
        element = pending.pop()
        visited.add(element)
        yield element


def sort_topologically(
    earlier: Sequence[Iterable[int]], priority: Callable[[int], Any] = lambda step: step
) -> list[int]:
    """Sort steps so that all ``earlier`` ones of each come before it (Kahn's algorithm).

    Among the steps that are ready, the one of the lowest priority is next. Steps of a cycle, and
    those that depend on one, are left out.
    """
    predecessors = [{*steps} for steps in earlier]
    successors: list[list[int]] = [[] for _ in predecessors]
    for step, needed in enumerate(predecessors):
        for predecessor in needed:
            successors[predecessor].append(step)
    unfinished = [*map(len, predecessors)]
    ready = [(priority(step), step) for step, count in enumerate(unfinished) if not count]
    heapify(ready)
    order = []
    while ready:
        step = heappop(ready)[1]
        order.append(step)
        for successor in successors[step]:
            unfinished[successor] -= 1
            if not unfinished[successor]:
                heappush(ready, (priority(successor), successor))
    return order
