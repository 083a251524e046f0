"""Laws of every module of ``nn``, checked on its samples in both of its modes.

The oracles are NumPy by hand (``nn/oracles.py``), central differences in float64, single calls, and
onnxruntime. ``sg.evaluate`` is the middle: it is compared with the oracles, and
every other way to run a module with it.
"""

import copy
import inspect
import pickle
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.language.trees import flatten, unflatten
from tests.exporting.printed import load_exported
from tests.laws.modules import CASES, Case, in_dtype
from tests.laws.table import Laws

CLASSES = {
    name: value
    for name in sg.nn.__all__
    if isinstance(value := getattr(sg.nn, name), type)
    and issubclass(value, sg.nn.Module)
    and value is not sg.nn.Module
    and value.__name__ == name  # not the spelling of another library
}
STEP = 1e-6


def test_every_module_has_a_sample_and_a_dtype():
    assert {name.partition(" ")[0] for name in CASES} == {*CLASSES}
    for name, actual in CLASSES.items():
        assert inspect.getdoc(actual), name
        assert inspect.getdoc(actual.forward), name
        assert (
            hasattr(actual.__init__, "__wrapped__")
            or not inspect.signature(actual).parameters
            or (name == "Sequential")
        ), f"{name}: @public stands above __init__"
        path = Path(inspect.getfile(actual))
        assert path.stem not in sg.nn.__all__, f"{path.stem}: the file hides the name"
    for name in CASES:
        kind = CLASSES[name.partition(" ")[0]]
        if "dtype" in inspect.signature(kind).parameters:
            assert inspect.signature(kind).parameters["dtype"].default == "float32"


# -- samples ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A module of a case in one of its modes, with random numbers in place of ones and zeros."""

    name: str
    training: bool

    @property
    def case(self) -> Case:
        return CASES[self.name]

    @property
    def is_random(self):
        """Return whether the module draws random numbers."""
        return self.case.oracle is None and self.training

    @property
    def oracle(self):
        case = self.case
        return case.oracle if self.training else case.in_eval or case.oracle

    def arrays(self, dtype="float64", seed=7):
        rng = np.random.default_rng(seed)
        return [
            x if isinstance(x, np.ndarray) else rng.normal(size=x).astype(dtype)
            for x in self.case.shapes
        ]

    def module(self, dtype="float64"):
        sg.nn.manual_seed(1)
        with in_dtype(dtype):
            module = self.case.make()
        rng = np.random.default_rng(2)
        for _, p in module.named_parameters():
            p.value = rng.normal(size=p.shape).astype(dtype)
        state = module.state_dict()
        for name in state:
            if "running" in name:
                state[name] = rng.uniform(0.5, 1.5, state[name].shape).astype(dtype)
        module.load_state_dict(state)
        return module.train(self.training)

    def __str__(self):
        return f"{self.name} {'train' if self.training else 'eval'}"


SAMPLES = [
    Sample(name, training)
    for name, case in CASES.items()
    for training in (True, False)
    if training or case.in_eval is not None or case.oracle is None
]


def begin(module, state):
    """Set a module to a state, and its draws to their beginning."""
    module.load_state_dict(state)
    for part in module.modules():
        if isinstance(part, sg.nn.Dropout):
            part.generator.streams = 0


def weigh(outs):
    """The sum of all results, each element with a weight."""
    return sum((o * np.random.default_rng(3).normal(size=o.shape)).sum() for o in outs)


def run(module, *xs):
    """Outputs of a module, and gradients by its parameters and floating arguments."""
    outs = flatten(module(*xs))[0]
    by = [*module.parameters(), *[x for x in xs if x.dtype.is_float]]
    return outs, sg.grad(weigh(outs), by, allow_disconnected=True)


def inputs(shapes, arrays):
    pairs = zip(shapes, arrays, strict=True)
    return [sg.input(f"x{k}", shape, x.dtype) for k, (shape, x) in enumerate(pairs)]


def feeds_of(arrays):
    return {f"x{k}": x for k, x in enumerate(arrays)}


@dataclass
class Evaluated:
    """The evaluator's results for a sample: outputs, gradients, and the new state."""

    module: sg.nn.Module
    arrays: list
    state: dict
    outs: list
    slopes: list
    new_state: dict


