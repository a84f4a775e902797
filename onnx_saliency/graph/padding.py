"""auto_pad resolved, and ceil_mode where it misleads: windows state their pads, so that rules read one form only.

SAME pads so that the output has ceil(H / stride) positions (ONNX operator specification, Conv):
    total = max((ceil(H / s) - 1) s + d (k - 1) + 1 - H, 0)
For stride 1 the total is d (k - 1) whatever H is; otherwise H must be known.
"""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.errors import ModelError

_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
_WINDOWED = _POOLS | {"QLinearConv", "QLinearAveragePool", "Conv", "ConvInteger", "ConvTranspose"}


def resolve_auto_pad(model: ir.Model) -> None:
    """Write `auto_pad` of every windowed node as explicit `pads`, in place.

    Raises:
        ModelError: SAME padding with a stride over a dynamic size; all such nodes are named.
    """
    dynamic = []
    for node in model.graph.all_nodes():
        mode = node.attributes.get_string("auto_pad", "NOTSET") if node.op_type in _WINDOWED else "NOTSET"
        if mode == "NOTSET" or "output_shape" in node.attributes:  # pads follow from an output_shape, split by the mode
            continue
        pads = [0] * (2 * _spatial_rank(node)) if mode == "VALID" else _same_pads(node, lower=mode == "SAME_LOWER")
        if pads is None:
            dynamic.append(f"  node {node.name!r}: {node.op_type}, auto_pad {mode}, strides {_strides(node)}")
            continue
        del node.attributes["auto_pad"]
        node.attributes.add(ir.AttrInt64s("pads", pads))
    if dynamic:
        raise ModelError(
            "SAME padding depends on an input size that the model leaves open:\n"
            + "\n".join(dynamic)
            + "\nExport the model with a fixed height and width, or with explicit pads."
        )


def resolve_ceil_mode(model: ir.Model) -> bool:
    """Write one pool of ceil_mode, in place, by explicit pads, if its last window would begin in the padding.

    There is no such window (ONNX operator specification, MaxPool), but onnx's shape inference counts it before opset
    22. What it found behind that pool is forgotten.

    Returns:
        Whether there was one; then shapes are to be inferred again, and there may be another.
    """
    nodes = list(model.graph)
    for position, node in enumerate(nodes):
        pads = _pads_for_ceil_mode(node) if node.op_type in _POOLS and "ceil_mode" in node.attributes else None
        if pads is None:
            continue
        del node.attributes["ceil_mode"]
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
        for value in (output for later in nodes[position:] for output in later.outputs):
            value.shape = None
        return True
    return False


def _pads_for_ceil_mode(node: ir.Node) -> list[int] | None:
    """Pads with which as many windows fit, where onnx counts one too many along some axis; else None."""
    x, kernel, strides = node.inputs[0], kernel_shape(node), _strides(node)
    sizes = list(x.shape)[2:] if x is not None and x.shape is not None else []
    if not node.attributes.get_int("ceil_mode", 0) or len(sizes) != len(kernel):
        return None
    rank = len(kernel)
    stated = list(node.attributes.get_ints("pads", [0] * 2 * rank))
    begins, ends, wrong = stated[:rank], stated[rank:], False
    for axis, (size, extent, stride) in enumerate(zip(sizes, _extents(node), strides, strict=True)):
        if not isinstance(size, int):
            return None
        room = size + begins[axis] + ends[axis] - extent
        count = -(-room // stride) + 1
        beyond = (count - 1) * stride >= size + begins[axis]
        wrong |= beyond
        if not beyond:
            ends[axis] += max((count - 1) * stride - room, 0)
    counted = node.attributes.get_int("count_include_pad", 0)
    if not wrong or (counted and begins + ends != stated):  # what only ceil_mode reaches is not counted
        return None
    return begins + ends


def kernel_shape(node: ir.Node) -> list[int]:
    """Return the window of a convolution or pool: the attribute, else the weight's spatial shape."""
    stated = node.attributes.get_ints("kernel_shape", None)
    if stated is not None:
        return list(stated)
    weight = node.inputs[3 if node.op_type == "QLinearConv" else 1]
    dims = [dim for dim in weight.shape[2:] if isinstance(dim, int)] if weight is not None and weight.shape else []
    if weight is None or weight.shape is None or len(dims) != len(weight.shape) - 2:
        raise ModelError(f"Node {node.name!r} ({node.op_type}): the kernel's shape is not known.")
    return dims


def _spatial_rank(node: ir.Node) -> int:
    return len(kernel_shape(node))


def _strides(node: ir.Node) -> list[int]:
    return list(node.attributes.get_ints("strides", [1] * _spatial_rank(node)))


def _extents(node: ir.Node) -> list[int]:
    """How many entries a window spans along each axis."""
    kernel = kernel_shape(node)
    dilations = list(node.attributes.get_ints("dilations", [1] * len(kernel)))
    return [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]


def _same_pads(node: ir.Node, *, lower: bool) -> list[int] | None:
    kernel, strides, extents = kernel_shape(node), _strides(node), _extents(node)
    if node.op_type == "ConvTranspose":  # output is H s whatever H is: total = d (k - 1) + 1 - s
        extra = list(node.attributes.get_ints("output_padding", [0] * len(kernel)))
        totals = [max(e - s + o, 0) for e, s, o in zip(extents, strides, extra, strict=True)]
    else:
        x = node.inputs[0]
        sizes = list(x.shape[2:]) if x is not None and x.shape is not None else [None] * len(kernel)
        totals = []
        for size, extent, stride in zip(sizes, extents, strides, strict=True):
            if stride == 1:
                totals.append(extent - 1)
            elif isinstance(size, int):
                totals.append(max((-(-size // stride) - 1) * stride + extent - size, 0))
            else:
                return None
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return large + small if lower else small + large
