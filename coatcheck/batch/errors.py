"""Why a batch cannot begin or go on:

BatchError
├── BadInput   the files are not what they should be; nothing was submitted
└── Stopped    it ended early; what is written stays, and the same command goes on from there
"""

from __future__ import annotations


class BatchError(Exception):
    """Base of both; the message is for the person at the shell."""


class BadInput(BatchError):
    """The input, output or errors file is not usable as it is."""


class Stopped(BatchError):
    """The batch ended before its last line."""
