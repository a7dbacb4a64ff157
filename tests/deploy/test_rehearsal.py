"""The rendered pods as processes against real servers: installed, rolled and scaled under load without losing a job."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.deploy.monitoring.traffic import Traffic
from tests.deploy.release import NAME, Release
from tests.support.servers.mongod import MongodSet


@pytest.fixture(scope="module")
def key(release: Release) -> str:
    """A virtual key, made as the notes of the chart say."""
    return release.run_in("reaper", "keys", "create", "first")


def test_the_edge_starts_before_the_first_key_and_lets_nobody_in(release: Release) -> None:
    answer = httpx.post(f"{release.endpoints.pick()}/v1/async/embeddings", json={"model": "scripted/ok", "input": "hi"})
    assert answer.status_code == 401, answer.text


def test_init_can_be_repeated(release: Release) -> None:
    output = release.init()
    assert "indexes  ok\n" in output
    assert "topics   ok\n" in output


def test_a_pod_cannot_write_outside_its_temporary_directory(release: Release) -> None:
    reaper = release.pods["reaper"][0]
    for path, writable in (("/x", False), ("/usr/x", False), ("/etc/coatcheck/mongodb/x", False), ("/tmp/x", True)):
        code, output = reaper.run(10, ["sh", "-c", f"echo > {path}"])
        assert (code == 0) is writable, output
    code, output = reaper.run(10, ["id", "-u"])
    assert output.strip() == "10001"


def test_helm_test_runs_a_job_and_leaves_no_key_behind(release: Release, key: str) -> None:
    test = release.pod("Pod", f"{NAME}-test")
    code, output = test.run(90, COATCHECK_URL=release.endpoints.pick())
    assert code == 0, output
    assert '"choices"' in output
    keys = json.loads(release.run_in("reaper", "keys", "list", "--json"))
    assert [one["name"] for one in keys if one["revoked_at"] is None] == ["first"]


def test_doctor_finds_an_installation_without_problems(release: Release, key: str) -> None:
    code, output = release.pods["worker"][0].run(60, ["coatcheck", "doctor"])
    assert code == 0, output


def test_rolling_and_scaling_under_load_fails_no_request_and_loses_no_job(release: Release, key: str) -> None:
    # Jobs of 4 s outlast the draining, so that stopping workers have to give them back.
    models = ["scripted/ok", "scripted/latency=200", "scripted/latency=4000"]
    with Traffic(release.endpoints, key, models, 30) as traffic:
        release.roll("edge")
        release.roll("worker")
        release.roll("reaper")
        release.scale("worker", 3)
        release.scale("edge", 3)
        release.look()
        release.scale("worker", 1)
        release.scale("edge", 2)
        release.look()
    assert traffic.failures == [], traffic.failures[:5]
    assert traffic.open == set()
    assert set(traffic.ended.values()) == {"completed"}
    assert len(traffic.accepted) > 200
    assert release.unhealthy == []
    print(f"{traffic.requests} requests, {len(traffic.accepted)} jobs")


def test_pods_that_start_before_init_accept_jobs_and_run_them_after_it(
    mongod: MongodSet, kafka: str, tmp_path: Path
) -> None:
    with Release(mongod.uri, kafka, tmp_path) as early:
        early.deploy()
        key = early.run_in("reaper", "keys", "create", "early")
        with Traffic(early.endpoints, key, ["scripted/ok"], 10) as traffic:
            deadline = time.monotonic() + 30
            while len(traffic.accepted) < 20:
                assert time.monotonic() < deadline, traffic.failures[:5]
                time.sleep(0.05)
            early.look()
            assert "run `coatcheck init`" in early.pods["worker"][0].text(100_000), "the log names what is missing"
            early.init()
        assert traffic.failures == []
        assert traffic.open == set()
        assert early.unhealthy == []
