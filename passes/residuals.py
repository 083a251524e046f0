"""Residuals: values stored from forward to backward; cheap ones are recomputed instead.

A value of an earlier phase that a later phase reads is stored in between. If fewer bytes would be
stored by recomputing cheap elementwise ops from values that are stored or alive anyway, the later
phase gets clones of these ops, in its own derivative order. A clone is the same op over the same
operands, so results stay bitwise identical. The cost of recomputing is weighed against the bytes.
A clone must not be a separate kernel, so fusion runs for each choice: a clone that would be stored
is not made. Recomputing whole kernels is decided later (``passes.remat``).

Values that cross a border and depend on each other form a region. For each region the fewest bytes
are stored from which the rest can be recomputed behind the border: a vertex cut between the values
that are there anyway and the values that are read.

The scores of attention are recomputed too, although a product is not cheap, where a block of the
later phase takes the product and all that follows in: they are more bytes than queries and keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, partial
from typing import Any, Final

from passes.base import Pass, Watch
from passes.late.marks import attach_stripped, is_mark, strip_marks
from passes.late.regions import attach_joined, join_disjoint_pads
from staticgrad.analysis.liveness import ValueKey, phases_of, users_of
from staticgrad.analysis.vertex_cut import vertex_cut
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Contract, Identity, Pointwise, Reduce, ReshapeForm, View
from staticgrad.language.ir.graph import BodyOp, Graph, Node, Symbolic
from staticgrad.language.types.arrays import hint_bytes, hint_product
from staticgrad.support import fuses
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass, replace
from staticgrad.support.traversal import reach
from staticgrad.support.upward import up

#: Bytes that are worth ``flops`` operations.
WORTH_BYTES: Final = 4
#: An op of at most this many operations is hidden by memory latency.
CHEAP: Final = 8


def work(node: Node) -> int:
    """Return the cost of running a node again, in operations weighed by the worth of a byte."""
    if is_mark(node) or node.op.flops <= CHEAP:
        return 0
    return node.op.flops * hint_product(node.types[0].shape) * WORTH_BYTES


def through(clones: Mapping[Node, Node], args: Sequence[Symbolic]) -> tuple[Symbolic, ...]:
    """Return the operands, replaced by their clones where there are clones."""
    return tuple(Symbolic(clones.get(arg.node, arg.node), arg.index) for arg in args)


def below(
    args: Sequence[Symbolic], nodes: Mapping[Node, object], ends: Mapping[Node, object]
) -> set[Node]:
    """Return the ``nodes`` that the operands depend on, by paths inside of ``nodes``.

    Nothing below one of ``ends`` counts.
    """

    def select_inside(values: Iterable[Symbolic]) -> list[Node]:
        return [value.node for value in values if value.node in nodes]

    def operands(node: Node) -> list[Node]:
        return [] if node in ends else select_inside(node.args)

    return {*reach(select_inside(args), operands)}


def reads_elements(reader: Node, arg: Symbolic) -> bool:
    """Return whether a fused kernel reads ``arg`` at the element that it computes."""
    form = reader.form
    if isinstance(form, Pointwise) or is_mark(reader):
        return arg.shape == reader.types[0].shape
    return isinstance(form, Reduce)


def bases(value: Symbolic) -> Sequence[ValueKey]:
    """Return the value, and what it is a view of, down to what lies in memory."""
    chain = [value.key]
    while isinstance(chain[-1][0].form, View | Identity | ReshapeForm):
        chain.append(chain[-1][0].args[0].key)
    return chain


@dataclass(frozen=True)
class Offer:
    """A choice for one region: recompute some values from those that are stored."""

    recomputed: Sequence[ValueKey]
    stored: Set[ValueKey]
    gain: int  # bytes


class CrossingRegions:
    """Values of a graph's border that depend on each other: crossing values and their operands.

    Iterating gives each connected set of them. What is there anyway is in none.
    """

    def __init__(self, border: Border, refused: Set[Node]) -> None:
        self.border, self.refused = border, refused
        self.crossing = [key for key in border.crossing if key not in border.stored]
        self.operands: dict[ValueKey, list[ValueKey]] = {}  # of what may run again
        self.readers: dict[ValueKey, list[ValueKey]] = {}
        repeatable = [key for key in self.crossing if self._may_run_again(key[0])]
        for key in reach(repeatable, self._repeatable_operands):
            self.operands[key] = [arg.key for arg in key[0].args if border.weight(arg.key)]
            for operand in self.operands[key]:
                self.readers.setdefault(operand, []).append(key)

    def _repeatable_operands(self, key: ValueKey) -> list[ValueKey]:
        """Return the operands of a value that have its shape and may run again."""
        shape = key[0].types[0].shape
        operands = [Symbolic(*operand) for operand in self.operands[key]]
        return [o.key for o in operands if o.shape == shape and self._may_run_again(o.node)]

    def _may_run_again(self, node: Node) -> bool:
        return node not in self.refused and self.border.may_run_again(node)

    def __iter__(self) -> Iterator[list[ValueKey]]:
        seen: set[ValueKey] = set()
        for first in self.crossing:
            if first in seen:
                continue
            seen.add(first)
            values = [first]
            for key in values:
                near = (*self.operands.get(key, ()), *self.readers.get(key, ()))
                values += [neighbour for neighbour in dict.fromkeys(near) if neighbour not in seen]
                seen.update(near)
            yield values

    def offer(self, values: Sequence[ValueKey]) -> Offer | None:
        """Return the cheapest nodes to clone (a minimum cut) for connected residuals, or None."""
        number = {key: place for place, key in enumerate(values)}
        crossing = [key for key in values if key in self.border.crossing]
        weight = self.border.weight
        # What is stored parts the values of the forward pass from their readers: the lightest such
        # set, where recomputing what stands behind it has a price as well.
        cut = vertex_cut(
            [self.border.price(weight(key)) for key in values],
            [(number[x], number[key]) for key in values for x in self.operands.get(key, ())],
            [number[key] for key in values if key not in self.operands],
            [number[key] for key in crossing],
            fuses.WEIGHING_ROUNDS,
            [work(key[0]) if key in self.operands else 0 for key in values],
        )
        if cut is None:
            if not self.refused:
                self.border.tangled.add(values[0])
            return None
        stored = frozenset(values[place] for place in cut)
        again = [key for key in crossing if key not in stored]
        if not again:
            return None
        return Offer(again, stored, sum(map(weight, crossing)) - sum(map(weight, stored)))

    def nodes(self, offer: Offer) -> Iterator[Node]:
        """Yield the nodes to clone into the backward pass."""

        def operands(key: ValueKey) -> list[ValueKey]:
            return [operand for operand in self.operands[key] if operand not in offer.stored]

        return (node for node, _ in reach(offer.recomputed, operands))


#: A choice that saves less than this part of the stored bytes is not made.
LEAST_PART: Final = 1 / 100
#: Clones per chosen node at most: a chain for each of its readers is a square of its length.
_MOST_CLONES: Final = 4
#: A number of each row is so many times smaller than the row.
_LEAST_ROW: Final = 16
#: The late pass that joins sums of pads.
_DISJOINT_PADS: Final = "disjoint-pads"


class Residuals(Pass, name="residuals"):
    """Clone cheap producers of residuals into the phase that reads them, where that stores less.

    Options:
        flops: operations that four bytes less are worth; ops of few operations count for none.
        join_pads: apply the late pass ``disjoint-pads`` first, so that bytes are those of kernels.
            ``disable=["disjoint-pads"]`` turns it off, too.

    Bytes are weighed at the hints of sizes. ``cse`` without ``border=True`` must not follow: it
    would merge a clone with what it is a clone of.
    """

    may_fail = True
    inside = False
    flops: int = 48
    join_pads: bool = True

    def without_passes(self, names: Collection[str]) -> Residuals:
        """Return the pass that joins no pads, if this is disabled."""
        return replace(self, join_pads=False) if _DISJOINT_PADS in names else self

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Recompute cheap residuals: return the graph, and counts of clones and skipped regions."""
        if program.has(BodyOp):
            return program, {}  # residuals of loops are chosen when a loop is differentiated
        # As in fusion, which reuses it.
        joined = join_disjoint_pads(program) if self.join_pads else program
        graph, cloned, tangled = joined, 0, 0
        kernels_of: dict[Graph, _Kernels] = {}
        last = max((node.order for node in graph.nodes), default=0)
        for phase in range(last, 0, -1):
            border, scores = self._with_scores(Border(graph, phase, self.flops, kernels_of))
            graph, count = self._at_border(border)
            cloned += scores + count
            tangled += len(border.tangled)
        if graph in kernels_of:
            kernels_of[graph].leave()
        joins = joined is not program
        if not cloned:
            attach_joined(program, joined)
            graph, joins = program, False
        counts = {self.name: cloned, "too long to weigh": tangled, _DISJOINT_PADS: int(joins)}
        return graph, {name: count for name, count in counts.items() if count}

    def _with_scores(self, border: Border) -> tuple[Border, int]:
        """Recompute attention scores in the backward pass; return the border and the clones.

        Only where a block takes them in: there the scores stay in the cache, and what is stored of
        them is a maximum and a sum of each row.
        """
        chosen = border.scores() if self.flops > 0 else []
        if not chosen:
            return border, 0
        cloned = border.make_clones(chosen, set())
        groups = border.groups_of(cloned.graph)
        if not cloned.clones or any(groups.stores((clone, 0)) for _, clone in cloned.clones):
            return border, 0
        return border.in_graph(cloned.graph), len(cloned.clones)

    def _at_border(self, border: Border) -> tuple[Graph, int]:
        """Clone cheap residuals at one forward to backward border; return the graph and count.

        Fusion runs with clones only where the kernels without them make it likely that some pay.
        """
        cloned = cache(partial(self._make_clones, border))
        likely = self._settle_clones(border, cloned, border.likely_stored, border.likely_bytes_in)
        clones = likely and self._settle_clones(
            border, cloned, border.stored_clones, border.bytes_in
        )
        # A clone that is a kernel of its own writes what was stored before.
        if not clones or len(border.groups_of(clones.graph)) > len(border.groups):
            return border.graph, 0
        return clones.graph, len(clones.clones)

    def _settle_clones(
        self,
        border: Border,
        cloned: Callable[[Set[Node], Set[Node]], ClonedGraph | None],
        stored: Callable[[ClonedGraph], Set[Node]],
        nbytes: Callable[[Graph], int],
    ) -> ClonedGraph | None:
        """Return the clones that pay and are fused, not ``stored``; None if there are none.

        If a clone with several readers would be a kernel, each reader gets a separate clone. If one
        of those would be a kernel too, the value is stored; so it is if they all read one clone,
        which would be a kernel in their place.
        """
        separate: frozenset[Node] = frozenset()
        refused: frozenset[Node] = frozenset()
        for _ in range(fuses.CLONE_ROUNDS):
            candidate = cloned(separate, refused)
            if candidate is None:
                break
            kernels = candidate.shared_nodes() or stored(candidate)
            if not kernels:
                now = nbytes(candidate.graph)
                # bytes and operations on one scale
                price = border.price(now) + sum(work(clone) for _, clone in candidate.clones)
                pays = now < border.nbytes and price < border.price(border.nbytes)
                return candidate if pays else None
            refused |= kernels & separate
            separate |= kernels
        return None

    def _make_clones(
        self, border: Border, separate: Set[Node], refused: Set[Node]
    ) -> ClonedGraph | None:
        """Clone the best choice of residuals; None if there is none or too many clones."""
        chosen = border.choose_nodes(refused)
        candidate = border.make_clones(chosen, separate) if chosen else None
        return (
            candidate
            if candidate and 0 < len(candidate.clones) <= _MOST_CLONES * len(chosen)
            else None
        )


