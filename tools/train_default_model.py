"""Train the embedded classifier from scratch and write it with its sample pictures.

    pip install -e '.[train]'
    python tools/train_default_model.py --seed 0 --out models

Needs no download: the pictures are composed (see compose.py) from data that declared dependencies ship. Writes
``default.onnx``, ``labels.txt``, ``pictures/*.jpg`` and ``pictures.csv``, and prints the measured figures.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import onnx
import torch
import typer
from compose import LABELS, SEEN, UNSEEN, Bools, Bytes, Floats, Scene, box_of, compose
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from scipy import ndimage
from torch import nn
from torch.nn import functional

SIDE = 128
PREPROCESS = {
    "size": [SIDE, SIDE],
    "resize": None,  # the whole picture, squashed to the size
    "crop": "center",
    "mean": 127.5,
    "std": 127.5,
    "channels": "RGB",
}

ADVERSARIAL = 0.06
"""Step of the adversarial noise, in the net's units: about 8 levels of 255."""

TRAIN, TEST, TEST_SEEN, CHECK, PICTURES = range(5)
"""Streams of random numbers; no two ever share a composition."""


# --- Compositions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A reproducible run of compositions: number ``index`` follows from the seed, the stream and itself."""

    seed: int
    stream: int
    photographs: tuple[str, ...]
    pairs: float = 0.0  # chance of two objects of two classes in one picture


@dataclass(frozen=True)
class Batch:
    """Compositions squashed to the net's input."""

    pixels: Bytes  # (n, 3, SIDE, SIDE)
    targets: Floats  # (n, classes), each row adding up to 1
    masks: Bools  # (n, SIDE, SIDE), the objects

    @property
    def classes(self) -> npt.NDArray[np.intp]:
        """The class of each picture that shows one object."""
        return self.targets.argmax(axis=1)

    def first(self, count: int) -> Batch:
        """The first so many pictures."""
        return Batch(self.pixels[:count], self.targets[:count], self.masks[:count])


def compose_range(plan: Plan, start: int, stop: int) -> Batch:
    """Compose the pictures from start to stop."""
    count = stop - start
    batch = Batch(
        np.empty((count, 3, SIDE, SIDE), np.uint8),
        np.zeros((count, len(LABELS)), np.float32),
        np.empty((count, SIDE, SIDE), np.bool_),
    )
    for row, index in enumerate(range(start, stop)):
        rng = np.random.default_rng([plan.seed, plan.stream, index])
        classes = [index % len(LABELS)]
        if rng.random() < plan.pairs:
            classes.append((classes[0] + int(rng.integers(1, len(LABELS)))) % len(LABELS))
        area, aspect = rng.uniform(128, 200), np.exp(rng.uniform(-0.4, 0.4))
        width, height = round(area * aspect**0.5), round(area / aspect**0.5)
        picture = compose(width, height, [LABELS[c] for c in classes], Scene(plan.photographs), rng)
        batch.pixels[row] = squash(picture.image)
        batch.targets[row, classes] = 1 / len(classes)
        mask = Image.fromarray(np.logical_or.reduce(picture.masks)).convert("L")
        batch.masks[row] = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) > 127
    return batch


def compose_many(plan: Plan, count: int, workers: int) -> Batch:
    """Compose pictures in several processes; the result does not depend on how many."""
    starts = range(0, count, 250)
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(compose_range, plan, start, min(start + 250, count)) for start in starts]
        parts = [job.result() for job in jobs]
    return Batch(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.masks for part in parts]),
    )


def squash(image: Image.Image) -> Bytes:
    """Scale a whole picture to the net's input, channels first."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.uint8).transpose(2, 0, 1)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Map bytes to the numbers the net reads."""
    return (pixels.float() - PREPROCESS["mean"]) / PREPROCESS["std"]


# --- Net --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A convolution or a fully connected layer, what comes after it, and its trained weights once there are any."""

    name: str
    outputs: int
    kernel: int = 0  # 0: fully connected
    stride: int = 1
    pool: bool = False  # halve the picture after the ReLU
    weight: Floats | None = None
    bias: Floats | None = None


LAYERS = (
    Layer("conv1", 24, kernel=5, stride=2, pool=True),
    Layer("conv2", 48, kernel=3, pool=True),
    Layer("conv3", 80, kernel=3),
    Layer("conv4", 96, kernel=3, pool=True),
    Layer("conv5", 96, kernel=3, pool=True),
    Layer("fc1", 128),
    Layer("fc2", len(LABELS)),
)


