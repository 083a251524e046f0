"""Reductions of one long row, or of a few, in pieces that several workers take.

A kernel that reduces rows has an iteration for each of them, which one worker runs: of one row the
others would have nothing to do. So one kernel reduces pieces of the row, with all that it computes
beside, and another one combines what they come to. A piece is a power of two of the blocks in which
sums are taken (``staticgrad.ir.summation``), so that the tree of a sum is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.fusion.groups import (
    Group,
    GroupReduction,
    Groups,
    Key,
    Partial,
    Parts,
    Pieces,
    Source,
)
from staticgrad.ir.summation import BLOCK
from staticgrad.types.tensor import TensorType, hint_product, hint_value

#: Elements of a piece.
PIECE: Final = 4 * BLOCK
#: Elements of a row from which on pieces are worth a second kernel.
LONG_ROW: Final = 1 << 17
#: Rows that are few: of more of them each worker has some.
_FEW_ROWS: Final = 8


def in_pieces(groups: Groups) -> Groups:
    """The groups, those with few long rows to reduce as two each."""
    found = [each for each in groups.all if may_be_in_pieces(each)]
    return _in_pieces(groups, found) if found else groups


def has_long_row(group: Group) -> bool:
    """Whether a group has but few rows to reduce, and long ones."""
    if group.kind != "map" or group.row != 1 or not group.reductions:
        return False
    rows = hint_product(group.domain[:-1])
    return rows < _FEW_ROWS and hint_value(group.domain[-1]) >= LONG_ROW


def may_be_in_pieces(group: Group) -> bool:
    """Whether its rows are taken in pieces: it looks nothing up, and stores no parts of values."""
    return not (group.checked or group.regions) and has_long_row(group)


def _in_pieces(groups: Groups, found: Sequence[Group]) -> Groups:
    by_number, owners, types = dict(groups.by_number), dict(groups.owners), dict(groups.types)
    free = max(by_number) + 1
    for number, group in enumerate(found, free):
        *outer, length = group.domain
        shape = (*outer, (length + (PIECE - 1)) // PIECE)
        pieces: dict[Key, GroupReduction] = {}
        combined: dict[Key, GroupReduction] = {}
        for key, each in group.reductions.items():
            piece = Pieces(key.node, isinstance(key, Partial))
            types[piece] = TensorType(each.source.type.dtype.compute, shape)
            source = Source(piece, types[piece], Strided.contiguous(shape))
            pieces[piece], combined[key] = each, GroupReduction(source, each.kind)
            owners[piece], owners[key] = group.number, number
        parts = Parts(group.whole, 0, 0, long_row=hint_value(length))
        stored = [key for key in group.stored if key not in combined]
        by_number[group.number] = replace(
            group, reductions=pieces, stored=(*stored, *pieces), pieces=PIECE, parts=parts
        )
        by_number[number] = replace(
            group,
            number=number,
            domain=shape,
            nodes=(),
            reductions=combined,
            stored=tuple([key for key in group.stored if key in combined]),
            instructions=1,
            parts=parts,
        )
    return replace(groups, by_number=by_number, owners=owners, types=types)
