"""A small GPT that learns to write what Python's help says, letter by letter."""

import pydoc_data.topics

import numpy as np
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 2e-4
TIMES, WIDTH, HEADS, LAYERS, BATCH = 32, 32, 4, 2, 16


class GPT(sg.nn.Module):
    def __init__(self, letters: int) -> None:
        self.letters = sg.nn.Embedding(letters, WIDTH)
        self.blocks = [
            sg.nn.TransformerBlock(WIDTH, HEADS, causal=True, rotary=True) for _ in range(LAYERS)
        ]
        self.norm = sg.nn.LayerNorm(WIDTH)
        self.head = sg.nn.Linear(WIDTH, letters)

    def forward(self, codes: sg.Value) -> sg.Value:
        """The logits of the letter that follows each one: [batch, time, letter]."""
        x = self.letters(codes)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def letters_of_help() -> tuple[Array, list[str]]:
    """What Python's help says, as numbers, and the letters that they stand for."""
    text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    text = text.encode("ascii", "ignore").decode()[:60_000]
    letters = sorted(set(text))
    return np.array([letters.index(letter) for letter in text]), letters


def run(way: Way, steps: int = 100) -> Found:
    codes, letters = letters_of_help()
    sg.nn.manual_seed(0)
    model, opt = GPT(len(letters)), sg.optim.AdamW(1e-2, max_norm=1.0)

    def step(x: sg.Value, y: sg.Value) -> sg.Value:
        loss = sg.nn.cross_entropy(model(x), y, axis=-1)
        opt.minimize(loss)
        return loss

    stepped, rng, losses = way(step), np.random.default_rng(0), list[Array]()
    for _ in range(steps):
        starts = rng.integers(len(codes) - TIMES - 1, size=BATCH)
        rows = codes[starts[:, None] + np.arange(TIMES + 1)]
        losses.append(stepped(rows[:, :-1], rows[:, 1:]))

    def next_letter(x: sg.Value) -> sg.Value:
        return sg.nn.softmax(model(x)[0, -1])

    chances = way(next_letter)
    written = [letters.index(letter) for letter in "The following statement".rjust(TIMES)]
    for _ in range(min(steps, 40)):
        written.append(int(np.argmax(chances(np.array([written[-TIMES:]])))))
    return {"losses": np.array(losses), "written": np.array(written)}


def check(found: Found) -> None:
    assert found["losses"][-20:].mean() < 2.6 < found["losses"][:5].mean()


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
