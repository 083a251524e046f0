"""Bytes that a plan stores from forward to backward, counted by hand."""

import re

import numpy as np
import pytest

import staticgrad as sg

N, STEPS = 1000, 7
STACK = N * STEPS * 8  # bytes of the carry of each iteration


def stored_bytes(outputs, **options):
    text = sg.compile(outputs, threads=1, **options).explain()
    return int(re.search(r"stored from forward to backward: (\d+) bytes", text)[1])


def step(carry):
    return sg.sin(carry) * 1.01


def scan(x):
    return sg.scan(lambda c, _: (step(c), None), x, sg.arange(float(STEPS)))[0]


def reversed_scan(x):
    return sg.scan(lambda c, _: (step(c), None), x, sg.arange(float(STEPS)), reverse=True)[0]


def fori(x):
    return sg.fori_loop(0, STEPS, lambda _, c: step(c), x)


@pytest.mark.parametrize("loop", [scan, reversed_scan, fori])
def test_a_loop_stores_the_carry_of_each_iteration(loop):
    x = sg.input("x", (N,), "float64")
    loss = loop(x).sum()
    grad = sg.grad(loss, x)
    assert stored_bytes({"grad": grad}) == STACK
    assert stored_bytes({"loss": loss, "grad": grad}) == STACK


def test_a_while_loop_also_stores_the_number_of_each_iteration():
    x = sg.input("x", (N,), "float64")
    start = (sg.constant(0), x)
    loss = sg.while_loop(
        lambda s: s[0] < 5, lambda s: (s[0] + 1, step(s[1])), start, max_steps=STEPS
    )[1].sum()
    for outputs in ({"grad": sg.grad(loss, x)}, {"loss": loss, "grad": sg.grad(loss, x)}):
        # and, for each iteration, whether it ran, as numbers of at most 16 bytes
        assert 0 <= stored_bytes(outputs) - STACK <= 16 * STEPS


def test_a_recurrent_net_stores_at_least_its_states():
    x, w = sg.input("x", (STEPS, 4, 8), "float64"), sg.input("w", (8, 8), "float64")
    start = np.zeros((4, 8))
    last, _ = sg.scan(lambda h, row: (sg.tanh(h @ w + row), None), start, x)
    loss = (last * last).sum()
    for outputs in ({"grad": sg.grad(loss, w)}, {"loss": loss, "grad": sg.grad(loss, w)}):
        assert STEPS * 4 * 8 * 8 <= stored_bytes(outputs) <= (2 * STEPS + 1) * 4 * 8 * 8


def test_a_loop_in_a_loop_stores_the_carry_of_each_outer_iteration():
    x = sg.input("x", (N,), "float64")
    loss = sg.scan(lambda c, _: (fori(c), None), x, sg.arange(3.0))[0].sum()
    assert stored_bytes({"grad": sg.grad(loss, x)}) >= 3 * N * 8


def test_values_of_all_orders_count():
    """The product goes to the first derivative; its slope and its value go to the second."""
    x, w = sg.input("x", (64, 32), "float64"), sg.input("w", (32, 16), "float64")
    y = sg.tanh(x @ w)
    first = sg.grad((y * y).sum(), w)
    product, gradient = 64 * 16 * 8, 32 * 16 * 8
    assert stored_bytes({"first": first}) == product
    second = sg.grad((first * first).sum(), w)
    assert stored_bytes({"second": second}) == product + product + gradient
    assert stored_bytes({"first": first, "second": second}) == product + product


def test_what_is_computed_again_is_not_stored():
    x = sg.input("x", (256, 64), "float64")
    h = x
    ws = [sg.input(f"w{i}", (64, 64), "float64") for i in range(6)]
    for w in ws:
        h = sg.tanh(h @ w)
    graph = {"grad": sg.grad((h * h).sum(), ws[0])}
    assert stored_bytes(graph) == 6 * 256 * 64 * 8
    assert stored_bytes(graph, checkpoint="recompute") < 6 * 256 * 64 * 8
