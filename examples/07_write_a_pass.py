"""A pass of one's own: three rules as graphs with holes, checked on random feeds, then compiled.

cos(x)**2 + sin(x)**2 is 1, and sine and cosine have a parity. The rules hold for real numbers, not
to the last bit, so each states an error. `staticgrad docs passes` has the rest.
"""

import numpy as np

import staticgrad as sg
from passes.base import Pipeline
from passes.pipelines import pipeline
from passes.rewrite import Rewrite, holes, rule

(x,) = holes("x")


class Circle(Rewrite, name="circle"):
    """Identities of sine and cosine."""

    keeps = "close"  # not byte for byte: what `check=True` holds the pass to
    rules = (
        rule("one", sg.cos(x) * sg.cos(x) + sg.sin(x) * sg.sin(x), 1.0, "value",
             error="two roundings", dtypes="f"),
        rule("sine-is-odd", sg.sin(-x), -sg.sin(x), "value", error="none"),
        rule("cosine-is-even", sg.cos(-x), sg.cos(x), "value", error="none"),
    )  # fmt: skip


angle = sg.input("angle", ("n",), "float32")
c, s = sg.cos(-angle), sg.sin(-angle)
energy = sg.Graph({"energy": (c * c + s * s) * angle}, name="circle")
print(f"before\n{energy}")

passes = pipeline("fixpoint(circle,simplify),dce")
after, reports = passes.run(energy, check=True)  # evaluates before and after, on random feeds
print(f"after {passes}\n{after}", *reports, sep="\n")
assert [node.op.name for node in after.nodes] == ["input"]

f = sg.compile(energy, pipeline=passes)
angles = np.linspace(-3, 3, 7, dtype="float32")
assert np.array_equal(f.run({"angle": angles})["energy"], angles)


class Wrong(Rewrite, name="wrong"):
    """Cosine's parity, written for sine."""

    rules = (rule("sine-is-even", sg.sin(-x), sg.sin(x)),)


try:  # the program is shrunk to the smallest one that the rule gets wrong
    Pipeline((Wrong(),)).run(sg.Graph((s + 1.0) * c), check=True)
except sg.StaticgradError as error:
    print(f"\n{error}")
else:
    raise AssertionError("a wrong rule is found")
