"""Bodies as keys: equal where digests are, and digests are made of look-alikes alone."""

import staticgrad as sg


def doubled(rows, factor):
    x = sg.input("x", (rows, 3), "float32")
    return sg.Graph({"y": sg.exp(x) * factor}, name="body")


def test_equal_graphs_are_one_key():
    one, two = doubled(2, 3.0), doubled(2, 3.0)
    assert one.computation == two.computation
    assert len({one.computation, two.computation}) == 1
    assert one.digest == two.digest


def test_a_constant_tells_graphs_apart():
    one, two = doubled(2, 3.0), doubled(2, 4.0)
    assert hash(one.computation) == hash(two.computation)  # so that digests decide
    assert one.computation != two.computation
    assert one.digest != two.digest


def test_inputs_of_other_types_need_no_digest():
    one, two = doubled(2, 3.0), doubled(5, 3.0)
    assert one.computation != two.computation
    assert one.computation != "a graph"
    assert one._digest is None
    assert two._digest is None
