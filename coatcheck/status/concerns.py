"""What is not as it should be, in sentences, and the runbook for it: pure, from the facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from coatcheck.status.facts import Modality, Paused, Process

WAIT_SECONDS = 60.0
"""A job that has been due for longer has no worker, or too few."""
SILENT_SECONDS = 15.0
"""Three reports missed."""
_MANY_FAILED, _FAILED_SHARE = 5, 0.1


class Concern(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: a sentence, and the page of docs/runbooks that tells what to do."""

    says: str
    runbook: str


def concerns(modalities: Sequence[Modality], processes: Sequence[Process], paused: Sequence[Paused]) -> list[Concern]:
    """One for each thing; empty when all is well."""
    return [*_of_processes(processes), *_of_jobs(modalities, processes), *_of_providers(paused)]


def _alive(processes: Sequence[Process], component: str) -> list[Process]:
    return [
        process
        for process in processes
        if process.component == component and process.seconds_ago is not None and process.seconds_ago <= SILENT_SECONDS
    ]


def _of_processes(processes: Sequence[Process]) -> Iterator[Concern]:
    for component, means in (
        ("edge", "nobody takes requests in"),
        ("worker", "nobody runs jobs"),
        ("keeper", "nobody ends what is overdue"),
    ):
        if not _alive(processes, component):
            yield Concern(f"No {component} reports: {means}.", "CoatcheckComponentMissing")
    for process in processes:
        jobs = sum(process.holds.values())
        if jobs and (process.seconds_ago is None or process.seconds_ago > SILENT_SECONDS):
            yield Concern(
                f"{process.name} is silent and {jobs} jobs are under its name: others take them when its leases end.",
                "CoatcheckTargetDown",
            )
    versions = sorted({process.version for process in processes if process.version})
    if len(versions) > 1:
        yield Concern(f"Versions {', '.join(versions)} run side by side.", "CoatcheckVersionsDiffer")


def _of_jobs(modalities: Sequence[Modality], processes: Sequence[Process]) -> Iterator[Concern]:
    workers = _alive(processes, "worker")
    for modality in modalities:
        if modality.pending and workers and not any(modality.name in worker.serves for worker in workers):
            yield Concern(
                f"{modality.pending} jobs of {modality.name} wait and no worker serves it.", "CoatcheckNothingClaimed"
            )
        elif modality.oldest_seconds > WAIT_SECONDS:
            yield Concern(
                f"A job of {modality.name} has waited for {modality.oldest_seconds:.0f} s.", "CoatcheckJobsWait"
            )
        series = modality.series
        ended = series.completed + series.failed
        if series.failed >= _MANY_FAILED and series.failed > _FAILED_SHARE * ended:
            yield Concern(f"{series.failed} of {ended} jobs of {modality.name} failed.", "CoatcheckJobsFail")


def _of_providers(paused: Sequence[Paused]) -> Iterator[Concern]:
    for pause in paused:
        yield Concern(
            f"{pause.channel} asked for fewer calls: paused for {pause.seconds:.0f} s more.", "CoatcheckProviderPaused"
        )
