"""Names that PyTorch's ``torch.nn`` and SciPy have as well, and in what their arguments differ.

``python -m tests.peer_names`` writes the guide ``names`` and, where PyTorch is installed, the
signatures in ``torch_signatures.json`` that it is made from.
"""

import inspect
import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy
import scipy.linalg
import scipy.special

import staticgrad as sg
from staticgrad.tools.documentation.site import GUIDE

PAGE = GUIDE / "names.md"
#: The page is about this SciPy; in others some functions are ufuncs, whose arguments have no names.
SCIPY = "1.17"
IS_ABOUT_THE_INSTALLED = scipy.__version__.startswith(f"{SCIPY}.")
SIGNATURES = Path(__file__).parent / "interface" / "torch_signatures.json"
#: Ours -> where PyTorch and SciPy have the same names.
ROOMS = {
    "sg.nn": (sg.nn, ("torch.nn.functional", "torch.nn")),
    "sg.optim": (sg.optim, ("torch.optim",)),
    "sg.special": (sg.special, ("scipy.special",)),
    "sg.linalg": (sg.linalg, ("numpy.linalg", "scipy.linalg")),
}
#: Their word -> ours, wherever it stands.
WORDS = {"dim": "axis", "keepdim": "keepdims", "lr": "learning_rate", "is_causal": "causal",
         "attn_mask": "mask"}  # fmt: skip
#: Their arguments that have no meaning here, or that ours say by other means.
GONE = {
    "inplace", "out", "size_average", "reduce", "_stacklevel", "device", "foreach", "fused",
    "capturable", "differentiable", "maximize", "overwrite_a", "overwrite_b", "check_finite",
    "lapack_driver", "padding_mode", "return_indices", "scale_grad_by_freq", "sparse", "max_norm",
    "norm_type", "_weight", "_freeze", "params",
}  # fmt: skip
#: Their names of operands, which are given by their places.
OPERANDS = {"input", "tensor", "A", "a", "z", "x1", "x2", "arrs", "c_and_lower"}
#: Ours that every member of a family has besides.
BESIDE = {
    "dtype", "init", "seed", "errors", "accumulate", "max_value", "max_norm", "skip_nonfinite",
    "loss_scale", "name",
}  # fmt: skip
#: What arguments do not show.
NOTES = {
    "cross_entropy": "`axis=-1` for classes along the last axis",
    "nll_loss": "`axis=-1` for classes along the last axis",
    "layer_norm": "over the last axis alone",
    "rms_norm": "over the last axis alone",
    "batch_norm": "without running statistics; `sg.nn.BatchNorm1d` keeps them",
    "unfold": "gives [n, c, taps..., windows...]",
    "fold": "takes [n, c, taps..., windows...]",
    "Dropout": "draws by a seed of its own",
    "Adam": "decay of weights is `AdamW`'s",
    "SGD": "`learning_rate` must be given",
    "expm": "real matrices",
}


