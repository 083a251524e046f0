"""Pictures of what has operands, and pictures as files; read as XML."""

from dataclasses import dataclass
from xml.etree import ElementTree

import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.support.pictures.shown import Picture, boxes, network


@dataclass(frozen=True, eq=False)
class Node:
    """A node of a picture."""

    name: str
    args: tuple


def node(name, *args):
    return Node(name, args)


def drawn(last):
    return network(last, lambda n: n.args, lambda n: n.name)


def texts(picture):
    return [
        element.text for element in ElementTree.fromstring(picture.file()).findall(".//{*}text")
    ]


def places(picture):
    """Text of a box -> its left, top, right and bottom."""
    boxes = {}
    for group in ElementTree.fromstring(picture.file()).findall("{*}g"):
        rect = group.find("{*}rect").attrib
        x, y, width, height = (float(rect[key]) for key in ("x", "y", "width", "height"))
        boxes[group.find("{*}text").text] = x, y, x + width, y + height
    return boxes


def test_a_network_has_each_node_once_and_an_edge_for_each_operand():
    a, b = node("a"), node("<b>")
    c = node("c", a, b)
    picture = drawn(node("d", c, c, a))
    assert sorted(texts(picture)) == ["<b>", "a", "c", "d"]
    assert picture.count('class="edge"') == 5


def test_operands_are_above_what_reads_them_and_no_boxes_overlap():
    leaves = [node(f"leaf {k}") for k in range(5)]
    first = [node(f"first {k}", leaves[k], leaves[k + 1]) for k in range(4)]
    last = node("last", *first, leaves[0])
    where = places(drawn(last))
    for user in (*first, last):
        for arg in user.args:
            assert where[arg.name][3] < where[user.name][1]
    boxes = list(where.values())
    for k, (left, top, right, bottom) in enumerate(boxes):
        for earlier in boxes[:k]:
            apart = (
                right <= earlier[0]
                or earlier[2] <= left
                or bottom <= earlier[1]
                or earlier[3] <= top
            )
            assert apart


def test_several_results_and_chains_deeper_than_pythons_stack_are_drawn_or_refused():
    a = node("a")
    assert sorted(texts(drawn([node("b", a), node("c", a)]))) == ["a", "b", "c"]
    deep = a
    for _ in range(5000):
        deep = node("n", deep)
    with pytest.raises(ValueError, match="at most 400 boxes, got 5001"):
        drawn(deep)


def test_a_picture_as_a_file_has_its_colours_and_needs_no_style_of_a_page():
    text = drawn(node("a", node("b"))).file()
    assert "var(--" not in text
    assert ".sg" not in text
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{*}title").text == "a network of operations"


def test_boxes_of_a_plan_are_as_high_as_their_bytes():
    picture = boxes([("one", 0, 100, 0, 1), ("two", 100, 50, 1, 2)], 150)
    groups = ElementTree.fromstring(picture.file()).findall("{*}g")
    heights = [
        float(group.find("{*}rect").attrib["height"])
        for group in groups
        if group.find("{*}title") is not None
    ]
    assert heights[0] == pytest.approx(2 * heights[1], rel=1e-2)
    assert isinstance(picture, Picture)


def test_a_tape_draws_itself_and_once_released_shows_its_name():
    w = Tensor([[1.0], [2.0]], requires_grad=True)
    loss = (Tensor([[3.0, 4.0]]) @ w).sum()
    shown = loss.grad_fn._repr_html_()
    assert ">sum<" in shown
    assert ">matmul<" in shown
    assert ">f32[2, 1]<" in shown  # the leaf
    node = loss.grad_fn
    loss.backward()
    assert ">sum<" in node._repr_html_()
    assert "matmul" not in node._repr_html_()


def test_the_tape_of_a_long_loop_shows_its_name():
    t = Tensor(1.0, requires_grad=True)
    y = t
    for _ in range(500):
        y = sg.sin(y)
    assert y.grad_fn._repr_html_() == "&lt;SinBackward&gt;"
