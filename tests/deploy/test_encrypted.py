"""The real commands against a mongod and an Apache Kafka with TLS, logins, and the rights that `init --print` lists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka.admin import ACLOperation, ResourceType

from coatcheck.dev.child import Child
from coatcheck.dev.ports import LOOPBACK, free_ports
from tests.support.servers.certificates import Authority
from tests.support.servers.encrypted import EncryptedKafka, EncryptedMongod

COMMAND = (sys.executable, "-m", "coatcheck")
SECONDS = 60.0
PASSWORD = "correct-horse/battery"
URI_PASSWORD = PASSWORD.replace("/", "%2F")
COLLECTIONS = ("jobs", "payloads", "keys", "pauses", "meta", "reports")
OF_COMPONENTS = ("find", "insert", "update", "remove")
OF_INIT = ("createIndex", "listIndexes", "createCollection")


@dataclass(frozen=True)
class Servers:
    """What the commands have to log in to."""

    mongod: EncryptedMongod
    kafka: EncryptedKafka
    authority: Authority
    directory: Path

    def environ(self, user: str, **changes: str) -> dict[str, str]:
        """The environment of one user's command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
        secret = self.directory / "kafka-password"
        secret.write_text(PASSWORD + "\n")
        config = self.directory / "coatcheck.toml"
        config.write_text("[providers.scripted]\n")
        return {
            **kept,
            "COATCHECK_CONFIG": str(config),
            "COATCHECK_MONGODB_URI": self.mongod.uri(user, URI_PASSWORD),
            "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": self.kafka.encrypted,
            "COATCHECK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "COATCHECK_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "COATCHECK_KAFKA_SASL_USERNAME": user,
            "COATCHECK_KAFKA_SASL_PASSWORD_FILE": str(secret),
            "COATCHECK_KAFKA_SSL_CAFILE": str(self.authority.ca),
            "COATCHECK_KAFKA_PARTITIONS": "2",
            "COATCHECK_SWEEP_GRACE_SECONDS": "30",
            "COATCHECK_ALLOW_ANONYMOUS": "true",
            "COATCHECK_LOG_FORMAT": "text",
            **changes,
        }


def grant(servers: Servers) -> None:
    """Give each user the rights that `coatcheck init --print` names, and no others."""
    everywhere = [{"resource": {"db": "coatcheck", "collection": name}} for name in COLLECTIONS]
    init = [resource | {"actions": list(OF_INIT)} for resource in everywhere]
    component = [resource | {"actions": list(OF_COMPONENTS)} for resource in everywhere]
    topics, groups = ResourceType.TOPIC, ResourceType.GROUP
    rights = {
        "init": (init, [(topics, "coatcheck.", [ACLOperation.DESCRIBE, ACLOperation.CREATE])]),
        "edge": (component, [(topics, "coatcheck.", [ACLOperation.DESCRIBE, ACLOperation.WRITE])]),
        "worker": (
            component,
            [
                (topics, "coatcheck.", [ACLOperation.DESCRIBE, ACLOperation.READ]),
                (groups, "coatcheck.workers", [ACLOperation.READ]),
            ],
        ),
    }
    for user, (privileges, acls) in rights.items():
        servers.mongod.user(user, PASSWORD, privileges)
        servers.kafka.user(user, PASSWORD, acls)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    directory = tmp_path_factory.mktemp("encrypted")
    authority = Authority(directory)
    mongod, kafka = EncryptedMongod(directory / "mongod", authority), EncryptedKafka(directory / "kafka", authority)
    with ExitStack() as opened:
        kafka.prepare()
        broker = kafka.start()
        opened.callback(broker.stop, SECONDS)
        opened.callback(mongod.stop)
        mongod.start()
        kafka.wait_ready(broker)
        servers = Servers(mongod, kafka, authority, directory)
        grant(servers)
        yield servers


def command(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )


@contextmanager
def component(servers: Servers, name: str, port: int, *arguments: str) -> Iterator[Child]:
    log = servers.directory / f"{name}.log"
    child = Child(name, [*COMMAND, name, *arguments], log=log, environ=servers.environ(name))
    try:
        child.wait_ready(lambda: status(f"http://{LOOPBACK}:{port}/readyz") == 200, SECONDS)
        yield child
    finally:
        assert child.stop(SECONDS), child.epitaph()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))


def test_a_job_goes_all_the_way_with_the_rights_that_are_printed(servers: Servers) -> None:
    made = command(servers.environ("init"), "init", "--wait", "30", "--json")
    assert made.returncode == 0, made.stderr
    assert command(servers.environ("init"), "init", "--check").returncode == 0
    port, edge_admin, worker_admin = free_ports(3)
    with (
        component(servers, "worker", worker_admin, "--admin-port", str(worker_admin)),
        component(servers, "edge", port, "--port", str(port), "--admin-port", str(edge_admin)),
    ):
        job = submit(port)
        deadline = time.monotonic() + SECONDS
        while status_of(port, job) in ("pending", "processing"):
            assert time.monotonic() < deadline, "the job does not end"
            time.sleep(0.02)
        history = json.loads(command(servers.environ("edge"), "job", job, "--json").stdout)
        assert history["status"] == "completed"
        # The sweep waits for 30 s here, so nothing but a notification led to this job so soon.
        assert history["last_claim"]["source"] == "notified"
        doctor = command(servers.environ("edge"), "doctor").stdout
        assert re.search(r"^mongodb +ok ", doctor, re.MULTILINE), doctor
        assert re.search(r"^kafka +ok ", doctor, re.MULTILINE), doctor
        assert re.search(r"^indexes +PROBLEM .*may not do that, `coatcheck init --print`", doctor, re.MULTILINE), doctor


def submit(port: int) -> str:
    body = json.dumps({"model": "scripted/ok", "input": "the cat sat"}).encode()
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/v1/async/embeddings", data=body, timeout=30) as answer:
        return str(json.load(answer)["id"])


def status_of(port: int, job: str) -> str:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/v1/async/embeddings/{job}", timeout=30) as answer:
        return str(json.load(answer)["status"])


@pytest.mark.parametrize(
    "wrong", ["password of MongoDB", "password of Kafka", "authority of MongoDB", "authority of Kafka"]
)
def test_what_does_not_fit_is_said_without_any_password(servers: Servers, wrong: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "another authority")
    secret = tmp_path / "secret"
    secret.write_text("wrong-horse-battery")
    changes = {
        "password of MongoDB": {"COATCHECK_MONGODB_URI": servers.mongod.uri("init", "wrong-horse-battery")},
        "password of Kafka": {"COATCHECK_KAFKA_SASL_PASSWORD_FILE": str(secret)},
        "authority of MongoDB": {"COATCHECK_MONGODB_URI": servers.mongod.uri("init", URI_PASSWORD, stranger.ca)},
        "authority of Kafka": {"COATCHECK_KAFKA_SSL_CAFILE": str(stranger.ca)},
    }[wrong]
    ran = command(servers.environ("init", **changes), "init", "--check")
    assert ran.returncode == 1
    says = {
        "password of MongoDB": "indexes: .*refuses this user or password",
        "password of Kafka": "topics: .*SASL settings",
        "authority of MongoDB": "indexes: .*certificate is not signed by an authority",
        "authority of Kafka": "topics: .*certificate",
    }[wrong]
    assert re.search(says, ran.stderr), ran.stderr
    for text in (ran.stdout, ran.stderr):
        assert "horse" not in text
