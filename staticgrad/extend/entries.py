"""Machine code of compiled programs: how foreign callers enter it."""

from staticgrad.compiler.runtime.arena import address_of
from staticgrad.native.entry.callables import calls, unused_references, with_tensors
from staticgrad.native.entry.words import BufferWord, FrameWord, TensorCallWord, XlaWord

# fmt: off
__all__ = [
    "address_of", "BufferWord", "calls", "FrameWord", "TensorCallWord", "unused_references",
    "with_tensors", "XlaWord",
]
# fmt: on
