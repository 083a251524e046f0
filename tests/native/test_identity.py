"""The description of the processor: the key of the targets that are stored for it."""

from types import SimpleNamespace

import pytest

from staticgrad.native import identity


class Asked:
    """A function of the C library that gives one number."""

    def __init__(self, number):
        self.number = number

    def __call__(self, *arguments):
        return self.number


def test_linux_says_which_processor_it_is():
    """Without it LLVM is loaded at each start, to ask it for the targets again."""
    described = identity.processor()
    assert described is not None
    assert described == identity.processor.__wrapped__()


@pytest.mark.parametrize("features", [None, 0, 1 << 10])
def test_a_system_that_does_not_describe_its_processor_is_unknown(features, monkeypatch):
    functions = {}
    if features is not None:
        functions["getauxval"] = Asked(features)
    monkeypatch.setattr(identity, "library", lambda: SimpleNamespace(**functions))
    monkeypatch.setattr(identity.platform, "machine", lambda: "aarch64")
    assert identity.processor.__wrapped__() is None


def test_machines_without_a_description_are_unknown(monkeypatch):
    monkeypatch.setattr(identity.platform, "machine", lambda: "riscv64")
    assert identity.processor.__wrapped__() is None
