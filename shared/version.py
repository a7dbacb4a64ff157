from importlib import metadata


def version() -> str:
    """The one that is installed, or "unknown"."""
    try:
        return metadata.version("coatcheck")
    except metadata.PackageNotFoundError:
        return "unknown"
