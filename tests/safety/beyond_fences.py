"""Child process: reads a byte of fenced memory, or does what ends it.

python -m tests.safety.beyond_fences end|start inside|outside|write
"""

import ctypes
import sys

import numpy as np

from tests.safety.child import say
from tests.safety.fences import fenced


def main(side, what):
    """One access at the end, or at the start, of fenced memory."""
    at_end = side == "end"
    say(f"now {what}")
    memory = fenced(np.full(5000, 0xA5, np.uint8), at_end)
    place = memory.ctypes.data + (4999 if at_end else 0)
    if what == "outside":
        place += 1 if at_end else -1
    byte = ctypes.c_uint8.from_address(place)
    if what == "write":
        byte.value = 0
    say(hex(byte.value))


if __name__ == "__main__":
    main(*sys.argv[1:])
