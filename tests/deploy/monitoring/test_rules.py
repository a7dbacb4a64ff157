"""Alert and recording rules: every one parses, names only metrics that exist, fires when it should and only then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from coatcheck.drill.scenarios.catalogue import SCENARIOS
from deploy.release.helm import ROOT
from tests.deploy.chart.matrix import MATRIX
from tests.deploy.monitoring.alert_cases import CASES, Series
from tests.deploy.monitoring.promql import check_rules, promtool, series_names, used_matchers, used_names
from tests.support.helm import CHART, Manifest, render

FILES = sorted((CHART / "files" / "rules").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
SCRAPE_LABELS = {"namespace", "job", "instance"}
HEADINGS = ["What it means", "How to see it", "What to do", "Rehearse it"]


def rules_of(document: Manifest) -> list[Manifest]:
    return [rule for group in document["groups"] for rule in group["rules"]]


RULES = [rule for file in FILES for rule in rules_of(yaml.safe_load(file.read_text()))]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_promtool_accepts_every_file(file: Path) -> None:
    promtool("check", "rules", file)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_only_what_exists(rule: Manifest) -> None:
    known = series_names()
    names = used_names(rule["expr"])
    assert names
    assert names <= known.keys() | RECORDED | {"up"}
    for name, labels in used_matchers(rule["expr"]):
        assert labels <= known[name] | SCRAPE_LABELS, name


def promtool_case(series: Series, alert: str, at: int, severities: tuple[str, ...]) -> dict[str, Any]:
    """A test in promtool's format: which severities of the alert fire at that minute."""

    def full(name: str) -> str:
        bare, _, labels = name.partition("{")
        own = labels.removesuffix("}")
        common = 'namespace="ns",job="coatcheck",instance="a"'
        return f"{bare if bare == 'up' else 'coatcheck_' + bare}{{{','.join(filter(None, [common, own]))}}}"

    return {
        "interval": "1m",
        "input_series": [{"series": full(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count by (severity) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{at}m",
                "exp_samples": [{"labels": f'{{severity="{severity}"}}', "value": 1} for severity in severities],
            }
        ],
    }


def run_case(case: dict[str, Any], folder: Path) -> None:
    file = folder / "test.yaml"
    document = {"rule_files": [str(file) for file in FILES], "evaluation_interval": "1m", "tests": [case]}
    file.write_text(yaml.safe_dump(document))
    promtool("test", "rules", file)


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    assert sorted(CASES) == NAMES
    for name, case in CASES.items():
        severities = {rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name}
        assert set(case.severities) == severities, name


@pytest.mark.parametrize("name", CASES)
def test_the_alert_fires(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    run_case(promtool_case(case.base | case.firing, name, case.at, case.severities), tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_the_alert_stays_silent(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    run_case(promtool_case(case.base | case.silent, name, case.at, ()), tmp_path)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_leads_to_its_page(rule: Manifest) -> None:
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_an_alert_says_all_that_on_call_needs(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
    rehearsal = page.partition("## Rehearse it")[2]
    named = re.findall(r"coatcheck drill --only ([\w-]+)", rehearsal)
    assert named or "No drill" in rehearsal
    assert set(re.findall(r"coatcheck drill --only ([\w-]+)", page)) <= set(SCENARIOS)
    for expression in re.findall(r"^```promql\n(.*?)```", page, re.MULTILINE | re.DOTALL):
        assert used_names(expression) <= series_names().keys() | RECORDED | {"up"}, expression


def test_there_is_no_page_without_an_alert_and_the_index_lists_all() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(NAMES)
    index = (RUNBOOKS / "README.md").read_text()
    assert set(re.findall(r"\((\w+)\.md\)", index)) == pages


def test_the_chart_puts_the_release_and_the_objectives_into_the_rules(tmp_path: Path) -> None:
    observed = render(MATRIX["observed"]).one("PrometheusRule", "rel-coatcheck")["spec"]
    rules = rules_of(observed)
    assert len(rules) == len(RULES) - 1
    assert "CoatcheckVersionsDiffer" not in {rule.get("alert") for rule in rules}
    text = "\n".join(rule["expr"] for rule in rules)
    assert 'job="coatcheck"' not in text
    assert text.count('namespace="ns",job="rel"') == "\n".join(
        rule["expr"] for rule in RULES if rule.get("alert") != "CoatcheckVersionsDiffer"
    ).count('job="coatcheck"')
    assert 'le="2.5"' in text
    assert 'le="60.0"' not in text
    assert "(1 - 0.9995)" in text
    for rule in rules:
        if "alert" in rule:
            assert rule["annotations"]["runbook_url"] == f"https://runbooks.example/{rule['alert']}.md"
            assert rule["labels"]["team"] == "ai"
        else:
            assert "labels" not in rule
    check_rules(observed, tmp_path)


def test_without_changed_values_the_chart_ships_the_rules_as_they_are() -> None:
    plain = render({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule", "rel-coatcheck")["spec"]
    scoped = [
        rule | {"expr": rule["expr"].replace('namespace="ns",job="rel"', 'job="coatcheck"')} for rule in rules_of(plain)
    ]
    shipped = [rule | {"expr": rule["expr"].replace("(1 - 0.990)", "(1 - 0.99)")} for rule in RULES]
    assert scoped == sorted(shipped, key=lambda rule: "alert" in rule)
