"""Critical pairs: the smallest programs on which two rewrite rules overlap, built from the tables.

Two rules overlap where the pattern of one fits inside that of the other (Knuth and Bendix, "Simple
word problems in universal algebras", 1970). Each pattern is unified with every subterm of every
other that is not a hole; what comes out is made a program, once for each choice of the attributes
that patterns leave open, and rewritten by either rule first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice, product

import numpy as np

import staticgrad as sg
from passes.rewrite import Rule
from passes.rewrite.driver import _build_replacement
from passes.rewrite.matching import matches
from passes.rewrite.rule import Applied, Hole, Number
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ops.arithmetic import Add, Neg
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, Slice, Take, TakeAlong
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.language.ops.reduce import Max, Reduction, Sum

#: What stands in holes: anything, something positive, what a number is compared with.
LEAVES = (lambda x: x, sg.cosh, lambda x: -x)
_fresh = count()


@dataclass(frozen=True)
class Pair:
    """One program that ``outer`` applies to at the top, and ``inner`` at a node below or there."""

    outer: Rule
    inner: Rule
    graph: Graph
    results: tuple[Graph, Graph]


def critical_pairs(rules):
    """Every overlap of two of the rules, as programs."""
    for outer in rules:
        for inner in rules:
            renamed = _rename_holes(inner.pattern)
            for path, below in _positions(outer.pattern):
                if not path and (outer is inner or outer.name > inner.name):
                    continue
                for merged, bound in _unify(below, renamed, {}):
                    yield from _pairs(
                        outer, inner, _replace_subterm(outer.pattern, path, merged), bound, path
                    )


def _positions(term, path=()):
    if isinstance(term, Applied):
        yield path, term
        for place, arg in enumerate(term.args):
            yield from _positions(arg, (*path, place))


def _replace_subterm(term, path, subterm):
    if not path:
        return subterm
    assert isinstance(term, Applied)
    args = list(term.args)
    args[path[0]] = _replace_subterm(args[path[0]], path[1:], subterm)
    return _apply_like(term, tuple(args))


def _apply_like(like, args, op=None, cls=None):
    chosen = op if op is not None else like.op
    return Applied(cls or like.op_class, args, chosen, "", like.open and not args, like.over)


def _rename_holes(term):
    if isinstance(term, Hole):
        return Hole(f"{term.name}'", term.dtype)
    if isinstance(term, Applied):
        return _apply_like(term, tuple(map(_rename_holes, term.args)))
    return term


def _resolve(term, bound):
    while isinstance(term, Hole) and term.name in bound:
        term = bound[term.name]
    return term


def _unify(a, b, bound):
    """Yield each unifier of two patterns: the merged term and the bindings of its holes."""
    a, b = _resolve(a, bound), _resolve(b, bound)
    if isinstance(a, Hole):
        if a is b:
            yield a, bound
        elif not _occurs(a, b, bound):
            yield b, {**bound, a.name: b}
    elif isinstance(b, Hole):
        yield from _unify(b, a, bound)
    elif isinstance(a, Number) and isinstance(b, Number):
        if repr(a.number) == repr(b.number):
            yield a, bound
    elif isinstance(a, Applied) and isinstance(b, Applied):
        yield from _unify_ops(a, b, bound)


def _occurs(hole, term, bound):
    term = _resolve(term, bound)
    below = term.args if isinstance(term, Applied) else ()
    return term is hole or any(_occurs(hole, arg, bound) for arg in below)


def _unify_ops(a, b, bound):
    cls = a.op_class if issubclass(a.op_class, b.op_class) else b.op_class
    if not (issubclass(cls, a.op_class) and issubclass(cls, b.op_class)):
        return
    if a.op is not None and b.op is not None and a.op != b.op:
        return
    op = a.op if a.op is not None else b.op
    if a.open or b.open:
        concrete, pattern = (b, a) if a.open else (a, b)
        if concrete.open:
            over = a.over or b.over
            yield Applied(cls, (), op, "", True, over), bound
            return
        for args, bindings in _with_one(concrete.args, pattern.over, bound):
            yield _apply_like(concrete, args, op, cls), bindings
        return
    if len(a.args) != len(b.args):
        return
    orders = [b.args, b.args[::-1]] if cls.commutative and len(b.args) == 2 else [b.args]
    for args in orders:
        for merged, bindings in _unify_all(a.args, args, bound):
            yield _apply_like(a, merged, op, cls), bindings


def _with_one(args, over, bound):
    """The operands, one of them at least the result of an op ``over``."""
    if over is None or any(
        isinstance(r := _resolve(arg, bound), Applied) and issubclass(r.op_class, over)
        for arg in args
    ):
        yield args, bound
        return
    for arg in args:
        hole = _resolve(arg, bound)
        if isinstance(hole, Hole):
            operand = Applied(over, (Hole(f"o{next(_fresh)}"),))
            yield args, {**bound, hole.name: operand}


def _unify_all(a, b, bound):
    if not a:
        yield (), bound
        return
    for first, bindings in _unify(a[0], b[0], bound):
        for later, all_known in _unify_all(a[1:], b[1:], bindings):
            yield (first, *later), all_known


# -- programs ------------------------------------------------------------------------------------


#: Programs of a pair, and values of a term: a log-sum-exp within another has 60,000.
_PROGRAMS = 300
_CHOICES = 60


def _pairs(outer, inner, term, bound, path):
    conditional = outer.where is not None or inner.where is not None
    shapes = ((6, 3), (6,)) if _is_open(term, bound) else ((6, 3),)
    for shape, leaf in product(shapes, LEAVES if conditional else LEAVES[:1]):
        for value, at in islice(_Builder(bound, shape, leaf).values(term, path), _PROGRAMS):
            if not isinstance(value, Symbolic) or not isinstance(at, Symbolic):
                continue
            graph = Graph(value)
            first, second = _once(graph, outer, value), _once(graph, inner, at)
            if first is not None and second is not None:
                yield Pair(outer, inner, graph, (first, second))


def _is_open(term, bound):
    """Return whether a term leaves attributes open, or a function looks at types."""
    term = _resolve(term, bound)
    if not isinstance(term, Applied):
        return False
    return term.op is None or any(_is_open(arg, bound) for arg in term.args)


def _once(graph, rule, at):
    """The graph rewritten by one rule at one value; None where the rule does not apply there."""
    if at.dtype.kind not in rule.dtypes:
        return None
    for _, match in matches((rule,), at, lambda value: 1):
        replacement = _build_replacement(rule, match, at.node.origin)
        if replacement is None or replacement.key == at.key:
            return None
        if graph["output"].key == at.key:
            return Graph(replacement, inputs=graph.inputs)

        def replace_node(node, args, replacement=replacement):
            return (replacement,) if node is at.node else None

        return graph.replace_nodes(replace_node)
    return None


class _Builder:
    """Values of a term over inputs, for each choice of the attributes that it leaves open."""

    def __init__(self, bound, shape, grown):
        self.bound, self.shape, self.grown = bound, shape, grown
        self.inputs = {}

    def leaf(self, hole, parent=None, place=0):
        """Return the value for a hole: an input, or constant indices."""
        if parent in (Take, TakeAlong) and place == 1:
            return np.array([[0], [2]] * 3) if parent is TakeAlong else np.array([0, 2, 1])
        if hole.name not in self.inputs:
            dtype = "bool" if hole.dtype.is_bool else "float64"
            leaf = sg.input(f"x{len(self.inputs)}", self.shape, dtype)
            self.inputs[hole.name] = leaf if hole.dtype.is_bool else self.grown(leaf)
        return self.inputs[hole.name]

    def values(self, term, path, parent=None, place=0):
        """Each value of the term, with that of the subterm at ``here``."""
        term = _resolve(term, self.bound)
        if isinstance(term, Hole):
            yield self.leaf(term, parent, place), None
        elif isinstance(term, Number):
            yield term.number, None
        elif isinstance(term, Applied) and term.open:
            for result in _values_of_open_op(term, self.leaf(Hole("p"))):
                yield result, result if path == () else None
        elif isinstance(term, Applied):
            yield from self.values_of_op(term, path)

    def values_of_op(self, term, path):
        """Each value of an op over terms."""
        paths = [path[1:] if path and path[0] == k else None for k in range(len(term.args))]
        below = [
            list(islice(self.values(arg, paths[k], term.op_class, k), _CHOICES))
            for k, arg in enumerate(term.args)
        ]
        for chosen in product(*below):
            args = [value for value, _ in chosen]
            marked = next((mark for _, mark in chosen if mark is not None), None)
            for op in [term.op] if term.op is not None else _samples(term.op_class, args):
                try:
                    result = op(*args)
                except (StaticgradError, TypeError, ValueError, IndexError):
                    continue  # these attributes do not fit these operands
                yield result, result if path == () else marked


def _samples(cls, args):
    """Ops of a class, with attributes that fit its operands."""
    first = args[0]
    if not isinstance(first, Symbolic):
        return []
    rank, shape = first.ndim, first.shape
    axes = tuple(range(rank))
    table = {
        Reduction: lambda: [Sum((rank - 1,)), Max((rank - 1,))] if rank else [],
        Sum: lambda: [Sum((rank - 1,)), Sum(axes)] if rank else [],
        Max: lambda: [Max((rank - 1,)), Max(axes)] if rank else [],
        Reshape: lambda: [
            Reshape(shape),
            *([Reshape((*shape, 1))] if rank < 2 else [Reshape((first.size,))]),
            *([Reshape(())] if first.size == 1 else []),
        ],
        Transpose: lambda: [Transpose(axes[::-1]), Transpose(axes)],
        Broadcast: lambda: [
            Broadcast((2, *shape), tuple(range(1, rank + 1))),
            Broadcast(shape, axes),
        ],
        Slice: lambda: [
            Slice((0,) * rank, shape, (1,) * rank),
            Slice((0,) * rank, (*shape[:-1], 2), (1,) * rank),
        ],
        Pad: lambda: [Pad(shape, (0,) * rank, (1,) * rank)],
        Cast: lambda: [Cast(first.dtype), Cast(sg.float32), Cast(sg.float64)],
        Take: lambda: [Take(0)],
        TakeAlong: lambda: [TakeAlong(rank - 1)],
        Concat: lambda: [Concat(0)],
        MatMul: lambda: [MatMul(False, False), MatMul(True, False), MatMul(False, True)],
    }
    if cls in table:
        return table[cls]()
    return [] if issubclass(cls, Elementwise) and cls.name == "" else [cls()]


def _values_of_open_op(term, x):
    """Values of an op with any operands, one of which is the result of an op ``over``."""
    over = term.over
    try:
        below = [op(x) for op in _samples(over, [x])] if over is not None else [x]
        if term.op is not None:
            return [term.op(*([b] * n)) for b in below for n in (1, 2) if _takes(term.op, n)]
        if issubclass(term.op_class, Concat):
            return [Concat(0)(b, b) for b in below] + [Concat(0)(b, x) for b in below]
        if issubclass(term.op_class, MatMul):
            return [MatMul(False, False)(b, x) for b in below if b.ndim == 2]
        return [result for b in below for result in (Neg()(b), Add()(b, b))]
    except (StaticgradError, TypeError, ValueError):
        return []


def _takes(op, count):
    return not isinstance(op, Elementwise) or (count == 2) == op.commutative


def canonical(graph):
    """A number for what the graph computes, equal for equal expressions of the same inputs."""
    numbers = {}
    for node in graph.nodes:
        args = [(numbers[arg.node], arg.index) for arg in node.args]
        if node.op.commutative:
            args.sort()
        key = (node.op.key, node.types, *args)
        numbers[node] = _interned.setdefault(key, len(_interned))
    return numbers[graph["output"].node]


_interned = {}
