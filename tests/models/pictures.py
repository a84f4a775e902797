"""Trained classifiers and photographs that are too large for the repository: a folder beside it.

`models.json` there describes each model. The environment variable ONNX_SALIENCY_TEST_DATA names another folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.images import Preprocess

NAMES = (
    "squeezenet1.0_dc",
    "darknet_tiny",
    "mobilenetv1_0.75_192",
    "mobilenetv2_1.0_224",
    "squeezenet1.1_fp32",
    "mobilenetv1_0.25_224",
    "resnet20_cifar10",
)
"""The models of ordinary float32 operators."""

# How `preprocess` of models.json is meant: channel order, then (x - mean) / std of the values 0..255.
_PREPROCESS: dict[str, tuple[str, Any, Any]] = {
    "BGR, 0..255, minus (104,117,123)": ("BGR", (104, 117, 123), 1),
    "RGB, x/255": ("RGB", 0, 255),
    "RGB, x/127.5 - 1": ("RGB", 127.5, 127.5),
    "RGB, (x/255-mean)/std, mean .485 .456 .406, std .229 .224 .225": (
        "RGB",
        np.array([0.485, 0.456, 0.406]) * 255,
        np.array([0.229, 0.224, 0.225]) * 255,
    ),
}


def data_folder() -> Path:
    """Where the models and photographs are, if they are there at all."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("ONNX_SALIENCY_TEST_DATA", default))


def model_path(data: Path, name: str) -> Path:
    """The file of a model."""
    return data / "models" / f"{name}.onnx"


def read_pictures(data: Path, name: str, count: int) -> npt.NDArray[np.float32]:
    """`count` photographs, evenly taken from those that suit the model, in the form it wants."""
    model = json.loads((data / "models" / "models.json").read_text(encoding="utf-8"))[name]
    kind = "cifar10" if model["size"] == 32 else "imagenet_train_sample"
    files = sorted((data / "images" / kind).glob("*.jpg"))
    return np.stack([_read(files[i * len(files) // count], model) for i in range(count)])


def preprocess_of(model: dict[str, Any]) -> Preprocess:
    """The package's own words for how a model of models.json wants its pictures."""
    channels, mean, std = _PREPROCESS[model["preprocess"]]
    values = [float(v) if np.ndim(v) == 0 else tuple(float(each) for each in v) for v in (mean, std)]
    return Preprocess(resize=model["resize_short_side"], mean=values[0], std=values[1], channels=channels)


def _read(file: Path, model: dict[str, Any]) -> npt.NDArray[np.float32]:
    size, short = model["size"], model["resize_short_side"]
    channels, mean, std = _PREPROCESS[model["preprocess"]]
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    if short is not None:
        scale = short / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, np.float64)[..., :: -1 if channels == "BGR" else 1]
    return ((pixels - mean) / std).astype(np.float32).transpose(2, 0, 1)
