"""Operations of the user's own, recomputation, and checks of gradients."""

import weakref

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import (
    Function,
    Tensor,
    checkpoint,
    grad,
    gradcheck,
    no_grad,
)
from staticgrad.errors import (
    ArgumentError,
    CheckError,
    DTypeError,
    GradientError,
    MaskedArrayError,
    OpDefinitionError,
    TapeError,
)
from tests.ops.messages import assert_each_raises


def leaf(*data, dtype=None):
    return Tensor(list(data), True, dtype)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, ct):
        (x,) = ctx.saved_tensors
        return ct * 3.0 * x * x


class SumAndDifference(Function):
    @staticmethod
    def forward(ctx, x, y):
        assert ctx.needs_input_grad == (True, False)
        return x.data + y.data, x.data - y.data

    @staticmethod
    def backward(ctx, by_sum, by_difference):
        return (by_sum + by_difference).data, None


def test_a_function_has_its_own_rule():
    x = leaf(2.0, 3.0)
    y = Cube.apply(x)
    assert type(y.grad_fn).__name__ == "CubeBackward"
    y.backward(np.ones(2))
    assert x.grad.tolist() == [12.0, 27.0]
    with pytest.raises(RuntimeError, match="released"):
        y.backward(np.ones(2))
    with no_grad():
        assert not Cube.apply(x).requires_grad
    assert not Cube.apply(Tensor([1.0])).requires_grad


def test_several_results_of_which_some_are_not_used():
    x, c = leaf(1.0, 2.0), Tensor([5.0, 5.0])
    total, _ = SumAndDifference.apply(x, c)
    del _
    total.backward(np.array([1.0, 10.0]))
    assert x.grad.tolist() == [1.0, 10.0]
    x = leaf(1.0, 3.0, 2.0, dtype="float64")
    y = sg.topk(x * x, 2)[0]  # the places are gone, and the rule reads them
    g = grad(y, x, np.array([1.0, 10.0]), create_graph=True)
    assert g.data.tolist() == [0.0, 6.0, 40.0]
    assert grad(g.sum(), x).data.tolist() == [0.0, 2.0, 20.0]


