"""The tape: what ran, where gradients arrive, the walk back, and the modes of recording.

Every operation on a tensor that needs a gradient leaves a ``TapeNode``: the edges of its operands,
those arrays that its rule reads, and how to turn the cotangent of its result into theirs. Nodes
are numbered as they are made, so that walking back in falling order meets every reader before its
producer, without recursion. The walk lets go of each node's arrays once its rule has run.

A tensor that needs a gradient has an edge, apart from its array. The tape holds edges, not tensors:
an operation keeps only those arrays that its rule reads, and the others die with the last tensor
that has them, as they would without a tape. Hooks are functions that see the gradient at an edge on
its way, and may replace it.

**Modes.** Operations are recorded or not, and their arrays checked or not. Each mode is a context
manager and a decorator, and belongs to the thread, or the task of asyncio, that enters it. A
derivative is computed from the arrays of the forward pass; ``detect_mutation`` compares checksums
of them.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * 2.0).requires_grad
    False

**Shared arrays.** A tape that reads a parameter keeps no copy of it: its arrays are read-only views
of the parameter's own. Who writes the parameter copies what it held before, if an array of a tape
is still there; the views become views of the copy when they are read next (``settle``), so that a
tape always has the values that it was made of.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from html import escape
from itertools import count
from typing import Any, ClassVar, Final, Self
from weakref import ref

import numpy as np

from staticgrad.errors import TapeError
from staticgrad.errors.tracebacks import boundary
from staticgrad.language.calls.execution import is_holding, present
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ops.cotangent import Masked, PartCotangent, in_dtype_of, resolve, shares_of
from staticgrad.language.ops.elementwise import real_dtype
from staticgrad.language.ops.sweep import Sweep
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import DType
from staticgrad.support.building import capture
from staticgrad.support.contexts import Block, Nested

#: True if operations are recorded.
recording: Final = Nested("staticgrad_recording", True)
#: What each recorded operation stores to be checked later, made of its operands and results.
checking: Final = Nested[Callable[[Sequence[Any], Sequence[Any]], Any] | None](
    "staticgrad_checking", None
)
#: Of ``checkpoint.py`` and ``watching.py``: runs each operation; None: operations run as they are.
selection: Final = Nested[Any]("staticgrad_selection", None)


def watch_runner(runner: Any) -> Any:
    """Return ``runner``; within a mode of ``watching.py`` one that this mode looks at, too."""
    around = getattr(selection.innermost(), "around", None)
    return runner if around is None else around(runner)


class no_grad(Block[bool]):  # noqa: N801 - the name this idea has everywhere
    """Inside, nothing is recorded: ``with no_grad(): ...``, or ``@no_grad()`` on a function.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        super().__init__(recording, False)


class enable_grad(Block[bool]):  # noqa: N801
    """Inside, operations are recorded, also within ``no_grad``.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(3.0, requires_grad=True)
    >>> with sg.eager.no_grad(), sg.eager.enable_grad():
    ...     y = x * x
    >>> y.requires_grad
    True
    """

    def __init__(self) -> None:
        super().__init__(recording, True)


class detect_mutation(Block[Any]):  # noqa: N801
    """Inside, every operation keeps checksums of its arrays, and its line.

    A backward pass over it raises TapeError, before any gradient changes, where an array that the
    operation read or made has changed since: it names the operation and the line. Costs a pass over
    every array.

    >>> from staticgrad.eager import Tensor
    >>> from staticgrad.errors import TapeError
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with detect_mutation():
    ...     y = (x * x).sum()
    >>> x.data[0] = 5.0
    >>> try:
    ...     y.backward()
    ... except TapeError as error:
    ...     print(error.code)
    SG303
    """

    def __init__(self) -> None:
        super().__init__(checking, Seal)


def enable_autograd(quiet: bool = False) -> None:
    """Record operations from here on, to the end of the block around; by default they are."""
    if not recording.innermost() and not quiet:
        from staticgrad.support.config import logger  # logging is loaded when somebody logs

        logger.info("autograd is on: operations on tensors that require gradients are recorded")
    recording.change(True)


class NodeLine:
    """The line of a node."""

    def __init__(self, operands: Sequence[Any] = (), outs: Sequence[Any] = ()) -> None:
        self.origin = capture()

    def check(self, name: str) -> None:
        """Check nothing."""


