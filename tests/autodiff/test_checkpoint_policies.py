"""``sg.checkpoint(f, policy=...)``: what is saved is not computed again, and all else is.

The oracles are the function without the mark, whose bytes results and gradients keep, and a count
of the ops that a gradient consists of.
"""

import functools
import pickle
from collections import Counter

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline as read_pipeline
from staticgrad import checkpoint_policies as cp
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, TapeError

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(6, 4)), RNG.normal(size=(4, 4))

#: Policy -> how often the gradient of ``block`` has (matmul, exp, sin, cos).
POLICIES = {
    "everything_saveable": (cp.everything_saveable, (6, 1, 1, 1)),
    "nothing_saveable": (cp.nothing_saveable, (8, 2, 2, 1)),
    "dots_saveable": (cp.dots_saveable, (6, 2, 2, 1)),
    "dots_with_no_batch_dims_saveable": (cp.dots_with_no_batch_dims_saveable, (6, 2, 2, 1)),
    "only h": (cp.save_only_these_names("h"), (7, 1, 2, 1)),
    "only h and p": (cp.save_only_these_names("h", "p"), (6, 1, 2, 1)),
    "dots or h": (
        cp.save_from_both_policies(cp.dots_saveable, cp.save_only_these_names("h")),
        (6, 1, 2, 1),
    ),
    "own": (lambda op, *types: op.name == "sin", (8, 2, 1, 1)),
}


def block(x, w):
    """A product, an exponential and a sine, in two results, the second of which is a view."""
    h = sg.checkpoint_name(sg.exp((x @ w).reshape(4, 6)).reshape(6, 4), "h")
    p = sg.checkpoint_name(h @ w, "p")
    s = sg.sin(p)
    return {"a": s * s, "b": (s + h).T}


def loss(f):
    def of(x, w):
        outputs = f(x, w)
        return (outputs["a"] * outputs["b"].T).sum() + f(outputs["a"], w)["b"].sum()

    return of


def same(actual, expected):
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right), strict=True)


def gradients(f):
    x, w = sg.input("x", (6, 4), "float64"), sg.input("w", (4, 4), "float64")
    out = loss(f)(x, w)
    dx, dw = sg.grad(out, [x, w])
    return sg.Graph({"out": out, "dx": dx, "dw": dw})


@pytest.mark.parametrize("policy", POLICIES)
def test_a_gradient_computes_again_what_is_not_saved(policy):
    saved, expected = POLICIES[policy]
    x, w = sg.input("x", (6, 4), "float64"), sg.input("w", (4, 4), "float64")
    total = sum(v.sum() for v in sg.checkpoint(block, saved)(x, w).values())
    graph = sg.Graph({"total": total, **dict(zip("xw", sg.grad(total, [x, w]), strict=True))})
    passed = read_pipeline("dce,fixpoint(simplify,cse,fold),dce")(graph)
    count = Counter(node.op.name for node in passed.nodes)
    assert tuple(count[name] for name in ("matmul", "exp", "sin", "cos")) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_are_those_without_the_mark_in_every_world(policy):
    saved = POLICIES[policy][0]
    plain, marked = gradients(block), gradients(sg.checkpoint(block, policy=saved))
    feeds = {"x": X, "w": W}
    expected = sg.evaluate(plain, feeds)
    same(sg.evaluate(marked, feeds).values(), expected.values())
    for copy in (sg.parse(str(marked)), pickle.loads(pickle.dumps(marked))):
        assert sg.same_graph(copy, marked)
    tensors = [Tensor(v, dtype="float64", requires_grad=True) for v in (X, W)]
    loss(sg.checkpoint(block, policy=saved))(*tensors).backward()
    for tensor, name in zip(
        tensors, ("dx", "dw"), strict=True
    ):  # a tape adds up calls by themselves
        np.testing.assert_allclose(tensor.grad, expected[name], rtol=1e-12)


