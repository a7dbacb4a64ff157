"""The table of local models: what is said about each, and what is said of one that cannot answer."""

from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.domain.catalogue import BY_TYPE
from shared.providers import local_models
from shared.providers.local_models import (
    EXTRAS,
    LOCAL_MODELS,
    installed,
    installed_models,
    missing_packages,
    why_unavailable,
)
from shared.settings.table import Settings
from tests.unit.workers.local_models.calls import json_call
from workers.local_models import provider
from workers.local_models.provider import LocalProvider
from workers.provider_interface import ProviderError
from workers.provider_registry import open_providers


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any package of any model."""

    def find(module: str) -> ModuleSpec | None:
        return None if any(module in model.packages.values() for model in LOCAL_MODELS) else find_spec(module)

    local_models._module_is_here.cache_clear()
    monkeypatch.setattr(local_models, "find_spec", find)
    yield
    local_models._module_is_here.cache_clear()


def test_the_provider_runs_every_model_of_the_table() -> None:
    assert set(provider._MODULES) == {model.id for model in LOCAL_MODELS}


def test_every_request_type_exists_and_has_one_model_at_most() -> None:
    served = [request_type for model in LOCAL_MODELS for request_type in model.request_types]
    assert set(served) <= set(BY_TYPE)
    assert len(served) == len(set(served))


def test_only_images_have_no_local_model() -> None:
    served = {request_type for model in LOCAL_MODELS for request_type in model.request_types}
    assert set(BY_TYPE) - served == {"image_generation", "image_edit", "image_variation"}


def test_extras_are_what_make_run_takes() -> None:
    assert EXTRAS == ("speech", "transcription", "ocr", "chat")


def test_the_default_models_are_installed_here() -> None:
    assert installed("minilm")
    assert installed("minilm-biencoder")
    assert {"minilm", "minilm-biencoder"} <= {model.id for model in installed_models()}
    assert why_unavailable("embedding", "minilm") is None


def test_an_id_that_is_none_is_not_installed() -> None:
    assert not installed("gpt-4o")


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("model", LOCAL_MODELS, ids=lambda model: model.id)
def test_a_model_that_is_not_installed_names_its_packages_and_what_to_do_on_the_worker(
    model: local_models.LocalModel,
) -> None:
    assert not installed(model.id)
    assert installed_models() == []
    assert missing_packages(model) == list(model.packages)
    reason = why_unavailable(model.request_types[0], model.id)
    assert reason is not None
    assert all(package in reason for package in model.packages)
    command = f"make run MODELS={model.extra}" if model.extra else "make run"
    assert reason.endswith(f"run `{command}`")
    assert f"install {' and '.join(model.lock_files)} there, or list what is there in COATCHECK_LOCAL_MODELS" in reason


@pytest.mark.parametrize("model", LOCAL_MODELS, ids=lambda model: model.id)
def test_the_lock_files_of_a_model_hold_its_packages(model: local_models.LocalModel) -> None:
    locked = "\n".join((Path(__file__).parents[4] / file).read_text() for file in model.lock_files)
    assert all(f"\n{package}==" in locked for package in model.packages)


@pytest.mark.usefixtures("nothing_installed")
async def test_a_worker_says_at_its_start_which_listed_models_are_not_installed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_providers(Settings(local_models=("minilm", "rapidocr")), environ={}):
        pass
    assert "COATCHECK_LOCAL_MODELS lists minilm, rapidocr, not installed here: such jobs fail" in caplog.text


@pytest.mark.parametrize("request_type", ["image_generation", "image_edit", "image_variation"])
def test_images_say_why_there_is_no_model(request_type: str) -> None:
    reason = why_unavailable(request_type, "dall-e")
    assert reason is not None
    assert "no model that makes images ships inside a package" in reason


def test_a_wrong_model_names_the_right_one() -> None:
    assert why_unavailable("rerank", "minilm") == (
        "'local/minilm' is no local model for rerank: use local/minilm-biencoder"
    )
    assert "use local/hibari-heart" in (why_unavailable("speech", "x" * 10_000) or "")
    assert len(why_unavailable("speech", "x" * 10_000) or "") < 300


@pytest.mark.parametrize(("request_type", "model"), [("image_edit", "x"), ("embedding", "minilm-large")])
async def test_an_unavailable_model_is_a_lasting_error_with_the_reason(request_type: str, model: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await LocalProvider().call(json_call(request_type, model, {}))
    error = caught.value
    assert (error.status_code, error.retryable, error.error_type) == (404, False, "caller_model_not_available")
    assert error.message == why_unavailable(request_type, model)
