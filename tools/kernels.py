"""The kernels that ONNX Runtime registers for a provider, as onnx_saliency/runtime/kernels.json keeps them.

    pip install onnxruntime-gpu
    python tools/kernels.py                          # where CUDA works
    python tools/kernels.py --without-cuda           # anywhere on Linux, with a C compiler and nm

The list is asked of the library of the CUDA provider itself, which has to be loaded for it, but computes nothing.
Without CUDA, others stand in for its libraries (stand_in.py). With them a session can be built too, and says on which
provider the runtime puts each node:

    python tools/kernels.py --without-cuda --place net.saliency.onnx
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer
from stand_in import run_again

TABLE = Path(__file__).parents[1] / "onnx_saliency" / "runtime" / "kernels.json"
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
OPEN = 2**31 - 1  # of a kernel that serves the newest version of its operator


def registered() -> dict[str, Any]:
    """The kernels of the standard domain: for each operator, versions and the types of each of its type parameters.

    Kernels that differ in T alone are one.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    types: dict[Any, set[str]] = defaultdict(set)
    for kernel in get_all_opkernel_def():
        if kernel.domain == "" and kernel.provider in PROVIDERS:
            given = {name: tuple(sorted(map(_short, allowed))) for name, allowed in kernel.type_constraints.items()}
            of_t = given.pop("T", ())
            types[kernel.provider, kernel.op_name, kernel.version_range, tuple(sorted(given.items()))].update(of_t)
    kernels: dict[str, dict[str, list[Any]]] = {provider: {} for provider in PROVIDERS}
    for (provider, operator, (since, until), others), of_t in sorted(types.items()):
        allowed = {**({"T": sorted(of_t)} if of_t else {}), **dict(others)}
        texts = {name: " ".join(each) for name, each in allowed.items()}
        kernels[provider].setdefault(operator, []).append([since, None if until == OPEN else until, texts])
    return {"runtime": f"onnxruntime-gpu {onnxruntime.__version__}", "kernels": kernels}


def written(table: dict[str, Any]) -> str:
    """JSON, a line an operator."""
    blocks = []
    for provider, kernels in table["kernels"].items():
        lines = [f"{json.dumps(operator)}: {json.dumps(each)}" for operator, each in kernels.items()]
        blocks.append(f"{json.dumps(provider)}: {{\n" + ",\n".join(lines) + "\n}")
    return f'{{"runtime": {json.dumps(table["runtime"])}, "kernels": {{\n' + ",\n".join(blocks) + "\n}}\n"


def placed(model: Path) -> dict[str, Counter[str]]:
    """How many nodes of each operator a session puts on each provider, after the runtime has rewritten the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(model, options, providers=list(PROVIDERS))
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name].update(node.op_type for node in part.get_nodes())
    return found


def _short(type_: str) -> str:
    return type_.removeprefix("tensor(").removesuffix(")") if type_.startswith("tensor(") else type_


def main(
    place: Annotated[list[Path] | None, typer.Option(help="Say where the nodes of this model go, repeatable.")] = None,
    without_cuda: Annotated[bool, typer.Option("--without-cuda", help="Make libraries that stand for CUDA's.")] = False,
) -> None:
    """Renew the table, or place models."""
    if without_cuda:
        raise typer.Exit(run_again([each for each in sys.argv if each != "--without-cuda"]))
    for model in place or ():
        for provider, operators in placed(model).items():
            print(f"{model.name}, {provider}: {', '.join(f'{count} {name}' for name, count in operators.items())}")
    if not place:
        TABLE.write_text(written(registered()), "utf-8")


if __name__ == "__main__":
    typer.run(main)