class Seal(NodeLine):
    """The operands of a node with their checksums, those of its results, and the line.

    It keeps all operands, also those that the rule does not read.
    """

    def __init__(self, operands: Sequence[Any], outs: Sequence[Any]) -> None:
        super().__init__()
        self.operands = [(tensor, _checksum(tensor)) for tensor in operands]
        self.outs = [(ref(out), _checksum(out)) for out in outs]

    def check(self, name: str) -> None:
        """Raise TapeError if a stored array has changed since operation ``name`` recorded it."""
        named = [(f"operand {i}", *pair) for i, pair in enumerate(self.operands, 1)]
        named += [("the result", out(), sealed) for out, sealed in self.outs]
        for what, tensor, sealed in named:
            if tensor is not None and _checksum(tensor) != sealed:
                raise TapeError(
                    f"{name}: the data of {what} changed between forward and backward",
                    hint="its derivative would be wrong; write to arrays after the backward pass",
                    at=self.origin,
                )


def _checksum(tensor: Any) -> tuple[Any, ...]:
    data = tensor.data
    return data.shape, data.dtype.str, zlib.crc32(data.tobytes())


#: By the id of a shared array, which is alive: what it held before its parameter was written.
copies_before_write: Final[dict[int, Array]] = {}


def shared_with(store: ParameterStore, base_bytes: Any, forget: Callable[[], object]) -> Any:
    """Return a read-only view of a parameter's bytes; a write to the parameter copies first.

    Every view of them has them as its base, for they are no view of an array.
    """
    if base_bytes is not None or not store.array.size:
        return base_bytes
    raw: Any = store.array.reshape(-1).view(np.uint8)
    base: Any = np.frombuffer(memoryview(raw).toreadonly(), np.uint8)
    alive = ref(base)

    def before_write() -> None:
        forget()
        shared = alive()
        if shared is not None:
            copies_before_write[id(shared)] = shared.copy()
            _alive[id(shared)] = ref(shared, partial(_drop, id(shared)))

    return base if store.lock.share(before_write) else None


#: By the same ids: weak references that delete both entries together with the array.
_alive: Final[dict[int, Any]] = {}


def _drop(key: int, _: object) -> None:
    copies_before_write.pop(key, None)
    _alive.pop(key, None)


def redirect_to_copy(array: Any) -> Any:
    """Redirect a tape's array to the copy of its parameter, if that was written since."""
    base = array.base
    if base is None or id(base) not in copies_before_write:
        return array
    copy = copies_before_write[id(base)]
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    view: Array = np.ndarray(array.shape, array.dtype, copy, start, array.strides)
    view.flags.writeable = False
    return view


Cotangents = Sequence[Any]
Hook = Callable[[Any], Any]

#: The edge of a result that carries no gradient, as a dead reference.
_NOTHING: Final[Callable[[], Edge | None]] = type(None)
#: Numbers the nodes; the next one is larger than all before.
serials: Final = count()


class Recorded:
    """The interface of tensors for the tape: an array, and an edge where its gradient arrives."""

    __slots__ = ()

    array: Array
    type: TensorType
    edge: Edge | None

    @staticmethod
    @abstractmethod
    def of(array: Array) -> Recorded:
        """A tensor of this array itself, no copy, that needs no gradient."""

    @classmethod
    @abstractmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """A tensor of a copy of ``data`` that needs no gradient; a tensor itself."""

    @staticmethod
    @abstractmethod
    def fitting(type: TensorType, share: Any, rule: str) -> Any:
        """``share``, if it is a cotangent of ``type``; else OpDefinitionError: a wrong rule."""

    @abstractmethod
    def recorded_by(self, node: TapeNode, number: int) -> Edge | None:
        """The edge of this tensor, now a result of ``node``; None for integers and bools."""

    @abstractmethod
    def settle(self) -> None:
        """Keep the values that the array had before a parameter that it shares was written."""


