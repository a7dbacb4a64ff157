"""Builds Grafana's JSON: panels on a grid of 24 columns, and a dashboard around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SELECTOR = 'namespace=~"$namespace",job=~"$job"'
"""In every expression: the release that the reader has chosen. `{}` of a template stands for it."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` maps expressions, in which `{}` stands for the selector, to their legends."""

    title: str
    help: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    thresholds: Sequence[tuple[float | None, str]] = ((None, "green"),)
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """For a stat: value to (text, colour)."""


@dataclass(frozen=True)
class Row:
    """A heading and the panels below it."""

    title: str
    panels: Sequence[Panel]


def expression(template: str) -> str:
    """The expression with the selector in place of every `{}`, joined to matchers that stand behind it."""
    return template.replace("{}", f"{{{SELECTOR}}}").replace("{,", f"{{{SELECTOR},")


def dashboard(uid: str, title: str, describes: str, rows: Sequence[Row]) -> Json:
    """The whole document."""
    return {
        "uid": uid,
        "title": title,
        "description": describes,
        "tags": ["coatcheck"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": [_alerts()]},
        "links": [{"type": "dashboards", "tags": ["coatcheck"], "title": "Coatcheck", "asDropdown": False}],
        "panels": _placed(rows),
    }


def _variables() -> list[Json]:
    def choice(name: str, label: str, query: str) -> Json:
        return {
            "type": "query",
            "name": name,
            "label": label,
            "datasource": _SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "sort": 1,
            "current": {"text": ["All"], "value": ["$__all"]},
        }

    return [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
        choice("namespace", "Namespace", "label_values(coatcheck_build_info, namespace)"),
        choice("job", "Release", 'label_values(coatcheck_build_info{namespace=~"$namespace"}, job)'),
    ]


def _alerts() -> Json:
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": expression('ALERTS{,alertname=~"Coatcheck.+",alertstate="firing"}'),
        "titleFormat": "{{alertname}}",
        "step": "60s",
    }


def _placed(rows: Sequence[Row]) -> list[Json]:
    """Panels from left to right, rows from top to bottom."""
    placed: list[Json] = []
    y = 0
    for row in rows:
        grid = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        placed.append({"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": grid})
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            grid = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            placed.append(_panel(panel, len(placed) + 1) | {"gridPos": grid})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return placed


def _panel(panel: Panel, number: int) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "targets": [_target(panel, *query, index) for index, query in enumerate(panel.queries.items())],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(panel: Panel, template: str, legend: str, index: int) -> Json:
    instant = panel.kind in ("stat", "table")
    return {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "expr": expression(template),
        "legendFormat": legend,
        "instant": instant,
        "range": not instant,
        "format": {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series"),
    }


def _defaults(panel: Panel) -> Json:
    steps = [{"value": value, "color": color} for value, color in panel.thresholds]
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.words:
        options = {value: {"text": text, "color": color} for value, (text, color) in panel.words.items()}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stacked else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        defaults["min"] = 0
    return defaults


_OPTIONS: Mapping[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "value",
    },
    "table": {"showHeader": True, "footer": {"show": False}},
    "heatmap": {
        "calculate": False,
        "yAxis": {"unit": "s"},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "cellGap": 1,
        "tooltip": {"mode": "single", "yHistogram": False},
    },
}


def rate(metric: str, *by: str, where: str = "") -> str:
    """Events per second, summed up by labels."""
    matchers = f"{{,{where}}}" if where else "{}"
    return f"sum{_by(by)} (rate(coatcheck_{metric}{matchers}[$__rate_interval]))"


def quantile(share: float, metric: str, *by: str, where: str = "") -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'le', *by, where=where)})"


def mean(metric: str) -> str:
    """The mean of what a histogram observed."""
    return f"{rate(f'{metric}_sum')} / {rate(f'{metric}_count')}"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
