"""The ops of values that come from outside: inputs, parameters, constants.

They compute nothing, so they are the only ops that the graph itself knows.
"""

from __future__ import annotations

from typing import Any

from staticgrad.ir.forms import Form, Leaf
from staticgrad.ir.op import Op
from staticgrad.storage.parameter import ParameterStore
from staticgrad.types.constant import ArrayData
from staticgrad.types.tensor import TensorType


class _LeafOp(Op):
    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Leaf()


class Input(_LeafOp, name="input"):
    """A value fed at each run."""

    label: str
    type: TensorType

    def infer(self) -> TensorType:
        return self.type


class ParameterLeaf(_LeafOp, name="parameter"):
    """The current value of a parameter; compared by the identity of its store."""

    store: ParameterStore

    @property
    def label(self) -> str:
        return self.store.name

    @property
    def key(self) -> tuple[Any, ...]:
        return ("parameter", id(self.store))

    def infer(self) -> TensorType:
        return self.store.type


class Constant(_LeafOp, name="constant"):
    """Array data known at build time."""

    exact = True
    data: ArrayData

    def infer(self) -> TensorType:
        return self.data.type

    def reference(self) -> Any:
        return self.data.array
