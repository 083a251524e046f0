"""Every module in every world: values, gradients, what it keeps, and how it is drawn."""

import copy
import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.language.functions.trees import flatten, unflatten
from tests.nn.cases import CASES

CLASSES = {
    name: found
    for name in sg.nn.__all__
    if isinstance(found := getattr(sg.nn, name), type)
    and issubclass(found, sg.nn.Module)
    and found is not sg.nn.Module
}


def test_every_module_has_a_case_and_a_dtype():
    assert {name.partition(" ")[0] for name in CASES} == {*CLASSES}
    for name, found in CLASSES.items():
        assert inspect.getdoc(found), name
        assert inspect.getdoc(found.forward), name
        assert (
            hasattr(found.__init__, "__wrapped__")
            or not inspect.signature(found).parameters
            or (name == "Sequential")
        ), f"{name}: @public stands above __init__"
        path = Path(inspect.getfile(found))
        assert path.stem not in sg.nn.__all__, f"{path.stem}: the file hides the name"
    for name in CASES:
        kind = CLASSES[name.partition(" ")[0]]
        if "dtype" in inspect.signature(kind).parameters:
            assert inspect.signature(kind).parameters["dtype"].default == "float32"
    x = Tensor(np.ones((2, 3, 4), "float32"))
    block = sg.nn.TransformerBlock(4, 2, rotary=True, norm="rms")
    assert block(x).data.dtype == np.float32


def arrays(case):
    rng = np.random.default_rng(7)
    return [x if isinstance(x, np.ndarray) else rng.normal(size=x) for x in case.shapes]


def made(case):
    """The module; what begins as ones and zeros is random."""
    sg.nn.manual_seed(1)
    module, rng = case.make(), np.random.default_rng(2)
    for _, p in module.named_parameters():
        p.value = rng.normal(size=p.shape)
    state = module.state_dict()
    for name in state:
        if "running" in name:
            state[name] = rng.uniform(0.5, 1.5, state[name].shape)
    module.load_state_dict(state)
    return module


def program(module, case):
    """What gives outputs, and gradients by parameters and floating arguments."""

    def run(*xs):
        outs = flatten(module(*xs))[0]
        loss = 0.0
        for out in outs:
            weights = np.random.default_rng(3).normal(size=out.shape)
            loss = loss + (out * weights).sum()
        by = [*module.parameters(), *[x for x in xs if x.dtype.is_float]]
        return outs, sg.grad(loss, by, allow_disconnected=True)

    return run


def begin(module, state):
    """As if nothing had run: running statistics, and draws."""
    module.load_state_dict(state)
    for each in module.modules():
        if isinstance(each, sg.nn.Dropout):
            each.generator.streams = 0


def check(found, expected):
    ours, theirs = flatten(found)[0], flatten(expected)[0]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


#: Modules with each of the modes in which they differ.
MODES = [
    (name, training)
    for name, case in CASES.items()
    for training in (True, False)
    if training or case.in_eval is not None or case.oracle is None
]


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_worlds_agree(name, training):
    case = CASES[name]
    drawn = case.oracle is None
    module, xs = made(case).train(training), arrays(case)
    state = module.state_dict()
    run = program(module, case)
    f = sg.function(run)

    begin(module, state)
    compiled = f(*xs)
    after = module.state_dict()
    oracle = case.oracle if training else case.in_eval or case.oracle
    if oracle is not None:
        check(compiled[0], oracle(state, *xs))

    begin(module, state)
    check(f.eagerly(*xs), compiled)
    check([*module.state_dict().values()], [*after.values()])

    begin(module, state)
    inputs = [sg.input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(xs)]
    with sg.nn.updates() as updates:
        outs, slopes = run(*inputs)
    named = {f"{k}": each for k, each in enumerate([*outs, *slopes])}
    feeds = {f"x{k}": x for k, x in enumerate(xs)}
    found, new = sg.evaluate(sg.Graph(named, updates), feeds, updates=True)
    check([found[key] for key in named], compiled)
    begin(module, state)
    for p in updates:
        p.value = new[p.name]
    check([*module.state_dict().values()], [*after.values()])

    begin(module, state)
    if not (drawn and training):
        tensors = [Tensor(x, x.dtype.kind == "f", x.dtype) for x in xs]
        outs = flatten(module(*tensors))[0]
        check([out.data for out in outs], compiled[0])
        loss = sum((o * np.random.default_rng(3).normal(size=o.shape)).sum() for o in outs)
        loss.backward()
        slopes = [p.grad for p in module.parameters()]
        slopes += [x.grad for x in tensors if x.requires_grad]
        kept = [pair for pair in zip(slopes, compiled[1], strict=True) if pair[0] is not None]
        check([one for one, _ in kept], [other for _, other in kept])
        module.zero_grad()
        assert all(p.grad is None for p in module.parameters())


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", CASES)
def test_what_it_keeps_goes_and_comes(name):
    case = CASES[name]
    module, other = made(case).eval(), case.make().eval()
    xs = [Tensor(x) for x in arrays(case)]
    expected = [out.data for out in flatten(module(*xs))[0]]
    other.load_state_dict(module.state_dict())
    leaves, tree = flatten(module)
    for again in (
        other,
        pickle.loads(pickle.dumps(module)),
        copy.deepcopy(module),
        unflatten(tree, leaves),
    ):
        assert type(again) is type(module)
        assert again.training is module.training
        check([out.data for out in flatten(again(*xs))[0]], expected)
        check([*again.state_dict().values()], [*module.state_dict().values()])
    names = {p.name for p in module.parameters()}
    assert len(names) == len(module.parameters())
    assert not names & {p.name for p in other.parameters()}
    text = repr(module)
    assert text.startswith(type(module).__name__)
    assert "(eval)" in text
    assert not re.search(r"0x[0-9a-f]{6}", text)
    for p in module.parameters():
        assert str(p.type) in text
