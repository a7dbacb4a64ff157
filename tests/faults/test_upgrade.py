"""This version and the next one side by side, with every process restarted in turn under load."""

from __future__ import annotations

import sys

from coatcheck.drill.bounds import Bound
from coatcheck.drill.cluster import Setup, Size
from coatcheck.drill.plan import Draw
from coatcheck.drill.run import DrillOptions, drill
from coatcheck.drill.scenario import Scenario

NEXT = (sys.executable, "-m", "tests.next_version")
UPGRADE = Scenario(
    "rolling-upgrade",
    "one process of each component speaks the next version of the document",
    tuple(Draw(component, "term", lasts=(0.2, 0.2)) for component in ("worker", "edge", "keeper")),
    (Bound("errors", most=0), Bound("failed", most=0)),
    shape="in turn",
    jobs=400,
    seconds=30.0,
)


async def test_two_versions_share_a_database_and_each_takes_what_it_understands() -> None:
    commands = {"edge1": NEXT, "worker1": NEXT, "keeper1": NEXT}
    setup = Setup(Size(edges=2, workers=2, keepers=2), commands=commands)
    report = await drill(DrillOptions(UPGRADE, seed=3, setup=setup), print)
    assert report.verdict.passed, report.lines()
    assert report.verdict.completed == 400
    assert report.verdict.repeated_calls <= 20  # calls that a stopping worker gave back
