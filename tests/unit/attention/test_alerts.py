"""The alert rules name metrics, labels, findings, runbooks and commands that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from prometheus_client.core import Metric

import steelyard
from steelyard import main
from steelyard.attention.metrics import FleetMetrics
from steelyard.operations.reconciling import ReconcilerStatus
from steelyard.web.metrics import Metrics

from .conftest import Bench, status
from .promql import parse

ROOT = Path(__file__).parents[3]
SOURCE = Path(steelyard.__file__).parent
GROUPS = yaml.safe_load((ROOT / "packaging" / "alerts" / "steelyard.rules.yaml").read_text())["groups"]
RULES = [pytest.param(rule, id=rule["alert"]) for group in GROUPS for rule in group["rules"]]
PROMETHEUS_OWN = {"up": {"job", "instance"}}
"""What Prometheus adds itself."""


@pytest.fixture
def offered(bench: Bench, tmp_path: Path) -> dict[str, Metric]:
    """Every metric that the server offers, by the names of its samples."""
    statuses: list[ReconcilerStatus] = [status()]
    bench.reconcilers.statuses = statuses
    metrics = Metrics(tmp_path / "token")
    FleetMetrics(metrics.registry, store=bench.store, reconcilers=bench.reconcilers, replica="a")
    found: dict[str, Metric] = {}
    for metric in metrics.registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        found |= {metric.name + ending: metric for ending in endings}
    return found


@cache
def labels_of(name: str) -> set[str]:
    """The labels that the code gives a metric, read from it: a metric without samples does not tell."""
    for path in (SOURCE / "attention" / "metrics.py", SOURCE / "web" / "metrics.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                lists = [each for each in node.args if isinstance(each, ast.List)]
                if node.args[0].value == name and lists:
                    return set(ast.literal_eval(lists[0]))
    raise AssertionError(f"{name} is made nowhere")


@pytest.mark.parametrize("rule", RULES)
def test_its_expression_names_what_there_is(rule: dict[str, Any], offered: dict[str, Metric]) -> None:
    parsed = parse(rule["expr"])
    assert parsed.metrics
    known: set[str] = set()
    for name, matchers in parsed.metrics:
        if name in PROMETHEUS_OWN:
            labels = PROMETHEUS_OWN[name]
        else:
            assert name in offered, f"there is no metric {name}"
            labels = labels_of(offered[name].name)
        assert set(matchers) <= labels, f"{name} has no labels {set(matchers) - labels}"
        known |= labels
    assert parsed.labels <= known


def kinds_of_findings() -> set[str]:
    """Every text in the code that could be a finding's kind."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        found |= set(re.findall(r'"([a-z]+\.[a-z_]+)"', path.read_text()))
        if path == SOURCE / "lifecycle" / "guard.py":  # there the room's name is put before it
            found |= {f"lifecycle.{word}" for word in re.findall(r'"([a-z_]+)"', path.read_text())}
    return found


@pytest.mark.parametrize("rule", RULES)
def test_the_findings_that_it_names_are_made(rule: dict[str, Any]) -> None:
    for name, matchers in parse(rule["expr"]).metrics:
        if name == "steelyard_findings":
            assert set(matchers["kind"][1].split("|")) <= kinds_of_findings()


@pytest.mark.parametrize("rule", RULES)
def test_it_says_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Steelyard[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "next"}
    assert notes["summary"].endswith(".")
    document, _, anchor = notes["runbook_url"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / document).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


@pytest.mark.parametrize("rule", RULES)
def test_its_next_command_can_be_typed(rule: dict[str, Any]) -> None:
    program, name, *words = rule["annotations"]["next"].split()
    assert program == "steelyard"
    found: Any = typer.main.get_command(main._load(name))  # type: ignore[arg-type]
    if words and not words[0].startswith("-") and hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    options = {each for parameter in found.params for each in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_every_alert_has_a_name_of_its_own_and_the_runbooks_are_all_of_alerts() -> None:
    names = [rule["alert"] for group in GROUPS for rule in group["rules"]]
    assert len(names) == len(set(names)) >= 8
    document = (ROOT / "docs" / "monitoring.md").read_text()
    assert re.findall(r"^### (Steelyard\w+)$", document, re.MULTILINE) == names


@pytest.mark.parametrize(
    "wrong",
    [
        "", "max(steelyard_x", "max(a))", "a >", "a b", "rate(a)", "a[5m]", "sum by kind (a)", 'a{b="c}', "a{b=c}",
        "increase(a[5])", "a offset 5", "a and", "(a", "a ! b", "max by () (a)", "time(a)", "by (a)",
    ],
)  # fmt: skip
def test_the_parser_is_strict(wrong: str) -> None:
    with pytest.raises(ValueError):
        parse(wrong)