@dataclass(frozen=True, eq=False)
class ClonedGraph:
    """A graph with clones: each node and its clone, and of the clones the readers before."""

    graph: Graph
    clones: Sequence[tuple[Node, Node]]
    readers: Mapping[Node, Sequence[Node]]

    def shared_nodes(self) -> Set[Node]:
        """Return the nodes of which several clones read the same clone."""
        clones = {clone for _, clone in self.clones}
        operands = ((n, {arg.node for arg in clone.args} & clones) for n, clone in self.clones)
        reads = Counter(
            (node, clone) for node, operand_nodes in operands for clone in operand_nodes
        )
        return {node for (node, _), count in reads.items() if count > 1}


#: The least part of a graph that fusion leaves out, if it only updates parameters: the kernels of a
#: whole graph are used again where no later pass changes it.
_LEAST_UPDATES: Final = 1 / 4


def find_updates(graph: Graph) -> Set[Node]:
    """Return the elementwise nodes of the last phase that lead to updates alone.

    These formulas of optimizers read parameters and values of their phase, never a residual.
    """
    phases, users = phases_of(graph), users_of(graph)
    last = max(phases.values(), default=0)
    outputs = {value.node for value in graph.outputs.values()}
    updates: set[Node] = set()
    for node in reversed(graph.nodes):
        if (
            phases[node] == last
            and isinstance(node.form, Pointwise)
            and node not in outputs
            and updates.issuperset(users[node, 0])
            and all(arg.node.is_leaf or phases[arg.node] == last for arg in node.args)
        ):
            updates.add(node)
    return updates


