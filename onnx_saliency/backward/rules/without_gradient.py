"""Operators that pass nothing on, each by its reason, and those that are refused."""

from __future__ import annotations

from onnx_saliency.backward.registry import refused, zero

# --- piecewise constant ------------------------------------------------------------------------

zero("Sign", "Floor", "Ceil", "Round", "Hardmax")
zero("ArgMax", "ArgMin", "NonZero", "IsNaN", "IsInf")
zero("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor")
zero("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")

# --- text, and pictures as files ---------------------------------------------------------------

zero("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer")
zero("ImageDecoder")

# --- choices: the selected positions are integers -----------------------------------------

zero("NonMaxSuppression")

# --- sources: they read no more than lengths or a shape ----------------------------------------

zero("Constant", "Shape", "Size", "ConstantOfShape", "EyeLike")
zero("BlackmanWindow", "HammingWindow", "HannWindow")
zero("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")

# --- triangles between whole bins, to which its frequencies are rounded ------------------------

zero("MelWeightMatrix")

# --- random choices: for one draw of u, 1(u < p) is piecewise constant in p --------------------

zero("Bernoulli", "Multinomial")

# --- refused -----------------------------------------------------------------------------------

refused("it reads the bits of a number as another type, which has no slope", "BitCast")
