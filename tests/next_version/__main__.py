"""`python -m tests.next_version edge|worker|keeper ...`: a component of the version after this one.

It writes documents of the next version, with a field that this version does not know, and claims both versions.
"""

from __future__ import annotations

from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from coatcheck.cli.main import main
from shared import job
from shared.mongo import codec, moves


def become_the_next_version() -> None:
    """Bump the document's version, and give it a field that comes with the next one."""
    for module in (codec, moves, job):
        vars(module)["DOCUMENT_VERSION"] = job.DOCUMENT_VERSION + 1
    encode = codec.encode_new

    def with_a_new_field(*arguments: Any) -> bytes:
        document: dict[str, Any] = {**RawBSONDocument(encode(*arguments)), "priority": {"class": "next", "weight": 7}}
        return bson.encode(document)

    vars(codec)["encode_new"] = with_a_new_field


if __name__ == "__main__":
    become_the_next_version()
    main()
