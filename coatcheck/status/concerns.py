"""What is not as it should be, in sentences: pure, from the facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coatcheck.status.facts import Modality, Paused, Process

WAIT_SECONDS = 60.0
"""A job that has been due for longer has no worker, or too few."""
SILENT_SECONDS = 15.0
"""Three reports missed."""
_MANY_FAILED, _FAILED_SHARE = 5, 0.1


def concerns(modalities: Sequence[Modality], processes: Sequence[Process], paused: Sequence[Paused]) -> list[str]:
    """One sentence each; empty when all is well."""
    return [*_of_processes(processes), *_of_jobs(modalities, processes), *_of_providers(paused)]


def _alive(processes: Sequence[Process], component: str) -> list[Process]:
    return [
        process
        for process in processes
        if process.component == component and process.seconds_ago is not None and process.seconds_ago <= SILENT_SECONDS
    ]


def _of_processes(processes: Sequence[Process]) -> Iterator[str]:
    for component, means in (
        ("edge", "nobody takes requests in"),
        ("worker", "nobody runs jobs"),
        ("keeper", "nobody ends what is overdue"),
    ):
        if not _alive(processes, component):
            yield f"No {component} reports: {means}."
    for process in processes:
        jobs = sum(process.holds.values())
        if jobs and (process.seconds_ago is None or process.seconds_ago > SILENT_SECONDS):
            yield f"{process.name} is silent and {jobs} jobs are under its name: others take them when its leases end."
    versions = sorted({process.version for process in processes if process.version})
    if len(versions) > 1:
        yield f"Versions {', '.join(versions)} run side by side."


def _of_jobs(modalities: Sequence[Modality], processes: Sequence[Process]) -> Iterator[str]:
    workers = _alive(processes, "worker")
    for modality in modalities:
        if modality.pending and workers and not any(modality.name in worker.serves for worker in workers):
            yield f"{modality.pending} jobs of {modality.name} wait and no worker serves it."
        elif modality.oldest_seconds > WAIT_SECONDS:
            yield f"A job of {modality.name} has waited for {modality.oldest_seconds:.0f} s."
        series = modality.series
        ended = series.completed + series.failed
        if series.failed >= _MANY_FAILED and series.failed > _FAILED_SHARE * ended:
            yield f"{series.failed} of {ended} jobs of {modality.name} failed."


def _of_providers(paused: Sequence[Paused]) -> Iterator[str]:
    for pause in paused:
        yield f"{pause.channel} asked for fewer calls: paused for {pause.seconds:.0f} s more."
