"""PP-OCRv6 small on ONNX Runtime: what `local/rapidocr` reads with. Files are hostile."""

import base64
import binascii
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from rapidocr import RapidOCR

from shared.domain.schemas import Ocr
from workers.error_classification import bad_request
from workers.local_models.engines import package_directory
from workers.local_models.engines.reading_order import markdown
from workers.local_models.requests.task import Task, json_answer
from workers.provider_interface import Answer

_MAX_PIXELS = 40_000_000
"""Per page: an A4 page at 600 dpi. Decoded it takes 120 MB."""
_READ_SIDE = 2000
"""Pixels of the longer side that are read; a larger page is shrunk to it, as its text is then large enough."""
_MAX_PAGES = 32
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_USUAL_DPI = 72
_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class _Page:
    """One page: its size as sent, and its pixels, shrunk and upright, as (rows, columns, 3) bytes with blue first."""

    index: int
    width: int
    height: int
    dpi: int
    pixels: np.ndarray


class RapidOcr:
    def __init__(self, threads: int) -> None:
        # Paths and not names: the library downloads what it is not given.
        weights = package_directory("rapidocr") / "models"
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.model_path": str(weights / "PP-OCRv6_det_small.onnx"),
                "Det.limit_type": "max",  # the other way enlarges every small image: five times slower, no better
                "Det.limit_side_len": _READ_SIDE,
                "Rec.model_path": str(weights / "PP-OCRv6_rec_small.onnx"),
                "Cls.model_path": str(weights / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def answer(self, task: Task) -> Answer:
        request = task.json(Ocr)
        file = _data_of(_url(request))
        found: list[dict[str, Any]] = []
        for page in _pages(file, request.pages):
            task.stop_if_abandoned()
            found.append(self._read(page))
        usage = {"pages_processed": len(found), "doc_size_bytes": len(file)}
        return json_answer({"model": task.call.model, "pages": found, "usage_info": usage})

    def _read(self, page: _Page) -> dict[str, Any]:
        found = self._engine(page.pixels)
        text = "" if found.txts is None else markdown(found.boxes.tolist(), found.txts)
        dimensions = {"dpi": page.dpi, "height": page.height, "width": page.width}
        return {"index": page.index, "markdown": text, "images": [], "dimensions": dimensions}


load = RapidOcr  # the networks load with the first image


def _url(request: Ocr) -> str:
    if request.document_annotation_format or request.document_annotation_prompt or request.bbox_annotation_format:
        raise bad_request("document annotations need a language model: this model gives the text only")
    document = request.document
    url = document and (document.document_url if document.type == "document_url" else document.image_url)
    if not url:
        raise bad_request("field 'document': expected type document_url or image_url, and that URL")
    return url


def _data_of(url: str) -> bytes:
    """The bytes of a base64 data URL. Raises ProviderError for any other URL: a worker fetches nothing for a client."""
    if not url.startswith("data:"):
        raise bad_request(
            "field 'document': a local model fetches no URLs, send the image as data:image/png;base64,..."
        )
    head, comma, payload = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise bad_request("field 'document': expected a data URL in base64, such as data:image/png;base64,...")
    if head.startswith("data:application/pdf"):
        raise bad_request("field 'document': this model reads images, not PDF: send each page as an image")
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        raise bad_request("field 'document': the data URL is not valid base64") from None


def _pages(file: bytes, wanted: list[int] | None) -> Iterator[_Page]:
    """The pages of an image file: all frames of a TIFF, the first frame of any other. Raises ProviderError."""
    image = _open(file)
    count = min(getattr(image, "n_frames", 1), _MAX_PAGES + 1) if image.format == "TIFF" else 1
    if count > _MAX_PAGES:
        raise bad_request(f"field 'document': more than {_MAX_PAGES} pages")
    for index in range(count):
        if wanted is None or index in wanted:
            yield _page(image, index)


def _open(file: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(file), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large() from None
    except Exception:  # decoders fail in many ways on a file that is none
        raise bad_request(f"field 'document': not an image of type {', '.join(_FORMATS)}") from None


def _page(image: Image.Image, index: int) -> _Page:
    try:
        if index:
            image.seek(index)
        width, height = image.size  # from the header: nothing is decoded yet
        if width * height > _MAX_PIXELS:
            raise _too_large()
        if image.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE:
            width, height = height, width
        return _Page(index, width, height, _dpi(image), _pixels(image))
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError):
        raise bad_request(f"field 'document': page {index} of the image cannot be decoded") from None


def _pixels(image: Image.Image) -> np.ndarray:
    image.draft("RGB", (_READ_SIDE, _READ_SIDE))  # lets a large JPEG decode at a fraction of its size
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    upright = upright.convert("RGB")
    upright.thumbnail((_READ_SIDE, _READ_SIDE))
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])


def _dpi(image: Image.Image) -> int:
    dpi = round(float(image.info.get("dpi", (_USUAL_DPI,))[0]))
    return dpi if dpi > 1 else _USUAL_DPI  # 1 is what files say that do not know


def _too_large() -> Exception:
    return bad_request(f"field 'document': the image has more than {_MAX_PIXELS // 1_000_000} million pixels")