def build(layers: tuple[Layer, ...], normalised: bool) -> nn.Sequential:
    """Build the net in torch, while it trains with batch normalisation and dropout, afterwards without."""
    net = nn.Sequential()
    channels, side = 3, SIDE
    for layer in layers:
        if layer.kernel:
            convolution = nn.Conv2d(
                channels, layer.outputs, layer.kernel, layer.stride, layer.kernel // 2, bias=not normalised
            )
            net.add_module(layer.name, convolution)
            side //= layer.stride
            if normalised:
                net.add_module(f"norm_{layer.name}", nn.BatchNorm2d(layer.outputs))
        else:
            if side > 1:
                net.add_module("flatten", nn.Flatten())
                channels, side = channels * side * side, 1
            if normalised:
                net.add_module(f"drop_{layer.name}", nn.Dropout(0.25))
            net.add_module(layer.name, nn.Linear(channels, layer.outputs))
        if layer is not layers[-1]:
            net.add_module(f"relu_{layer.name}", nn.ReLU())
        if layer.pool:
            net.add_module(f"pool_{layer.name}", nn.MaxPool2d(2))
            side //= 2
        channels = layer.outputs
    return net


def fold(net: nn.Sequential) -> tuple[Layer, ...]:
    """Read the weights of a trained net, each batch normalisation folded into its convolution."""
    parts = dict(net.named_children())
    folded = []
    for layer in LAYERS:
        module = parts[layer.name]
        weight = module.weight.detach().double()
        if layer.kernel:
            norm = parts[f"norm_{layer.name}"]
            gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            bias = norm.bias.detach().double() - norm.running_mean.double() * gain
            weight = weight * gain[:, None, None, None]
        else:
            bias = module.bias.detach().double()
        values = (weight.float().contiguous().numpy(), bias.float().numpy())
        folded.append(replace(layer, weight=values[0], bias=values[1]))
    return tuple(folded)


def plain(layers: tuple[Layer, ...]) -> nn.Sequential:
    """Build the finished net in torch from its folded weights."""
    net = build(layers, normalised=False)
    state = {f"{layer.name}.weight": torch.from_numpy(layer.weight) for layer in layers}
    state |= {f"{layer.name}.bias": torch.from_numpy(layer.bias) for layer in layers}
    net.load_state_dict(state)
    return net.eval()


# --- Training ---------------------------------------------------------------------------------------------------------


def train(data: Batch, epochs: int, seed: int) -> nn.Sequential:
    """Train from random weights with AdamW on a one-cycle schedule."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    net = build(LAYERS, normalised=True).to(memory_format=torch.channels_last)
    size = min(128, len(data.pixels))
    steps = len(data.pixels) // size
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * steps, pct_start=0.25)
    pixels, targets = torch.from_numpy(data.pixels), torch.from_numpy(data.targets)
    for epoch in range(epochs):
        began, total = time.monotonic(), 0.0
        for rows in torch.randperm(len(pixels))[: steps * size].split(size):
            logits = net(augment(pixels[rows]))
            loss = functional.cross_entropy(logits, targets[rows], label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        typer.echo(f"epoch {epoch + 1}/{epochs}  loss {total / steps:.3f}  {time.monotonic() - began:.0f} s")
    return net.eval()


def harden(layers: tuple[Layer, ...], data: Batch, epochs: int, seed: int) -> tuple[Layer, ...]:
    """Train a folded net on, against one-step adversarial noise (Goodfellow 2015; random start, Wong 2020).

    A net that small noise cannot sway has gradients that lie on the objects: cleaner saliency maps. No mask is used.
    """
    torch.manual_seed(seed)
    net = plain(layers).to(memory_format=torch.channels_last)
    size = min(128, len(data.pixels))
    steps = len(data.pixels) // size
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=epochs * steps, pct_start=0.2)
    pixels, targets = torch.from_numpy(data.pixels), torch.from_numpy(data.targets)
    for epoch in range(epochs):
        began, total = time.monotonic(), 0.0
        for rows in torch.randperm(len(pixels))[: steps * size].split(size):
            images = augment(pixels[rows])
            images = (images + ADVERSARIAL * (2 * torch.rand_like(images) - 1)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(functional.cross_entropy(net(images), targets[rows]), images)
            worse = images.detach() + ADVERSARIAL * gradient.sign()
            loss = functional.cross_entropy(net(worse), targets[rows], label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        typer.echo(f"hardening {epoch + 1}/{epochs}  loss {total / steps:.3f}  {time.monotonic() - began:.0f} s")
    return read(net.eval(), layers)


def read(net: nn.Sequential, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Read the weights of a net without batch normalisation."""
    state = {name: value.contiguous().numpy() for name, value in net.state_dict().items()}
    return tuple(
        replace(layer, weight=state[f"{layer.name}.weight"], bias=state[f"{layer.name}.bias"]) for layer in layers
    )