def test_rules_that_are_wrong_are_named():
    class Few(Cube):
        @staticmethod
        def backward(ctx, ct):
            return ct, ct

    class Shape(Cube):
        @staticmethod
        def backward(ctx, ct):
            return np.ones(7)

    class Silent(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

    x = leaf(1.0)
    assert_each_raises(
        (OpDefinitionError, "Few: backward gives 2 cotangents", lambda: Few.apply(x).backward()),
        (OpDefinitionError, "Shape", lambda: Shape.apply(x).backward()),
        (GradientError, "backward", lambda: Silent.apply(x).backward()),
        (OpDefinitionError, "forward", lambda: Function.apply(x)),
    )
    assert x.grad is None


def test_a_checkpoint_gives_the_same_and_keeps_less():
    w = leaf(0.5, -0.5, dtype="float64")
    seen = []

    def block(x, scale):
        inner = sg.tanh(x * w)
        seen.append(weakref.ref(inner))
        return (inner * scale) @ inner

    def run(call):
        x = leaf(1.0, 2.0, dtype="float64")
        w.grad = None
        y = call(x * 2.0, 3.0)
        y.backward()
        return [y.item(), x.grad, w.grad]

    plain = run(block)
    seen.clear()
    x = leaf(1.0, 2.0, dtype="float64")
    y = checkpoint(block, x, 3.0)
    assert seen[0]() is None
    assert type(y.grad_fn).__name__ == "CheckpointBackward"
    for ours, theirs in zip(run(lambda *a: checkpoint(block, *a)), plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(seen) == 3  # x alone above; then forward and backward


def test_checkpoints_nest_and_take_layers():
    x = Tensor(1.5, True, "float64")

    def cube(v):
        return checkpoint(lambda u: u * u, v) * v

    first = grad(checkpoint(cube, x), x, create_graph=True)
    assert first.item() == pytest.approx(3 * 1.5**2)
    assert grad(first, x).item() == pytest.approx(6 * 1.5)
    net = sg.nn.Sequential(sg.nn.Linear(3, 4), sg.nn.Linear(4, 2))
    x = Tensor(np.ones((5, 3)))
    y = checkpoint(net, x)  # only the parameters need gradients
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    with no_grad():
        assert not checkpoint(net, x).requires_grad
    assert not checkpoint(lambda v: v * 2.0, x).requires_grad
    first, second = checkpoint(lambda v: (v, v * 2.0), leaf(1.0))
    assert (first + second).item() == 3.0
    with pytest.raises(ArgumentError):
        checkpoint(lambda v: 3.0, x)


def test_a_checkpoint_that_runs_with_other_types_the_second_time_is_refused():
    """Refuse what a policy saved in a run of other types."""
    sizes = iter((3, 2))

    def block(x):
        return sg.checkpoint_name(sg.sin(x[: next(sizes)]), "h").sum()

    x = Tensor(np.ones(4), requires_grad=True)
    policy = sg.checkpoint_policies.save_only_these_names("h")
    with sg.eager_mode():
        y = sg.checkpoint(block, policy=policy)(x)
    with pytest.raises(TapeError, match="it must compute the same both times"):
        y.backward()


def test_random_numbers_come_out_the_same_in_a_checkpoint():
    generator, drop = sg.random.Generator(3), sg.nn.Dropout(0.5, seed=4)

    def noisy(x):
        noise = generator.normal(shape=(64,)) + np.float32(np.random.rand())
        return drop(x * noise)

    x = Tensor(np.ones(64), requires_grad=True)
    with sg.eager_mode():
        y = checkpoint(noisy, x)
    next_number, step = np.random.rand(), int(generator.step.value)
    np.random.seed(0)
    np.random.rand()
    sg.function(drop)(np.ones(4))  # ends a step of the same dropout
    y.backward(np.ones(64))
    np.testing.assert_allclose(x.grad, y.data, rtol=1e-6)  # linear in x = 1
    assert int(generator.step.value) == step
    assert np.random.rand() == next_number


def test_gradcheck():
    x, w = Tensor(np.random.default_rng(0).normal(size=(2, 3)), True), leaf(1.0, 2.0, 3.0)
    assert gradcheck(lambda a, b: sg.nn.softmax(a * b), [x, w])
    assert gradcheck(lambda a: (sg.tanh(a), (a * a).sum()), x)
    assert gradcheck(Cube.apply, w)
    assert x.grad is None

    class Wrong(Cube):
        @staticmethod
        def backward(ctx, ct):
            return ct * 3.0

    with pytest.raises(CheckError, match="input 1"):
        gradcheck(Wrong.apply, w)
    assert not gradcheck(Wrong.apply, w, raise_exception=False)
    with pytest.raises(CheckError):
        gradcheck(sg.exp, Tensor([1.0]))


def test_a_custom_rule_refuses_a_tensor_that_it_only_captures():
    w = Tensor([2.0], requires_grad=True)
    x = Tensor([3.0], requires_grad=True)

    @sg.custom_vjp
    def scale(value):
        return value * w

    @scale.rule
    def _(ct, out, value):
        return (ct * 2.0,)

    with pytest.raises(GradientError, match="not among its operands"):
        scale(x)
    w.requires_grad = False
    scale(x).sum().backward()
    assert x.grad.tolist() == [2.0]
    assert w.grad is None


NO_NUMBERS = {
    "a text": "text",
    "an object": object(),
    "a dict": {},
    "a complex": 1j,
    "objects": np.array([None, 1]),
    "masked": np.ma.masked_array([1.0, 2.0]),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("place", ["forward", "backward", "hook"])
def test_what_is_no_array_of_numbers_is_refused(kind, place):
    wrong = NO_NUMBERS[kind]

    class Doubled(Function):
        @staticmethod
        def forward(ctx, x):
            return wrong if place == "forward" else x * 2.0

        @staticmethod
        def backward(ctx, ct):
            return wrong if place == "backward" else ct * 2.0

    x = Tensor([1.0, 2.0], requires_grad=True)
    if place == "hook":
        x.register_hook(lambda gradient: wrong)
    with pytest.raises((DTypeError, MaskedArrayError), match=place):
        Doubled.apply(x).sum().backward()
