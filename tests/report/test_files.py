import json
import os
import stat

import numpy as np
import pytest
from PIL import Image

from onnx_saliency.errors import OutputError
from onnx_saliency.report import files
from onnx_saliency.report.files import (
    check_overwrite,
    is_result,
    unused,
    write_animation,
    write_bytes,
    write_image,
    write_json,
    write_npz,
    write_text,
)

PIXELS = np.random.default_rng(5).integers(0, 256, (8, 12, 3), dtype=np.uint8)

WRITERS = {
    "bytes": ("out.bin", lambda path: write_bytes(path, b"new")),
    "text": ("out.txt", lambda path: write_text(path, "new")),
    "json": ("out.json", lambda path: write_json(path, {"new": 1})),
    "image": ("out.png", lambda path: write_image(path, PIXELS)),
    "npz": ("out.npz", lambda path: write_npz(path, {"map": PIXELS})),
}
each_writer = pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)


def test_bytes_and_text(tmp_path):
    write_bytes(tmp_path / "a", b"\x00\r\n\xff")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n\xff"
    write_text(str(tmp_path / "b"), "größer\nand\r\nmore")
    assert (tmp_path / "b").read_bytes() == "größer\nand\r\nmore".encode()


def test_json(tmp_path):
    data = {"name": "Äffchen", "scores": [1, 2.5, None]}
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == data
    assert "Äffchen" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path, value):
    with pytest.raises(OutputError, match="JSON"):
        write_json(tmp_path / "a.json", [value])
    assert list(tmp_path.iterdir()) == []


def test_grey_stays_grey(tmp_path):
    write_image(tmp_path / "a.png", PIXELS[:, :, 0])
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), PIXELS[:, :, 0])


def test_names_that_no_other_took():
    taken = set()
    names = [unused(stem, taken) for stem in ("cat", "Cat", "cat-2", "cat", "dog")]
    assert names == ["cat", "Cat-2", "cat-2-2", "cat-3", "dog"]


def test_npz(tmp_path):
    write_npz(tmp_path / "a.npz", {"map": np.eye(3), "target": np.array(7)})
    with np.load(tmp_path / "a.npz") as found:
        assert set(found) == {"map", "target"}
        assert np.array_equal(found["map"], np.eye(3))
        assert found["target"] == 7


def test_npz_written_twice_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        write_npz(tmp_path / name, {"map": np.eye(3)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_image_from_pixels_and_from_pil(tmp_path, suffix):
    smooth = np.full((32, 48, 3), (200, 60, 30), np.uint8)
    for image in (smooth, Image.fromarray(smooth)):
        path = tmp_path / f"a{suffix}"
        write_image(path, image)
        with Image.open(path) as found:
            assert found.format in ("PNG", "JPEG", "WEBP")
            assert found.format.lower().startswith(suffix[1:3].lower())
            assert np.abs(np.asarray(found.convert("RGB")).astype(int) - smooth).max() <= 4


def test_png_is_exact(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), PIXELS)


def test_png_takes_no_pains_for_its_size(tmp_path):
    """At zlib's highest level the overlay of a photograph of 12 megapixels takes half a minute."""
    write_image(tmp_path / "out.png", PIXELS)
    data = (tmp_path / "out.png").read_bytes()
    second_byte = data[data.index(b"IDAT") + 5]
    assert second_byte >> 6 == 1  # "fast", of zlib's four kinds of levels (RFC 1950, FLEVEL)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
def test_a_result_is_known_by_what_is_in_it_and_by_its_folder(tmp_path, name):
    path = tmp_path / name
    if name == "a.gif":
        write_animation(path, [PIXELS, PIXELS[::-1]])
    else:
        write_image(path, PIXELS)
    path.rename(path.with_stem("b"))
    assert is_result(path.with_stem("b"), tmp_path)
    assert not is_result(path.with_stem("b"), tmp_path.parent)
    Image.fromarray(PIXELS).save(path)
    assert not is_result(path, tmp_path)
    path.write_bytes(b"no picture")
    assert not is_result(path, tmp_path)


def test_a_result_takes_no_pictures_place(tmp_path):
    (tmp_path / "far").mkdir()
    for name in ("cat.map.png", "far/dog.png"):
        write_image(tmp_path / name, PIXELS)
    (tmp_path / "dog.map.png").symlink_to("far/dog.png")  # written through
    pictures = [tmp_path / "far" / "dog.png", tmp_path / "cat.map.png"]
    check_overwrite(pictures, tmp_path / "far", ["cat.map.png", "dog.map.png"])
    for name, picture in {"cat.map.png": pictures[1], "dog.map.png": pictures[0]}.items():
        with pytest.raises(
            OutputError, match=f"{picture.name}: a result called {name} would take this picture's place"
        ):
            check_overwrite(pictures, tmp_path, ["other.png", name])


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.png.txt"])
def test_image_of_an_unknown_kind(tmp_path, name):
    with pytest.raises(OutputError, match=r"\.png, \.jpg"):
        write_image(tmp_path / name, PIXELS)
    assert list(tmp_path.iterdir()) == []


@each_writer
def test_an_older_file_is_replaced_and_nothing_else_is_left(tmp_path, name, write):
    (tmp_path / name).write_text("old")
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() != b"old"


@each_writer
def test_folder_missing(tmp_path, name, write):
    with pytest.raises(OutputError, match="there is no folder"):
        write(tmp_path / "gone" / name)


@each_writer
def test_folder_is_a_file(tmp_path, name, write):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is not a folder"):
        write(tmp_path / "file" / name)
    assert (tmp_path / "file").read_text() == "x"


@each_writer
def test_folder_in_the_way(tmp_path, name, write):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="folder of that name"):
        write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@each_writer
def test_a_link_stays_and_what_it_links_to_is_written(tmp_path, name, write):
    (tmp_path / "real").write_text("old")
    (tmp_path / name).symlink_to("real")
    write(tmp_path / name)
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "real").read_bytes() != b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "real"])


@each_writer
def test_a_pipe_and_a_circle_of_links_stay(tmp_path, name, write):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OutputError, match="is a device, a pipe or a socket"):
        write(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(name)
    with pytest.raises(OutputError, match=f"{name}: "):
        write(tmp_path / name)
    assert [path.is_symlink() for path in tmp_path.iterdir()] == [True]


@each_writer
def test_disk_full_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, name, write):
    (tmp_path / name).write_text("old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_a_failure_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_text("old")

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files.np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_npz(tmp_path / "a.npz", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_text() == "old"


def test_others_may_read_what_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    write_text(tmp_path / ("n" * 250 + ".txt"), "x")
    assert len(list(tmp_path.iterdir())) == 1


def test_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError):
        write_text("", "x")
    assert list(tmp_path.iterdir()) == []
