"""Masked loads and stores where registers of 256 bits have no instructions for them, or slow ones.

LLVM writes a masked access of bytes or halves lane by lane then: a test, a branch and a copy for
each. Words have instructions, of which stores take some 12 cycles on AMD's processors. Kernels have
masks at the ends of their rows, so most are the first few lanes of a vector. A function of each
kind reads the whole vector where it lies in one page, which is there if any of its lanes is on, and
stores the first lanes as a few pieces. Whatever is not of that kind stays LLVM's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: Bytes that are there together, at least.
PAGE: Final = 4096
#: How the names of processors begin whose masked stores of words are no slower than others.
_FAST: Final = (
    "haswell", "broadwell", "skylake", "alderlake", "raptorlake", "arrowlake", "lunarlake",
    "meteorlake", "gracemont", "sierraforest", "grandridge", "pantherlake", "clearwaterforest",
)  # fmt: skip
#: Bytes of an element by its LLVM type, and its suffix in the names of intrinsics.
_ELEMENTS: Final = {
    "i8": (1, "i8"),
    "i16": (2, "i16"),
    "half": (2, "f16"),
    "bfloat": (2, "bf16"),
    "i32": (4, "i32"),
    "i64": (8, "i64"),
    "float": (4, "f32"),
    "double": (8, "f64"),
}
#: What counts the lanes that are on.
_COUNT: Final = "declare i64 @llvm.ctpop.i64(i64)"
_KIND: Final = r"<(\d+) x (\w+)>"
_NARROW: Final = r"<(\d+) x (i8|i16|half|bfloat)>"
_LOAD: Final = re.compile(
    rf"call {_NARROW} @llvm\.masked\.load\.\w+\.p0"
    r"\(ptr ([^,]+), i32 1, (<\d+ x i1>) ([^,]+), <[^>]+> zeroinitializer\)"
)
_STORE: Final = re.compile(
    rf"call void @llvm\.masked\.store\.\w+\.p0\({_KIND} ([^,]+), ptr ([^,]+), i32 1, "
    r"(<\d+ x i1>) ([^,)]+)\)"
)


def called(text: str, cpu: str) -> str:
    """LLVM IR for a processor, its masked accesses calls where that is faster."""
    fast = cpu.startswith(_FAST)
    needed: dict[str, str] = {}

    def load(found: re.Match[str]) -> str:
        lanes, element, address, mask, bits = found.groups()
        name = f"masked_load_{lanes}_{element}"
        needed[name] = "\n".join(_loading(name, int(lanes), element))
        return f"call <{lanes} x {element}> @{name}(ptr {address}, {mask} {bits})"

    def store(found: re.Match[str]) -> str:
        lanes, element, value, address, mask, bits = found.groups()
        if fast and _ELEMENTS[element][0] > 2:
            return found[0]
        name = f"masked_store_{lanes}_{element}"
        needed[name] = "\n".join(_storing(name, int(lanes), element))
        vector = f"<{lanes} x {element}>"
        return f"call void @{name}({vector} {value}, ptr {address}, {mask} {bits})"

    replaced = _STORE.sub(store, _LOAD.sub(load, text))
    if not needed:
        return text
    counted = [] if _COUNT in text else [_COUNT]
    return "\n".join([replaced, *counted, *needed.values()])


def _loading(name: str, lanes: int, element: str) -> Iterator[str]:
    """The function that loads: the vector as a whole, or what LLVM makes of it."""
    size, suffix = _ELEMENTS[element]
    vector, mask = f"<{lanes} x {element}>", f"<{lanes} x i1>"
    yield f"define internal {vector} @{name}(ptr %at, {mask} %on) noinline nounwind {{"
    yield f"  %bits = bitcast {mask} %on to i{lanes}"
    yield f"  %any = icmp ne i{lanes} %bits, 0"
    yield "  br i1 %any, label %some, label %none"
    yield "some:"
    yield "  %address = ptrtoint ptr %at to i64"
    yield f"  %offset = and i64 %address, {PAGE - 1}"
    yield f"  %near = icmp ule i64 %offset, {PAGE - lanes * size}"
    yield "  br i1 %near, label %whole, label %apart"
    yield "whole:"
    yield f"  %all = load {vector}, ptr %at, align 1"
    yield f"  %kept = select {mask} %on, {vector} %all, {vector} zeroinitializer"
    yield f"  ret {vector} %kept"
    yield "apart:"
    yield (
        f"  %found = call {vector} @llvm.masked.load.v{lanes}{suffix}.p0"
        f"(ptr %at, i32 1, {mask} %on, {vector} zeroinitializer)"
    )
    yield f"  ret {vector} %found"
    yield "none:"
    yield f"  ret {vector} zeroinitializer"
    yield "}"


def _storing(name: str, lanes: int, element: str) -> Iterator[str]:
    """The function that stores: the vector, its first lanes, or what LLVM makes of it."""
    size, suffix = _ELEMENTS[element]
    vector, mask, word = f"<{lanes} x {element}>", f"<{lanes} x i1>", f"i{lanes}"
    given = f"{vector} %value, ptr %at, {mask} %on"
    yield f"define internal void @{name}({given}) noinline nounwind {{"
    yield f"  %place = alloca {vector}, align 64"
    yield f"  %bits = bitcast {mask} %on to {word}"
    yield f"  %full = icmp eq {word} %bits, -1"
    yield "  br i1 %full, label %whole, label %part"
    yield "whole:"
    yield f"  store {vector} %value, ptr %at, align 1"
    yield "  ret void"
    yield "part:"
    yield f"  %next = add {word} %bits, 1"
    yield f"  %both = and {word} %bits, %next"
    yield f"  %first = icmp eq {word} %both, 0"
    yield "  br i1 %first, label %pieces, label %apart"
    yield "apart:"
    yield (
        f"  call void @llvm.masked.store.v{lanes}{suffix}.p0"
        f"({vector} %value, ptr %at, i32 1, {mask} %on)"
    )
    yield "  ret void"
    yield "pieces:"
    yield f"  store {vector} %value, ptr %place, align 64"
    yield from _pieces(lanes, size)
    yield "  ret void"
    yield "}"


def _pieces(lanes: int, size: int) -> Iterator[str]:
    """Copies as many of the first lanes as are on: half a vector of them, a quarter, and so on."""
    yield f"  %wide = zext i{lanes} %bits to i64"
    yield "  %count = call i64 @llvm.ctpop.i64(i64 %wide)"
    yield "  br label %try1"
    done = "0"
    for number in range(1, lanes.bit_length()):
        piece = lanes >> number
        kind = f"<{piece * size} x i8>"
        yield f"try{number}:"
        if number > 1:
            last = number - 1
            ways = f"[ {done}, %try{last} ], [ %past{last}, %copy{last} ]"
            done = f"%done{number}"
            yield f"  {done} = phi i64 {ways}"
        yield f"  %has{number} = and i64 %count, {piece}"
        yield f"  %on{number} = icmp ne i64 %has{number}, 0"
        yield f"  br i1 %on{number}, label %copy{number}, label %try{number + 1}"
        yield f"copy{number}:"
        yield f"  %from{number} = getelementptr i8, ptr %place, i64 {done}"
        yield f"  %to{number} = getelementptr i8, ptr %at, i64 {done}"
        yield f"  %held{number} = load {kind}, ptr %from{number}, align 1"
        yield f"  store {kind} %held{number}, ptr %to{number}, align 1"
        yield f"  %past{number} = add i64 {done}, {piece * size}"
        yield f"  br label %try{number + 1}"
    yield f"try{lanes.bit_length()}:"
