"""Operators that pass nothing on, each by its reason, and those that cannot be asked.

Some more are declared beside their relatives: Sign or Shape with the arithmetic.
"""

from __future__ import annotations

from onnx_saliency.backward.registry import refused, zero

# --- bits and whole numbers --------------------------------------------------------------------

zero("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")

# --- text, and pictures as files ---------------------------------------------------------------

zero("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer")
zero("ImageDecoder")

# --- choices: the selected positions are whole numbers -----------------------------------------

zero("NonMaxSuppression")

# --- sources: they read no more than lengths or a shape ----------------------------------------

zero("Constant")
zero("BlackmanWindow", "HammingWindow", "HannWindow")
zero("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")

# --- triangles between whole bins, to which its frequencies are rounded ------------------------

zero("MelWeightMatrix")

# --- random choices: for one draw of u, 1(u < p) is piecewise constant in p --------------------

zero("Bernoulli", "Multinomial")

# --- refused -----------------------------------------------------------------------------------

refused("it reads the bits of a number as another type, which has no slope", "BitCast")