def signature_text(function):
    """``["x", "axis=-1"]``; None where there is none to read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        first = re.match(r"\s*\w+\((.*?)\) *->", function.__doc__ or "", re.DOTALL)
        return None if first is None else re.sub(r" = ", "=", first[1]).split(", ")
    return [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in parameters
        if p.name != "self"
    ]


def read_torch():
    """The signatures of names that are ours as well, by their full names."""
    import torch

    return {
        f"{home}.{name}": signature_text(getattr(owner, name))
        for room, homes in ROOMS.values()
        for home in homes
        if home.startswith("torch")
        for owner in [eval(home, {"torch": torch})]
        for name in sorted(room.__all__)
        if name[0] != "_" and hasattr(owner, name) and not inspect.ismodule(getattr(owner, name))
    }


def pairs():
    """Ours, theirs, and the arguments of both."""
    torch = json.loads(SIGNATURES.read_text("utf-8"))
    for path, (room, homes) in ROOMS.items():
        for name in sorted(room.__all__):
            for home in homes:
                full = f"{home}.{name}"
                if home.startswith("torch"):
                    theirs = torch.get(full)
                else:
                    function = getattr(eval(home, {"scipy": scipy, "numpy": np}), name, None)
                    by_place = function is None or isinstance(function, np.ufunc)
                    theirs = None if by_place else signature_text(function)
                ours = signature_text(getattr(room, name))
                if theirs is not None and ours is not None and "args" not in theirs:
                    yield f"{path}.{name}", full, ours, theirs
                    break  # NumPy's stands before SciPy's


def difference(ours, theirs):
    """In words, or empty."""
    named = [part.partition("=") for part in theirs]
    mapped = [(WORDS.get(n, n), default) for n, _, default in named]
    our_parameters = [(n, default) for n, _, default in (part.partition("=") for part in ours)]
    default_of = dict(our_parameters)
    mapped = [(n, default) for n, default in mapped if n in default_of or n.lstrip("*") not in GONE]
    for at, (pair, (name, _)) in enumerate(zip(mapped, our_parameters, strict=False)):
        if pair[0] in OPERANDS and pair[0] != name:  # operands are given by their places
            mapped[at] = (name, pair[1])
    their_defaults, our_defaults = dict(mapped), dict(our_parameters)
    phrases = []
    if missing := [n for n in their_defaults if n not in our_defaults]:
        phrases.append("no " + ", ".join(f"`{n}`" for n in missing))
    if more := [n for n in our_defaults if n not in their_defaults and n not in BESIDE]:
        phrases.append("besides " + ", ".join(f"`{n}`" for n in more))
    shared = [n for n in our_defaults if n in their_defaults]
    if shared != [n for n in their_defaults if n in our_defaults]:
        phrases.append("order " + ", ".join(f"`{n}`" for n in shared))
    phrases += [
        f"`{n}` is {our_defaults[n] or 'needed'}, there {their_defaults[n] or 'needed'}"
        for n in shared
        if not _equal(our_defaults[n], their_defaults[n]) and n not in BESIDE
    ]
    return "; ".join(phrases)


def _equal(left, right):
    try:
        return bool(eval(left or "None") == eval(right or "None"))
    except (NameError, SyntaxError):
        return left == right


def page():
    """``guide/names.md`` of the documentation."""
    compared = [(ours, theirs, difference(a, b)) for ours, theirs, a, b in pairs()]
    rows = []
    for ours, theirs, says in compared:
        note = NOTES.get(ours.rpartition(".")[2], "")
        if text := "; ".join(part for part in (says, note) if part):
            rows.append(f"| `{ours}` | `{theirs}` | {text} |")
    words = ", ".join(f"`{ours}` for `{theirs}`" for theirs, ours in WORDS.items())
    return "\n".join([
        "# Names that PyTorch and SciPy have too",
        "",
        f"{len(compared)} functions, layers and optimizers here have the name of one in `torch.nn`,"
        " `torch.optim`, `scipy.special` or `scipy.linalg`. They take the same arguments in the"
        " same order with the same defaults, but for the rules and the table below. NumPy's names"
        " have [a page of their own](numpy.md).",
        "",
        f"- NumPy's words are used: {words}. PyTorch's are taken where they mean the same: `dim`,"
        " `keepdim`, `lr`, `betas`, `is_causal`. Activations, layers and most functions call their"
        " first operand `x`.",
        "- There is no `device`, `inplace`, `out`, nor an argument that chooses an implementation"
        " (`foreach`, `fused`, `overwrite_a`, `check_finite`). Optimizers take no `params`:"
        " `opt.minimize(loss, parameters)` does.",
        "- Layers take `dtype`, `init` and `seed`, factorizations `errors`, optimizers"
        " `accumulate`, `max_value`, `max_norm`, `skip_nonfinite`, `loss_scale` and `name`.",
        "",
        "| here | there | differs |",
        "|---|---|---|",
        *rows,
        "",
        "Written by `python -m tests.peer_names`, and compared by the tests.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    if find_spec("torch") is not None:
        SIGNATURES.write_text(json.dumps(read_torch(), indent=0) + "\n", "utf-8")
    PAGE.write_text(page(), "utf-8")
