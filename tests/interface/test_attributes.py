"""No attribute of a public class is lost: a renamed one keeps its old name for two versions."""

import pytest

from staticgrad.support.deprecations import deprecated_attribute
from tests.interface.attributes import FILE, attributes, public_classes

#: Attribute that is gone without an old name -> why nobody misses it.
GONE: dict[str, str] = {}
CLASSES = dict(public_classes())
LINES = [line.split() for line in FILE.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("path", "names"), [(path, names) for path, *names in LINES])
def test_each_attribute_of_the_release_before_is_there(path, names):
    assert path in CLASSES, "a public class is gone"
    lost = {name for name in names if f"{path}.{name}" not in GONE} - attributes(CLASSES[path])
    assert lost == set(), "declare the old names: staticgrad/support/deprecations.py"


def test_the_list_has_every_public_class_and_no_needless_reason():
    listed = {path for path, *_ in LINES}
    assert len(listed) > 200
    assert {path.rpartition(".")[0] for path in GONE} <= listed
    for path, reason in GONE.items():
        owner, _, name = path.rpartition(".")
        assert reason
        assert name not in attributes(CLASSES[owner])


def test_an_old_name_counts_as_an_attribute():
    assert isinstance(vars(CLASSES["sg.Graph"])["found"], deprecated_attribute)
    assert {"found", "analyses", "nodes"} <= attributes(CLASSES["sg.Graph"])
