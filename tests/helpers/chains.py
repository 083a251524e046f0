"""Long chains of nodes, made directly: building 100,000 through the operators takes seconds."""

from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.ops.arithmetic import Add


def sum_chain(first, addend, length):
    """``first + addend + addend + ...``, ``length`` additions of values of one type."""
    op, value = Add(), first
    for _ in range(length):
        value = Symbolic(Node(op, (value, addend), (first.type,), first.node.origin))
    return value
