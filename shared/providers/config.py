"""What is configured for each provider: read from TOML tables and the environment, then frozen."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import SettingsError
from shared.providers.known import KNOWN_PROVIDERS, KnownProvider, did_you_mean, variable_stem
from shared.providers.local_models import LOCAL_MODELS, installed_models

NO_PROVIDER = "no provider is configured: set OPENAI_API_KEY, or COATCHECK_LOCAL_MODELS=minilm"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

Seconds = Annotated[float, Meta(gt=0)]


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[providers.<name>]` table, or what the environment says."""

    name: str
    kind: Literal["openai", "local", "scripted"] = "openai"
    base_url: str = ""
    api_key: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    models: tuple[str, ...] = ()
    """Models listed by GET /v1/models and accepted without a prefix; other models pass too."""
    max_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    timeout_seconds: Seconds = 600.0
    connect_timeout_seconds: Seconds = 5.0
    headers: dict[str, str] = {}
    paths: dict[str, str] = {}
    """Request type to path under the base URL, or to a whole URL, where it is not the usual one."""
    proxy: str = ""
    ca_file: str = ""
    batch_texts: Annotated[int, Meta(ge=1, le=2048)] | None = None
    """Most texts of embedding jobs in one call; 1: every job by itself. Unset: 1, for local models 8."""
    trace_calls: bool = False
    """Send `x-coatcheck-call`, so that a drill can tell repeated calls."""
    listed_by: str = ""
    """The setting that lists all local models that are served; empty where others may be installed elsewhere too."""

    def __repr__(self) -> str:
        """Leaves out the key, header values and proxy credentials."""
        return (
            f"ProviderConfig({self.name!r}, kind={self.kind!r}, base_url={self.base_url!r}, "
            f"key={'set' if self.api_key else 'none'}, headers={sorted(self.headers)}, "
            f"proxy={'set' if self.proxy else 'none'})"
        )


DERIVED = ("name", "listed_by")
"""Fields that do not stand in a table."""
_FIELDS = [name for name in ProviderConfig.__struct_fields__ if name not in DERIVED]


def configured(
    tables: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str], local_models: Sequence[str] = ()
) -> dict[str, ProviderConfig]:
    """Those with a TOML table or with a key or address in the environment. Raises SettingsError, a line for each."""
    problems: list[str] = []
    wanted = dict(tables)
    for name, known in KNOWN_PROVIDERS.items():
        try:
            address = environ.get(known.address_variable, "").strip()
            if name not in wanted and (address or (known.base_url and _key_in(environ, known.key_variables))):
                wanted[name] = {}
        except SettingsError as error:
            problems.append(str(error))
    if local_models:
        wanted["local"] = {**tables.get("local", {}), "models": list(local_models)}
    found: dict[str, ProviderConfig] = {}
    for name, table in wanted.items():
        try:
            config = _from_table(name, table, environ)
            setting = "COATCHECK_LOCAL_MODELS" if local_models and name == "local" else f"providers.{name}.models"
            found[name] = _with_local_models(config, setting) if config.kind == "local" else config
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def _with_local_models(config: ProviderConfig, setting: str) -> ProviderConfig:
    """`all`, or no list, means every model that is installed: here those, on a worker others perhaps."""
    known = [model.id for model in LOCAL_MODELS]
    for model in config.models:
        if model != "all" and model not in known:
            guess = did_you_mean(model, known)
            raise SettingsError(f"local model '{model}' is unknown: {guess}known: {', '.join(known)}, all")
    if config.models and "all" not in config.models:
        return msgspec.structs.replace(config, listed_by=setting)
    return msgspec.structs.replace(config, models=tuple(model.id for model in installed_models()))


