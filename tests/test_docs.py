"""Every command of README.md and docs/ works as written, in a folder with a model, a picture and labels.

Blocks fenced ```sh and ```python run here, those of one file in order; ```sh setup is what continuous integration
runs (.ci/run); ```sh long takes minutes or needs PyTorch: it is run by hand, and here with small arguments.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = [README, ROOT / "models" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(sh|python)[ ]?(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PROGRAM = Path(sys.executable).parent / "onnx-saliency"


def blocks(kind: str, mark: str = "") -> list[tuple[Path, str]]:
    found = [(path, *match) for path in DOCS for match in FENCE.findall(path.read_text("utf-8"))]
    return [(path, text) for path, k, m, text in found if (k, m) == (kind, mark)]


def commands(path: Path) -> list[str]:
    return [line for file, text in blocks("sh") if file == path for line in text.strip().splitlines()]


def code(path: Path) -> str:
    return "\n".join(text for file, text in blocks("python") if file == path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "models" / "default.onnx", tmp_path / "net.onnx")
    shutil.copy(ROOT / "models" / "labels.txt", tmp_path / "labels.txt")
    shutil.copy(ROOT / "models" / "pictures" / "cat.jpg", tmp_path / "dog.jpg")
    shutil.copytree(ROOT / "models" / "pictures", tmp_path / "pictures")
    return tmp_path


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `python tools/NAME ...` in this process; exit code and both streams."""
    monkeypatch.syspath_prepend(ROOT / "tools")

    def call(name: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        return stop.value.code or 0, *capsys.readouterr()

    return call


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_run_as_written(path: Path, folder: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has the imports done."""
    monkeypatch.chdir(folder)
    for line in commands(path):
        program, *arguments = shlex.split(line)
        assert program == "onnx-saliency", f"{path.name} shows a command this test does not know: {line}"
        done = command(*arguments)
        assert done.code == 0, f"{line}\n{done.out}{done.err}"
    exec(compile(code(path), str(path), "exec", dont_inherit=True), {"__name__": "__main__"})


def test_the_readme_runs_in_processes_of_its_own(folder: Path) -> None:
    first, *_ = commands(README)
    subprocess.run([PROGRAM, *shlex.split(first)[1:]], cwd=folder, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", code(README)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_long_commands_name_tools_and_options_that_exist(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for path, text in blocks("sh", "long"):
        for line in text.strip().splitlines():
            program, tool, *arguments = shlex.split(line)
            if program == "onnx-saliency":
                source = command(tool, arguments[0], "--help").out
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


def test_bench_names_what_it_does_not_know(tool: Any) -> None:
    code, _, err = tool("bench.py", "no.onnx")
    assert code == 2
    assert "no.onnx" in err
    code, _, err = tool("bench.py", "--engine", "none")
    assert code == 2
    assert "captum" in err


TABLES = [("methods.py", "methods.md"), ("recipes.py", "class-models.md"), ("recipes.py --segment", "segmentation.md")]


@pytest.mark.parametrize(("line", "page"), TABLES)
def test_tables_are_what_the_tools_print(line: str, page: str, tool: Any) -> None:
    code, printed, err = tool(*line.split())
    assert code == 0, err
    assert printed.strip() in (ROOT / "docs" / page).read_text("utf-8"), f"python tools/{line} --markdown docs/{page}"


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


def test_bench_on_a_gpu_says_that_there_is_none(folder: Path, tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else of it runs where there is one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, _, err = tool("bench_gpu.py", str(folder / "net.onnx"))
    assert code == 2
    assert err.startswith("CUDA cannot be used here: onnxruntime runs on CPUExecutionProvider.")


def test_every_picture_shown_exists() -> None:
    for path in DOCS:
        for target in re.findall(r"!?\[[^\]]*\]\(([^)#]+)\)", path.read_text("utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} points to {target}"
