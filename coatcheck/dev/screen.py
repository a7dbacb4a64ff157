"""What a person sees: one line per part while it starts, then how to send the first request."""

from __future__ import annotations

import json
import sys

from coatcheck.dev.loopback import EMBEDDINGS, EXAMPLE
from coatcheck.dev.options import DevOptions
from coatcheck.dev.ports import LOOPBACK

MODEL_PATH = "/v1/models"


def say(name: str, text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"{name:<10} {text}\n")
    sys.stderr.flush()


def say_ready(options: DevOptions, models: tuple[str, ...]) -> None:
    """The banner, with a request that can be pasted."""
    url = f"http://{LOOPBACK}:{options.port}"
    example = f"curl -i {url}{EMBEDDINGS} -d '{json.dumps(EXAMPLE, separators=(',', ':'))}'"
    lines = [
        f"Ready  {url}  (docs /docs, status :{options.admin_port}, data {options.data}, logs {options.data / 'logs'})"
        "  Ctrl-C stops",
        "",
        f"  {example if 'minilm' in models else f'curl {url}{MODEL_PATH}'}",
        "",
        *_caution(options),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _caution(options: DevOptions) -> list[str]:
    embedded = []
    if not options.mongodb_uri:
        embedded.append("mongod (SSPL, downloaded as a package)")
    if not options.kafka:
        embedded.append("the in-memory broker")
    if not embedded:
        return []
    return [f"For development: {' and '.join(embedded)}. MONGODB_URI=... KAFKA=... use yours."]
