"""Twelve models of PyTorch packages in a training step: eager, Inductor, and here in two ways.

    python -m benchmarks torch_models [--only gpt2] [--threads 2] [--seconds 4] [--peers inductor]

The models are those of timm, transformers, torch_geometric, diffusers, segmentation_models_pytorch
and PyTorch, with random weights. ``backend`` is ``torch.compile(net, backend="staticgrad")`` with
the optimizer of PyTorch, ``step`` is ``sg.torch.step``. First the result and all gradients of the
first are compared with PyTorch's, then the losses of ten steps of both. Times are the least of a
step, in turns; ``first`` is the first step, with its compilation and empty caches. The peaks are
those of a step beside weights, state of the optimizer and arguments: the arena of ``step``, and the
largest running sum of eager PyTorch's allocations. Where the arena is larger, the largest values
that live at its peak follow the table.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import least_times
from benchmarks.memory.peak_bytes import profiled_bytes
from staticgrad.analysis.plan_check import largest_at_peak

#: Steps whose losses are compared.
STEPS: Final = 10


class Case(NamedTuple):
    """A model, an example of its arguments by name, and its loss.

    Attributes:
        package: where it is from.
        net: a ``torch.nn.Module``.
        example: its arguments by name.
        loss: of its result and the targets.
        targets: further arguments of the loss.
    """

    package: str
    net: Any
    example: dict[str, Any]
    loss: Callable[..., Any]
    targets: tuple[Any, ...]


def _of_images(name: str, size: int, **options: Any) -> Case:
    """A classifier of timm: two images, ten classes."""
    torch = import_module("torch")
    net = import_module("timm").create_model(name, num_classes=10, **options)
    x, y = torch.randn(2, 3, size, size), torch.tensor([1, 7])
    return Case("timm", net, {"x": x}, torch.nn.functional.cross_entropy, (y,))


def _of_tokens(model: str, config: str, **options: Any) -> Case:
    """A language model of transformers: two rows of 32 tokens."""
    torch, transformers = import_module("torch"), import_module("transformers")
    settings = getattr(transformers, config)(vocab_size=100, **options)
    settings._attn_implementation = "sdpa"
    net = getattr(transformers, model)(settings)
    tokens = torch.randint(1, 100, (2, 32))

    def loss(y: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(y["logits"].flatten(0, -2), labels.flatten())

    labels = torch.randint(0, 2, (2,)) if "Classification" in model else tokens
    return Case("transformers", net, {"input_ids": tokens}, loss, (labels,))


def _unet() -> Case:
    torch = import_module("torch")
    net = import_module("segmentation_models_pytorch").Unet(
        "resnet18", encoder_weights=None, classes=3
    )
    x, y = torch.randn(1, 3, 64, 64), torch.randint(0, 3, (1, 64, 64))
    return Case(
        "segmentation_models_pytorch", net, {"x": x}, torch.nn.functional.cross_entropy, (y,)
    )


def _whisper() -> Case:
    torch, whisper = import_module("torch"), import_module("transformers.models.whisper")
    config = whisper.WhisperConfig(
        d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128,
        num_mel_bins=20, max_source_positions=50, dropout=0.0,
    )  # fmt: skip
    net = whisper.modeling_whisper.WhisperEncoder(config)
    return Case(
        "transformers", net, {"input_features": torch.randn(2, 20, 100)},
        lambda y: y["last_hidden_state"].square().mean(), (),
    )  # fmt: skip


def _lstm() -> Case:
    torch = import_module("torch")
    net = torch.nn.LSTM(16, 32, 2, batch_first=True)
    x = torch.randn(4, 12, 16)
    return Case("torch", net, {"input": x}, lambda y: y[0].square().mean(), ())


def _gnn() -> Case:
    torch, geometric = import_module("torch"), import_module("torch_geometric.nn")
    net = geometric.GraphSAGE(16, 32, 2, 7)
    x, edges = torch.randn(40, 16), torch.randint(0, 40, (2, 160))
    y = torch.randint(0, 7, (40,))
    loss = torch.nn.functional.cross_entropy
    return Case("torch_geometric", net, {"x": x, "edge_index": edges}, loss, (y,))


def _vae() -> Case:
    torch = import_module("torch")
    net = import_module("diffusers").AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32), norm_num_groups=4, latent_channels=4,
    )  # fmt: skip
    x = torch.randn(1, 3, 32, 32)
    loss = lambda y, x: (y["sample"] - x).square().mean()  # noqa: E731 - of one model
    return Case("diffusers", net, {"sample": x}, loss, (x,))


_SMALL: Final = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS: Final[dict[str, Callable[[], Case]]] = {
    "resnet18": lambda: _of_images("resnet18", 64),
    "mobilenet": lambda: _of_images("mobilenetv3_small_100", 64),
    "vit": lambda: _of_images("vit_tiny_patch16_224", 64, img_size=64, depth=4),
    "convnext": lambda: _of_images("convnext_atto", 64),
    "unet": _unet,
    "bert": lambda: _of_tokens(
        "BertForSequenceClassification", "BertConfig", intermediate_size=128,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **_SMALL,
    ),
    "gpt2": lambda: _of_tokens(
        "GPT2LMHeadModel", "GPT2Config", n_embd=64, n_layer=2, n_head=4, n_positions=64,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
    ),
    "llama": lambda: _of_tokens(
        "LlamaForCausalLM", "LlamaConfig", intermediate_size=128, num_key_value_heads=2,
        use_cache=False, **_SMALL,
    ),
    "whisper": _whisper,
    "lstm": _lstm,
    "gnn": _gnn,
    "vae": _vae,
}  # fmt: skip


def builders() -> Builders:
    """Return what makes the models."""
    return MODELS


class Trained:
    """A copy of a case with its optimizer, called for a step: eager, or compiled in one way."""

    def __init__(self, case: Case, way: str, threads: int) -> None:
        torch = import_module("torch")
        self.case, self.way = case, way
        self.net = copy.deepcopy(case.net).train()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), 1e-3)
        options = {"threads": threads}
        self.call = self.net
        if way == "backend":
            self.call = torch.compile(self.net, backend=sg.torch.backend, options=options)
        elif way == "inductor":
            self.call = torch.compile(self.net)
        self.program: Any = None
        if way == "step":
            self.program = sg.torch.step(self.net, case.loss, self.optimizer, **options)

    def gradients(self) -> tuple[list[Any], list[Any]]:
        """The tensors of the result, and the gradients of all parameters."""
        torch = import_module("torch")
        self.optimizer.zero_grad()
        y = self.call(**self.case.example)
        self.case.loss(y, *self.case.targets).backward()
        ys = [
            tensor.detach()
            for tensor in torch.utils._pytree.tree_leaves(y)
            if isinstance(tensor, torch.Tensor)
        ]
        return ys, [parameter.grad for parameter in self.net.parameters()]

    def __call__(self) -> Any:
        if self.program is not None:
            return self.program(self.case.example, *self.case.targets)
        self.optimizer.zero_grad()
        loss = self.case.loss(self.call(**self.case.example), *self.case.targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def difference(actual: list[Any], expected: list[Any]) -> float:
    """The greatest difference of tensors, each relative to the largest number in it.

    No gradient is one of zeros, which PyTorch's graphs give of results that the loss does not read.
    """
    worst = 0.0
    for tensor, reference in zip(actual, expected, strict=True):
        if reference is None or tensor is None:
            is_zero = not any(x is not None and bool(x.any()) for x in (tensor, reference))
            worst = max(worst, 0.0 if is_zero else float("inf"))
            continue
        scale = float(reference.abs().max()) if reference.numel() else 0.0
        if reference.is_floating_point() and reference.numel():
            worst = max(worst, float((tensor - reference).abs().max()) / max(scale, 1e-3))
    return worst


def _first(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def row(name: str, options: argparse.Namespace) -> tuple[list[str], str]:
    """The cells of one model, and what its arena holds if PyTorch needs fewer bytes."""
    torch = import_module("torch")
    torch.manual_seed(0)
    case = MODELS[name]()
    count = sum(parameter.numel() for parameter in case.net.parameters())
    ways = ["eager", "backend", "step", *options.peers]
    torch._dynamo.reset()
    cells = [name, case.package, f"{count / 1e6:.2f}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained, firsts, losses, failed = {}, {}, {}, {}
        for way in ways:
            try:
                if way == "backend":
                    pair = [Trained(case, mode, options.threads) for mode in ("eager", way)]
                    (ys, slopes), (expected, expected_slopes) = (
                        pair[1].gradients(),
                        pair[0].gradients(),
                    )
                    torch._dynamo.reset()
                    cells.append(f"{difference(ys, expected):.0e}")
                    cells.append(f"{difference(slopes, expected_slopes):.0e}")
                trained[way] = Trained(case, way, options.threads)
                firsts[way], loss = _first(trained[way])
                losses[way] = [float(loss), *[float(trained[way]()) for _ in range(STEPS - 1)]]
            except Exception as error:
                failed[way] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                if options.traceback:
                    traceback.print_exc()
        cells += ["failed"] * (5 - len(cells))
        for way in ("backend", "step"):
            gaps = [
                abs(a - b) / abs(b)
                for a, b in zip(losses.get(way, []), losses["eager"], strict=False)
            ]
            cells.append(f"{max(gaps):.0e}" if gaps else "failed")
        times = least_times(
            {w: call for w, call in trained.items() if w in losses}, options.seconds
        )
    for way in ways:
        cells.append(f"{times[way] * 1e3:.1f}" if way in times else "-")
    for way in ways[1:]:
        cells.append(f"{firsts[way]:.1f}" if way in times else "-")
    plan = _plan(case, trained["step"] if "step" in losses else None)
    theirs = _allocated_bytes(trained["eager"])
    cells += ["-" if plan is None else f"{plan.peak_bytes / 2**20:.2f}", f"{theirs / 2**20:.2f}"]
    why = ""
    if plan is not None and plan.peak_bytes > theirs:
        why = f"{name}, at the peak of its arena: {'; '.join(largest_at_peak(plan))}"
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = sg.torch.explain(copy.deepcopy(case.net).train(), **case.example)
    outside = {operator for graph in report.graphs for operator, _ in graph.outside}
    cells.append(", ".join([*sorted(outside), *report.breaks]) or "nothing")
    for way, reason in failed.items():
        cells[-1] += f"; {way}: {reason}"
    return cells, why


def _plan(case: Case, step: Trained | None) -> Any:
    """The plan of a step; None if it is not compiled."""
    torch = import_module("torch")
    if step is None or not step.program._programs:
        return None
    (program,) = step.program._programs.values()
    leaves = torch.utils._pytree.tree_leaves((case.example, case.targets))
    tensors = [leaf.numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return program.compile(*tensors).plan()


def _allocated_bytes(eager: Trained) -> int:
    """The bytes that PyTorch allocates in a step that has run before, gradients included."""
    eager.optimizer.zero_grad()
    return profiled_bytes(eager)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks torch_models", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", default=[*MODELS], choices=[*MODELS])
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=4.0, help="measuring time of each way")
    add("--peers", nargs="*", default=["inductor"], choices=["inductor"])
    add("--traceback", action="store_true", help="print the tracebacks of failures")
    options = parser.parse_args()
    torch = import_module("torch")
    torch.set_num_threads(options.threads)
    _declare_operators_of_torchvision()
    machine = describe()
    ways = ["eager", "backend", "step", *options.peers]
    columns = [
        "model", "package", "M", "y", "gradients", "losses: backend", "losses: step",
        *[f"{way} ms" for way in ways], *[f"first: {way} s" for way in ways[1:]], "peak MiB",
        "eager: peak MiB", "PyTorch runs",
    ]  # fmt: skip
    sys.stdout.write(
        "# Models of PyTorch packages\n\n`python -m benchmarks torch_models`: a training step with"
        f" AdamW, float32.\n{machine.processor}, {machine.cores} cores, threads: {options.threads},"
        f" PyTorch {torch.__version__}.\n\n| {' | '.join(columns)} |\n"
        f"|---|---|{'--:|' * (len(columns) - 3)}---|\n"
    )
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        notes = []
        for name in options.only:
            cells, note = row(name, options)
            notes += [note] if note else []
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()
    sys.stdout.write("".join([f"\n{note}\n" for note in notes]))
    return 0


def _declare_operators_of_torchvision() -> None:
    """Let torchvision be imported beside a PyTorch that its compiled part is not for.

    Without that part it has no operators of boxes, which no model here uses.
    """
    torch = import_module("torch")
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except RuntimeError:
        sys.modules.pop("torchvision", None)
        library = torch.library.Library("torchvision", "DEF")
        for name in (
            "nms", "qnms", "roi_align", "_roi_align_backward", "ps_roi_align",
            "_ps_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_pool",
            "_ps_roi_pool_backward", "qroi_align", "deform_conv2d", "_deform_conv2d_backward",
        ):  # fmt: skip
            library.define(f"{name}(Tensor x) -> Tensor")
        vars(_declare_operators_of_torchvision)["library"] = library
        for module in [*sys.modules]:
            if module.startswith("torchvision"):
                del sys.modules[module]
        import_module("torchvision")
