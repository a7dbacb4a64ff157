"""Patches of modules that load the metrics client, which may come only after a component chose where metrics go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.telemetry import metrics_files


def put(target: Any, name: str, value: object) -> None:
    """Replace an attribute of a module or class, whatever the type checker knows of it."""
    setattr(target, name, value)


def once_metrics_are_placed(patch: Callable[[], None]) -> None:
    """Run `patch` right after the component's choice, before it imports anything that counts."""
    one, many = metrics_files.one_process, metrics_files.many_processes

    def one_then_patch() -> None:
        one()
        patch()

    def many_then_patch(processes: int = 1) -> object:
        folder = many(processes)
        patch()
        return folder

    put(metrics_files, "one_process", one_then_patch)
    put(metrics_files, "many_processes", many_then_patch)
