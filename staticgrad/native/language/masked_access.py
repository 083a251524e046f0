"""Masked loads and stores where registers of 256 bits have no instructions for them, or slow ones.

There LLVM writes a masked access of bytes or halves lane by lane: a test, a branch and a copy for
each. Words have instructions; their stores take some 12 cycles on AMD's processors. Kernels have
masks at the ends of their rows, so most are the first few lanes of a vector. A function of each
kind reads the whole vector if it lies in one page, which is mapped if any of its lanes is on, and
stores the first lanes as a few pieces. All other masks go lane by lane, in a loop.

LLVM (20 to 22) loads a register without a mask where it knows that the mask has no lane in it, if
it found that out of an expression of masks: the upper half of ``and(mask, first three lanes)`` of
sixteen. The load then reads behind an array, and its lanes are not zero. Masks made so pass through
an arithmetic fence, as vectors of words, which costs no instruction.
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
#: Bytes of an element by its LLVM type.
_BYTES: Final = {
    "i8": 1, "i16": 2, "half": 2, "bfloat": 2, "i32": 4, "i64": 8, "float": 4, "double": 8,
}  # fmt: skip
#: Bits of a number.
_WORD: Final = 64
#: Lanes beyond which a mask is passed as bytes: as an argument, each bit takes a place of its own.
_FEW: Final = 16
#: A mask that is an expression of masks.
_COMBINED: Final = re.compile(
    r"^ *(%[\w.$-]+) = (?:(?:and|or|xor) <\d+ x i1>|select [^\n]*<\d+ x i1>[^,\n]*, <\d+ x i1>)",
    re.M,
)
#: A masked access of words, up to its mask.
_ACCESS: Final = re.compile(
    r"^( *)((?:%[^ ]+ = )?call [^\n]*@llvm\.masked\.\w+\.[^\n]*)<(\d+) x i1> (%[\w.$-]+)", re.M
)
_FENCE: Final = "llvm.arithmetic.fence.v"
#: What counts the lanes that are on.
_COUNT: Final = "declare i64 @llvm.ctpop.i64(i64)"
_KIND: Final = r"<(\d+) x (\w+)>"
_NARROW: Final = r"<(\d+) x (i8|i16|half|bfloat)>"
_LOAD: Final = re.compile(
    rf"^( *)(%[^ ]+ =) call {_NARROW} @llvm\.masked\.load\.\w+\.p0"
    r"\(ptr ([^,]+), i32 1, <\d+ x i1> ([^,]+), <[^>]+> zeroinitializer\)",
    re.M,
)
_STORE: Final = re.compile(
    rf"^( *)call void @llvm\.masked\.store\.\w+\.p0\({_KIND} ([^,]+), ptr ([^,]+), i32 1, "
    r"<\d+ x i1> ([^,)]+)\)",
    re.M,
)


def called(text: str, cpu: str) -> str:
    """LLVM IR for a processor, its masked accesses calls where that is faster."""
    fast = cpu.startswith(_FAST)
    needed: dict[str, str] = {}

    def load(found: re.Match[str]) -> str:
        shift, result, count, element, address, mask = found.groups()
        name = f"masked_load_{count}_{element}"
        needed[name] = "\n".join(_loading(name, int(count), element))
        before, passed = _passed(int(count), mask, f"{shift}%load.{found.start()}")
        kind = f"<{count} x {element}>"
        return f"{before}{shift}{result} call {kind} @{name}(ptr {address}, {passed})"

    def store(found: re.Match[str]) -> str:
        shift, count, element, value, address, mask = found.groups()
        if fast and _BYTES[element] > 2:
            return found[0]
        name = f"masked_store_{count}_{element}"
        needed[name] = "\n".join(_storing(name, int(count), element))
        before, passed = _passed(int(count), mask, f"{shift}%store.{found.start()}")
        given = f"<{count} x {element}> {value}, ptr {address}, {passed}"
        return f"{before}{shift}call void @{name}({given})"

    replaced = _with_fences(_STORE.sub(store, _LOAD.sub(load, text)))
    if not needed:
        return replaced
    counted = [] if _COUNT in text else [_COUNT]
    return "\n".join([replaced, *counted, *needed.values()])


def _with_fences(text: str) -> str:
    """The same accesses, with masks of which LLVM does not see how they were made."""
    combined = {*_COMBINED.findall(text)}
    fences: set[str] = set()

    def access(found: re.Match[str]) -> str:
        shift, call, lanes, mask = found.groups()
        if mask not in combined:
            return found[0]
        name, words, floats = f"%fence.{found.start()}", f"<{lanes} x i32>", f"<{lanes} x float>"
        fences.add(lanes)
        lines = (
            f"{name}.words = sext <{lanes} x i1> {mask} to {words}",
            f"{name}.floats = bitcast {words} {name}.words to {floats}",
            f"{name}.same = call {floats} @{_FENCE}{lanes}f32({floats} {name}.floats)",
            f"{name}.known = bitcast {floats} {name}.same to {words}",
            f"{name} = icmp slt {words} {name}.known, zeroinitializer",
            f"{call}<{lanes} x i1> {name}",
        )
        return "\n".join(shift + line for line in lines)

    replaced = _ACCESS.sub(access, text)
    for lanes in sorted(fences):
        floats, name = f"<{lanes} x float>", f"{_FENCE}{lanes}f32"
        if not re.search(rf'^declare [^\n]*@"?{re.escape(name)}"?\(', text, re.M):
            replaced += f"\ndeclare {floats} @{name}({floats})"
    return replaced


def _passed(lanes: int, mask: str, name: str) -> tuple[str, str]:
    """The line before a call, if any, and its argument for a mask; ``name``: of a new value."""
    if lanes <= _FEW:
        return "", f"<{lanes} x i1> {mask}"
    line = f"{name} = sext <{lanes} x i1> {mask} to <{lanes} x i8>\n"
    return line, f"<{lanes} x i8> {name.strip()}"


def _given(lanes: int) -> tuple[str, str]:
    """The parameter for a mask, and the lines that make ``on`` of it, and its bits, a ``word``."""
    mask = f"<{lanes} x i1>"
    made = f"  %on = icmp slt <{lanes} x i8> %bytes, zeroinitializer\n"
    if lanes == _WORD:
        return f"<{lanes} x i8> %bytes", f"{made}  %word = bitcast {mask} %on to i64"
    word = f"  %bits = bitcast {mask} %on to i{lanes}\n  %word = zext i{lanes} %bits to i64"
    return (f"{mask} %on", word) if lanes <= _FEW else (f"<{lanes} x i8> %bytes", made + word)


def _loading(name: str, lanes: int, element: str) -> Iterator[str]:
    """The function that loads: the vector as a whole, or lane by lane at the end of a page."""
    vector, (passed, word) = f"<{lanes} x {element}>", _given(lanes)
    yield f"define internal {vector} @{name}(ptr %at, {passed}) noinline nounwind {{"
    yield f"  %place = alloca {vector}, align 64"
    yield word
    yield "  %any = icmp ne i64 %word, 0"
    yield "  br i1 %any, label %some, label %none"
    yield "some:"
    yield "  %address = ptrtoint ptr %at to i64"
    yield f"  %offset = and i64 %address, {PAGE - 1}"
    yield f"  %near = icmp ule i64 %offset, {PAGE - lanes * _BYTES[element]}"
    yield "  br i1 %near, label %whole, label %apart"
    yield "whole:"
    yield f"  %all = load {vector}, ptr %at, align 1"
    yield f"  %kept = select <{lanes} x i1> %on, {vector} %all, {vector} zeroinitializer"
    yield f"  ret {vector} %kept"
    yield "apart:"
    yield f"  store {vector} zeroinitializer, ptr %place, align 64"
    yield from _each_lane(lanes, element, "%at", "%place")
    yield f"  %found = load {vector}, ptr %place, align 64"
    yield f"  ret {vector} %found"
    yield "none:"
    yield f"  ret {vector} zeroinitializer"
    yield "}"


def _storing(name: str, lanes: int, element: str) -> Iterator[str]:
    """The function that stores: the vector, its first lanes as pieces, or lane by lane."""
    vector, (passed, word) = f"<{lanes} x {element}>", _given(lanes)
    given = f"{vector} %value, ptr %at, {passed}"
    yield f"define internal void @{name}({given}) noinline nounwind {{"
    yield f"  %place = alloca {vector}, align 64"
    yield word
    yield f"  %full = icmp eq i64 %word, {(1 << lanes) - 1 if lanes < _WORD else -1}"
    yield "  br i1 %full, label %whole, label %part"
    yield "whole:"
    yield f"  store {vector} %value, ptr %at, align 1"
    yield "  ret void"
    yield "part:"
    yield f"  store {vector} %value, ptr %place, align 64"
    yield "  %next = add i64 %word, 1"
    yield "  %both = and i64 %word, %next"
    yield "  %first = icmp eq i64 %both, 0"
    yield "  br i1 %first, label %pieces, label %apart"
    yield "apart:"
    yield from _each_lane(lanes, element, "%place", "%at")
    yield "  ret void"
    yield "pieces:"
    yield from _pieces(lanes, _BYTES[element])
    yield "  ret void"
    yield "}"


def _each_lane(lanes: int, element: str, source: str, target: str) -> Iterator[str]:
    """Copies the lanes that are on, one after the other, from the block ``apart`` on."""
    yield "  br label %lane"
    yield "lane:"
    yield "  %number = phi i64 [ 0, %apart ], [ %following, %left ]"
    yield "  %moved = lshr i64 %word, %number"
    yield "  %bit = trunc i64 %moved to i1"
    yield "  br i1 %bit, label %one, label %left"
    yield "one:"
    yield f"  %from = getelementptr {element}, ptr {source}, i64 %number"
    yield f"  %to = getelementptr {element}, ptr {target}, i64 %number"
    yield f"  %held = load {element}, ptr %from, align 1"
    yield f"  store {element} %held, ptr %to, align 1"
    yield "  br label %left"
    yield "left:"
    yield "  %following = add i64 %number, 1"
    yield f"  %end = icmp eq i64 %following, {lanes}"
    yield "  br i1 %end, label %done, label %lane"
    yield "done:"


def _pieces(lanes: int, size: int) -> Iterator[str]:
    """Copies as many of the first lanes as are on: half a vector of them, a quarter, and so on."""
    yield "  %count = call i64 @llvm.ctpop.i64(i64 %word)"
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
