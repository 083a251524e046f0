"""How many hares feed how many lynxes: parameters of an ordinary differential equation, fitted.

`sg.ode.rk4` is a loop of the graph, and its gradient another, so that a thousand steps compile like
one. The equations are those of Lotka and Volterra; the data are a solution of theirs with noise.
"""

import numpy as np

import staticgrad as sg

TRUE = np.array([1.1, 0.4, 0.4, 0.1])  # birth, hunt, death, growth
times = np.linspace(0.0, 12.0, 61)
first = np.array([8.0, 3.0])


def slope(rates):
    """The derivative of (hares, lynxes), for rates that are values."""

    def f(_, y):
        hares, lynxes = y[0], y[1]
        return sg.stack(
            [
                rates[0] * hares - rates[1] * hares * lynxes,
                rates[3] * hares * lynxes - rates[2] * lynxes,
            ]
        )

    return f


data = sg.evaluate(sg.ode.rk4(slope(sg.constant(TRUE)), first, times, steps=10))
data = data * np.exp(np.random.default_rng(0).normal(scale=0.03, size=data.shape))

rates = sg.parameter("log rates", np.log([0.9, 0.3, 0.5, 0.15]))  # positive, whatever steps do
seen = sg.input("seen", (61, 2), "float64")
solution = sg.ode.rk4(slope(sg.exp(rates)), first, times, steps=10)
loss = ((sg.log(solution) - sg.log(seen)) ** 2).mean()
updates = sg.optim.Adam(learning_rate=0.02).updates(loss, [rates])
step = sg.compile(sg.Graph({"loss": loss}, updates=updates))

for number in range(400):
    found = step.run({"seen": data})
    if number % 100 == 99:
        print(f"step {number + 1}, loss {float(found['loss']):.5f}, rates {np.exp(rates.value)}")

# The same by steps of their own size, whose error is held.
k = sg.input("k", (4,), "float64")
end = sg.ode.rk45(slope(k), first, 0.0, 12.0, rtol=1e-8, max_steps=2000)
fixed = sg.ode.rk4(slope(k), first, times, steps=10)[-1]
one, other = sg.evaluate([end, fixed], {"k": TRUE})
print(f"adaptive {one}, fixed {other}")

assert np.allclose(np.exp(rates.value), TRUE, rtol=0.03)
assert np.allclose(one, other, rtol=1e-4)
