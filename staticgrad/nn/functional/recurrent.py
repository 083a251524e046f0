"""Recurrent layers: cells, and cells run along time by ``scan``, stacked and in both directions.

Gates stand side by side in one matrix, in PyTorch's order: of an LSTM input, forget, cell, output
(S. Hochreiter and J. Schmidhuber 1997, with the forget gate of F. Gers 2000), of a GRU reset,
update, new (K. Cho 2014, with the reset gate behind the product, as in cuDNN). Weights act from the
right: ``w`` is [features, gates * hidden], ``u`` [hidden, gates * hidden]. Time is the first axis
of a sequence, so that an iteration reads rows as they lie. What inputs contribute to the gates is
one product over all times, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.extend import (
    as_value,
    called_name,
    check_vector,
    describe_operands,
    kind_of,
    like,
    rounded_once,
)
from staticgrad.extend.functions import arange, zeros
from staticgrad.extend.loops import scan
from staticgrad.extend.ops import (
    concatenate,
    matmul,
    reshape,
    sigmoid,
    tanh,
    where,
)
from staticgrad.extend.trees import map_leaves
from staticgrad.functions.arrange import split

#: From the inputs' part of the gates, the state and u to the next state; the first part of a state
#: is what the layer gives.
Step = Callable[[Any, Any, Any], Any]


@rounded_once
def rnn_cell(x: Any, h: Any, w: Any, u: Any, b: Any = 0.0) -> Any:
    """``tanh(x @ w + h @ u + b)``: the next state, of inputs of one time.

    Shapes: x [batch, features], h [batch, hidden], w [features, hidden], u [hidden, hidden],
    b [hidden].

    >>> x, h, w, u = np.ones((1, 2)), np.zeros((1, 3)), np.ones((2, 3)), np.ones((3, 3))
    >>> sg.nn.rnn_cell(x, h, w, u).round(3)
    array([[0.964, 0.964, 0.964]])
    """
    return _rnn_step(matmul(x, w) + b, h, u)


@rounded_once
def lstm_cell(x: Any, state: tuple[Any, Any], w: Any, u: Any, b: Any = 0.0) -> tuple[Any, Any]:
    """The next state (h, c) of an LSTM; gates: input, forget, cell, output.

    Shapes: x [batch, features], h and c [batch, hidden]; with the gates side by side
    w [features, 4 * hidden], u [hidden, 4 * hidden], b [4 * hidden].

    >>> x, h, c = np.ones((1, 2)), np.zeros((1, 3)), np.zeros((1, 3))
    >>> h, c = sg.nn.lstm_cell(x, (h, c), np.ones((2, 12)), np.ones((3, 12)))
    >>> h.round(3), c.round(3)
    (array([[0.608, 0.608, 0.608]]), array([[0.849, 0.849, 0.849]]))
    """
    return _lstm_step(matmul(x, w) + b, _check_lstm_state(state), u)


@rounded_once
def gru_cell(x: Any, h: Any, w: Any, u: Any, b: Any = 0.0, b_new: Any = 0.0) -> Any:
    """The next state of a GRU; gates: reset, update, new.

    Shapes: x [batch, features], h [batch, hidden]; with the gates side by side
    w [features, 3 * hidden], u [hidden, 3 * hidden], b [3 * hidden]. ``b_new`` is added to the
    state's part of the new gate, before the reset gate multiplies it.

    >>> x, h, w, u = np.ones((1, 2)), np.zeros((1, 3)), np.ones((2, 9)), np.ones((3, 9))
    >>> sg.nn.gru_cell(x, h, w, u).round(3)
    array([[0.115, 0.115, 0.115]])
    """
    return _gru_step(matmul(x, w) + b, h, u, b_new)


@rounded_once
def _rnn_step(gates: Any, h: Any, u: Any) -> Any:
    return tanh(gates + matmul(h, u))


@rounded_once
def _lstm_step(gates: Any, state: tuple[Any, Any], u: Any) -> tuple[Any, Any]:
    h, c = state
    i, f, g, o = split(gates + matmul(h, u), 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@rounded_once
def _gru_step(gates: Any, h: Any, u: Any, b_new: Any = 0.0) -> Any:
    r, z, n = split(gates, 3, -1)
    hr, hz, hn = split(matmul(h, u), 3, -1)
    z = sigmoid(z + hz)
    n = tanh(n + sigmoid(r + hr) * (hn + b_new))
    return n + z * (h - n)


def rnn(
    x: Any, w: Any, u: Any, b: Any = 0.0, state: Any = None, *, lengths: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """An RNN along time.

    Args:
        x: sequences [time, batch, features]; time may be a named size.
        w, u, b: weights [features, hidden] and [hidden, hidden], bias [hidden].
        state: the first state [batch, hidden]; zeros by default.
        lengths: how many times of each sequence count, integers [batch]: behind its end a sequence
            keeps its state, and outputs are 0.
        reverse: from the last time to the first.

    Returns:
        The outputs [time, batch, hidden], and the last state.

    >>> outputs, last = sg.nn.rnn(np.ones((3, 1, 2)), np.ones((2, 1)), np.ones((1, 1)))
    >>> sg.evaluate(outputs).round(4).ravel()
    array([0.964 , 0.9947, 0.995 ])
    """
    return _run_layer(_rnn_step, 1, x, w, u, b, state, lengths, reverse)


@like(rnn)
def lstm(
    x: Any, w: Any, u: Any, b: Any = 0.0, state: Any = None, *, lengths: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """An LSTM along time: as ``rnn``, with a state of two parts.

    Args:
        w, u, b: weights [features, 4 * hidden] and [hidden, 4 * hidden], bias [4 * hidden]; gates:
            input, forget, cell, output.
        state: the first pair (h, c), each [batch, hidden]; zeros by default.

    Returns:
        The outputs [time, batch, hidden], and the last pair (h, c).

    >>> outputs, (h, c) = sg.nn.lstm(np.ones((3, 1, 2)), np.ones((2, 4)), np.ones((1, 4)))
    >>> sg.evaluate(outputs).round(4).ravel()
    array([0.6083, 0.8726, 0.9353])
    """
    return _run_layer(_lstm_step, 4, x, w, u, b, state, lengths, reverse)


@like(rnn)
def gru(
    x: Any, w: Any, u: Any, b: Any = 0.0, state: Any = None, *, b_new: Any = 0.0,
    lengths: Any = None, reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """A GRU along time: as ``rnn``.

    Args:
        w, u, b: weights [features, 3 * hidden] and [hidden, 3 * hidden], bias [3 * hidden]; gates:
            reset, update, new.
        b_new: added to the state's part of the new gate, before the reset gate multiplies it.

    >>> outputs, last = sg.nn.gru(np.ones((3, 1, 2)), np.ones((2, 3)), np.ones((1, 3)))
    >>> sg.evaluate(outputs).round(4).ravel()
    array([0.1149, 0.207 , 0.2832])
    """

    def step(gates: Any, h: Any, u: Any) -> Any:
        return _gru_step(gates, h, u, b_new)

    return _run_layer(step, 3, x, w, u, b, state, lengths, reverse)


def bidirectional(
    layer: Callable[..., tuple[Any, Any]], x: Any, ahead: Sequence[Any], back: Sequence[Any],
    **options: Any,
) -> tuple[Any, tuple[Any, Any]]:  # fmt: skip
    """Run a layer along time, and one with other weights from the end to the beginning.

    ``layer`` is ``rnn``, ``lstm`` or ``gru``, ``ahead`` and ``back`` are the weights of each
    direction, ``(w, u, b)``. With ``lengths=`` the second one begins where a sequence ends.
    """
    forward, first = layer(x, *ahead, **options)
    backward, second = layer(x, *back, reverse=True, **options)
    return concatenate([forward, backward], -1), (first, second)


def stacked(
    layer: Callable[..., tuple[Any, Any]], x: Any, weights: Sequence[Sequence[Any]], **options: Any
) -> tuple[Any, list[Any]]:
    """Layers one upon another: each takes the outputs of the one below it.

    ``layer`` is ``rnn``, ``lstm`` or ``gru``, or what takes and gives the same; ``weights`` are
    those of each layer, ``(w, u, b)``; ``options`` are those of all of them.
    """
    states = []
    for layer_weights in weights:
        x, state = layer(x, *layer_weights, **options)
        states.append(state)
    return x, states


def _run_layer(
    step: Step, gates: int, x: Any, w: Any, u: Any, b: Any, state: Any, lengths: Any,
    reverse: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """Run one recurrent layer (RNN, GRU, LSTM) along time by ``scan``."""
    x, u = as_value(x), as_value(u)
    if x.ndim != 3:
        raise RankError(f"{called_name()}: x is {x.type}, not [time, batch, features]")
    ends = None if lengths is None else _check_lengths(lengths, x)
    hidden = u.shape[0] if u.ndim == 2 else None
    if hidden is None or u.shape[1] != gates * hidden:
        raise ShapeError(f"{called_name()}: u is {u.type}, not [hidden, {gates} * hidden]")
    if state is None:
        first = zeros((x.shape[1], hidden), dtype=x.dtype, like=x)
        state = (first, first) if gates == 4 else first
    elif gates == 4:
        state = _check_lstm_state(state)
    parts = _project_inputs(x, w, b)
    numbers = arange(x.shape[0], like=x)

    def iteration(carry: Any, inputs: Any) -> tuple[Any, Any]:
        """Apply the recurrent cell to one time step; ended sequences keep their state."""
        part, time = inputs
        next_carry = step(part, carry, u)
        if ends is None:
            return next_carry, next_carry[0] if gates == 4 else next_carry
        runs = (time < ends)[:, None]
        masked_carry = map_leaves(lambda new, old: where(runs, new, old), next_carry, carry)
        output = masked_carry[0] if gates == 4 else masked_carry
        return masked_carry, where(runs, output, 0.0)

    last, outputs = scan(iteration, state, (parts, numbers), reverse=reverse)
    return outputs, last


@rounded_once
def _project_inputs(x: Any, w: Any, b: Any) -> Any:
    """The inputs' part of the gates, for all times at once."""
    time, batch, features = x.shape
    rows = matmul(reshape(x, (time * batch, features)), w)
    biased = rows + b if getattr(b, "ndim", 0) < 2 else rows
    parts = reshape(biased, (time, batch, biased.shape[-1]))
    return parts if biased is not rows else parts + b


def _check_lstm_state(state: Any) -> tuple[Any, Any]:
    """Check an LSTM's state, a pair (h, c)."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise ArgumentError(
            f"{called_name()}: the state is {kind_of(state)}, not a pair (h, c)",
            hint="as the layer gives it back; None means zeros",
        )
    return state[0], state[1]


def _check_lengths(lengths: Any, x: Any) -> Any:
    """Check the lengths of a recurrent layer's sequences."""
    ends = as_value(lengths)
    if not ends.dtype.is_integer:
        raise DTypeError(
            f"{called_name()}: lengths are integers, not {ends.type}",
            related=describe_operands(ends),
        )
    if ends.shape != (x.shape[1],):
        of = f"sequences {x.type}, [time, batch, features]"
        text = f"{called_name()}: lengths {ends.type} for {of}"
        hint = "one for each sequence; a layer whose batch comes first has batch_first=True"
        check_vector(text, ends, x.shape[1], x, hint=hint)
    return ends
