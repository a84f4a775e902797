"""An `Explainer` in the calling conventions of Quantus and Captum, so that their metrics can be taken of its maps.

Neither package, nor PyTorch, is imported: what arrives is told by what it can do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import MethodError, ModelError, TargetError
from onnx_saliency.explain import Explainer
from onnx_saliency.exporter.methods import IntegratedGradients


class QuantusExplain:
    """An explanation function for Quantus: `metric(..., explain_func=QuantusExplain(explainer))`.

    Quantus hands over the model that it measures. The explainer has its own, an ONNX file, which must be the same
    network; the model handed over is not run, and another one than before is refused.

    Args:
        explainer: what makes the maps.
        signed: the signed values of every channel, (N, C, H, W), and not the map, (N, 1, H, W).
        model: the model that Quantus measures; None takes the first that it hands over.

    Raises:
        MethodError: an explainer of several classes per image.
    """

    def __init__(self, explainer: Explainer, *, signed: bool = False, model: object = None) -> None:
        _check_one_class(explainer)
        self.explainer, self.signed = explainer, signed
        self._model = model

    def __call__(
        self, model: object, inputs: Any, targets: Any, *, device: object = None, **options: object
    ) -> npt.NDArray[np.float32]:
        """Explain a batch.

        Args:
            model: what Quantus measures.
            inputs: (N, C, H, W) in the network's own form, or (N, H, W, C) where it takes that.
            targets: (N,), the classes; None for the predicted ones.
            device: where Quantus runs its model; the explainer runs where its providers are.
            options: none; a method's options are the explainer's.

        Raises:
            MethodError: options, or a method that has no signed values.
            ModelError: another model than before: Quantus's randomised copies are not what the explainer explains.
            ImageError, TargetError: inputs or targets that do not fit the model.
        """
        if options:
            raise MethodError(
                f"explain_func_kwargs holds {', '.join(options)}: QuantusExplain takes no options. Give the method and "
                "its options to the Explainer."
            )
        self._model = model if self._model is None else self._model
        if model is not self._model:
            raise ModelError(
                "Quantus handed over another model than before, as metrics that randomise parameters do; the maps are "
                "of the ONNX model, and would not change. Export each model and give it an Explainer of its own."
            )
        explanation = self.explainer.explain(_as_numpy(inputs), _as_targets(targets))
        return _signed(self.explainer, explanation.gradient) if self.signed else explanation.saliency[:, None]


class CaptumAttribution:
    """An explainer in Captum's convention: `CaptumAttribution(explainer).attribute(inputs, target=3)`.

    The values are the method's signed ones; of the method "gradient" those of `captum.attr.Saliency` with `abs=False`.
    No gradient flows through them.

    Args:
        explainer: what makes the maps.

    Raises:
        MethodError: an explainer of several classes per image.
    """

    def __init__(self, explainer: Explainer) -> None:
        _check_one_class(explainer)
        self.explainer = explainer

    def attribute(
        self, inputs: Any, target: Any = None, baselines: Any = None, additional_forward_args: Any = None
    ) -> Any:
        """Explain a batch, and return values of the inputs' type, shape, device and, where they are floats, dtype.

        Args:
            inputs: a tensor or NumPy array in the network's own form, or a tuple of one, which gives a tuple.
            target: a class for all, or one per image, as a number, list, array or tensor; None for the predicted ones.
            baselines: None, or the number that the explainer's integrated gradients start from.
            additional_forward_args: None; values of a model's other inputs are the explainer's `feeds`.

        Raises:
            MethodError: baselines that are not the method's, other arguments, several inputs, or a method that has no
                signed values.
            ImageError, TargetError: inputs or targets that do not fit the model.
        """
        if isinstance(inputs, tuple):
            if len(inputs) != 1:
                raise MethodError(f"{len(inputs)} inputs were given; the explainer has one image input.")
            return (self.attribute(inputs[0], target, baselines, additional_forward_args),)
        if additional_forward_args is not None:
            raise MethodError("additional_forward_args is not taken; give the Explainer its other inputs in feeds.")
        self._check_baselines(baselines)
        explanation = self.explainer.explain(_as_numpy(inputs), _as_targets(target))
        return _like(inputs, _signed(self.explainer, explanation.gradient).reshape(np.shape(inputs)))

    def has_convergence_delta(self) -> bool:
        """Whether `attribute` returns how far the values are from adding up: it does not; see `Explanation.gap`."""
        return False

    def _check_baselines(self, baselines: Any) -> None:
        method = self.explainer.method
        own = method.baseline if isinstance(method, IntegratedGradients) else None
        if baselines is not None and not (np.ndim(baselines) == 0 and baselines == own):
            starts = "takes no baselines" if own is None else f"starts from {own:g} everywhere"
            raise MethodError(
                f"The explainer's method {method.name} {starts}; give the Explainer "
                "xs.IntegratedGradients(baseline=...), one number, and baselines None or the same."
            )


def _check_one_class(explainer: Explainer) -> None:
    if explainer.several is not None:
        raise MethodError(
            f"The explainer explains {explainer.several} classes of an image (several); Quantus and Captum ask for "
            "one. Give an Explainer without several."
        )


def _signed(explainer: Explainer, values: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    if values is None:
        raise MethodError(
            f"The method {explainer.method.name} makes a map and no signed values of the input; choose another, such "
            "as gradient or integrated_gradients."
        )
    return values


def _as_targets(target: Any) -> Any:
    """What an `Explainer` takes: None, a number, or an array of them."""
    if target is None or isinstance(target, int):
        return target
    array = _as_numpy(target)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TargetError(f"A target is the number of a class, or one per image; found {array.dtype} {array.shape}.")
    return int(array.reshape(-1)[0]) if array.size == 1 else array


def _as_numpy(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.detach().cpu().numpy() if _is_tensor(values) else values)


def _like(inputs: Any, values: npt.NDArray[np.float32]) -> Any:
    if not _is_tensor(inputs):
        return values.astype(np.asarray(inputs).dtype) if np.asarray(inputs).dtype.kind == "f" else values
    return (inputs if inputs.is_floating_point() else inputs.float()).new_tensor(values)


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "detach")
