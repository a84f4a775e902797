"""What tests of all rooms share: files of the small nets, pictures, and the command line run in this process."""

import json
import sys
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from nets import small
from PIL import Image

from onnx_saliency.cli import app as cli


@pytest.fixture(scope="session", autouse=True)
def _never_the_users_cache(tmp_path_factory):
    """Every test rewrites its models, but those that ask for `cache_folder`; programs that tests start, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONNX_SALIENCY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("ONNX_SALIENCY_CACHE_LIMIT", "0")
        yield


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """The folder of rewritten models, of this test alone; it does not exist yet."""
    folder = tmp_path / "users" / "cache"
    monkeypatch.setenv("ONNX_SALIENCY_CACHE", str(folder))
    monkeypatch.delenv("ONNX_SALIENCY_CACHE_LIMIT")
    return folder


@pytest.fixture
def net(tmp_path):
    """Path of the usual small net."""
    path = tmp_path / "net.onnx"
    onnx.save(small(), path)
    return path


@pytest.fixture
def picture(tmp_path):
    """Writes a picture of random pixels and returns its path."""

    def write(name="picture.png", size=(12, 10), mode="RGB", seed=0):
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode).save(path)
        return path

    return write


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        """The error message, which must be one and no traceback."""
        assert "Traceback" not in self.err + self.out
        assert self.err.count("error:") == 1, self.err
        return " ".join(self.err.partition("error:")[2].split())


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs `onnx-saliency ...` as the installed script does; an exception that gets through is a failed test."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["onnx-saliency", *map(str, arguments)])
        with warnings.catch_warnings(), monkeypatch.context() as patch:
            patch.setattr(warnings, "showwarning", warnings.showwarning)
            capsys.readouterr()
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return call
