"""How rewriting time grows with a graph: transformers of 250 to 4,000 nodes, and a 500-node model without rules.

python tools/scaling.py
"""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table

from onnx_saliency.errors import UnsupportedOperatorError
from onnx_saliency.exporter import explain_model

WIDTH, HEADS, TOKENS = 32, 4, 64
BLOCK = """
    n{i} = LayerNormalization(x{i}, s, b)
    q{i} = MatMul(n{i}, w) qb{i} = Add(q{i}, b) qr{i} = Reshape(qb{i}, heads)
    qt{i} = Transpose<perm = [0, 2, 1, 3]>(qr{i})
    k{i} = MatMul(n{i}, w) kb{i} = Add(k{i}, b) kr{i} = Reshape(kb{i}, heads)
    kt{i} = Transpose<perm = [0, 2, 3, 1]>(kr{i})
    v{i} = MatMul(n{i}, w) vb{i} = Add(v{i}, b) vr{i} = Reshape(vb{i}, heads)
    vt{i} = Transpose<perm = [0, 2, 1, 3]>(vr{i})
    a{i} = MatMul(qt{i}, kt{i}) d{i} = Div(a{i}, root) p{i} = Softmax<axis = -1>(d{i})
    o{i} = MatMul(p{i}, vt{i}) ot{i} = Transpose<perm = [0, 2, 1, 3]>(o{i}) or{i} = Reshape(ot{i}, tokens)
    m{i} = MatMul(or{i}, w) mb{i} = Add(m{i}, b) y{i} = Add(mb{i}, x{i})
    h{i} = LayerNormalization(y{i}, s, b) f{i} = MatMul(h{i}, w) fb{i} = Add(f{i}, b) g{i} = Gelu(fb{i})
    e{i} = MatMul(g{i}, w) eb{i} = Add(e{i}, b) x{j} = Add(eb{i}, y{i})
"""


def transformer(blocks: int) -> onnx.ModelProto:
    """A vision transformer of `blocks` blocks: patches by a convolution, then attention and a two-layer net each."""
    body = "c = Conv<strides = [8, 8]>(image, patch) r = Reshape(c, flat) x0 = Transpose<perm = [0, 2, 1]>(r)"
    body += "".join(BLOCK.format(i=i, j=i + 1) for i in range(blocks))
    body += f" z = ReduceMean<keepdims = 0>(x{blocks}, axis) logits = MatMul(z, w)"
    rng = np.random.default_rng(0)
    weights = {
        "patch": rng.standard_normal((WIDTH, 3, 8, 8)) / 14,
        "w": rng.standard_normal((WIDTH, WIDTH)) / 6,
        **{"s": np.ones(WIDTH), "b": np.zeros(WIDTH), "root": np.array(np.sqrt(WIDTH / HEADS))},
    }
    shapes = {"flat": [0, WIDTH, TOKENS], "heads": [0, TOKENS, HEADS, WIDTH // HEADS], "tokens": [0, TOKENS, WIDTH]}
    return model(body, weights, {**shapes, "axis": [1]}, classes=WIDTH)


def without_rules(nodes: int) -> onnx.ModelProto:
    """A chain of operators that have no gradient."""
    chain = " ".join(f"f{n + 1} = BitCast<to = 1>(f{n})" for n in range(nodes))
    body = f"f0 = Flatten(image) {chain} logits = MatMul(f{nodes}, w)"
    return model(body, {"w": np.ones((3 * 64 * 64, 8))}, {}, classes=8, opset=26)


def model(
    body: str, weights: dict[str, np.ndarray], shapes: dict[str, list[int]], classes: int, opset: int = 20
) -> onnx.ModelProto:
    """The model of a graph in ONNX's text form."""
    header = (
        f'<ir_version: 10, opset_import: ["": {opset}]> net (float[N,3,64,64] image) => (float[N,{classes}] logits)'
    )
    built = onnx.parser.parse_model(f"{header} {{ {body} }}")
    tensors = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()]
    tensors += [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    built.graph.initializer.extend(tensors)
    return built


def main() -> None:
    """Print rewriting time by number of nodes."""
    table = Table("nodes", "rewriting, s", "ms a node", "nodes after")
    explain_model(transformer(1))  # imports
    for blocks in (8, 16, 32, 64, 128):
        net = transformer(blocks)
        start = time.perf_counter()
        explained = explain_model(net)
        seconds = time.perf_counter() - start
        count = len(net.graph.node)
        table.add_row(str(count), f"{seconds:.2f}", f"{seconds / count * 1e3:.2f}", str(len(explained.model.graph)))
    Console().print(table)
    start = time.perf_counter()
    try:
        explain_model(without_rules(500))
    except UnsupportedOperatorError as error:
        seconds = time.perf_counter() - start
        Console().print(f"500 nodes without a rule: {str(error).count('node ')} named in {seconds:.2f} s")


if __name__ == "__main__":
    main()