class Edge:
    """Result ``number`` of ``node``; a leaf if there is no node.

    ``owner`` is the tensor whose ``grad`` is written, held weakly: that of a leaf, and of another
    one after ``retain_grad``. ``hooks`` see the gradient on its way.
    """

    __slots__ = ("__weakref__", "hooks", "node", "number", "owner", "type")

    def __init__(self, type: TensorType, node: TapeNode | None = None, number: int = 0) -> None:
        self.type, self.node, self.number = type, node, number
        self.hooks: dict[object, Hook] | None = None
        self.owner: ref[Recorded] | None = None

    def tensor(self) -> Any:
        """The tensor whose ``grad`` is written, if it is still there."""
        return None if self.owner is None else self.owner()

    def owned_by(self, tensor: Recorded) -> Edge:
        """This edge; ``tensor`` keeps the gradient that arrives."""
        self.owner = ref(tensor)
        return self


class Handle:
    """A registered hook, to be taken off again."""

    def __init__(self, hooks: dict[object, Hook], hook: Hook) -> None:
        self._hooks = hooks
        hooks[self] = hook

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self, None)


def run_hooks(edge: Edge, ct: Any, kind: type[Recorded]) -> Any:
    """Run the hooks of a tensor on its cotangent, in the order of registration."""
    for hook in list((edge.hooks or {}).values()):
        replaced = hook(ct)
        if replaced is not None:
            real_dtype("hook", replaced)
            ct = kind.fitting(edge.type, kind.lift(replaced, edge.type.dtype), "hook")
    return ct


#: Of operands: their edges, None where no gradient is needed.
Edges = tuple[Edge | None, ...]


class TapeNode:
    """One recorded operation: ``grad_fn`` of its results. Subclasses have a rule, ``shares``.

    The edges of the results are weak references, because they refer to the node: if one is gone,
    its gradient cannot be requested.
    """

    __slots__ = ("edges", "outs", "seal", "serial")

    #: Whether the rule takes cotangents under a mask.
    takes_masks = False
    #: Whether it takes values that stand for the cotangents of many walks.
    takes_symbols = False
    #: The class of tensors.
    tensor: ClassVar[type[Recorded]]

    def __init__(
        self, edges: Edges, outs: Sequence[Recorded], operands: Sequence[Recorded] = ()
    ) -> None:
        """Record: ``outs`` get their edges. ``operands`` are looked at by ``detect_mutation``."""
        self.edges: Edges | None = edges
        self.serial = next(serials)
        recorded = (out.recorded_by(self, number) for number, out in enumerate(outs))
        self.outs = [_NOTHING if edge is None else ref(edge) for edge in recorded]
        checked = checking.innermost()
        self.seal = None if checked is None else checked(operands, outs)

    @property
    def name(self) -> str:
        """The name for messages."""
        return type(self).__name__.removesuffix("Backward")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _repr_html_(self) -> str:
        """Show the tape behind this node as HTML; only its name once it is released."""
        from staticgrad.support.pictures.shown import network  # drawn when somebody looks

        def operands(of: TapeNode | Edge) -> list[TapeNode | Edge]:
            read = of.edges if isinstance(of, TapeNode) else None
            return [edge.node or edge for edge in read or () if edge is not None]

        def label(of: TapeNode | Edge) -> str:
            return of.name if isinstance(of, TapeNode) else str(of.type)

        try:
            drawn: str = network(
                self, operands, label, title=f"the tape of {self.name}"
            )._repr_html_()
        except ValueError:  # more boxes than anybody can read
            return escape(repr(self))
        return drawn

    @property
    def operands(self) -> Edges:
        """Return the tape edges of the operands; raise TapeError if they have been released."""
        if self.edges is None:
            raise TapeError(
                f"the tape has been released: a backward pass went over {self.name} before",
                hint="backward(retain_graph=True) keeps it; or run the forward pass again",
            )
        return self.edges

    @property
    @boundary
    def saved_tensors(self) -> tuple[Any, ...]:
        """The operands that the rule reads. Raises TapeError when they have been released."""
        self.operands  # noqa: B018 - refuses where they have been released
        return self.read_saved()

    def read_saved(self) -> tuple[Recorded, ...]:
        """The operands that are kept."""
        return ()

    @property
    def next_functions(self) -> tuple[TapeNode | None, ...]:
        """The node that created each operand; None for leaves and constants."""
        return tuple([None if edge is None else edge.node for edge in self.operands])

    def result(self, number: int, array: Any) -> Any:
        """A result again, for the rule: its array, and its edge if the walk itself is recorded."""
        out: Any = self.tensor.of(array)
        if recording.innermost() and out.type.dtype.kind == "f":
            out.edge = self.outs[number]() or Edge(out.type, self, number)
            self.outs[number] = ref(out.edge)
        return out

    def shares(self, cts: Cotangents, needed: tuple[bool, ...]) -> Cotangents:
        """A cotangent (or None) for each operand, given those of the results (None: unused)."""
        raise TypeError(f"{type(self).__name__} has no rule")

    def shares_of_rerun(
        self, results: Sequence[Recorded], since: int, cts: Cotangents, needed: tuple[bool, ...]
    ) -> Cotangents:
        """Compute cotangents by walking back what a rerun recorded, from node ``since`` on."""
        targets = [e for e, need in zip(self.operands, needed, strict=True) if need and e]
        edges = [result.edge for result in results]
        nodes = nodes_behind(edges, since)
        sweep = TapeSweep(nodes, targets, release=not recording.innermost())
        pairs = zip(edges, cts, strict=True)
        sweep.through([(edge, ct) for edge, ct in pairs if ct is not None and edge], nodes)
        return [
            None if edge is None else in_dtype_of(sweep.pending.get(edge), edge.type)
            for edge in self.operands
        ]

    def settle(self) -> None:
        """Let saved arrays keep the values that they had, whatever was written since."""
        for tensor in self.read_saved():
            tensor.settle()

    def release(self) -> None:
        """Let go of the operands."""
        self.edges, self.seal = None, None


