"""Tensor: an array that remembers how it was made, so that it can be differentiated.

The define-by-run twin of symbolic values: an op bound to tensors runs at once (``Op.eager``, by
default its NumPy reference) and, if an operand needs a gradient, leaves a node on the tape. The
classes of ops and their rules are those of the compiler. The walk back is in ``tape.py``.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar, Final, Self

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.arraylike import ArrayLike, owned
from staticgrad.eager.binding import application, silent, type_of
from staticgrad.eager.hooks import Handle, Hook
from staticgrad.eager.modes import modes, no_grad
from staticgrad.errors import DTypeError, GradientError, OpDefinitionError, ShapeError, TapeError
from staticgrad.ir.dtype import F32, DType, as_dtype
from staticgrad.ir.op import Array, Op, as_array
from staticgrad.ir.types import TensorType
from staticgrad.ir.value import FUNCTIONS, Value

_array: Final = attrgetter("array")


class Tensor(ArrayLike):
    """An array, and where it came from.

    Attributes:
        data: the array. Assigning it, or writing into it, is not recorded.
        grad: the gradient, an array like ``data``; None before a backward pass.
        requires_grad: whether operations on it are recorded; so for the results of such.
        grad_fn: the recorded operation that made it, or None.
    """

    __slots__ = ("__weakref__", "grad", "grad_fn", "hooks", "requires_grad", "type")

    kind: ClassVar[type[Value]]
    type: TensorType
    grad: Array | None
    grad_fn: tape.Node | None
    hooks: dict[object, Hook] | None
    requires_grad: bool

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        """A tensor of a copy of ``data``: float32, unless ``dtype`` says otherwise.

        Raises:
            DTypeError: an element type that there is none of.
            GradientError: ``requires_grad`` of integers or bools.
        """
        source = as_array(data)
        try:
            wanted = F32 if dtype is None else as_dtype(dtype)
            as_dtype(source.dtype)
        except TypeError as error:
            raise DTypeError(f"Tensor: {error}") from None
        if requires_grad and not wanted.is_float:
            raise GradientError(f"a tensor of {wanted.numpy} carries no gradient")
        with np.errstate(all="ignore"):
            self.data = np.array(source, wanted.numpy, order="C")
        self.grad, self.grad_fn, self.hooks, self.requires_grad = None, None, None, requires_grad

    @staticmethod
    def of(array: Array) -> Tensor:
        """A tensor of this array itself, no copy, that needs no gradient."""
        return _made(array, type_of(array))

    @property
    def data(self) -> Array:
        return self.array

    @data.setter
    def data(self, array: Any) -> None:
        self.array = np.asarray(array)
        self.type = type_of(self.array)

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """Run ``op``; its result, or a tuple of them, recorded if an operand needs a gradient."""
        applied = application(op, args)
        found = silent.context.run(applied.run, op, *map(_array, args))
        if applied.several:
            outs = tuple(map(_made, found, applied.outs))
        else:
            outs = (_made(found, applied.outs[0]),)
        if applied.node is not None and modes.recording:
            for arg in args:
                if arg.requires_grad:
                    node = applied.node(op, args, outs)
                    for out in outs:
                        out.recorded_by(node)
                    break
        return outs if applied.several else outs[0]

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """A tensor of a copy of ``data`` that needs no gradient; a tensor itself."""
        if isinstance(data, Tensor):
            return data  # type: ignore[return-value]
        source = data if like is not None else as_array(data)
        return Tensor.of(np.array(source, None if like is None else like.numpy))  # type: ignore[return-value]

    def detach(self) -> Tensor:
        """A tensor of the same array that needs no gradient."""
        return Tensor.of(self.data)

    def __repr__(self) -> str:
        text = np.array2string(self.data, prefix="Tensor(", separator=", ")
        made_by = f", grad_fn=<{type(self.grad_fn).__name__}>"
        needs = made_by if self.grad_fn else ", requires_grad=True"
        return f"Tensor({text}{needs if self.requires_grad else ''})"

    # -- gradients --------------------------------------------------------------------------------

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``grad`` of everything that it was made of.

        Args:
            gradient: the cotangent of this tensor, of its shape; by default 1, for one element.
            retain_graph: keep the tape, for another pass.

        Raises:
            GradientError (a ValueError): more than one element, and no ``gradient``.
            ShapeError (a ValueError): a ``gradient`` of another shape.
            TapeError (a RuntimeError): nothing was recorded, or the tape has been released.
        """
        seed = self.seed(gradient)
        nodes = tape.nodes_behind([self])
        with no_grad():
            found = tape.Sweep(nodes).run([(self, seed)])
        # Only here, where nothing can fail any more, does anything change.
        held = {id(arg.array) for node in nodes for arg in node.saved_tensors} | {id(seed.array)}
        with np.errstate(all="ignore"):
            for tensor, ct in found:
                own = owned(ct.array, held)
                tensor.grad = own if tensor.grad is None else tensor.grad + own
        if not retain_graph:
            for node in nodes:
                node.release()

    def seed(self, gradient: Any) -> Tensor:
        """``gradient`` as a cotangent of this tensor. Raises as ``backward``."""
        if not self.requires_grad:
            raise TapeError(
                "this tensor needs no gradient: nothing that it was made of requires one",
                hint="Tensor(..., requires_grad=True), outside of no_grad()",
            )
        if gradient is None and self.size != 1:
            raise GradientError(
                f"a tensor of shape {self.shape} has no one gradient: it needs a seed",
                hint="reduce it first, y.sum(), or pass backward(gradient)",
            )
        given = Tensor.lift(np.ones_like(self.data) if gradient is None else gradient)
        if given.shape != self.shape:
            raise ShapeError(f"a gradient of shape {given.shape}, a tensor of shape {self.shape}")
        return FUNCTIONS["astype"](given, self.dtype)  # type: ignore[no-any-return]

    def fitting(self, share: Any, rule: str) -> Any:
        """``share``, if it is a cotangent of this tensor; else OpDefinitionError: a wrong rule."""
        if isinstance(share, float):  # a rule that hands on an unused cotangent
            return Tensor.of(np.full_like(self.array, share))
        if share.type is not self.type and share.type != self.type:
            raise OpDefinitionError(f"{rule}: a cotangent {share.type} of an operand {self.type}")
        return share

    def recorded_by(self, node: tape.Node) -> Tensor:
        """This tensor, now the result of ``node``; integers and bools carry no gradient."""
        if self.type.dtype.kind == "f":
            self.requires_grad, self.grad_fn = True, node
        return self

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def register_hook(self, hook: Hook) -> Handle:
        """Call ``hook`` with the gradient in every backward pass, once all paths are added up.

        What it returns, unless None, takes the gradient's place. ``remove()`` takes the hook off.
        """
        if not self.requires_grad:
            raise GradientError("a tensor that needs no gradient never calls a hook")
        self.hooks = {} if self.hooks is None else self.hooks
        return Handle(self.hooks, hook)


Tensor.kind = Tensor


def _made(array: Any, type: TensorType) -> Tensor:
    """A tensor that needs no gradient, of an array of this type (of a NumPy scalar: 0-d)."""
    out = Tensor.__new__(Tensor)
    out.array = array if array.__class__ is np.ndarray else np.asarray(array)
    out.type = type
    out.grad = out.grad_fn = out.hooks = None
    out.requires_grad = False
    return out
