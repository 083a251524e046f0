"""The buffers that belong to a node, before they have names and bytes.

Most values have one, their home. A reduction in two steps has one for its partial results, a
checked look-up one for the position that failed, and a value that must lie elsewhere, or in another
order, has copies.
"""

from __future__ import annotations

from typing import NamedTuple

from staticgrad.ir.graph import Node
from staticgrad.records import dataclass


class Home(NamedTuple):
    """Where the kernel that computes a result of a node writes it; equal to the value's key."""

    node: Node
    result: int = 0


@dataclass(frozen=True, slots=True)
class Partial:
    """The rows of a reduction that combines its other axes in a second step."""

    node: Node


@dataclass(frozen=True, slots=True)
class CheckBuffer:
    """The check words of a node that looks up places."""

    node: Node


@dataclass(frozen=True, slots=True)
class ScratchBuffer:
    """What the kernel of a node uses while it runs, and nobody before or after."""

    node: Node


@dataclass(frozen=True, slots=True)
class Copied:
    """Copy ``number`` of something that a node computes; all copies of a graph count as one row."""

    node: Node
    number: int


Key = Home | Partial | CheckBuffer | ScratchBuffer | Copied
