"""What a channel of a layer answers to: the pictures that activate it most, and what it sees in them.

The pictures with the strongest activations of a channel, each carried back to the pixels that made it, beside the patch
of the picture that it came from (Zeiler & Fergus 2013, section 4.1, figure 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.classes import check_known
from onnx_saliency.errors import ImageError, LayerError, MethodError, ModelError, SaliencyError, TargetError
from onnx_saliency.explain import Explainer, sessions_like, with_settings
from onnx_saliency.exporter import Method, Neuron, find_method, score_model
from onnx_saliency.exporter.methods import Gradient
from onnx_saliency.exporter.scores import POSITIONS, SCORES
from onnx_saliency.graph import ModelSource
from onnx_saliency.images import Picture, Placement, find_pictures, read_picture
from onnx_saliency.numeric import is_integer
from onnx_saliency.runtime import Session

Source = str | Path | bytes | Image.Image | Picture
Box = tuple[int, int, int, int]

COUNT = 9  # of the paper
FIRST = 16


@dataclass(frozen=True, eq=False)
class Activation:
    """The strongest activation of a channel in one picture.

    Attributes:
        image: the picture's name.
        value: the activation.
        position: where in the layer, (y, x), or (token,) of tokens, or () of a layer without positions.
        box: (xmin, ymin, xmax, ymax), max exclusive, in the picture's pixels: what the activation was computed from,
            as far as the projection shows; all that the network saw of the picture, of a layer without positions.
        projection: float32 (h, w, 3 or 1), RGB or grey, signed: the activation carried back to the network's input,
            the part in the box.
        patch: uint8 (H, W, 3), the picture's pixels in the box.
    """

    image: str
    value: float
    position: tuple[int, ...]
    box: Box
    projection: npt.NDArray[np.float32]
    patch: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ChannelTop:
    """The pictures that activate a channel most, the strongest first; fewer than asked for where it is 0 in others."""

    channel: int
    activations: tuple[Activation, ...]


@dataclass(frozen=True, eq=False)
class TopActivations:
    """What channels of a layer answer to.

    Attributes:
        layer: its name.
        channels: in the order that was asked for.
        failed: (name, reason) of pictures that could not be read; the others are done.
    """

    layer: str
    channels: tuple[ChannelTop, ...]
    failed: tuple[tuple[str, str], ...] = ()


def top_activations(
    model: ModelSource | Explainer,
    images: Source | Sequence[Source],
    *,
    layer: str,
    channels: Sequence[int] | None = None,
    first: int = FIRST,
    count: int = COUNT,
    method: str | Method = "deconvnet",
    **options: Any,
) -> TopActivations:
    """Find the pictures with the strongest activation of each channel, and what in them made it.

    Every picture takes one forward pass, whatever the number of channels; each of the best one backward pass more. Only
    the best are kept in memory.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model; or an `Explainer`, whose model and settings are taken.
        images: files, folders and patterns, or PIL images, `Picture`s, the bytes of files; one or a list.
        layer: its name (`inspect --layers`): images [N, C, H, W] or [N, H, W, C], tokens [N, T, C], or [N, C].
        channels: their numbers; None takes the first ones.
        first: how many of the first channels.
        count: pictures per channel. One in which the channel is 0 is not among them.
        method: "deconvnet", "guided" or "gradient": what carries the activation back.
        **options: of `Explainer`, but for `method`, `score` and `several`.

    Raises:
        ModelError: the model cannot be read, explained or run, or makes NaN of a picture.
        LayerError: no such layer, or one whose first axis is not that of the images.
        TargetError: no such channel, or an empty list of them.
        MethodError: a method without a projection.
        ImageError: there are no pictures, or none of them can be read.
        SaliencyError: a count below 1.

    Source: Zeiler & Fergus 2013, section 4.1.
    """
    search = ActivationSearch(model, layer=layer, channels=channels, first=first, count=count, method=method, **options)
    sources = _sources(images)
    for start in range(0, len(sources), search.explainer.at_once):
        search.add(sources[start : start + search.explainer.at_once])
    if not search.seen:
        raise ImageError(f"None of the {len(sources)} pictures can be read. {search.failed[0][1]}")
    return TopActivations(layer, tuple(map(search.top, search.channels)), tuple(search.failed))


class ActivationSearch:
    """`top_activations` in steps, for a caller who shows progress: `add` pictures, then take the `top` of a channel.

    Arguments and errors are those of `top_activations`.

    Attributes:
        layer, count: as given.
        explainer: of the layer's channels; its preprocessing is that of the pictures.
        failed: (name, reason) of those that could not be read.
    """

    def __init__(
        self,
        model: ModelSource | Explainer,
        *,
        layer: str,
        channels: Sequence[int] | None = None,
        first: int = FIRST,
        count: int = COUNT,
        method: str | Method = "deconvnet",
        **options: Any,
    ) -> None:
        for name, number in (("count", count), ("first", first)):
            if not is_integer(number, 1):
                raise SaliencyError(f"{name} is a whole number, 1 or more, not {number!r}.")
        chosen = find_method(method)
        if not isinstance(chosen, Gradient):
            raise MethodError(f"{chosen.name} projects no activation back; take deconvnet, guided or gradient.")
        self.layer, self.count = layer, count
        if channels is not None and not len(channels):
            raise TargetError("No channels were named: give their numbers, or None for the first ones.")
        source, settings = with_settings(model, options)
        self.explainer = Explainer(source, method=chosen, score=Neuron(layer), **settings)
        for channel in () if channels is None else channels:
            self.explainer.check_target(channel)
        self._channels = None if channels is None else list(dict.fromkeys(map(int, channels)))
        self._first = first
        scores = score_model(source, Neuron(layer), input=settings.get("input"), output=settings.get("output"))
        self._session = Session(scores, **sessions_like(settings))
        self._sources: list[Source] = []
        self._best: _Best | None = None
        self.failed: list[tuple[str, str]] = []

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels, each once; the first ones are known with the first picture."""
        return tuple(self._channels or ())

    @property
    def seen(self) -> int:
        """How many pictures were ranked."""
        return len(self._sources)

    def add(self, sources: Sequence[Source]) -> None:
        """Run one batch of pictures, and keep which of them are among the best of a channel, and where.

        Raises:
            ModelError: the runtime refuses them, or the network makes NaN of one.
            ImageError: colour channels that the network does not take.
            LayerError: the layer's first axis is not that of the images.
            TargetError: no such channel, of a layer that leaves their number open.
        """
        pictures: list[Picture] = []
        readable: list[Source] = []
        for source in sources:
            try:
                pictures.append(_picture(source))
                readable.append(source)
            except ImageError as error:
                self.failed.append((_name(source), str(error)))
        if not pictures:
            return
        scores, positions = self._run(self.explainer.prepare(pictures)[0])
        broken = [picture.name for picture, row in zip(pictures, scores, strict=True) if not np.isfinite(row).all()]
        if broken:
            raise ModelError(f"The network computes NaN or infinity: the activations of {', '.join(broken)}.")
        if self._best is None:
            self._channels = self._known_channels(scores.shape[1])
            self._best = _Best.none(len(self._channels), self.count, positions.shape[2])
        numbers = np.arange(self.seen, self.seen + len(pictures))
        self._best.add(scores[:, self._channels].T, numbers, positions[:, self._channels].swapaxes(0, 1))
        self._sources += readable

    def top(self, channel: int) -> ChannelTop:
        """Carry the best activations of one of `channels` back to their pictures, which are read once more.

        Raises:
            ImageError: a picture can no longer be read.
            ModelError: the network makes NaN of one.
        """
        row = self.channels.index(channel)
        assert self._best is not None  # with the first picture, as the channels are
        found = [index for index in range(self.count) if self._best.values[row, index] > -np.inf]
        if not found:
            return ChannelTop(channel, ())
        pictures = [_picture(self._sources[number]) for number in self._best.numbers[row, found]]
        explanation = self.explainer.explain(pictures, channel)
        assert explanation.gradient is not None  # of the methods that are let in
        projections = explanation.gradient.transpose(0, 2, 3, 1) if self._is_nchw else explanation.gradient
        activations = []
        for i, index in enumerate(found):
            place, projection = explanation.placements[i], projections[i]
            rows, columns = _support(projection) if self._best.positions.shape[2] else _whole(projection)
            box = _on_picture(place, rows, columns)
            activations.append(
                Activation(
                    image=pictures[i].name,
                    value=float(self._best.values[row, index]),
                    position=tuple(map(int, self._best.positions[row, index])),
                    box=box,
                    projection=self._in_rgb(projection[rows, columns]).copy(),  # a part would keep the whole alive
                    patch=pictures[i].pixels[box[1] : box[3], box[0] : box[2]].copy(),
                )
            )
        return ChannelTop(channel, tuple(activations))

    @property
    def _is_nchw(self) -> bool:
        return self.explainer.layout == "NCHW"

    def _run(self, array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores [N, K] and positions [N, K, axes]; a fixed batch is filled up with copies."""
        count = len(array)
        filled = np.resize(array, (self.explainer.batch or count, *array.shape[1:]))
        results = dict(
            zip(
                self._session.outputs,
                self._session.run({**self.explainer.feeds, self.explainer.input: filled}),
                strict=True,
            )
        )
        if len(results[SCORES]) != len(filled):
            raise LayerError(
                f"Layer {self.layer!r} has {len(results[SCORES])} rows for {len(filled)} image(s), such as windows of "
                "each: no row is an image's. Choose another; `inspect --layers` lists them."
            )
        scores = results[SCORES][:count].astype(np.float32)
        return scores, results.get(POSITIONS, np.zeros((count, scores.shape[1], 0), np.int64))[:count]

    def _known_channels(self, width: int) -> list[int]:
        if self._channels is None:
            return list(range(min(self._first, width)))
        check_known(self._channels, width, of_classes=False)
        return self._channels

    def _in_rgb(self, projection: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return projection[:, :, ::-1] if self.explainer.preprocess.channels == "BGR" else projection


@dataclass
class _Best:
    """The best of each channel so far, best first; -infinity where there is none yet.

    values [K, count], numbers [K, count] of the pictures, positions [K, count, axes].
    """

    values: npt.NDArray[np.float32]
    numbers: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    @classmethod
    def none(cls, channels: int, count: int, axes: int) -> _Best:
        shape = (channels, count)
        return cls(np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64), np.zeros((*shape, axes), np.int64))

    def add(
        self, values: npt.NDArray[np.float32], numbers: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
    ) -> None:
        """Merge pictures in: values [K, n], their numbers [n], positions [K, n, axes]; of equals the earlier stays."""
        silent = np.where(values == 0, -np.inf, values)  # a rectifier that is shut: there is nothing to carry back
        merged = np.concatenate([self.values, silent.astype(np.float32)], axis=1)
        best = np.argsort(-merged, axis=1, kind="stable")[:, : self.values.shape[1]]
        everyone = np.concatenate([self.numbers, np.broadcast_to(numbers, values.shape)], axis=1)
        self.values = np.take_along_axis(merged, best, axis=1)
        self.numbers = np.take_along_axis(everyone, best, axis=1)
        where = np.concatenate([self.positions, positions], axis=1)
        self.positions = np.take_along_axis(where, best[:, :, None], axis=1)


def _sources(images: Source | Sequence[Source]) -> list[Source]:
    """The pictures one by one: folders and patterns searched, the rest as it is."""
    given: list[Source] = [images] if isinstance(images, str | Path | bytes | Image.Image | Picture) else list(images)
    found: list[Source] = []
    for each in given:
        found += find_pictures(each) if isinstance(each, str | Path) else [each]
    if not found:
        raise ImageError("No pictures were given.")
    return found


def _picture(source: Source) -> Picture:
    return source if isinstance(source, Picture) else read_picture(source)


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _support(projection: npt.NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns (h, w) of the smallest box around all that is not 0; all of them where everything is."""
    seen = (projection != 0).any(axis=2)
    if not seen.any():
        return _whole(projection)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _whole(projection: npt.NDArray[np.float32]) -> tuple[slice, slice]:
    return slice(0, projection.shape[0]), slice(0, projection.shape[1])


def _on_picture(place: Placement, rows: slice, columns: slice) -> Box:
    """The box of the network's input in the picture's pixels, each that it touches."""
    (height, width), (x0, y0, x1, y1) = place.input_size, place.box
    left, right = (x0 + (x1 - x0) * edge / width for edge in (columns.start, columns.stop))
    top, bottom = (y0 + (y1 - y0) * edge / height for edge in (rows.start, rows.stop))
    edges = (
        np.floor(left + _ROUNDING),
        np.floor(top + _ROUNDING),
        np.ceil(right - _ROUNDING),
        np.ceil(bottom - _ROUNDING),
    )
    xmin, ymin, xmax, ymax = (int(edge) for edge in edges)
    return xmin, ymin, xmax, ymax


_ROUNDING = 1e-6  # of a pixel: an edge that float arithmetic moved across is not in the next one
