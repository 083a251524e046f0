"""The moments at which Python runs what interrupts the code of this project."""

import dis
import sys
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

import staticgrad as sg

PACKAGES = tuple(str(Path(sg.__file__).parents[1] / name) for name in ("staticgrad", "passes"))
#: Instructions after which the interpreter looks for signals.
LOOKS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME"}


@cache
def places_of_interrupts(code):
    """The offsets in code before which Ctrl-C may come in.

    That is behind an instruction that looks for signals. The interpreter raises there on behalf of
    that instruction: where another handler guards the next one, raising before the next would not
    be the same.
    """
    guards = dis._parse_exception_table(code)

    def guard(offset):
        return [entry.target for entry in guards if entry.start <= offset < entry.end]

    found = set()
    for one, two in pairwise(dis.get_instructions(code)):
        following = one.argval if one.opname == "JUMP_BACKWARD" else two.offset
        if one.opname in LOOKS and guard(one.offset) == guard(following):
            found.add(following)
    return frozenset(found)


@contextmanager
def moments(n, act, without=()):
    """Act at the n-th moment from here on at which code of this project could be interrupted.

    Files ``without`` have no moments. Yields whether there has been one.
    """
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGES) or file.endswith(without):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_lasti in places_of_interrupts(frame.f_code):
            seen += 1
            if seen == n:
                act()
        return trace

    # Python 3.12 traces opcodes only if the frame that sets the function asks for it, too.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield lambda: seen >= n
    finally:
        sys.settrace(None)
