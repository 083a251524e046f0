"""What holds of every public function: derivatives, ``vmap``, eager mode and named sizes.

The programs run by ``sg.evaluate``, node by node, without a compilation. The oracles are central
differences, single calls, and the identity of two ways that share no rule: <v, J t> by forward and
by reverse mode, second derivatives as forward over reverse and as reverse over reverse.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.eager.complex_tensor import ComplexTensor
from staticgrad.exports import MAKES_VALUES
from staticgrad.language.calls.execution import in_graphs
from tests.laws.recipes import PLAIN, WITHOUT, functions, public, recipes

RECIPES = recipes()
SIZES = (0, 1, 2, 5)
STEP = 1e-6


def leaves(tree):
    """The values of a result."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [leaf for each in tree for leaf in leaves(each)]
    return [tree]


def inputs(recipe, size, arrays):
    pairs = zip(recipe.shapes(size), arrays, strict=True)
    return [sg.input(f"x{k}", shape, a.dtype) for k, (shape, a) in enumerate(pairs)]


def evaluated(values, xs, arrays):
    """Arrays of values; every input is read."""
    feeds = {f"x{k}": array for k, array in enumerate(arrays)}
    return sg.evaluate([*values, *xs], feeds)[: len(values)]


def weighted(ys, seed=7):
    """A sum of all elements of real and imaginary parts, each with a weight of its own."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for y in ys:
        if y.dtype.kind in "fc":
            parts = (sg.real(y), sg.imag(y)) if y.dtype.kind == "c" else (y,)
            for part in parts:
                total = total + (part * rng.uniform(0.5, 1.5, part.shape)).sum()
    return total


def refusal(call, *args):
    """What a call gives, or the class of the error by which it is refused."""
    try:
        return call(*args)
    except sg.StaticgradError as error:
        return type(error)


def reached(y, xs):
    """``y``, which depends on all of ``xs``: modes refuse what does not."""
    return y + sum(real((x * 0.0).sum()) for x in xs)


def real(x):
    """The real part of a complex value."""
    return sg.real(x) if x.dtype.kind == "c" else x


def direction(array, rng):
    """Random numbers like those of an array."""
    way = rng.standard_normal(array.shape)
    return way + 1j * rng.standard_normal(array.shape) if array.dtype.kind == "c" else way


def test_every_public_function_has_a_recipe_or_a_reason():
    known = {name.partition(" ")[0] for name in RECIPES} | {*WITHOUT}
    assert {*functions()} == known


@pytest.mark.thinned(2)
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_derivatives(name, size):
    check_derivatives(RECIPES[name], size)


#: Functions whose differences are too coarse for these operands, near a branch point.
COARSE = {"nn.rnn"}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", [n for n in RECIPES if RECIPES[n].floating and n not in COARSE])
def test_derivatives_by_complex_operands(name):
    """Of real losses along complex directions; or the function takes real numbers alone."""
    check_derivatives(RECIPES[name].of_complex_numbers(), 3)


def check_derivatives(recipe, size):
    arrays = recipe.arrays(size)
    xs = inputs(recipe, size, arrays)
    built = refusal(lambda: leaves(recipe.call(*xs)))
    places = recipe.floating
    if isinstance(built, type) or not places:
        return
    total = weighted(built)
    if isinstance(total, float):
        return  # whole numbers
    wrt = [xs[k] for k in places]
    total = reached(total, wrt)
    rng = np.random.default_rng(3)
    ts = [direction(arrays[k], rng) for k in places]
    moved = sg.grad(total, wrt)
    slope = sum(real((g * t).sum()) for g, t in zip(moved, ts, strict=True))
    ahead = sg.jvp(total, wrt, ts)
    second = sg.grad(reached(slope, wrt), wrt)
    forward = [sg.jvp(reached(g, wrt), wrt, ts) for g in moved]
    found = iter(evaluated([*moved, slope, ahead, *second, *forward], xs, arrays))
    slopes, back, front, reverse, over = (
        [next(found) for _ in wrt], next(found), next(found),
        [next(found) for _ in wrt], [next(found) for _ in wrt],
    )  # fmt: skip
    np.testing.assert_allclose(front, back, rtol=1e-9, atol=1e-11)
    scale = 1.0 + max(np.abs(each).max(initial=0.0) for each in reverse)
    for one, other in zip(reverse, over, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10 * scale)

    def at(step):
        there = list(arrays)
        for k, t in zip(places, ts, strict=True):
            there[k] = arrays[k] + step * t
        return evaluated([total, *moved], xs, there)

    up, down = at(STEP), at(-STEP)
    difference = [(a - b) / (2 * STEP) for a, b in zip(up, down, strict=True)]
    np.testing.assert_allclose(difference[0], front, rtol=1e-6, atol=1e-7 * (1 + abs(front)))
    for one, other in zip(reverse, difference[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * scale)
    assert all(slope.shape == arrays[k].shape for k, slope in zip(places, slopes, strict=True))


#: Recipes that differ for a named size, and why.
DIFFERENT = {
    "cov": "of one variable, a literal size, it is a number, as NumPy's",
    "corrcoef": "of one variable, a literal size, it is a number, as NumPy's",
    "squeeze": "without axis= it drops the axes whose size is the number 1",
    "unstack": "the number of results is that of a literal size",
}


@pytest.mark.thinned  # each function at one of the sizes
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in DIFFERENT])
def test_named_sizes_mean_what_numbers_mean(name, size):
    recipe = RECIPES[name]
    arrays = recipe.arrays(size)

    def run(n):
        xs = inputs(recipe, n, arrays)
        return evaluated(leaves(recipe.call(*xs)), xs, arrays)

    literal, named = refusal(run, size), refusal(run, "n")
    if isinstance(literal, type) or isinstance(named, type):
        assert isinstance(literal, type) == isinstance(named, type), (literal, named)
        return
    for one, other in zip(literal, named, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        # Sums and products of one kind have one order; einsum chooses one by the sizes.
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", RECIPES)
def test_vmap_is_single_calls(name):
    recipe = RECIPES[name]
    size = 3
    each = [recipe.arrays(size, seed) for seed in range(2)]
    if not each[0]:
        return
    stacks = [np.stack(arrays) for arrays in zip(*each, strict=True)]
    xs = [sg.input(f"x{k}", stack.shape, stack.dtype) for k, stack in enumerate(stacks)]
    mapped = leaves(sg.vmap(lambda *xs: tuple(leaves(recipe.call(*xs))))(*xs))
    found = evaluated(mapped, xs, stacks)
    for number, arrays in enumerate(each):
        own = inputs(recipe, size, arrays)
        expected = evaluated(leaves(recipe.call(*own)), own, arrays)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[number], other, rtol=1e-9, atol=1e-11)


#: Recipes that give values, or take none, of arrays alone, and why.
NO_ARRAYS = {
    **dict.fromkeys(
        ("at", "at add", "at window", "getitem window"), "a method of values: sg.at(x) takes arrays"
    ),
    **dict.fromkeys(("host_call", "numba_call"), "types= takes a value"),
    "nn.gumbel_softmax": "the state of the generator is a parameter",
}


@pytest.mark.parametrize("name", [n for n in RECIPES if n not in NO_ARRAYS])
def test_of_arrays_alone_functions_compute_at_once(name):
    """Functions that make values (``MAKES_VALUES``) make them; all others give arrays."""
    recipe = RECIPES[name]
    arrays = recipe.arrays(3)
    actual = leaves(recipe.call(*arrays))
    assert not any(isinstance(x, sg.Value) for x in actual) or name in MAKES_VALUES
    xs = inputs(recipe, 3, arrays)
    expected = evaluated(leaves(recipe.call(*xs)), xs, arrays)
    for one, other in zip(actual, expected, strict=True):
        if name in MAKES_VALUES:
            one = sg.evaluate(one)
        assert np.asarray(one).dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)
    if not recipe.name.startswith(("vmap", "getitem")):
        with in_graphs():  # as in a traced function
            built = leaves(recipe.call(*arrays))
        assert all(isinstance(x, sg.Value) for x in built) or name == "size_value"


@pytest.mark.parametrize("name", [n for n in RECIPES if n in " ".join(PLAIN.values()).split()])
def test_lists_of_numbers_are_arrays(name):
    recipe = RECIPES[name]
    if recipe.call is not public(name):
        return  # it computes with its operands
    arrays = recipe.arrays(3)
    found = leaves(recipe.call(*(each.tolist() for each in arrays)))
    for one, other in zip(found, leaves(recipe.call(*arrays)), strict=True):
        assert not isinstance(one, sg.Value)
        np.testing.assert_array_equal(one, other)


@pytest.mark.thinned  # each function at one of the sizes
@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_eager_mode_is_the_graph(name, size):
    recipe = RECIPES[name]
    arrays = recipe.arrays(size)
    xs = inputs(recipe, size, arrays)
    built = refusal(lambda: leaves(recipe.call(*xs)))
    floating = recipe.floating
    tensors = [Tensor(a, requires_grad=k in floating) for k, a in enumerate(arrays)]
    with sg.eager_mode():
        actual = refusal(lambda: leaves(recipe.call(*tensors)))
        if isinstance(built, type):
            assert isinstance(actual, type), built
            return
        total, wrt = weighted(built), [xs[k] for k in floating]
        has_gradient = not isinstance(total, float) and bool(wrt)
        grads = sg.grad(reached(total, wrt), wrt) if has_gradient else []
        expected = refusal(evaluated, [*built, *grads], xs, arrays)
        if isinstance(expected, type):
            assert isinstance(actual, type), expected
            return
        for one, other in zip(actual, expected[: len(built)], strict=True):
            array = one.data if isinstance(one, Tensor | ComplexTensor) else one
            np.testing.assert_allclose(array, other, rtol=1e-12, atol=1e-14)
        if has_gradient:
            reached(weighted(actual), [tensors[k] for k in floating]).backward()
            for k, slope in zip(floating, expected[len(built) :], strict=True):
                found_slope = np.asarray(tensors[k].grad)
                np.testing.assert_allclose(found_slope, slope, rtol=1e-9, atol=1e-11)
