"""The faults that a mixed drill of a whole cluster draws from."""

from __future__ import annotations

from coatcheck.drill.plan import Draw

EVERYBODY = ("worker", "edge", "keeper", "broker", "mongod")
CLOCK = (-600.0, 600.0)


MIXED_CLUSTER = (
    *(Draw(component) for component in EVERYBODY),
    *(Draw(component, "term") for component in EVERYBODY),
    *(Draw(component, "freeze", lasts=(3.0, 15.0)) for component in EVERYBODY),
    Draw("mongod", "step-down", "primary", lasts=(5.0, 8.0)),
    Draw("mongod", "kill", "primary", lasts=(1.0, 10.0)),
    Draw("mongod", "freeze", "primary", lasts=(5.0, 20.0)),
    Draw("mongod", "cut", "primary", lasts=(5.0, 20.0), peer="mongod*"),
    Draw("mongod", "cut", lasts=(5.0, 20.0), peer="edge*"),
    Draw("mongod", "delay", lasts=(5.0, 15.0), amounts=(0.2, 1.0, 10.0)),
    Draw("mongod", "reset", lasts=(0.2, 2.0)),
    Draw("mongod", "wipe"),
    Draw("mongod", "disk-full", 2, (20.0, 70.0)),
    Draw("worker", "cut", lasts=(5.0, 20.0), peer="mongod*"),
    Draw("worker", "cut", lasts=(5.0, 20.0), peer="broker*"),
    Draw("worker", "delay", lasts=(5.0, 15.0), peer="mongod*", amounts=(0.2, 1.0, 10.0)),
    Draw("worker", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("edge", "cut", lasts=(5.0, 20.0), peer="broker*"),
    Draw("edge", "reset", lasts=(0.2, 2.0), peer="client"),
    Draw("edge", "truncate", lasts=(0.2, 2.0), peer="client"),
    Draw("edge", "delay", lasts=(5.0, 15.0), peer="client", amounts=(0.2, 1.0)),
    Draw("edge", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("keeper", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("broker", "wipe"),
    Draw("broker", "cut", lasts=(5.0, 20.0)),
    Draw("broker", "delay", lasts=(5.0, 15.0), amounts=(0.2, 1.0, 10.0)),
    Draw("broker", "reset", lasts=(0.2, 2.0)),
    Draw("broker", "poison"),
)
