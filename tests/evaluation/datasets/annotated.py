"""The XML annotation of VOC and ILSVRC, composed."""


def annotation(size, *objects):
    """The XML of (name, box) or (name, box, difficult)."""
    written = "".join(
        f"<object><name>{name}</name><difficult>{int(any(difficult))}</difficult><part><bndbox><xmin>9</xmin></bndbox>"
        f"</part><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1), *difficult in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{written}</annotation>"
