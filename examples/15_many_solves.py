"""Many small problems at once: what is written for one, over a batch by ``vmap``.

Ridge regressions by Cholesky, one for each of 2,000 data sets; a root by Newton's method, with as
many iterations as each needs; an ensemble that differs in its weights alone.
"""

import numpy as np

import staticgrad as sg

rng = np.random.default_rng(1)


def ridge(a, b, penalty):
    """The coefficients of one regression."""
    return sg.linalg.solve(a.T @ a + penalty * sg.eye(4, dtype="float64"), a.T @ b)


a, b = sg.input("a", ("sets", 30, 4), "float64"), sg.input("b", ("sets", 30), "float64")
fits = sg.compile(sg.vmap(ridge, in_axes=(0, 0, None))(a, b, 0.1))
data = {"a": rng.normal(size=(2000, 30, 4)), "b": rng.normal(size=(2000, 30))}
found = fits.run(data)
one = np.linalg.solve(
    data["a"][7].T @ data["a"][7] + 0.1 * np.eye(4), data["a"][7].T @ data["b"][7]
)
print(f"2,000 systems, number 7 off by {np.abs(found[7] - one).max():.1e} from NumPy's")
assert np.allclose(found[7], one)


def cube_root(c):
    """Newton's method for z**3 = c, and the number of its steps."""

    def step(state):
        z, done = state
        return z - (z**3 - c) / (3 * z**2), done + 1

    return sg.while_loop(lambda s: abs(s[0] ** 3 - c) > 1e-12 * c, step, (c, sg.constant(0)))


c = sg.input("c", ("n",), "float64")
roots, steps = sg.compile(sg.stack([*sg.vmap(cube_root)(c)])).run({"c": [1.0, 8.0, 1e6]})
print("cube roots", roots.round(6), "after", steps.astype(int), "steps")
assert np.allclose(roots, [1, 2, 100])

w1, w2 = sg.input("w1", (16, 5, 32), "float32"), sg.input("w2", (16, 32), "float32")
x = sg.input("x", ("batch", 5), "float32")
votes = sg.vmap(lambda w1, w2: sg.nn.relu(x @ w1) @ w2)(w1, w2)
spread = sg.compile({"mean": votes.mean(axis=0), "std": votes.std(axis=0)}).run(
    {"x": np.ones((3, 5)), "w1": rng.normal(size=(16, 5, 32)), "w2": rng.normal(size=(16, 32))}
)
print(f"ensemble of 16: {spread['mean'][0]:.2f} +- {spread['std'][0]:.2f}")