@lru_cache(maxsize=1)  # for all laws of one sample
def evaluate_sample(sample):
    module, xs = sample.module(), sample.arrays()
    state = module.state_dict()
    with sg.nn.updates() as updates:
        outs, slopes = run(module, *inputs([x.shape for x in xs], xs))
    named = {str(k): value for k, value in enumerate([*outs, *slopes])}
    arrays, new = sg.evaluate(sg.Graph(named, updates), feeds_of(xs), updates=True)
    arrays = [arrays[name] for name in named]
    for p in updates:
        p.value = new[p.name]
    new_state = module.state_dict()
    return Evaluated(module, xs, state, arrays[: len(outs)], arrays[len(outs) :], new_state)


def check(actual, expected, rtol=1e-9, atol=1e-11):
    ours, theirs = flatten(actual)[0], flatten(expected)[0]
    assert len(ours) == len(theirs)
    for array, reference in zip(ours, theirs, strict=True):
        assert array.dtype == reference.dtype
        np.testing.assert_allclose(array, reference, rtol=rtol, atol=atol)


def values_of(module, xs):
    """Outputs of a module by NumPy, in a graph of no state."""
    with sg.nn.updates():
        outs = flatten(module(*inputs([x.shape for x in xs], xs)))[0]
    return sg.evaluate(outs, feeds_of(xs))


# -- laws of what a module computes ----------------------------------------------------------------

LAWS = Laws()


@LAWS.law(on=lambda samples: [s for s in samples if s.oracle is not None])
def values_are_those_by_hand(sample, folder):
    evaluation = evaluate_sample(sample)
    check(evaluation.outs, sample.oracle(evaluation.state, *evaluation.arrays))


@LAWS.law()
def gradients_are_central_differences(sample, folder):
    """Along one random direction of all parameters and floating arguments."""
    module, xs = sample.module(), sample.arrays()
    state, rng = module.state_dict(), np.random.default_rng(5)
    ins = inputs([x.shape for x in xs], xs)
    with sg.nn.updates():
        loss = weigh(flatten(module(*ins))[0])
    by = [*module.parameters(), *[x for x in ins if x.dtype.is_float]]
    steps = [rng.normal(size=operand.shape) for operand in by]
    slopes = sg.grad(loss, by, allow_disconnected=True)
    begin(module, state)
    outs = sg.evaluate([loss, *slopes], feeds_of(xs))
    product = sum((g * step).sum() for g, step in zip(outs[1:], steps, strict=True))
    start = [p.value for p in module.parameters()]

    def at(distance):
        begin(module, state)
        shifted = [x + distance * t for x, t in zip(start, steps, strict=False)]
        for p, value in zip(module.parameters(), shifted, strict=True):
            p.value = value
        left = iter(steps[len(start) :])
        arguments = [x + distance * next(left) if x.dtype.kind == "f" else x for x in xs]
        return sg.evaluate([loss, *ins], feeds_of(arguments))[0]

    scale = sum(np.abs(g * step).sum() for g, step in zip(outs[1:], steps, strict=True))
    difference = (at(STEP) - at(-STEP)) / (2 * STEP)
    assert product == pytest.approx(difference, rel=1e-6, abs=1e-7 * (1.0 + scale))


@LAWS.law(on=lambda samples: [s for s in samples if not s.is_random])
def float32_is_near_float64(sample, folder):
    """The same state in float32 gives results of float32."""
    evaluation, module = evaluate_sample(sample), sample.module("float32")
    narrow = {name: in_float32(x) for name, x in evaluation.state.items()}
    assert {n: x.dtype for n, x in module.state_dict().items()} == {
        n: x.dtype for n, x in narrow.items()
    }
    begin(module, narrow)
    outs = values_of(module, [*map(in_float32, evaluation.arrays)])
    check(outs, [*map(in_float32, evaluation.outs)], 1e-4, 1e-4)


def in_float32(x):
    """A float64 array in float32; others unchanged."""
    return x.astype("float32") if x.dtype == "float64" else x


def is_floating(sample):
    return not any(isinstance(x, np.ndarray) for x in sample.case.shapes)


@LAWS.law(on=lambda samples: [s for s in samples if is_floating(s) and not s.is_random])
def named_batches_have_the_values_of_each_size(sample, folder):
    """A graph with a named first axis gives, for each size of it, what a graph of numbers gives."""
    module, rng = sample.module(), np.random.default_rng(4)
    state, first = module.state_dict(), sample.case.shapes[0][0]
    many = 2 if sample.name.startswith("GraphConv") else 1  # edges have a row and a column each
    named = [
        tuple("n" if k < many and size == first else size for k, size in enumerate(shape))
        for shape in sample.case.shapes
    ]
    graph = whole(module, named, sample.arrays())
    for size in (0, 1, first, first + 3):
        shapes = [tuple(size if s == "n" else s for s in shape) for shape in named]
        xs = [rng.normal(size=shape) for shape in shapes]
        begin(module, state)
        expected = outcome(lambda shapes=shapes, xs=xs: whole(module, shapes, xs), xs)
        begin(module, state)
        actual = outcome(lambda: graph, xs)
        assert type(actual) is type(expected), (size, actual, expected)
        if not isinstance(expected, type):
            check(actual, expected)