class OpNode(TapeNode):
    """An op of the package: its own VJP rule, written over values, runs on tensors.

    ``args`` and ``results`` are what the rule gets; where it asks for the type alone an outline
    stands in for a tensor, or for a result's array.
    """

    __slots__ = ("args", "op", "results")

    takes_symbols = True

    def __init__(
        self,
        op: Op,
        operands: Sequence[Recorded],
        outs: Sequence[Recorded],
        args: Sequence[Recorded],
        results: Sequence[Any],
    ) -> None:
        self.op, self.args, self.results = op, args, results
        TapeNode.__init__(self, tuple([arg.edge for arg in operands]), outs, operands)

    @property
    def takes_masks(self) -> bool:  # type: ignore[override]
        return self.op.elementwise or bool(self.op.reads_part)

    @property
    def name(self) -> str:
        return self.op.name

    def read_saved(self) -> tuple[Recorded, ...]:
        return tuple([arg for arg in self.args if arg.__class__ is self.tensor])

    def settle(self) -> None:
        TapeNode.settle(self)
        self.results = [
            redirect_to_copy(x) if x.__class__ is np.ndarray else x for x in self.results
        ]

    def shares(self, cts: Cotangents, needed: tuple[bool, ...]) -> Cotangents:
        """Compute the operands' cotangents of a tape node by its op's derivative rule."""
        outs = [
            self.result(number, result) if result.__class__ is np.ndarray else result
            for number, result in enumerate(self.results)
        ]
        args, first = self.args, next(ct for ct in cts if ct is not None)
        if is_holding():  # beside a value of a graph all are such
            plain = first.value if isinstance(first, Masked) else first
            _, *operands = present((plain, *args, *outs))
            args, outs = operands[: len(args)], operands[len(args) :]
        shares = shares_of(self.op, cts, outs, args, needed)
        return shares if recording.innermost() else apart(shares, self.tensor, (*args, *outs))

    def release(self) -> None:
        TapeNode.release(self)
        self.args, self.results = (), ()


def apart(shares: Cotangents, kind: type[Recorded], tensors: Iterable[Any]) -> Cotangents:
    """Copy cotangents that share an array with one of ``tensors``, so that none aliases them."""
    arrays = [tensor.array for tensor in tensors if tensor.__class__ is kind]
    for share in shares:
        if share.__class__ is kind and any(share.array is array for array in arrays):
            break
    else:
        return shares
    array_ids = set(map(id, arrays))
    return [
        kind.of(s.array.copy()) if s.__class__ is kind and id(s.array) in array_ids else s
        for s in shares
    ]


@cache
def named_node(base: type[TapeNode], name: str) -> type[Any]:
    """The subclass of ``base`` called ``<name>Backward``."""
    return type(f"{name}Backward", (base,), {"__slots__": ()})


