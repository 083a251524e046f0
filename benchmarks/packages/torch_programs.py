"""Programs of PyTorch packages: values, gradients, what PyTorch runs, first and steady times.

    python -m benchmarks torch_programs [--only bert mamba] [--seconds 1] [--first] [--peer eager]

Each program runs in processes of its own. ``y`` and ``gradients`` compare the first call of
``torch.compile(net, backend="staticgrad")`` with eager PyTorch, with the same random numbers; where
they differ by more than 1e-5, the differences of both from float64 follow. ``losses`` compares
three steps of ``sg.torch.step`` with eager ones, unless random numbers are drawn, which are others
there. Steady times are the least processor time of a step of stochastic descent, in turns. The
first result is that of forward and backward pass with empty caches, in seconds of all threads;
``--first`` prints where they go, for six programs, with empty caches and with those of an earlier
process. ``--peer`` prints steady times of another backend of ``torch.compile`` beside eager ones,
and the seconds by the clock to its first result, with empty caches; it has 300 seconds for a
program. ``eager`` and ``aot_eager`` compile nothing: they show what guards and broken graphs of
Dynamo cost alone, and with AOTAutograd. ``inductor`` is PyTorch's own compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, Final
from unittest import mock

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import least_times
from benchmarks.packages.torch_models import MODELS, Case, difference
from staticgrad.compiler.compiling.artifacts import Kernels
from staticgrad.torch.aten import backend
from staticgrad.torch.aten.report import count_breaks

#: Backends of PyTorch.
PEERS: Final = ("inductor", "eager", "aot_eager")
#: Programs whose first results are taken apart.
OF_FIRST: Final = ("tv_vit", "bert", "gpt2_dropout", "mamba", "plain_cnn", "lstm_cell")
_SMALL: Final[dict[str, Any]] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def _of_torchvision(name: str, size: int = 64, **options: Any) -> Case:
    """A classifier of torchvision: two images, ten classes."""
    torch, models = import_module("torch"), import_module("torchvision.models")
    net = getattr(models, name)(num_classes=10, **options)
    x, y = torch.randn(2, 3, size, size), torch.tensor([1, 7])
    return Case("torchvision", net, {"x": x}, torch.nn.functional.cross_entropy, (y,))


def _of_transformer(
    model: str, config: str, result: str = "logits", example: Any = None, **settings: Any
) -> Case:
    """A model of transformers on two rows of 32 tokens, or on other arguments."""
    torch, transformers = import_module("torch"), import_module("transformers")
    options = getattr(transformers, config)(**settings)
    net = getattr(transformers, model)(options)
    arguments = example or {"input_ids": torch.randint(1, 100, (2, 32))}
    return Case("transformers", net, arguments, lambda y: y[result].square().mean(), ())


def _clip() -> Case:
    torch, transformers = import_module("torch"), import_module("transformers")
    text = {**_SMALL, "vocab_size": 100, "intermediate_size": 128, "max_position_embeddings": 32,
            "eos_token_id": 99, "bos_token_id": 1, "pad_token_id": 0}  # fmt: skip
    image = {**_SMALL, "intermediate_size": 128, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=32)
    net = transformers.CLIPModel(config)
    example = {
        "input_ids": torch.randint(1, 99, (2, 16)),
        "pixel_values": torch.randn(2, 3, 32, 32),
    }
    return Case("transformers", net, example, lambda y: y["logits_per_image"].square().mean(), ())


def _wav2vec2() -> Case:
    torch, transformers = import_module("torch"), import_module("transformers")
    config = transformers.Wav2Vec2Config(
        vocab_size=20, intermediate_size=64, conv_dim=(16, 16), conv_stride=(5, 2),
        conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, hidden_dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0, layerdrop=0.0,
        mask_time_prob=0.0, **{**_SMALL, "hidden_size": 32},
    )  # fmt: skip
    net = transformers.Wav2Vec2ForCTC(config)
    example = {"input_values": torch.randn(2, 800), "labels": torch.randint(1, 20, (2, 6))}
    return Case("transformers", net, example, lambda y: y["loss"], ())


def _t5() -> Case:
    torch = import_module("torch")
    example = {"input_ids": torch.randint(1, 100, (2, 16)), "labels": torch.randint(1, 100, (2, 8))}
    return _of_transformer(
        "T5ForConditionalGeneration", "T5Config", "logits", example, vocab_size=100, d_model=32,
        d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0, decoder_start_token_id=0,
        use_cache=False,
    )  # fmt: skip


def _modules() -> dict[str, Any]:
    """Define the modules of programs that no package has as a whole."""
    torch = import_module("torch")
    nn = torch.nn

    class Graphs(nn.Module):  # type: ignore[name-defined, misc]
        """GIN with batch normalization and pooling of the best nodes."""

        def __init__(self) -> None:
            super().__init__()
            geometric = import_module("torch_geometric.nn")
            part = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16))
            self.convolve, self.pool = geometric.GINConv(part), geometric.TopKPooling(16, 0.5)
            self.out, self.mean = nn.Linear(16, 3), geometric.global_mean_pool

        def forward(self, x: Any, edges: Any, batch: Any) -> Any:
            h = self.convolve(x, edges).relu()
            h, edges, _, batch, _, _ = self.pool(h, edges, None, batch)
            return self.out(self.mean(h, batch))

    class Solved(nn.Module):  # type: ignore[name-defined, misc]
        """An ordinary differential equation whose field is a network."""

        def __init__(self) -> None:
            super().__init__()
            self.field = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))

        def forward(self, y: Any) -> Any:
            solve = import_module("torchdiffeq").odeint
            times = torch.linspace(0, 1, 5)
            return solve(lambda t, y: self.field(y), y, times, method="rk4")[-1]

    class Cells(nn.Module):  # type: ignore[name-defined, misc]
        """Cells of an LSTM in a loop of Python."""

        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.LSTMCell(8, 32), nn.Linear(32, 3)

        def forward(self, x: Any) -> Any:
            h = c = x.new_zeros(x.shape[1], 32)
            for row in x:
                h, c = self.cell(row, (h, c))
            return self.out(h)

    class Blurred(nn.Module):  # type: ignore[name-defined, misc]
        """Filters of kornia around a convolution."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Any) -> Any:
            filters = import_module("kornia.filters")
            return filters.sobel(self.convolve(filters.gaussian_blur2d(x, (5, 5), (1.5, 1.5))))

    class Marginal(nn.Module):  # type: ignore[name-defined, misc]
        """The marginal likelihood of a Gaussian process of gpytorch, for each point."""

        def __init__(self) -> None:
            super().__init__()
            kernels = import_module("gpytorch.kernels")
            self.kernel = kernels.ScaleKernel(kernels.MaternKernel(nu=2.5))
            self.noise = nn.Parameter(torch.zeros(()))

        def forward(self, x: Any, y: Any) -> Any:
            noise = nn.functional.softplus(self.noise) * torch.eye(len(x))
            factor = torch.linalg.cholesky(self.kernel(x).to_dense() + noise)
            solved = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
            return (solved.square().sum() / 2 + factor.diagonal().log().sum()) / len(x)

    class Rearranged(nn.Module):  # type: ignore[name-defined, misc]
        """Layers and sums of einops."""

        def __init__(self) -> None:
            super().__init__()
            layers = import_module("einops.layers.torch")
            self.patches = layers.Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
            self.inner, self.mean = nn.Linear(48, 32), layers.Reduce("b n c -> b c", "mean")
            self.out = nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            return self.out(self.mean(self.inner(self.patches(x)).relu()))

    return {kind.__name__: kind for kind in (Graphs, Solved, Cells, Blurred, Marginal, Rearranged)}


