"""Unit tests of the batch write real files, but they do not wait for the disk."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests cut off are bytes; power cuts are the file system's business."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