def nodes_behind(outputs: Iterable[Edge | None], since: int = 0) -> list[TapeNode]:
    """Return the tape nodes behind ``outputs``, not older than ``since``, latest first."""
    stack = list(outputs)
    seen: set[TapeNode] = set()
    while stack:
        edge = stack.pop()
        node = None if edge is None else edge.node
        if node is not None and node not in seen and node.serial >= since:
            seen.add(node)
            stack += node.operands
            if copies_before_write:
                node.settle()
            if node.seal is not None:
                node.seal.check(node.name)
    return sorted(seen, key=lambda node: node.serial, reverse=True)


class TapeSweep(Sweep[TapeNode, Edge]):
    """The walk back over ``nodes`` of a tape, latest first.

    With ``targets`` only what these need is computed, and only theirs is found; without, those of
    leaves and of tensors that retain their gradient. With ``release`` every node lets go of what it
    keeps as soon as its rule has run.
    """

    def __init__(
        self, nodes: list[TapeNode], targets: Iterable[Edge] | None = None, release: bool = False
    ) -> None:
        super().__init__()
        self.nodes, self.release = nodes, release
        self.targets = None if targets is None else set(targets)
        self.active: set[Any] = set(self.targets or ())  # what a target leads to
        for node in () if self.targets is None else reversed(nodes):
            if not self.active.isdisjoint(node.operands):
                self.active.update(edge() for edge in node.outs)
        self.active.discard(None)
        self.sums: set[Edge] = set()  # whose pending cotangent is an array of this walk alone
        runner = selection.innermost()
        self.on_node = None if runner is None else getattr(runner, "enter_node", None)

    def run(self, seeds: Iterable[tuple[Edge, Any]]) -> dict[Edge, Any]:
        """Walk the tape back from the outputs; return every edge with its cotangent."""
        try:
            self.through(seeds, self.nodes)
        finally:
            if self.on_node is not None:
                self.on_node(None)
        for edge in list(self.pending):
            self.take_cotangent(edge)
        return self.cotangents

    def visit(self, node: TapeNode) -> None:
        """Add a tape node's cotangent contributions to its operands, and release the node."""
        if self.on_node is not None:
            self.on_node(node)
        cts = [self.take_cotangent(edge()) for edge in node.outs]
        if not node.takes_masks:
            cts = [None if ct is None else resolve(ct) for ct in cts]
        if any(ct is not None for ct in cts):
            self.hand_back(node, cts)
        if self.release:
            node.release()

    def results(self, node: TapeNode) -> Iterable[Edge | None]:
        return [edge() for edge in node.outs]

    def operands(self, node: TapeNode) -> Edges:
        return node.operands

    def needs_grad(self, key: Edge | None) -> bool:
        return key is not None if self.targets is None else key in self.active

    def shares(self, node: TapeNode, cts: Cotangents, needed: tuple[bool, ...]) -> Cotangents:
        return node.shares(cts, needed)

    def fitting(self, share: Any, key: Edge, node: TapeNode) -> Any:
        if share.__class__ is float or share.type is not key.type:
            return node.tensor.fitting(key.type, share, node.name)
        return share

    def add(self, key: Edge, share: Any) -> None:
        """Accumulate a cotangent contribution, in place where the walk alone has the array."""
        pending: Any = self.pending.get(key)
        total, more = pending, share
        if pending.__class__ is share.__class__ is PartCotangent:
            total, more = pending.plain_cotangent, share.plain_cotangent
        kind: Any = TapeNode.tensor
        if key in self.sums and total.__class__ is more.__class__ is kind:
            with np.errstate(all="ignore"):
                np.add(total.array, more.array, out=total.array)
            if pending is not total:
                self.pending[key] = PartCotangent(pending.support.union(share.support), total)
            return
        super().add(key, share)
        if pending is not None and not recording.innermost():
            self.sums.add(key)

    def take_cotangent(self, key: Edge | None) -> Any:
        """Return the complete cotangent of a tensor after its hooks; store it if it is a target."""
        ct = None if key is None else in_dtype_of(self.pending.pop(key, None), key.type)
        if ct is not None and key is not None:
            if key.hooks:
                ct = run_hooks(key, resolve(ct), TapeNode.tensor)
            if key in self.targets if self.targets is not None else key.owner is not None:
                self.cotangents[key] = resolve(ct)
        return ct
