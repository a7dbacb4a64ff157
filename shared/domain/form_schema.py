"""The multipart bodies of the three upload request types: which parts are files or text, and what is required."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

COMMON_TEXTS = frozenset({"model", "fallbacks", "stream"})
_INTEGER = re.compile("-?[0-9]+")


@dataclass(frozen=True, slots=True)
class FormSchema:
    """One multipart request type. `integers`: those of the `texts` that must hold one."""

    files: tuple[str, ...]
    """Names under which the main file may come, most preferred first."""
    file_noun: str
    texts: frozenset[str]
    integers: frozenset[str] = frozenset()
    other_files: frozenset[str] = frozenset()
    requires: Callable[[Mapping[str, str]], str | None] = lambda _texts: None

    @property
    def known(self) -> frozenset[str]:
        return COMMON_TEXTS | self.texts | self.other_files | frozenset(self.files)

    def problem(self, texts: Mapping[str, str], files: Sequence[str]) -> str | None:
        """What is wrong with a parsed form, in words for the client; `files` are the names of the file parts."""
        if not any(name in files for name in self.files):
            names = " or ".join(f"'{name}'" for name in self.files)
            return f"file part {names} is missing: expected {self.file_noun} as a file upload, not a text part"
        for name in sorted(self.integers & texts.keys()):
            if not _INTEGER.fullmatch(texts[name]):
                return f"field '{name}' must be an integer, got '{texts[name][:40]}'"
        return self.requires(texts)


def _edit_requires(texts: Mapping[str, str]) -> str | None:
    if texts.get("prompt") or texts.get("type") == "background_removal":
        return None
    return "field 'prompt' is missing or empty: expected a text that says what to change"


TRANSCRIPTION = FormSchema(
    files=("file",),
    file_noun="the audio",
    # The provider needs the last five too; without them the most used options would be lost as extra parameters.
    texts=frozenset(
        {"language", "prompt", "response_format"}
        | {"temperature", "timestamp_granularities[]", "timestamp_granularities", "include[]", "chunking_strategy"}
    ),
)

IMAGE_EDIT = FormSchema(
    files=("image[]", "image"),
    file_noun="an image",
    texts=frozenset(
        {"prompt", "n", "size", "quality", "background", "input_fidelity", "output_format", "response_format", "user"}
        | {"negative_prompt", "type", "aspect_ratio", "partial_images", "num_inference_steps", "seed"}
        | {"output_compression"}
    ),
    integers=frozenset({"n", "partial_images", "num_inference_steps", "seed", "output_compression"}),
    other_files=frozenset({"mask"}),
    requires=_edit_requires,
)

IMAGE_VARIATION = FormSchema(
    files=("image[]", "image"),
    file_noun="an image",
    texts=frozenset({"n", "size", "response_format", "user"}),
    integers=frozenset({"n"}),
)
