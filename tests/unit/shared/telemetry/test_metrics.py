"""Metrics: named as operators expect, explained, with bounded labels, and added up over processes."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coatcheck import documentation_tables
from shared.telemetry import metrics, metrics_files
from shared.telemetry.metrics import DECLARED, MetricInfo, render

ROOT = Path(__file__).parents[4]
BOUNDED_LABELS = {
    *("request_type", "modality", "provider", "outcome", "status", "source", "reason"),
    *("route", "method", "code_class", "version", "component", "call", "task"),
}
UNBOUNDED = ("id", "job", "key", "path", "model", "worker", "host")


def by_name() -> dict[str, MetricInfo]:
    return {metric.name: metric for metric in DECLARED}


def test_every_registered_metric_is_declared() -> None:
    scraped = {re.sub(r"_(total|created)$", "", family.name) for family in metrics.REGISTRY.collect()}
    assert {re.sub(r"_total$", "", name) for name in by_name()} == scraped


@pytest.mark.parametrize("metric", DECLARED, ids=lambda metric: metric.name)
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
        histogram.labels("text")
        samples = next(iter(histogram.collect())).samples
        bounds = {float(sample.labels["le"]) for sample in samples if "le" in sample.labels}
        assert max(bounds - {math.inf}) >= 1800


def test_the_metrics_that_dashboards_are_promised_exist() -> None:
    promised = {
        "coatcheck_jobs_accepted_total": ("request_type",),
        "coatcheck_jobs_finished_total": ("modality", "outcome"),
        "coatcheck_jobs": ("modality", "status"),
        "coatcheck_oldest_pending_age_seconds": ("modality",),
        "coatcheck_oldest_due_age_seconds": ("modality",),
        "coatcheck_job_claim_delay_seconds": ("modality",),
        "coatcheck_job_duration_seconds": ("modality",),
        "coatcheck_provider_requests_total": ("provider", "code_class"),
        "coatcheck_provider_request_duration_seconds": ("provider",),
        "coatcheck_provider_calls_repeated_total": ("provider",),
        "coatcheck_leases_lost_total": (),
        "coatcheck_task_restarts_total": ("task",),
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
    assert documentation_tables.with_table(page, documentation_tables.metrics_table()) == page, (
        "run `coatcheck config docs metrics --into`"
    )


MANY_PROCESSES = """
import os, signal, sys, time
from shared.telemetry.metrics_files import many_processes
folder = many_processes()
from shared.telemetry import metrics

def scraped(name):
    lines = metrics.render()[0].decode().splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith(name)]

def child(waits_for):
    pid = os.fork()
    if pid == 0:
        metrics.JOBS_ACCEPTED.labels("embedding").inc(3)
        metrics.SUBMIT_BATCH.observe(5)
        metrics.NOTIFICATIONS_UNACKNOWLEDGED.set(7)
        os.read(waits_for, 1)
        os._exit(0)
    return pid

first_end, first_pipe = os.pipe()
second_end, second_pipe = os.pipe()
metrics.JOBS_ACCEPTED.labels("embedding").inc(1)
pids = [child(first_end), child(second_end)]

def wait_for_both():
    deadline = time.monotonic() + 60
    while scraped("coatcheck_notifications_unacknowledged") != [14.0] and time.monotonic() < deadline:
        time.sleep(0.01)

wait_for_both()
assert scraped("coatcheck_jobs_accepted_total") == [7.0], scraped("coatcheck_jobs_accepted_total")
assert scraped("coatcheck_submit_batch_jobs_count") == [2.0]
os.write(first_pipe, b"x")
os.waitpid(pids[0], 0)
metrics.clear_ended()
assert scraped("coatcheck_jobs_accepted_total") == [7.0], "a count must not shrink when a process ends"
assert scraped("coatcheck_submit_batch_jobs_count") == [2.0]
assert scraped("coatcheck_submit_batch_jobs_sum") == [10.0]
assert scraped("coatcheck_notifications_unacknowledged") == [7.0], "what a process held is gone with it"
files = sorted(folder.glob("*.db"))
os.write(second_pipe, b"x")
os.waitpid(pids[1], 0)
third_end, third_pipe = os.pipe()
third = child(third_end)
deadline = time.monotonic() + 60
while scraped("coatcheck_jobs_accepted_total") != [10.0] and time.monotonic() < deadline:
    time.sleep(0.01)
