"""Scores of an image with some of its pixels replaced; the images are made where the model runs, in few batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.classes import check_known
from onnx_saliency.evaluation.faithfulness.protocol import ScoreKind
from onnx_saliency.explain import Explainer, sessions_like
from onnx_saliency.exporter.perturbed import ANSWERS, COUNT, END, LOGITS, RANK, START, perturb_model
from onnx_saliency.probability import probabilities
from onnx_saliency.runtime import Batches, Session

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model says of K images.

    Attributes:
        logits: float (K, classes), before any final activation.
        answers: float (K, classes), the model's own output.
        activation: what is between them, None where nothing is.
    """

    logits: npt.NDArray[Any]
    answers: npt.NDArray[Any]
    activation: str | None

    def of(self, target: int, kind: ScoreKind) -> Floats:
        """The score of one class, float64 (K,). TargetError where there is no such class."""
        check_known([target], self.logits.shape[1])
        if kind == "probability":
            chosen = probabilities(self.logits.astype(np.float64), self.activation)
        else:
            chosen = self.logits if kind == "logit" else self.answers
        return chosen[:, target].astype(np.float64)


class Scorer:
    """A model behind what perturbs its images; the session is built once.

    Args:
        explainer: whose model, input and output, provider, threads and use of CUDA are taken, but for CUDA graphs.
        batch_size: images a run, where the model leaves it open; halved where memory does not suffice.

    Raises:
        ModelError: the model cannot be read or run.
    """

    def __init__(self, explainer: Explainer, *, batch_size: int = 16) -> None:
        settings = explainer.settings
        perturbed = perturb_model(explainer.source, input=settings["input"], output=settings["output"])
        self._activation = perturbed.activation
        self._fixed = perturbed.batch
        self.batch_size = perturbed.batch or batch_size
        self._session = Session(perturbed.model, **sessions_like(settings))
        self._feeds = explainer.feeds

    def score(
        self,
        start: npt.NDArray[Any],
        end: npt.NDArray[Any],
        ranks: npt.NDArray[np.int32],
        counts: npt.NDArray[np.int32],
    ) -> Scores:
        """The scores of `start` where, for each of `counts`, so many pixels of lowest rank are those of `end`.

        Args:
            start: [1, ...], in the network's own form.
            end: as `start`.
            ranks: int32 (H, W), or (K, H, W), one for each of `counts`.
            counts: int32 (K,).

        Raises:
            ModelError: the runtime refuses them.
            OutOfMemoryError: memory does not suffice for one image.
        """
        ranks = ranks[None] if ranks.ndim == 2 else ranks

        def run(chunk: slice) -> list[npt.NDArray[Any]]:
            chosen = np.arange(chunk.start, chunk.stop)
            rows = np.pad(chosen, (0, (self._fixed or len(chosen)) - len(chosen)), mode="edge")
            feeds = {
                **self._feeds,
                START: start,
                END: end,
                RANK: ranks if len(ranks) == 1 else ranks[rows],
                COUNT: counts[rows],
            }
            return [values[: len(chosen)] for values in self._session.run(feeds, (LOGITS, ANSWERS))]

        batches = Batches(len(counts), self.batch_size, self._fixed or 1)
        parts = list(batches.run(run))
        if batches.batch < min(self.batch_size, len(counts)):  # it was halved: so much is known for the next time
            self.batch_size = batches.batch
        logits, answers = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Scores(logits, answers, self._activation)