def augment(pixels: torch.Tensor) -> torch.Tensor:
    """Shift, mirror, recolour and add noise: none of it changes what a picture shows."""
    count, reach = len(pixels), 8
    padded = functional.pad(pixels.float(), (reach,) * 4, mode="replicate")
    shifts = torch.randint(0, 2 * reach + 1, (count, 2)).tolist()
    batch = torch.stack([padded[i, :, y : y + SIDE, x : x + SIDE] for i, (y, x) in enumerate(shifts)])
    batch = torch.where(torch.rand(count, 1, 1, 1) < 0.5, batch, batch.flip(3))
    batch = normalise(batch)
    gain, offset = 1 + 0.3 * (2 * torch.rand(count, 3, 1, 1) - 1), 0.2 * (2 * torch.rand(count, 3, 1, 1) - 1)
    noise = 0.15 * torch.rand(count, 1, 1, 1) * torch.randn_like(batch)
    return (batch * gain + offset + noise).contiguous(memory_format=torch.channels_last)


# --- Measures ---------------------------------------------------------------------------------------------------------


def batches(data: Batch) -> Iterator[tuple[torch.Tensor, slice]]:
    """Give normalised pictures a hundred at a time, with their rows."""
    for start in range(0, len(data.pixels), 100):
        rows = slice(start, start + 100)
        yield normalise(torch.from_numpy(data.pixels[rows])), rows


def accuracy(net: nn.Sequential, data: Batch) -> float:
    """Give the share of pictures whose highest score is that of their class."""
    with torch.no_grad():
        guesses = np.concatenate([net(images).argmax(dim=1).numpy() for images, _ in batches(data)])
    return float((guesses == data.classes).mean())


@dataclass(frozen=True)
class SaliencyCheck:
    """How well saliency maps sit on the objects."""

    ratio: float  # median over pictures of mean saliency on the object over mean saliency elsewhere
    share: float  # mean share of all saliency that falls on the object
    area: float  # mean share of the picture that the object covers: what share would be by chance
    on_mask: float  # share of pictures whose smoothed map peaks on the object
    in_box: float  # the same for the object's box: the usual pointing game


def check_saliency(net: nn.Sequential, data: Batch) -> SaliencyCheck:
    """Compare the maps max over channels of |d score / d image| with the true masks."""
    ratios, shares, hits, box_hits = [], [], [], []
    for images, rows in batches(data):
        images.requires_grad_(True)
        scores = net(images)[torch.arange(len(images)), torch.from_numpy(data.classes[rows])]
        (gradient,) = torch.autograd.grad(scores.sum(), images)
        for saliency, mask in zip(gradient.abs().amax(dim=1).numpy(), data.masks[rows], strict=True):
            ratios.append(saliency[mask].mean() / saliency[~mask].mean())
            shares.append(saliency[mask].sum() / saliency.sum())
            smooth = ndimage.gaussian_filter(saliency, 4)
            y, x = np.unravel_index(smooth.argmax(), smooth.shape)
            left, top, right, bottom = box_of(mask)
            hits.append(mask[y, x])
            box_hits.append(left <= x < right and top <= y < bottom)
    return SaliencyCheck(
        ratio=float(np.median(ratios)),
        share=float(np.mean(shares)),
        area=float(data.masks.mean()),
        on_mask=float(np.mean(hits)),
        in_box=float(np.mean(box_hits)),
    )


# --- Files ------------------------------------------------------------------------------------------------------------


