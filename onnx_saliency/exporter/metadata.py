"""What an explained model says about itself, in `metadata_props`, one key a fact."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIX = "onnx_saliency."


def write_metadata(props: dict[str, str], facts: Mapping[str, str]) -> None:
    """Store `facts` under this package's prefix, in a fixed order."""
    for key in sorted(facts):
        props[_PREFIX + key] = facts[key]


def read_metadata(props: Mapping[str, str]) -> dict[str, str]:
    """Return what this package stored in a model: version, method, score, changed nodes, preprocess, labels."""
    return {key.removeprefix(_PREFIX): value for key, value in props.items() if key.startswith(_PREFIX)}
