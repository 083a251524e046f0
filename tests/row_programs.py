"""Random programs over rows: reductions along them, what follows row by row, and gradients."""

import numpy as np

import staticgrad as sg
from staticgrad.types.dim import evaluate

#: Rows and columns, of a few vectors, of a part of one, and of none.
ROWS = (1, 2, 5, 33, 70, 130)
LENGTHS = (0, 1, 3, 16, 37, 100)


class RowProgram:
    """A graph of a handful of values over (rows, length), its feeds and the sizes of its names."""

    def __init__(self, seed, dtype="float32", gradients=True):
        self.random = np.random.default_rng(seed)
        pick = self.random.integers
        self.dtype = dtype
        self.leading = (2,) if pick(4) == 0 else ()
        self.rows, self.length = ROWS[pick(len(ROWS))], LENGTHS[pick(len(LENGTHS))]
        named = pick(2) == 0
        first = sg.dim("n", min=1) if named else self.rows
        self.sizes = {"n": self.rows} if named else {}
        columns = sg.dim("m") if pick(4) == 0 else self.length
        self.sizes |= {} if isinstance(columns, int) else {"m": self.length}
        self.shape = (*self.leading, first, columns)
        self.feeds = {}
        self.elements = [self._input("x", self.shape), self._input("y", self.shape)]
        self.gains = [self._input(name, self.shape[-1:]) for name in "gb"]
        self.per_row = [self._input("r", self.shape[:-1])]
        for _ in range(int(pick(4, 14))):
            self._step()
        outputs = {f"e{k}": v for k, v in enumerate(self._some(self.elements[2:]))}
        outputs |= {f"r{k}": v for k, v in enumerate(self._some(self.per_row[1:]))}
        outputs["last"] = self.elements[-1]
        outputs["columns"] = self._any(self.elements).sum(-2)
        outputs["largest"] = sg.max(self._any(self.elements[2:]), tuple(range(len(self.shape) - 1)))
        if gradients:
            outputs |= self._gradients()
        self.graph = sg.Graph(outputs)

    def _input(self, name, shape):
        extents = [evaluate(extent, self.sizes) for extent in shape]
        self.feeds[name] = self.random.uniform(0.2, 1.2, extents).astype(self.dtype)
        return sg.input(name, shape, self.dtype)

    def _labels(self):
        """A place in each row."""
        if "t" not in self.feeds:
            extents = [evaluate(extent, self.sizes) for extent in self.shape[:-1]]
            self.feeds["t"] = self.random.integers(0, self.length, extents)
            self.labels = sg.input("t", self.shape[:-1], "int64")
        return self.labels

    def _any(self, values):
        return values[int(self.random.integers(len(values)))]

    def _some(self, values):
        return [value for value in values if self.random.integers(4) == 0]

    def _step(self):
        x, y = self._any(self.elements), self._any(self.elements)
        match int(self.random.integers(9)):
            case 0:
                self.elements.append(sg.tanh(x))
            case 1:
                self.elements.append(x * y + 0.5)
            case 2:
                self.elements.append(x * self._any(self.gains))
            case 3:
                self.elements.append(sg.where(x > 0.5, x, sg.abs(y)))
            case 4 | 5:
                row = self._any(self.per_row)
                spread = row.reshape((*self.shape[:-1], 1))
                self.elements.append(x - spread if self.random.integers(2) else spread * sg.exp(-x))
            case 6 if self.length and self.random.integers(2):
                picked = sg.take_along_axis(x, self._labels()[..., None], -1)
                self.per_row.append(sg.tanh(picked[..., 0]))
            case 6:
                self.per_row.append(sg.tanh(x.sum(-1) * 0.1))
            case 7 if isinstance(self.shape[-1], int) and self.length:
                self.per_row.append(sg.max(x, -1) * 0.5)
            case _:
                total = sg.sum(sg.square(x), -1, keepdims=True)
                kept = sg.sqrt(total + 1.0)
                self.per_row.append(kept.reshape(self.shape[:-1]))
                self.elements.append(y / kept)

    def _gradients(self):
        if self.dtype not in ("float32", "float64"):
            return {}
        wanted = [*self.elements[:2], *self.gains, *self.per_row[:1]]
        loss = sg.sum(self.elements[-1] * self._any(self.elements))
        if self.length and self.random.integers(2):
            loss = loss + sg.nn.cross_entropy(self._any(self.elements), self._labels())
        slopes = sg.grad(loss, wanted, allow_disconnected=True)
        names = ("dx", "dy", "dg", "db", "dr")
        return {"loss": loss, **dict(zip(names, slopes, strict=True))}
