"""Writes the dashboards into the chart."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.dashboards import internals, overview
from deploy.dashboards.panels import Json, dashboard

FOLDER = Path(__file__).parents[1] / "k8s" / "coatcheck" / "files" / "dashboards"


def documents() -> dict[str, Json]:
    """File name to document."""
    return {
        "overview.json": dashboard(
            "coatcheck-overview",
            "Coatcheck / Overview",
            "Is it well, by modality, and where does the time go.",
            overview.ROWS,
        ),
        "internals.json": dashboard(
            "coatcheck-internals",
            "Coatcheck / Internals",
            "Edge, notifications, workers, providers, database, reaper, capacity.",
            internals.ROWS,
        ),
    }


def text(document: Json) -> str:
    """As it stands in the file."""
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    for name, document in documents().items():
        (FOLDER / name).write_text(text(document))
