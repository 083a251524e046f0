"""Newton's method for logistic regression: Hessian-vector products by differentiating twice.

H v is the gradient of <gradient, v> with v held fixed: two calls of `sg.grad`, no matrix. The
product is checked against finite differences of the gradient, then used by conjugate gradients.
"""

import numpy as np

import staticgrad as sg

ROWS, FEATURES, RIDGE = 500, 20, 1e-2
random = np.random.default_rng(0)
table = random.normal(size=(ROWS, FEATURES))
truth = random.normal(size=FEATURES)
labels = (random.random(ROWS) < 1 / (1 + np.exp(-table @ truth))).astype(np.float64)

x = sg.input("x", ("rows", FEATURES), "float64")
t = sg.input("t", ("rows",), "float64")
w = sg.input("w", (FEATURES,), "float64")
v = sg.input("v", (FEATURES,), "float64")

# The mean cross-entropy of logits and labels in {0, 1}, and a ridge that makes the minimum unique.
loss = sg.nn.binary_cross_entropy_with_logits(x @ w, t) + 0.5 * RIDGE * (w * w).sum()
slope = sg.grad(loss, w)
product = sg.grad((slope * v).sum(), w)

value = sg.compile({"loss": loss, "slope": slope})
curvature = sg.compile(product)
data = {"x": table, "t": labels}


def gradient(at):
    return value.run({**data, "w": at})["slope"]


def hessian_times(direction, at):
    return curvature.run({"x": table, "w": at, "v": direction})  # labels do not matter to H


# Against central differences of the gradient: error O(h^2).
at, direction, h = 0.1 * truth, random.normal(size=FEATURES), 1e-5
differences = (gradient(at + h * direction) - gradient(at - h * direction)) / (2 * h)
exact = hessian_times(direction, at)
error = np.max(np.abs(exact - differences)) / np.max(np.abs(exact))
print(f"H v by grad of grad against finite differences: relative error {error:.1e}")
assert error < 1e-8

# A Hessian is symmetric: <u, H v> = <v, H u>.
u = random.normal(size=FEATURES)
assert np.isclose(u @ exact, direction @ hessian_times(u, at), rtol=1e-12)


def solve(at, right, tolerance):
    """H s = right by conjugate gradients."""
    s, residual = np.zeros_like(right), right.copy()
    search, norm = residual.copy(), right @ right
    for _ in range(2 * FEATURES):
        if norm <= tolerance**2 * (right @ right):
            break
        image = hessian_times(search, at)
        length = norm / (search @ image)
        s, residual = s + length * search, residual - length * image
        norm, before = residual @ residual, norm
        search = residual + norm / before * search
    return s


at = np.zeros(FEATURES)
for iteration in range(20):
    found = value.run({**data, "w": at})
    norm = np.linalg.norm(found["slope"])
    print(f"iteration {iteration}  loss {float(found['loss']):.12f}  |gradient| {norm:.1e}")
    if norm < 1e-12:
        break
    at = at - solve(at, found["slope"], 1e-10)

assert norm < 1e-12, "Newton converges quadratically"
assert iteration <= 8
