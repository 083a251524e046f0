"""Recurrent layers, and cells: one step of a layer, for hand-written loops.

Sequences are [time, batch, features], unless the batch comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from staticgrad.extend import AnyValue, ArrayLike, Integer, PositiveInt, as_value, like, public
from staticgrad.functions import concatenate, stack, swapaxes, zeros
from staticgrad.nn.functional.recurrent import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from staticgrad.nn.initial import Initial, Seed, first_value, source
from staticgrad.nn.layers import Dropout
from staticgrad.nn.module import Module, new_layer_name
from staticgrad.nn.torch_weights import Arrays, Matching, transpose_matrices


def give_gates(
    module: Any,
    name: str,
    sizes: tuple[int, int],
    gates: int,
    bias: bool,
    init_dtype_random: tuple[Initial, Any, Any],
) -> None:
    """Set the weights of a recurrent cell: ``weight``, ``recurrent``, ``bias`` and ``bias_new``."""
    inputs, hidden = sizes
    init, dtype, random = init_dtype_random
    fans, wide = (hidden, hidden), gates * hidden
    shapes = {"weight": (inputs, wide), "recurrent": (hidden, wide)}
    shapes |= {"bias": (wide,)} if bias else {}  # type: ignore[dict-item]
    shapes |= {"bias_new": (hidden,)} if bias and gates == 3 else {}  # type: ignore[dict-item]
    module.bias = module.bias_new = None
    for attribute, shape in shapes.items():
        how = "uniform" if attribute.startswith("bias") else init
        weight = first_value(f"{name}.{attribute}", shape, how, fans, random, dtype)
        setattr(module, attribute, weight)


def _torch_gates(cell: Any, suffix: str = "") -> Iterator[Matching]:
    """Yield the layout of a recurrent cell's weights in PyTorch, under names with this suffix."""
    weights = (f"weight_ih{suffix}", f"weight_hh{suffix}")
    yield Matching((cell.weight, cell.recurrent), weights, transpose_matrices, transpose_matrices)
    biases = (f"bias_ih{suffix}", f"bias_hh{suffix}")
    if cell.bias_new is not None:
        yield Matching((cell.bias, cell.bias_new), biases, _read_gru_biases, _write_gru_biases)
    elif cell.bias is not None:
        zero = lambda arrays: (arrays[0], np.zeros_like(arrays[0]))  # noqa: E731
        yield Matching((cell.bias,), biases, lambda arrays: (arrays[0] + arrays[1],), zero)


def _read_gru_biases(arrays: Arrays) -> Arrays:
    inputs, states = arrays
    new = 2 * len(inputs) // 3  # where the new gate begins
    return np.concatenate([inputs[:new] + states[:new], inputs[new:]]), states[new:]


def _write_gru_biases(arrays: Arrays) -> Arrays:
    bias, new = arrays
    return bias, np.concatenate([np.zeros(2 * len(new), new.dtype), new])


class Direction(Module):
    """Weights of one layer in one direction: ``weight`` of its inputs, ``recurrent`` of states.

    ``bias`` is added to all gates, ``bias_new`` to the recurrent term of a GRU's candidate.
    """

    def __init__(
        self, sizes: tuple[int, int], gates: int, bias: bool, init: Initial, dtype: Any, random: Any
    ) -> None:
        give_gates(self, new_layer_name("recurrent"), sizes, gates, bias, (init, dtype, random))

    weight: Any
    recurrent: Any
    bias: Any
    bias_new: Any

    def forward(self, layer: Callable[..., Any], x: Any, state: Any, **options: Any) -> Any:
        """The outputs and the last state of a layer along time."""
        if self.bias_new is not None:
            options["b_new"] = self.bias_new
        bias = 0.0 if self.bias is None else self.bias
        return layer(x, self.weight, self.recurrent, bias, state, **options)


