"""Results alias nothing, feeds are never written, and memory that is given in is used as said."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import FeedError, OutputArrayError
from tests.helpers.random_programs import random_step


def memory_of(f, feeds):
    """The memory that results must lie apart from, by what it is."""
    graph = f.program_graph
    return {
        **{f"feed {name}": array for name, array in feeds.items()},
        **{f"parameter {p.name}": p.store.array for p in graph.parameters},
        **{
            f"constant {b.name}": b.data.array
            for b in f.schedule.buffers
            if b.role == "constant" and b.data is not None
        },
        "the arena": f._executor._arena._block,
    }


def check_apart(f, feeds):
    """Results of a run, none of which shares a byte with another or with anything else."""
    outputs = f.run(feeds)
    others = memory_of(f, feeds)
    for at, (name, array) in enumerate(outputs.items()):
        arrays = {**others, **{f"output {n}": a for n, a in [*outputs.items()][:at]}}
        for what, array_of_other in arrays.items():
            assert not np.shares_memory(array, array_of_other), f"output {name} and {what}"
    return outputs


def freeze_feeds(feeds):
    for array in feeds.values():
        array.flags.writeable = False
    return feeds


@pytest.mark.thinned(6)
@pytest.mark.parametrize("seed", range(8))
def test_results_of_random_programs_lie_apart_and_stay(seed):
    """Neither a later run, nor feeds that are overwritten, nor a parameter's value changes them."""
    graph, feeds = random_step(seed)
    f = sg.compile(graph)
    copies = {name: array.copy() for name, array in feeds.items()}
    outputs = check_apart(f, freeze_feeds(feeds))
    output_copies = {name: array.copy() for name, array in outputs.items()}
    later = check_apart(f, copies)
    for array in copies.values():
        array[...] = 0
    for parameter in graph.parameters:
        parameter.value = np.zeros_like(parameter.value)
    for name, array in outputs.items():
        assert array.tobytes() == output_copies[name].tobytes(), name
        assert not np.shares_memory(array, later[name])


def test_outputs_that_are_views_of_others_lie_apart():
    """An input, a parameter, a constant, the same value twice, and views of them, as outputs."""
    x, w = sg.input("x", (4, 3), "float32"), sg.parameter("w", np.ones((4, 3), np.float32))
    c, y = sg.constant(np.ones((4, 3), np.float32)), sg.exp(x)
    outputs = {
        "x": x, "x too": x, "x.T": x.T, "row": x[0], "flat": x.reshape(12), "w": w, "w.T": w.T,
        "c": c, "c too": c[:2], "y": y, "y too": y, "y.T": y.T,
        "wide": sg.broadcast_to(x[0], (4, 3)),
    }  # fmt: skip
    for options in ({}, {"fuse": False}, {"pipeline": "O0"}):
        f = sg.compile(sg.Graph(outputs, updates={w: x}), **options)
        for _ in range(2):
            actual = check_apart(f, {"x": np.ones((4, 3), np.float32)})
            assert all(array.flags.writeable for array in actual.values())


def test_an_output_array_may_share_nothing():
    """With a feed, a parameter, another output, or a view of one of them, to the byte."""
    x = sg.input("x", (8,), "float32")
    w = sg.parameter("w", np.zeros(8, np.float32))
    f = sg.compile(sg.Graph({"a": x + w, "b": x * 2.0}, updates={w: w + 1.0}))
    memory = np.zeros(17, np.float32)
    data, disjoint = memory[:8], memory[9:]
    store = w.store.array
    for out in ({"a": data}, {"a": memory[1:9]}, {"b": store}, {"a": disjoint, "b": disjoint}):
        with pytest.raises(OutputArrayError, match="shares memory"):
            f.run({"x": data}, out=out)
    assert not w.value.any()
    assert not memory.any()
    assert f.run({"x": data}, out={"a": disjoint})["a"] is disjoint


@pytest.mark.parametrize("updated", [True, False])
def test_a_feed_in_the_memory_of_a_parameter(updated):
    """It is refused where the step would write it, each time, and taken where it only reads."""
    x = sg.input("x", (8,), "float32")
    w, v = (sg.parameter(name, np.ones(8, np.float32)) for name in "wv")
    f = sg.compile(sg.Graph({"y": x + w}, updates={w if updated else v: v + x}))
    for feed in (w.store.array, w.store.array[:], w.store.array.reshape(8)):
        if not updated:
            assert f.run({"x": feed})["y"].tolist() == [2.0] * 8
            continue
        for _ in range(2):
            with pytest.raises(FeedError, match="shares memory with a parameter"):
                f.run({"x": feed})
        assert w.value.tolist() == [1.0] * 8
    strided = w.store.array[::-1]  # it is copied before the step
    assert f.run({"x": strided})["y"].tolist() == [2.0] * 8


def test_bools_of_any_byte_become_zero_and_one():
    """NumPy takes any byte for True by way of a buffer; parameters and constants take it so too."""
    raw = np.frombuffer(bytes([0, 1, 2, 255, 128, 0]), np.bool_)
    strided = np.frombuffer(bytes([0, 9, 1, 9, 2, 9, 255, 9, 128, 9, 0, 9]), np.bool_)[::2]
    clean = np.array([False, True, True, True, True, False])
    x = sg.input("x", (6,), "int32")
    for odd in (raw, strided):
        w, c = sg.parameter("w", odd), sg.constant(odd)
        assert set(w.value.view(np.uint8)) == {0, 1}
        outputs = {}
        for name, value in (("w", w), ("c", c)):
            outputs |= {
                f"{name} counted": value.astype("int32") + x, f"{name} not": ~value,
                f"{name} same": value == clean, f"{name} itself": value,
                f"{name} chosen": sg.where(value, x, 7), f"{name} sum": value.astype("int64").sum(),
            }  # fmt: skip
        f = sg.compile(sg.Graph(outputs), pipeline="O0")
        actual = f.run({"x": np.zeros(6, np.int32)})
        for name in ("w", "c"):
            assert actual[f"{name} counted"].tolist() == [0, 1, 1, 1, 1, 0]
            assert actual[f"{name} not"].view(np.uint8).tolist() == [1, 0, 0, 0, 0, 1]
            assert actual[f"{name} itself"].view(np.uint8).tolist() == [0, 1, 1, 1, 1, 0]
            assert actual[f"{name} same"].all()
            assert actual[f"{name} chosen"].tolist() == [7, 0, 0, 0, 0, 7]
            assert actual[f"{name} sum"] == 4
        w.value = clean
        w.value = odd
        assert set(w.value.view(np.uint8)) == {0, 1}
    assert sg.constant(raw).node.op == sg.constant(clean).node.op
