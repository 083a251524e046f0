"""Complex tensors: pairs of tensors, which compute at once and record both parts on the tape."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from staticgrad.eager.tensor import Tensor, WithArray, refuse_to_lose_gradient
from staticgrad.errors.tracebacks import boundary
from staticgrad.language.ir.pairs import Complex
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import Array


class ComplexTensor(WithArray, Complex):
    """A complex tensor: two real ones; ``Tensor`` makes it of complex numbers.

    Attributes:
        data: the complex array, put together from both parts when it is asked for.
        grad: the gradient, dL/dre - i dL/dim as of ``sg.grad``, or None.

    >>> import staticgrad as sg
    >>> z = sg.eager.Tensor([1.0 + 2.0j], requires_grad=True)
    >>> abs(z).sum().backward()
    >>> z.grad
    array([0.4472136-0.8944272j], dtype=complex64)
    """

    __slots__ = ()
    kind: ClassVar[type[Value]]
    computes = True

    @classmethod
    def made_of(cls, data: Any, requires_grad: bool = False, dtype: Any = None) -> Self:
        """Return ``Tensor(data, ...)``; Python numbers become complex64, floats float32."""
        array = np.asarray(data, None if dtype is None else dtype)
        if dtype is None and not hasattr(data, "dtype"):
            array = array.astype(np.complex64)
        return cls(Tensor(array.real, requires_grad), Tensor(array.imag, requires_grad))

    @property
    def data(self) -> Array:
        array: Array = np.empty(self.shape, self.dtype.numpy)
        array.real, array.imag = self.real.data, self.imag.data
        return array

    @property
    def grad(self) -> Array | None:
        """Return the conjugated gradient of a complex tensor, from its two parts; or None."""
        parts = [None if part is None else part.grad for part in (self.re, self.im)]
        if all(part is None for part in parts):
            return None
        gradient = np.zeros(self.shape, self.dtype.numpy)
        if parts[0] is not None:
            gradient.real = parts[0]
        if parts[1] is not None:
            gradient.imag = -parts[1]
        return gradient

    @property
    def requires_grad(self) -> bool:
        return any(part is not None and part.requires_grad for part in (self.re, self.im))

    @property
    def grad_fn(self) -> Any:
        parts = (self.re, self.im)
        return next((p.grad_fn for p in parts if p is not None and p.grad_fn is not None), None)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        for part in (self.re, self.im):
            if part is not None:
                part.zero_grad()

    @boundary
    def detach(self) -> Self:
        """A tensor of the same numbers that needs no gradient."""
        parts = [None if part is None else part.detach() for part in (self.re, self.im)]
        return type(self)(*parts)

    @boundary
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return the elements as an array of NumPy; see ``Tensor.__array__``."""
        refuse_to_lose_gradient(self, "an array of NumPy")
        return np.array(self.data, dtype, copy=copy)

    def __repr__(self) -> str:
        text = np.array2string(self.data, prefix="Tensor(", separator=", ")
        return f"Tensor({text}{', requires_grad=True' if self.requires_grad else ''})"


ComplexTensor.kind = ComplexTensor.complex_kind = ComplexTensor
ComplexTensor.part_kind = Tensor
Tensor.complex_kind = ComplexTensor
