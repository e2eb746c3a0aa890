"""The alert rules, the dashboard and the manifest for KEDA use only metrics, labels and functions that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from horsies.metrics.values import Metric
from horsies.monitoring.metrics import CLUSTER_METRICS
from horsies.worker.metrics import WORKER_METRICS
from tests.support.factories import request, send
from tests.support.sessions import open_session, scalar

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
PAGE = FOLDER.parents[1] / "docs" / "monitoring.md"
METRICS: dict[str, Metric] = {name: each for each in (*WORKER_METRICS, *CLUSTER_METRICS) for name in each.series}
OF_PROMETHEUS = {"le", "instance", "job"}
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


def alerts() -> list[tuple[str, set[str]]]:
    """The expression of each rule, with the labels that its texts show."""
    rules = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    shown = re.compile(r"\$labels\.(\w+)")
    return [(rule["expr"], set(shown.findall(json.dumps(rule["annotations"])))) for rule in rules]


def panels() -> list[tuple[str, set[str]]]:
    """The expression of each line of the dashboard, with the labels that its legend shows."""
    board = json.loads((FOLDER / "dashboard.json").read_text())
    targets: list[dict[str, str]] = [target for panel in board["panels"] for target in panel["targets"]]
    return [(target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"]))) for target in targets]


@pytest.mark.parametrize(("expression", "shown"), [*alerts(), *panels()])
def test_every_name_and_label_exists(expression: str, shown: set[str]) -> None:
    names = re.findall(r"\bhorsies_\w+", expression)
    assert names
    assert set(names) <= METRICS.keys()
    labels = {label for name in names for label in METRICS[name].labels} | OF_PROMETHEUS
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    used = {*LABEL.findall(expression), *(label.strip() for found in grouped for label in found.split(","))}
    assert used <= labels
    assert shown <= (used if grouped else labels)


def test_the_page_lists_all_metrics_with_their_labels() -> None:
    written = set(re.findall(r"^\| `(horsies_\w+(?:{[\w,]+})?)` \|", PAGE.read_text(), re.MULTILINE))
    metrics = (*WORKER_METRICS, *CLUSTER_METRICS)
    assert written == {each.name + (f"{{{','.join(each.labels)}}}" if each.labels else "") for each in metrics}


def test_the_guide_names_existing_metrics() -> None:
    guide = PAGE.read_text().partition("## What to watch")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(horsies_\w+)", guide))
    assert len(named) > 5
    assert named <= set(METRICS)


def test_the_query_for_autoscaling_returns_one_number(database_url: str) -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "keda.yaml").read_text()))
    secret, authentication, scaled = documents
    [trigger] = scaled["spec"]["triggers"]
    [reference] = authentication["spec"]["secretTargetRef"]
    assert reference["key"] in secret["stringData"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    with open_session(database_url) as session:
        for _ in range(3):
            send(session, request())
        assert scalar(session, trigger["metadata"]["query"]) == 3
    assert int(trigger["metadata"]["targetQueryValue"]) > 0
