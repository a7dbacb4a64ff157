"""The version of this distribution, in one place for the package and its metadata."""

VERSION = "0.2.0"
