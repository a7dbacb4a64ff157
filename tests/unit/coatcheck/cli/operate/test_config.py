"""`coatcheck config`: what is shown, and what never is."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.cli.main import cli
from shared.settings.table import FIELDS

secrets = st.from_regex(r"Qz7[!-&(-9;-Z^-~]{4,30}", fullmatch=True).filter(lambda text: not set(text) & set("/@?#%\\"))


def invoke(*arguments: str, toml: str = "", **environ: str) -> str:
    """What a command writes to stdout and stderr."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "coatcheck.toml")
        file.write_text(toml)
        ran = CliRunner().invoke(cli, ["--config", str(file), *arguments], env=environ, catch_exceptions=False)
    assert ran.exit_code == 0
    return ran.output


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "show", "--json"], ["config", "check"]])
@settings(max_examples=20, deadline=None)
@given(secret=secrets)
def test_no_secret_is_shown(arguments: list[str], secret: str) -> None:
    quoted = json.dumps(secret)
    toml = (
        f"[providers.vllm]\nbase_url = 'http://gpu/v1'\napi_key = {quoted}\nproxy = 'http://u:{secret}@proxy'\n"
        f"[providers.vllm.headers]\nx-key = {quoted}\n"
        f"[providers.local]\nbase_url = 'http://u:{secret}@gpu/v1'\n"
    )
    environ = {
        "COATCHECK_MONGODB_URI": f"mongodb://user:{secret}@db/?replicaSet=rs0",
        "COATCHECK_KAFKA_SASL_PASSWORD": secret,
        "OPENAI_API_KEY": secret,
    }
    assert secret not in invoke(*arguments, toml=toml, **environ)


def test_every_setting_is_shown_with_where_it_differs_from_its_default() -> None:
    shown = invoke("config", "show", toml="port = 8081")
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines()[1:]}
    assert set(lines) == set(FIELDS)
    assert lines["port"] == ["8081"]
    assert lines["admin_port"] == ["9090", "default"]
    assert lines["mongodb_uri"] == ["mongodb://127.0.0.1:27017", "default"]


def test_json_shows_values_with_their_types() -> None:
    shown = json.loads(invoke("config", "show", "--json", toml="cors_origins = ['https://a']", OPENAI_API_KEY="sk-x"))
    assert shown["cors_origins"] == ["https://a"]
    assert shown["slots"] == 500
    assert shown["providers"]["openai"]["key"] is True


def test_check_names_the_providers() -> None:
    checked = invoke("config", "check", OPENAI_API_KEY="sk-x", GROQ_API_KEY="y")
    assert checked.splitlines()[0] == "ok"
    assert "groq" in checked
    assert "openai" in checked
