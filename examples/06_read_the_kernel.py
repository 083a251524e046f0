"""From a line of Python to the kernel it becomes, each level printed.

The value and the gradient of a sum of squares of tanh: the graph as text (which reads back), the
schedule, the plan, and the generated source that is compiled to machine code.
"""

import numpy as np

import staticgrad as sg

x = sg.input("x", ("n",), "float32")
y = (sg.tanh(x) * sg.tanh(x)).sum()
graph = sg.Graph(outputs={"y": y, "dy/dx": sg.grad(y, x)}, name="squares")


def show(title, text):
    print(f"\n== {title} " + "=" * (76 - len(title)) + f"\n{text}")


show("graph, as built", graph)
assert sg.same_graph(sg.parse(str(graph)), graph), "the text reads back"

f = sg.compile(graph)
show("graph, after the passes (equal tanh nodes are one)", f.graph)
assert str(f.graph).count("tanh(") == 1

show("schedule", f.explain())
plan = f.plan(n=1000)
show("plan for n=1000", f"{len(plan.steps)} steps, an arena of {plan.peak_bytes} bytes")
show("kernels", f.source)

feeds = {"x": np.linspace(-3, 3, 1000, dtype=np.float32)}
found, wanted = f.run(feeds), sg.evaluate(graph, feeds)
assert np.allclose(found["y"], wanted["y"], rtol=1e-6)
assert np.allclose(found["dy/dx"], wanted["dy/dx"], atol=1e-6)
assert f.peak_bytes == plan.peak_bytes, "the run used what was planned"
show("result", f"y = {float(found['y']):.6f}, |dy/dx| <= {np.abs(found['dy/dx']).max():.6f}")
