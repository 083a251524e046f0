"""Operations of the user's own: a forward computation with a hand-written way back.

>>> from staticgrad.eager import Tensor
>>> class Cube(Function):
...     @staticmethod
...     def forward(ctx, x):
...         ctx.save_for_backward(x)
...         return x * x * x
...     @staticmethod
...     def backward(ctx, ct):
...         (x,) = ctx.saved_tensors
...         return ct * 3.0 * x * x
>>> x = Tensor([2.0], requires_grad=True)
>>> Cube.apply(x).backward()
>>> x.grad
array([12.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.eager import tape
from staticgrad.eager.modes import modes, no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import GradientError, OpDefinitionError
from staticgrad.ops.cotangent import ZERO, resolve


class Context:
    """What ``forward`` leaves for ``backward``; other attributes may be set at will.

    Attributes:
        saved_tensors: what ``forward`` saved, while ``backward`` runs.
        needs_input_grad: for each argument of ``forward``, whether its cotangent is wanted.
    """

    saved_tensors: tuple[Any, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep operands, results, or other tensors, until the tape is released."""
        self.saved_tensors = tensors


class Function:
    """Subclass with static methods ``forward`` and ``backward``; call ``apply``.

    ``forward(ctx, *args)`` gets the arguments as they are and gives a tensor or array, or a tuple
    of them; nothing inside is recorded. ``backward(ctx, *cts)`` gets a tensor per result and gives
    one cotangent (tensor, array, or None) per argument of ``forward``.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """The results."""
        raise OpDefinitionError("a Function without a static method 'forward'")

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        """The cotangents of the arguments, given those of the results."""
        raise GradientError("a Function without a static method 'backward' has no derivative")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """The results of ``forward``, recorded if an argument needs a gradient."""
        ctx = Context()
        ctx.needs_input_grad = tuple([isinstance(a, Tensor) and a.requires_grad for a in args])
        with no_grad():
            given = cls.forward(ctx, *args)
        several = isinstance(given, tuple)
        results = given if several else (given,)
        outs = tuple([Tensor.of(Tensor.lift(result).array) for result in results])
        if modes.recording and any(ctx.needs_input_grad):
            node: type[FunctionNode] = tape.named_node(FunctionNode, cls.__name__)
            made_by = node(cls, ctx, args, results, outs)
            for out in outs:
                out.recorded_by(made_by)
        return outs if several else outs[0]


class FunctionNode(tape.Node):
    """One call of a Function. A saved result is kept as its number: the result holds this node."""

    __slots__ = ("ctx", "function", "saved", "slots")

    def __init__(
        self,
        function: type[Function],
        ctx: Context,
        args: Sequence[Any],
        results: Sequence[Any],
        outs: tuple[Tensor, ...],
    ) -> None:
        self.function, self.ctx = function, ctx
        numbers = {id(result): number for number, result in enumerate(results)}
        operands = {id(arg) for arg in args}
        saved = ctx.__dict__.pop("saved_tensors", ())
        self.saved = [t if id(t) in operands else numbers.get(id(t), t) for t in saved]
        self.slots = [isinstance(arg, Tensor) for arg in args]
        super().__init__(tuple([arg for arg in args if isinstance(arg, Tensor)]), outs)

    def shares(
        self, cts: Sequence[Any], outs: Sequence[Any], wanted: tuple[bool, ...]
    ) -> Sequence[Any]:
        """What ``backward`` gives for the operands that are tensors."""
        ctx = self.ctx
        ctx.saved_tensors = tuple([outs[t] if isinstance(t, int) else t for t in self.saved])
        try:
            found = self.function.backward(ctx, *completed(cts, outs))
        finally:
            del ctx.saved_tensors
        shares = found if isinstance(found, tuple) else (found,)
        if len(shares) != len(self.slots):
            raise OpDefinitionError(
                f"{self.name}: backward gives {len(shares)} cotangents"
                f" for {len(self.slots)} arguments of forward"
            )
        given = [share for share, slot in zip(shares, self.slots, strict=True) if slot]
        return [
            None if share is None else Tensor.lift(share, arg.dtype)
            for share, arg in zip(given, self.saved_tensors, strict=True)
        ]

    def release(self) -> None:
        """Let go of operands and of what was saved."""
        super().release()
        self.saved, self.ctx = [], Context()


def completed(cts: Sequence[Any], outs: Sequence[Tensor]) -> list[Any]:
    """A plain cotangent for every result: zeros for those that are not used."""
    pairs = zip(cts, outs, strict=True)
    return [resolve(out.fitting(ZERO, "") if ct is None else ct) for ct, out in pairs]
