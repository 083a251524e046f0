"""A gradient, a gradient of a gradient, and what is said where there is none.

z = x y + x^2 at (2, 3): dz/dx = y + 2x = 7 and dz/dy = x = 2. Building the graph computes nothing;
`sg.compile` turns it into native code, `run` feeds it numbers.
"""

import numpy as np

import staticgrad as sg

x = sg.input("x", (), "float64")
y = sg.input("y", (), "float64")
z = x * y + x**2

dz_dx, dz_dy = sg.grad(z, [x, y])  # new nodes of the same graph ...
d2z_dx2, d2z_dxdy = sg.grad(dz_dx, [x, y])  # ... which can be differentiated again

graph = sg.Graph(
    outputs={"z": z, "dz/dx": dz_dx, "dz/dy": dz_dy, "d2z/dx2": d2z_dx2, "d2z/dxdy": d2z_dxdy},
    name="hello",
)
print(graph)

at = {"x": 2.0, "y": 3.0}
found = sg.compile(graph).run(at)
print()
for name, value in found.items():
    print(f"{name:8} {value:g}")

wanted = {"z": 10.0, "dz/dx": 7.0, "dz/dy": 2.0, "d2z/dx2": 2.0, "d2z/dxdy": 1.0}
assert {name: float(value) for name, value in found.items()} == wanted

# The same graph by NumPy, node by node: the oracle that compiled results are tested against.
oracle = sg.evaluate(graph, at)
assert all(np.array_equal(found[name], oracle[name]) for name in wanted)

# dz/dy = x does not depend on y. Zero would be right, but a zero that nobody asked for usually
# hides a mistake, so it has to be asked for.
try:
    sg.grad(dz_dy, y)
except sg.StaticgradError as error:
    print(f"\n{error}")
else:
    raise AssertionError("a gradient along no path is an error")

zero = sg.grad(dz_dy, y, allow_disconnected=True)
assert float(sg.compile(zero).run()) == 0.0
