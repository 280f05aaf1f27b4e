"""A stacked area chart as SVG, with a line across it and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 900, 300, 48, 30, 16, 28
FONT = 'font-family="sans-serif" font-size="11" fill="#333"'


@dataclass(frozen=True, slots=True)
class Area:
    """One tenant: its name, its colour, and its value at each point of the x axis."""

    name: str
    color: str
    values: Sequence[float]


def stacked(
    title: str, x: Sequence[float], areas: Sequence[Area], *, x_unit: str, y_unit: str, line: float,
    line_name: str, x_most: float, y_most: float, x_step: float, y_step: float,
) -> str:  # fmt: skip
    """Draw `areas` upon one another, and a horizontal line at `line`."""
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(px: float, py: float) -> str:
        return f"{LEFT + px / x_most * across:.1f},{TOP + down - py / y_most * down:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    floor = [0.0] * len(x)
    for number, area in enumerate(areas):
        top = [low + value for low, value in zip(floor, area.values, strict=True)]
        upper = [at(px, py) for px, py in zip(x, top, strict=True)]
        lower = [at(px, py) for px, py in zip(x, floor, strict=True)]
        points = " ".join([*upper, *reversed(lower)])
        parts.append(f'<polygon points="{points}" fill="{area.color}"/>')
        legend = LEFT + number * 118
        parts.append(f'<rect x="{legend}" y="10" width="10" height="10" fill="{area.color}"/>')
        parts.append(f'<text x="{legend + 14}" y="19" {FONT}>{area.name}</text>')
        floor = top
    for i in range(int(y_most / y_step) + 1):
        y = TOP + down - i * y_step / y_most * down
        label = f"{i * y_step:g}" + (f" {y_unit}" if not i else "")
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {FONT}>{label}</text>'
        )
    for i in range(int(x_most / x_step) + 1):
        px = LEFT + i * x_step / x_most * across
        label = f"{i * x_step:g} {x_unit}"
        parts.append(
            f'<text x="{px:.1f}" y="{HEIGHT - 8}" text-anchor="middle" {FONT}>{label}</text>'
        )
    y = TOP + down - line / y_most * down
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b00"/>'
    )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end" {FONT}>{line_name}</text>'
    )
    return "\n".join([*parts, "</svg>", ""])
