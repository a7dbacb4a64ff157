"""The models' own code, one module each, loaded in the model's process alone."""

from importlib.util import find_spec
from pathlib import Path


def package_directory(module: str) -> Path:
    """The directory of an installed package, without importing it. Raises FileNotFoundError when it is not there."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {module} is not installed")
    return Path(spec.submodule_search_locations[0])
