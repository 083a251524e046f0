"""The benchmark of inference: what each library computes, and its table."""

import pytest

from benchmarks.peers import inference


@pytest.mark.parametrize("precision", [*inference.PRECISIONS])
@pytest.mark.parametrize("name", [*inference.networks()])
@pytest.mark.parametrize("batch", [1, 3])
def test_networks_are_near_numpy_in_float64(name, precision, batch):
    *_, error = inference.build("staticgrad", precision, name, batch, small=True)
    assert error < inference.PRECISIONS[precision]


@pytest.mark.parametrize("library", ["torch", "jax", "onnxruntime", "openvino"])
@pytest.mark.parametrize("name", [*inference.networks()])
def test_peers_compute_the_same(name, library):
    pytest.importorskip(library)
    *_, error = inference.build(library, "float32", name, 2, small=True)
    assert error < inference.PRECISIONS["float32"]


def test_rows_have_the_best_peer_and_what_failed():
    results = {
        ("staticgrad", "float32"): {"seconds": 2e-3, "peak": 5e6, "planned": 1e4},
        ("onnxruntime", "float32"): {"seconds": 3e-3, "peak": 6e6, "planned": 0},
        ("torch", "float32"): {"seconds": 4e-3, "peak": 0, "planned": 0},
        ("staticgrad", "int8"): "wrong by 3e-01",
        ("onnxruntime", "int8"): {"seconds": 1e-3, "peak": 0, "planned": 0},
    }
    floats, integers = inference.write_rows("mlp", 8, results)
    cells = ["mlp", "8", "float32", "2.000 ms, 5 MB, planned 0.01", "3.000 ms, 6 MB", "-"]
    assert floats == f"| {' | '.join([*cells, '4.000 ms', '-', '1.50'])} |"
    assert integers == "| mlp | 8 | int8 | wrong by 3e-01 | 1.000 ms | - | - | - | nan |"


def test_processes_take_turns():
    side = ("staticgrad", "float32")
    (figures,) = inference.measure([side], "lstm", 1, 1, 0.01).values()
    assert not isinstance(figures, str)
    assert 0 < figures["seconds"] < 10
    assert figures["error"] < 1e-4
    assert figures["planned"] > 0
