"""The store on MongoDB: one object with every verb of `shared.domain.store_interface`."""

from __future__ import annotations

from shared.mongo.connection.client import Database
from shared.mongo.edge_store import MongoEdgeStore
from shared.mongo.reaper_store import MongoReaperStore
from shared.mongo.worker_store import MongoWorkerStore
from shared.settings.table import Settings


class MongoStore(MongoEdgeStore, MongoWorkerStore, MongoReaperStore):
    def __init__(self, database: Database, settings: Settings) -> None:
        MongoEdgeStore.__init__(self, database)
        MongoWorkerStore.__init__(self, database, settings)
        MongoReaperStore.__init__(self, database, settings)
