"""Powers of integers, compiled: a kernel squares as long as some exponent has bits left."""

import numpy as np
import pytest

import staticgrad as sg

INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]


def exact(x, y, dtype):
    """x ** y in Python's integers, wrapped; below 0 without its fraction."""
    bits = np.iinfo(dtype).bits
    if y < 0:
        return {1: 1, -1: -1 if y % 2 else 1}.get(x, 0)
    wrapped = pow(x, y, 2**bits)
    return wrapped - 2**bits if wrapped > np.iinfo(dtype).max else wrapped


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_lane_ends_at_its_own_exponent(dtype):
    """Exponents of no bits, of all bits, and below zero stand in one vector."""
    info = np.iinfo(dtype)
    bases = [info.min, info.max, 0, 1, 3, 7, *((-1, -2) if info.min else ())]
    exponents = [0, 1, 2, 5, info.max, info.max - 1, *((-1, info.min) if info.min else ())]
    pair = np.meshgrid(np.array(bases, dtype), np.array(exponents, dtype), indexing="ij")
    x, y = (each.ravel() for each in pair)
    base, exponent = sg.input("x", ("n",), dtype), sg.input("y", ("n",), dtype)
    found = sg.compile({"power": sg.power(base, exponent)}).run({"x": x, "y": y})["power"]
    wanted = [exact(int(a), int(b), dtype) for a, b in zip(x, y, strict=True)]
    assert found.tolist() == wanted
