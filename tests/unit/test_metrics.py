"""Metrics: named as operators expect, explained, with bounded labels, and added up over processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from coatcheck.cli import documents
from shared import metrics
from shared.exporter import MetricInfo, declared, render

ROOT = Path(__file__).parents[2]
BOUNDED_LABELS = {
    *("request_type", "modality", "provider", "outcome", "status", "source", "reason"),
    *("route", "method", "code_class", "version", "component", "call"),
}
UNBOUNDED = ("id", "job", "key", "path", "model", "worker", "host")


def by_name() -> dict[str, MetricInfo]:
    return {metric.name: metric for metric in declared()}


def test_every_registered_metric_is_declared() -> None:
    scraped = {re.sub(r"_(total|created)$", "", family.name) for family in metrics.REGISTRY.collect()}
    assert {re.sub(r"_total$", "", name) for name in by_name()} == scraped


@pytest.mark.parametrize("metric", declared(), ids=lambda metric: metric.name)
def test_a_metric_is_explained_and_its_labels_are_bounded(metric: MetricInfo) -> None:
    assert re.fullmatch(r"coatcheck_[a-z_]+", metric.name)
    assert metric.meaning.endswith(".") or metric.name == "coatcheck_build_info"
    assert len(metric.meaning.split()) >= 2
    assert set(metric.labels) <= BOUNDED_LABELS
    assert not set(metric.labels) & set(UNBOUNDED)


def test_times_are_in_seconds_and_sizes_in_bytes() -> None:
    for name in by_name():
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|count)(_|$)", name), name


def test_buckets_of_jobs_reach_past_half_an_hour() -> None:
    for histogram in (metrics.CLAIM_DELAY, metrics.JOB_DURATION, metrics.PROVIDER_DURATION):
        finite = [bound for bound in histogram._upper_bounds if bound != float("inf")]
        assert max(finite) >= 1800


def test_the_metrics_that_dashboards_are_promised_exist() -> None:
    promised = {
        "coatcheck_jobs_accepted_total": ("request_type",),
        "coatcheck_jobs_finished_total": ("modality", "outcome"),
        "coatcheck_jobs": ("modality", "status"),
        "coatcheck_oldest_pending_age_seconds": ("modality",),
        "coatcheck_job_claim_delay_seconds": ("modality",),
        "coatcheck_job_duration_seconds": ("modality",),
        "coatcheck_provider_requests_total": ("provider", "code_class"),
        "coatcheck_provider_request_duration_seconds": ("provider",),
        "coatcheck_provider_calls_repeated_total": ("provider",),
        "coatcheck_leases_lost_total": (),
        "coatcheck_http_request_duration_seconds": ("route", "method", "code_class"),
        "coatcheck_build_info": ("version", "component"),
    }
    found = by_name()
    assert {name: found[name].labels for name in promised} == promised


def test_a_scrape_shows_values_in_the_text_format() -> None:
    metrics.JOBS_ACCEPTED.labels("embedding").inc()
    body, media_type = render()
    assert media_type.startswith("text/plain")
    assert re.search(rb'^coatcheck_jobs_accepted_total\{request_type="embedding"\} [1-9]', body, re.MULTILINE)


def test_the_table_in_the_documentation_is_the_one_that_the_code_gives() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert documents.with_table(page, documents.metrics_table()) == page, "run `coatcheck config docs metrics --into`"


MANY_PROCESSES = """
import os, sys
from shared.metrics_files import many_processes
folder = many_processes()
from shared import exporter, metrics

def scraped(name):
    lines = exporter.render()[0].decode().splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith(name)]

def child(waits_for):
    pid = os.fork()
    if pid == 0:
        metrics.JOBS_ACCEPTED.labels("embedding").inc(3)
        metrics.SUBMIT_BATCH.observe(5)
        metrics.BELLS_UNACKED.set(7)
        os.read(waits_for, 1)
        os._exit(0)
    return pid

first_end, first_pipe = os.pipe()
second_end, second_pipe = os.pipe()
metrics.JOBS_ACCEPTED.labels("embedding").inc(1)
pids = [child(first_end), child(second_end)]

def wait_for_both():
    import time
    deadline = time.monotonic() + 60
    while scraped("coatcheck_bells_unacked") != [14.0] and time.monotonic() < deadline:
        time.sleep(0.01)

wait_for_both()
assert scraped("coatcheck_jobs_accepted_total") == [7.0], scraped("coatcheck_jobs_accepted_total")
assert scraped("coatcheck_submit_batch_jobs_count") == [2.0]
os.write(first_pipe, b"x")
os.waitpid(pids[0], 0)
exporter.forget_process(pids[0])
assert scraped("coatcheck_jobs_accepted_total") == [7.0], "a count must not shrink when a process ends"
assert scraped("coatcheck_submit_batch_jobs_count") == [2.0]
assert scraped("coatcheck_submit_batch_jobs_sum") == [10.0]
assert scraped("coatcheck_bells_unacked") == [7.0], "what a process held is gone with it"
assert not list(folder.glob(f"*_{pids[0]}.db")), "files of ended processes must not pile up"
os.write(second_pipe, b"x")
os.waitpid(pids[1], 0)
exporter.forget_process(pids[1])
exporter.forget_process(pids[1])
assert scraped("coatcheck_jobs_accepted_total") == [7.0]
print(folder)
"""


def test_processes_of_an_edge_are_added_up_and_ended_ones_keep_their_counts() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", MANY_PROCESSES], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    assert not Path(ran.stdout.strip()).exists(), "the directory goes away with its process"


def test_choosing_the_directory_too_late_is_refused() -> None:
    code = "import shared.metrics\nfrom shared.metrics_files import many_processes\nmany_processes()"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert "imported before its directory was chosen" in ran.stderr


def test_a_given_directory_is_emptied_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"left over")
    (tmp_path / "notes.txt").write_text("not ours")
    code = "from shared.metrics_files import many_processes\nprint(many_processes())"
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT, env=environ
    )
    assert ran.stdout.strip() == str(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
