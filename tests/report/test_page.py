import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from onnx_saliency.report.page import Bar, Figure, Gallery, Section, page, section_html

VOID = {"meta", "img"}
NASTY = """<script>alert("x")</script> & 'quotes' "double" </title></style>"""


class Reader(HTMLParser):
    """Checks that tags nest, and keeps tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.text.append(data.strip())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def embedded(source):
    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", source).groups()
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format.lower() == kind
    return image


def example():
    return Section(
        title="dog.jpg",
        figures=[Figure(picture(300, 200, i), caption) for i, caption in enumerate(["Picture", "Map", "Overlay"])],
        bars=[Bar("samoyed", 0.9731, explained=True), Bar("keeshond", 0.02)],
        facts=[("Method", "gradient"), ("Class", "258")],
        lead="Predicted: samoyed",
    )


def test_everything_is_on_the_page_in_order():
    text = " ".join(Reader(page("Report", "First.\n\nSecond.", [example()])).text)
    words = ["Report", "First.", "Second.", "dog.jpg", "Predicted: samoyed", "Picture", "Map", "Overlay"]
    words += ["samoyed", "97.3 %", "keeshond", "2.0 %", "Method", "gradient", "Class", "258"]
    places = [text.rindex(word) if word == "samoyed" else text.index(word) for word in words]
    assert places == sorted(places)


def test_a_paragraph_for_every_blank_line():
    reader = Reader(page("Report", "First\nline.\n\n\n\nSecond.\n\n", []))
    assert len(reader.all("p")) == 2


def test_one_section_a_picture():
    reader = Reader(page("Report", "", [example(), example(), Section("bare", [])]))
    assert len(reader.all("section")) == 3
    assert len(reader.all("img")) == 6
    assert len(reader.all("table")) == 2


def test_a_section_may_be_made_beforehand():
    assert page("Report", "", [example(), section_html(example())]) == page("Report", "", [example(), example()])


def test_nothing_is_fetched():
    text = page("Report", "See https://example.org", [example()])
    reader = Reader(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    for _, attrs in reader.tags:
        for name in ("href", "src", "srcset", "background"):
            assert attrs.get(name, "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text


def test_every_word_is_escaped():
    section = Section(NASTY, [Figure(picture(8, 8), NASTY)], [Bar(NASTY, 0.5)], [(NASTY, NASTY)], NASTY)
    text = page(NASTY, NASTY, [section])
    reader = Reader(text)
    assert reader.all("script") == []
    # title, h1, intro, h2, lead, caption, label, fact name, fact value
    assert sum(NASTY in part for part in reader.text) == 9
    assert reader.all("img")[0]["alt"] == f"{NASTY}: {NASTY}"
    assert text.count("<style>") == text.count("</style>") == 1


def test_pictures_are_inside_with_their_size():
    section = Section("s", [Figure(picture(300, 200), "Picture")])
    attrs = Reader(page("t", "", [section])).all("img")[0]
    image = embedded(attrs["src"])
    assert image.size == (200, 300)
    assert (attrs["width"], attrs["height"]) == ("200", "300")
    assert attrs["alt"] == "Picture: s"


def test_photographs_are_made_smaller():
    smooth = np.zeros((3000, 1500, 3), np.uint8)
    smooth[1500:] = (250, 120, 60)
    image = embedded(Reader(page("t", "", [Section("s", [Figure(smooth, "p")])])).all("img")[0]["src"])
    assert image.size == (400, 800)
    assert np.abs(np.asarray(image).astype(int)[700, 200] - (250, 120, 60)).max() < 6


def test_small_pictures_are_kept_pixel_by_pixel():
    pixels = picture(32, 32)
    attrs = Reader(page("t", "", [Section("s", [Figure(pixels, "p")])])).all("img")[0]
    assert attrs["class"] == "small"
    assert np.array_equal(np.asarray(embedded(attrs["src"])), pixels)


@pytest.mark.parametrize(
    ("probability", "said", "width"),
    [
        (1.0, "100.0 %", 100),
        (0.9731, "97.3 %", 97.31),
        (0.001, "0.1 %", 0.1),
        (0.0004, "0.04 %", 0.04),
        (1e-9, "< 0.01 %", 0),
        (0.0, "< 0.01 %", 0),
        (1.0000001, "100.0 %", 100),
        (1.2, "120.0 %", 100),  # said as it is, drawn within its track
        (float("nan"), "n/a", 0),
    ],
)
def test_bars(probability, said, width):
    reader = Reader(page("t", "", [Section("s", [], [Bar("cat", probability)])]))
    assert reader.text[-1] == said
    fill = next(attrs for attrs in reader.all("span") if attrs["class"] == "fill")
    assert float(re.fullmatch(r"width:([\d.]+)%", fill["style"])[1]) == pytest.approx(width, abs=0.006)


def test_the_explained_class_is_marked():
    bars = [
        attrs["class"] for attrs in Reader(page("t", "", [example()])).all("div") if "bar" in attrs["class"].split()
    ]
    assert bars == ["bar explained", "bar"]


def test_a_gallery_says_its_pictures_when_pointed_at():
    gallery = Gallery([Figure(picture(9, 9, i), f"{i} {NASTY}") for i in range(4)], "all of them", columns=2)
    reader = Reader(page("t", "", [Section("s", [gallery])]))
    assert [attrs["title"] for attrs in reader.all("img")] == [f"{i} {NASTY}" for i in range(4)]
    assert [attrs["alt"] for attrs in reader.all("img")] == [f"{i} {NASTY}: s" for i in range(4)]
    assert reader.text[-1] == "all of them"
    assert "--columns: 2" in next(attrs["style"] for attrs in reader.all("div") if attrs["class"] == "gallery")


def test_light_and_dark_and_phones():
    text = page("t", "", [])
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert text.startswith("<!doctype html>")
