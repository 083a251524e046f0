"""The tape: what ran, in which order, and the walk back over it that differentiates.

Every operation on a tensor that needs a gradient leaves a ``Node``: its operands, and how to turn
the cotangent of its result into theirs. Nodes are numbered as they are made, so that walking back
in falling order meets every reader before its producer, without recursion. This file knows no op.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count
from operator import attrgetter, call
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from staticgrad.eager.hooks import hooked
from staticgrad.eager.modes import modes
from staticgrad.eager.mutation import Seal
from staticgrad.errors import TapeError
from staticgrad.ir.op import Op
from staticgrad.ops.cotangent import add_cotangents, resolve, shares_of

if TYPE_CHECKING:
    from staticgrad.eager.tensor import Tensor

Cotangents = Sequence[Any]

#: Numbers the nodes; the next one is larger than all before.
serials: Final = count()
_requires_grad: Final = attrgetter("requires_grad")


class Node:
    """One recorded operation: ``grad_fn`` of its results. Subclasses have a rule, ``shares``.

    The results are held weakly, for they hold the node. Where the only one is gone nobody can want
    its gradient; of several the arrays are kept, for a rule may read them.
    """

    __slots__ = ("args", "arrays", "outs", "seal", "serial")

    def __init__(self, args: tuple[Tensor, ...], outs: tuple[Tensor, ...]) -> None:
        self.args: tuple[Tensor, ...] | None = args
        self.outs = tuple(map(ref, outs))
        self.arrays = tuple([out.array for out in outs]) if len(outs) > 1 else ()
        self.serial = next(serials)
        self.seal = Seal(self) if modes.checking else None

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__.removesuffix("Backward")

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """The operands. Raises TapeError when they have been released."""
        if self.args is None:
            raise TapeError(
                f"the tape has been released: a backward pass went over {self.name} before",
                hint="backward(retain_graph=True) keeps it; or run the forward pass again",
            )
        return self.args

    @property
    def next_functions(self) -> tuple[Node | None, ...]:
        """For each operand the node that made it; None for leaves and constants."""
        return tuple(arg.grad_fn for arg in self.saved_tensors)

    def results(self) -> tuple[Tensor | None, ...]:
        """The results: one that is gone is None if it was the only one, else made again."""
        outs: tuple[Any, ...] = tuple(map(call, self.outs))
        if self.arrays and any(out is None for out in outs):
            of = self.saved_tensors[0].of
            pairs = zip(outs, self.arrays, strict=True)
            outs = tuple([of(a).recorded_by(self) if out is None else out for out, a in pairs])
            self.outs = tuple(map(ref, outs))
        return outs

    def shares(self, cts: Cotangents, outs: Sequence[Any], wanted: tuple[bool, ...]) -> Cotangents:
        """A cotangent (or None) for each operand, given those of the results (None: unused)."""
        raise TypeError(f"{type(self).__name__} has no rule")

    def release(self) -> None:
        """Let go of the operands."""
        self.args, self.seal, self.arrays = None, None, ()


class OpNode(Node):
    """An op of the package: its own VJP rule, written over values, runs on tensors."""

    __slots__ = ("op",)

    def __init__(self, op: Op, args: tuple[Tensor, ...], outs: tuple[Tensor, ...]) -> None:
        self.op = op
        Node.__init__(self, args, outs)

    @property
    def name(self) -> str:
        return self.op.name

    def shares(self, cts: Cotangents, outs: Sequence[Any], wanted: tuple[bool, ...]) -> Cotangents:
        return shares_of(self.op, cts, outs, self.saved_tensors, wanted)


@cache
def named_node(base: type[Node], name: str) -> type[Any]:
    """The subclass of ``base`` called ``<name>Backward``."""
    return type(f"{name}Backward", (base,), {"__slots__": ()})


def nodes_behind(outputs: Iterable[Tensor], since: int = 0) -> list[Node]:
    """Every node that ``outputs`` depend on and that is not older than ``since``, latest first.

    Raises:
        TapeError: one has been released, or (``detect_mutation``) its arrays have changed.
    """
    stack = [tensor.grad_fn for tensor in outputs]
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node is not None and node not in seen and node.serial >= since:
            seen.add(node)
            stack += [arg.grad_fn for arg in node.saved_tensors]
            if node.seal is not None:
                node.seal.check(node)
    return sorted(seen, key=lambda node: node.serial, reverse=True)


class Sweep:
    """One walk back over ``nodes``: the cotangents on their way, and what came of them.

    With ``targets`` only what these need is computed, and only theirs is found. Cotangents are kept
    by the id of their tensor, which is alive: an operand of a node, or an output.
    """

    def __init__(self, nodes: list[Node], targets: Iterable[Tensor] | None = None) -> None:
        self.nodes = nodes
        self.targets = None if targets is None else set(map(id, targets))
        self.active: set[int] = set(self.targets or ())  # what a target leads to
        for node in () if self.targets is None else reversed(nodes):
            if not self.active.isdisjoint(map(id, node.saved_tensors)):
                self.active.update(map(id, node.results()))
        self.tensors: dict[int, Tensor] = {}
        self.pending: dict[int, Any] = {}
        self.found: dict[int, Any] = {}

    def run(self, seeds: Iterable[tuple[Tensor, Any]]) -> list[tuple[Tensor, Any]]:
        """Every tensor found with its cotangent, given those of the outputs."""
        self.through(seeds)
        for key in list(self.pending):
            self.taken(self.tensors[key])
        return [(self.tensors[key], ct) for key, ct in self.found.items()]

    def through(self, seeds: Iterable[tuple[Tensor, Any]]) -> None:
        """Hand the cotangents of the outputs back through all nodes; at the leaves they wait."""
        for tensor, seed in seeds:
            self.add(tensor, seed)
        for node in self.nodes:
            outs = node.results()
            cts = tuple(map(self.taken, outs))
            if cts.count(None) < len(cts):
                self.hand_back(node, cts, outs)

    def hand_back(self, node: Node, cts: Cotangents, outs: Sequence[Any]) -> None:
        """Give the operands of ``node`` their shares."""
        args = node.saved_tensors
        wanted = tuple(map(_requires_grad, args))
        if self.targets is not None:
            wanted = tuple([id(arg) in self.active for arg in args])
        shares = node.shares(cts, outs, wanted)
        for arg, share, want in zip(args, shares, wanted, strict=True):
            if want and share is not None:
                if share.__class__ is float or share.type is not arg.type:
                    share = arg.fitting(share, node.name)
                self.add(arg, share)

    def add(self, tensor: Tensor, share: Any) -> None:
        """Add to a tensor's cotangent; shares come in a fixed order."""
        key = id(tensor)
        before = self.pending.get(key)
        self.tensors[key] = tensor
        self.pending[key] = share if before is None else add_cotangents([before, share])

    def taken(self, tensor: Tensor | None) -> Any:
        """The cotangent of a tensor, now complete: its hooks see it; kept if it is a target."""
        key = id(tensor)
        ct = self.pending.pop(key, None)
        if ct is not None and tensor is not None:
            if tensor.hooks:
                ct = hooked(tensor, resolve(ct))
            if self.targets is None or key in self.targets:
                self.found[key] = resolve(ct)
        return ct
