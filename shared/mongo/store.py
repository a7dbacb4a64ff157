"""The store on MongoDB: one object with every verb of `shared.store`."""

from __future__ import annotations

from shared.mongo.client import Database
from shared.mongo.edge_store import EdgeVerbs
from shared.mongo.fleet_store import FleetVerbs
from shared.mongo.keeper_store import KeeperVerbs
from shared.settings import Settings


class MongoStore(EdgeVerbs, FleetVerbs, KeeperVerbs):
    """Implements EdgeStore, FleetStore and KeeperStore over one connection."""

    def __init__(self, database: Database, settings: Settings) -> None:
        EdgeVerbs.__init__(self, database)
        FleetVerbs.__init__(self, database, settings)
        KeeperVerbs.__init__(self, database, settings)
