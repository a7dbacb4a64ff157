"""A real Apache Kafka broker, one node without ZooKeeper, that a test or a benchmark can kill and restart.

Java 17 must be on PATH. The jars come through Maven once and stay in `.cache/kafka` of the checkout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from coatcheck.dev.child import Child
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.kafka.probe import broker_answers

READY_SECONDS = 60.0
POM = Path(__file__).with_name("kafka_jars") / "pom.xml"
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
CLUSTER_ID = "Y29hdGNoZWNrLXRlc3RzMQ"
_JVM = (  # a cold start matters here, throughput does not
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)

# Time-outs far below the defaults, which would make each restart after a kill -9 wait 9 s for the old session to end.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
log.segment.bytes=134217728
log.cleaner.dedupe.buffer.size=8388608
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
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


def install_jars() -> Path:
    """The folder with the jars, filled through Maven the first time. Raises RuntimeError with Maven's own words."""
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    if folder.is_dir():
        return folder
    partial = CACHE / f"partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    maven = subprocess.run(
        ["mvn", "--batch-mode", "--quiet", "--file", str(POM), *goal],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if maven.returncode != 0:
        raise RuntimeError(f"Maven could not fetch Apache Kafka:\n{maven.stdout[-2000:]}")
    partial.rename(folder)
    return folder


class ApacheKafka:
    """Everything below `directory` belongs to it. Methods block; the port stays the same over restarts.

    Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(self, directory: Path) -> None:
        self.port, self._controller_port = free_ports(2)
        self.bootstrap = f"{LOOPBACK}:{self.port}"
        self._directory = directory
        self._properties = directory / "server.properties"
        self._child: Child | None = None

    def start(self) -> None:
        """Format the data directory if it is new, start the broker and wait until it has metadata."""
        classes = f"{install_jars()}/*"
        if not self._properties.exists():
            self._format(classes)
        command = ["java", "-Xms512m", "-Xmx512m", "-Xss512k", *_JVM, "-cp", classes, "kafka.Kafka"]
        log = self._directory / "kafka.log"
        self._child = Child("Apache Kafka", [*command, self._properties], log=log)
        self._child.wait_ready(lambda: broker_answers(self.bootstrap), READY_SECONDS)

    def stop(self) -> None:
        """SIGTERM, then wait."""
        if self._child is not None:
            self._child.stop(READY_SECONDS)
            self._child = None

    def kill(self) -> None:
        """kill -9."""
        self._running().kill()
        self._child = None

    @property
    def child(self) -> Child:
        """The process, once started."""
        return self._running()

    def pid(self) -> int:
        """Process id of the broker."""
        return self._running().pid

    def __enter__(self) -> ApacheKafka:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _format(self, classes: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        values = {"host": LOOPBACK, "port": self.port, "controller_port": self._controller_port}
        self._properties.write_text(PROPERTIES.format(data=self._directory / "data", **values))
        tool = ["java", "-Xmx128m", *_JVM, "-cp", classes, "kafka.tools.StorageTool", "format"]
        tool += ["-t", CLUSTER_ID, "-c", str(self._properties), "--ignore-formatted"]
        done = subprocess.run(tool, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self._properties.unlink()
            raise RuntimeError(f"formatting Apache Kafka's data directory failed:\n{done.stdout}{done.stderr}")

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("Apache Kafka does not run")
        return self._child
