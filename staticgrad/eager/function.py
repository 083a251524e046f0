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
from staticgrad.eager.tape import no_grad, recording
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import GradientError, OpDefinitionError
from staticgrad.errors.tracebacks import boundary
from staticgrad.language.ops.cotangent import ZERO, resolve
from staticgrad.language.ops.elementwise import real_dtype
from staticgrad.language.types.arrays import TensorType


class Context:
    """Data passed from ``forward`` to ``backward``; other attributes may be set freely.

    Attributes:
        saved_tensors: the tensors that ``forward`` saved, while ``backward`` runs.
        needs_input_grad: for each argument of ``forward``, whether its cotangent is needed.
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

    >>> from staticgrad.eager import Function, Tensor
    >>> class Twice(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x * 2.0
    ...     @staticmethod
    ...     def backward(ctx, ct):
    ...         return ct * 2.0
    >>> x = Tensor([1.0, 3.0], requires_grad=True)
    >>> Twice.apply(x).sum().backward()
    >>> x.grad
    array([2., 2.], dtype=float32)
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
    @boundary
    def apply(cls, *args: Any) -> Any:
        """The results of ``forward``, recorded if an argument needs a gradient."""
        ctx = Context()
        ctx.needs_input_grad = tuple([isinstance(a, Tensor) and a.requires_grad for a in args])
        with no_grad():
            output = cls.forward(ctx, *args)
        is_tuple = isinstance(output, tuple)
        results = output if is_tuple else (output,)
        for result in results:
            real_dtype(f"{cls.__name__}: forward", result)
        outs = tuple([Tensor.of(Tensor.lift(result).array) for result in results])
        if recording.innermost() and any(ctx.needs_input_grad):
            node: type[FunctionNode] = tape.named_node(FunctionNode, cls.__name__)
            node(cls, ctx, args, results, outs)
        return outs if is_tuple else outs[0]


class FunctionNode(tape.TapeNode):
    """One call of a Function. A saved result is kept as its number: the result holds this node."""

    __slots__ = ("ctx", "function", "saved_or_results", "slots", "types")

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
        argument_ids = {id(arg) for arg in args}
        saved = ctx.__dict__.pop("saved_tensors", ())
        places = [None if id(t) in argument_ids else numbers.get(id(t)) for t in saved]
        self.saved_or_results: list[Any] = [
            t if place is None else (place, outs[place].array)
            for place, t in zip(places, saved, strict=True)
        ]
        self.slots = [isinstance(arg, Tensor) for arg in args]
        self.types = [out.type for out in outs]
        operands = [arg for arg in args if isinstance(arg, Tensor)]
        super().__init__(tuple([arg.edge for arg in operands]), outs, operands)

    def read_saved(self) -> tuple[Tensor, ...]:
        """Return the saved tensors; a result is created again because it refers to this node."""
        return tuple(
            [self.result(*t) if isinstance(t, tuple) else t for t in self.saved_or_results]
        )

    def settle(self) -> None:
        for stored in self.saved_or_results:
            if isinstance(stored, Tensor):
                stored.settle()

    def shares(self, cts: Sequence[Any], needed: tuple[bool, ...]) -> Sequence[Any]:
        """Call the user's ``backward`` of a tape function, and check and convert its cotangents."""
        ctx = self.ctx
        ctx.saved_tensors = saved = self.read_saved()
        try:
            gradients = self.function.backward(ctx, *fill_cotangents(cts, self.types))
        finally:
            del ctx.saved_tensors
        shares = gradients if isinstance(gradients, tuple) else (gradients,)
        if len(shares) != len(self.slots):
            raise OpDefinitionError(
                f"{self.name}: backward gives {len(shares)} cotangents"
                f" for {len(self.slots)} arguments of forward"
            )
        tensor_shares = [share for share, slot in zip(shares, self.slots, strict=True) if slot]
        for share in tensor_shares:
            if share is not None:
                real_dtype(f"{self.name}: backward", share)
        lifted = [
            None if share is None or edge is None else Tensor.lift(share, edge.type.dtype)
            for share, edge in zip(tensor_shares, self.operands, strict=True)
        ]
        return lifted if recording.innermost() else tape.apart(lifted, Tensor, saved)

    def release(self) -> None:
        super().release()
        self.saved_or_results, self.ctx = [], Context()


def fill_cotangents(cts: Sequence[Any], types: Sequence[TensorType]) -> list[Any]:
    """Return a plain cotangent for every result: zeros for unused results."""
    pairs = zip(cts, types, strict=True)
    return [resolve(Tensor.fitting(type, ZERO, "") if ct is None else ct) for ct, type in pairs]
