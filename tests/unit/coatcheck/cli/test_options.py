"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coatcheck.cli.options import parsed

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("36h", timedelta(hours=36)),
     ("7d", timedelta(days=7)), ("2w", timedelta(weeks=2)), ("0s", timedelta(0))],
)  # fmt: skip
def test_a_span_counts_from_now_forward_or_back(text: str, span: timedelta) -> None:
    assert parsed(text).after(NOW) == NOW + span
    assert parsed(text).before(NOW) == NOW - span


def test_a_date_is_utc_unless_it_names_its_zone() -> None:
    assert parsed("2027-01-31").after(NOW) == datetime(2027, 1, 31, tzinfo=UTC)
    assert parsed("2027-01-31T10:00:00+02:00").before(NOW) == datetime(2027, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "5", "h", "-1h", "1.5h", "1h30m", "2027-02-30", "9999999w"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)
