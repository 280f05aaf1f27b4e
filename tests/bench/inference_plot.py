"""Draws how long tokens took: `python -m tests.bench.inference_plot RAW.json OUT.svg`."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 360, 56, 34, 16, 34
FONT = 'font-family="sans-serif" font-size="11" fill="#333"'
COLORS = ("#2a7", "#c33", "#36c", "#a6c", "#c90", "#777")
SHARES = [n / 1000 for n in range(1, 1000)]
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def drawing(gaps_ms: Mapping[str, Sequence[float]]) -> str:
    """Draw one curve for each way: the share of tokens that came within so many ms."""
    low = min(min(one) for one in gaps_ms.values())
    high = max(sorted(one)[int(0.999 * len(one))] for one in gaps_ms.values())
    span = math.log(high / low)

    def at(ms: float, share: float) -> str:
        x = LEFT + math.log(max(ms, low) / low) / span * (WIDTH - LEFT - RIGHT)
        return f"{min(x, WIDTH - RIGHT):.1f},{HEIGHT - BOTTOM - share * _down():.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>share of tokens that came within so many milliseconds</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 0.99):
        y = HEIGHT - BOTTOM - share * _down()
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        text = f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {FONT}>'
        parts.append(f"{text}{share:.0%}</text>")
    for ms in TICKS:
        if low <= ms <= high:
            place = at(ms, 0).partition(",")[0]
            text = f'<text x="{place}" y="{HEIGHT - 12}" text-anchor="middle" {FONT}>'
            parts.append(f"{text}{ms} ms</text>")
    for number, (way, gaps) in enumerate(gaps_ms.items()):
        color, ordered = COLORS[number % len(COLORS)], sorted(gaps)
        points = " ".join(at(ordered[int(share * len(ordered))], share) for share in SHARES)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}"/>')
        x = LEFT + number * 130
        parts.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{color}"/>')
        parts.append(f'<text x="{x + 14}" y="19" {FONT}>{way}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _down() -> int:
    return HEIGHT - TOP - BOTTOM


def main() -> None:
    """Read raw figures and write the drawing."""
    raw = json.loads(Path(sys.argv[1]).read_text())["raw"]
    gaps = {way: [gap for run in runs for gap in run["gaps_ms"]] for way, runs in raw.items()}
    Path(sys.argv[2]).write_text(drawing(gaps))


if __name__ == "__main__":
    main()
