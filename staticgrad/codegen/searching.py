"""The Search statement to source: a binary search for every lane, all of one length.

The lengths do not depend on what is found, so that the lanes stay together: of what is left the
front half is dropped or kept, and an odd one stays. This module knows statements, no stages.
"""

from __future__ import annotations

from staticgrad.codegen.expressions import Scope, element, number, scaled
from staticgrad.ir.kernels.stages import Search


def write_search(scope: Scope, search: Search) -> None:
    """Lines that leave the count in the search's name, a vector."""
    lines, name, lanes = scope.body, search.name, scope.lanes
    wanted = _ordered(search, scope.vector(search.value))
    length = f"{name}_n"
    lines.add(f"{name} = i64x{lanes}({number(0)})")
    lines.add(f"{length} = {search.extent}")
    lines.add(f"while {length} > 1:")
    lines.add(f"    {name}_h = {length} // 2")
    _write_probe(scope, search, wanted, f"{name} + ({name}_h - 1)")
    lines.add(f"    {name} = select({name}_b, {name} + {name}_h, {name})")
    lines.add(f"    {length} = {length} - {name}_h")
    lines.add(f"if {length} == 1:")
    _write_probe(scope, search, wanted, name)
    lines.add(f"    {name} = select({name}_b, {name} + 1, {name})")


def _ordered(search: Search, text: str) -> str:
    """Elements of the search in a dtype that has an order."""
    dtype = search.value.dtype
    return f"cast_{element(dtype.compute)}({text})" if dtype.is_storage else text


def _write_probe(scope: Scope, search: Search, wanted: str, at: str) -> None:
    """Whether the elements at a vector of positions come before the wanted ones."""
    lines, name = scope.body, search.name
    place = scaled(f"({at})", search.stride)
    if search.stride == 0:  # every element is the first; the product keeps it a vector
        place = f"({at}) * 0"
    read = f"load_at({search.operand}, {place}, {scope.mask})"
    lines.add(f"    {name}_e = {_ordered(search, read)}")
    before = f"{name}_e {'<=' if search.right else '<'} {wanted}"
    if search.value.dtype.is_float:
        other = f"{wanted} != {wanted}"
        below = other if search.right else f"({other}) & ({name}_e == {name}_e)"
        before = f"({before}) | ({below})"
    lines.add(f"    {name}_b = {before}")
