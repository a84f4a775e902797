"""A net through onnx2torch with its shapes written in, for tools/bench.py.

onnx2torch reads the shape of a reshape from a tensor on every run. Eager PyTorch loses a little by that;
torch.compile breaks its graph there, or refuses the net. The bench fixes the batch, so all shapes are known.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx2torch
import torch
from torch import fx

RESHAPES = {"OnnxReshape", "OnnxSqueezeDynamicAxes", "OnnxSqueezeStaticAxes", "OnnxUnsqueezeDynamicAxes"}


def network(model: onnx.ModelProto, images: torch.Tensor) -> fx.GraphModule:
    """Return the net for batches like `images`, its weights without gradients."""
    module = onnx2torch.convert(model).eval().requires_grad_(False)
    values = _Recorder(module)
    with torch.no_grad():
        values.run(images)
    _write_shapes(module, values.of)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


class _Recorder(fx.Interpreter):
    """Keeps what every node gives."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.of: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and keep its value."""
        self.of[n] = super().run_node(n)
        return self.of[n]


def _write_shapes(module: fx.GraphModule, values: dict[fx.Node, Any]) -> None:
    """Make constants of what depends on shapes alone, and give reshapes, expansions and splits numbers."""
    known: set[fx.Node] = set()
    for node in list(module.graph.nodes):
        kind = type(module.get_submodule(node.target)).__name__ if node.op == "call_module" else ""
        value = values[node]
        constant = node.op.startswith("call") and known.issuperset(node.all_input_nodes)
        with module.graph.inserting_after(node):
            if node.op == "get_attr":
                known.add(node)
                continue
            if (constant or kind == "OnnxShape") and isinstance(value, torch.Tensor):
                name = f"known_{len(known)}"
                module.register_buffer(name, value)
                new = module.graph.get_attr(name)
                known.add(new)
            elif kind in RESHAPES:
                new = module.graph.call_function(torch.reshape, (node.args[0], tuple(value.shape)))
            elif kind == "OnnxExpand":
                new = module.graph.call_method("expand", (node.args[0], *value.shape))
            elif kind == "OnnxSplit13":
                axis = module.get_submodule(node.target).axis
                new = module.graph.call_function(
                    torch.split, (node.args[0], [part.shape[axis] for part in value], axis)
                )
            else:
                continue
        node.replace_all_uses_with(new)
