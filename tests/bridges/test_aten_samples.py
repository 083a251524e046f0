"""PyTorch's samples of its operators, by the rows of the table."""

import collections
import importlib

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SHARDS = 4
#: Mode of ``aten_samples`` -> samples of each operator, and how many pass in all shards together.
MODES = {
    "float64, gradients of rows": (2, 1040),
    "float64, PyTorch's backward": (1, 480),
    "complex128, gradients of rows": (2, 480),
    "float32, gradients of rows": (2, 1030),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("mode", MODES)
def test_samples_are_those_of_pytorch_or_refused_for_a_reason(mode, shard):
    pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")
    samples = importlib.import_module("tests.bridges.aten_samples")
    count, passed = MODES[mode]
    every = [*samples.outcomes(*samples.MODES[mode], count, shard, SHARDS)]
    reasons = {*samples.REFUSED.values()}
    assert [each for each in every if each.kind == "wrong"] == []
    assert [e for e in every if e.kind == "refused" and e.reason not in reasons] == []
    counts = collections.Counter(each.kind for each in every)
    assert counts["passed"] >= 0.9 * passed / SHARDS, counts


def test_reasons_are_found_by_the_words_of_errors():
    pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")
    samples = importlib.import_module("tests.bridges.aten_samples")
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    made = type("Given", (), {"input": x, "args": (), "kwargs": {}})()
    made.output_process_fn_grad = lambda y: y
    sample = samples.Sample(lambda x: torch.sin(x) * 2, "sin", made)
    assert samples.outcome(sample, False) == {"aten.sin", "aten.mul.Tensor"}
    sample = samples.Sample(lambda x: torch.special.bessel_j0(x.detach()), "bessel", made)
    with pytest.raises(samples.StoppedError, match="no row") as caught:
        samples.outcome(sample, False)
    assert samples.reason_of(caught.value) == "an operator without a row"
