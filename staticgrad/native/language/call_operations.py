"""Calls of C functions at addresses in the kernel language: how routines reach libraries.

The arguments are pointers and int64 words, as the C function takes them; a word stands for an
``int``, too, in the calling conventions of the processors that kernels are compiled for. Nobody
knows what a call reads and writes.
"""

from __future__ import annotations

from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import NOTHING, WORD, Kind, Pointer
from staticgrad.native.language.operations import define


def _called(address: Kind, *arguments: Kind) -> Kind | None:
    taken = all(kind is WORD or isinstance(kind, Pointer) for kind in arguments)
    return NOTHING if address is WORD and taken else None


def _call(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    function = out.do(f"inttoptr i64 {text.word(values[0])} to ptr")
    passed = ", ".join(
        f"i64 {text.word(value)}" if kind is WORD else f"ptr {value}"
        for kind, value in zip(kinds[1:], values[1:], strict=True)
    )
    out.effect(f"call void {function}({passed})")
    return ""


define("call", _called, _call)