assert scraped("coatcheck_jobs_accepted_total") == [10.0], "the next process goes on in the files of the one that ended"
assert sorted(folder.glob("*.db")) == files, "files of ended processes must not pile up"
os.kill(third, signal.SIGKILL)
os.waitpid(third, 0)
metrics.clear_ended()
metrics.clear_ended()
assert scraped("coatcheck_jobs_accepted_total") == [10.0]
assert not any(scraped("coatcheck_notifications_unacknowledged"))
print(folder)
"""


def test_processes_of_an_edge_are_added_up_and_ended_ones_keep_their_counts() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", MANY_PROCESSES], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    assert not Path(ran.stdout.strip()).exists(), "the directory goes away with its process"


def test_choosing_the_directory_too_late_is_refused() -> None:
    code = (
        "import shared.telemetry.metrics\nfrom shared.telemetry.metrics_files import many_processes\nmany_processes()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert "imported before its directory was chosen" in ran.stderr


def test_a_given_directory_is_emptied_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"left over")
    (tmp_path / "notes.txt").write_text("not ours")
    code = "from shared.telemetry.metrics_files import many_processes\nprint(many_processes())"
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT, env=environ
    )
    assert ran.stdout.strip() == str(tmp_path)
    assert not (tmp_path / "counter_1.db").read_bytes().strip(b"\0")
    assert (tmp_path / "notes.txt").exists()


NO_ROOM = """
import errno, os, sys
from shared.telemetry import metrics_files

def full(file, start, length):
    if length > 1 << 16:
        raise OSError(errno.ENOSPC, "No space left on device")

os.posix_fallocate = full
assert metrics_files.many_processes() is None
from shared.telemetry import metrics
metrics.JOBS_ACCEPTED.labels("embedding").inc(3)
metrics.clear_ended()
print(metrics.render()[0].decode())
"""


def test_without_room_on_the_disk_metrics_are_given_up_at_the_start_and_a_line_says_so(tmp_path: Path) -> None:
    ran = run_python(NO_ROOM, tmp_path)
    assert 'coatcheck_jobs_accepted_total{request_type="embedding"} 3.0' in ran.stdout, "a process counts for itself"
    assert "no room for metrics" in ran.stderr
    assert list(tmp_path.iterdir()) == [], "what was taken of the room is given back"


FULL_LATER = """
import os, sys
from shared.telemetry.metrics_files import FILE_BYTES, many_processes
folder = many_processes()
from shared.telemetry import metrics
before = {file.name: (file.stat().st_size, file.stat().st_blocks) for file in folder.glob("*.db")}
assert all(blocks * 512 >= size for size, blocks in before.values()), "room is taken, not holes"
for _ in range(2):
    if (pid := os.fork()) == 0:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            for number in range(36):
                metrics.HTTP_REQUESTS.labels(f"/v1/async/embeddings/{number}/x", method, "4xx").observe(1.0)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
after = {file.name: (file.stat().st_size, file.stat().st_blocks) for file in folder.glob("*.db")}
assert before == after, "no more room is asked for"
assert len(before) == 3 * len(FILE_BYTES)
"""


def test_a_disk_that_is_full_after_the_start_ends_no_process(tmp_path: Path) -> None:
    run_python(FULL_LATER, tmp_path)


def test_every_kind_of_metric_has_its_file_made_at_the_start() -> None:
    text = Path(metrics.__file__).read_text()
    modes = {"livesum", *re.findall(r'mode="(\w+)"', text)}
    assert {"counter", "histogram", *(f"gauge_{mode}" for mode in modes)} == set(metrics_files.FILE_BYTES)


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environ
    )
    assert ran.returncode == 0, ran.stderr
    return ran
