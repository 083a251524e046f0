"""Gaussian process regression: hyperparameters by the gradient of the likelihood.

Noisy readings of a wave. The kernel's length, height and noise are parameters; the negative log
likelihood is a Cholesky factor, a triangular solution and a sum of logarithms, and `sg.grad` goes
through all three. LAPACK is called inside of the compiled step, which also updates the parameters.
"""

import numpy as np

import staticgrad as sg

rng = np.random.default_rng(0)
times = np.sort(rng.uniform(0, 10, 120))
readings = np.sin(times) + 0.5 * np.sin(3 * times) + 0.2 * rng.normal(size=times.size)

x = sg.input("x", ("n",), "float64")
y = sg.input("y", ("n",), "float64")
length, height, noise = (sg.parameter(name, 0.0) for name in ("length", "height", "noise"))


def kernel(a: sg.Value, b: sg.Value) -> sg.Value:
    """exp(height)² times a bell of the distance, of width exp(length)."""
    distance = (a[:, None] - b[None, :]) / sg.exp(length)
    return sg.exp(2.0 * height) * sg.exp(-0.5 * distance**2)


covariance = kernel(x, x) + sg.exp(2.0 * noise) * sg.eye(x.shape[0], dtype="float64")
factor = sg.linalg.cholesky(covariance)
white = sg.linalg.solve_triangular(factor, y, lower=True)
loss = 0.5 * (white**2).sum() + sg.log(sg.linalg.diagonal(factor)).sum()

adam = sg.optim.Adam(0.05)
updates = adam.updates(loss, [length, height, noise])
step = sg.compile(sg.Graph({"loss": loss}, updates=updates, name="fit"))
feeds = {"x": times, "y": readings}
for number in range(201):
    now = float(step.run(feeds)["loss"])
    if number % 50 == 0:
        print(f"step {number:3}  loss {now:8.3f}  noise {np.exp(noise.value):.3f}")
assert abs(np.exp(noise.value) - 0.2) < 0.05  # what was added above

# The posterior at other times, of the same graph: mean and deviation.
at = sg.input("at", ("m",), "float64")
between = kernel(x, at)
half = sg.linalg.solve_triangular(factor, between, lower=True)
mean = half.T @ white
deviation = sg.sqrt(sg.exp(2.0 * height) - (half**2).sum(0))
predict = sg.compile({"mean": mean, "deviation": deviation})

new = np.linspace(0.5, 9.5, 50)
found = predict.run({**feeds, "at": new})
truth = np.sin(new) + 0.5 * np.sin(3 * new)
away = np.abs(found["mean"] - truth)
print(f"mean error {away.mean():.3f}, mean deviation {found['deviation'].mean():.3f}")
assert away.mean() < 0.12

# By NumPy, from the same parameters.
scale, width, spread = (np.exp(p.value) for p in (height, length, noise))


def bell(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The kernel, again."""
    return scale**2 * np.exp(-0.5 * ((a[:, None] - b[None, :]) / width) ** 2)


whole = bell(times, times) + spread**2 * np.eye(times.size)
expected = bell(new, times) @ np.linalg.solve(whole, readings)
assert np.allclose(found["mean"], expected, atol=1e-8)

# Without noise two equal times make the matrix singular: the error is at the line of the factor.
noise.value, height.value = -40.0, 0.0
try:
    step.run({"x": np.zeros(3), "y": np.zeros(3)})
except sg.StaticgradError as error:
    print(f"\n{error}")
else:
    raise AssertionError("a matrix that is not positive definite is an error")
