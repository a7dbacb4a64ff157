"""Turns boxes of recognised text into lines in reading order, for a page that may be a little rotated."""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

Corners = Sequence[Sequence[float]]
"""Four corners (x, y): top left, top right, bottom right, bottom left, as the text runs."""

_PARAGRAPH_GAP = 1.9  # distance of two lines' middles, in line heights


class _Fragment(NamedTuple):
    left: float
    middle: float
    height: float
    text: str


def markdown(boxes: Sequence[Corners], texts: Sequence[str]) -> str:
    """One line per line of text, a blank line between paragraphs; fragments of a line run from left to right."""
    angle = _skew(boxes)
    fragments = [_straighten(box, text, angle) for box, text in zip(boxes, texts, strict=True)]
    lines = _lines(fragments)
    out: list[str] = []
    for index, line in enumerate(lines):
        if index and _middle(line) - _middle(lines[index - 1]) > _PARAGRAPH_GAP * _height(line, lines[index - 1]):
            out.append("")
        out.append(" ".join(fragment.text for fragment in sorted(line)))
    return "\n".join(out)


def _lines(fragments: list[_Fragment]) -> list[list[_Fragment]]:
    """A fragment belongs to a line when its middle lies within the line's middle half."""
    lines: list[list[_Fragment]] = []
    for fragment in sorted(fragments, key=lambda fragment: fragment.middle):
        if lines and fragment.middle - _middle(lines[-1]) < _height(lines[-1], [fragment]) / 2:
            lines[-1].append(fragment)
        else:
            lines.append([fragment])
    return lines


def _middle(line: list[_Fragment]) -> float:
    return median(fragment.middle for fragment in line)


def _height(*lines: list[_Fragment]) -> float:
    return median(fragment.height for line in lines for fragment in line)


def _skew(boxes: Sequence[Corners]) -> float:
    """The page's rotation in radians: the median of the boxes that are wide enough to show it."""
    angles = [
        math.atan2(right[1] - left[1], right[0] - left[0])
        for left, right, _, below in boxes
        if math.dist(left, right) > 2 * math.dist(left, below)
    ]
    return median(angles) if angles else 0.0


def _straighten(box: Corners, text: str, angle: float) -> _Fragment:
    cosine, sine = math.cos(angle), math.sin(angle)
    xs = [x * cosine + y * sine for x, y in box]
    ys = [y * cosine - x * sine for x, y in box]
    return _Fragment(min(xs), sum(ys) / 4, max(ys) - min(ys), text)