def _from_table(name: str, table: Mapping[str, Any], environ: Mapping[str, str]) -> ProviderConfig:
    where = f"providers.{name}"
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{where}: a provider's name has letters a-z, digits, '-' and '_' only")
    known_fields = ", ".join(_FIELDS)
    unknown = [key for key in table if key not in _FIELDS]
    if wrong := [f"{where}.{key}: unknown field: {did_you_mean(key, _FIELDS)}known: {known_fields}" for key in unknown]:
        raise SettingsError("\n".join(wrong))
    kind = name if name in ("local", "scripted") else "openai"
    try:
        config = msgspec.convert({"kind": kind, **table, "name": name}, ProviderConfig)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise SettingsError(f"{where}.{place.rstrip('`') or '?'}: {problem}") from None
    if config.kind != "openai":
        return config
    if config.ca_file and not Path(config.ca_file).is_file():
        raise SettingsError(f"{where}.ca_file: no such file: {config.ca_file}")
    known = KNOWN_PROVIDERS.get(name, KnownProvider(name, "", (f"{variable_stem(name)}_API_KEY",)))
    base_url = _address(config, known, environ)
    return msgspec.structs.replace(
        config,
        base_url=base_url,
        api_key=_api_key(config, known, environ),
        paths={**(known.paths if base_url == known.base_url else {}), **_paths(where, config.paths)},
        headers=dict(_header(where, *header) for header in config.headers.items()),
        proxy=_http_url(f"{where}.proxy", config.proxy, may_hold_user=True) if config.proxy else "",
    )


def _address(config: ProviderConfig, known: KnownProvider, environ: Mapping[str, str]) -> str:
    """The base URL. An address that is only a host means its /v1."""
    variable = environ.get(known.address_variable, "").strip()
    given = variable or config.base_url
    if not given:
        if not known.base_url:
            raise SettingsError(f"providers.{config.name}.base_url: missing; set it, or {known.address_variable}")
        return known.base_url
    where = known.address_variable if variable else f"providers.{config.name}.base_url"
    url = _http_url(where, given)
    return url.rstrip("/") if urlsplit(url).path else f"{url}/v1"


def _http_url(where: str, value: str, *, may_hold_user: bool = False) -> str:
    """Checks a URL; the error does not repeat it, for it may hold a password."""
    try:
        parts = urlsplit(value)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or not value.isascii() or any(character.isspace() for character in value):
        raise SettingsError(f"{where}: expected a URL like http://host:8000/v1")
    if parts.query or parts.fragment:
        raise SettingsError(f"{where}: expected a URL without '?' and '#'")
    if "@" in parts.netloc and not may_hold_user:
        raise SettingsError(f"{where}: no user or password in the URL; use api_key_env, api_key_file or headers")
    return value


def _paths(where: str, paths: Mapping[str, str]) -> dict[str, str]:
    for request_type, path in paths.items():
        if request_type not in BY_TYPE:
            known = f"{did_you_mean(request_type, BY_TYPE)}known: {', '.join(BY_TYPE)}"
            raise SettingsError(f"{where}.paths.{request_type}: no such request type: {known}")
        if not path.startswith("/"):
            _http_url(f"{where}.paths.{request_type}", path)
    return dict(paths)


def _api_key(config: ProviderConfig, known: KnownProvider, environ: Mapping[str, str]) -> str:
    where = f"providers.{config.name}"
    if config.api_key:
        return _header_value(f"{where}.api_key", config.api_key)
    if config.api_key_file:
        return _header_value(f"{where}.api_key_file", _read(f"{where}.api_key_file", config.api_key_file))
    if config.api_key_env:
        if key := _key_in(environ, (config.api_key_env,)):
            return key
        raise SettingsError(f"{where}.api_key_env: the variable {config.api_key_env} is not set")
    return _key_in(environ, known.key_variables)


def _key_in(environ: Mapping[str, str], variables: Sequence[str]) -> str:
    """The first key set by a variable or by its `_FILE` twin."""
    for variable in variables:
        if value := environ.get(variable, "").strip():
            return _header_value(variable, value)
        if path := environ.get(f"{variable}_FILE", "").strip():
            return _header_value(f"{variable}_FILE", _read(f"{variable}_FILE", path))
    return ""


def _read(where: str, path: str) -> str:
    try:
        text = Path(path).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: cannot read {path}: {error.__class__.__name__}") from None
    if not text:
        raise SettingsError(f"{where}: {path} is empty")
    return text


def _header_value(where: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise SettingsError(f"{where}: holds a character that cannot stand in an HTTP header")
    return value.strip()


def _header(where: str, name: str, value: str) -> tuple[str, str]:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise SettingsError(f"{where}.headers: {name!r} is no header name")
    return name.lower(), _header_value(f"{where}.headers.{name}", value)
