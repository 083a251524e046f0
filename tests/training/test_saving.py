"""``sg.save`` and ``sg.load``: every type, resumed to the bit; a wrong file changes nothing."""

import copy
import dataclasses
import functools
import json
import os
import pickle
import threading
import tracemalloc
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, MaskedArrayError, SavedFileError
from staticgrad.saving import files
from tests.helpers.processes import python

FORMATS = [".npz", ".safetensors"]
every_format = pytest.mark.parametrize("suffix", FORMATS)
KINDS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
         "float16", "float32", "float64", ml_dtypes.bfloat16]  # fmt: skip


class Pair(NamedTuple):
    first: Any
    second: Any


@every_format
def test_trees_come_back_as_they_were(suffix, tmp_path):
    draw = np.random.default_rng(0)
    arrays = [(draw.normal(size=(2, 3)) * 9).astype(kind) for kind in KINDS]
    tree = {
        "arrays": arrays,
        "odd": [arrays[-2].T, arrays[-2][::2], np.zeros((0, 4)), np.array(7), np.float32(0.1)],
        "a.b": np.ones(1),
        "a": {"b": np.zeros(1), 3: (True, None, -0.0, float("inf"), 10**30, "ü.'\n")},
        "file": [],
        "pair": Pair(1.5, np.arange(3)),
        "tensor": Tensor([1.0, 2.0]),
        "parameter": sg.parameter("w", np.arange(6.0).reshape(2, 3)),
    }
    sg.save(tmp_path / f"t{suffix}", tree)
    actual = sg.load(tmp_path / f"t{suffix}")
    for array, back in zip(
        [*arrays, *tree["odd"]], [*actual["arrays"], *actual["odd"]], strict=True
    ):
        assert np.asarray(array).dtype == back.dtype
        assert np.asarray(array).shape == back.shape
        assert np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(back).tobytes()
    assert actual["a"][3] == tree["a"][3]
    assert (actual["a.b"], actual["a"]["b"], actual["file"]) == (1.0, 0.0, [])
    assert actual["pair"][0] == 1.5
    assert actual["tensor"].tolist() == [1.0, 2.0]
    assert actual["parameter"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert [*tmp_path.iterdir()] == [tmp_path / f"t{suffix}"]


@dataclasses.dataclass
class Record:
    weight: Any
    epoch: int


def _trained_module():
    module = sg.nn.Sequential(sg.nn.Linear(2, 3), sg.nn.BatchNorm1d(3))
    opt = sg.optim.Adam(0.1)

    @sg.function
    def step(x):
        loss = (module(x) ** 2).sum()
        opt.minimize(loss, module.parameters())
        return loss

    step(np.ones((4, 2), "f4"))
    return {"module": module, "opt": opt}


def _graph():
    w = sg.parameter("w", np.ones(2))
    return sg.Graph({"y": w * 2.0}, {w: w + 1.0})


#: A tree of each kind that is saved.
KINDS_OF_TREES = {
    "empty": lambda: {},
    "complex": lambda: {"z": np.array([[1 + 2j], [3]]), "small": np.complex64(1 - 1j), "x": 2j,
        "p": sg.parameter("p", np.array([1j, 2]))},
    "number": lambda: 3,
    "text": lambda: "ü\ud800\0",
    "nothing": lambda: None,
    "array": lambda: np.arange(3.0),
    "scalar": lambda: np.float16(1.5),
    "tensor": lambda: Tensor([1.0, 2.0]),
    "parameter": lambda: sg.parameter("__staticgrad__", np.ones(2)),
    "module and optimizer": _trained_module,
    "generator": lambda: sg.random.Generator(3),
    "graph": _graph,
    "compiled": lambda: sg.compile(_graph()),
    "dataclass": lambda: Record(np.ones(2), 3),
    "keys": lambda: {k: np.full(1, n) for n, k in enumerate(ODD_KEYS)},
    "deep": lambda: {"a": [({"b": ([np.ones(1)],)},)]},
    "subclass": lambda: {"a": np.ones(2).view(np.recarray)},
    "long double": lambda: {"a": np.ones(2, np.longdouble)},
    "bits": lambda: {"a": np.ones(2, "V3")},
    "quarters": lambda: {"a": np.ones(2, ml_dtypes.float8_e4m3fn)},
    "masked": lambda: {"a": [np.ma.array([1.0, 2.0], mask=[True, False])]},
    "itself": lambda: _itself(),
    "too deep": lambda: functools.reduce(lambda part, _: [part], range(600), np.ones(1)),
    "digits": lambda: {"a": 10**5000},
    **{f"name {k!r:.20}": lambda k=k: {k: np.ones(1), "b": 1} for k in ("__staticgrad__",
       "__metadata__", "a\0b", "\ud800", "x" * 70000)},
}  # fmt: skip
ODD_KEYS = ["", " ", "a/b", "../c", "a.npy", "a\\b", "/d", "ü", "a\nb", "1", 1, True, "a'", "array"]
#: What no format takes, and what one does not.
REFUSED = {"bits", "quarters", "masked", "itself", "too deep", "digits"}
REFUSED_BY_ONE = {("long double", ".safetensors")}


def _itself():
    tree = [np.ones(2)]
    tree.append(tree)
    return tree


def _same(left, right):
    if isinstance(left, dict):
        return [*left] == [*right] and all(map(_same, left.values(), right.values()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, np.ndarray):
        return (left.dtype, left.tolist()) == (right.dtype, right.tolist())
    return type(left) is type(right) and bool(left == right)


@pytest.mark.thinned(8)
@every_format
@pytest.mark.parametrize("kind", KINDS_OF_TREES)
def test_what_is_saved_can_be_loaded(kind, suffix, tmp_path):
    tree, path, again = KINDS_OF_TREES[kind](), tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    if kind in REFUSED or kind.startswith("name") or (kind, suffix) in REFUSED_BY_ONE:
        with pytest.raises(MaskedArrayError if kind == "masked" else ArgumentError):
            sg.save(path, tree)
        assert [*tmp_path.iterdir()] == []
        return
    sg.save(path, tree)
    actual = sg.load(path)
    if kind in ("number", "text", "nothing"):
        assert actual == tree
    if kind == "keys":
        assert [(k, int(v[0])) for k, v in actual.items()] == [
            (k, int(v[0])) for k, v in tree.items()
        ]
    for part in tree.values() if isinstance(tree, dict) else [tree]:
        parameters = getattr(part, "parameters", ())
        for parameter in parameters() if callable(parameters) else parameters:
            parameter.value = np.zeros_like(parameter.value)
    sg.load(path, into=tree)
    sg.save(again, tree)
    assert _same(sg.load(again), actual)


@pytest.mark.parametrize("path", ["a\0.npz", "b\0.safetensors", "\ud800.npz"])
def test_a_path_that_none_can_be_is_refused(path):
    with pytest.raises(ArgumentError, match="no path can have"):
        sg.save(path, {"a": np.ones(1)})
    with pytest.raises(ArgumentError, match="no path can have"):
        sg.load(path)


def test_a_file_is_not_loaded_into_a_masked_array_or_an_endless_tree(tmp_path):
    sg.save(tmp_path / "f.npz", [np.ones(2)])
    masked = np.ma.array([3.0, 4.0], mask=[True, False])
    with pytest.raises(MaskedArrayError):
        sg.load(tmp_path / "f.npz", into=[masked])
    assert masked.data.tolist() == [3.0, 4.0]
    with pytest.raises(ArgumentError, match="contains itself"):
        sg.load(tmp_path / "f.npz", into=_itself())


TRAINING = """
import sys
import numpy as np, staticgrad as sg

path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = np.random.default_rng(3)
w, b = sg.parameter("w", draw.normal(size=(4, 8))), sg.parameter("b", np.zeros(8))
rng = sg.random.Generator(7)
rate = sg.optim.Plateau(0.05, factor=0.5, patience=1)
opt = sg.optim.AdamW(sg.optim.warm_up(sg.optim.cosine(0.1, 20), 3), accumulate=2,
                     loss_scale=sg.optim.LossScale(4.0, every=3))
other = sg.optim.SGD(rate, momentum=0.9, name="other")
mean = sg.optim.Average([w, b], decay=0.9, warm_up=10)

@sg.function
def step(x):
    keep = rng.uniform(shape=(5, 8)) < 0.8
    loss = (sg.where(keep, sg.tanh(x @ w + b), 0.0) ** 2).mean() + 1.0
    opt.minimize(loss, [w])
    other.minimize(loss, [b])
    mean.update()
    rate.observe(loss)
    return loss

state = {"params": [w, b], "opt": opt, "other": other, "rng": rng, "mean": mean, "rate": rate,
         "step": first}
if first:
    assert sg.load(path, into=state)["step"] == first
for t in range(first, last):
    loss = step(np.random.default_rng(t).normal(size=(5, 4)))
sg.save(path, {**state, "step": last})
digest = [p.value.tobytes().hex() for p in (w, b, *mean.parameters(), *rate.parameters())]
print(float(loss).hex(), digest, sorted(opt.state_dict()), int(rng.step.value))
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps_before", [0, 1])
def test_states_follow_the_places_of_parameters_not_their_names(steps_before, tmp_path):
    """Layers are numbered as a process makes them: a model made again has other names."""
    draw = np.random.default_rng(3)
    arrays = [draw.normal(size=(8, 4)) for _ in range(7)]

    def make_state():
        sg.nn.manual_seed(1)
        layers = [sg.nn.Linear(4, 4, dtype="float64") for _ in range(3)]  # equal shapes
        model, opt = sg.nn.Sequential(*layers), sg.optim.Adam(sg.optim.cosine(0.1, 20))
        mean = sg.optim.Average(list(model.parameters()), decay=0.9)

        @sg.function
        def step(x):
            loss = (model(x) ** 2).mean()
            opt.minimize(loss)
            mean.update()
            return loss

        return {"opt": opt, "model": model, "mean": mean}, step

    state, step = make_state()
    for x in arrays[:4]:
        step(x)
    sg.save(tmp_path / "run.npz", state)
    expected = [float(step(x)) for x in arrays[4:]]
    again, further = make_state()
    names = [[p.name for p in trained["model"].parameters()] for trained in (state, again)]
    assert names[0] != names[1]
    for x in arrays[:steps_before]:
        further(x)
    sg.load(tmp_path / "run.npz", into=again)
    assert [float(further(x)) for x in arrays[4:]] == expected
    for old, new in zip(state["mean"].parameters(), again["mean"].parameters(), strict=True):
        assert old.value.tobytes() == new.value.tobytes()


@pytest.mark.slow
def test_training_goes_on_to_the_bit_in_another_process(tmp_path):
    def run(name, first, last):
        return python("-c", TRAINING, tmp_path / name, first, last).stdout

    expected = run("whole.npz", 0, 10)
    run("parts.safetensors", 0, 5)
    assert run("parts.safetensors", 5, 10) == expected
    assert "adamw.step" in expected


def places():
    """Everything that can be written into, in one tree."""
    w = sg.parameter("w", np.ones(3, "float32"))
    opt = sg.optim.SGD(1.0, momentum=0.5)

    @sg.function
    def step(x):
        opt.minimize((w * x).sum(), [w])
        return w + 0.0

    step(np.ones(3, "float32"))
    return {"w": w, "opt": opt, "rng": sg.random.Generator(1), "t": Tensor([1.0]), "a": np.ones(2)}


def digest(tree):
    rng, opt = tree["rng"], tree["opt"].state_dict()
    arrays = (tree["w"].value, rng.key.value, rng.step.value, tree["t"].data, tree["a"])
    return [a.tolist() for a in (*arrays, *opt.values())]


def move_numbers(tree):
    """The same places with other numbers."""
    tree["w"].value = np.full(3, 9.0, "float32")
    tree["rng"].step.value = np.uint64(5)
    tree["t"].array[...] = 4.0
    tree["a"][...] = 5.0
    tree["opt"].load_state_dict({"w.momentum": np.full(3, 8.0, "float32")})
    return tree


@every_format
def test_a_damaged_file_is_refused_and_changes_nothing(suffix, tmp_path):
    path = tmp_path / f"f{suffix}"
    sg.save(path, places())
    content, into = path.read_bytes(), move_numbers(places())
    original = digest(into)
    draw = np.random.default_rng(0)
    cuts = [content[:k] for k in (0, 1, 7, 8, 9, *range(20, len(content), len(content) // 40))]
    flips = []
    for place in draw.integers(len(content), size=150):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(draw.integers(8))
        flips.append(bytes(flipped))
    same = 0
    for data in (*cuts, b"not a file" * 50, *flips):
        path.write_bytes(data)
        try:
            sg.load(path, into=into)
        except SavedFileError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert digest(into) == original
        else:  # a bit that says nothing: the time of an entry, a space
            same += 1
            assert digest(into) == digest(places())
            move_numbers(into)
    assert same < 40
    path.write_bytes(content)
    sg.load(path, into=into)
    assert digest(into) == digest(places()) != original


def with_changed(**changed):
    return lambda tree: {**tree, **changed}


WRONG = {
    "a shape": (
        with_changed(w=np.ones(4, "float32")),
        r"w is float32\[3\] here, float32\[4\] in the",
    ),
    "a type": (with_changed(w=np.ones(3)), r"w is float32\[3\] here, float64\[3\]"),
    "a number": (with_changed(a=3), r"a is float64\[2\] here, 3|a is float64\[2\] here, an int"),
    "a name less": (lambda t: {k: v for k, v in t.items() if k != "t"}, "t is not in the file"),
    "a name more": (with_changed(more=[{"x": np.ones(1)}]), "more is in the file alone"),
    "no dict": (lambda t: [t["w"]], "0 is in the file alone"),
    "a state of another shape": (
        with_changed(opt={"w.momentum": np.ones(4, "float32")}),
        r"'w.momentum' is f32\[3\] here, float32\[4\]",
    ),
    "no state of a parameter": (
        with_changed(opt={"v.momentum": np.ones(3, "float32")}),
        r"'w.momentum' is f32\[3\] here, nothing in",
    ),
    "a number for a state": (with_changed(opt=1), "opt is what a file keeps by name here"),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(name, tmp_path):
    change, says = WRONG[name]
    path, into = tmp_path / "f.npz", move_numbers(places())
    sg.save(path, change(places()))
    original = digest(into)
    with pytest.raises(SavedFileError, match=says):
        sg.load(path, into=into)
    assert digest(into) == original


def test_a_module_says_where_a_file_differs(tmp_path):
    path = tmp_path / "m.npz"
    sg.save(path, sg.nn.Sequential(sg.nn.Linear(2, 3)))
    with pytest.raises(SavedFileError, match=r"'layers.0.bias': unknown[^$]*weight: missing"):
        sg.load(path, sg.nn.Linear(2, 3))


def _steps(w, opt, how):
    """A step of a quadratic loss: of a graph, of a traced function, on the tape."""
    if how == "graph":
        loss = (w**2).sum()
        return sg.compile(sg.Graph({"loss": loss}, opt.updates(loss, [w]))).run
    if how == "tape":
        return lambda: opt.minimize((Tensor([1.0, 2.0], dtype="float64") * w * w).sum(), [w])

    @sg.function
    def step():
        loss = (w**2).sum()
        opt.minimize(loss, [w])
        return loss

    return step


@pytest.mark.thinned
@pytest.mark.parametrize("how", ["graph", "function", "tape"])
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_copies_and_pickles_of_an_optimizer_have_what_it_keeps(again, how):
    w = sg.parameter("w", np.array([3.0, -4.0]))
    opt = sg.optim.Adam(sg.optim.cosine(0.5, steps=9), max_norm=1.0)
    step = _steps(w, opt, how)
    for _ in range(3):
        step()
    twin, copied = again((w, opt))
    assert repr(copied) == repr(opt)
    further = _steps(twin, copied, how)
    for _ in range(3):
        step()
        further()
        np.testing.assert_array_equal(twin.value, w.value)
    actual, expected = copied.state_dict(), opt.state_dict()
    assert actual.keys() == expected.keys()
    assert all(np.array_equal(actual[name], expected[name]) for name in expected)
    assert copy.copy(opt).state_dict().keys() == expected.keys()


@pytest.mark.parametrize("draw", ["normal", "gamma", "loop"])
def test_draws_at_once_go_on_where_they_stood(draw, tmp_path):
    def drawn(generator):
        with sg.eager_mode():
            if draw == "gamma":
                return generator.gamma(0.5, shape=(3,)).data
            if draw == "normal":
                return generator.normal(shape=(3,)).data
            step = lambda total, _: (total, generator.normal(shape=(2,)))  # noqa: E731
            return sg.scan(step, Tensor(0.0), length=3)[1].data

    saved, loaded = sg.random.Generator(3), sg.random.Generator(9)
    seen = [drawn(saved) for _ in range(3)]
    drawn(loaded)
    sg.save(tmp_path / "g.npz", {"g": saved})
    sg.load(tmp_path / "g.npz", into={"g": loaded})
    copied = copy.deepcopy(saved)
    following = drawn(saved)
    for generator in (loaded, copied):
        np.testing.assert_array_equal(drawn(generator), following)
    for values in seen:
        assert not np.isin(values, following).any()


def test_the_first_step_says_where_loaded_state_does_not_fit():
    w = sg.parameter("v", np.ones(3))
    for state, says in (
        ({"w.momentum": np.ones(3)}, "'v.momentum' nothing was loaded"),
        ({"v.momentum": np.ones(2)}, r"'v.momentum' is f64\[3\], float64\[2\] in"),
    ):
        opt = sg.optim.SGD(1.0, momentum=0.5)
        opt.load_state_dict(state)
        assert opt.state_dict().keys() == state.keys()
        with pytest.raises(SavedFileError, match=says):
            sg.function(lambda x, opt=opt: opt.minimize((w * x).sum(), [w]))(np.ones(3))
        assert w.value.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    "opt",
    [
        sg.optim.SGD(0.1, momentum=0.9),
        sg.optim.Adam(sg.optim.cosine(0.1, steps=9), max_norm=1.0, accumulate=2),
        sg.optim.RMSProp(0.1, loss_scale=sg.optim.LossScale(initial=8.0, every=2)),
    ],
)
def test_what_was_saved_before_the_first_step_is_restored_behind_it(opt, tmp_path):
    w = sg.parameter("w", np.ones(3))
    state = {"w": w, "opt": opt}
    step = sg.function(lambda x: opt.minimize(((w * x) ** 2).sum()))
    sg.save(tmp_path / "first.npz", state)
    expected = []
    for _ in range(3):
        step(np.arange(3.0))
        expected.append(w.value.tolist())
    for _ in range(2):
        sg.load(tmp_path / "first.npz", into=state)
        assert w.value.tolist() == [1.0, 1.0, 1.0]
        assert [(step(np.arange(3.0)), w.value.tolist())[1] for _ in range(3)] == expected


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
@pytest.mark.parametrize(
    "make",
    [
        lambda: sg.optim.SGD(0.1, momentum=0.9),
        lambda: sg.optim.Adam(sg.optim.cosine(0.1, steps=9), max_norm=1.0, accumulate=2),
    ],
)
def test_what_an_optimizer_made_for_its_graph_is_saved_with_it(make, tmp_path):
    def program(opt):
        w = sg.parameter("w", np.ones(3))
        loss = ((w * np.arange(3.0)) ** 2).sum()
        return w, sg.compile(sg.Graph({"loss": loss}, opt.updates(loss, [w])))

    def losses(f):
        return [float(f.run()["loss"]) for _ in range(3)]

    path, opt = tmp_path / "run.npz", make()
    w, f = program(opt)
    losses(f)
    sg.save(path, {"w": w, "opt": opt})
    expected = losses(f)
    sg.load(path, into={"w": w, "opt": opt})
    assert losses(f) == expected
    second, saved = make(), sg.load(path)
    second.load_state_dict(saved["opt"])  # before there is a graph
    v, g = program(second)
    v.value = saved["w"]
    assert losses(g) == expected
    again = program(opt)
    with pytest.raises(SavedFileError, match="for two graphs"):
        sg.save(path, {"opt": opt})
    del w, f
    assert opt.state_dict().keys() == second.state_dict().keys()
    assert losses(again[1]) != expected


@every_format
def test_what_stood_there_stays_where_writing_fails(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"f{suffix}"
    sg.save(path, {"a": np.ones(3)})
    content = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        sg.save(path, {"a": np.zeros(3)})
    assert caught.value.filename == str(path)
    assert path.read_bytes() == content
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_format_s_library_cannot_write_is_the_system_s_error(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space") as caught:
        sg.save(tmp_path / "f.safetensors", {"a": np.ones(3)})
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "f.safetensors"))
    assert [*tmp_path.iterdir()] == []


class Wide(sg.nn.Module):
    def __init__(self):
        self.weights = [sg.parameter(f"w{i}", np.full(100_000, float(i))) for i in range(10)]


@every_format
@pytest.mark.parametrize("kind", ["module", "optimizer", "dict"])
def test_parameters_are_not_copied(kind, suffix, tmp_path):
    module, opt = Wide(), sg.optim.SGD(0.5, momentum=0.5)

    @sg.function
    def step():
        opt.minimize(sum([(w * w).sum() for w in module.weights]))

    step()
    tree = {"module": module, "optimizer": opt, "dict": {"all": module.weights}}[kind]
    tracemalloc.start()
    try:
        sg.save(tmp_path / f"x{suffix}", tree)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.2 * 8e6
    content = sg.load(tmp_path / f"x{suffix}")
    arrays = content["all"] if kind == "dict" else [*content.values()]
    # The gradient at i is 2 i, which is the momentum; half of it is subtracted.
    factor = 2.0 if kind == "optimizer" else 0.0
    assert [array[-1] for array in arrays] == [factor * i for i in range(10)]


def equal_parameters():
    """Parameters of one number, and a step that adds 1 to it in all of them."""
    weights = [sg.parameter(f"w{i}", np.zeros(100_000)) for i in range(10)]

    @sg.function
    def step():
        for w in weights:
            w.update(w + 1.0)

    step()
    return weights, step


def numbers_in(path):
    return {float(number) for array in sg.load(path) for number in (array.min(), array.max())}


@every_format
def test_a_file_has_all_parameters_of_one_moment_of_a_training(suffix, tmp_path):
    weights, step = equal_parameters()
    ends, numbers = threading.Event(), []

    def train():
        while not ends.is_set():
            step()

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(20):
            sg.save(tmp_path / f"x{suffix}", weights)
            numbers.append(numbers_in(tmp_path / f"x{suffix}"))
    finally:
        ends.set()
        thread.join()
    assert {len(values) for values in numbers} == {1}
    assert numbers[0] != numbers[-1]


@every_format
def test_steps_of_other_threads_wait_until_parameters_are_written(suffix, tmp_path, monkeypatch):
    weights, step = equal_parameters()
    thread = threading.Thread(target=step)
    is_busy = []
    crc32 = files.crc32

    def begin_a_step(*args):
        if not is_busy:
            thread.start()
            thread.join(0.5)
            is_busy.append(thread.is_alive())
        return crc32(*args)

    monkeypatch.setattr(files, "crc32", begin_a_step)
    sg.save(tmp_path / f"x{suffix}", weights)
    thread.join()
    assert is_busy == [True]
    assert numbers_in(tmp_path / f"x{suffix}") == {1.0}
    assert {float(w.value[-1]) for w in weights} == {2.0}


@every_format
@pytest.mark.parametrize("where", ["here", "in a thread"])
def test_a_call_inside_of_a_step_saves_what_was_before_it(where, suffix, tmp_path):
    weights = [sg.parameter(f"w{i}", np.zeros(1000)) for i in range(3)]

    def save(x):
        if where == "here":
            sg.save(tmp_path / f"x{suffix}", weights)
        else:  # the step waits for the thread, which must not wait for the step
            thread = threading.Thread(target=sg.save, args=(tmp_path / f"x{suffix}", weights))
            thread.start()
            thread.join(60)
            assert not thread.is_alive()
        return x

    @sg.function
    def step(x):
        y = sg.host_call(save, x, types=x)
        for w in weights:
            w.update(w + y)

    step(np.ones(()))
    assert numbers_in(tmp_path / f"x{suffix}") == {0.0}
    assert {float(w.value[-1]) for w in weights} == {1.0}


class Counted(sg.nn.Module):
    """A module whose state has a number of its own."""

    def __init__(self):
        self.w, self.count = sg.parameter("w", np.ones(2)), 3

    def state_dict(self):
        return {**super().state_dict(), "count": np.asarray(self.count)}

    def load_state_dict(self, state, strict=True):
        self.count = int(state["count"])
        super().load_state_dict({"w": state["w"]}, strict)


@every_format
def test_a_class_s_own_state_is_saved(suffix, tmp_path):
    sg.save(tmp_path / f"x{suffix}", Counted())
    model = Counted()
    model.count, model.w.value = 0, np.zeros(2)
    sg.load(tmp_path / f"x{suffix}", into=model)
    assert (model.count, model.w.value.tolist()) == (3, [1.0, 1.0])


def test_what_killed_processes_left_of_a_file_is_removed(tmp_path):
    ages = {".f.npz.7-ab.tmp": 7200, ".f.npz.8-cd.tmp": 60, ".g.npz.7-ab.tmp": 7200}
    for name, age in ages.items():
        left = tmp_path / name
        left.write_bytes(b"PK")
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    sg.save(tmp_path / "f.npz", {"a": np.ones(3)})
    assert {file.name for file in tmp_path.iterdir()} == {"f.npz", *list(ages)[1:]}


def test_files_of_others_are_arrays_by_name(tmp_path):
    arrays = {"layer.weight": np.arange(6.0).reshape(2, 3), "file": np.ones(2, "float32")}
    np.savez(tmp_path / "a.npz", **{k.replace("file", "f"): v for k, v in arrays.items()})
    np.savez_compressed(tmp_path / "b.npz", x=arrays["file"])
    safetensors.numpy.save_file(arrays, tmp_path / "c.safetensors")
    assert sg.load(tmp_path / "a.npz")["layer.weight"].tolist() == [
        [0.0, 1.0, 2.0],
        [3.0, 4.0, 5.0],
    ]
    assert sg.load(tmp_path / "b.npz")["x"].dtype == np.float32
    into = {k: sg.parameter(k, np.zeros_like(v)) for k, v in arrays.items()}
    actual = sg.load(tmp_path / "c.safetensors", into=into)
    assert {k: p.value.tolist() for k, p in into.items()} == {
        k: v.tolist() for k, v in actual.items()
    }
    sg.save(tmp_path / "d.safetensors", into)
    theirs = safetensors.numpy.load_file(tmp_path / "d.safetensors")
    assert {k: v.tolist() for k, v in theirs.items()} == {k: v.tolist() for k, v in arrays.items()}


def write_safetensors_by_hand(path, dtype, shape, data):
    """A file by the format's description: 8 bytes of the header's length, JSON, the bytes."""
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}
    header = json.dumps({"x": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def test_element_types_of_safetensors_by_the_format_s_description(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors_by_hand(path, "BF16", [2], bytes([0x80, 0x3F, 0x20, 0xC1]))
    actual = sg.load(path)["x"]
    assert (actual.dtype, actual.astype(float).tolist()) == (ml_dtypes.bfloat16, [1.0, -10.0])
    write_safetensors_by_hand(path, "U16", [1, 2], bytes([1, 0, 0, 2]))
    assert sg.load(path)["x"].tolist() == [[1, 512]]
    write_safetensors_by_hand(path, "F8_E4M3", [2], bytes(2))
    with pytest.raises(SavedFileError, match="holds 'x' of F8_E4M3, which has no element type"):
        sg.load(path)
    for damaged in (b"", b"\1", path.read_bytes()[:-1], path.read_bytes() + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(SavedFileError, match="is damaged"):
            sg.load(path)


@every_format
def test_a_file_is_read_into_its_arrays_without_a_copy(suffix, tmp_path):
    arrays = {f"w{i}": np.full(100_000, float(i)) for i in range(10)}
    sg.save(tmp_path / f"ours{suffix}", arrays)
    write = (
        safetensors.numpy.save_file if suffix == ".safetensors" else lambda a, p: np.savez(p, **a)
    )
    write(arrays, tmp_path / f"theirs{suffix}")
    size = sum(array.nbytes for array in arrays.values())
    for path in (tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"):
        tracemalloc.start()
        try:
            loaded = sg.load(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert {name: loaded[name][-1] for name in arrays} == {f"w{i}": i for i in range(10)}
        assert size <= peak < 1.3 * size


def test_graphs_and_compiled_programs_are_their_parameters(tmp_path):
    w = sg.parameter("w", np.ones(3))
    f = sg.compile(sg.Graph({"y": w * 2.0}, sg.optim.Adam().updates((w * w).sum(), [w])))
    f.run()
    sg.save(tmp_path / "f.npz", f)
    values = {p.name: p.value.copy() for p in f.program_graph.parameters}
    f.run()
    actual = sg.load(tmp_path / "f.npz", into=f)
    assert actual.keys() == values.keys() == {"w", "w.first_moment", "w.second_moment", "adam.step"}
    for p in f.program_graph.parameters:
        np.testing.assert_array_equal(p.value, values[p.name])


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"a": [print]}, r"at 'a.0'"),
        (sg.input("x", (2,)), "neither an array nor a number"),
        ({"a": np.array(["text"])}, "neither an array nor a number"),
        ({2.5: 1}, "neither a text nor an integer"),
    ],
    ids=str,
)
def test_what_cannot_be_saved_is_refused(tree, says, tmp_path):
    with pytest.raises(ArgumentError, match=says):
        sg.save(tmp_path / "f.npz", tree)
    with pytest.raises(ArgumentError, match="ends in no known format"):
        sg.save(tmp_path / "f.pt", 1)
    assert [*tmp_path.iterdir()] == []


def test_a_checkpoint_says_where_its_state_lies(tmp_path):
    state = {"w": sg.parameter("w", np.zeros(2))}
    path = tmp_path / "run.npz"
    sg.train.fit(lambda x: 1.0, [1], state=state, checkpoint=path)
    with pytest.raises(SavedFileError, match="w is not in the file") as caught:
        sg.load(path, into=state)
    assert 'into={"state": ...}' in caught.value.hint
    assert {*sg.load(path, into={"state": state})} == {"state", "fit"}


@every_format
def test_complex_numbers_come_back_complex(suffix, tmp_path):
    path, values = tmp_path / f"z{suffix}", np.array([[1 + 2j, -0.0 - 1j]])
    z = sg.parameter("z", values)
    small = sg.parameter("small", values.astype("complex64"))
    tree = {
        "z": z,
        "in": [small, values[:, ::-1], values.astype(">c16"), Tensor(values), 1 - 2j, np.inf * 1j],
        "none": values[:0],
        "one": np.complex64(2j),
    }
    sg.save(path, tree)
    loaded = sg.load(path)
    back = [loaded["z"], *loaded["in"], loaded["none"], loaded["one"]]
    expected = [values, values.astype("complex64"), values[:, ::-1], values, values]
    for actual, reference in zip(
        back, [*expected, 1 - 2j, np.inf * 1j, values[:0], 2j], strict=True
    ):
        np.testing.assert_array_equal(actual, reference)
        assert np.array_equal(np.signbit(np.imag(actual)), np.signbit(np.imag(reference)))
    kinds = [value.dtype.name if isinstance(value, np.ndarray) else type(value) for value in back]
    sizes = [128, 64, 128, 128, 128]
    assert kinds == [*(f"complex{n}" for n in sizes), complex, complex, "complex128", "complex64"]
    target, t = np.zeros((1, 2), complex), Tensor(0 * values)
    z.value, small.value = 0 * values, 0 * values
    sg.load(
        path,
        into={"z": z, "in": [small, target, target.copy(), t, 0, 0], "none": target[:0], "one": 0},
    )
    for array in (z.value, small.value, t.data):
        np.testing.assert_array_equal(array, values)
    np.testing.assert_array_equal(target, values[:, ::-1])
    with pytest.raises(SavedFileError, match=r"z is float64\[1, 2\] here, complex128"):
        sg.load(path, into={**tree, "z": sg.parameter("w", values.real)})


@every_format
def test_files_with_the_parts_of_complex_parameters_still_load(suffix, tmp_path):
    """Files did not say that a parameter was complex."""
    path, values = tmp_path / f"z{suffix}", np.array([1 + 2j, 3])
    sg.save(path, {"z": values.view("float64").reshape(2, 2)})
    z = sg.parameter("z", 0 * values)
    sg.load(path, into={"z": z})
    np.testing.assert_array_equal(z.value, values)


def test_states_of_modules_have_complex_arrays(tmp_path):
    class Scale(sg.nn.Module):
        def __init__(self):
            self.factor = sg.parameter("factor", np.array([1 + 2j, 3]))

    model, values = Scale(), np.array([1 + 2j, 3])
    state = model.state_dict()
    np.testing.assert_array_equal(state["factor"], values)
    for array in (2 * values, (2 * values).view("float64").reshape(2, 2)):
        model.factor.value = 0 * values
        model.load_state_dict({"factor": array})
        np.testing.assert_array_equal(model.factor.value, 2 * values)
    sg.save(tmp_path / "a.npz", model)
    np.testing.assert_array_equal(sg.load(tmp_path / "a.npz")["factor"], 2 * values)


@every_format
@pytest.mark.parametrize("tree", [{}, [], ()], ids=str)
def test_empty_trees_come_back(tree, suffix, tmp_path):
    sg.save(tmp_path / f"a{suffix}", tree)
    assert sg.load(tmp_path / f"a{suffix}") == tree


class Loader:
    """A loader of data as of another library, whose state is keyed by names of parameters."""

    def __init__(self, **state):
        self.state = state

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = dict(state)


class Bag:
    """An object of another library with parameters."""

    def __init__(self, *parts):
        self.parts = parts

    def parameters(self):
        return iter(self.parts)


def _holder(kind, name, start, alive):
    """Return an object of a kind that has parts, which contains values that depend on a number."""
    w = sg.parameter(name, np.full(3, start))
    opt, rate = sg.optim.SGD(0.5, momentum=0.5), sg.optim.Plateau(start, name=f"{name}.rate")
    loss = (w * w).sum()
    graph = sg.Graph({"y": loss}, opt.updates(loss, [w]))
    program = sg.compile(graph)
    program.run()
    net = sg.nn.Sequential(sg.nn.Linear(2, 1, bias=False))
    net.layers[0].weight.value = np.full((2, 1), start, "float32")
    holders = {
        "module": net,
        "optimizer": opt,
        "generator": sg.random.Generator(int(start), name=f"{name}.random"),
        "graph": graph,
        "program": program,
        "average": sg.optim.Average([w]),
        "rate": rate,
        "matrix": sg.sparse.csr(sg.parameter("d", [start]), [1], [0, 1, 1], (2, 2)),
        "record": Record(w, 2),
        "loader": Loader(**{f"{name}.seen": np.full(2, start)}),
        "bag": Bag(w),
        "dict": {"w": w},
        "list": [w],
    }
    alive.append(program)  # the state of an optimizer ends with the last of its graphs
    return w, holders[kind]


#: Kind of an object -> the keys of its parts. Those of the second table are names of parameters.
BY_KEY = {
    "module": ["layers.0.weight"],
    "generator": ["key", "step"],
    "matrix": ["data"],
    "record": ["weight", "epoch"],
    "dict": ["w"],
    "list": [0],
}
BY_NAME = {
    "optimizer": ["{}.momentum"],
    "graph": ["{}", "{}.momentum"],
    "program": ["{}", "{}.momentum"],
    "average": ["{}.average"],
    "rate": ["{}.rate.rate", "{}.rate.best", "{}.rate.waited"],
    "loader": ["{}.seen"],
    "bag": ["{}"],
}


@pytest.mark.parametrize("kind", BY_KEY)
def test_parts_by_key_are_restored(kind, tmp_path):
    alive = []
    (_, tree), (_, target) = _holder(kind, "w", 4.0, alive), _holder(kind, "w", 9.0, alive)
    sg.save(tmp_path / "a.npz", tree)
    sg.load(tmp_path / "a.npz", into=target)
    sg.save(tmp_path / "b.npz", target)
    saved, restored = sg.load(tmp_path / "a.npz"), sg.load(tmp_path / "b.npz")
    assert [*(dict(enumerate(saved)) if kind == "list" else saved)] == BY_KEY[kind]
    assert repr(saved) == repr(restored)


@pytest.mark.parametrize("kind", BY_NAME)
def test_parts_by_name_are_restored_under_the_present_names(kind, tmp_path):
    alive = []
    trees = [_holder(kind, "linear1", 4.0, alive), _holder(kind, "linear2", 9.0, alive)]
    sg.save(tmp_path / "a.npz", trees[0])
    sg.load(tmp_path / "a.npz", into=trees[1])
    sg.save(tmp_path / "b.npz", trees[1])
    (_, saved), (_, restored) = sg.load(tmp_path / "a.npz"), sg.load(tmp_path / "b.npz")
    assert {*saved} == {key.format("linear1") for key in BY_NAME[kind]}
    assert {*restored} == {key.format("linear2") for key in BY_NAME[kind]}
    assert [repr(x) for _, x in sorted(saved.items())] == [
        repr(x) for _, x in sorted(restored.items())
    ]
