"""Apache Kafka as children: one broker, or several that replicate, without ZooKeeper. For tests and drills. Java 17 or
newer and Maven must be on PATH; Maven fetches the jars once."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coatcheck.dev.child import Child, ProgramMissing
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.kafka.topics import broker_answers

READY_SECONDS = 60.0
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
CLUSTER_ID = "Y29hdGNoZWNrLXRlc3RzMQ"
_installing = threading.Lock()
# A cold start matters here, throughput does not.
_JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"]
_JVM += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>coatcheck</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
  <build><pluginManagement><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
  </plugin></plugins></pluginManagement></build>
</project>
"""


def what_is_missing() -> str:
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    return f"Apache Kafka needs {' and '.join(missing)} on PATH (Java 17 or newer, Maven)" if missing else ""


def install_jars() -> Path:
    """The folder with the jars, fetched once for all brokers. Raises ProgramMissing, RuntimeError."""
    folder = CACHE / hashlib.sha256(POM.encode()).hexdigest()[:12]
    with _installing:
        if not folder.is_dir():
            if what_is_missing():
                raise ProgramMissing(what_is_missing())
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                _fetch_jars(Path(work)).rename(folder)
    return folder


def _fetch_jars(work: Path) -> Path:
    pom, jars = work / "pom.xml", work / "jars"
    pom.write_text(POM)
    jars.mkdir()
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(pom), *goal]
    maven = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if maven.returncode != 0:
        raise RuntimeError(f"Maven could not fetch Apache Kafka:\n{maven.stdout[-2000:]}")
    return jars


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Where a node listens and where others find it, which is not the same with something in between."""

    listen: int
    controller: int
    advertised: int
    advertised_controller: int


def own_ports() -> NodePorts:
    listen, controller = free_ports(2)
    return NodePorts(listen, controller, listen, controller)


class KafkaNode:
    """Node `number` of `nodes`, a broker and a controller; it owns everything below `directory`."""

    name = "kafka"
    stop_seconds = READY_SECONDS

    def __init__(self, directory: Path, number: int, nodes: Sequence[NodePorts], *, heap_mb: int = 512) -> None:
        self._directory = directory
        self._nodes = nodes
        self._number = number
        self._heap = heap_mb
        self._properties = directory / "server.properties"
        self._data = directory / "data"
        self._pristine = directory / "pristine"
        self.bootstrap = f"{LOOPBACK}:{nodes[number].advertised}"

    def prepare(self) -> None:
        """Install the jars, and format the disk if that was not done. Blocks for seconds the first time."""
        classes = f"{install_jars()}/*"
        if self._data.exists():
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self._text())
        tool = ["java", "-Xmx128m", *_JVM, "-cp", classes, "kafka.tools.StorageTool", "format"]
        tool += ["-t", CLUSTER_ID, "-c", str(self._properties), "--ignore-formatted"]
        done = subprocess.run(tool, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise RuntimeError(f"formatting Apache Kafka's data directory failed:\n{done.stdout}{done.stderr}")
        shutil.copytree(self._data, self._pristine)

    def wipe(self) -> None:
        """Give it a new, empty disk. It must not run."""
        shutil.rmtree(self._data)
        shutil.copytree(self._pristine, self._data)
        notes = self._data / "meta.properties"
        lines = [line for line in notes.read_text().splitlines() if not line.startswith("directory.id=")]
        disk = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        notes.write_text("\n".join([*lines, f"directory.id={disk}", ""]))

    def start(self) -> Child:
        heap = [f"-Xms{self._heap}m", f"-Xmx{self._heap}m", "-Xss512k"]
        command = ["java", *heap, *_JVM, "-cp", f"{install_jars()}/*", "kafka.Kafka", str(self._properties)]
        return Child("Apache Kafka", command, log=self._directory / "kafka.log")

    def wait_ready(self, child: Child) -> None:
        child.wait_ready(lambda: broker_answers(f"{LOOPBACK}:{self._nodes[self._number].listen}"), READY_SECONDS)

    def _text(self) -> str:
        """With the default time-outs each restart after a kill -9 would wait 9 s for the old session to end."""
        ports, replicas = self._nodes[self._number], min(3, len(self._nodes))
        in_sync = max(1, replicas - 1)
        voters = (f"{i + 1}@{LOOPBACK}:{node.advertised_controller}" for i, node in enumerate(self._nodes))
        return f"""\
process.roles=broker,controller
node.id={self._number + 1}
controller.quorum.voters={",".join(voters)}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{LOOPBACK}:{ports.listen},CONTROLLER://{LOOPBACK}:{ports.controller}
advertised.listeners=PLAINTEXT://{LOOPBACK}:{ports.advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={self._data}
log.segment.bytes=134217728
log.cleaner.dedupe.buffer.size=8388608
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
controller.quorum.election.timeout.ms=1000
controller.quorum.election.backoff.max.ms=500
controller.quorum.fetch.timeout.ms=1500
"""
