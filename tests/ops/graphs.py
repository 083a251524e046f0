"""Small graphs for the tests of ops: variables made by hand, values run through the oracle."""

from staticgrad.analysis.evaluate import evaluate
from staticgrad.language.calls.functional import functions
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic, ancestors
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F64
from staticgrad.support.building import capture


def variable(label, dtype=F64, shape=()):
    """An input."""
    tensor_type = TensorType(dtype, shape)
    return Symbolic(Node(Input(label, tensor_type), (), (tensor_type,), capture()))


def call(name, *args):
    """A public function by name."""
    return getattr(functions, name)(*args)


def run_all(values, feeds):
    """The arrays of ``values``, given feeds of which some may be of no use to them."""
    built = {str(i): v for i, v in enumerate(values) if isinstance(v, Value)}
    used = {i.node.op.label for i in Graph(built).inputs} if built else ()
    return list(evaluate(list(values), {name: a for name, a in feeds.items() if name in used}))


def run(value, feeds=None):
    """The array of one value."""
    return run_all([value], feeds or {})[0]


def op_names(value):
    """The ops of everything that ``value`` depends on, leaves left out, in creation order."""
    nodes = sorted(ancestors([value]), key=lambda node: node.serial)
    return [node.op.name for node in nodes if not node.is_leaf]
