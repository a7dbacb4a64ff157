"""Starts the logs of a component that knows providers: none of their keys gets into a line."""

from __future__ import annotations

import os

from shared.logging import configure
from shared.providers import configured
from shared.redaction import hide
from shared.settings import Settings


def start_logs(settings: Settings, component: str) -> None:
    """Configure logs and hide every provider's credentials. Raises SettingsError when a provider is misconfigured."""
    configure(settings, component=component)
    for provider in configured(settings.providers, os.environ, settings.local_models).values():
        hide([provider.api_key, provider.proxy, *provider.headers.values()])
