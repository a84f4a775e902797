"""The engines of tools/bench.py.

Each answers the same question on the same ONNX file, images and threads: how does the score of class 0 change with
the image. `forward` answers none, and is what the others are measured by.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from onnx_saliency.explain import Explainer
from onnx_saliency.exporter import Options, explain_model
from onnx_saliency.runtime import CudaOptions, Session

Array = npt.NDArray[Any]

MASKS = 1000  # of RISE, DIANNA's own number
SAMPLE = 16  # masks that are run
IN_FLOAT = ("ScatterElements",)  # many values may meet in one sum, which not every provider has in half precision
KEPT = 0.1  # share of a picture that a mask leaves; left to itself DIANNA tries nine, for 900 forward passes more


@dataclass(frozen=True)
class Task:
    """What all engines are given: an ONNX file, its image input, and threads.

    single: the file of the same net for one image, where `path` is fixed to a batch.
    """

    path: Path
    image: str
    shape: tuple[int, ...]
    threads: int
    single: Path | None = None

    def images(self) -> npt.NDArray[np.float32]:
        """Standard normal values, always the same."""
        return np.random.default_rng(0).standard_normal(self.shape, np.float32)

    def session(self) -> onnxruntime.InferenceSession:
        """ONNX Runtime on the model as it is."""
        return session(self.path, self.threads)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime on a model as it is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Built:
    """An engine that is ready for one task.

    run: what is timed.
    gradient: the signed gradient of the images, of an engine that computes one.
    scale: how many times `run` an explanation of the batch is.
    """

    run: Callable[[], object]
    gradient: Callable[[], Array] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Engine:
    """How to build it, what it imports, and whether the peak of its process is that of a whole explanation."""

    build: Callable[[Task], Built]
    packages: tuple[str, ...] = ()
    shows_memory: bool = True

    def load(self) -> None:
        """Import everything, which is no part of the memory of an explanation."""
        if "onnx2torch" in self.packages:
            from zoo import load_torch

            load_torch()  # onnx2torch imports torchvision
        for package in self.packages:
            importlib.import_module(package)


def forward(task: Task) -> Built:
    """The scores alone, by ONNX Runtime: what every explanation comes on top of."""
    session, feeds = task.session(), {task.image: task.images()}
    return Built(lambda: session.run(None, feeds))


def forward_apart(task: Task) -> Built:
    """The same, one image a run, as many at once as there are threads: what `explainer` does, for the scores alone."""
    alone, images = session(task.single or task.path, 1), task.images()
    pool = ThreadPoolExecutor(task.threads)
    return Built(lambda: list(pool.map(lambda i: alone.run(None, {task.image: images[i : i + 1]}), range(len(images)))))


def onnx_saliency(task: Task) -> Built:
    """This project: the explained model, the batch in one run."""
    explained = explain_model(task.path, Options(profile="cpu"))  # as Explainer writes it
    session = Session(explained.model, providers=["cpu"], threads=task.threads)
    feeds: dict[str, Array] = {task.image: task.images(), "target": np.zeros(task.shape[0], np.int64)}
    return Built(lambda: session.run(feeds, ["saliency"]), lambda: session.run(feeds, ["input_gradient"])[0])


def explainer(task: Task) -> Built:
    """This project as it is called from Python: with a worker for each thread, where there are several images."""
    one = Explainer(
        task.single or task.path,
        providers=["cpu"],
        threads=task.threads,
        workers=min(task.threads, task.shape[0]),
        cache=False,
    )
    return Built(partial(one.explain, task.images(), 0), lambda: one.explain(task.images(), 0).gradient)


def captum(task: Task, compiled: bool = False) -> Built:
    """Captum's Saliency in PyTorch, the net through onnx2torch, eager or under torch.compile."""
    import torch
    from bench_torch import network
    from captum.attr import Saliency

    torch.set_num_threads(task.threads)
    images = torch.from_numpy(task.images())
    net: Any = network(onnx.load(task.path), images)
    if compiled:
        net = torch.compile(net)
    saliency = Saliency(lambda x: net(x).flatten(1))
    images.requires_grad_()
    return Built(
        lambda: saliency.attribute(images, target=0),
        lambda: saliency.attribute(images, target=0, abs=False).detach().numpy(),
    )


