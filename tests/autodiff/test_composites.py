"""Gradients of whole programs against central differences in float64, first and second order."""

import numpy as np
import pytest

import staticgrad as sg

STEP = 1e-5  # the error of a central difference is then about 1e-10, relative


def numeric_directional(loss, feeds, name, direction):
    def at(step):
        return sg.evaluate(loss, {**feeds, name: feeds[name] + step * direction})

    return (at(STEP) - at(-STEP)) / (2 * STEP)


def assert_gradients(loss, feeds, rng, order=1):
    """Compare gradients with differences along random directions, then those of a projection."""
    names = [name for name, array in feeds.items() if np.asarray(array).dtype.kind == "f"]
    graph = sg.Graph(loss)
    by_name = {value.node.op.label: value for value in graph.inputs}
    gradients = sg.grad(loss, {name: by_name[name] for name in names})
    found = sg.evaluate({"loss": loss, **gradients}, feeds)
    projections = []
    for name in names:
        direction = rng.normal(size=np.shape(feeds[name]))
        expected = numeric_directional(loss, feeds, name, direction)
        np.testing.assert_allclose(np.sum(found[name] * direction), expected, rtol=1e-6, atol=1e-8)
        projections.append((gradients[name] * direction).sum())
    if order > 1:
        total = projections[0]
        for projection in projections[1:]:
            total = total + projection
        assert_gradients(total + 0.1 * loss, feeds, rng, order - 1)


def inputs(feeds):
    return [sg.input(name, np.shape(array), "float64") for name, array in feeds.items()]


def test_a_dense_network(rng):
    feeds = {
        "x": rng.normal(size=(5, 4)),
        "w": rng.normal(size=(4, 3)),
        "b": rng.normal(size=3),
        "v": rng.normal(size=(3, 2)),
    }
    x, w, b, v = inputs(feeds)
    h = np.tanh(x @ w + b)
    assert_gradients(((h @ v) ** 2).mean() + (w * w).sum() * 0.01, feeds, rng, order=2)


def test_a_softmax_by_hand(rng):
    feeds = {"z": rng.normal(size=(4, 5)), "t": rng.uniform(0.1, 1.0, size=(4, 5))}
    z, t = inputs(feeds)
    shifted = z - z.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    assert_gradients(-(log_p * t).sum(), feeds, rng, order=2)


def test_broadcasting_every_way(rng):
    feeds = {
        "a": rng.normal(size=(2, 1, 3)),
        "b": rng.normal(size=(4, 1)),
        "c": rng.normal(size=()),
        "d": rng.uniform(1.0, 2.0, size=(2, 4, 3)),
    }
    a, b, c, d = inputs(feeds)
    assert_gradients(((a * b + c) / d - b**3 + np.sqrt(d) * c).sum(), feeds, rng, order=2)


def test_choices(rng):
    feeds = {"x": rng.normal(size=20), "y": rng.normal(size=20)}
    x, y = inputs(feeds)
    chosen = sg.where(x > y, x * y, np.maximum(x, 0.3) - np.minimum(y, 0.1) * np.abs(x))
    assert_gradients((chosen * chosen).sum(), feeds, rng, order=2)


def test_a_value_used_in_many_places(rng):
    feeds = {"x": rng.uniform(0.5, 1.5, size=6)}
    (x,) = inputs(feeds)
    h = np.exp(x)
    assert_gradients((h * x + h / x + np.log(h + x) * h).sum(), feeds, rng, order=3)


# Branches that are not taken stay out, whatever they hold


def slope(y, x):
    return sg.grad(y.sum(), x)


#: What is differentiated, where, and the slopes by hand.
MASKED = [
    (lambda x: sg.where(x > 0.0, np.sqrt(x), 0.0), [0.0, -1.0, 4.0], [0.0, 0.0, 0.25]),
    (lambda x: sg.where(x > 0.0, np.log(np.sqrt(x) * x) / x, x * 2.0), [0, -2, 1], [2, 2, 1.5]),
    (lambda x: sg.where(x != 0.0, np.sin(x) / x + 1.0 / x, 1.0),  # a sum of cotangents
     [0.0, 1.0], [0.0, np.cos(1.0) - np.sin(1.0) - 1.0]),
    (lambda x: sg.where(x > 0.0, x * np.log(x), 0.0), [0.0, 2.0], [0.0, np.log(2.0) + 1.0]),
    (lambda x: slope(sg.where(x > 0.0, x * np.log(x), 0.0), x), [0.0, 2.0], [0.0, 0.5]),
]  # fmt: skip


@pytest.mark.parametrize(("f", "at", "wanted"), MASKED)
def test_slopes_behind_a_mask(f, at, wanted):
    x = sg.input("x", (len(at),), "float64")
    found = sg.evaluate(slope(f(x), x), {"x": at})
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_masks_do_not_depend_on_which_gradients_are_asked():
    x = sg.input("x", (2,), "float64")
    root = np.sqrt(x)
    y = sg.where(x > 0.0, root * 3.0, 0.0).sum()
    feeds = {"x": [0.0, 4.0]}
    alone = sg.grad(y, x)
    by_root, by_x = sg.grad(y, [root, x])
    found = sg.evaluate([alone, by_x, by_root], feeds)
    assert [f.tolist() for f in found] == [[0.0, 0.75], [0.0, 0.75], [0.0, 3.0]]
