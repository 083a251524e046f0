"""Checks of indices and searches to source.

An index that does not fit is clamped, and the first one is noted with its position. This module
knows statements, no stages.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.expressions import Scope
from staticgrad.ir.kernels.stages import Check, Search, roots

#: What notes an index that does not fit, if it is the first: a function, for it hardly ever runs.
NOTE: Final = "outlined_note"
NOTE_TEXT: Final = f"""\
def {NOTE}(words, position, index):
    if words[0] < 0 or position < words[0]:
        store1(words, 0, i64x1(position))
        store1(words, 1, i64x1(index))"""


def write_lookup(scope: Scope, lookup: Check | Search) -> None:
    """``lookup`` has the name of its row."""
    scope.emit(roots(lookup))
    if isinstance(lookup, Search):
        from staticgrad.codegen.sorting import write_search

        write_search(scope, lookup)
    elif scope.is_vector(lookup.index) or scope.is_vector(lookup.position):
        _write_vector_check(scope, lookup)
    else:
        write_uniform_check(scope, lookup)
        return
    scope.vector_refs |= {lookup.name}


def write_uniform_check(scope: Scope, check: Check) -> None:
    """The check of one index for all lanes, before the loop where nothing in it is asked."""
    scope.moved[check.name] = scope.depends(check.index) | scope.depends(check.position)
    lines = scope.body if scope.moved[check.name] else scope.before
    n, p = check.name, check.operand
    lines.add(f"{n}_i = word({scope.one(check.index)})")
    lines.add(f"{n}_w = {n}_i")
    if check.wrap:
        lines.add(f"if {n}_w < 0:")
        lines.add(f"    {n}_w = {n}_w + {check.extent}")
    scope.unit.helpers[NOTE] = NOTE_TEXT
    lines.add(f"if {n}_w < 0 or {n}_w >= {check.extent}:")
    lines.add(f"    {NOTE}({p}, word({scope.one(check.position)}), {n}_i)")
    lines.add(f"    {n}_w = 0")
    lines.add(f"{n} = i64x1({n}_w)")


def _write_vector_check(scope: Scope, check: Check) -> None:
    lines, lanes = scope.body, scope.lanes
    n, p, i64 = check.name, check.operand, f"i64x{scope.lanes}"
    index = scope.vector(check.index)
    wrapped = f"select({index} < 0, {index} + {check.extent}, {index})"
    lines.add(f"{n}_w = {wrapped if check.wrap else index}")
    lines.add(f"{n}_x = select_mask({scope.mask}, ({n}_w < 0) | ({n}_w >= {check.extent}), False)")
    lines.add(f"{n} = select({n}_x, {i64}(0), {n}_w)")
    lines.add(f"if word(cast_i64(hor({n}_x))) != 0:")
    last = 2**63 - 1
    lines.add(f"    {n}_q = select({n}_x, {scope.vector(check.position)}, {i64}({last}))")
    lines.add(f"    {n}_p = hmin({n}_q)")
    lines.add(f"    if {p}[0] < 0 or word({n}_p) < {p}[0]:")
    lines.add(f"        store1({p}, 0, {n}_p)")
    found = f"select({n}_q == splat{lanes}({n}_p), {index}, {i64}({last}))"
    lines.add(f"        store1({p}, 1, hmin({found}))")
