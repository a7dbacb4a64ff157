"""Settings: where they come from, what is refused and why, and that secrets stay secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import SettingsError
from shared.settings.reading import load_settings
from shared.settings.table import FIELDS, PREFIX, Settings, describe, is_secret, redacted
from shared.telemetry import redaction
from shared.telemetry.logging import JsonFormatter, TextFormatter
from shared.telemetry.redaction import hide, redact, secrets_in
from tests.unit.coatcheck.cli.records import record_with

SECRET_PLACES: dict[str, Callable[[str], Any]] = {
    "mongodb_uri": lambda secret: "mongodb://user:" + secret + "@db.example/?replicaSet=rs0",
    "kafka_sasl_password": lambda secret: secret,
    "admin_token": lambda secret: secret,
    "providers": lambda secret: {"vllm": {"base_url": "http://gpu/v1", "api_key": secret, "headers": {"x-a": secret}}},
}

# The mark keeps a secret from being an ordinary word of the text around it.
secrets = st.text(st.characters(exclude_characters="/@:?#[] \t\r\n%", exclude_categories=["C"]), min_size=13).map(
    "Qz7".__add__
)


@contextmanager
def nothing_hidden_before() -> Iterator[None]:
    """Secrets hidden in here are forgotten afterwards."""
    kept = list(redaction._hidden)
    redaction._hidden.clear()
    try:
        yield
    finally:
        redaction._hidden[:] = kept


def load(environ: dict[str, str] | None = None, toml: Path | None = None, **flags: Any) -> Settings:
    return load_settings(flags, environ=environ or {}, toml_path=toml)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "coatcheck.toml"


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(toml: Path) -> None:
    environ = {"COATCHECK_PORT": "2"}
    assert load().port == 8080
    toml.write_text("port = 1")
    assert load(toml=toml).port == 1
    assert load(environ, toml).port == 2
    assert load(environ, toml, port=3).port == 3


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    assert load({"COATCHECK_PORT": "2"}, port=None).port == 2


def test_the_file_may_be_named_by_a_variable(toml: Path) -> None:
    toml.write_text('mongodb_database = "elsewhere"')
    assert load({"COATCHECK_CONFIG": str(toml)}).mongodb_database == "elsewhere"


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"COATCHECK_PROT": "1"}, "unknown setting COATCHECK_PROT: did you mean COATCHECK_PORT?"),
        ({"COATCHECK_MONGODB_URL": "x"}, "did you mean COATCHECK_MONGODB_URI?"),
        ({"COATCHECK_QQQQQQ": "x"}, "`coatcheck config show` lists all"),
        ({"COATCHECK_PORT": "many"}, r"port = many \(COATCHECK_PORT\): expected `int`"),
        ({"COATCHECK_PORT": "70000"}, r"port = 70000 \(COATCHECK_PORT\): expected `int` <= 65535"),
        ({"COATCHECK_LOG_LEVEL": "loud"}, "expected one of debug, info, warning, error"),
        ({"COATCHECK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "set kafka_sasl_mechanism too"),
        ({"COATCHECK_RESULT_TTL_SECONDS": "9999999"}, "must not be above result_ttl_max_seconds"),
        ({"COATCHECK_PROVIDERS": "x"}, "_API_KEY"),
        ({"COATCHECK_PORT_FILE": "/nowhere"}, "unknown setting COATCHECK_PORT_FILE"),
        ({"COATCHECK_MONGODB_URI_FILE": "/nowhere"}, "COATCHECK_MONGODB_URI_FILE: cannot read /nowhere"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load(environ)


def test_an_unknown_name_in_the_file_is_refused(toml: Path) -> None:
    toml.write_text("prot = 1")
    with pytest.raises(SettingsError, match=r"unknown setting 'prot' \(.*coatcheck\.toml line 1\): did you mean port"):
        load(toml=toml)


@pytest.mark.parametrize("text", ["port = ", "port = 1\nport = 2", "[providers"])
def test_a_file_that_is_no_toml_is_refused_by_name(toml: Path, text: str) -> None:
    toml.write_text(text)
    with pytest.raises(SettingsError, match=r"coatcheck\.toml is not valid TOML"):
        load(toml=toml)


def test_a_missing_file_is_an_error_only_when_it_was_asked_for(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toml.parent)
    assert load().port == 8080
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        load(toml=toml)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter22\n")
    assert load({"COATCHECK_KAFKA_SASL_PASSWORD_FILE": str(file)}).kafka_sasl_password == "hunter22"


def test_a_file_that_is_no_text_is_refused_by_name(toml: Path) -> None:
    toml.write_bytes(b"port = 1 # \xff")
    with pytest.raises(SettingsError, match=r"coatcheck\.toml: it is not UTF-8 text"):
        load(toml=toml)
    with pytest.raises(SettingsError, match=r"COATCHECK_MONGODB_URI_FILE: .* it is not UTF-8 text"):
        load({"COATCHECK_MONGODB_URI_FILE": str(toml)})


def test_lists_are_separated_by_commas() -> None:
    assert load({"COATCHECK_CORS_ORIGINS": "https://a, https://b,"}).cors_origins == ("https://a", "https://b")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        load().port = 1  # type: ignore[misc]


def test_every_setting_says_in_one_sentence_what_it_means() -> None:
    for name in FIELDS:
        assert describe(name).endswith("."), name
        assert len(describe(name)) < 100, name


def test_a_default_is_valid_when_it_is_spelled_out() -> None:
    defaults = load()
    given = {f"{PREFIX}{name.upper()}": str(getattr(defaults, name)) for name in FIELDS if _is_plain(name)}
    assert load(given) == defaults


def _is_plain(name: str) -> bool:
    return isinstance(FIELDS[name].default, str | int | float)


def test_every_place_for_secrets_is_covered_by_these_tests() -> None:
    assert {name for name in FIELDS if is_secret(name)} == set(SECRET_PLACES)


@pytest.mark.parametrize("place", SECRET_PLACES)
@given(secret=secrets)
def test_a_secret_in_a_setting_is_never_shown(place: str, secret: str) -> None:
    settings = load(**{place: SECRET_PLACES[place](secret)})
    assert secret not in repr(settings)
    assert secret not in str(settings)
    assert secret not in str(redacted(settings))


@pytest.mark.parametrize("place", SECRET_PLACES)
@given(secret=secrets)
def test_a_secret_in_a_setting_never_gets_into_a_log_line(place: str, secret: str) -> None:
    settings = load(**{place: SECRET_PLACES[place](secret)})
    with nothing_hidden_before():
        hide(secrets_in(settings))
        for said in (secret, f"<{secret}>", repr(secret), secret * 3):
            record = record_with(f"it is {said}", said, {"detail": said, "nested": {"key": said}}, ValueError(said))
            assert secret not in TextFormatter().format(record)
            assert secret not in JsonFormatter("worker").format(record)
            assert secret not in redact(f"it is {said}")


@given(secret=secrets)
def test_a_secret_of_the_wrong_type_is_not_repeated_by_the_error(secret: str) -> None:
    for wrong in ({"kafka_sasl_password": [secret]}, {"mongodb_uri": {"a": secret}}, {"providers": secret}):
        with pytest.raises(SettingsError) as caught:
            load(**wrong)
        assert secret not in str(caught.value)
