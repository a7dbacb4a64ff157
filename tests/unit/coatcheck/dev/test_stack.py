"""What `MODELS=` means to the stack, and what its options never show."""

from __future__ import annotations

import pytest

from coatcheck.dev import stack
from coatcheck.dev.stack import BadOption, DevOptions, chosen_models
from shared.providers.local_models import LOCAL_MODELS, LocalModel


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "installed_models", lambda: list(LOCAL_MODELS))
    monkeypatch.setattr(stack, "missing_packages", lambda model: [])


@pytest.mark.usefixtures("everything_installed")
def test_the_default_models_are_served_without_asking_and_extras_on_request() -> None:
    default = {model.id for model in LOCAL_MODELS if not model.extra}
    assert set(chosen_models("")) == default
    assert set(chosen_models("ocr, chat")) == default | {"rapidocr", "smollm2-135m-demo"}
    assert set(chosen_models("all")) == {model.id for model in LOCAL_MODELS}
    assert chosen_models("none") == ()


@pytest.mark.usefixtures("everything_installed")
def test_an_unknown_extra_is_refused_with_the_choices() -> None:
    with pytest.raises(BadOption, match="'vision' is not one of speech, transcription, ocr, chat, all, none"):
        chosen_models("vision")


def test_an_extra_that_is_not_installed_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(model: LocalModel) -> list[str]:
        return ["hibari-tts"] if model.extra == "speech" else []

    monkeypatch.setattr(stack, "missing_packages", missing)
    with pytest.raises(BadOption, match=r"not installed \(hibari-tts\): make run MODELS=speech"):
        chosen_models("speech")


def test_the_password_of_a_database_is_not_shown() -> None:
    assert "hunter2" not in repr(DevOptions(mongodb_uri="mongodb://me:hunter2@db/"))
