"""Reads settings from flags, variables and files, and tells everything that is wrong at once."""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from shared.domain.errors import SettingsError
from shared.settings.checks import check, check_ports
from shared.settings.table import FIELDS, PREFIX, Settings, Use, is_secret

_NOT_SETTINGS = frozenset({"CONFIG", "URL", "API_KEY", "DRILL"})
"""COATCHECK_* names that belong to the client, the drill or the path of the TOML file."""
_MAX_LINES = 500
"""In a longer file the line of a mistake is not looked for: each line costs one more reading."""


class _File(NamedTuple):
    path: str
    text: str
    values: Mapping[str, Any]

    def place(self, *keys: str) -> str:
        line = _line_of(self.text, keys)
        return self.path if line is None else f"{self.path} line {line}"


class _Given(NamedTuple):
    """What one source says about one setting. `origin` names the source for whoever has to change it."""

    value: Any
    origin: str


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    toml_path: str | Path | None = None,
    *,
    uses: Sequence[Use] = (),
    stand_in: str | Path | None = None,
) -> Settings:
    """Raises SettingsError, a line for each problem: the setting, its value, where it is set, and what is allowed.

    `flags` holds values already typed; None means not given. `uses` says what the caller will do, for rules that
    concern not everybody. `stand_in` is a second file that beats the first one.
    """
    problems: list[str] = []
    given, file = _gather(flags or {}, environ, toml_path or environ.get("COATCHECK_CONFIG"), stand_in, problems)
    settings, wrong = _converted(given, problems)
    rules = [*check(settings), *(check_ports(settings) if "port" in uses else ())]
    problems += [
        f"{', '.join(_shown(name, settings, given) for name in names)}: {text}"
        for names, text in rules
        if not wrong.intersection(names)
    ]
    if "providers" in uses:
        problems += _provider_problems(settings, environ, file, given)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _gather(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    toml_path: str | Path | None,
    stand_in: str | Path | None,
    problems: list[str],
) -> tuple[dict[str, _Given], _File]:
    """What is set, by name, the strongest source last; and the settings file."""
    given: dict[str, _Given] = {}
    file = _File("", "", {})
    for path in (toml_path, stand_in) if stand_in else (toml_path,):
        try:
            found = _read_file(path)
        except SettingsError as error:
            problems.append(str(error))
            continue
        for name, value in found.values.items():
            if name in FIELDS:
                given[name] = _Given(value, found.place(name))
            else:
                problems.append(f"unknown setting '{name}' ({found.place(name)}){_suggest(name)}")
        file = file if file.path else found
    given |= _from_environment(environ, problems)
    for name, value in flags.items():
        if name not in FIELDS:
            problems.append(f"unknown setting '{name}'{_suggest(name)}")
        elif value is not None:
            given[name] = _Given(value, "a flag")
    return given, file


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for variable, raw in environ.items():
        if variable.startswith(PREFIX) and variable.removeprefix(PREFIX) not in _NOT_SETTINGS:
            try:
                name, value = _variable(variable, raw)
                found[name] = _Given(value, variable)
            except SettingsError as error:
                problems.append(str(error))
    return found


def _converted(given: Mapping[str, _Given], problems: list[str]) -> tuple[Settings, set[str]]:
    """The settings, with defaults for those that are of the wrong type, and the names of these."""
    values: dict[str, Any] = {}
    wrong = set[str]()
    for name, each in given.items():
        try:
            values[name] = msgspec.convert(each.value, FIELDS[name].type, strict=False)
        except msgspec.ValidationError as error:
            wrong.add(name)
            value = "" if is_secret(name) else f" = {_plain(each.value)}"
            text = str(error)
            problems.append(f"{name}{value} ({each.origin}): {_allowed(name) or text[:1].lower() + text[1:]}")
    return Settings(**values), wrong


def _allowed(name: str) -> str:
    type_ = getattr(FIELDS[name].type, "__origin__", None)
    if get_origin(type_) is not Literal:
        return ""
    return f"expected one of {', '.join(choice or 'empty' for choice in get_args(type_))}"


def _shown(name: str, settings: Settings, given: Mapping[str, _Given]) -> str:
    origin = given[name].origin if name in given else "the default"
    return f"{name} ({origin})" if is_secret(name) else f"{name} = {_plain(getattr(settings, name))} ({origin})"


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value) or "empty"


def _provider_problems(
    settings: Settings, environ: Mapping[str, str], file: _File, given: Mapping[str, _Given]
) -> Iterator[str]:
    """What is wrong with the providers or, once they are right, with the default one."""
    from shared.providers.config import configured  # noqa: PLC0415 - not everybody who has settings has providers

    try:
        found = configured(settings.providers, environ, settings.local_models)
    except SettingsError as error:
        for line in str(error).splitlines():
            keys = line.partition(":")[0].split(".")[:3]
            place = f" ({file.place(*keys)})" if keys[0] == "providers" and file.path else ""
            yield f"{line}{place}"
        return
    if settings.default_provider and settings.default_provider not in found:
        names = ", ".join(sorted(found)) or "none"
        yield f"{_shown('default_provider', settings, given)}: is not configured; configured: {names}"


def _variable(variable: str, value: str) -> tuple[str, Any]:
    """The setting that a variable or its `_FILE` twin sets, and its value: a list if it takes one, else a text."""
    name = variable.removeprefix(PREFIX).lower()
    twin = name.removesuffix("_file")
    if name not in FIELDS and twin in FIELDS and is_secret(twin):
        name, value = twin, _text(f"{variable}: cannot read", value).strip()
    if name not in FIELDS:
        raise SettingsError(f"unknown setting {variable}{_suggest(name, PREFIX)}")
    if name == "providers":
        remedy = "use <NAME>_API_KEY, <NAME>_BASE_URL or coatcheck.toml"
        raise SettingsError(f"providers cannot come from one variable: {remedy}")
    if isinstance(FIELDS[name].default, tuple):
        return name, [item.strip() for item in value.split(",") if item.strip()]
    return name, value


def _suggest(name: str, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, FIELDS, n=1)
    if not close:
        return ": `coatcheck config show` lists all"
    return f": did you mean {prefix + (close[0].upper() if prefix else close[0])}?"


def _read_file(path: str | Path | None) -> _File:
    """Read the given file, or `coatcheck.toml` here if it exists. Raises SettingsError."""
    if path is None:
        path = Path("coatcheck.toml")
        if not path.is_file():
            return _File("", "", {})
    text = _text("cannot read the settings file", path)
    try:
        return _File(str(path), text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def _text(complaint: str, path: str | Path) -> str:
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{complaint} {path}: it is not UTF-8 text") from None
    except OSError as error:
        raise SettingsError(f"{complaint} {path}: {error.strerror}") from None


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line on which a key begins. Up to its value's end a TOML text is TOML by itself, so no parser is needed."""
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        return None
    began = 0
    for number in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        if _has(values, keys):
            return began + 1
        began = number
    return None


def _has(values: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
