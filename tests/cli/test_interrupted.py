"""Ctrl-C, and a standard output that takes no more: one line, the right exit code, and what is done is kept."""

import errno
import io
import json
import signal
import subprocess
import sys

import pytest

from onnx_saliency.cli import app, console
from onnx_saliency.explain import Explainer

FILES = {"explain": "explain.json", "segment": "results.json", "localize": "results.json"}


@pytest.fixture
def pictures(picture):
    for i in range(5):
        picture(f"p/{i}.png", seed=i)
    return picture("p/5.png").parent


def interrupt_after(monkeypatch, runs):
    """The explainer is interrupted in the run after so many."""
    real, seen = Explainer.explain, []

    def explain(self, *arguments, **options):
        seen.append(1)
        if len(seen) > runs:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    monkeypatch.setattr(Explainer, "explain", explain)


@pytest.mark.parametrize(
    ("verb", "options"), [("explain", ["--batch-size", 1, "--threads", 1]), ("segment", []), ("localize", [])]
)
def test_what_is_done_is_written(net, pictures, tmp_path, command, monkeypatch, verb, options):
    interrupt_after(monkeypatch, 2)
    ran = command(verb, net, pictures, "-o", tmp_path / "out", "--json", *options)
    assert ran.code == 130
    assert ran.error == "interrupted after 2 of 6 pictures"
    written = json.loads((tmp_path / "out" / FILES[verb]).read_text("utf-8"))
    rows = "explained" if verb == "explain" else "pictures"
    assert (len(written[rows]), written["partial"]) == (2, True)
    assert (len(ran.json[rows]), ran.json["partial"]) == (2, True)
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "Interrupted after 2 of 6 pictures: these results are partial." in page


@pytest.mark.parametrize("verb", FILES)
def test_nothing_is_done_yet(net, pictures, tmp_path, command, monkeypatch, verb):
    interrupt_after(monkeypatch, 0)
    ran = command(verb, net, pictures, "-o", tmp_path / "out")
    assert ran.code == 130
    assert ran.error == "interrupted after 0 of 6 pictures"
    assert not (tmp_path / "out").exists()


def test_verbs_that_keep_nothing_say_that_they_were_interrupted(net, command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_saliency.inspection.inspect_model", interrupted)
    ran = command("inspect", net)
    assert (ran.code, ran.err, ran.out) == (130, "error: interrupted\n", "")


def test_while_it_starts():
    """Before the verbs are even imported."""
    code = (
        "import signal, sys; import onnx_saliency.cli as cli\n"
        "class Stop:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'onnx_saliency.cli.app': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop()); cli.main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGINT, "error: interrupted\n")


class Full(io.StringIO):
    """A stream that leads to a full disk, at once or when it is flushed."""

    def __init__(self, number, *, at_once):
        super().__init__()
        self.refusal, self.at_once = OSError(number, "No space left on device"), at_once

    def write(self, text):
        if self.at_once:
            raise self.refusal
        return len(text)

    def flush(self):
        raise self.refusal


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 2), (errno.EPIPE, 1)])
def test_a_full_standard_output(net, monkeypatch, capsys, at_once, options, number, code):
    with monkeypatch.context() as patch:  # undone before capsys takes its own stream back
        patch.setattr(console.out, "quiet", False)  # a broken pipe makes it so for good
        patch.setattr(sys, "stdout", Full(number, at_once=at_once))
        patch.setattr(sys, "argv", ["onnx-saliency", "inspect", str(net), *options])
        with pytest.raises(SystemExit) as stop:
            app.main()
    console.out._buffer.clear()  # what could not be written, and would come before what the next test prints
    assert stop.value.code == code
    said = "error: the results cannot be printed: No space left on device. Free space, or print elsewhere.\n"
    assert capsys.readouterr().err == (said if number == errno.ENOSPC else "")