def _own(name: str, package: str, *shapes: tuple[int, ...]) -> Case:
    """One of the modules here, with normal arguments; its loss is the mean square."""
    torch, net = import_module("torch"), _modules()[name]()
    keys = [*import_module("inspect").signature(net.forward).parameters]
    example = {key: torch.randn(shape) for key, shape in zip(keys, shapes, strict=True)}
    return Case(package, net, example, lambda y: y.square().mean(), ())


def _graphs() -> Case:
    torch = import_module("torch")
    example = {
        "x": torch.randn(30, 8), "edges": torch.randint(0, 30, (2, 90)),
        "batch": torch.arange(3).repeat_interleave(10),
    }  # fmt: skip
    return Case("torch_geometric", _modules()["Graphs"](), example, lambda y: y.square().mean(), ())


def _gat() -> Case:
    torch, geometric = import_module("torch"), import_module("torch_geometric.nn")
    net = geometric.GAT(16, 32, 2, 7, heads=4)
    example = {"x": torch.randn(40, 16), "edge_index": torch.randint(0, 40, (2, 160))}
    return Case("torch_geometric", net, example, lambda y: y.square().mean(), ())


def _cnn() -> Case:
    torch = import_module("torch")
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3),
        nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 9, 10),
    )  # fmt: skip
    x = torch.randn(8, 1, 12, 12)
    return Case("torch", net, {"input": x}, lambda y: y.square().mean(), ())


