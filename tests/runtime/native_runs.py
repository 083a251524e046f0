"""A program whose runs are native, and feeds that may not be."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import (
    FeedDTypeError,
    FeedError,
    FeedShapeError,
    MaskedArrayError,
    StaticgradError,
)
from staticgrad.native.entry import callables as native_entry
from staticgrad.storage.reservation import SETTLED

needs_entry = pytest.mark.skipif(
    not sg.config.current().jit or native_entry.unused_references() is None,
    reason="there is no native entry",
)


class Program:
    """A step of one parameter, at any number of rows, and what it computes, by hand."""

    def __init__(self, columns=5):
        self.w = sg.parameter("w", np.zeros(columns, np.float32))
        self.x = sg.input("x", ("n", columns), "float32")
        self.bias = sg.input("bias", (), "float32")
        y = self.x * 2.0 + self.w + self.bias
        graph = sg.Graph({"y": y, "total": self.x.sum()}, {self.w: self.w + 1.0})
        self.f = sg.compile(graph)
        self.columns, self.steps = columns, 0
        self.settle()

    def feeds(self, rows=3):
        x = np.arange(rows * self.columns, dtype=np.float32).reshape(rows, self.columns)
        return {"x": x.copy(), "bias": np.array(0.5, np.float32)}

    def settle(self):
        """Run until the locks are reserved."""
        for _ in range(SETTLED):
            self.run(self.feeds())

    def run(self, feeds):
        results = self.f.run(feeds)
        x, bias = np.asarray(feeds["x"]), np.asarray(feeds["bias"])
        np.testing.assert_array_equal(results["y"], x * 2 + self.steps + bias)
        np.testing.assert_array_equal(results["total"], x.sum())
        assert [*results] == ["y", "total"]
        self.steps += 1
        assert self.f.stats.runs == self.steps
        return results


def natively(f):
    """How many runs were native."""
    entry = f._executor._entry
    return 0 if entry is None else int(entry.runs)


def error_of(call, *arguments):
    """What a call raises; at one line of this file, whoever asks."""
    with pytest.raises(StaticgradError) as caught:
        call(*arguments)
    return caught.value


def reshape(feeds):
    feeds["x"].shape = (1, 15) if feeds["x"].shape == (3, 5) else (3, 5)


def resize(feeds):
    feeds["x"].resize((7, 5), refcheck=False)


def reread(feeds):
    feeds["x"].dtype = np.dtype(">f4")


OTHER_FEEDS = {
    "another array": lambda feeds: feeds.update(x=feeds["x"].copy()),
    "a list": lambda feeds: feeds.update(x=feeds["x"].tolist()),
    "a number": lambda feeds: feeds.update(bias=0.25),
    "float64": lambda feeds: feeds.update(x=feeds["x"].astype("f8")),
    "the other byte order": lambda feeds: feeds.update(x=feeds["x"].astype(">f4")),
    "integers": lambda feeds: feeds.update(x=feeds["x"].astype("i4")),
    "strided": lambda feeds: feeds.update(x=np.repeat(feeds["x"], 2, 0)[::2]),
    "in Fortran's order": lambda feeds: feeds.update(x=np.asfortranarray(feeds["x"])),
    "misaligned": lambda feeds: feeds.update(
        x=np.frombuffer(b"0" + feeds["x"].tobytes(), "f4", offset=1).reshape(3, 5)
    ),
    "a subclass": lambda feeds: feeds.update(x=feeds["x"].view(type("Mine", (np.ndarray,), {}))),
    "read-only": lambda feeds: feeds["x"].setflags(write=False),
    "resized": resize,
    "read in the other byte order": reread,
    "of no rows": lambda feeds: feeds.update(x=feeds["x"][:0]),
}


WRONG_FEEDS = {
    "one axis": (lambda feeds: feeds.update(x=feeds["x"][0]), FeedShapeError),
    "other columns": (reshape, FeedShapeError),
    "complex": (lambda feeds: feeds.update(x=feeds["x"] + 1j), FeedDTypeError),
    "text": (lambda feeds: feeds.update(x="text"), FeedDTypeError),
    "masked": (lambda feeds: feeds.update(x=np.ma.masked_array(feeds["x"])), MaskedArrayError),
    "missing": (lambda feeds: feeds.pop("x"), FeedError),
    "unknown": (lambda feeds: feeds.update(z=1), FeedError),
    "another name": (lambda feeds: feeds.update(z=feeds.pop("x")), FeedError),
}
