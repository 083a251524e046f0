"""Mixed precision: values that pass from one kernel to another are stored in a narrow float.

A value is rounded by two conversions: to a storage-only dtype and back. So it takes half the bytes
in memory, and everything is still computed and summed in float32. The choice of rounded values
depends only on the graph, not on its kernels, so that results do not depend on the machine. Values
that would not be stored are not rounded: that would cost digits and save no bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from passes.base import Pass, Watch
from passes.loops.rounded_products import find_rounded_products, round_products
from passes.loops.rounded_slices import is_slice, is_stack, round_stacks, widen_slices
from staticgrad.analysis.liveness import ValueKey, phases_of, users_of
from staticgrad.errors import PipelineError
from staticgrad.errors.wording import did_you_mean, list_names
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Identity, Pointwise, Reduce, ReshapeForm, View
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.convolution import Convolution
from staticgrad.language.ops.loops import Loop
from staticgrad.language.types.dtype import F32, HAS_BFLOAT16, DType, as_dtype
from staticgrad.support.optional import ml_dtypes
from staticgrad.support.source import scope_names

#: What values may be rounded to; ``float32`` rounds nothing, and shows what else the pass does.
DTYPES: Final = ("bfloat16", "float16", "float32")
#: Who may read what was rounded.
READERS: Final = ("all", "backward")
#: Rows of a product up to which its second factor is not rounded: 1024 x 1024 in four layers takes
#: 0.8 ms in place of 0.3 at one row, 1.6 in place of 0.8 at eight, 2.7 in place of 4.2 at 32.
FEW_ROWS: Final = 8


class Narrow(Pass, name="narrow"):
    """Round float32 values that are stored, by two conversions: half the bytes, sums in float32.

    Options:
        dtype: ``bfloat16``, with the range of float32 and 8 digits, or ``float16``, with 11 digits
            up to 65504. ``float32`` rounds nothing.
        ops: names of the ops whose results are rounded: patterns of ``fnmatch`` separated by
            spaces, those behind ``!`` left out: ``"tanh mul"``, ``"* !exp"``.
        scopes: the same of the named scopes that they were built in; a scope includes those inside.
            Of what was built inside of ``model.scopes()``, paths of modules: ``"decoder.*"``.
        readers: ``backward``: gradients alone read what was rounded, so that every value of the
            forward part is exact and residuals take fewer bytes; ``all``: so does everybody who
            needs the value in memory, or in a later derivative.
        products: whether factors of matrix products are rounded, too, as autocast does it: inputs
            and parameters while they are packed. With ``bfloat16`` alone, which processors multiply
            faster; sums and results of products are float32. So are images, filters and results of
            convolutions, or their combinations in tiles. Products of up to 8 rows with an input or
            parameter stay as they are; rounded are factors of products inside of loops, of 4,096
            elements or more.

    Never rounded otherwise are feeds, parameters, constants, results of reductions (they are small,
    and exponentials of them are not), values of one element, what ranks exchange (parts of
    parameters and gradients), and what the program returns or writes.
    What a loop stacks for its gradient is stacked narrow. Run it last: ``cse`` would have all
    readers share one wide copy.
    """

    keeps = "close"
    inside = False
    dtype: str = "bfloat16"
    ops: str = "*"
    scopes: str = "*"
    readers: str = "backward"
    products: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value, choices in (
            ("dtype", self.dtype, DTYPES),
            ("readers", self.readers, READERS),
        ):
            if value not in choices:
                raise PipelineError(f"narrow: {name}={value!r} is not one of {list_names(choices)}")
        if self.products and self.dtype == "float16":
            raise PipelineError(
                "narrow: products of float16 are not faster, so their factors are not rounded",
                hint="narrow{products=True}, of bfloat16",
            )
        names = [*registered_ops()]
        for pattern in self.ops.split():
            plain = pattern.removeprefix("!")
            if not any(fnmatchcase(name, plain) for name in names):
                raise PipelineError(
                    f"narrow: ops={self.ops!r}: no op is named {plain!r}",
                    hint=did_you_mean(plain, names) or "names as graphs print them: tanh, matmul",
                )

    def without_rounding(self) -> Pass:
        """Return the pass that makes the same changes to the graph, without the rounding."""
        return replace(self, dtype="float32")

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Round values between kernels to a narrow float; return the graph and their number."""
        if self.dtype == "bfloat16" and not HAS_BFLOAT16:
            raise ml_dtypes.missing("narrow{dtype='float16'} does not")
        chosen = _Selection(program, self)
        rewriter = _Rewriter(program, chosen, as_dtype(self.dtype))
        graph = rewriter.result()
        rounded = len(chosen.bases) + len(rewriter.factors)
        rounded += rewriter.convolutions + rewriter.in_loops
        return (graph, {self.name: rounded}) if rounded else (program, {})

    def takes_op(self, node: Node) -> bool:
        """Return whether this pass rounds results of a node, by its op and its scope."""
        return _matches(self.ops, [node.op.name]) and _matches(
            self.scopes, [*_enclosing_scopes(node.origin.scope)]
        )


