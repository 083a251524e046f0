"""No pass changes what a graph takes and gives, however it is run; what it gives is a graph."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import pytest

import staticgrad as sg
from passes.base import Fixpoint, Pass, Pipeline
from staticgrad.errors import PassInterfaceError
from staticgrad.language.ir.graph import Graph
from tests.helpers.cases import check_all

A, B = sg.input("a", ("n", 4)), sg.input("b", (4,))
W, V = sg.parameter("w", np.ones(4, "f4")), sg.parameter("v", np.zeros(4, "f4"))


def program():
    y = sg.tanh(A * W + B)
    return sg.Graph({"y": y, "s": y.sum()}, {W: W - 0.5 * V, V: V + 1.0}, name="program")


def parts(graph):
    return {
        "nodes": graph.nodes,
        "inputs": graph.inputs,
        "parameters": graph.parameters,
        "outputs": graph.outputs,
        "updates": graph.updates,
        "name": graph.name,
    }


def with_parts(graph, **new):
    return Graph.of_parts(**{**parts(graph), **new})


def rebuilt(graph, outputs=None, updates=None, inputs=()):
    return sg.Graph(
        graph.outputs if outputs is None else outputs,
        graph.updates if updates is None else updates,
        inputs=inputs,
    )


STRANGE = {
    "an input of another dtype": (
        lambda g: with_parts(g, inputs=(sg.input("a", ("n", 4), "float64"), B)),
        "input 'a' was",
    ),
    "an input of another shape": (
        lambda g: with_parts(g, inputs=(sg.input("a", (900, 4)), B)),
        "input 'a' was",
    ),
    "another input of that name": (
        lambda g: with_parts(g, inputs=(sg.input("a", ("n", 4)), B)),
        "input 'a' is another node",
    ),
    "one input more": (lambda g: rebuilt(g, inputs=[sg.input("c", (9,))]), "input 'c' is new"),
    "one input less": (lambda g: with_parts(g, inputs=(B,)), "input 'a' is gone"),
    "inputs turned round": (lambda g: with_parts(g, inputs=(B, A)), "order of each input"),
    "an output renamed": (
        lambda g: with_parts(g, outputs={"z": g.outputs["y"], "s": g.outputs["s"]}),
        "output 'y' is gone",
    ),
    "an output more": (
        lambda g: rebuilt(g, {**g.outputs, "z": g.outputs["y"] * 2}),
        "output 'z' is new",
    ),
    "an output of another shape": (
        lambda g: rebuilt(g, {"y": g.outputs["y"][None] * 1.0, "s": g.outputs["s"]}),
        "output 'y' was",
    ),
    "outputs turned round": (
        lambda g: with_parts(g, outputs=dict(reversed(g.outputs.items()))),
        "order of each output",
    ),
    "an update dropped": (lambda g: rebuilt(g, updates={W: W * 2.0}), "parameter 'v' is gone"),
    "an update of another type": (
        lambda g: with_parts(g, updates=((W, sg.constant(np.ones(9, "f4"))), g.updates[1])),
        "update of parameter 'w' was",
    ),
    "an update twice": (lambda g: with_parts(g, updates=(*g.updates, g.updates[0])), "twice"),
    "updates turned round": (
        lambda g: with_parts(g, updates=tuple(reversed(g.updates))),
        "order of each update",
    ),
    "another parameter of that name": (
        lambda g: rebuilt(
            g, {**g.outputs, "s": (g.outputs["y"] * sg.parameter("u", np.ones(4, "f4"))).sum()}
        ),
        "parameter 'u' is not the program's",
    ),
    "a size that no feed tells": (
        lambda g: rebuilt(
            g,
            {**g.outputs, "s": g.outputs["s"] + sg.astype(sg.arange(sg.dim("m")), "float32").sum()},
        ),
        "size 'm' is new",
    ),
    "a text": (lambda g: str(g), "gives .*, not a Graph"),
    "nothing": (lambda g: None, "gives None, not a Graph"),
    "a dict": (lambda g: dict(g.outputs), "gives a dict, not a Graph"),
}


class Strange(Pass, name="strange"):
    """Does one of these things."""

    what: str
    ways: ClassVar = STRANGE

    def __call__(self, graph):
        return self.ways[self.what][0](graph)


def in_a_pipeline(graph_pass, **options):
    return Pipeline((graph_pass,)).run(program(), **options)


def in_a_fixpoint(graph_pass, **options):
    return Pipeline((Fixpoint((graph_pass,), limit=2),)).run(program(), **options)


def in_compile(graph_pass, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATICGRAD_CHECK", str(int(bool(options.get("check")))))
        return sg.compile(program(), pipeline=graph_pass)


def test_a_pass_that_changes_the_interface_is_named():
    def check(what, run, check):
        with pytest.raises(PassInterfaceError, match=f"pass strange.*{STRANGE[what][1]}") as caught:
            run(Strange(what), check=check)
        assert caught.value.code == "SG208"

    check_all(
        check, itertools.product(STRANGE, (in_a_pipeline, in_a_fixpoint, in_compile), (False, True))
    )


def test_also_where_nothing_is_verified():
    with pytest.raises(PassInterfaceError, match="input 'a' is gone"):
        in_a_pipeline(Strange("one input less"), verify=False)
