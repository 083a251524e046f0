"""What programs of PyTorch type and means the same here: arguments, methods, namespaces."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, UnknownArgumentError
from staticgrad.language.ir.calls import SYNONYMS

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
    call, wanted = METHODS[name]
    np.testing.assert_allclose(sg.evaluate(call(sg.constant(B))), wanted, rtol=1e-14)
    np.testing.assert_allclose(call(Tensor(B, dtype="float64")).data, wanted, rtol=1e-14)


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
    """What takes ``dim`` or ``lr`` under that name keeps it."""

    def taker(dim, axis=0):
        return dim, axis

    from staticgrad.language.ir.calls import public

    assert public(taker)(dim=3) == (3, 0)
    assert all(word not in own for word, own in SYNONYMS.items())


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
