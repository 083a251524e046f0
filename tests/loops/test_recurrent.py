"""Recurrent layers beside cells written out in NumPy, sequence by sequence."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import RankError, ShapeError
from tests.nn.oracles import cell_step

T, B, F, H = 5, 3, 4, 2
LENGTHS = np.array([5, 2, 0])


CELLS = {"rnn": 1, "lstm": 4, "gru": 3}  # and their gates


def weights(gates, features=F, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((features, gates * H), (H, gates * H), (gates * H,))
    return [rng.normal(size=shape) * 0.6 for shape in shapes]


def by_hand(name, x, parameters, lengths, reverse):
    """Outputs [T, B, H]; those behind the end of a sequence are 0."""
    w, u, b = parameters
    out, zeros = np.zeros((T, B, H)), np.zeros(H)
    for row in range(B):
        state, times = (zeros, zeros), range(lengths[row])
        for t in reversed(times) if reverse else times:
            state = cell_step({"bias_new": 0.0}, name, x[t, row] @ w + b, *state, u)
            out[t, row] = state[0]
    return out


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_layers_are_their_cells_sequence_by_sequence(name, reverse):
    x, parameters = np.random.default_rng(1).normal(size=(T, B, F)), weights(CELLS[name])
    fed = sg.input("x", ("time", B, F), "float64")
    layer = getattr(sg.nn, name)
    outputs, last = layer(fed, *parameters, reverse=reverse)
    masked, held_last = layer(fed, *parameters, reverse=reverse, lengths=LENGTHS)
    end = last[0] if name == "lstm" else last
    held_end = held_last[0] if name == "lstm" else held_last
    actual = sg.evaluate([outputs, masked, end, held_end], {"x": x})
    full = by_hand(name, x, parameters, np.full(B, T), reverse)
    part = by_hand(name, x, parameters, LENGTHS, reverse)
    np.testing.assert_allclose(actual[0], full, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(actual[1], part, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(actual[2], full[0 if reverse else -1], rtol=1e-12, atol=1e-12)
    ends = [part[0 if reverse else n - 1, row] if n else 0.0 * part[0, 0]
            for row, n in enumerate(LENGTHS)]  # fmt: skip
    np.testing.assert_allclose(actual[3], ends, rtol=1e-12, atol=1e-12)


def test_a_cell_is_a_layer_of_one_time():
    x = np.random.default_rng(2).normal(size=(1, B, F))
    for name, gates in CELLS.items():
        parameters = weights(gates)
        zeros = np.zeros((B, H))
        state = (sg.constant(zeros), sg.constant(zeros)) if name == "lstm" else sg.constant(zeros)
        state_after = getattr(sg.nn, f"{name}_cell")(x[0], state, *parameters)
        output = sg.evaluate(state_after[0] if name == "lstm" else state_after)
        np.testing.assert_allclose(output, by_hand(name, np.resize(x, (T, B, F)), parameters,
                                                np.ones(B, int), False)[0], rtol=1e-12)  # fmt: skip


def test_directions_and_layers_are_put_together():
    x = np.random.default_rng(3).normal(size=(T, B, F))
    ahead, back = weights(4, seed=1), weights(4, seed=2)
    outputs, (first, second) = sg.nn.bidirectional(sg.nn.lstm, x, ahead, back, lengths=LENGTHS)
    expected = [
        by_hand("lstm", x, parameters, LENGTHS, r)
        for parameters, r in ((ahead, False), (back, True))
    ]
    np.testing.assert_allclose(sg.evaluate(outputs), np.concatenate(expected, -1), rtol=1e-12)
    assert first[0].shape == second[1].shape == (B, H)
    above = weights(3, H, seed=4)
    outputs, states = sg.nn.stacked(sg.nn.gru, x, [weights(3), above])
    below = by_hand("gru", x, weights(3), np.full(B, T), False)
    np.testing.assert_allclose(
        sg.evaluate(outputs), by_hand("gru", below, above, np.full(B, T), False), rtol=1e-12
    )
    assert len(states) == 2


@pytest.mark.slow
def test_a_compiled_layer_and_its_gradient():
    parameters = [sg.parameter(n, a) for n, a in zip("wub", weights(4), strict=True)]
    x = sg.input("x", ("time", B, F), "float64")
    outputs, _ = sg.nn.lstm(x, *parameters, lengths=LENGTHS)
    graph = sg.Graph({str(i): g for i, g in enumerate(sg.grad((outputs**2).sum(), parameters))})
    f = sg.compile(graph)
    for times in (5, 0, 2):
        feeds = {"x": np.random.default_rng(times).normal(size=(times, B, F))}
        actual, expected = f.run(feeds), sg.evaluate(graph, feeds)
        for name, array in expected.items():
            np.testing.assert_allclose(actual[name], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_layers_of_tensors_are_the_same(name):
    x, parameters = np.random.default_rng(1).normal(size=(T, B, F)), weights(CELLS[name])
    w = Tensor(parameters[0], requires_grad=True, dtype="float64")
    constants = [Tensor(array, dtype="float64") for array in parameters[1:]]
    layer, data = getattr(sg.nn, name), Tensor(x, dtype="float64")
    outputs, _ = layer(data, w, *constants, lengths=Tensor(LENGTHS, dtype="int64"))
    np.testing.assert_allclose(
        outputs.data, by_hand(name, x, parameters, LENGTHS, False), rtol=1e-12
    )
    outputs.sum().backward()
    fed = sg.input("w", w.shape, "float64")
    slope = sg.grad(layer(x, fed, *parameters[1:], lengths=LENGTHS)[0].sum(), fed)
    np.testing.assert_allclose(
        w.grad, sg.evaluate(slope, {"w": parameters[0]}), rtol=1e-9, atol=1e-12
    )


def test_what_does_not_fit_is_refused():
    w, u, b = weights(4)
    with pytest.raises(RankError, match="not \\[time, batch, features\\]"):
        sg.nn.lstm(np.zeros((B, F)), w, u, b)
    with pytest.raises(ShapeError, match="not \\[hidden, 3 \\* hidden\\]"):
        sg.nn.gru(np.zeros((T, B, F)), w, u, b)