def _of_graph(name: str, *settings: int, **options: Any) -> Case:
    """A layer or model of torch_geometric on 40 nodes, 16 numbers each, and 160 edges."""
    torch, geometric = import_module("torch"), import_module("torch_geometric.nn")
    net = getattr(geometric, name)(16, *settings, **options)
    example = {"x": torch.randn(40, 16), "edge_index": torch.randint(0, 40, (2, 160))}
    return Case("torch_geometric", net, example, lambda y: y.square().mean(), ())


def _of_package(place: str, *shapes: tuple[int, ...], result: Any = None, **options: Any) -> Case:
    """A module, ``package.module:Name``, of normal numbers.

    ``result`` names the part of what the module returns that the loss reads.
    """
    torch, (module, _, name) = import_module("torch"), place.partition(":")
    net = getattr(import_module(module), name)(**options)
    keys = [*import_module("inspect").signature(net.forward).parameters]
    example = {key: torch.randn(shape) for key, shape in zip(keys, shapes, strict=False)}
    loss = lambda y: (y if result is None else y[result]).square().mean()  # noqa: E731 - of a case
    return Case(module.partition(".")[0], net, example, loss, ())


def _diffusion() -> Case:
    torch = import_module("torch")
    case = _of_package(
        "diffusers:UNet2DModel", (2, 3, 16, 16), result="sample", sample_size=16,
        block_out_channels=(16, 32), norm_num_groups=4, layers_per_block=1,
        attention_head_dim=8, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    case.example["timestep"] = torch.tensor([3, 500])
    return case


def _conformer() -> Case:
    torch, module = import_module("torch"), import_module
    encoder = module("speechbrain.lobes.models.transformer.Conformer").ConformerEncoder
    net = encoder(2, 32, 64, 4, kernel_size=7, dropout=0.0)
    positions = module("speechbrain.nnet.attention").RelPosEncXL(32)(torch.zeros(1, 20, 32))
    example = {"src": torch.randn(2, 20, 32), "pos_embs": positions}
    return Case("speechbrain", net, example, lambda y: y[0].square().mean(), ())


def _decoder() -> Case:
    """A decoder of x_transformers with rotary embeddings and gated layers."""
    torch, module = import_module("torch"), import_module("x_transformers")
    layers = module.Decoder(dim=64, depth=2, heads=4, rotary_pos_emb=True, ff_glu=True)
    net = module.TransformerWrapper(num_tokens=100, max_seq_len=32, attn_layers=layers)
    example = {"x": torch.randint(1, 100, (2, 32))}
    return Case("x_transformers", net, example, lambda y: y.square().mean(), ())


def _of_images(model: str, config: str, result: str, size: int, **settings: Any) -> Case:
    """A model of transformers on two images."""
    example = {"pixel_values": import_module("torch").randn(2, 3, size, size)}
    return _of_transformer(model, config, result, example, **settings)


def _of_timm(name: str, size: int, **options: Any) -> Case:
    torch = import_module("torch")
    net = import_module("timm").create_model(name, num_classes=10, **options)
    x, y = torch.randn(2, 3, size, size), torch.tensor([1, 7])
    return Case("timm", net, {"x": x}, torch.nn.functional.cross_entropy, (y,))


_TOKENS: Final[dict[str, Any]] = {
    "vocab_size": 100,
    "intermediate_size": 128,
    "use_cache": False,
    **_SMALL,
}
_GPT2: Final[dict[str, Any]] = {
    "vocab_size": 100, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "use_cache": False,
}  # fmt: skip
_BERT: Final[dict[str, Any]] = {
    "vocab_size": 100, "intermediate_size": 128, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, **_SMALL,
}  # fmt: skip
PROGRAMS: Final[dict[str, Callable[[], Case]]] = {
    "tv_mobilenet": lambda: _of_torchvision("mobilenet_v3_small"),
    "tv_vit": lambda: _of_torchvision(
        "VisionTransformer", 32, image_size=32, patch_size=8, num_layers=3, num_heads=4,
        hidden_dim=64, mlp_dim=128,
    ),
    "tv_squeezenet": lambda: _of_torchvision("squeezenet1_1"),
    "tv_shufflenet": lambda: _of_torchvision("shufflenet_v2_x0_5", 128),
    "mambaout": lambda: _of_timm("test_mambaout", 96),
    "timm_vit": lambda: _of_timm("test_vit", 160),
    "timm_convnext": lambda: _of_timm("test_convnext", 96),
    "bert": lambda: _of_transformer("BertModel", "BertConfig", "last_hidden_state", **_BERT),
    "electra": lambda: _of_transformer(
        "ElectraModel", "ElectraConfig", "last_hidden_state", embedding_size=32, **_BERT
    ),
    "llama": lambda: _of_transformer("LlamaForCausalLM", "LlamaConfig", **_TOKENS),
    "qwen2": lambda: _of_transformer(
        "Qwen2ForCausalLM", "Qwen2Config", num_key_value_heads=2, **_TOKENS
    ),
    "mixtral": lambda: _of_transformer(
        "MixtralForCausalLM", "MixtralConfig", num_key_value_heads=2, num_local_experts=4, **_TOKENS
    ),
    "gpt2_dropout": lambda: _of_transformer("GPT2LMHeadModel", "GPT2Config", **_GPT2),
    "mamba": lambda: _of_transformer(
        "MambaForCausalLM", "MambaConfig", vocab_size=100, hidden_size=32, num_hidden_layers=2,
        state_size=4, use_cache=False,
    ),
    "whisper": MODELS["whisper"],
    "gemma2": lambda: _of_transformer(
        "Gemma2ForCausalLM", "Gemma2Config", head_dim=16, num_key_value_heads=2, sliding_window=8,
        **_TOKENS,
    ),
    "clip": _clip,
    "deberta": lambda: _of_transformer(
        "DebertaV2Model", "DebertaV2Config", "last_hidden_state", relative_attention=True,
        pos_att_type=["p2c", "c2p"], **_BERT,
    ),
    "longformer": lambda: _of_transformer(
        "LongformerModel", "LongformerConfig", "last_hidden_state", attention_window=16,
        max_position_embeddings=130, **_BERT,
    ),
    "distilbert": lambda: _of_transformer(
        "DistilBertModel", "DistilBertConfig", "last_hidden_state", vocab_size=100, dim=64,
        hidden_dim=128, n_layers=2, n_heads=4, dropout=0.0, attention_dropout=0.0,
    ),
    "xlnet": lambda: _of_transformer(
        "XLNetLMHeadModel", "XLNetConfig", vocab_size=100, d_model=64, n_layer=2, n_head=4,
        d_inner=128, dropout=0.0,
    ),
    "falcon": lambda: _of_transformer(
        "FalconForCausalLM", "FalconConfig", vocab_size=100, use_cache=False, **_SMALL
    ),
    "phi": lambda: _of_transformer("PhiForCausalLM", "PhiConfig", **_TOKENS),
    "bloom": lambda: _of_transformer(
        "BloomForCausalLM", "BloomConfig", vocab_size=100, hidden_size=64, n_layer=2, n_head=4,
        use_cache=False,
    ),
    "rwkv": lambda: _of_transformer(
        "RwkvForCausalLM", "RwkvConfig", vocab_size=100, hidden_size=32, num_hidden_layers=2,
        use_cache=False,
    ),
    "segformer": lambda: _of_images(
        "SegformerForSemanticSegmentation", "SegformerConfig", "logits", 32,
        hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 2, 4], depths=[1, 1, 1, 1],
        decoder_hidden_size=32, num_labels=5, drop_path_rate=0.0, classifier_dropout_prob=0.0,
    ),
    "dinov2": lambda: _of_images(
        "Dinov2Model", "Dinov2Config", "last_hidden_state", 32, image_size=32, patch_size=8,
        **_SMALL,
    ),
    "swin": lambda: _of_images(
        "SwinModel", "SwinConfig", "last_hidden_state", 32, image_size=32, patch_size=2,
        embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, drop_path_rate=0.0,
    ),
    "detr": lambda: _of_images(
        "DetrForObjectDetection", "DetrConfig", "pred_boxes", 64, backbone="resnet18",
        use_timm_backbone=True, use_pretrained_backbone=False, d_model=32, encoder_layers=1,
        decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_attention_heads=4, num_queries=10, dropout=0.0,
    ),
    "wav2vec2": _wav2vec2,
    "t5": _t5,
    "gin_topk": _graphs,
    "gat": _gat,
    "sage": MODELS["gnn"],
    "gcn": lambda: _of_graph("GCN", 32, 2, 7),
    "graph_transformer": lambda: _of_graph("TransformerConv", 8, heads=4),
    "gatv2": lambda: _of_graph("GATv2Conv", 8, heads=4, add_self_loops=False),
    "odeint": lambda: _own("Solved", "torchdiffeq", (16, 4)),
    "einops": lambda: _own("Rearranged", "einops", (4, 3, 16, 16)),
    "gpytorch": lambda: _own("Marginal", "gpytorch", (20, 2), (20,)),
    "kornia": lambda: _own("Blurred", "kornia", (2, 3, 16, 16)),
    "diffusion": _diffusion,
    "monai_unet": lambda: _of_package(
        "monai.networks.nets:UNet", (1, 1, 16, 16, 16), spatial_dims=3, in_channels=1,
        out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=1,
    ),
    "smp_unet": lambda: _of_package(
        "segmentation_models_pytorch:Unet", (2, 3, 64, 64), encoder_name="resnet18",
        encoder_weights=None, classes=2,
    ),
    "x_transformers": _decoder,
    "ecapa": lambda: _of_package(
        "speechbrain.lobes.models.ECAPA_TDNN:ECAPA_TDNN", (2, 50, 20), input_size=20,
        channels=[32, 32, 32, 32, 96], attention_channels=16, lin_neurons=24,
    ),
    "conformer": _conformer,
    "e3nn": lambda: _of_package(
        "e3nn.o3:FullyConnectedTensorProduct", (20, 24), (20, 4), irreps_in1="6x0e + 6x1o",
        irreps_in2="1x0e + 1x1o", irreps_out="4x0e + 4x1o",
    ),
    "plain_cnn": _cnn,
    "lstm_cell": lambda: _own("Cells", "torch", (10, 4, 8)),
}  # fmt: skip


