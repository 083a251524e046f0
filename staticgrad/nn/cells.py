"""Recurrent cells: one step of the layers along time, for loops of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from staticgrad.families import like
from staticgrad.functions import zeros
from staticgrad.functions.recurrent import gru_cell, lstm_cell, rnn_cell
from staticgrad.ir.calls import public
from staticgrad.ir.kinds import AnyValue, Operand
from staticgrad.nn.initial import Initial, Seed, source
from staticgrad.nn.module import Module
from staticgrad.nn.naming import named
from staticgrad.nn.recurrent import give_gates
from staticgrad.ops.operands import as_value, integer


class RNNCell(Module):
    """``tanh(x @ weight + h @ recurrent + bias)``: the next state of one time.

    Args:
        input_size, hidden_size: features of inputs and of states.
        bias: whether there are biases.
        init: first values of the weights, of ``hidden_size`` inputs.
        dtype, seed: as ``Linear``.

    Raises:
        ArgumentError: as ``Linear``.

    >>> import staticgrad as sg
    >>> cell = sg.nn.RNNCell(3, 4)
    >>> cell(sg.input("x", ("batch", 3), "float32")).shape
    (batch, 4)
    """

    cell: ClassVar[Callable[..., Any]] = staticmethod(rnn_cell)
    gates: ClassVar[int] = 1
    weight: Any
    recurrent: Any
    bias: Any
    bias_new: Any

    @public
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        kind = type(self).__name__
        self.input_size = integer(kind, "input_size", input_size)
        self.hidden_size = integer(kind, "hidden_size", hidden_size)
        sizes = self.input_size, self.hidden_size
        drawn = init, dtype, source(seed)
        give_gates(self, named(kind.lower()), sizes, self.gates, bias, drawn)

    def forward(self, x: Any, state: Any = None) -> Any:
        """The next state: of inputs [batch, input_size] and a state [batch, hidden_size].

        Args:
            x: the inputs of one time.
            state: as it is given back (of an LSTM a pair); zeros by default.
        """
        x = as_value(type(self).__name__, x)
        if state is None:
            state = self._first(zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype, like=x))
        more = {} if self.bias_new is None else {"b_new": self.bias_new}
        bias = 0.0 if self.bias is None else self.bias
        return type(self).cell(x, state, self.weight, self.recurrent, bias, **more)

    if TYPE_CHECKING:

        def __call__(self, x: Operand[AnyValue], state: Any = None) -> AnyValue: ...

    def _first(self, still: Any) -> Any:
        return still


@like(RNNCell)
class GRUCell(RNNCell):
    """As ``RNNCell``, of gated units (Cho et al., arXiv 1406.1078): gates reset, update, new.

    >>> import staticgrad as sg
    >>> cell = sg.nn.GRUCell(3, 4)
    >>> cell(sg.input("x", ("batch", 3), "float32")).shape
    (batch, 4)
    """

    cell = staticmethod(gru_cell)
    gates = 3


@like(RNNCell)
class LSTMCell(RNNCell):
    """As ``RNNCell``, of long short-term memory: gates input, forget, cell, output.

    Hochreiter and Schmidhuber, 1997. States are pairs (h, c).

    >>> import staticgrad as sg
    >>> h, c = sg.nn.LSTMCell(3, 4)(sg.input("x", ("batch", 3), "float32"))
    >>> h.shape, c.shape
    ((batch, 4), (batch, 4))
    """

    cell = staticmethod(lstm_cell)
    gates = 4

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, x: Operand[AnyValue], state: Any = None
        ) -> tuple[AnyValue, AnyValue]: ...

    def _first(self, still: Any) -> Any:
        return still, still
