"""PyTorch's samples of its operators, by ``torch.compile(f, backend="staticgrad")``."""

import importlib

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SHARDS = 4
MODES = [
    "float32", "float64", "float64, second gradients", "complex64", "complex128", "float16",
    "bfloat16", "int64", "int32", "uint8", "bool", "float64, gradients of rows",
    "complex128, gradients of rows", "float32, gradients of rows",
]  # fmt: skip


@pytest.fixture(scope="module")
def samples():
    return importlib.import_module("tests.bridges.aten_samples")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("mode", MODES)
def test_samples_are_those_of_pytorch(samples, mode, shard):
    assert [*samples.MODES] == MODES
    every = [*samples.outcomes(samples.MODES[mode], 1, shard, SHARDS)]
    reasons = {*samples.REFUSED.values()}
    assert [outcome for outcome in every if outcome.kind == "wrong"] == []
    assert [e for e in every if e.kind == "refused" and e.reason not in reasons] == []
    computed = [e.kind for e in every if e.kind in ("passed", "fallback", "refused")]
    assert computed.count("passed") > 0.75 * len(computed)


SOME = {
    "float32": ["addmm", "cat", "linalg.solve", "linalg.lu", "nn.functional.conv2d", "__getitem__",
                "nn.functional.layer_norm", "scatter_add", "as_strided", "masked.softmax"],
    "float64, second gradients": ["mul", "matmul"],
    "complex128": ["fft.fft", "matmul", "linalg.eig"],
    "bfloat16": ["softmax", "exp"],
    "int64": ["index_put", "gcd", "addmv"],
    "bool": ["where", "any"],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", SOME)
def test_some_samples_are_computed_wholly_here(samples, mode):
    names = SOME[mode]
    pattern = f"^({'|'.join(names)})$"
    every = [*samples.outcomes(samples.MODES[mode], 1, only=pattern)]
    assert {outcome.operator for outcome in every} == {*names}
    assert [outcome for outcome in every if outcome.kind != "passed"] == []


def test_reasons_are_found_by_the_words_of_errors(samples):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    sample_input = type("Given", (), {"input": x, "args": (), "kwargs": {}})()
    sample_input.output_process_fn_grad = lambda y: y
    sample = samples.Sample(lambda x: torch.sin(x) * 2, "sin", sample_input)
    assert samples.outcome(sample) == {"aten.sin", "aten.mul.Tensor"}
    sample = samples.Sample(lambda x: torch.geqrf(x.detach()[None])[0], "geqrf", sample_input)
    with pytest.raises(samples.StoppedError, match="no row") as caught:
        samples.outcome(sample)
    assert samples.reason_of(caught.value) == "an operator without a row"
    with pytest.raises(samples.StoppedError, match="no row") as caught:
        samples.outcome(sample, "backend")
    assert caught.value.kind == "fallback"


def test_a_wrong_result_and_a_wrong_gradient_are_seen(samples):
    right, more = torch.ones(3), torch.tensor([1.0, 1.0, 1.001])
    assert samples._difference(right, right, None, False) == 0.0
    assert samples._difference(more, right, right.double(), False) > 1
    assert samples._difference(right.half(), right, None, False) == float("inf")
    assert samples._difference(right.long() + 1, right.long(), None, False) == float("inf")
    half = right.to(torch.bfloat16)
    assert samples._difference(half * 1.2, half, right.double(), False) > 1


def test_a_report_counts_samples_and_reasons(samples):
    lines = [
        '["float32", "add", "passed", "", ["aten.add.Tensor"]]',
        '["float32", "geqrf", "fallback", "no row", []]',
        '["int64", "add", "wrong", "y0", []]',
    ]
    text = samples.report(lines)
    assert "| float32 | 2 | 1 | 2 | 1 | 1 | 0 | 0 | 0 | 0 |" in text
    assert "| int64 | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 0 | 1 |" in text
    assert "| by fallback | 1 | no row | geqrf |" in text
