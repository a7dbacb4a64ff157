"""Fragments of text come out in the order in which a person reads them."""

import math
import random

import pytest

from workers.local_models.engines.reading_order import markdown

Point = tuple[float, float]


def box(left: float, top: float, width: float, height: float = 20, angle: float = 0) -> list[Point]:
    """Corners of a fragment on a page that is rotated by so many degrees."""
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    turn = math.radians(angle)
    return [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in corners]


PAGE = [
    ((40, 10, 200), "Invoice"),
    ((40, 40, 120), "Gears"),
    ((400, 43, 80), "45.00"),
    ((40, 72, 130), "Cards"),
    ((400, 70, 80), "12.50"),
    ((40, 150, 300), "Thank you"),
]
READ = "Invoice\nGears 45.00\nCards 12.50\n\nThank you"


@pytest.mark.parametrize("angle", [0, 3, -4, 8])
def test_lines_run_from_left_to_right_and_from_top_to_bottom(angle: float) -> None:
    page = PAGE.copy()
    random.Random(7).shuffle(page)
    boxes = [box(*place, angle=angle) for place, _ in page]
    assert markdown(boxes, [text for _, text in page]) == READ


def test_one_word_is_a_page() -> None:
    assert markdown([box(5, 5, 10)], ["hi"]) == "hi"


def test_no_text_is_an_empty_page() -> None:
    assert markdown([], []) == ""


def test_columns_of_the_same_height_stay_on_their_line() -> None:
    boxes = [box(300, 0, 100), box(0, 4, 100), box(0, 30, 100), box(300, 26, 100)]
    assert markdown(boxes, ["b", "a", "c", "d"]) == "a b\nc d"