def whole(module, shapes, xs):
    """A graph of all outputs and updates."""
    with sg.nn.updates() as updates:
        outs = flatten(module(*inputs(shapes, xs)))[0]
    return sg.Graph({str(k): out for k, out in enumerate(outs)}, updates)


def outcome(make, xs):
    """Outputs and new state, or the class of the error."""
    try:
        outputs, new = sg.evaluate(make(), feeds_of(xs), updates=True)
    except sg.StaticgradError as error:
        return type(error)
    return [*outputs.values(), *new.values()]


@LAWS.law(on=lambda samples: [s for s in samples if not s.is_random])
def vmap_is_single_calls(sample, folder):
    """A module that moves statistics is refused: which of the calls would move them?"""
    module, calls = sample.module(), [sample.arrays(seed=seed) for seed in (7, 8)]
    stacks = [np.stack(xs) for xs in zip(*calls, strict=True)]
    ins = inputs([x.shape for x in stacks], stacks)
    if moves_state(sample):
        with pytest.raises(sg.errors.GraphError, match="inside of vmap"), sg.nn.updates():
            sg.vmap(module)(*ins)
        return
    batched = sg.evaluate(flatten(sg.vmap(module)(*ins))[0], feeds_of(stacks))
    for number, xs in enumerate(calls):
        check([out[number] for out in batched], values_of(module, xs))


def moves_state(sample):
    actual = evaluate_sample(sample)
    return any(not np.array_equal(x, actual.new_state[name]) for name, x in actual.state.items())


@LAWS.law(on=lambda samples: [s for s in samples if not s.is_random])
def tensors_have_the_values_and_gradients_of_the_graph(sample, folder):
    evaluation, module = evaluate_sample(sample), sample.module()
    tensors = [Tensor(x, x.dtype.kind == "f", x.dtype) for x in evaluation.arrays]
    outs = flatten(module(*tensors))[0]
    check([out.data for out in outs], evaluation.outs)
    weigh(outs).backward()
    slopes = [p.grad for p in module.parameters()]
    slopes += [x.grad for x in tensors if x.requires_grad]
    for ours, theirs in zip(slopes, evaluation.slopes, strict=True):
        if ours is None:
            np.testing.assert_array_equal(theirs, 0.0)
        else:
            check([ours], [theirs])
    module.zero_grad()
    assert all(p.grad is None for p in module.parameters())
    check([*module.state_dict().values()], [*evaluation.new_state.values()])


@LAWS.law()
def functions_run_at_once_are_the_graph(sample, folder):
    evaluation, module = evaluate_sample(sample), sample.module()
    outs, slopes = sg.function(lambda *xs: run(module, *xs)).eagerly(*evaluation.arrays)
    check([*outs, *slopes], [*evaluation.outs, *evaluation.slopes])
    check([*module.state_dict().values()], [*evaluation.new_state.values()])


# -- laws of state, modes and copies ---------------------------------------------------------------


@LAWS.law()
def modes_reach_every_part(sample, folder):
    """In eval mode nothing is drawn and no state is moved."""
    module = sample.module()
    assert {part.training for part in module.modules()} == {sample.training}
    assert module.eval() is module
    assert not any(part.training for part in module.modules())
    xs = sample.arrays()
    with sg.nn.updates() as updates:
        module(*inputs([x.shape for x in xs], xs))
    assert not updates
    check(values_of(module, xs), values_of(module, xs), 0.0, 0.0)
    assert module.train() is module
    assert all(part.training for part in module.modules())


