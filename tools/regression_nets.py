"""Write the small nets of tests/zoo, with what PyTorch says of their gradients, so that the tests need no PyTorch.

    python tools/regression_nets.py

Weights are random from a fixed seed, rounded to four bits so that they compress; the reference is autograd in float64
with those same weights, at a thousand positions of the image, with autograd's own float32 error beside it.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from zoo import gradient, load_torch, perturb, relative

POSITIONS = 1000


def nets() -> dict[str, tuple[Callable[[], Any], int]]:
    """Name, how to build it, and the side of its image: one of each kind of architecture."""
    import timm
    from timm.models.sequencer import Sequencer2d
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    def small(name: str, **options: Any) -> Callable[[], Any]:
        return lambda: timm.create_model(name, num_classes=10, **options)

    swin = {"img_size": 64, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4, "num_classes": 10}
    return {
        "vit": (small("test_vit", img_size=64), 64),
        "vit_relative_positions": (small("test_vit_relpos", img_size=64), 64),
        "byobnet": (small("test_byobnet"), 64),
        "convnext": (small("test_convnext"), 64),
        "efficientnet": (small("test_efficientnet"), 64),
        "mambaout": (small("test_mambaout"), 64),
        "nfnet": (small("test_nfnet"), 64),
        "resnet": (small("test_resnet"), 64),
        "coatnet": (small("test_coatnet", img_size=64), 64),
        "swin": (lambda: SwinTransformer(**swin), 64),
        "swin_v2": (lambda: SwinTransformerV2(**swin), 64),
        "sequencer": (
            lambda: Sequencer2d(
                num_classes=10, img_size=56, layers=(1, 1), patch_sizes=(7, 2), embed_dims=(16, 32),
                hidden_sizes=(4, 8), mlp_ratios=(2.0, 2.0),
            ),
            56,
        ),
    }  # fmt: skip


def round_weights(module: Any) -> None:
    """Keep four bits of every weight's mantissa: the file compresses, and both sides have the same numbers."""
    import torch

    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                mantissa, exponent = torch.frexp(tensor)
                tensor.copy_(torch.ldexp(torch.round(mantissa * 16) / 16, exponent))


def write(name: str, build: Callable[[], Any], side: int, folder: Path) -> None:
    """Write one net and its reference."""
    import torch

    torch.manual_seed(0)
    module = build()
    perturb(module, [3, side, side])
    round_weights(module)
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32))
    file = io.BytesIO()
    torch.onnx.export(module, (image,), file, dynamo=False, opset_version=18, input_names=["image"])
    (folder / f"{name}.onnx.xz").write_bytes(lzma.compress(file.getvalue(), preset=9))
    target, reference = gradient(module.double(), image.double())
    own = relative(gradient(module.float(), image, target)[1], reference)
    positions = np.random.default_rng(1).choice(reference.size, POSITIONS, replace=False)
    values = reference.reshape(-1)[positions]
    np.savez_compressed(
        folder / f"{name}.npz", side=side, target=target, positions=positions, gradient=values, autograd_error=own
    )
    size = (folder / f"{name}.onnx.xz").stat().st_size
    print(f"{name}: {size / 1e3:.0f} kB, float32 autograd's own error {own:.1e}")


def main(out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("tests/zoo")) -> None:
    """Write all nets."""
    load_torch()
    out.mkdir(parents=True, exist_ok=True)
    for name, (build, side) in nets().items():
        write(name, build, side, out)


if __name__ == "__main__":
    typer.run(main)