def jax(task: Task) -> Built:
    """JAX under jit, the net stated in its functions, with the weights as arguments: it would fold constants."""
    import jax
    from bench_jax import stated

    scores, weights = stated(onnx.load(task.path))
    gradient = jax.jit(jax.grad(lambda images, weights: scores(images, weights)[:, 0].sum()))
    images = jax.numpy.asarray(task.images())
    return Built(
        lambda: gradient(images, weights).block_until_ready(),
        lambda: np.asarray(gradient(images, weights)),
    )


def rise(task: Task) -> Built:
    """DIANNA's RISE of one picture after another, which takes no gradient but MASKS forward passes.

    Every mask costs the same, so SAMPLE masks of one picture are run, in forward passes of the batch, and multiplied.
    Of the memory of an explanation, which holds all masks at once, that shows little.
    """
    from dianna.methods.rise_image import RISEImage

    session, picture = task.session(), task.images()[0]
    channels = int(np.argmin(picture.shape))  # fewer than rows and columns
    explainer = RISEImage(n_masks=SAMPLE, p_keep=KEPT, axis_labels={channels: "channels"})

    def scores(images: Array) -> Array:
        result: Array = session.run(None, {task.image: images})[0]
        return result.reshape(len(images), -1)

    run = partial(explainer.explain, scores, picture, labels=[0], batch_size=task.shape[0])
    return Built(run, scale=task.shape[0] * MASKS / SAMPLE)


def cuda(task: Task, options: CudaOptions, *, explained: bool = True, bound: bool = True, half: bool = False) -> Built:
    """The gradient, or the scores alone, on CUDA.

    Args:
        task: what all engines are given.
        options: how CUDA is used.
        explained: False runs the model as it is.
        bound: whether inputs and outputs stay on the device; else they are copied there and back.
        half: whether all of it is computed in half precision; inputs and outputs stay float32.
    """
    source = onnx.load(task.path)
    model = ir.to_proto(explain_model(source, Options(profile="cuda")).model) if explained else source
    if half:
        model = convert_float_to_float16(model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT])
    session = Session(model.SerializeToString(), providers=["cuda"], cuda=options)
    if session.provider != "cuda":
        raise RuntimeError(f"CUDA cannot be used here; the model would run on {session.providers[0]}")
    feeds: dict[str, Array] = {task.image: task.images()}
    if not explained:
        outputs = list(session.outputs)
    else:
        feeds["target"], outputs = np.zeros(task.shape[0], np.int64), ["saliency"]

    def gradient() -> Array:
        return session.run(feeds, ["input_gradient"])[0]

    run = session.bind(feeds, outputs).step if bound else lambda: session.run(feeds, outputs)
    return Built(run, gradient if explained else None)


TORCH = ("torch", "onnx2torch", "captum.attr")
ENGINES = {
    "forward": Engine(forward),
    "forward/apart": Engine(forward_apart),
    "onnx_saliency": Engine(onnx_saliency, ("onnx_saliency.exporter", "onnx_saliency.runtime")),
    "explainer": Engine(explainer, ("onnx_saliency.explain",)),
    "captum": Engine(captum, TORCH),
    "torch.compile": Engine(partial(captum, compiled=True), TORCH),
    "jax": Engine(jax, ("jax",)),
    "rise": Engine(rise, ("dianna.methods.rise_image",), shows_memory=False),
}


CUDA = {  # of tools/bench_gpu.py; what a process holds says nothing of the device
    "cuda/forward": Engine(partial(cuda, options=CudaOptions(), explained=False), shows_memory=False),
    "cuda/gradient": Engine(partial(cuda, options=CudaOptions()), shows_memory=False),
    "cuda/copied": Engine(partial(cuda, options=CudaOptions(), bound=False), shows_memory=False),
    "cuda/tf32": Engine(partial(cuda, options=CudaOptions(tf32=True)), shows_memory=False),
    "cuda/fp16": Engine(partial(cuda, options=CudaOptions(), half=True), shows_memory=False),
    "cuda/graph": Engine(partial(cuda, options=CudaOptions(graph=True)), shows_memory=False),
}
