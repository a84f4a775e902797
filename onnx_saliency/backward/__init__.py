"""Differentiation of graphs: the reverse walk, the registry of rules, and the rules by family.

Knows nothing of images or of what the gradient is for.
"""

from onnx_saliency.backward import rules
from onnx_saliency.backward.lowering import profile_for
from onnx_saliency.backward.registry import Policy, classify, find_rule, is_expanded, is_straight_through, supported
from onnx_saliency.backward.relu import DECONVNET, GRADIENT, GUIDED, is_rectifier, is_smooth, leaky
from onnx_saliency.backward.residual import damped
from onnx_saliency.backward.tensor import PROFILES, Profile, Tape, Tensor, full_like, op, shortened
from onnx_saliency.backward.walk import Path, backward, check_rules, find_path, nodes_on, reads

__all__ = [
    "DECONVNET",
    "GRADIENT",
    "GUIDED",
    "PROFILES",
    "Path",
    "Policy",
    "Profile",
    "Tape",
    "Tensor",
    "backward",
    "check_rules",
    "classify",
    "damped",
    "find_path",
    "find_rule",
    "full_like",
    "is_expanded",
    "is_rectifier",
    "is_smooth",
    "is_straight_through",
    "leaky",
    "nodes_on",
    "op",
    "profile_for",
    "reads",
    "rules",
    "shortened",
    "supported",
]