def to_onnx(layers: tuple[Layer, ...], metadata: dict[str, str]) -> onnx.ModelProto:
    """Write the net as an ONNX graph, node by node."""
    nodes, weights = [], []
    value, flat = "image", False

    def add(kind: str, name: str, inputs: list[str], **attributes: int | list[int]) -> str:
        output = "logits" if name == layers[-1].name else f"{name}_out"
        nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    for number, layer in enumerate(layers, start=1):
        parameters = [f"{layer.name}.weight", f"{layer.name}.bias"]
        weights += [numpy_helper.from_array(layer.weight, parameters[0])]
        weights += [numpy_helper.from_array(layer.bias, parameters[1])]
        if layer.kernel:
            size, stride, margin = [layer.kernel] * 2, [layer.stride] * 2, [layer.kernel // 2] * 4
            inputs = [value, *parameters]
            value = add("Conv", layer.name, inputs, kernel_shape=size, strides=stride, pads=margin)
        else:
            if not flat:
                value, flat = add("Flatten", "flatten", [value], axis=1), True
            value = add("Gemm", layer.name, [value, *parameters], transB=1)
        if layer is not layers[-1]:
            value = add("Relu", f"relu{number}", [value])
        if layer.pool:
            value = add("MaxPool", f"pool{number}", [value], kernel_shape=[2, 2], strides=[2, 2])
    graph = helper.make_graph(
        nodes,
        "pictographs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="onnx_saliency"
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(seed: int, seen: float, unseen: float, count: int) -> dict[str, str]:
    """Give the metadata that travels inside the file."""
    return {
        "description": f"Pictographs as stickers on photographs: {len(LABELS)} classes, composed pictures only.",
        "onnx_saliency.preprocess": json.dumps(PREPROCESS),
        "onnx_saliency.labels": json.dumps(LABELS),
        "onnx_saliency.seed": str(seed),
        "onnx_saliency.accuracy": json.dumps(
            {"unseen_photographs": round(unseen, 4), "unseen_crops": round(seen, 4), "pictures": count}
        ),
    }


def check_parity(model: onnx.ModelProto, net: nn.Sequential, data: Batch) -> None:
    """Make sure that the file computes what torch computes."""
    images = normalise(torch.from_numpy(data.pixels[:4]))
    (found,) = ReferenceEvaluator(model).run(None, {"image": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(images).numpy(), rtol=1e-3, atol=1e-3)


@dataclass(frozen=True)
class Recipe:
    """A picture that ships: its objects, its photograph (one held out of training), its size and its seed."""

    labels: tuple[str, ...]
    photograph: str
    size: tuple[int, int]
    seed: int

    @property
    def file(self) -> str:
        """The name of the file."""
        return "-".join(label.replace(" ", "_") for label in self.labels) + ".jpg"


RECIPES = (
    Recipe(("airplane",), "rocket.jpg", (480, 360), 10),
    Recipe(("cat",), "coffee.png", (480, 360), 3),
    Recipe(("umbrella",), "gravel.png", (360, 480), 12),
    Recipe(("telephone",), "coffee.png", (500, 340), 4),
    Recipe(("knight",), "rocket.jpg", (360, 460), 6),
    Recipe(("star", "anchor"), "chelsea.png", (520, 360), 3),
)


def write_pictures(folder: Path) -> None:
    """Compose and write the pictures that ship and the table of their boxes."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    with (folder / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "label", "xmin", "ymin", "xmax", "ymax", "width", "height"])
        for recipe in RECIPES:
            scene = Scene((recipe.photograph,), procedural=0, jitter=0.2, clutter=(0, 3), extent=(0.45, 0.7), detail=2)
            rng = np.random.default_rng([recipe.seed, PICTURES])
            picture = compose(*recipe.size, recipe.labels, scene, rng)
            picture.image.save(folder / "pictures" / recipe.file, quality=90)
            for label, box in zip(picture.labels, picture.boxes, strict=True):
                table.writerow([f"pictures/{recipe.file}", label, *box, *recipe.size])


# --- Command ----------------------------------------------------------------------------------------------------------


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("models"),
    seed: Annotated[int, typer.Option(help="Seed of the compositions, the weights and the order of training.")] = 0,
    samples: Annotated[int, typer.Option(help="Training compositions.")] = 24_000,
    epochs: Annotated[int, typer.Option(help="Passes over them.")] = 10,
    hardening: Annotated[int, typer.Option(help="Passes over a third of them with adversarial noise.")] = 3,
    tests: Annotated[int, typer.Option(help="Test compositions, twice: on held-out photographs, on new crops.")] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="Smoke run of a few seconds; the model is useless.")] = False,
) -> None:
    """Train the embedded classifier and write it with its labels and pictures."""
    began = time.monotonic()
    workers = min(os.cpu_count() or 1, 8)
    if quick:
        samples, epochs, hardening, tests = 256, 1, 1, 64
    data = compose_many(Plan(seed, TRAIN, SEEN, pairs=0.15), samples, workers)
    typer.echo(f"{samples} compositions in {time.monotonic() - began:.0f} s")
    layers = fold(train(data, epochs, seed))
    layers = harden(layers, data.first(samples // 3), hardening, seed)
    net = plain(layers)
    held_out = compose_many(Plan(seed, TEST, UNSEEN), tests, workers)
    unseen = accuracy(net, held_out)
    seen = accuracy(net, compose_many(Plan(seed, TEST_SEEN, SEEN), tests, workers))
    model = to_onnx(layers, describe(seed, seen, unseen, tests))
    check_parity(model, net, held_out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "default.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (out / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    write_pictures(out)
    typer.echo(
        f"accuracy on {tests} unseen compositions: {unseen:.2%} on held-out photographs, {seen:.2%} on new crops"
    )
    typer.echo(f"saliency: {check_saliency(net, compose_many(Plan(seed, CHECK, UNSEEN), min(tests, 200), workers))}")
    typer.echo(f"{(out / 'default.onnx').stat().st_size} bytes, {time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    typer.run(main)
