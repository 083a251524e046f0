"""An LSTM that reads Python's help in one go: its state is kept from one stretch to the next."""

import pydoc_data.topics

import numpy as np
from ways import Found, Way, show

import staticgrad as sg

TOLERANCE = 2e-4
TIMES, HIDDEN, BATCH = 24, 48, 16


class Reader(sg.nn.Module):
    states = ("h", "c")  # kept in state_dict, but no optimizer steps them

    def __init__(self, letters: int) -> None:
        self.letters = sg.nn.Embedding(letters, 16)
        self.lstm = sg.nn.LSTM(16, HIDDEN)
        self.out = sg.nn.Linear(HIDDEN, letters)
        self.h = sg.parameter("h", np.zeros((1, BATCH, HIDDEN), "float32"))
        self.c = sg.parameter("c", np.zeros((1, BATCH, HIDDEN), "float32"))

    def forward(self, codes: sg.Value) -> sg.Value:
        """The logits of the next letters, [time, batch, letter], of [time, batch]."""
        hidden, (h, c) = self.lstm(self.letters(codes), (self.h, self.c))
        self.h.update(sg.stop_gradient(h))
        self.c.update(sg.stop_gradient(c))
        return self.out(hidden)


def run(way: Way, steps: int = 150) -> Found:
    text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    text = text.encode("ascii", "ignore").decode()[: 60_000 // BATCH * BATCH]
    letters = sorted(set(text))
    codes = np.array([letters.index(letter) for letter in text]).reshape(BATCH, -1).T.copy()
    sg.nn.manual_seed(0)
    model, opt = Reader(len(letters)), sg.optim.Adam(2e-2, max_norm=1.0)

    def step(x: sg.Value, y: sg.Value) -> sg.Value:
        loss = sg.nn.cross_entropy(model(x), y, axis=-1)
        opt.minimize(loss)
        return loss

    stepped = way(step)
    rows = [slice(k, k + TIMES) for k in range(0, steps * TIMES, TIMES)]
    losses = [stepped(codes[each], codes[1:][each]) for each in rows]
    return {"losses": np.array(losses), "memory": model.h.value}


def check(found: Found) -> None:
    assert found["losses"][-20:].mean() < 2.6 < found["losses"][:5].mean()


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
