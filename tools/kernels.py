"""The kernels that ONNX Runtime registers for a provider, as onnx_saliency/runtime/kernels.json keeps them.

    pip install onnxruntime-gpu
    python tools/kernels.py                          # where CUDA works
    python tools/kernels.py --without-cuda           # anywhere on Linux, with a C compiler and nm

The list is asked of the library of the CUDA provider itself, which has to be loaded for it, but computes nothing.
Without CUDA, libraries of NVIDIA's names are made that hold every function it is linked to and do nothing but return 0,
so that it can be loaded; memory of the device is then the host's. With them a session can be built too, and says on
which provider the runtime puts each node:

    python tools/kernels.py --without-cuda --place net.saliency.onnx
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

TABLE = Path(__file__).parents[1] / "onnx_saliency" / "runtime" / "kernels.json"
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
OPEN = 2**31 - 1  # of a kernel that serves the newest version of its operator

LINKED = {  # what is linked to by plain names, and what else must be there
    "libcuda.so.1": ("cuTensorMapEncodeTiled",),
    "libcurand.so.10": (),
    "libnvinfer.so.10": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getInferLibVersion",
        "getPluginRegistry",
    ),
    "libnvonnxparser.so.10": ("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL"),
}
ANSWERS = {  # functions of which a session needs more than a 0
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int *n) { *n = 1; return 0; }",
    "cudaGetDevice": "int cudaGetDevice(int *n) { *n = 0; return 0; }",
    "cudaDriverGetVersion": "int cudaDriverGetVersion(int *n) { *n = 13000; return 0; }",
    "cudaRuntimeGetVersion": "int cudaRuntimeGetVersion(int *n) { *n = 13000; return 0; }",
    "cudaMemGetInfo": "int cudaMemGetInfo(size_t *free, size_t *all) { *free = *all = 1ul << 36; return 0; }",
    "cudaMalloc": "int cudaMalloc(void **p, size_t n) { *p = malloc(n); return 0; }",
    "cudaMallocHost": "int cudaMallocHost(void **p, size_t n) { *p = malloc(n); return 0; }",
    "cudaHostAlloc": "int cudaHostAlloc(void **p, size_t n, unsigned f) { *p = malloc(n); return 0; }",
    "cudaFree": "int cudaFree(void *p) { free(p); return 0; }",
    "cudaFreeHost": "int cudaFreeHost(void *p) { free(p); return 0; }",
    "cudaMemcpy": "int cudaMemcpy(void *to, void *from, size_t n, int k) { memcpy(to, from, n); return 0; }",
    "cudaMemcpyAsync": "int cudaMemcpyAsync(void *to, void *from, size_t n, int k, void *s)"
    " { memcpy(to, from, n); return 0; }",
    "cudaGetErrorString": 'char *cudaGetErrorString(int e) { return "none"; }',
    "cudaGetErrorName": 'char *cudaGetErrorName(int e) { return "none"; }',
    "cudaGetDeviceProperties": "int cudaGetDeviceProperties(char *p, int d)"
    ' { memset(p, 0, 1008); strcpy(p, "none"); return 0; }',
    "cudaDeviceGetAttribute": "int cudaDeviceGetAttribute(int *v, int what, int d)"
    " { *v = what == 75 ? 8 : what == 76 ? 0 : 1; return 0; }",  # compute capability 8.0
}


def make_libraries(folder: Path) -> None:
    """Write libraries into `folder` to which the installed providers can be linked."""
    import onnxruntime

    names: dict[str, set[str]] = {library: set(linked) for library, linked in LINKED.items()}
    providers = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime_providers_*.so"))
    for provider in providers:
        command = ["nm", "-D", "--undefined-only", "--with-symbol-versions", str(provider)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for name, library in re.findall(r"(\w+)@(lib\S+)", listed):  # the version of a symbol is its library's name
            names.setdefault(library, set()).add(name)
    for library, functions in names.items():
        source, versions = folder / f"{library}.c", folder / f"{library}.map"
        lines = [ANSWERS.get(name, f"long {name}(void) {{ return 0; }}") for name in sorted(functions)]
        source.write_text("\n".join(["#include <stdlib.h>", "#include <string.h>", *lines, ""]))
        versions.write_text(f"{library} {{ global: *; }};\n")
        versioned = [] if library in LINKED else [f"-Wl,--version-script={versions}"]
        linked = [f"-Wl,-soname,{library}", *versioned, "-o", str(folder / library)]
        subprocess.run(["cc", "-w", "-shared", "-fPIC", str(source), *linked], check=True)


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
        with tempfile.TemporaryDirectory() as folder:  # the loader reads its path when a process begins
            make_libraries(Path(folder))
            arguments = [each for each in sys.argv if each != "--without-cuda"]
            environment = {**os.environ, "LD_LIBRARY_PATH": folder}
            raise typer.Exit(subprocess.run([sys.executable, *arguments], env=environment).returncode)
    for model in place or ():
        for provider, operators in placed(model).items():
            print(f"{model.name}, {provider}: {', '.join(f'{count} {name}' for name, count in operators.items())}")
    if not place:
        TABLE.write_text(written(registered()), "utf-8")


if __name__ == "__main__":
    typer.run(main)
