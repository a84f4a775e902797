import numpy as np
import pytest

from onnx_saliency.report.sheet import Tile, contact_sheet

RED, GREEN, BLUE = (200, 0, 0), (0, 180, 0), (0, 0, 220)
PAPER = (250, 250, 248)


def plain(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


def extent(sheet, colour):
    """(left, top, right, bottom) of the pixels of one colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def ink(sheet):
    """How many pixels of the sheet are writing."""
    pixels = np.asarray(sheet).astype(int)
    return (np.abs(pixels - PAPER).sum(axis=2) > 150).sum()


def test_rows_and_columns():
    sheet = contact_sheet(
        [[Tile(plain(100, 100, RED)), Tile(plain(100, 100, GREEN))], [Tile(plain(100, 100, BLUE))]], tile_size=100
    )
    red, green, blue = (extent(sheet, colour) for colour in (RED, GREEN, BLUE))
    assert (red[2] - red[0], red[3] - red[1]) == (100, 100)
    assert red[1] == green[1]
    assert red[2] < green[0]
    assert red[0] == blue[0]
    assert red[3] < blue[1]
    assert sheet.mode == "RGB"
    assert green[2] < sheet.width
    assert blue[3] < sheet.height
    assert sheet.getpixel((0, 0)) == PAPER


@pytest.mark.parametrize(("shape", "size"), [((50, 200), (25, 100)), ((200, 50), (100, 25)), ((7, 7), (100, 100))])
def test_pictures_keep_their_shape(shape, size):
    left, top, right, bottom = extent(contact_sheet([[Tile(plain(*shape, RED))]], tile_size=100), RED)
    assert (bottom - top, right - left) == size


def test_a_picture_of_one_row_does_not_vanish():
    left, top, right, bottom = extent(contact_sheet([[Tile(plain(1, 3000, RED))]], tile_size=100), RED)
    assert (bottom - top, right - left) == (1, 100)


def test_small_pictures_show_their_pixels():
    pixels = np.array([[RED, GREEN], [BLUE, RED]], np.uint8)
    sheet = contact_sheet([[Tile(pixels)]], tile_size=100)
    left, top, right, bottom = extent(sheet, GREEN)
    assert (right - left, bottom - top) == (50, 50)


def test_text_is_drawn_below_its_own_picture():
    tiles = [Tile(plain(100, 100, RED), "title", "small print"), Tile(plain(100, 100, GREEN))]
    sheet = contact_sheet([tiles], tile_size=100)
    red, green = extent(sheet, RED), extent(sheet, GREEN)
    assert ink(sheet.crop((red[0], red[3], red[2], sheet.height))) > 30
    assert ink(sheet.crop((green[0], green[3], green[2], sheet.height))) == 0
    assert ink(sheet.crop((0, 0, sheet.width, red[1]))) == 0


def test_text_takes_room_only_where_there_is_any():
    bare = contact_sheet([[Tile(plain(100, 100, RED))]], tile_size=100)
    titled = contact_sheet([[Tile(plain(100, 100, RED), "title")]], tile_size=100)
    both = contact_sheet([[Tile(plain(100, 100, RED), "title", "print")]], tile_size=100)
    assert bare.height < titled.height < both.height
    assert bare.width == titled.width == both.width


def test_long_text_stays_in_its_tile():
    long = "a very long name that no tile can hold " * 5
    sheet = contact_sheet([[Tile(plain(100, 100, RED), long, long), Tile(plain(100, 100, GREEN))]], tile_size=100)
    red, green = extent(sheet, RED), extent(sheet, GREEN)
    assert ink(sheet.crop((red[0], red[3], red[2], sheet.height))) > 100
    assert ink(sheet.crop((red[2], red[3], green[0], sheet.height))) == 0


def test_long_text_ends_in_an_ellipsis_and_short_text_does_not():
    def drawn(title):
        return np.asarray(contact_sheet([[Tile(plain(100, 200, RED), title)]], tile_size=200))

    assert np.array_equal(drawn("cat\n  dog"), drawn("cat dog"))
    assert np.array_equal(drawn("w" * 200), drawn("w" * 300))
    assert not np.array_equal(drawn("w" * 200), drawn("w" * 5))


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_no_tiles(rows):
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet(rows)
