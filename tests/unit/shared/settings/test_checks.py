"""One list of rules for settings: what cannot work is refused before anything starts, all at once, with the way out."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from click.testing import CliRunner, Result
from pymongo.common import URI_OPTIONS_VALIDATOR_MAP
from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.uri_parser import parse_uri, split_options

from coatcheck.cli.main import cli, run
from shared.domain.errors import SettingsError
from shared.settings.mongodb_uri import OPTIONS, problem
from shared.settings.reading import load_settings

WRONG: dict[str, tuple[dict[str, str], str]] = {
    "a database of another kind": (
        {"MONGODB_URI": "postgres://x"},
        r"mongodb_uri \(COATCHECK_MONGODB_URI\): must begin with mongodb://",
    ),
    "a broker without a port": (
        {"KAFKA_BOOTSTRAP_SERVERS": "kafka"},
        r"kafka_bootstrap_servers = kafka \(COATCHECK_KAFKA_BOOTSTRAP_SERVERS\): 'kafka' is not host:port",
    ),
    "no broker": ({"KAFKA_BOOTSTRAP_SERVERS": " , "}, "name at least one host:port"),
    "a network of 33 bits": ({"TRUSTED_PROXIES": "10.0.0.0/33"}, r"trusted_proxies = 10\.0\.0\.0/33 .*10\.0\.0\.0/8"),
    "a short admin token": ({"ADMIN_TOKEN": "hunter2"}, r"admin_token \(COATCHECK_ADMIN_TOKEN\): .* 16 characters"),
    "a default provider that is not there": (
        {"DEFAULT_PROVIDER": "openai"},
        r"default_provider = openai \(COATCHECK_DEFAULT_PROVIDER\): is not configured; configured: none",
    ),
    "equal ports": (
        {"PORT": "9090"},
        r"admin_port = 9090 \(the default\), port = 9090 \(COATCHECK_PORT\): must be another one",
    ),
    "a lease longer than the deadline": (
        {"JOB_DEADLINE_SECONDS": "20"},
        r"lease_seconds = 30\.0 \(the default\), job_deadline_seconds = 20 \(COATCHECK_JOB_DEADLINE_SECONDS\): must",
    ),
    "a first wait above the longest": ({"RETRY_BASE_SECONDS": "90"}, "must not be above retry_cap_seconds"),
    "an endless time": ({"LEASE_SECONDS": "inf"}, "must be a number that is not infinite"),
    "an origin with a path": ({"CORS_ORIGINS": "https://a.example/x"}, "'https://a.example/x' is no origin"),
    "an address with a scheme": ({"HOST": "http://0.0.0.0"}, r"host = http://0\.0\.0\.0 .* must be an address"),
    "a name with an empty part": ({"HOST": "nonsense..host"}, r"host = nonsense\.\.host .* must be an address"),
    "a name with a part too long": (
        {"ADMIN_HOST": "a" * 64 + ".example"},
        "admin_host = a+.example .* must be an address",
    ),
    "an option of no known value": ({"MONGODB_URI": "mongodb://h/?tls=maybe"}, "its tls must be true or false"),
    "a value that its option does not take": (
        {"MONGODB_URI": "mongodb://u:hunter22@h/?maxPoolSize=hunter22"},
        r"mongodb_uri \(COATCHECK_MONGODB_URI\): its maxPoolSize must be a whole number, 0 or more; expected",
    ),
    "a misspelt option": (
        {"MONGODB_URI": "mongodb://h/?maxPoolSiz=5"},
        r"mongodb_uri .*: has an option that does not exist, 'maxPoolSiz': did you mean maxPoolSize\?",
    ),
    "an option that does not exist": (
        {"MONGODB_URI": "mongodb://h/?foo=bar"},
        "mongodb_uri .*: has an option that does not exist, 'foo': known: .*maxPoolSize, .*replicaSet,",
    ),
    "an option given twice": (
        {"MONGODB_URI": "mongodb://h/?maxPoolSize=1&maxpoolsize=2"},
        "mongodb_uri .*: has maxPoolSize twice",
    ),
    "an option of the other scheme": (
        {"MONGODB_URI": "mongodb://h/?srvMaxHosts=2"},
        r"mongodb_uri .*: has srvMaxHosts, which is for mongodb\+srv://",
    ),
    "one server of several": (
        {"MONGODB_URI": "mongodb://a,b/?directConnection=true"},
        r"mongodb_uri \(COATCHECK_MONGODB_URI\): asks for directConnection=true",
    ),
    "a topic with a blank": ({"KAFKA_TOPIC_PREFIX": "a b"}, "must have letters, digits"),
    "a database with a dot": ({"MONGODB_DATABASE": "a.b"}, "mongodb_database = a.b"),
    "no replicas": ({"KAFKA_REPLICATION_FACTOR": "0"}, "must be 1 or more, or -1"),
    "a login without a password": (
        {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u"},
        r"kafka_sasl_password \(the default\), kafka_security_protocol = SASL_SSL .*must be set",
    ),
    "an authority that is not there": (
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "/nowhere/ca.pem"},
        "kafka_ssl_cafile = /nowhere/ca.pem .*there is no such file",
    ),
}

URIS = (
    "mongodb://",
    "mongodb://h:0",
    "mongodb://h:65536",
    "mongodb://h:x",
    "mongodb://a:1,b:x",
    "mongodb://u:p@ss@h",
    "mongodb://u:p:q@h",
    "mongodb://u:p%zz@h",
    "mongodb://u:p/q@h",
    "mongodb://h/?replicaSet",
    "mongodb://h/?tls=maybe",
    "mongodb://h/?tls=True",
    "mongodb://h/?retryWrites=1",
    "mongodb://a,b/?directConnection=true",
    "mongodb+srv://a.b.c/?directConnection=true",
    "mongodb://h/?tls=true&tlsCAFile=/nowhere/ca.pem",
    "mongodb+srv://h",
    "mongodb+srv://h.example.com:1",
    "mongodb+srv://a.b.c,d.e.f",
    "http://h",
    "h:27017",
    "",
)
"""What the driver refuses."""
GOOD_URIS = (
    "mongodb://h",
    "mongodb://h:1/",
    "mongodb://a:1,b:2/db?replicaSet=rs0&authSource=admin",
    "mongodb://u:p%40ss@[::1]:27017/?tls=true",
    "mongodb://u@h.example.com",
    "mongodb://h/?directConnection=true&tls=false",
    "mongodb://a,b/?directConnection=false&retryReads=true",
    "mongodb://mongo-0.mongo_svc.ns:27017/?replicaSet=rs0",
    "mongodb://h/?RETRYWRITES=true&W=majority&maxpoolsize=5",
    "mongodb://h/?readPreferenceTags=dc:ny&readPreferenceTags=",
    "mongodb://h/?replicaSet=rs+0&appName=a%26b",
)
OPTION_VALUES = (
    *("", "x", "true", "True", "false", "0", "1", "-1", "-2", "9", "10", "2.5", "primary", "Nearest", "nearest"),
    *("auto", "poll", "PLAIN", "SCRAM-SHA-256", "SCRAM", "zlib", "zlib,lzo", "majority", "standard", "pythonLegacy"),
    *("a:b", "a:b,c:d", "a:b:c", "SERVICE_NAME:a", "SERVICE_NAME:a,ENVIRONMENT:b", "SERVICE_NAME", "SERVICE_NAME:"),
    __file__,
)
NOT_IN_AN_ADDRESS = {"driver", "server_api", "tz_aware", "unicode_decode_error_handler", "datetime_conversion"}
"""What only a program can give, and what would change how documents are read here."""


def as_variables(given: dict[str, str]) -> dict[str, str]:
    return {f"COATCHECK_{name}": value for name, value in given.items()}


def checked(tmp_path: Path, toml: str = "", **given: str) -> Result:
    file = tmp_path / "coatcheck.toml"
    file.write_text(toml)
    return CliRunner().invoke(cli, ["--config", str(file), "config", "check"], env=as_variables(given))


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_work_is_refused_with_setting_value_source_and_what_is_allowed(case: str) -> None:
    given, complaint = WRONG[case]
    with pytest.raises(SettingsError, match=complaint):
        load_settings(environ=as_variables(given), uses=("port", "providers"))


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("arguments", [["config", "check"], ["edge"]])
def test_config_check_and_the_start_say_the_same_and_exit_with_2(
    arguments: list[str],
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, complaint = WRONG[case]
    monkeypatch.chdir(tmp_path)
    for name, value in as_variables(given).items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    assert re.search(f"(?m)^coatcheck: .*{complaint}", capsys.readouterr().err)


@pytest.mark.parametrize("uri", URIS)
def test_an_address_that_the_driver_refuses_is_refused_before_the_driver_is_there(uri: str) -> None:
    with pytest.raises((InvalidURI, ConfigurationError, ValueError, OSError)):
        parse_uri(uri)
    with pytest.raises(SettingsError, match="mongodb_uri"):
        load_settings({"mongodb_uri": uri}, environ={})


@pytest.mark.parametrize("uri", GOOD_URIS)
def test_an_address_that_the_driver_takes_is_taken(uri: str) -> None:
    parse_uri(uri)
    assert load_settings({"mongodb_uri": uri}, environ={}).mongodb_uri == uri


@pytest.mark.parametrize("option", sorted(URI_OPTIONS_VALIDATOR_MAP))
def test_of_an_option_is_taken_what_the_driver_takes_without_a_warning(option: str) -> None:
    host = "mongodb+srv://a.b.c" if option.startswith("srv") else "mongodb://h"
    for value in OPTION_VALUES:
        given = f"{option}={quote_plus(value)}" if option != "readpreferencetags" else f"{option}={value}"
        taken = option not in NOT_IN_AN_ADDRESS and driver_takes(given)
        assert (problem(f"{host}/?{given}") is None) == taken, given


def driver_takes(option: str) -> bool:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            split_options(option, warn=True)
        except (ConfigurationError, InvalidURI, ValueError, OSError):
            return False
    return not warned


def test_every_option_is_written_as_the_driver_writes_it() -> None:
    assert set(OPTIONS) == set(URI_OPTIONS_VALIDATOR_MAP) - NOT_IN_AN_ADDRESS


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    toml = (
        "# settings\nport = 70000\ncors_origins = [\n  'https://a.example',\n]\nprot = 1\n"
        "[providers.vllm]\nbase_ulr = 'http://x'\n[providers.Bad]\n"
    )
    said = str(checked(tmp_path, toml, LEASE_SECONDS="none", TRUSTED_PROXIES="x").exception)
    for words in (
        "coatcheck.toml line 2): expected `int` <= 65535",
        "unknown setting 'prot' (",
        "coatcheck.toml line 6): did you mean port?",
        "lease_seconds = none (COATCHECK_LEASE_SECONDS)",
        "trusted_proxies = x (COATCHECK_TRUSTED_PROXIES)",
        "providers.vllm.base_ulr: unknown field: did you mean 'base_url'?",
        "coatcheck.toml line 8)",
        "providers.Bad: a provider's name has letters",
    ):
        assert words in said, words
    assert len(said.splitlines()) == 6


@pytest.mark.parametrize(
    "uri",
    [
        "postgres://user:hunter22@h",
        "mongodb://user:hunter22@x@h",
        "mongodb://h:hunter22",
        "mongodb://u:hunter22@h/?tls=hunter22",
        "mongodb://u:hunter22@h/?foo=hunter22",
        "mongodb://u:hunter22@h/?maxPoolSize=hunter22&authMechanism=hunter22&tlsCAFile=hunter22",
        "mongodb://u:12?hunter22=x@h",
        "mongodb://u:12?a&hunter22=x@h/?tls=true",
        "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:,hunter22",
    ],
)
def test_no_problem_repeats_a_secret(uri: str, tmp_path: Path) -> None:
    said = str(checked(tmp_path, MONGODB_URI=uri, ADMIN_TOKEN="hunter22").exception)
    assert "mongodb_uri" in said
    assert "admin_token" in said
    assert "hunter22" not in said


@pytest.mark.parametrize(
    "given",
    [
        {"host": "127.0.0.1", "admin_host": "10.0.0.1", "port": 8080, "admin_port": 8080},
        {"port": 0, "admin_port": 0},
        {"trusted_proxies": ["10.0.0.7", "fd00::/8", "10.1.2.3/8"]},
        {"host": "::", "admin_host": "localhost"},
        {"host": "a-b.c_d.example.", "admin_host": "a" * 63},
        {"cors_origins": ["*", "http://localhost:3000", "chrome-extension://abc"]},
        {"lease_seconds": 30, "job_deadline_seconds": 30},
    ],
)
def test_what_can_work_is_taken(given: dict[str, Any]) -> None:
    load_settings(given, environ={}, uses=("port", "providers"))


def test_who_opens_one_port_alone_may_have_it_equal_to_the_other_ones_default() -> None:
    assert load_settings({"admin_port": 8080}, environ={}, uses=("providers",)).admin_port == 8080
