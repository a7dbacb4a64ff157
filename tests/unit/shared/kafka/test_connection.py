"""What every Kafka client is made with, and that no password gets out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from shared.domain.errors import SettingsError
from shared.kafka.connection import bootstrap_servers, connection_arguments, silence_client_logs
from shared.settings.table import Settings

SASL = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "coatcheck",
    "kafka_sasl_password": "hunter2hunter2",
}


def test_several_servers_are_a_list() -> None:
    settings = Settings(kafka_bootstrap_servers="a.example:9092, [::1]:9093,")
    assert bootstrap_servers(settings) == ["a.example:9092", "[::1]:9093"]


@pytest.mark.parametrize("servers", ["", " , ", "a.example", "a.example:", ":9092", "a:0", "a:65536", "a:9092,b:x"])
def test_servers_that_are_not_host_and_port_are_refused_by_name(servers: str) -> None:
    with pytest.raises(SettingsError, match="kafka_bootstrap_servers"):
        bootstrap_servers(Settings(kafka_bootstrap_servers=servers))


def test_a_plain_connection_carries_no_credentials() -> None:
    arguments = connection_arguments(Settings(kafka_sasl_password="hunter2hunter2"))
    assert arguments["security_protocol"] == "PLAINTEXT"
    assert not [name for name in arguments if "sasl" in name or "ssl" in name]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_sasl_settings_reach_the_client(mechanism: str, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    settings = Settings(**SASL | {"kafka_sasl_mechanism": mechanism, "kafka_ssl_cafile": str(ca)})  # type: ignore[arg-type]
    arguments = connection_arguments(settings)
    assert arguments["security_protocol"] == "SASL_SSL"
    assert arguments["sasl_mechanism"] == mechanism
    assert arguments["sasl_plain_username"] == "coatcheck"
    assert arguments["sasl_plain_password"] == "hunter2hunter2"
    assert arguments["ssl_cafile"] == str(ca)


def test_a_ca_file_that_is_not_there_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="kafka_ssl_cafile: there is no file"):
        connection_arguments(Settings(kafka_security_protocol="SSL", kafka_ssl_cafile="/nowhere/ca.pem"))


def test_a_password_is_in_no_text_made_of_the_arguments() -> None:
    arguments = connection_arguments(Settings(**SASL))  # type: ignore[arg-type]
    assert "hunter2" not in f"{arguments} {arguments!r} {arguments!s} {[arguments]}"
    assert "sasl_plain_password" in repr(arguments)


def test_the_librarys_own_log_lines_stay_out_at_every_level(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        silence_client_logs()
        for name in ("kafka", "kafka.admin.client", "kafka.coordinator.heartbeat", "kafka.net.connection"):
            logging.getLogger(name).debug("sasl_plain_password: hunter2")
            logging.getLogger(name).error("Connection failed")
    finally:
        root.setLevel(before)
    assert caplog.records == []
