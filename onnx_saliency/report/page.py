"""One HTML page that holds everything it shows: no server, no script, nothing fetched; light and dark."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
import numpy.typing as npt
from PIL import Image

_LONGEST_SIDE = 800
"""Pictures are embedded at most this large: sharp in a third of a wide screen, and small enough to mail."""

_SMALL = 128
"""Up to this side a picture is kept as PNG and shown pixel by pixel."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture on the page: uint8 pixels (H, W, 3) and the few words under it."""

    pixels: npt.NDArray[np.uint8]
    caption: str


@dataclass(frozen=True, eq=False)
class Gallery:
    """Figures in rows of `columns`, under one caption; their own are shown by pointing at them."""

    figures: Sequence[Figure]
    caption: str
    columns: int = 3


@dataclass(frozen=True)
class Bar:
    """One class with its probability 0..1; `explained` marks the class that the maps are about."""

    label: str
    probability: float
    explained: bool = False


@dataclass(frozen=True, eq=False)
class Section:
    """What the page says of one picture, or of all together.

    title: the picture's name.
    figures: shown side by side: picture, map, overlay; or galleries.
    bars: the likeliest classes, best first.
    facts: rows of a small table, (name, value).
    lead: a sentence under the title, may be empty.
    table: rows of cells under it, the first row the names of columns; all rows as long.
    """

    title: str
    figures: Sequence[Figure | Gallery]
    bars: Sequence[Bar] = ()
    facts: Sequence[tuple[str, str]] = ()
    lead: str = ""
    table: Sequence[Sequence[str]] = ()


def page(title: str, intro: str, sections: Sequence[Section | str]) -> str:
    """The whole page as HTML text: pictures inside as data, every word escaped, printed well, no JavaScript.

    intro: plain text; a blank line begins a new paragraph.
    sections: or what `section_html` made of them, which takes less memory than their pixels.
    """
    paragraphs = "\n".join(f"<p>{escape(part.strip())}</p>" for part in intro.split("\n\n") if part.strip())
    style = files("onnx_saliency.report").joinpath("page.css").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{paragraphs}
</header>
<main>
{"".join(section if isinstance(section, str) else section_html(section) for section in sections)}</main>
</body>
</html>
"""


def section_html(section: Section) -> str:
    """A section as it stands on the page: pictures inside, compressed."""
    lead = f'<p class="lead">{escape(section.lead)}</p>\n' if section.lead else ""
    table = _table(section.table) if section.table else ""
    figures = "".join(
        _gallery(figure, section.title) if isinstance(figure, Gallery) else _figure(figure, section.title)
        for figure in section.figures
    )
    bars = f'<div class="bars">\n{"".join(_bar(bar) for bar in section.bars)}</div>\n' if section.bars else ""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in section.facts)
    facts = f"<table>\n{rows}</table>\n" if section.facts else ""
    details = f'<div class="details">\n{bars}{facts}</div>\n' if bars or facts else ""
    return f"""<section>
<h2>{escape(section.title)}</h2>
{lead}{table}<div class="figures{" wide" if any(map(_is_wide, section.figures)) else ""}">
{figures}</div>
{details}</section>
"""


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>\n'
        for name, *cells in body
    )
    return f'<table class="wide">\n<tr>{columns}</tr>\n{lines}</table>\n'


def _figure(figure: Figure, picture: str) -> str:
    alt = f"{figure.caption}: {picture}"
    return f"<figure>{_image(figure, alt)}<figcaption>{escape(figure.caption)}</figcaption></figure>\n"


def _is_wide(figure: Figure | Gallery) -> bool:
    """Whether it is drawn more than twice as wide as high, as curves are, whose words need room."""
    if isinstance(figure, Gallery):
        return False
    height, width = figure.pixels.shape[:2]
    return bool(width > 2 * height)


def _gallery(gallery: Gallery, picture: str) -> str:
    images = "".join(_image(figure, f"{figure.caption}: {picture}", figure.caption) for figure in gallery.figures)
    return (
        f'<figure><div class="gallery" style="--columns: {gallery.columns}">{images}</div>'
        f"<figcaption>{escape(gallery.caption)}</figcaption></figure>\n"
    )


def _image(figure: Figure, alt: str, tip: str = "") -> str:
    height, width = figure.pixels.shape[:2]
    small = ' class="small"' if max(height, width) <= _SMALL else ""
    title = f' title="{escape(tip)}"' if tip else ""
    return f'<img{small} src="{_data_url(figure.pixels)}" width="{width}" height="{height}" alt="{escape(alt)}"{title}>'


def _bar(bar: Bar) -> str:
    share = min(max(bar.probability, 0.0), 1.0) if math.isfinite(bar.probability) else 0.0
    explained = " explained" if bar.explained else ""
    label = escape(bar.label)
    return (
        f'<div class="bar{explained}"><span class="label" title="{label}">{label}</span>'
        f'<span class="value">{escape(percent(bar.probability))}</span>'
        f'<span class="track"><span class="fill" style="width:{100 * share:.2f}%"></span></span></div>\n'
    )


def percent(probability: float) -> str:
    """As many digits as say something: 97.3 %, 0.04 %, < 0.01 %; "n/a" for NaN."""
    value = 100 * probability
    if not math.isfinite(value):
        return "n/a"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.1f} %" if value >= 0.1 else f"{value:.2f} %"


def shrunk(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture (H, W, 3) as it is embedded, its shape kept; what is drawn for a page alone needs to be no larger."""
    image = Image.fromarray(pixels)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _data_url(pixels: npt.NDArray[np.uint8]) -> str:
    image = Image.fromarray(shrunk(pixels))
    data = io.BytesIO()
    if max(image.size) <= _SMALL:
        image.save(data, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
    image.save(data, "JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
