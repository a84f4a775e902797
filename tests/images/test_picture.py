import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from onnx_saliency.errors import ImageError
from onnx_saliency.images import picture as picture_module
from onnx_saliency.images.picture import find_pictures, read_header, read_picture

HEIGHT, WIDTH = 6, 9


@pytest.fixture
def rgb():
    """A picture in which no two pixels and no two orientations are alike."""
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png_header(width, height):
    """A PNG that claims a size and holds no pixels worth the name."""

    def chunk(tag, body):
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def test_rgb_from_path_text_bytes_and_pil(tmp_path, rgb):
    path = tmp_path / "dog.png"
    Image.fromarray(rgb).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), Image.fromarray(rgb)):
        picture = read_picture(source)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.shape == (HEIGHT, WIDTH, 3)
        assert np.array_equal(picture.pixels, rgb)
        assert picture.notes == ()
    assert read_picture(path).name == str(path)
    assert read_picture(Image.open(path)).name == str(path)
    assert read_picture(Image.fromarray(rgb)).name == "PIL image"


def test_a_file_may_have_any_suffix(tmp_path, rgb):
    path = tmp_path / "dog.data"
    path.write_bytes(encoded(Image.fromarray(rgb)))
    assert np.array_equal(read_picture(path).pixels, rgb)


UNDO_ORIENTATION = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UNDO_ORIENTATION)
def test_exif_orientation_is_applied(rgb, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(encoded(Image.fromarray(rgb), exif=exif))
    assert np.array_equal(picture.pixels, UNDO_ORIENTATION[orientation](rgb))


def test_exif_orientation_out_of_range_is_no_orientation(rgb):
    exif = Image.Exif()
    exif[0x0112] = 99
    assert np.array_equal(read_picture(encoded(Image.fromarray(rgb), exif=exif)).pixels, rgb)


def test_broken_exif_is_said_and_the_picture_read(rgb):
    picture = read_picture(encoded(Image.fromarray(rgb), exif=b"Exif\0\0garbage"))
    assert np.array_equal(picture.pixels, rgb)
    assert "EXIF data unreadable" in picture.notes[0]


def test_grey_is_repeated(rgb):
    grey = rgb[:, :, 0]
    assert np.array_equal(read_picture(encoded(Image.fromarray(grey))).pixels, np.stack([grey] * 3, axis=2))


def test_black_and_white(rgb):
    bits = rgb[:, :, 0] > 127
    picture = read_picture(encoded(Image.fromarray(bits)))
    assert np.array_equal(picture.pixels[:, :, 1], np.where(bits, 255, 0))


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    assert read_picture(encoded(image)).pixels.tolist() == [[[200, 100, 50], [10, 20, 30]]]


def test_transparent_palette_lies_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    picture = read_picture(encoded(image, transparency=0))
    assert picture.pixels.tolist() == [[[200, 100, 50], [255, 255, 255]]]
    assert picture.notes == ("transparent parts laid over white",)


def test_rgba_lies_on_white():
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8), "RGBA")
    picture = read_picture(encoded(image))
    assert picture.pixels.tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    assert picture.notes == ("transparent parts laid over white",)


def test_an_opaque_alpha_channel_is_not_worth_a_note(rgb):
    picture = read_picture(encoded(Image.fromarray(rgb).convert("RGBA")))
    assert np.array_equal(picture.pixels, rgb)
    assert picture.notes == ()


def test_grey_with_alpha_lies_on_white():
    image = Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8), "LA")
    assert read_picture(encoded(image)).pixels.tolist() == [[[100] * 3, [255] * 3]]


