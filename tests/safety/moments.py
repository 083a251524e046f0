"""The moments at which Python runs what interrupts the code of this project."""

import dis
import sys
import threading
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

    offsets = set()
    for instruction, successor in pairwise(dis.get_instructions(code)):
        following = (
            instruction.argval if instruction.opname == "JUMP_BACKWARD" else successor.offset
        )
        if instruction.opname in LOOKS and guard(instruction.offset) == guard(following):
            offsets.add(following)
    return frozenset(offsets)


@contextmanager
def moments(n, act, without=()):
    """Act at the n-th moment from here on at which code of this project could be interrupted.

    Files ``without`` have no moments, nor have other threads. Yields whether there has been one.
    """
    seen, acts = 0, False

    def note(code, offset):
        nonlocal seen, acts
        if acts or code.co_filename.endswith(without) or offset not in places_of_interrupts(code):
            return
        seen += 1
        if seen == n:
            acts = True
            try:
                act()
            finally:
                acts = False

    with traced_instructions(note) if sys.version_info < (3, 12) else watched_instructions(note):
        yield lambda: seen >= n


@contextmanager
def traced_instructions(note):
    """Call ``note`` before each instruction of this project's code in this thread."""

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGES):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            note(frame.f_code, frame.f_lasti)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


@contextmanager
def watched_instructions(note):
    """Do the same by ``sys.monitoring``, which also sees the first run of a function."""
    monitoring, tool, thread = sys.monitoring, sys.monitoring.DEBUGGER_ID, threading.get_ident()

    def watch(code, offset):
        if not code.co_filename.startswith(PACKAGES):
            return monitoring.DISABLE
        if threading.get_ident() == thread:
            note(code, offset)
        return None

    monitoring.use_tool_id(tool, "moments")
    monitoring.register_callback(tool, monitoring.events.INSTRUCTION, watch)
    monitoring.set_events(tool, monitoring.events.INSTRUCTION)
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(tool)
