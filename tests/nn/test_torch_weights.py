"""Weights of PyTorch in modules: by its documented formulas, by its own outputs, and back."""

import inspect
import sys
import tracemalloc

import numpy as np
import pytest

import staticgrad as sg
from tests.laws.modules import CASES

nn = sg.nn
ParameterValueError = sg.errors.ParameterValueError


def fill_state(module, seed=0):
    """A state of PyTorch for a module, of random numbers."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(size=array.shape).astype(array.dtype)
        for name, array in module.torch_state().items()
    }


def values(module):
    return {name: array for name, array in module.state_dict().items() if "generator" not in name}


@pytest.mark.parametrize("case", CASES)
def test_the_state_of_every_module_goes_to_torch_and_back(case):
    module = CASES[case].make()
    values_before, state = values(module), module.torch_state()
    module.load_torch(fill_state(module))
    changed = values(module)
    assert all(not np.array_equal(changed[name], values_before[name]) for name in values_before)
    assert module.load_torch(state) == ([], [])
    for name, array in values(module).items():
        np.testing.assert_array_equal(array, values_before[name], err_msg=name)


def net():
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.LSTM(3, 2))


def test_every_difference_is_listed_and_nothing_is_changed():
    module = net()
    state_before, state = module.state_dict(), fill_state(module)
    del state["0.bias"]
    state["2.weight_hr_l0"] = np.ones(2)
    state["2.weight_hh_l0"] = state["2.weight_hh_l0"].T
    with pytest.raises(ParameterValueError, match="differ in 3 places") as error:
        module.load_torch(state)
    for line in (
        "0.bias: missing",
        "'2.weight_hr_l0': unexpected",
        "2.weight_hh_l0: (2, 8) in PyTorch, (8, 2) here",
    ):
        assert line in str(error.value)
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(array, state_before[name])


def test_names_of_one_side_are_returned_if_not_strict():
    module = net()
    state = fill_state(module)
    bias = module.layers[0].bias.value
    del state["0.bias"], state["2.bias_hh_l0"]
    state["3.weight"] = np.ones(2)
    actual = module.load_torch(state, strict=False)
    assert actual == (["0.bias", "2.bias_hh_l0"], ["3.weight"])
    np.testing.assert_array_equal(module.layers[0].weight.value, state["0.weight"].T)
    np.testing.assert_array_equal(module.layers[0].bias.value, bias)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda s: {f"module.{name}": x for name, x in s.items()}, "remove 'module.'"),
        (lambda s: {"epoch": 3, "model": s}, r"load_torch\(checkpoint\['model'\]\)"),
        (lambda s: [*s], "not a list"),
        (lambda s: s | {"0.weight": np.array(["a"])}, "0.weight"),
        (lambda s: s | {"0.weight": s["0.weight"] * 1j}, "0.weight.*complex"),
    ],
)
def test_other_states_are_refused_with_a_hint(change, hint):
    module = net()
    with pytest.raises(ParameterValueError, match=f"(?s){hint}"):
        module.load_torch(change(fill_state(module)))


def test_load_state_dict_points_to_load_torch():
    with pytest.raises(ParameterValueError, match=r"model.load_torch\(state\)"):
        net().load_state_dict(fill_state(net()))


class Tied(nn.Module):
    def __init__(self):
        self.first = nn.Linear(2, 2)
        self.second = self.first
        self.blocks = {"a": [nn.Linear(2, 1)]}
        self.scale = sg.parameter("scale", np.ones(2, "float32"))


def test_shared_modules_take_one_array():
    module, state = Tied(), fill_state(Tied())
    assert {"first.weight", "second.weight", "blocks.a.0.weight", "scale"} <= state.keys()
    with pytest.raises(ParameterValueError, match="two arrays for one parameter"):
        module.load_torch(state)
    state["second.weight"], state["second.bias"] = state["first.weight"], state["first.bias"]
    module.load_torch(state)
    del state["first.weight"]
    module.load_torch(state)
    np.testing.assert_array_equal(module.first.weight.value, state["second.weight"].T)


class Stack(nn.Module):
    def __init__(self):
        self.scales = [sg.parameter(f"s{i}", np.zeros(100_000)) for i in range(10)]


@pytest.mark.parametrize("source", ["dict", "ours.npz", "ours.safetensors", "theirs.npz"])
def test_weights_are_copied_one_at_a_time(source, tmp_path):
    module, path = Stack(), tmp_path / source
    state = {f"scales.{i}": np.full(100_000, float(i)) for i in range(10)}
    if source == "theirs.npz":
        np.savez(path, **state)
    elif source != "dict":
        sg.save(path, state)
    tracemalloc.start()
    try:
        module.load_torch(state if source == "dict" else path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [p.value[-1] for p in module.scales] == list(range(10))
    assert peak < 0.3 * 8e6


@pytest.mark.parametrize("name", ["ours.npz", "ours.safetensors", "theirs.npz"])
def test_a_damaged_file_changes_nothing(name, tmp_path):
    module, path = Stack(), tmp_path / name
    state = {f"scales.{i}": np.full(100_000, 1.0) for i in range(10)}
    if name == "theirs.npz":
        np.savez(path, **state)
    else:
        sg.save(path, state)
    content = bytearray(path.read_bytes())
    content[-100_000] ^= 1  # in the last array
    path.write_bytes(content)
    with pytest.raises(sg.errors.SavedFileError, match="is damaged"):
        module.load_torch(path)
    assert not any(p.value.any() for p in module.scales)


def test_a_load_that_is_interrupted_is_whole():
    module, count = Stack(), 0
    state = {f"scales.{i}": np.full(100_000, float(i)) for i in range(10)}

    def interrupt(frame, event, argument):
        """Interrupt the fifth time that an array is read to be written."""
        nonlocal count
        if event == "call" and frame.f_code.co_qualname == "_Load.read":
            count += 1
            if count == 5:
                raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            module.load_torch(state)
    finally:
        sys.setprofile(None)
    assert count == 5  # a profiler that raises is removed
    assert [p.value[-1] for p in module.scales] == list(range(10))


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pt", "older.pt"])
def test_files(ending, tmp_path):
    module, path = net(), tmp_path / f"weights.{ending}"
    state = fill_state(module)
    if ending.endswith("pt"):
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=ending == "pt")
    elif ending == "safetensors":
        pytest.importorskip("safetensors.numpy").save_file(state, path)
    else:
        np.savez(path, **state)
    module.load_torch(str(path))
    for name, array in module.torch_state().items():
        if "bias" not in name:
            np.testing.assert_array_equal(array, state[name], err_msg=name)


BLOCK = {"batch_first": True, "dropout": 0.0}
#: The name here, arguments of both, the operands' shapes.
BESIDE = [
    ("Linear", (3, 2), {}, ((4, 3),)),
    ("Linear", (3, 2), {"bias": False}, ((4, 3),)),
    ("Bilinear", (3, 2, 4), {}, ((5, 3), (5, 2))),
    ("Embedding", (5, 3), {}, (np.array([[0, 4], [2, 2]]),)),
    ("PReLU", (3,), {}, ((2, 3, 4),)),
    ("LayerNorm", (4,), {}, ((3, 4),)),
    ("LayerNorm", ([2, 4],), {}, ((3, 2, 4),)),
    ("RMSNorm", (4,), {"eps": 1e-5}, ((3, 4),)),
    ("RMSNorm", ((2, 4),), {"eps": 1e-5}, ((3, 2, 4),)),
    ("GroupNorm", (2, 4), {}, ((2, 4, 3),)),
    *((f"InstanceNorm{n}d", (3,), {"affine": True}, ((2, 3, *(4, 3, 2)[:n]),)) for n in (1, 2, 3)),
    *((f"BatchNorm{n}d", (3,), {}, ((2, 3, *(4, 3, 2)[:n]),)) for n in (1, 2, 3)),
    *((f"Conv{n}d", (4, 6, 3), {"groups": 2}, ((2, 4, *(5, 4, 3)[:n]),)) for n in (1, 2, 3)),
    *(
        (
            f"Conv{n}d",
            (2, 3, 3),
            {"padding": padding, "padding_mode": mode, "dilation": 2},
            ((2, 2, *(7, 6, 5)[:n]),),
        )
        for n, padding in ((1, 3), (2, "same"), (2, (1, 2)), (3, 2))
        for mode in ("reflect", "replicate", "circular")
    ),
    *(
        (f"ConvTranspose{n}d", (4, 6, 3, 2, 1), {"groups": 2}, ((2, 4, *(5, 4, 3)[:n]),))
        for n in (1, 2, 3)
    ),
    *(
        (kind, (3, 4, 2), {"bidirectional": way, "bias": bias}, ((5, 2, 3),))
        for kind in ("RNN", "LSTM", "GRU")
        for way, bias in ((False, True), (True, True), (True, False))
    ),
    *((f"{kind}Cell", (3, 4), {}, ((2, 3),)) for kind in ("RNN", "LSTM", "GRU")),
    ("MultiHeadAttention", (6, 2), {"batch_first": True}, ((2, 4, 6),) * 3),
    ("MultiheadAttention", (6, 2), {"batch_first": True}, ((2, 4, 6),) * 3),
    ("MultiHeadAttention", (6, 2), {"batch_first": True, "bias": False}, ((2, 4, 6),) * 3),
    ("MultiHeadAttention", (6, 2), {"batch_first": True, "kdim": 5, "vdim": 3},
     ((2, 4, 6), (2, 3, 5), (2, 3, 3))),
    *(
        ("TransformerBlock", (6, 2, 8), {**BLOCK, "norm_first": first}, ((2, 4, 6),))
        for first in (True, False)
    ),
]  # fmt: skip
TORCH_NAMES = {
    "MultiHeadAttention": "MultiheadAttention",
    "TransformerBlock": "TransformerEncoderLayer",
}


def first_leaf(results):
    return first_leaf(results[0]) if isinstance(results, tuple) else results


@pytest.mark.parametrize(("name", "args", "options", "shapes"), BESIDE)
@pytest.mark.parametrize("train", [False, True])
def test_outputs_are_those_of_torch(name, args, options, shapes, train):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn, TORCH_NAMES.get(name, name))(*args, **options).double()
    with torch.no_grad():
        for parameter in [*theirs.parameters(), *theirs.buffers()]:
            if parameter.is_floating_point():
                parameter.copy_(torch.rand_like(parameter) + 0.1)
    own_options = {k: v for k, v in options.items() if k not in BLOCK or "Norm" in name}
    extra = {"activation": nn.relu} if name == "TransformerBlock" else {}
    ours = getattr(nn, name)(*args, **own_options, **extra, dtype="float64")
    ours.load_torch(theirs)
    random = np.random.default_rng(2)
    operands = [random.normal(size=s) if isinstance(s, tuple) else s for s in shapes]
    theirs.train(train)
    ours.train(train)
    expected = first_leaf(theirs(*map(torch.from_numpy, operands))).detach().numpy()
    actual = first_leaf(sg.function(ours)(*operands))
    np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-10)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.torch_state().items()})
    again = first_leaf(theirs(*map(torch.from_numpy, operands))).detach().numpy()
    if "BatchNorm" not in name or train:
        np.testing.assert_allclose(again, expected, rtol=1e-8, atol=1e-10)


UPSAMPLED = [
    ((2, 3, 5), {"scale_factor": 2}),
    ((2, 3, 5), {"size": 7, "mode": "linear", "align_corners": True}),
    ((2, 3, 4, 5), {"size": (7, 9)}),
    ((2, 3, 4, 5), {"scale_factor": (1.5, 2.6), "mode": "nearest"}),
    ((2, 3, 4, 5), {"scale_factor": 1.7, "mode": "nearest-exact"}),
    ((2, 3, 4, 5), {"scale_factor": 2, "mode": "bilinear"}),
    ((2, 3, 4, 5), {"size": (3, 9), "mode": "bilinear", "align_corners": True}),
    ((2, 3, 4, 5), {"size": 6, "mode": "bicubic", "align_corners": False}),
    ((1, 2, 3, 4, 2), {"scale_factor": 2, "mode": "trilinear"}),
]


@pytest.mark.parametrize(("shape", "options"), UPSAMPLED)
def test_images_grow_as_those_of_torch(shape, options):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).normal(size=shape)
    image = torch.tensor(x, requires_grad=True)
    expected = torch.nn.Upsample(**options)(image)
    (expected**3).sum().backward()
    layer = nn.Upsample(**options)
    actual, slopes = sg.function(lambda x: (layer(x), sg.grad(lambda x: (layer(x) ** 3).sum())(x)))(
        x
    )
    np.testing.assert_allclose(actual, expected.detach().numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(slopes, image.grad.numpy(), rtol=1e-9, atol=1e-10)


def test_every_class_of_torch_with_parameters_is_tried():
    torch = pytest.importorskip("torch")
    tried = {name for name, *_ in BESIDE}
    for name in dir(nn):
        ours, theirs = getattr(nn, name), getattr(torch.nn, TORCH_NAMES.get(name, name), None)
        if inspect.isclass(theirs) and inspect.isclass(ours) and name in CASES:
            assert name in tried or not values(CASES[name].make()) or name == "Sequential", name


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_tensors_of_other_floats_are_converted(kind):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 2).to(getattr(torch, kind))
    ours = nn.Linear(3, 2)
    ours.load_torch(theirs.state_dict())
    expected = theirs.weight.detach().float().numpy().T
    np.testing.assert_array_equal(ours.weight.value, expected)


@pytest.mark.parametrize("case", CASES)
def test_the_mapping_names_every_array_of_both_sides(case):
    module = CASES[case].make()
    rows = [line.split(" -> ") for line in module.torch_mapping().splitlines()]
    left_sides = " + ".join(left for left, _ in rows)
    for name, array in module.torch_state().items():
        assert f"{name} {array.shape}" in left_sides
    right_sides = " + ".join(right for _, right in rows)
    for name, parameter in module.named_parameters():
        assert f"{name} {parameter.shape}" in right_sides
