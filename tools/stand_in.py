"""CUDA's libraries, stood in for: onnxruntime's own provider for CUDA loads and runs on them, and computes nothing.

They have every function that the provider is linked to or looks up, and these do nothing but return 0, so that
sessions can be built and run without a GPU: nodes are placed, memory, the host's, is taken, kernels are launched and
values copied. Copies are real, and counted by their direction. Needs Linux, a C compiler and nm.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

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
CUDNN, RUNTIME = "libcudnn.so.9", "libcudart.so.13"
KINDS = ("host to host", "to device", "to host", "on device", "by address")  # of cudaMemcpyKind, in its order
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
    "cudaMemcpy": f"long copied[{len(KINDS)}];"
    " int cudaMemcpy(void *to, void *from, size_t n, int k) { copied[k] += n; memcpy(to, from, n); return 0; }",
    "cudaMemcpyAsync": "int cudaMemcpyAsync(void *to, void *from, size_t n, int k, void *s)"
    " { copied[k] += n; memcpy(to, from, n); return 0; }",
    "cudaMemcpy2DAsync": "int cudaMemcpy2DAsync(char *to, size_t t, char *from, size_t f, size_t w, size_t h, int k)"
    " { copied[k] += w * h; for (; h--; to += t, from += f) memcpy(to, from, w); return 0; }",
    "cudaGetErrorString": 'char *cudaGetErrorString(int e) { return "none"; }',
    "cudaGetErrorName": 'char *cudaGetErrorName(int e) { return "none"; }',
    "cudaGetDeviceProperties": "int cudaGetDeviceProperties(char *p, int d)"  # 32 of all: threads in a warp, and so on
    ' { strcpy(p, "none"); for (int i = 304; i < 1008; i += 4) *(int *)(p + i) = 32; return 0; }',
    "cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags": "int"
    " cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n) { *n = 1; return 0; }",
    "cudaDeviceGetAttribute": "int cudaDeviceGetAttribute(int *v, int what, int d)"
    " { *v = what == 75 ? 8 : what == 76 ? 0 : 1; return 0; }",  # compute capability 8.0
    "cudaStreamEndCapture": "int cudaStreamEndCapture(void *s, void **graph) { *graph = malloc(8); return 0; }",
    "cudaGraphInstantiate": "int cudaGraphInstantiate(void **run) { *run = malloc(8); return 0; }",
    "cudnnGetVersion": "size_t cudnnGetVersion(void) { return 91200; }",
    "cudnnGetErrorString": 'char *cudnnGetErrorString(int e) { return "none"; }',
    "cudnnGetLastErrorString": "void cudnnGetLastErrorString(char *message, size_t n) { if (n) *message = 0; }",
    "cudnnBackendCreateDescriptor": "int cudnnBackendCreateDescriptor(int t, void **p) { *p = malloc(8); return 0; }",
    # One engine for every convolution, which needs no memory: of descriptors, int64 and int32 there is one, a 0.
    "cudnnBackendGetAttribute": "int cudnnBackendGetAttribute(void *d, int a, int type, long n, long *found, void *to)"
    " { if (found) *found = type == 15 || type == 3 || type == 23;"
    " if (to && n && type == 3) *(long *)to = 0; if (to && n && type == 23) *(int *)to = 0; return 0; }",
}


def stands_in() -> bool:
    """Whether this process finds these libraries."""
    try:
        return hasattr(ctypes.CDLL(RUNTIME), "copied")
    except OSError:
        return False


def run_again(arguments: list[str]) -> int:
    """Run this script with these arguments in a process that finds the libraries; return its exit code."""
    with tempfile.TemporaryDirectory() as folder:  # the loader reads its path when a process begins
        make_libraries(Path(folder))
        environment = {**os.environ, "LD_LIBRARY_PATH": folder}
        return subprocess.run([sys.executable, *arguments], env=environment).returncode


def make_libraries(folder: Path) -> None:
    """Write libraries into `folder` to which the installed providers can be linked."""
    import onnxruntime

    names: dict[str, set[str]] = {library: set(linked) for library, linked in LINKED.items()}
    for provider in sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime_providers_*.so")):
        command = ["nm", "-D", "--undefined-only", "--with-symbol-versions", str(provider)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for name, library in re.findall(r"(\w+)@(lib\S+)", listed):  # the version of a symbol is its library's name
            names.setdefault(library, set()).add(name)
        looked_up = re.findall(rb"\0(cudnn[A-Z]\w+)(?=\0)", provider.read_bytes())
        names.setdefault(CUDNN, set()).update(name.decode() for name in looked_up)
    for library, functions in names.items():
        source, versions = folder / f"{library}.c", folder / f"{library}.map"
        includes = ["#include <stdlib.h>", "#include <string.h>"]
        source.write_text("\n".join([*includes, *map(_answer, sorted(functions)), ""]))
        versions.write_text(f"{library} {{ global: *; }};\n")
        versioned = [] if library in LINKED else [f"-Wl,--version-script={versions}"]
        linked = [f"-Wl,-soname,{library}", *versioned, "-o", str(folder / library)]
        subprocess.run(["cc", "-w", "-shared", "-fPIC", str(source), *linked], check=True)


def _answer(name: str) -> str:
    if name.startswith("cudnnCreate"):
        return f"int {name}(void **p) {{ *p = malloc(8); return 0; }}"
    return ANSWERS.get(name, f"long {name}(void) {{ return 0; }}")


def copied() -> Counter[str]:
    """Bytes that this process has copied so far, by direction."""
    runtime = ctypes.CDLL(RUNTIME)  # the one that the provider has loaded
    return Counter(dict(zip(KINDS, (ctypes.c_long * len(KINDS)).in_dll(runtime, "copied"), strict=True)))