def cut_updates(graph: Graph) -> Graph:
    """Return the graph without ``find_updates``; its outputs are also what these nodes read.

    The same graph if they are few.
    """
    cut = find_updates(graph)
    if len(cut) < _LEAST_UPDATES * len(graph.nodes):
        return graph
    read = {arg.key: arg for node in graph.nodes if node in cut for arg in node.args}
    ends = [v for v in read.values() if not v.node.is_leaf and v.node not in cut]
    return Graph.of_parts(
        nodes=[node for node in graph.nodes if node not in cut],
        inputs=graph.inputs,
        parameters=graph.parameters,
        outputs={**graph.outputs, **{f"{graph.name}.{k}": value for k, value in enumerate(ends)}},
        updates=[(p, value) for p, value in graph.updates if value.node not in cut],
        name=graph.name,
    )


class _Kernels:
    """The kernels that fusion makes of a graph, which it reads without marks and updates."""

    def __init__(self, graph: Graph) -> None:
        self.graph, shorter = graph, cut_updates(graph)
        self.is_whole = shorter is graph
        self.seen, self._new = strip_marks(shorter)
        self.groups: Any = up("staticgrad.compiler.fusion.merging").fuse_graph(self.seen)

    def __len__(self) -> int:
        return len(self.groups)

    def _place(self, key: ValueKey) -> Any:
        node, index = key
        return up("staticgrad.compiler.fusion.groups").ResultBuffer(
            *(self._new[node][index].key if node in self._new else key)
        )

    def stores(self, key: ValueKey) -> bool:
        return bool(self.groups.stores(self._place(key)))

    def home(self, key: ValueKey) -> Any:
        return self.groups.home(self._place(key))

    def leave(self) -> None:
        """Store the groups of a whole graph with it, so that fusion need not run again."""
        if self.is_whole:
            attach_stripped(self.graph, self.seen)
            up("staticgrad.compiler.fusion.merging").attach_groups(self.seen, self.groups)