def _matches(patterns: str, names: Sequence[str]) -> bool:
    """Return whether one of a pass's patterns matches a name, and no pattern after ``!`` does."""
    included = [pattern for pattern in patterns.split() if not pattern.startswith("!")] or ["*"]
    excluded = [pattern[1:] for pattern in patterns.split() if pattern.startswith("!")]
    return any(fnmatchcase(name, pattern) for name in names for pattern in included) and not any(
        fnmatchcase(name, pattern) for name in names for pattern in excluded
    )


def _enclosing_scopes(scope: str) -> Iterator[str]:
    """Yield a scope and the scopes around it, ``encoder/block3`` and ``encoder``; also with dots,
    like module paths."""
    parts = scope_names(scope)
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
        yield ".".join(parts[:count])


def is_view(node: Node) -> bool:
    """Return whether a node is a view of its operand."""
    return isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1


def base_of(value: Symbolic) -> Symbolic:
    """Return the value of which this one is a view, or the value itself."""
    while is_view(value.node):
        (value,) = value.node.args
    return value


def _has_few_rows(node: Node) -> bool:
    """Return whether a product reads an input or parameter for so few rows that rounding it takes
    longer than the product. A constant is rounded once."""
    rows, matrix = node.types[0].shape[-2], base_of(node.args[1]).node
    is_fed = matrix.is_leaf and not isinstance(matrix.op, Constant)
    return isinstance(rows, int) and rows <= FEW_ROWS and is_fed


class _Selection:
    """The values of a graph that the pass rounds, and their readers that read the rounded value."""

    def __init__(self, graph: Graph, options: Narrow) -> None:
        from staticgrad.language.ops.collective import RankExchange  # loads linear algebra

        self.options, self._exchange = options, RankExchange
        self._wide = as_dtype(options.dtype).compute
        self.users = users_of(graph)
        self.phases = phases_of(graph)
        self._root_bases = {base_of(value).key for value in graph.roots}
        self.bases: dict[ValueKey, None] = {}
        for node in graph.nodes:
            if is_view(node):
                continue
            for arg in node.args:
                base = base_of(arg)
                if (
                    base.key not in self.bases
                    and self._can_round(base)
                    and self._causes_store(node, base)
                ):
                    self.bases[base.key] = None

    def reads(self, node: Node, value: Symbolic) -> bool:
        """Return whether the rewritten node reads a value rounded."""
        base = base_of(value)
        if base.key not in self.bases or is_view(node):
            return False
        return self.options.readers == "all" or self.phases[node] > self.phases[base.node]

    def multiplies(self, node: Node) -> bool:
        """Return whether the factors of a product are rounded."""
        is_product = isinstance(node.op, MatMul) and node.types[0].dtype is self._wide
        if is_product and _has_few_rows(node):
            return False
        return is_product and self.options.products and self.options.takes_op(node)

    def convolves(self, node: Node) -> bool:
        """Return whether a convolution may multiply bfloat16 numbers."""
        is_wide = node.types[0].dtype is self._wide
        return is_wide and self.options.products and self.options.takes_op(node)

    def all_read_narrow(self, key: ValueKey) -> bool:
        """Return True if the pass may let all readers of a value and its views read it rounded."""
        waiting = [key]
        for value in waiting:
            for user in self.users[value]:
                if is_view(user):
                    waiting.append((user, 0))
                elif not self.reads(user, Symbolic(*value)):
                    return False
        return True

    def _can_round(self, base: Symbolic) -> bool:
        """Return True if the pass may round a value that is not a view."""
        node, kind = base.node, base.type
        if kind.dtype is not self._wide or node.is_leaf:
            return False
        if not kind.shape or base.key in self._root_bases:
            return False
        if isinstance(node.form, Reduce) or isinstance(node.op, self._exchange):
            return False
        if isinstance(node.op, Cast) and node.args[0].dtype.is_storage:
            return False
        return self.options.takes_op(node)

    def _causes_store(self, reader: Node, base: Symbolic) -> bool:
        """Return whether a reader causes a value to be stored."""
        if self.phases[reader] > self.phases[base.node]:
            return True
        return self.options.readers == "all" and not isinstance(reader.form, Pointwise | Reduce)


