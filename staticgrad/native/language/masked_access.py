"""Masked loads and stores where registers of 256 bits have no instructions for them, or slow ones.

There LLVM writes a masked access of bytes or halves lane by lane: a test, a branch and a copy for
each. Words have instructions; their stores take some 12 cycles on AMD's processors. Kernels have
masks at the ends of their rows, so most are the first few lanes of a vector. A function of each
kind reads the whole vector if it lies in one page, which is mapped if any of its lanes is on, and
stores the first lanes as a few pieces. All other masks go lane by lane, in a loop.
"""

from __future__ import annotations

from typing import Final

from staticgrad.native.language.kinds import Kind, Mask, Pointer, Vector, bools
from staticgrad.native.language.memory_operations import FEW

#: Bytes that are there together, at least.
PAGE: Final = 4096
_IS_ON: Final = """
def is_on(bits, lane):
    return word((u64x1(bits) >> u64x1(lane)) & 1) != 0


"""
_LOAD: Final = """def kernel(p, given):
    mask = {mask}
    bits = mask_bits(mask)
    if bits == 0:
        return {kind}(0)
    if address(p) % {page} <= {nearest}:
        return select_mask(mask, load{lanes}(p, 0), {kind}(0))
    place = local_{element}({lanes})
    store{lanes}(place, 0, {kind}(0))
    for lane in range({lanes}):
        if is_on(bits, lane):
            store1(place, lane, load1(p, lane))
    return load{lanes}(place, 0)
"""
_STORE: Final = """def kernel(value, p, given):
    bits = mask_bits({mask})
    if bits == {full}:
        store{lanes}(p, 0, value)
    else:
        place = local_{element}({lanes})
        store{lanes}(place, 0, value)
        if word(u64x1(bits) & u64x1(bits + 1)) == 0:
            done = 0
{pieces}
        else:
            for lane in range({lanes}):
                if is_on(bits, lane):
                    store1(p, lane, load1(place, lane))
"""
#: Half a vector of the first lanes, a quarter, and so on.
_PIECE: Final = """\
            if is_on(bits, done + {last}):
                store{lanes}(p, done, load{lanes}(place, done))
                done = done + {lanes}"""


def source(name: str, kind: Vector) -> tuple[str, tuple[Kind, ...]]:
    """Return the LLVM function of masked loads or stores of a kind of vector, with parameters."""
    lanes = kind.lanes
    pieces = [
        _PIECE.format(lanes=lanes >> n, last=(lanes >> n) - 1) for n in range(1, lanes.bit_length())
    ]
    text = (_LOAD if name == "load" else _STORE).format(
        kind=kind.name,
        element=kind.element.name,
        lanes=lanes,
        page=PAGE,
        nearest=PAGE - lanes * kind.element.bytes,
        full=(1 << lanes) - 1 if lanes < 64 else -1,
        mask="given" if lanes <= FEW else "mask_of(given)",
        pieces="\n".join(pieces),
    )
    parameters = Pointer(kind.element), Mask(lanes) if lanes <= FEW else bools(lanes)
    return _IS_ON + text, parameters if name == "load" else (kind, *parameters)