class RNN(Module):
    """Layers of ``tanh(x @ weight + h @ recurrent + bias)`` along time, one upon another.

    Args:
        input_size, hidden_size: features of inputs and of states.
        num_layers: how many; each takes the outputs of the one below.
        bias: whether there are biases.
        batch_first: sequences are [batch, time, features].
        dropout: the share of outputs that a layer does not hand on, in training.
        bidirectional: each layer goes both ways, and gives both outputs side by side.
        init: first values of the weights, of ``hidden_size`` inputs.
        dtype, seed: as ``Linear``.

    >>> layer = sg.nn.RNN(3, 4)
    >>> out, last = layer(sg.input("x", (5, "batch", 3), "float32"))
    >>> out.shape, last.shape
    ((5, batch, 4), (1, batch, 4))
    """

    layer: ClassVar[Callable[..., Any]] = staticmethod(rnn)
    gates: ClassVar[int] = 1

    @public
    def __init__(
        self,
        input_size: Integer,
        hidden_size: Integer,
        num_layers: PositiveInt = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.num_layers, self.input_size, self.hidden_size = num_layers, input_size, hidden_size
        self.batch_first, self.bidirectional = batch_first, bidirectional
        random, ways = source(seed), 1 + bidirectional
        sizes = [
            (input_size if k < ways else ways * hidden_size) for k in range(self.num_layers * ways)
        ]
        self.directions = [
            Direction((size, hidden_size), self.gates, bias, init, dtype, random) for size in sizes
        ]
        self.dropout = Dropout(dropout) if dropout else None

    def forward(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[Any, Any]:
        """Run the recurrent layers over a sequence; return outputs and last states.

        Args:
            x: [time, batch, input_size]; [batch, time, input_size] where the batch comes first.
            state: the first states, as they are given back (of an LSTM a pair); zeros by default.
            lengths: how many times of each sequence count, integers [batch].
        """
        out = swapaxes(x, 0, 1) if self.batch_first else x
        ways, lasts = 1 + self.bidirectional, []
        for k in range(0, len(self.directions), ways):
            outputs = []
            for way in range(ways):
                first = None if state is None else self._of_layer(state, k + way)
                options = {"lengths": lengths, "reverse": way == 1}
                output, last = self.directions[k + way](self.layer, out, first, **options)
                outputs.append(output)
                lasts.append(last)
            out = concatenate(outputs, -1) if ways > 1 else outputs[0]
            if self.dropout is not None and k + ways < len(self.directions):
                out = self.dropout(out)
        return swapaxes(out, 0, 1) if self.batch_first else out, self._stack_states(lasts)

    if TYPE_CHECKING:

        def __call__(
            self, x: ArrayLike[AnyValue], state: Any = None, *, lengths: Any = None
        ) -> tuple[AnyValue, Any]: ...

    def _of_layer(self, state: Any, number: int) -> Any:
        return state[number]

    def _stack_states(self, lasts: list[Any]) -> Any:
        return stack(lasts, 0)

    def _torch_layouts(self) -> Iterator[Matching]:
        ways = 1 + self.bidirectional
        for number, direction in enumerate(self.directions):
            way = "_reverse" if number % ways else ""
            yield from _torch_gates(direction, f"_l{number // ways}{way}")


@like(RNN)
class GRU(RNN):
    """``RNN`` of gated units (Cho et al., arXiv 1406.1078): gates reset, update, new.

    >>> outputs, states = sg.nn.GRU(3, 4)(sg.input("x", ("time", "batch", 3), "float32"))
    >>> outputs.shape
    (time, batch, 4)
    """

    layer = staticmethod(gru)
    gates = 3

    if TYPE_CHECKING:

        def __call__(
            self, x: ArrayLike[AnyValue], state: Any = None, *, lengths: Any = None
        ) -> tuple[AnyValue, AnyValue]: ...


@like(RNN)
class LSTM(RNN):
    """``RNN`` of long short-term memory: gates input, forget, cell, output.

    Hochreiter and Schmidhuber, 1997. States are pairs (h, c).

    >>> outputs, states = sg.nn.LSTM(3, 4)(sg.input("x", ("time", "batch", 3), "float32"))
    >>> outputs.shape
    (time, batch, 4)
    """

    layer = staticmethod(lstm)
    gates = 4

    if TYPE_CHECKING:

        def __call__(
            self, x: ArrayLike[AnyValue], state: Any = None, *, lengths: Any = None
        ) -> tuple[AnyValue, tuple[AnyValue, AnyValue]]: ...

    def _of_layer(self, state: Any, number: int) -> Any:
        return state[0][number], state[1][number]

    def _stack_states(self, lasts: list[Any]) -> Any:
        return stack([h for h, _ in lasts], 0), stack([c for _, c in lasts], 0)


@like(RNN)
class RNNCell(Module):
    """``tanh(x @ weight + h @ recurrent + bias)``: the next state of one time.

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
        input_size: Integer,
        hidden_size: Integer,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.input_size, self.hidden_size = sizes = input_size, hidden_size
        drawn = init, dtype, source(seed)
        give_gates(
            self, new_layer_name(type(self).__name__.lower()), sizes, self.gates, bias, drawn
        )

    def forward(self, x: Any, state: Any = None) -> Any:
        """Compute the next state of a recurrent cell from an input and a state.

        Args:
            x: the inputs of one time.
            state: as it is given back (of an LSTM a pair); zeros by default.
        """
        x = as_value(x)
        if state is None:
            state = self._first(zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype, like=x))
        more = {} if self.bias_new is None else {"b_new": self.bias_new}
        bias = 0.0 if self.bias is None else self.bias
        return type(self).cell(x, state, self.weight, self.recurrent, bias, **more)

    if TYPE_CHECKING:

        def __call__(self, x: ArrayLike[AnyValue], state: Any = None) -> AnyValue: ...

    def _first(self, still: Any) -> Any:
        return still

    def _torch_layouts(self) -> Iterator[Matching]:
        return _torch_gates(self)


@like(RNNCell)
class GRUCell(RNNCell):
    """``RNNCell`` of gated units (Cho et al., arXiv 1406.1078): gates reset, update, new.

    >>> cell = sg.nn.GRUCell(3, 4)
    >>> cell(sg.input("x", ("batch", 3), "float32")).shape
    (batch, 4)
    """

    cell = staticmethod(gru_cell)
    gates = 3


@like(RNNCell)
class LSTMCell(RNNCell):
    """``RNNCell`` of long short-term memory: gates input, forget, cell, output.

    Hochreiter and Schmidhuber, 1997. States are pairs (h, c).

    >>> cell = sg.nn.LSTMCell(3, 4)
    >>> h, c = cell(sg.input("x", ("batch", 3), "float32"))
    >>> h.shape, c.shape
    ((batch, 4), (batch, 4))
    """

    cell = staticmethod(lstm_cell)
    gates = 4

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, x: ArrayLike[AnyValue], state: Any = None
        ) -> tuple[AnyValue, AnyValue]: ...

    def _first(self, still: Any) -> Any:
        return still, still