class Border:
    """The border before one phase of a graph: values that cross it, or may be cloned."""

    def __init__(
        self, graph: Graph, phase: int, flops: int, kernels_of: dict[Graph, _Kernels] | None = None
    ) -> None:
        self.graph, self.phase, self.flops = graph, phase, flops
        self.kernels_of = {} if kernels_of is None else kernels_of  # results of fusion so far
        self.users = users_of(graph)
        self.phases = phases_of(graph)
        self.crossing: dict[ValueKey, None] = {}  # only kernels that could compute it read it
        self.read_in_memory: dict[ValueKey, None] = {}  # so behind the border
        self._weights: dict[ValueKey, int] = {}
        self.tangled: set[ValueKey] = set()  # of regions that take too many rounds
        self.stored = {value.key for value in graph.roots}  # alive behind the border in any case
        for node in graph.nodes:
            if self.phases[node] >= phase:
                in_phase = self.phases[node] == self.phase
                for arg in node.args:
                    if self.phases[arg.node] < self.phase and not arg.node.is_leaf:
                        if in_phase and reads_elements(node, arg):
                            self.crossing[arg.key] = None
                        else:
                            self.read_in_memory[arg.key] = None
                            self.stored.update(bases(arg))
        self._most = self.bytes_of(self.crossing.keys())

    @cached_property
    def marked_keys(self) -> set[ValueKey]:
        """The values that the user marked to be kept."""
        forms = ((node, node.form) for node in self.graph.nodes)
        same = [node for node, form in forms if isinstance(form, Identity) and form.materialized]
        return {key for node in same for key in bases(node.args[0])}

    @cached_property
    def groups(self) -> _Kernels:
        """The kernels that fusion makes of the unchanged graph."""
        return self.groups_of(self.graph)

    def groups_of(self, graph: Graph) -> _Kernels:
        """Return the kernels that fusion makes of a graph (cached)."""
        if graph not in self.kernels_of:
            self.kernels_of[graph] = _Kernels(graph)
        return self.kernels_of[graph]

    def in_graph(self, graph: Graph) -> Border:
        """Return the same border in another graph."""
        return Border(graph, self.phase, self.flops, self.kernels_of)

    def stored_clones(self, cloned: ClonedGraph) -> Set[Node]:
        """Return the nodes whose clones would be kernels, which fusion tells."""
        groups = self.groups_of(cloned.graph)
        computed = [(node, clone) for node, clone in cloned.clones if not is_mark(node)]
        return {node for node, clone in computed if groups.stores((clone, 0))}

    def likely_stored(self, cloned: ClonedGraph) -> Set[Node]:
        """Return the nodes whose clones would probably be stored: several kernels read them.

        Kernels of one level may become one.
        """
        levels: dict[Node, set[int]] = {clone: set() for _, clone in cloned.clones}
        for clone, readers in cloned.readers.items():
            homes = [self._home((reader, 0)) for reader in readers]
            levels[clone].update([home.level for home in homes if home is not None])
        for _, clone in reversed(cloned.clones):  # readers before their operands
            for arg in clone.args:
                if arg.node in levels:
                    levels[arg.node] |= levels[clone]
        computed = [(node, clone) for node, clone in cloned.clones if not is_mark(node)]
        return {node for node, clone in computed if len(levels[clone]) > 1}

    def bytes_in(self, graph: Graph) -> int:
        """Return the bytes stored in a graph with clones, which fusion tells."""
        return self.in_graph(graph).nbytes

    def likely_bytes_in(self, graph: Graph) -> int:
        """Return the same if values within one of the present kernels stay there."""
        border = self.in_graph(graph)
        return border.bytes_of({*border.crossing} - self.inside)

    @cached_property
    def nbytes(self) -> int:
        """Bytes stored before the border for behind it, sizes at their hints."""
        return self.bytes_of({*self.crossing} - self.inside)

    def bytes_of(self, crossing: Set[ValueKey]) -> int:
        """Bytes stored before the border for behind it, given what crosses between kernels."""
        stored = {bases(Symbolic(*key))[-1] for key in (*crossing, *self.read_in_memory)}
        kinds = [node.types[index] for node, index in stored if not node.is_leaf]
        return sum(hint_bytes(kind) for kind in kinds)

    @cached_property
    def inside(self) -> set[ValueKey]:
        """Residuals that one fused kernel of both phases computes and reads, never stored."""
        return {
            key
            for key in self.crossing
            if (home := self._home(key)) is not None
            and all(
                self._home((user, 0)) is home
                for user in self.users[key]
                if self.phases[user] >= self.phase
            )
        }

    def scores(self) -> list[Node]:
        """Find products larger than their operands (attention scores), and elementwise users.

        The phase reads some of these values, and their operands are there anyway: operands of the
        products are stored, others are a fraction of the bytes, such as numbers of each row.
        """
        scores: dict[Node, None] = {}
        for node in self.graph.nodes:
            if self.phases[node] >= self.phase:
                continue
            if isinstance(node.form, Contract):
                takes = self._is_square(node)
            else:
                takes = self._continues(node, scores)
            if takes:
                scores[node] = None
        read = {
            arg.node
            for node in self.graph.nodes
            if self.phases[node] == self.phase
            for arg in node.args
            if arg.node in scores
        }
        for node in reversed([*scores]):
            if node in read:
                read |= {arg.node for arg in node.args if arg.node in scores}
        return [node for node in scores if node in read]

    def _continues(self, node: Node, scores: Mapping[Node, None]) -> bool:
        """Return whether a node reads elements of ``scores``, and otherwise small values."""
        if not isinstance(node.form, Pointwise) or node.form.indexed:
            return False
        others = [arg for arg in node.args if arg.node not in scores]
        return len(others) < len(node.args) and all(self._is_small(arg, node) for arg in others)

    def _is_square(self, product: Node) -> bool:
        """Return True if a batched product is larger than its operands, which are stored."""
        if len(product.types[0].shape) < 3 or product.args[1].ndim < 3:
            return False  # one matrix for all rows: no block begins with such a product
        operands = [bases(arg)[-1] for arg in product.args]
        available = all(
            node.is_leaf or (node, k) in self.stored or not self.stored.isdisjoint(bases(arg))
            for (node, k), arg in zip(operands, product.args, strict=True)
        )
        nbytes = sum(hint_bytes(arg.type) for arg in product.args)
        return available and hint_bytes(product.types[0]) > nbytes

    def _is_small(self, arg: Symbolic, reader: Node) -> bool:
        node, index = bases(arg)[-1]
        most = hint_bytes(reader.types[0]) // _LEAST_ROW
        return hint_bytes(node.types[index]) <= most or self._is_of_places(node)

    @staticmethod
    def _is_of_places(node: Node) -> bool:
        """Return whether a value is a mask of positions alone, which all matrices share."""
        nodes = [node, *(arg.node for arg in node.args)]
        return node.types[0].dtype.is_bool and all(
            isinstance(n.form, Pointwise) and (n is node or not n.args) for n in nodes
        )

    def choose_nodes(self, refused: Set[Node]) -> list[Node]:
        """Choose the residuals to recompute, in graph order, without the refused ones.

        The result is empty if they would save too little.
        """
        nodes = self._best_nodes(refused)
        if not nodes:  # expensive ops may stand in the way of cheap ones
            nodes = self._best_nodes(refused | {n for n in self.graph.nodes if n.op.flops > CHEAP})
        return [node for node in self.graph.nodes if node in nodes]

    def _best_nodes(self, refused: Set[Node]) -> set[Node]:
        """Choose the residuals to recompute by minimum cuts, without the refused ones."""
        if not self.inside <= self.stored:
            self.stored |= self.inside
        regions = CrossingRegions(self, refused)
        offers = [offer for values in regions if (offer := regions.offer(values))]
        offers = [
            offer
            for offer in offers
            if self.added_bytes(offer.stored) <= self.spared_bytes(offer.recomputed)
        ]
        gain = sum(offer.gain for offer in offers)
        if gain <= 0 or gain < LEAST_PART * self._most:
            return set()
        return {node for offer in offers for node in regions.nodes(offer)}

    def make_clones(self, chosen: Sequence[Node], separate: Set[Node]) -> ClonedGraph:
        """Return the graph in which backward nodes read clones of the chosen forward nodes.

        Nodes of ``separate`` have a clone for each reader. No more clones are made once there are
        too many.
        """
        most = _MOST_CLONES * len(chosen)
        pairs: list[tuple[Node, Node]] = []
        readers: dict[Node, list[Node]] = {}
        shared: dict[Node, Node] = {}
        place = {node: number for number, node in enumerate(chosen)}

        def over(reader: Node, args: Sequence[Symbolic]) -> tuple[Symbolic, ...]:
            """Return a reader's operands with clones in place of residuals."""
            clones: dict[Node, Node] = {}  # that this reader reads
            for node in sorted(below(args, place, shared), key=place.__getitem__):
                if node in shared:
                    clones[node] = shared[node]
                    continue
                operands = through(clones, node.args)
                clones[node] = rebuild(node, operands, order=self.phase)
                pairs.append((node, clones[node]))
                if node not in separate:
                    shared[node] = clones[node]
            for node in {arg.node for arg in args if arg.node in clones}:
                readers.setdefault(clones[node], []).append(reader)
            return through(clones, args)

        def reading(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            if self.phases[node] != self.phase or not any(arg.node in place for arg in args):
                return None
            if len(pairs) > most:
                return None
            return rebuild(node, over(node, args)).values

        return ClonedGraph(self.graph.replace_nodes(reading).without_dead_nodes(), pairs, readers)

    def weight(self, key: ValueKey) -> int:
        """Bytes that it takes to store a value for the phase; 0 if it is there anyway."""
        nbytes = self._weights.get(key)
        if nbytes is None:
            nbytes = self._weights[key] = self._weigh(key)
        return nbytes

    def _weigh(self, key: ValueKey) -> int:
        """Return the bytes that storing a residual takes; 0 if it is stored anyway."""
        same = bases(Symbolic(*key))
        node, index = same[-1]
        if node.is_leaf or not self.stored.isdisjoint(same):
            return 0
        if not node.args and isinstance(node.form, Pointwise):
            return 0  # a size or a position: rebuilt by whoever reads it
        return hint_bytes(node.types[index])

    def price(self, nbytes: int) -> int:
        """Return the worth of stored bytes, in the unit of ``work``."""
        return nbytes * max(self.flops, 0)

    def added_bytes(self, stored: Iterable[ValueKey]) -> int:
        """Bytes of those values that no kernel writes as yet."""
        return sum(self.weight(key) for key in stored if not self.groups.stores(key))

    def spared_bytes(self, keys: Iterable[ValueKey]) -> int:
        """Sum the bytes of residuals that forward kernels need not store."""
        return sum(
            self.weight(key)
            for key in keys
            if all(
                self.phases[user] >= self.phase or self._home((user, 0)) is self._home(key)
                for user in self.users[key]
            )
        )

    def _home(self, key: ValueKey) -> Any:
        return self.groups.home(key)

    def may_run_again(self, node: Node) -> bool:
        """Return True if the pass may clone a node into a fused backward kernel."""
        form = node.form
        if is_mark(node):
            return True
        return (
            isinstance(form, Pointwise) and not form.indexed and (node, 0) not in self.marked_keys
        )


# -- what ``checkpoint=`` says --------------------------------------------------------------------
