"""Linear regression by gradient descent, against the closed form.

One graph holds the forward pass, the backward pass and the parameter updates. Its batch size is a
name, so one compiled step serves every number of rows.
"""

import numpy as np

import staticgrad as sg

ROWS, FEATURES, STEPS, RATE = 400, 3, 300, 0.1
random = np.random.default_rng(0)
table = random.normal(size=(ROWS, FEATURES))
target = table @ np.array([1.5, -2.0, 0.5]) + 3.0 + 0.1 * random.normal(size=ROWS)

x = sg.input("x", ("rows", FEATURES), "float64")
y = sg.input("y", ("rows",), "float64")
w = sg.parameter("w", np.zeros(FEATURES))
b = sg.parameter("b", np.zeros(()))

residual = x @ w + b - y
loss = (residual * residual).mean()
dw, db = sg.grad(loss, [w, b])
step = sg.compile(sg.Graph(outputs={"loss": loss}, updates={w: w - RATE * dw, b: b - RATE * db}))

print(step.explain(), end="\n\n")

feeds = {"x": table, "y": target}
for count in range(1, STEPS + 1):
    found = float(step.run(feeds)["loss"])
    if count in (1, 10, 100, STEPS):
        print(f"step {count:4}  loss {found:.6f}")

exact, *_ = np.linalg.lstsq(np.c_[table, np.ones(ROWS)], target, rcond=None)
print(f"\ngradient descent  {np.r_[w.value, b.value]}\nleast squares     {exact}")
assert np.allclose(np.r_[w.value, b.value], exact, atol=1e-9)

# Another number of rows: a new plan, no new kernel.
before = step.stats
step.run({"x": table[:7], "y": target[:7]})
print(f"\nplans {before.plans} -> {step.stats.plans}, compiles still {step.stats.compiles}")
assert step.stats.plans == before.plans + 1
assert step.stats.compiles == before.compiles