def test_cmyk():
    # No ink is white, full black ink is black, full cyan has no red.
    image = Image.new("CMYK", (3, 1))
    image.putdata([(0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0)])
    picture = read_picture(encoded(image, "TIFF"))
    assert picture.pixels.tolist() == [[[255, 255, 255], [0, 0, 0], [0, 255, 255]]]
    assert "CMYK" in picture.notes[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey(kind):
    values = np.array([[0, 257, 257 * 100, 65535, 128]], np.uint16)
    picture = read_picture(encoded(Image.fromarray(values), kind))
    assert picture.pixels[0, :, 0].tolist() == [0, 1, 100, 255, 0]
    assert picture.pixels.shape == (1, 5, 3)
    assert "1/257" in picture.notes[0]


def test_32_bit_grey_of_16_bit_numbers():
    values = np.array([[0, 25700, 65535]], np.int32)
    assert read_picture(Image.fromarray(values)).pixels[0, :, 2].tolist() == [0, 100, 255]


def test_32_bit_grey_beyond_16_bits_is_stretched():
    picture = read_picture(Image.fromarray(np.array([[-100_000, 0, 100_000]], np.int32)))
    assert picture.pixels[0, :, 2].tolist() == [0, 128, 255]
    assert "stretched" in picture.notes[0]


@pytest.mark.parametrize(
    ("values", "pixels", "note"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255], "0..1"),
        ([0.0, 99.6, 255.0], [0, 100, 255], "rounded"),
        ([-1.0, 0.0, 3.0], [0, 64, 255], "-1..3 stretched"),
        ([1e6, 1e6, 1e6], [0, 0, 0], "stretched"),
        ([0.0, 0.0, 0.0], [0, 0, 0], "0..1"),
    ],
)
def test_float_tiff(values, pixels, note):
    picture = read_picture(encoded(Image.fromarray(np.array([values], np.float32)), "TIFF"))
    assert picture.pixels[0, :, 0].tolist() == pixels
    assert note in picture.notes[0]


def test_float_tiff_with_nan():
    data = encoded(Image.fromarray(np.array([[0.0, np.nan, np.inf]], np.float32)), "TIFF")
    with pytest.raises(ImageError, match="2 pixels that are NaN or infinite"):
        read_picture(data)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i in range(1, 4)]
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read_picture(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert np.array_equal(picture.pixels, np.full((4, 4, 3), (60, 0, 0)))
    assert picture.notes == ("first of 3 frames",)


def test_a_pil_image_gives_the_frame_it_stands_at(rgb):
    frames = [Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i in range(1, 4)]
    image = Image.open(io.BytesIO(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    image.seek(2)
    picture = read_picture(image)
    assert picture.pixels[0, 0].tolist() == [180, 0, 0]
    assert picture.notes == ("number 3 of 3 frames",)


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"dog\.jpg: no such file"):
        read_picture(tmp_path / "dog.jpg")


def test_folder(tmp_path):
    with pytest.raises(ImageError, match="is a folder"):
        read_picture(tmp_path)


def test_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImageError, match="cannot be read"):
        read_picture(tmp_path / "file" / "dog.jpg")


def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="not a regular file"):
        read_picture(tmp_path / "pipe")


def test_empty_file(tmp_path):
    (tmp_path / "dog.jpg").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        read_picture(tmp_path / "dog.jpg")
    with pytest.raises(ImageError, match="nothing in it"):
        read_picture(b"")


