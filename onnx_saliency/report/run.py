"""What all results say of the run that made them: how pictures and classes were read, and which pictures failed."""

from __future__ import annotations

from collections.abc import Iterable

from onnx_saliency.explain import Explainer
from onnx_saliency.images import Labels


def reading(explainer: Explainer) -> list[str]:
    """How pictures become network input, and what had to be changed of the class names to fit: a line each."""
    lines = [f"preprocessing ({explainer.preprocess_source}): {explainer.preprocess}"]
    return lines + label_notes(explainer.labels)


def reading_text(explainer: Explainer) -> str:
    """The same as paragraphs of a page."""
    return "\n\n".join(f"{line[0].upper()}{line[1:]}." for line in reading(explainer))


def label_notes(labels: Labels | None) -> list[str]:
    """What had to be changed of the class names to fit the model, if anything."""
    return [f"labels: {labels.note}"] if labels is not None and labels.note else []


def run_notes(explainer: Explainer) -> list[str]:
    """What to know of the method on this model and of the class names, for JSON."""
    return [*explainer.notes, *label_notes(explainer.labels)]


def partial_text(why: str) -> str:
    """A paragraph of a page more, on what ended the run early, if anything did."""
    return f"\n\n{why[0].upper()}{why[1:]}: these results are partial." if why else ""


def failures(failed: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Pictures that failed, as name and reason, for JSON."""
    return [{"image": as_text(name), "error": as_text(why)} for name, why in failed]


def as_text(name: str) -> str:
    """A file name is bytes, which need not be text: what is none is written as its escape."""
    return name.encode("utf-8", "backslashreplace").decode()
