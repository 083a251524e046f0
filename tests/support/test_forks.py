"""A fork asks what is registered: before it the newest first, behind it the oldest first."""

import os

import pytest

from staticgrad.support import forks


class Noted(forks.AtFork):
    def __init__(self, name, seen):
        super().__init__()
        self.name, self.seen = name, seen

    def before_fork(self):
        self.seen.append(f"before {self.name}")

    def after_fork(self):
        self.seen.append(f"after {self.name}")

    def after_fork_in_child(self):
        self.seen.append(f"in child {self.name}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_what_was_registered_last_is_held_last_and_given_back_first():
    seen = []
    members = [Noted("a", seen), Noted("b", seen)]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ", ".join(seen).encode())
        os._exit(0)
    os.waitpid(child, 0)
    in_child = os.read(read, 1000).decode()
    os.close(read)
    os.close(write)
    assert seen == ["before b", "before a", "after a", "after b"]
    assert in_child == "before b, before a, in child a, in child b"
    assert len(members) == 2
