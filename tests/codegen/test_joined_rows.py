"""Products of few columns, behind which much is computed: rows are joined into whole vectors."""

import re

import numpy as np
import pytest

import staticgrad as sg

RNG = np.random.default_rng(17)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [2, 3, 4, 5, 8])
def test_bits_are_those_of_a_product_and_a_function_apart(columns, dtype):
    x = sg.input("x", (None, 8), dtype)
    w, s = sg.input("w", (8, columns), dtype), sg.input("s", (), dtype)
    b, c = (sg.input(name, (x.shape[0], columns), dtype) for name in "bc")
    row = sg.input("row", (columns,), dtype)

    def epilogue(product):
        alike = {"y": sg.tanh(product), "z": sg.tanh(product + b) * sg.exp(s) + sg.exp(b)}
        return alike | {"r": sg.tanh(product + row) * sg.exp(b)}

    fused = sg.compile(sg.Graph(epilogue(x @ w)), threads=2)
    product, epilogue_alone = sg.compile(x @ w), sg.compile(sg.Graph(epilogue(c)))
    for rows in (1, 4, 5, 6, 7, 8, 9, 131, 1001):
        feeds = {"x": RNG.normal(size=(rows, 8)), "w": RNG.normal(size=(8, columns))}
        feeds |= {"b": RNG.normal(size=(rows, columns)), "s": np.array(0.3)}
        feeds |= {"row": RNG.normal(size=columns)}
        feeds = {name: array.astype(dtype) for name, array in feeds.items()}
        actual = fused.run(feeds)
        epilogue_feeds = {name: feeds[name] for name in ("b", "s", "row")}
        expected = epilogue_alone.run(
            epilogue_feeds | {"c": product.run({n: feeds[n] for n in "xw"})}
        )
        np.testing.assert_allclose(actual["y"], np.tanh(feeds["x"] @ feeds["w"]), rtol=0, atol=1e-6)
        for name, array in expected.items():
            np.testing.assert_array_equal(actual[name], array, err_msg=f"{name} of {rows} rows")


def test_rows_are_joined_where_nothing_moves_along_columns_alone():
    x, w, row = sg.input("x", (1000, 8)), sg.input("w", (8, 4)), sg.input("row", (4,))
    for y, joined in ((sg.tanh(x @ w), True), (sg.tanh(x @ w + row), False)):
        source = sg.compile(y).source
        assert (re.search(r"store16\(tile, n\d", source) is not None) is joined