@LAWS.law()
def state_comes_back(sample, folder):
    """From dicts, files, pickles, deep copies and trees; the names of parameters are its own."""
    module, xs = sample.module().eval(), sample.arrays()
    expected = values_of(module, xs)
    others = [sample.module().eval() for _ in range(3)]
    for restored in others:
        begin(restored, {name: np.zeros_like(x) for name, x in restored.state_dict().items()})
    others[0].load_state_dict(module.state_dict())
    for restored, suffix in zip(others[1:], ("npz", "safetensors"), strict=True):
        sg.save(folder / f"state.{suffix}", module)
        sg.load(folder / f"state.{suffix}", into=restored)
    leaves, tree = flatten(module)
    again = [pickle.loads(pickle.dumps(module)), copy.deepcopy(module), unflatten(tree, leaves)]
    for restored in [*others, *again]:
        assert type(restored) is type(module)
        assert restored.training is module.training
        check(values_of(restored, xs), expected, 0.0, 0.0)
        check([*restored.state_dict().values()], [*module.state_dict().values()], 0.0, 0.0)
    names = {p.name for p in module.parameters()}
    assert len(names) == len(module.parameters())
    assert not names & {p.name for p in others[0].parameters()}


@LAWS.law()
def text_names_the_class_and_its_parameters(sample, folder):
    module = sample.module()
    text = repr(module)
    assert text.startswith(type(module).__name__)
    assert ("(eval)" in text) is not sample.training
    assert not re.search(r"0x[0-9a-f]{6}", text)
    for p in module.parameters():
        assert str(p.type) in text


@LAWS.law()
def copies_and_their_originals_share_a_graph(sample, folder):
    module = sample.module()
    copies = [copy.deepcopy(module), copy.deepcopy(copy.deepcopy(module))]
    parameters = [p for net in (module, *copies) for p in net.parameters()]
    names = [p.name for p in parameters]
    assert len(names) == len({*names}) == 3 * len(module.parameters())
    if names:
        sums = {p.name: sg.sum(p) for p in parameters}
        assert {p.name for p in sg.Graph(sums).parameters} == {*names}


# -- laws of programs in other forms ---------------------------------------------------------------

#: Laws of compiled programs and files, which take a tenth of a second.
COMPILED = Laws()
#: Laws of exported files: Numba takes seconds for each.
EXPORTED = Laws()


@COMPILED.law()
def kernels_have_the_values_and_gradients_of_the_graph(sample, folder):
    evaluation, module = evaluate_sample(sample), sample.module()
    outs, slopes = sg.function(lambda *xs: run(module, *xs))(*evaluation.arrays)
    check([*outs, *slopes], [*evaluation.outs, *evaluation.slopes])
    check([*module.state_dict().values()], [*evaluation.new_state.values()])


@EXPORTED.law(on=lambda samples: [s for s in samples if not s.is_random])
def exported_files_have_the_bits_of_the_program(sample, folder):
    module, xs = sample.module("float32"), sample.arrays("float32")
    with sg.nn.updates() as updates:
        outs = flatten(module(*inputs([x.shape for x in xs], xs)))[0]
    program = sg.compile(sg.Graph({str(k): out for k, out in enumerate(outs)}, updates))
    file = load_exported(program.export(folder / "program.py"))
    actual = file["run"](feeds_of(xs))
    expected = program.run(feeds_of(xs))
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert np.asarray(actual[name]).dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)
    for p in updates:
        np.testing.assert_array_equal(file["parameters"][p.node.label], p.value)


@COMPILED.law(on=lambda samples: [s for s in samples if not s.is_random])
def models_of_onnx_have_the_values_of_the_graph(sample, folder):
    """Written, run by onnxruntime, and read back."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    module, xs = sample.module("float32").eval(), sample.arrays("float32")
    expected = values_of(module, xs)
    ins = inputs([x.shape for x in xs], xs)
    outs = flatten(module(*ins))[0]
    sg.onnx.export(sg.Graph({f"y{k}": out for k, out in enumerate(outs)}), folder / "model.onnx")
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)
    session = runtime.InferenceSession(folder / "model.onnx")
    check(session.run(None, feeds_of(xs)), expected, 1e-5, 1e-5)
    again = sg.evaluate(sg.onnx.load(folder / "model.onnx").graph(), feeds_of(xs))
    check([again[f"y{k}"] for k in range(len(outs))], expected, 1e-6, 1e-6)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_law_of_every_module(sample, law, tmp_path):
    LAWS.check(law, [sample], tmp_path)


@pytest.mark.thinned(8)
@pytest.mark.parametrize("law", COMPILED)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_law_of_every_compiled_module(sample, law, tmp_path):
    COMPILED.check(law, [sample], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("law", EXPORTED)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_law_of_every_exported_module(sample, law, tmp_path):
    EXPORTED.check(law, [sample], tmp_path)