@pytest.mark.slow
def test_other_derivatives_are_those_without_the_mark():
    marked, plain = loss(sg.checkpoint(block, policy=POLICIES["dots or h"][0])), loss(block)
    derived = {
        "jvp": lambda f: sg.jvp(f, (X, W), (X, W)),
        "hvp": lambda f: [sg.hvp(lambda w: f(X, w), W, W)],
        "by rows": lambda f: sg.vmap(sg.grad(f, (0, 1)), (0, None))(np.stack([X, 2 * X]), W),
        "over a scan": lambda f: [sg.grad(lambda w: over_a_scan(f, w))(W)],
        "tensors": lambda f: [twice(f)],
    }
    for name, derive in derived.items():
        for left, right in zip(derive(marked), derive(plain), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-12, err_msg=name)


def over_a_scan(f, w):
    last, _ = sg.scan(lambda c, _: (c * 0.5 + sg.tanh(f(X, c)), c), w, length=3)
    return last.sum()


def twice(f):
    """A gradient of a gradient of tensors."""
    from staticgrad.eager import grad

    x, w = (Tensor(v, dtype="float64", requires_grad=True) for v in (X, W))
    (first,) = grad(f(x, w), [w], create_graph=True)
    return grad((first * first).sum(), [w])[0].data


def test_blocks_that_save_nothing_need_less_memory_and_nest():
    def peak(wrap, outer):
        h = sg.input("x", (256, 32))
        weights = [sg.parameter(f"w{k}", np.eye(32, dtype="f4")) for k in range(9)]

        def three(h, ws):
            for w in ws:
                h = wrap(lambda h, w=w: sg.sin(sg.exp(h @ w) @ w))(h)
            return h

        for k in range(0, 9, 3):
            h = outer(three)(h, weights[k : k + 3])
        out = (h * h).mean()
        f = sg.compile(sg.Graph({"loss": out}, sg.optim.SGD(0.1).updates(out, weights)))
        return f.peak_bytes, f.run({"x": np.ones((256, 32), "f4")})["loss"]

    def nothing(f):
        return sg.checkpoint(f, cp.nothing_saveable)

    def as_is(f):
        return f

    (most, expected), *less = [
        peak(*ways) for ways in ((as_is, as_is), (nothing, as_is), (nothing, nothing))
    ]
    sizes = [size for size, _ in less]
    assert most > 1.5 * sizes[0] > 1.8 * sizes[1]
    assert all(value == expected for _, value in less)


def test_a_name_that_no_value_has_is_one_error_at_the_call():
    f = sg.checkpoint(block, policy=cp.save_only_these_names("h", "q"))
    tensors = [Tensor(v, requires_grad=True) for v in (X, W)]
    symbols = [sg.input("x", (6, 4)), sg.input("w", (4, 4))]
    for arguments in (tensors, symbols):
        with pytest.raises(ArgumentError, match=r"no value is named 'q'") as caught:
            f(*arguments)
        assert "the names here are h, p" in str(caught.value)
        assert "test_checkpoint_policies.py" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sg.checkpoint(block, policy="dots"), "'dots'"),
        (lambda: sg.checkpoint(block, policy=cp.save_only_these_names), "makes a policy"),
        (lambda: sg.checkpoint(sg.ones(3), policy=cp.dots_saveable), "is a value"),
        (lambda: sg.checkpoint(sg.sin, lambda op, *t: None)(sg.input("x", ())), "gives None"),
        (lambda: sg.checkpoint_name(sg.ones(3), 3), "not a name"),
        (lambda: cp.save_only_these_names(["a"]), "not a name"),
        (lambda: cp.save_only_these_names(), "without a name"),
        (lambda: cp.save_from_both_policies("a"), "not a policy"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        wrong()


def test_a_function_that_computes_something_else_the_second_time_is_refused():
    calls = []

    def f(x):
        calls.append(0)
        return sg.sin(x) if len(calls) == 1 else sg.cos(x)

    out = sg.checkpoint(f, policy=cp.everything_saveable)(Tensor([1.0], requires_grad=True))
    with pytest.raises(TapeError, match="runs cos where it ran sin"):
        out.sum().backward()


def test_a_function_that_waits_or_yields_is_refused():
    def yields(x):
        yield sg.exp(x)

    async def waits(x):
        return sg.exp(x)

    async def yields_and_waits(x):
        yield sg.exp(x)

    for function in (yields, waits, yields_and_waits, functools.partial(yields)):
        with pytest.raises(ArgumentError, match="waits or yields"):
            sg.checkpoint(function)
