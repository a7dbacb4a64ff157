"""`python -m tests.next_version edge|worker|reaper ...`: a component of the version after this one.

It writes documents of the next version, with a field that this version does not know, and claims both versions.
"""

from __future__ import annotations

from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from shared.domain import job


def become_the_next_version() -> None:
    """Bump the document's version, before anything reads it, and give a document a field that comes with the next one.

    Nothing here may import the metrics client: the edge first chooses where its counts are kept.
    """
    vars(job)["DOCUMENT_VERSION"] = job.DOCUMENT_VERSION + 1

    from shared.mongo.documents import codec  # noqa: PLC0415 - takes the version that was just set

    encode = codec.encode_new

    def with_a_new_field(*arguments: Any) -> bytes:
        document: dict[str, Any] = {**RawBSONDocument(encode(*arguments)), "priority": {"class": "next", "weight": 7}}
        return bson.encode(document)

    vars(codec)["encode_new"] = with_a_new_field


if __name__ == "__main__":
    become_the_next_version()

    from coatcheck.cli.main import main

    main()
