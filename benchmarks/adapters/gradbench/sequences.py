"""An LSTM whose matrices are diagonal, which predicts the next character of a text by its bits."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgrad as sg


def run_layer(weights: Any, biases: Any, hidden: Any, cell: Any, x: Any) -> tuple[Any, Any]:
    """The next hidden and cell state of one layer."""
    of_input, of_hidden = weights * x + biases, weights * hidden + biases
    forget, outgate = sg.nn.sigmoid(of_input[0]), sg.nn.sigmoid(of_input[2])
    ingate, change = sg.nn.sigmoid(of_hidden[1]), np.tanh(of_hidden[3])
    cell = cell * forget + ingate * change
    return outgate * np.tanh(cell), cell


def loss(parameters: Any, state: Any, sequence: Any) -> Any:
    """The mean loss over all bits of the characters behind the first one."""
    layers, bits = parameters["main"].shape[0] // 2, sequence.shape[1]
    weights = parameters["main"].reshape(layers, 2, 4, bits)
    extra = parameters["extra"]

    def step(states: Any, characters: Any) -> tuple[Any, Any]:
        x, following = characters[0] * extra[0], []
        for layer in range(layers):
            hidden, cell = states[layer]
            x, cell = run_layer(weights[layer, 0], weights[layer, 1], hidden, cell, x)
            following.append((x, cell))
        predicted = x * extra[1] + extra[2]
        scores = predicted - np.log(np.exp(predicted).sum() + 2.0)
        return following, (characters[1] * scores).sum()

    states = [(state[2 * layer], state[2 * layer + 1]) for layer in range(layers)]
    _, gains = sg.scan(step, states, (sequence[:-1], sequence[1:]))
    return -gains.sum() / ((sequence.shape[0] - 1) * bits)


def gradient(parameters: Any, state: Any, sequence: Any) -> Any:
    slopes = sg.grad(loss)(parameters, state, sequence)
    return np.concatenate([slopes["main"].reshape(-1), slopes["extra"].reshape(-1)])


def read(inputs: dict[str, Any]) -> tuple[Any, ...]:
    parameters = {name: np.array(inputs[f"{name}_params"], "float64") for name in ("main", "extra")}
    return parameters, np.array(inputs["state"], "float64"), np.array(inputs["sequence"], "float64")
