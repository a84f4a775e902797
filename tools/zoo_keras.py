"""The same question for Keras: every family of keras.applications, through tf2onnx, beside TensorFlow in float64.

    python tools/zoo_keras.py --out zoo-keras

Random weights, BatchNormalization statistics of a forward pass, three inputs; channels last, so each graph begins with
a Transpose. TensorFlow and tf2onnx are needed by this tool alone.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from zoo import INPUTS, MORE_INPUTS, Outcome, first_line, markdown, relative, summary

FAMILIES: dict[str, tuple[int, dict[str, Any]]] = {  # the side of the image, and what makes the net small
    "MobileNet": (96, {"alpha": 0.25}),
    "MobileNetV2": (96, {"alpha": 0.35}),
    "MobileNetV3Small": (96, {"alpha": 0.75}),
    "EfficientNetB0": (96, {}),
    "EfficientNetV2B0": (96, {}),
    "DenseNet121": (96, {}),
    "ResNet50": (96, {}),
    "ResNet50V2": (96, {}),
    "InceptionV3": (96, {}),
    "InceptionResNetV2": (96, {}),
    "Xception": (96, {}),
    "NASNetMobile": (96, {}),
    "ConvNeXtTiny": (96, {}),
    "VGG16": (64, {}),
}


def build(name: str, dtype: str) -> Any:
    """The net in one precision."""
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    side, options = FAMILIES[name]
    family = getattr(keras.applications, name)
    return family(weights=None, classes=10, input_shape=(side, side, 3), classifier_activation=None, **options)


def run_one(name: str, folder: Path) -> Outcome:
    """Export, rewrite and compare one family."""
    import keras
    import numpy as np
    import onnx
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from onnx_saliency.exporter import Options, explain_model
    from onnx_saliency.runtime import Session

    outcome = Outcome(f"keras/{name}", "tf2onnx", "export")
    single = build(name, "float32")
    side = FAMILIES[name][0]
    batch = np.random.default_rng(9).uniform(-1, 1, (4, side, side, 3)).astype(np.float32)
    for layer in single.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    single(batch, training=True)
    double = build(name, "float64")
    double.set_weights([weight.astype(np.float64) for weight in single.get_weights()])
    path = folder / f"{name}.onnx"
    signature = [tf.TensorSpec((None, side, side, 3), tf.float32, name="image")]
    try:
        function = tf.function(lambda image: single(image, training=False), input_signature=signature)
        frozen = convert_variables_to_constants_v2(function.get_concrete_function())  # captured constants too
        names = [[value.name for value in values] for values in (frozen.inputs, frozen.outputs)]
        tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=names[0],
            output_names=names[1],
            opset=18,
            output_path=str(path),
        )
    except Exception as error:
        outcome.reason = first_line(error)
        return outcome
    (name,) = [value.name for value in onnx.load(path).graph.input]
    outcome.stage = "rewrite"
    start = time.perf_counter()
    try:
        explained = explain_model(path, Options(details=True))
        session = Session(explained.model, providers=["cpu"])
    except Exception as error:
        outcome.reason = f"{type(error).__name__}: {error}"[:2000]
        return outcome
    outcome.seconds, outcome.nodes = time.perf_counter() - start, len(explained.model.graph)
    for seed in range(MORE_INPUTS):
        if len(outcome.ours) >= INPUTS and replace(outcome, stage="done").right:
            break
        x = np.random.default_rng(seed).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
        ours, chosen = session.run({name: x}, ["input_gradient", "saliency/class"])
        reference = gradient(double, x.astype(np.float64), int(chosen[0]))
        outcome.ours.append(relative(ours, reference))
        outcome.autograd.append(relative(gradient(single, x, int(chosen[0])), reference))
    outcome.stage = "done"
    outcome.reason = "" if outcome.right else "the gradient differs"
    return outcome


def gradient(module: Any, x: Any, target: int) -> Any:
    """d logit / d image by GradientTape."""
    import tensorflow as tf

    image = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(image)
        score = module(image, training=False)[0, target]
    return tape.gradient(score, image).numpy()


def main(
    families: Annotated[list[str] | None, typer.Argument(help="Names of keras.applications; all without.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for models, results.json and table.md.")] = Path("zoo-keras"),
) -> None:
    """Try every family and print how many are right."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for name in families or FAMILIES:
        outcome = run_one(name, out)
        outcomes.append(outcome)
        print(f"{outcome.net}: {'right' if outcome.right else outcome.stage + ': ' + outcome.reason}", flush=True)
        (out / "results.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=1), encoding="utf-8")
    (out / "table.md").write_text(markdown(outcomes), encoding="utf-8")
    Console().print(summary(outcomes))


if __name__ == "__main__":
    typer.run(main)
