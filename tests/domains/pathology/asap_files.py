"""Files as ASAP writes them."""

from __future__ import annotations

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


def annotation(points=SQUARE, kind="Polygon", group="Tumor", name="a", order=None):
    places = order or range(len(points))
    told = "".join(
        f'<Coordinate Order="{n}" X="{x}" Y="{y}" />'
        for n, (x, y) in zip(places, points, strict=True)
    )
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{told}</Coordinates></Annotation>"
    )


def write(path, *annotations, groups=("Tumor", "Vessel")):
    told = "".join(f'<Group Name="{one}" PartOfGroup="None" Color="#64FE2E" />' for one in groups)
    path.write_text(
        f'<?xml version="1.0"?>\n<ASAP_Annotations><Annotations>{"".join(annotations)}'
        f"</Annotations><AnnotationGroups>{told}</AnnotationGroups></ASAP_Annotations>"
    )
    return path
