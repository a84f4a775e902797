"""Attention and what belongs to it: the standard defines them by ordinary operators, which have rules."""

from __future__ import annotations

from onnx_saliency.backward.registry import expanded

expanded("Attention", "RotaryEmbedding", "LinearAttention", "CausalConvWithState")
