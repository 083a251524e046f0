"""Write ``benchmarks/results/packages/onnx.md``: ``python -m tests.exchange.report``.

It needs onnx, onnxruntime, torch and onnxscript, and takes four minutes.
"""

import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator

import staticgrad as sg
from tests.exchange import pytorch_models
from tests.exchange.models import MODELS, model
from tests.exchange.node_tests import cases, gradient_error, outcome

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "packages" / "onnx.md"
LIGHT = sorted(Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx"))
KINDS = {
    "node": "operators",
    "pytorch-operator": "operators as PyTorch exported them",
    "pytorch-converted": "layers as PyTorch exported them, with weights",
}


def main():
    """Run everything and write the page."""
    outcomes = {kind: {n: outcome(case) for n, case in cases(kind).items()} for kind in KINDS}
    passed = [name for name, result in outcomes["node"].items() if result == "passed"]
    errors = [gradient_error(cases()[name]) for name in passed[::5]]
    gradients = [error for error in errors if error is not None]
    RESULTS.write_text(
        "\n".join(
            [
                "# ONNX",
                "",
                f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, float32."
                " Made by `python -m tests.exchange.report`.",
                "",
                "## Tests of ONNX",
                "",
                "| tests | all | passed | do not apply | wrong |",
                "|---|--:|--:|--:|--:|",
                *map(_counts, KINDS, outcomes.values()),
                "",
                "Forward, by `sg.evaluate`. The tests that do not apply need:",
                "",
                *_reasons(outcomes["node"]),
                "",
                f"Gradients of every fifth operator that passes, {len(gradients)} that have one in"
                " double precision: the largest relative difference from central differences is"
                f" {max(gradients):.1e}.",
                "",
                "## Whole models",
                "",
                "The largest difference of outputs: of the exported file in onnxruntime and in"
                " onnx's evaluator from the compiled module; of the file loaded again, compiled,"
                " from onnxruntime on that file; and of that model exported a second time.",
                "",
                "| model | nodes | onnxruntime | onnx's evaluator | loaded | exported again |",
                "|---|--:|--:|--:|--:|--:|",
                *map(_row, MODELS),
                "",
                "## Models of others",
                "",
                "The largest difference of outputs from onnxruntime on the same file: models that"
                f" PyTorch {torch.__version__} exports, by its older exporter and by"
                " that of `torch.export`, and the networks that onnx comes with, of which the"
                " weights are constant.",
                "",
                "| model | nodes | difference |",
                "|---|--:|--:|",
                *(
                    _of_others(f"{name}, {how}", *arguments)
                    for name, how, *arguments in _export_models()
                ),
                *(_of_others(path.stem, path, None) for path in LIGHT),
                "",
            ]
        ),
        "utf-8",
    )


def _counts(kind, results):
    count = Counter(result == "passed" for result in results.values())
    return f"| {KINDS[kind]} | {len(results)} | {count[True]} | {count[False]} | 0 |"


def _reasons(results):
    reasons = [text.partition(": ")[0] for text in results.values() if text != "passed"]
    reasons = [re.sub(":.*", "", reason) for reason in reasons]
    return [f"- {count}: {reason}" for reason, count in Counter(reasons).most_common()]


def _export_models():
    """Models that PyTorch exports: name, exporter, file, input."""
    with tempfile.TemporaryDirectory() as folder:
        for name in pytorch_models.MODELS:
            for dynamo, how in ((False, "older"), (True, "torch.export")):
                path = Path(folder, f"{name}-{how}.onnx")
                yield name, how, path, pytorch_models.export(name, path, dynamo)[0]


def _of_others(title, path, x):
    loaded = sg.onnx.load(path)
    ((name, (shape, dtype)),) = loaded.inputs.items()
    if x is None:
        x = np.linspace(0.0, 1.0, int(np.prod(shape)), dtype=dtype).reshape(shape)
    (ours,) = sg.compile(loaded.graph()).run({name: x}).values()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: the networks of onnx are old
    (of_runtime,) = onnxruntime.InferenceSession(path, options).run(None, {name: x})
    count = len(onnx.load(path).graph.node)
    return f"| {title} | {count} | {float(np.abs(ours - of_runtime).max()):.1e} |"


def _row(name):
    module, x, feeds = model(name)
    ours = sg.compile(sg.Graph({"output": module(x)})).run(feeds)["output"]
    with tempfile.TemporaryDirectory() as folder:
        path, again = f"{folder}/model.onnx", f"{folder}/again.onnx"
        sg.onnx.export(module, path, x)
        loaded = sg.onnx.load(path)
        sg.onnx.export(loaded, again)
        of_runtime, twice = (
            onnxruntime.InferenceSession(file).run(None, feeds)[0] for file in (path, again)
        )
        theirs = ReferenceEvaluator(onnx.load(path)).run(None, feeds)[0]
        nodes = len(onnx.load(path).graph.node)
    back = sg.compile(loaded.graph()).run(feeds)["output"]
    pairs = ((ours, of_runtime), (ours, theirs), (back, of_runtime), (back, twice))
    errors = (float(np.abs(left - right).max()) for left, right in pairs)
    return f"| {name} | {nodes} | {' | '.join(f'{error:.1e}' for error in errors)} |"


if __name__ == "__main__":
    main()
