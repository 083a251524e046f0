"""Texts and pictures that methods return: IPython shows them as they read, not as quoted lines."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

import staticgrad as sg

displayed = pytest.importorskip("IPython.core.formatters").DisplayFormatter


def test_pictures_of_graphs_are_pictures():
    picture = sg.Graph(sg.tanh(sg.input("x", (3,))), name="g").svg()
    data, _ = displayed().format(picture)
    root = ElementTree.fromstring(data["image/svg+xml"])
    assert root.tag.endswith("svg")
    assert picture.startswith("<svg")
    assert isinstance(picture, str)


@pytest.mark.parametrize(
    "text",
    [
        lambda f, module: f.explain(),
        lambda f, module: f.source,
        lambda f, module: f.kernels[0].source,
        lambda f, module: f.kernels[0].llvm,
        lambda f, module: f.explanation().text(full=True),
        lambda f, module: f.graph.outline(),
        lambda f, module: f.graph.dot(),
        lambda f, module: module.torch_mapping(),
    ],
)
def test_texts_of_several_lines_are_lines(text: Callable[..., str]):
    f = sg.compile(sg.Graph({"y": sg.tanh(sg.input("x", (3,), "float32"))}))
    f.run({"x": np.zeros(3, "float32")})
    returned = text(f, sg.nn.Sequential(sg.nn.Linear(3, 2), sg.nn.Linear(2, 2)))
    data, _ = displayed().format(returned)
    assert "\n" in returned
    assert data == {"text/plain": str(returned)}


def test_a_generator_says_its_seed_and_step():
    generator = sg.random.Generator(7)
    assert repr(generator) == "Generator(seed=7, step=0)"
    generator.step.value = np.uint64(3)
    assert repr(generator) == "Generator(seed=7, step=3)"