class _Rewriter:
    """A graph that the pass builds again with rounded values."""

    def __init__(self, graph: Graph, chosen: _Selection, dtype: DType) -> None:
        self.graph, self.chosen, self.dtype = graph, chosen, dtype
        self.nodes: list[Node] = []
        self.exact: dict[ValueKey, Symbolic] = {}  # of what is another node now
        self.narrow: dict[ValueKey, Symbolic] = {}
        self.shared: dict[ValueKey, Symbolic] = {}  # widened for readers of the value's own phase
        self.factors: dict[ValueKey, Symbolic] = {}  # values that products alone read rounded
        self.convolutions = self.in_loops = 0  # products inside of loops

    def result(self) -> Graph:
        """Return the graph."""
        for node in self.graph.nodes:
            self._rebuild_node(node)
        return self.graph.with_nodes(self.nodes, self.exact).without_dead_nodes()

    def _rebuild_node(self, node: Node) -> None:
        """Rewrite a node over narrow operands, and round its results that are stored narrow."""
        widened: dict[ValueKey, Symbolic] = {}
        slices = [
            place
            for place, arg in enumerate(node.args)
            if is_slice(node, place) and self.chosen.reads(node, arg)
        ]
        read = self._read_factor if self.chosen.multiplies(node) else self._read
        args = tuple(
            self._narrow_of(arg) if place in slices else read(node, arg, widened)
            for place, arg in enumerate(node.args)
        )
        stacks = [
            index
            for index in range(len(node.types))
            if is_stack(node, index)
            and (node, index) in self.chosen.bases
            and self.chosen.all_read_narrow((node, index))
        ]
        new = node
        if slices or stacks:
            new = round_stacks(widen_slices(node, args, slices), stacks, self.dtype)
        elif isinstance(node.op, Convolution) and self.chosen.convolves(node):
            new = rebuild(node, args, op=replace(node.op, factors=self.dtype))
            self.convolutions += 1
        elif any(a.key != b.key for a, b in zip(args, node.args, strict=True)):
            new = rebuild(node, args)
        order = self.chosen.phases[node]
        if isinstance(node.op, Loop) and self.chosen.options.products:
            new = self._round_products(new, node, order)
        self.nodes.append(new)
        for index, (value, new_value) in enumerate(zip(node.values, new.values, strict=True)):
            if index in stacks:
                self.narrow[value.key] = new_value
                new_value = self._cast(new_value, F32, node, order)
            elif value.key in self.chosen.bases:
                self.narrow[value.key] = self._cast(new_value, self.dtype, node, order)
            if new_value.key != value.key:
                self.exact[value.key] = new_value

    def _round_products(self, new: Node, at: Node, order: int) -> Node:
        """Return a loop whose products multiply rounded factors.

        ``at``: the loop in the graph that is rewritten.
        """
        assert isinstance(new.op, Loop)
        products = find_rounded_products(new.op, self.chosen.options.takes_op)
        self.in_loops += len(products)
        matrices = {
            place: self._cast(new.args[place], self.dtype, at, order)
            for place in products.values()
            if place is not None
        }
        return round_products(new, products, matrices, self.dtype) if products else new

    def _read(self, node: Node, value: Symbolic, widened: dict[ValueKey, Symbolic]) -> Symbolic:
        """Return an operand as a node reads it: exact, or narrow and ``widened`` once."""
        if not self.chosen.reads(node, value):
            return self.exact.get(value.key, value)
        phase = self.chosen.phases[node]
        casts = self.shared if phase == self.chosen.phases[base_of(value).node] else widened
        if value.key not in casts:
            casts[value.key] = self._cast(self._narrow_of(value), F32, node, phase)
        return casts[value.key]

    def _read_factor(
        self, node: Node, value: Symbolic, widened: dict[ValueKey, Symbolic]
    ) -> Symbolic:
        """Return an operand of a product, rounded."""
        if self.chosen.reads(node, value):
            return self._read(node, value, widened)
        phase, exact = self.chosen.phases[node], self.exact.get(value.key, value)
        if base_of(value).key in self.chosen.bases:
            return self._cast(self._narrow_of(value), F32, node, phase)
        source = base_of(value).node
        if isinstance(source.op, Cast) and source.args[0].dtype is self.dtype:
            return exact  # a stored narrow float, widened
        if value.key not in self.factors:
            self.factors[value.key] = self._cast(exact, self.dtype, node, phase)
        return self._cast(self.factors[value.key], F32, node, phase)

    def _narrow_of(self, value: Symbolic) -> Symbolic:
        """Return a value's narrow float, or the same view of a narrow one."""
        if value.key not in self.narrow:
            node = value.node
            (viewed,) = node.args
            new = rebuild(node, (self._narrow_of(viewed),))
            self.nodes.append(new)
            self.narrow[value.key] = new.values[value.index]
        return self.narrow[value.key]

    def _cast(self, value: Symbolic, dtype: DType, at: Node, order: int) -> Symbolic:
        """Return a value converted, at the line of a node."""
        new = Node(Cast(dtype), (value,), (value.type.with_dtype(dtype),), at.origin, order)
        self.nodes.append(new)
        return Symbolic(new)