def builders() -> Builders:
    """Return what makes the programs."""
    return PROGRAMS


class Watch:
    """Seconds of the main thread in stages of a first result, without stages inside of them."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._last = time.thread_time()

    def _pass_time(self) -> None:
        now = time.thread_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._last
        self._last = now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what runs inside as this stage."""
        self._pass_time()
        self._open.append(name)
        try:
            yield
        finally:
            self._pass_time()
            self._open.pop()

    def time_stage(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, whose time is that of a stage."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return run

    @contextlib.contextmanager
    def over_backend(self) -> Iterator[None]:
        """Count the stages of the backend inside."""
        with contextlib.ExitStack() as stack:
            for owner, attribute, name in (
                (backend, "_compile_aten_graph", "building"),
                (backend, "compile_graph", "passes and kernels"),
                (Kernels, "begin", "LLVM's text"),
                (backend._Runs, "__init__", "reading"),
            ):
                timed = self.time_stage(name, getattr(owner, attribute))
                stack.enter_context(mock.patch.object(owner, attribute, timed))
            yield


def _gradients(net: Any, call: Any, case: Case) -> tuple[list[Any], list[Any]]:
    """Return the tensors of the result, and the gradients of all parameters."""
    torch = import_module("torch")
    net.zero_grad()
    y = call(**case.example)
    case.loss(y, *case.targets).backward()
    leaves = torch.utils._pytree.tree_leaves(y)
    tensors = [leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return tensors, [p.grad.clone() if p.grad is not None else None for p in net.parameters()]


def _in_float64(case: Case) -> Case:
    """Return a copy of a case whose floating numbers are float64."""
    torch = import_module("torch")
    double = lambda x: x.double() if x.is_floating_point() else x  # noqa: E731 - of a tree
    trees = torch.utils._pytree.tree_map_only(torch.Tensor, double, (case.example, case.targets))
    return Case(case.package, copy.deepcopy(case.net).double(), trees[0], case.loss, trees[1])


def _prepare_case(name: str) -> tuple[Any, Case]:
    """Return PyTorch, set to one thread, and a program in training mode, of the first seed."""
    torch = import_module("torch")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    case = PROGRAMS[name]()
    case.net.train()
    return torch, case


def _measure_program(name: str, seconds: float) -> dict[str, Any]:
    """Return the figures of one program, in this process."""
    torch, case = _prepare_case(name)
    row: dict[str, Any] = {"name": name, "package": case.package}
    eager = copy.deepcopy(case.net)
    torch.manual_seed(1)
    expected = _gradients(eager, eager, case)
    draws = difference(_gradients(eager, eager, case)[0], expected[0]) > 1e-6
    notes: list[Any] = []
    watch = Watch()

    def compile_graph(graph: Any, example: Any) -> Any:
        with watch.stage("AOTAutograd"):
            return backend.compile_dynamo_graph(graph, example, {"threads": 1}, notes.append)

    net = copy.deepcopy(case.net)
    call = torch.compile(net, backend=compile_graph)
    torch.manual_seed(1)
    breaks_before = count_breaks()
    start = time.process_time()
    with watch.over_backend(), watch.stage("Dynamo and the run"):
        actual = _gradients(net, call, case)
    row["first"] = time.process_time() - start
    row["stages"] = {**watch.seconds, "other threads": row["first"] - sum(watch.seconds.values())}
    row["y"], row["gradients"] = map(difference, actual, expected)
    if max(row["y"], row["gradients"]) > 1e-5:
        with contextlib.suppress(Exception):  # a program that is written for float32
            exact = _in_float64(case)
            torch.manual_seed(1)
            _, slopes = _gradients(exact.net, exact.net, exact)
            row["exact"] = [difference(pair[1], slopes) for pair in (actual, expected)]
    row["graphs"] = sum(note.kind != "backward" for note in notes)
    row["programs"] = sum(len(runs.programs) for note in notes for runs in note.runs)
    row["outside"] = sorted({operator for note in notes for operator, _ in note.outside})
    row["breaks"] = [why for why, count in count_breaks().items() if count > breaks_before[why]]
    calls: dict[str, Callable[[], Any]] = {}
    for way, trained, function in (("eager", eager, eager), ("backend", net, call)):
        calls[way] = _training_step(case, trained, function)
    try:
        stepped = copy.deepcopy(case.net)
        optimizer = torch.optim.SGD(stepped.parameters(), lr=1e-3)
        program = sg.torch.step(stepped, case.loss, optimizer, threads=1)
        start = time.process_time()
        losses = [float(program(case.example, *case.targets))]
        row["step first"] = time.process_time() - start
        losses += [float(program(case.example, *case.targets)) for _ in range(2)]
        eager.load_state_dict(case.net.state_dict())
        reference = [float(calls["eager"]()) for _ in range(3)]
        gaps = [abs(a - b) / abs(b) for a, b in zip(losses, reference, strict=True)]
        row["losses"] = None if draws else max(gaps)
        calls["step"] = partial(program, case.example, *case.targets)
    except Exception as error:
        without_folders = re.sub(r"\S*/site-packages/", "", str(error))
        row["refused"] = " ".join(without_folders.split())[:300]
    row["ms"] = {
        way: 1e3 * time_ for way, time_ in least_times(calls, seconds, time.process_time).items()
    }
    return row


def _measure_peer(name: str, seconds: float, peer: str) -> dict[str, Any]:
    """Return the figures of one program by eager PyTorch and a backend, in this process."""
    torch, case = _prepare_case(name)
    eager, net = copy.deepcopy(case.net), copy.deepcopy(case.net)
    torch.manual_seed(1)
    expected = _gradients(eager, eager, case)
    call = torch.compile(net, backend=peer)
    torch.manual_seed(1)
    start = time.perf_counter()
    actual = _gradients(net, call, case)
    first = time.perf_counter() - start
    calls = {
        "eager": _training_step(case, eager, eager), "peer": _training_step(case, net, call),
    }  # fmt: skip
    times = least_times(calls, seconds, time.process_time)
    ms = {way: 1e3 * time_ for way, time_ in times.items()}
    gaps = [*map(difference, actual, expected)]
    return {"name": name, "first": first, "y": gaps[0], "gradients": gaps[1], "ms": ms}


def _training_step(case: Case, trained: Any, function: Any) -> Callable[[], Any]:
    """Return a step of stochastic descent of a net, whose results a function computes."""
    optimizer = import_module("torch").optim.SGD(trained.parameters(), lr=1e-3)

    def step() -> Any:
        trained.zero_grad()
        loss = case.loss(function(**case.example), *case.targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


#: Seconds for a peer and a program.
_PATIENCE: Final = 300


def _run_apart(name: str, seconds: float, folder: str, peer: str = "") -> dict[str, Any]:
    """Measure a program in another process, whose caches are in a folder."""
    command = [sys.executable, "-m", "benchmarks", "torch_programs", "--here", name]
    environment = {
        **os.environ, "STATICGRAD_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder,
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }  # fmt: skip
    try:
        done = subprocess.run(
            [*command, "--seconds", str(seconds), *(["--peer", peer] if peer else [])],
            env=environment, capture_output=True, text=True, check=False,
            timeout=_PATIENCE if peer else None,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"name": name, "failed": f"no result within {_PATIENCE} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"name": name, "failed": (done.stderr.strip().splitlines() or ["no result"])[-1]}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table of programs."""
    if "failed" in row:
        return [row["name"], *["-"] * 11, f"failed: {row['failed']}"]
    gradients = f"{row['gradients']:.0e}"
    if "exact" in row:
        gradients += " ({:.0e} / {:.0e})".format(*row["exact"])
    ms = row["ms"]
    by_pytorch = Counter(row["outside"])
    remarks = [*by_pytorch, *[f"break: {why[:60]}" for why in row["breaks"]]]
    if "refused" in row:
        remarks.append(f"step: {row['refused']}")
    return [
        row["name"], row["package"], f"{row['y']:.0e}", gradients,
        "refused" if "refused" in row else "draws" if row["losses"] is None
        else f"{row['losses']:.0e}",
        f"{row['graphs']} / {row['programs']}",
        *[f"{ms[way]:.2f}" if way in ms else "-" for way in ("eager", "backend", "step")],
        f"{ms['eager'] / ms['backend']:.2f}",
        f"{ms['eager'] / ms['step']:.1f}" if "step" in ms else "-",
        f"{row['first']:.1f}", f"{row['step first']:.1f}" if "step first" in row else "-",
        "; ".join(remarks) or "nothing",
    ]  # fmt: skip


def _print_table(columns: list[str], text_columns: int) -> None:
    aligned = "---|" * text_columns + "--:|" * (len(columns) - text_columns - 1) + "---|"
    sys.stdout.write(f"| {' | '.join(columns)} |\n|{aligned}\n")


def _print_first(only: list[str]) -> None:
    """Print where first results go, with empty caches and with those of the process before."""
    names = [
        "Dynamo and the run", "AOTAutograd", "reading", "building", "passes and kernels",
        "LLVM's text", "other threads",
    ]  # fmt: skip
    _print_table(["program", "caches", "first s", *names[:-1], names[-1]], 2)
    for name in only:
        with tempfile.TemporaryDirectory() as folder:
            for caches in ("empty", "full"):
                row = _run_apart(name, 0.0, folder)
                if "failed" in row:
                    sys.stdout.write(f"| {name} | {caches} | failed: {row['failed']} |\n")
                    continue
                stages = [f"{row['stages'].get(stage, 0.0):.2f}" for stage in names]
                sys.stdout.write(
                    f"| {name} | {caches} | {row['first']:.2f} | {' | '.join(stages)} |\n"
                )
                sys.stdout.flush()


def _print_peer(peer: str, only: Iterable[str], seconds: float) -> None:
    """Print the steady and first times of a backend of PyTorch; ``eager ms`` is no backend's."""
    columns = ["program", "y", "gradients", "eager ms", f"backend {peer} ms", "eager / backend"]
    sys.stdout.write(f"| {' | '.join(columns)} | first s |\n|---|{'--:|' * 6}\n")
    for name in only:
        with tempfile.TemporaryDirectory() as folder:
            row = _run_apart(name, seconds, folder, peer)
        if "failed" in row:
            cells = [name, *["-"] * 5, f"failed: {row['failed'][:100]}"]
        else:
            eager, peer_ms = row["ms"]["eager"], row["ms"]["peer"]
            cells = [
                name, f"{row['y']:.0e}", f"{row['gradients']:.0e}", f"{eager:.2f}",
                f"{peer_ms:.2f}", f"{eager / peer_ms:.2f}", f"{row['first']:.0f}",
            ]  # fmt: skip
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


def main() -> int:
    """Print the table of programs, or of their first results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks torch_programs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", choices=[*PROGRAMS])
    add("--seconds", type=float, default=1.0, help="measuring time of each way")
    add("--first", action="store_true", help="where the time of first results goes")
    add("--peer", choices=PEERS, default="", help="times of a backend of PyTorch")
    add("--here", choices=[*PROGRAMS], help="print the figures of one program as JSON")
    options = parser.parse_args()
    if options.here:
        measure = partial(_measure_peer, peer=options.peer) if options.peer else _measure_program
        sys.stdout.write(json.dumps(measure(options.here, options.seconds)) + "\n")
        return 0
    machine, torch = describe(), import_module("torch")
    option = " --first" if options.first else f" --peer {options.peer}" if options.peer else ""
    sys.stdout.write(
        "# Programs of PyTorch packages\n\n`python -m benchmarks torch_programs`"
        f"{option}: {machine.processor}, {machine.cores} cores, one thread,"
        f" PyTorch {torch.__version__}, processor time.\n\n"
    )
    if options.first:
        _print_first(options.only or [*OF_FIRST])
        return 0
    if options.peer:
        _print_peer(options.peer, options.only or [*PROGRAMS], options.seconds)
        return 0
    columns = [
        "program", "package", "y", "gradients (float64: ours / eager)", "losses of step",
        "graphs / programs", "eager ms", "backend ms", "step ms", "eager / backend", "eager / step",
        "first: backend s", "first: step s", "PyTorch runs, breaks, refusals",
    ]  # fmt: skip
    _print_table(columns, 2)
    for name in options.only or PROGRAMS:
        with tempfile.TemporaryDirectory() as folder:
            row = _run_apart(name, options.seconds, folder)
        sys.stdout.write(f"| {' | '.join(_cells(row))} |\n")
        sys.stdout.flush()
    return 0
