"""Laws of every public function: derivatives, ``vmap``, eager mode and named sizes.

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
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [tree]


def inputs(recipe, size, arrays):
    pairs = zip(recipe.shapes(size), arrays, strict=True)
    return [sg.input(f"x{k}", shape, a.dtype) for k, (shape, a) in enumerate(pairs)]


def evaluate_inputs(values, xs, arrays):
    """Arrays of values; every input is read."""
    feeds = {f"x{k}": array for k, array in enumerate(arrays)}
    return sg.evaluate([*values, *xs], feeds)[: len(values)]


def weigh(ys, seed=7):
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
    """Return the result of a call, or the class of the error that refuses it."""
    try:
        return call(*args)
    except sg.StaticgradError as error:
        return type(error)


def depend_on(y, xs):
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
    named = {name.partition(" ")[0] for name in RECIPES} | {*WITHOUT}
    assert {*functions()} == named


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
    """Losses are real, directions complex where the function takes complex numbers."""
    check_derivatives(RECIPES[name].of_complex_numbers(), 3)


def check_derivatives(recipe, size):
    arrays = recipe.arrays(size)
    xs = inputs(recipe, size, arrays)
    built = refusal(lambda: leaves(recipe.call(*xs)))
    places = recipe.floating
    if isinstance(built, type) or not places:
        return
    total = weigh(built)
    if isinstance(total, float):
        return  # whole numbers
    wrt = [xs[k] for k in places]
    total = depend_on(total, wrt)
    rng = np.random.default_rng(3)
    ts = [direction(arrays[k], rng) for k in places]
    gradients = sg.grad(total, wrt)
    slope = sum(real((g * t).sum()) for g, t in zip(gradients, ts, strict=True))
    ahead = sg.jvp(total, wrt, ts)
    second = sg.grad(depend_on(slope, wrt), wrt)
    forward = [sg.jvp(depend_on(g, wrt), wrt, ts) for g in gradients]
    results = iter(evaluate_inputs([*gradients, slope, ahead, *second, *forward], xs, arrays))
    slopes, back, front, reverse, over = (
        [next(results) for _ in wrt], next(results), next(results),
        [next(results) for _ in wrt], [next(results) for _ in wrt],
    )  # fmt: skip
    np.testing.assert_allclose(front, back, rtol=1e-9, atol=1e-11)
    scale = 1.0 + max(np.abs(array).max(initial=0.0) for array in reverse)
    for actual, expected in zip(reverse, over, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-10 * scale)

    def at(step):
        shifted = list(arrays)
        for k, t in zip(places, ts, strict=True):
            shifted[k] = arrays[k] + step * t
        return evaluate_inputs([total, *gradients], xs, shifted)

    up, down = at(STEP), at(-STEP)
    difference = [(a - b) / (2 * STEP) for a, b in zip(up, down, strict=True)]
    np.testing.assert_allclose(difference[0], front, rtol=1e-6, atol=1e-7 * (1 + abs(front)))
    for actual, expected in zip(reverse, difference[1:], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * scale)
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
        return evaluate_inputs(leaves(recipe.call(*xs)), xs, arrays)

    literal, named = refusal(run, size), refusal(run, "n")
    if isinstance(literal, type) or isinstance(named, type):
        assert isinstance(literal, type) == isinstance(named, type), (literal, named)
        return
    for first, second in zip(literal, named, strict=True):
        assert (first.shape, first.dtype) == (second.shape, second.dtype)
        # Sums and products of one kind have one order; einsum chooses one by the sizes.
        np.testing.assert_allclose(first, second, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", RECIPES)
def test_vmap_is_single_calls(name):
    recipe = RECIPES[name]
    size = 3
    calls = [recipe.arrays(size, seed) for seed in range(2)]
    if not calls[0]:
        return
    stacks = [np.stack(arrays) for arrays in zip(*calls, strict=True)]
    xs = [sg.input(f"x{k}", stack.shape, stack.dtype) for k, stack in enumerate(stacks)]
    mapped = leaves(sg.vmap(lambda *xs: tuple(leaves(recipe.call(*xs))))(*xs))
    batched = evaluate_inputs(mapped, xs, stacks)
    for number, arrays in enumerate(calls):
        row_inputs = inputs(recipe, size, arrays)
        expected = evaluate_inputs(leaves(recipe.call(*row_inputs)), row_inputs, arrays)
        for result, reference in zip(batched, expected, strict=True):
            np.testing.assert_allclose(result[number], reference, rtol=1e-9, atol=1e-11)


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
    expected = evaluate_inputs(leaves(recipe.call(*xs)), xs, arrays)
    for result, reference in zip(actual, expected, strict=True):
        if name in MAKES_VALUES:
            result = sg.evaluate(result)
        assert np.asarray(result).dtype == reference.dtype
        np.testing.assert_allclose(result, reference, rtol=1e-13, atol=1e-15)
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
    actual = leaves(recipe.call(*(array.tolist() for array in arrays)))
    for result, reference in zip(actual, leaves(recipe.call(*arrays)), strict=True):
        assert not isinstance(result, sg.Value)
        np.testing.assert_array_equal(result, reference)


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
        total, wrt = weigh(built), [xs[k] for k in floating]
        has_gradient = not isinstance(total, float) and bool(wrt)
        grads = sg.grad(depend_on(total, wrt), wrt) if has_gradient else []
        expected = refusal(evaluate_inputs, [*built, *grads], xs, arrays)
        if isinstance(expected, type):
            assert isinstance(actual, type), expected
            return
        for result, reference in zip(actual, expected[: len(built)], strict=True):
            array = result.data if isinstance(result, Tensor | ComplexTensor) else result
            np.testing.assert_allclose(array, reference, rtol=1e-12, atol=1e-14)
        if has_gradient:
            depend_on(weigh(actual), [tensors[k] for k in floating]).backward()
            for k, slope in zip(floating, expected[len(built) :], strict=True):
                found_slope = np.asarray(tensors[k].grad)
                np.testing.assert_allclose(found_slope, slope, rtol=1e-9, atol=1e-11)