def test_not_a_picture(tmp_path):
    (tmp_path / "dog.jpg").write_text("<html>404 not found</html>")
    with pytest.raises(ImageError, match=r"dog\.jpg: not a picture"):
        read_picture(tmp_path / "dog.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.2, 0.6])
def test_truncated(kind, kept):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        read_picture(data[: int(kept * len(data))])


def test_damaged_in_the_middle(rgb):
    data = bytearray(encoded(Image.fromarray(np.tile(rgb, (20, 20, 1)))))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\0" * 40
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_picture(bytes(data))


@pytest.mark.parametrize("size", [(30000, 30000), (100_001, 1000)])
@pytest.mark.filterwarnings("error")
def test_too_large_is_refused_by_its_header(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError) as caught:
        read_picture(png_header(*size))
    assert f"{size[0]} x {size[1]}" in str(caught.value)
    assert "limit of 100" in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_up_to_the_limit_pillow_does_not_warn():
    # 95 megapixels: above where Pillow warns, below our limit. The pixels are not there, so decoding fails.
    with pytest.raises(ImageError, match="truncated"):
        read_picture(png_header(95_000, 1000))


def test_the_limit_itself_is_allowed(monkeypatch, rgb):
    monkeypatch.setattr(picture_module, "MAX_PIXELS", HEIGHT * WIDTH)
    assert np.array_equal(read_picture(Image.fromarray(rgb)).pixels, rgb)
    monkeypatch.setattr(picture_module, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(ImageError, match="limit"):
        read_picture(Image.fromarray(rgb))


@pytest.mark.parametrize("data", [b"no picture", png_header(30000, 30000)])
def test_pillows_own_limit_is_left_as_it_was(data):
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError):
        read_picture(data)
    assert before == Image.MAX_IMAGE_PIXELS is not None


def test_no_pixels():
    with pytest.raises(ImageError, match="no pixels"):
        read_picture(Image.new("RGB", (0, 5)))


def test_mode_without_a_way_to_rgb():
    with pytest.raises(ImageError, match="mode La "):
        read_picture(Image.new("La", (2, 2)))


def test_an_array_is_not_a_picture():
    with pytest.raises(ImageError, match="found ndarray"):
        read_picture(np.zeros((3, 3, 3)))


@pytest.fixture
def album(tmp_path, rgb):
    for name in ("b.png", "a.JPG", "deep/er/c.webp", "notes.txt", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_find_in_a_folder_is_recursive_and_sorted(album):
    assert find_pictures(album) == [album / "a.JPG", album / "b.png", album / "deep/er/c.webp"]


def test_find_sorts_whatever_the_order_on_disk(tmp_path):
    names = [f"{i * 37 % 100:02}.png" for i in range(100)]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_pictures(tmp_path)] == sorted(names)
    assert [path.name for path in find_pictures(f"{tmp_path}/*.png")] == sorted(names)


def test_find_by_pattern(album):
    assert find_pictures(f"{album}/*.png") == [album / "b.png"]
    assert find_pictures(f"{album}/*") == [album / "a.JPG", album / "b.png"]
    assert find_pictures(f"{album}/**/*.webp") == [album / "deep/er/c.webp"]


def test_find_takes_a_named_file_whatever_its_suffix(album):
    assert find_pictures(album / "notes.txt") == [album / "notes.txt"]


def test_find_takes_a_file_whose_name_looks_like_a_pattern(album):
    (album / "a[1].png").write_bytes(b"x")
    assert find_pictures(str(album / "a[1].png")) == [album / "a[1].png"]


def test_find_keeps_the_order_of_sources_and_each_file_once(album):
    found = find_pictures([album / "b.png", album, str(album / "a.JPG")])
    assert found == [album / "b.png", album / "a.JPG", album / "deep/er/c.webp"]


def test_find_names_every_source_that_gives_nothing(album):
    (album / "empty").mkdir()
    with pytest.raises(ImageError) as caught:
        find_pictures([album, album / "empty", album / "gone.png", f"{album}/*.tiff"])
    message = str(caught.value)
    assert f"{album / 'empty'}: no pictures in this folder" in message
    assert f"{album / 'gone.png'}: no such file or folder" in message
    assert f"{album}/*.tiff: no picture matches this pattern" in message


def test_find_an_empty_path(album):
    """Path("") is the folder one is in."""
    for sources in ("", [album, ""]):
        with pytest.raises(ImageError, match="an empty path was given"):
            find_pictures(sources)


def test_find_nothing_named():
    with pytest.raises(ImageError, match="no pictures were named"):
        find_pictures([])


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 9])
def test_header(tmp_path, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (7, 4)).save(path, exif=exif)
    header = read_header(path)
    assert header == ((4, 7), orientation if orientation in range(1, 9) else 1)
    upright = header.size[::-1] if header.orientation >= 5 else header.size
    assert read_picture(path).pixels.shape[:2] == upright


def test_header_of_no_picture(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    for name, said in (("text.jpg", "known format"), ("empty.jpg", "empty"), ("gone.jpg", "no such file")):
        with pytest.raises(ImageError, match=f"{name}: .*{said}"):
            read_header(tmp_path / name)
