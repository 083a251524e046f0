"""Spellings of PyTorch's programs that mean the same here: arguments, methods, namespaces."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DisconnectedError, UnknownArgumentError
from staticgrad.language.calls.arguments import SYNONYMS

A = np.random.default_rng(0).normal(size=(2, 3, 1))
B = A[..., 0]
POSITIVE = np.exp(B)
INDEX = np.array([[2, 0], [1, 1]])

#: Spelling -> what it is, by NumPy.
METHODS = {
    "view": (lambda x: x.view(3, 2), B.reshape(3, 2)),
    "view of a tuple": (lambda x: x.view((-1,)), B.reshape(-1)),
    "permute": (lambda x: x.permute(1, 0), B.T),
    "permute of a list": (lambda x: x.permute([1, 0]), B.T),
    "unsqueeze": (lambda x: x.unsqueeze(-1), A),
    "expand": (lambda x: x.unsqueeze(2).expand(2, -1, 4), np.repeat(A, 4, 2)),
    "expand by an axis": (lambda x: x.expand(5, -1, -1), np.stack([B] * 5)),
    "gather": (lambda x: x.gather(1, INDEX), np.take_along_axis(B, INDEX, 1)),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -1.0), np.where(B > 0, -1.0, B)),
    "clamp": (lambda x: x.clamp(-0.1, 0.2), np.clip(B, -0.1, 0.2)),
    "clamp from below": (lambda x: x.clamp(min=0.0), np.maximum(B, 0.0)),
    "chunk": (lambda x: x.chunk(2, 1)[0], B[:, :2]),
    "chunk, the rest": (lambda x: x.chunk(2, 1)[1], B[:, 2:]),
    "matmul": (lambda x: x.matmul(x.T), B @ B.T),
    "pow": (lambda x: x.pow(2), B**2),
    "contiguous": (lambda x: x.contiguous(), B),
    "numel": (lambda x: x * 0.0 + x.numel(), np.full_like(B, 6.0)),
    "dim": (lambda x: x * 0.0 + x.dim(), np.full_like(B, 2.0)),
    "abs": (lambda x: x.abs(), np.abs(B)),
    "exp": (lambda x: x.exp(), np.exp(B)),
    "log": (lambda x: x.exp().log(), B),
    "sqrt": (lambda x: x.exp().sqrt(), np.exp(B / 2)),
    "sin": (lambda x: x.sin(), np.sin(B)),
    "cos": (lambda x: x.cos(), np.cos(B)),
    "tanh": (lambda x: x.tanh(), np.tanh(B)),
    "sigmoid": (lambda x: x.sigmoid(), 1 / (1 + np.exp(-B))),
    "t": (lambda x: x.t(), B.T),
    "expand_as": (lambda x: x[:1].expand_as(x), np.stack([B[0]] * 2)),
    "view_as": (lambda x: x.view_as(x.T), B.reshape(3, 2)),
    "type_as": (lambda x: (x > 0).type_as(x), (B > 0) * 1.0),
    "add": (lambda x: x.add(1.5), B + 1.5),
    "sub": (lambda x: x.sub(1.5), B - 1.5),
    "mul": (lambda x: x.mul(x), B * B),
    "div": (lambda x: x.div(4.0), B / 4.0),
    "neg": (lambda x: x.neg(), -B),
    "eq": (lambda x: x.eq(x), B == B),
    "ne": (lambda x: x.ne(x), B != B),
    "lt": (lambda x: x.lt(0.0), B < 0.0),
    "le": (lambda x: x.le(x), np.full(B.shape, True)),
    "gt": (lambda x: x.gt(0.0), B > 0.0),
    "ge": (lambda x: x.ge(x), np.full(B.shape, True)),
    "mm": (lambda x: x.mm(x.t()), B @ B.T),
    "bmm": (lambda x: x.unsqueeze(0).bmm(x.t().unsqueeze(0)), (B @ B.T)[None]),
    "mv": (lambda x: x.mv(x[0]), B @ B[0]),
    "softmax": (lambda x: x.softmax(dim=1), np.exp(B) / np.exp(B).sum(1, keepdims=True)),
    "log_softmax": (lambda x: x.log_softmax(-1), B - np.log(np.exp(B).sum(-1, keepdims=True))),
    "logsumexp": (lambda x: x.logsumexp(0, keepdim=True), np.log(np.exp(B).sum(0, keepdims=True))),
    "relu": (lambda x: x.relu(), np.maximum(B, 0.0)),
    "square": (lambda x: x.square(), B * B),
    "reciprocal": (lambda x: x.reciprocal(), 1.0 / B),
    "rsqrt": (lambda x: x.exp().rsqrt(), np.exp(-B / 2.0)),
    "sign": (lambda x: x.sign(), np.sign(B)),
    "floor": (lambda x: x.floor(), np.floor(B)),
    "ceil": (lambda x: x.ceil(), np.ceil(B)),
    "log1p": (lambda x: x.exp().log1p(), np.log1p(np.exp(B))),
    "expm1": (lambda x: x.expm1(), np.expm1(B)),
    "isnan": (lambda x: x.isnan(), np.full(B.shape, False)),
    "isinf": (lambda x: x.isinf(), np.full(B.shape, False)),
    "unbind": (lambda x: x.unbind(1)[2], B[:, 2]),
    "index_select": (lambda x: x.index_select(1, [2, 0]), B[:, [2, 0]]),
    "narrow": (lambda x: x.narrow(-1, 1, 2), B[:, 1:]),
    "movedim": (lambda x: x.movedim(0, 1), B.T),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, dim=1), np.repeat(B, 2, 1)),
    "triu": (lambda x: x.triu(1), np.triu(B, 1)),
    "tril": (lambda x: x.tril(), np.tril(B)),
    "outer": (lambda x: x[0].outer(x[1]), np.outer(B[0], B[1])),
    "lerp": (lambda x: x.lerp(-x, 0.25), 0.5 * B),
    "sum dim": (lambda x: x.sum(dim=1), B.sum(1)),
    "mean keepdim": (lambda x: x.mean(dim=0, keepdim=True), B.mean(0, keepdims=True)),
    "sg.max dim": (lambda x: sg.max(x, dim=-1), B.max(-1)),
    "softmax dim": (
        lambda x: sg.nn.functional.softmax(x, dim=1),
        np.exp(B) / np.exp(B).sum(1, keepdims=True),
    ),
    "Softmax dim": (lambda x: sg.nn.Softmax(dim=0)(x), np.exp(B) / np.exp(B).sum(0)),
    "concatenate dim": (lambda x: sg.concatenate([x, x], dim=1), np.concatenate([B, B], 1)),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_and_arguments(name):
    call, expected = METHODS[name]
    np.testing.assert_allclose(sg.evaluate(call(sg.constant(B))), expected, rtol=1e-14)
    np.testing.assert_allclose(call(Tensor(B, dtype="float64")).data, expected, rtol=1e-14)


def test_sizes_that_are_named():
    x = sg.input("x", ("n", 4), "float64")
    assert x.view(-1, 2).shape[1] == 2
    assert x.unsqueeze(0).expand(3, -1, -1).shape == (3, *x.shape)
    assert sg.evaluate(sg.stack(x.chunk(2, 1)), {"x": np.ones((3, 4))}).shape == (2, 3, 2)


def test_options_of_optimizers():
    adam = sg.optim.Adam(lr=0.1, betas=(0.5, 0.75))
    assert (adam.learning_rate, adam.beta1, adam.beta2) == (0.1, 0.5, 0.75)
    assert sg.optim.SGD(lr=0.1, momentum=0.9).learning_rate == 0.1
    assert sg.optim.RMSprop is sg.optim.RMSProp
    with pytest.raises(ArgumentError, match="not a pair: beta1, beta2"):
        sg.optim.Adam(betas=0.5)
    with pytest.raises(UnknownArgumentError, match="betas and beta1 are one argument"):
        sg.optim.Adam(betas=(0.5, 0.9), beta1=0.5)


def test_a_name_of_our_own_goes_before_a_synonym():
    """A function that takes ``dim`` or ``lr`` under that name keeps it."""

    def taker(dim, axis=0):
        return dim, axis

    from staticgrad.language.calls.arguments import public

    assert public(taker)(dim=3) == (3, 0)
    assert all(word not in synonyms for word, synonyms in SYNONYMS.items())


def test_derivatives_by_other_names():
    x = np.array([0.5, 2.0])

    def f(a, b):
        return sg.stack([a[0] * b[1], a[1] ** 2])

    expected = np.array([[x[1], 0.0], [0.0, 2.0 * x[1]]])
    for transformed in (sg.jacfwd(f), sg.jacrev(f), sg.jacfwd(f, argnums=0)):
        np.testing.assert_allclose(transformed(x, x), expected)
    np.testing.assert_allclose(sg.elementwise_grad(sg.elementwise_grad(sg.sin))(x), -np.sin(x))
    gradients = sg.grad(lambda a, b: (a * b).sum(), argnum=(0, 1))(x, 2.0 * x)
    np.testing.assert_allclose(gradients, [2.0 * x, x])


def test_products_with_a_hessian_by_the_call_of_autograd():
    def f(x, a, power=3):
        return (a * x**power).sum()

    x, a, v = np.array([2.0, 3.0]), np.array([1.0, 0.5]), np.array([1.0, 10.0])
    product = sg.hessian_vector_product(f)
    np.testing.assert_allclose(product(x, a, v), [12.0, 90.0])  # 6 a x v
    np.testing.assert_allclose(product(x, a, v, power=4), [48.0, 540.0])  # 12 a x^2 v
    linear = sg.hessian_vector_product(f, 1, allow_disconnected=True)
    np.testing.assert_array_equal(linear(x, a, v), [0.0, 0.0])
    with pytest.raises(DisconnectedError):
        sg.hessian_vector_product(f, 1)(x, a, v)
    # of x: 6 a x v + 3 x^2 w; of a: 3 x^2 v
    of_x, of_a = sg.hessian_vector_product(f, argnum=(0, 1))(x, a, (v, -v))
    np.testing.assert_allclose(of_x, [12.0 - 12.0, 90.0 - 270.0])
    np.testing.assert_allclose(of_a, [12.0, 270.0])
    of_words = sg.hessian_vector_product(f, argnums=(0, 1))(x, a, (v, -v), power=2)
    np.testing.assert_allclose(of_words, [[2.0 - 4.0, 10.0 - 60.0], [4.0, 60.0]])
    for words in ({}, {"power": 4}):
        with pytest.raises(ArgumentError, match="argnums is -1, not a place"):
            sg.hessian_vector_product(f, -1)(x, a, v, **words)
    inside = sg.function(lambda x, v: sg.hessian_vector_product(lambda x: (x**3).sum())(x, v))
    np.testing.assert_allclose(inside(x, v), [12.0, 180.0])
    with pytest.raises(ArgumentError, match=r"1 arguments, .* and a vector"):
        product(x)


def test_gradients_by_the_names_of_arguments():
    def f(x, *more, scale=2.0, **words):
        return scale * (x * more[0]).sum() + (words["b"] ** 2).sum()

    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    actual = sg.multigrad_dict(f)(x, y, b=y)
    assert list(actual) == ["x", "more", "scale", "words"]
    np.testing.assert_allclose(actual["x"], 2.0 * y)
    np.testing.assert_allclose(actual["more"][0], 2.0 * x)
    np.testing.assert_allclose(actual["scale"], 13.0)
    np.testing.assert_allclose(actual["words"]["b"], 2.0 * y)
    beside = sg.multigrad_dict(lambda x, y: x.sum(), allow_disconnected=True)(x, y)
    np.testing.assert_array_equal(beside["y"], [0.0, 0.0])
    with pytest.raises(ArgumentError, match=r"multigrad_dict: the function takes \(x\): "):
        sg.multigrad_dict(lambda x: x.sum())(x, y)


def test_checks_by_the_call_of_autograd():
    x = np.array([0.5, 2.0])
    for modes in (None, ["rev"], ("fwd", "rev")):
        assert sg.testing.check_grads(sg.tanh, modes=modes)(x) is None
    check = sg.testing.check_grads(lambda tree, n, at: {"y": tree["w"][at] ** n}, order=1)
    check({"w": x, "b": [1.0, None]}, 2, at=0)

    @sg.custom_vjp(name="tests.a_square_with_a_wrong_rule")
    def square(x):
        return x * x

    @square.rule
    def _(ct, out, x):
        return (3.0 * ct * x,)

    by_second = lambda n, x: n * square(x)  # noqa: E731
    sg.testing.check_grads(by_second)(3.0, x)
    sg.testing.check_grads(lambda n, x: x**n, 1)(3, x)
    with pytest.raises(sg.testing.CheckError, match="order 1"):
        sg.testing.check_grads(by_second, 1)(3.0, x)
    with pytest.raises(ArgumentError, match="modes must be 'fwd' or 'rev', got 'reverse'"):
        sg.testing.check_grads(sg.tanh, modes=["reverse"])
    with pytest.raises(ArgumentError, match="argnums=1, of 1 arguments"):
        sg.testing.check_grads(by_second, 1)(3.0)


def test_functions_of_trees_become_functions_of_vectors():
    def loss(tree, scale=1.0):
        return scale * (tree["w"] ** 2).sum() + tree["b"][0] * tree["w"][0, 1]

    tree = {"w": np.array([[1.0, 2.0]]), "b": (3.0,)}
    flat, unravel, vector = sg.tree.flatten_func(loss, tree)
    np.testing.assert_array_equal(vector, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(flat(vector), [11.0])
    np.testing.assert_array_equal(flat(vector, scale=2.0), [16.0])
    np.testing.assert_allclose(sg.grad(flat)(vector), [2.0, 7.0, 2.0])
    bent = [[2.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 0.0]]
    v = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(sg.hessian_vector_product(flat)(vector, v), bent @ v)
    assert unravel(vector)["w"].shape == (1, 2)
    same, _, _ = sg.tree.flatten_func(lambda tree: tree, tree)
    np.testing.assert_array_equal(same(2.0 * vector), 2.0 * vector)


def test_shapes_are_known_without_a_run():
    def f(tree, scale):
        return {"y": tree["a"] @ tree["b"] * scale, "kept": scale}

    actual = sg.eval_shape(f, {"a": np.ones((2, 3), "float32"), "b": sg.input("b", (3, "n"))}, 2.0)
    assert str(actual["y"]) == "f32[2, n]"
    assert (actual["y"].shape[0], actual["kept"]) == (2, 2.0)

    def never(x):
        return sg.host_call(lambda a: 1 / 0, x, types=x)

    assert sg.eval_shape(never, np.ones(4)).shape == (4,)


def test_trees_are_raveled():
    tree = {"w": np.arange(6.0).reshape(2, 3), "b": [np.float32(7.0), np.array([1, 2])]}
    vector, unravel = sg.tree.ravel_pytree(tree)
    np.testing.assert_array_equal(vector, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 1.0, 2.0])
    again = unravel(vector + 1.0)
    np.testing.assert_array_equal(again["w"], tree["w"] + 1.0)
    assert [array.dtype for array in again["b"]] == ["float32", "int64"]

    def loss(vector):
        return (unravel(vector)["w"] ** 2).sum()

    np.testing.assert_array_equal(sg.grad(loss)(vector)[:6], 2.0 * tree["w"].ravel())
    values, _ = sg.tree.ravel_pytree({"w": sg.constant(tree["w"])})
    assert isinstance(values, sg.Value)
    with pytest.raises(sg.errors.ShapeError, match="a vector of 9 elements"):
        unravel(vector[1:])


def test_functional_is_importable():
    import staticgrad.nn.functional as F  # noqa: N812 - as programs have it

    assert sg.nn.functional is F
    x, w = np.ones((1, 2, 4, 4)), np.ones((3, 2, 2, 2))
    assert sg.evaluate(F.conv2d(x, w)).shape == (1, 3, 3, 3)
    assert sg.evaluate(F.mse_loss([1.0, 2.0], [0.0, 0.0])) == 2.5
    np.testing.assert_allclose(
        sg.evaluate(F.linear(B, np.eye(3)[:2], [1.0, 2.0])), B[:, :2] + [1, 2]
    )
    assert "relu" in dir(F)
    assert "Linear" not in dir(F)
    with pytest.raises(AttributeError, match=r"sg.nn.functional has no 'interpolate'"):
        F.interpolate  # noqa: B018


def test_rows_of_torch_are_those_of_torch():
    """Tests of modules compare them with NumPy; this is beside the originals."""
    torch = pytest.importorskip("torch", reason="compared with PyTorch")
    x, y = B, np.sign(B[::-1])
    for name, operands in (
        ("MSELoss", (x, y)), ("SmoothL1Loss", (x, y)), ("HuberLoss", (x, y)), ("L1Loss", (x, y)),
        ("SoftMarginLoss", (x, y)), ("HingeEmbeddingLoss", (x, y)), ("PoissonNLLLoss", (x, y)),
        ("MultiLabelSoftMarginLoss", (x, (y > 0) * 1.0)), ("BCEWithLogitsLoss", (x, (y > 0) * 1.0)),
        ("MultiMarginLoss", (x, np.array([0, 2]))), ("CrossEntropyLoss", (x, np.array([0, 2]))),
        ("NLLLoss", (x, np.array([0, 2]))), ("MarginRankingLoss", (x, x[::-1].copy(), y)),
        ("CosineEmbeddingLoss", (x, y, np.array([1.0, -1.0]))), ("KLDivLoss", (x, POSITIVE)),
        ("GaussianNLLLoss", (x, y, POSITIVE)), ("TripletMarginLoss", (x, y, POSITIVE)),
        ("CosineSimilarity", (x, y)), ("PairwiseDistance", (x, y)),
        ("Hardshrink", (x,)), ("Softshrink", (x,)), ("Tanhshrink", (x,)), ("Softmin", (x,)),
        ("SELU", (x,)), ("CELU", (x,)), ("Mish", (x,)), ("Hardswish", (x,)), ("ReLU6", (x,)),
    ):  # fmt: skip
        options = {"Softmin": {"dim": -1}, "KLDivLoss": {"reduction": "sum"}}.get(name, {})
        theirs = getattr(torch.nn, name)(**options)(*map(torch.from_numpy, map(np.copy, operands)))
        ours = sg.evaluate(getattr(sg.nn, name)(**options)(*map(sg.constant, operands)))
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, err_msg=name)
