"""Every command of README.md and docs/ works as written, in a folder with a model, a picture and labels.

Blocks fenced ```sh and ```python run here, those of one file in order; ```sh setup is what continuous integration
runs (.ci/run); ```sh long takes minutes or needs PyTorch: it is run by hand, and here with small arguments.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "models" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(sh|python)[ ]?(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PROGRAM = Path(sys.executable).parent / "onnx-saliency"


def blocks(kind: str, mark: str = "") -> list[tuple[Path, str]]:
    found = [(path, *match) for path in DOCS for match in FENCE.findall(path.read_text("utf-8"))]
    return [(path, text) for path, k, m, text in found if (k, m) == (kind, mark)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "models" / "default.onnx", tmp_path / "net.onnx")
    shutil.copy(ROOT / "models" / "labels.txt", tmp_path / "labels.txt")
    shutil.copy(ROOT / "models" / "pictures" / "cat.jpg", tmp_path / "dog.jpg")
    shutil.copytree(ROOT / "models" / "pictures", tmp_path / "pictures")
    return tmp_path


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_run_as_written(path: Path, folder: Path) -> None:
    commands = [line for file, text in blocks("sh") if file == path for line in text.strip().splitlines()]
    code = "\n".join(text for file, text in blocks("python") if file == path)
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "onnx-saliency", f"{path.name} shows a command this test does not know: {command}"
        done = subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def help_of(verb: list[str]) -> str:
    """What `--help` of a verb of two words prints."""
    wide = {**os.environ, "COLUMNS": "200", "TERMINAL_WIDTH": "200"}
    return subprocess.run([PROGRAM, *verb, "--help"], check=True, capture_output=True, text=True, env=wide).stdout


def test_long_commands_name_tools_and_options_that_exist() -> None:
    for path, text in blocks("sh", "long"):
        for line in text.strip().splitlines():
            program, tool, *arguments = shlex.split(line)
            if program == "onnx-saliency":
                source = help_of([tool, arguments[0]])
            else:
                assert program == "python"
                source = (ROOT / tool).read_text("utf-8")
            for option in (argument for argument in arguments if argument.startswith("--")):
                name = option[2:].replace("-", "_")
                assert option in source or f"{name}:" in source, f"{path.name}: {tool} has no option {option}"


def page(folder: Path, mark: str) -> Path:
    """A page with a place for a table."""
    path = folder / "page.md"
    path.write_text(f"before\n<!-- {mark} -->\nold\n<!-- /{mark} -->\nafter\n", "utf-8")
    return path


def test_bench_puts_engines_beside_each_other(folder: Path) -> None:
    written, figures = page(folder, "bench"), folder / "bench.json"
    command = [sys.executable, ROOT / "tools" / "bench.py", folder / "net.onnx", "--engine", "onnx_saliency"]
    once = ["--runs", "2", "--threads", "1", "--batch", "2"]
    subprocess.run([*command, *once, "--json", figures, "--markdown", written], check=True, capture_output=True)
    lines = written.read_text("utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert lines.count("| net | batch | threads | forward | onnx_saliency |") == 2  # times, memory
    times, memory = (line for line in lines if line.startswith("| net | 2 | 1 |"))
    assert re.fullmatch(r".* \d+\.\d · \d+\.\d\d \(\d+\.\d\d – \d+\.\d\d\) \|", times)
    forward, ours = json.loads(figures.read_text("utf-8"))["cells"]
    assert len(forward["runs"]) == len(ours["runs"]) == 2
    assert forward["refused"] is None
    assert ours["refused"] is None
    assert str(round(ours["peak"] or 0)) in memory
    more = ["--runs", "2", "--threads", "1", "--batch", "1", "--batch", "2"]
    again = subprocess.run([*command, *more, "--json", figures, "--markdown", written], check=True, capture_output=True)
    assert b"batch 2" not in again.stdout  # it is there already
    kept = json.loads(figures.read_text("utf-8"))["cells"]
    assert kept[:2] == [forward, ours]
    assert [cell["batch"] for cell in kept] == [2, 2, 1, 1]
    assert [line[:13] for line in written.read_text("utf-8").splitlines() if " | 1 | " in line][:2] == [
        "| net | 1 | 1",
        "| net | 2 | 1",
    ]


def test_bench_names_what_it_does_not_know() -> None:
    command = [sys.executable, ROOT / "tools" / "bench.py"]
    done = subprocess.run([*command, "no.onnx"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no.onnx" in done.stderr
    done = subprocess.run([*command, "--engine", "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "captum" in done.stderr


TABLES = [("methods.py", "methods.md"), ("recipes.py", "class-models.md"), ("recipes.py --segment", "segmentation.md")]


@pytest.mark.parametrize(("tool", "page"), TABLES)
def test_tables_are_what_the_tools_print(tool: str, page: str) -> None:
    name, *options = tool.split()
    command = [sys.executable, ROOT / "tools" / name, *options]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    assert printed.strip() in (ROOT / "docs" / page).read_text("utf-8"), f"python tools/{tool} --markdown docs/{page}"


def test_bench_prints_the_cost_of_a_step(folder: Path) -> None:
    written = page(folder, "bench-ascent")
    command = [sys.executable, ROOT / "tools" / "bench_ascent.py", folder / "net.onnx", "--runs", "2"]
    subprocess.run([*command, "--threads", "1", "--markdown", written], check=True, capture_output=True)
    _, _, header, _, row, *_ = written.read_text("utf-8").splitlines()
    assert "step ms" in header
    assert row.startswith("| net | 1 | 1 |")


def test_bench_of_faithfulness_stands_beside_its_forward_passes(folder: Path) -> None:
    written = page(folder, "bench-faithfulness")
    command = [sys.executable, ROOT / "tools" / "bench_faithfulness.py", folder / "net.onnx", "--runs", "2"]
    subprocess.run([*command, "--markdown", written], check=True, capture_output=True)
    *_, row = (line for line in written.read_text("utf-8").splitlines() if line.startswith("| net | "))
    curves, forward, ratio = map(float, row.strip("| ").split(" | ")[1:])
    assert ratio == pytest.approx(curves / forward, rel=0.5)  # medians of two runs each
    assert "22 forward passes" in written.read_text("utf-8")


def test_profile_adds_up_forward_and_backward_by_kind(folder: Path) -> None:
    written = page(folder, "profile")
    command = [sys.executable, ROOT / "tools" / "bench_profile.py", folder / "net.onnx", "--runs", "2"]
    subprocess.run([*command, "--markdown", written], check=True, capture_output=True)
    *_, row = (line for line in written.read_text("utf-8").splitlines() if line.startswith("| net | "))
    alone, tapped, convolutions, *_ = map(float, row.strip("| ").split(" | ")[1:])
    assert min(alone, tapped, convolutions) > 0


def test_memory_of_a_gradient_beside_what_it_must_keep(folder: Path) -> None:
    written = page(folder, "memory")
    command = [sys.executable, ROOT / "tools" / "memory.py", folder / "net.onnx", "--batch", "4"]
    subprocess.run([*command, "--markdown", written], check=True, capture_output=True)
    row = next(line for line in written.read_text("utf-8").splitlines() if line.startswith("| net | 4 |"))
    forward, rest, kept, gradient, rest_too, ratio, _ = map(float, row.strip("| ").split(" | ")[2:])
    assert 0 < kept < gradient
    assert rest <= forward < gradient
    assert rest_too <= gradient
    assert ratio == pytest.approx(gradient / (forward + kept), rel=0.1)  # of rounded figures


def test_bench_on_a_gpu_says_that_there_is_none(folder: Path) -> None:
    """Everything else of it runs where there is one."""
    command = [sys.executable, ROOT / "tools" / "bench_gpu.py", folder / "net.onnx"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("CUDA cannot be used here: onnxruntime runs on CPUExecutionProvider.")


def test_every_picture_shown_exists() -> None:
    for path in DOCS:
        for target in re.findall(r"!?\[[^\]]*\]\(([^)#]+)\)", path.read_text("utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} points to {target}"
