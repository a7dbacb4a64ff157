"""Decodes the image inside a data URL, page by page. The file is hostile until proven otherwise."""

import base64
import binascii
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps

from workers.providers.local.task import invalid

MAX_PIXELS = 40_000_000
"""Per page: an A4 page at 600 dpi. Decoded it takes 120 MB."""
READ_SIDE = 2000
"""Pixels of the longer side that are read; a larger page is shrunk to it, as its text is then large enough."""
MAX_PAGES = 32
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_USUAL_DPI = 72
_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its size as sent, and its pixels, shrunk and upright, as (rows, columns, 3) bytes with blue first."""

    index: int
    width: int
    height: int
    dpi: int
    pixels: np.ndarray


def data_of(url: str) -> bytes:
    """The bytes of a base64 data URL. Raises ProviderError for any other URL: a worker fetches nothing for a client."""
    if not url.startswith("data:"):
        raise invalid("field 'document': a local model fetches no URLs, send the image as data:image/png;base64,...")
    head, comma, payload = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise invalid("field 'document': expected a data URL in base64, such as data:image/png;base64,...")
    if head.startswith("data:application/pdf"):
        raise invalid("field 'document': this model reads images, not PDF: send each page as an image")
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        raise invalid("field 'document': the data URL is not valid base64") from None


def pages(file: bytes, wanted: list[int] | None) -> Iterator[Page]:
    """The pages of an image file: all frames of a TIFF, the first frame of any other. Raises ProviderError."""
    image = _open(file)
    count = min(getattr(image, "n_frames", 1), MAX_PAGES + 1) if image.format == "TIFF" else 1
    if count > MAX_PAGES:
        raise invalid(f"field 'document': more than {MAX_PAGES} pages")
    for index in range(count):
        if wanted is None or index in wanted:
            yield _page(image, index)


def _open(file: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(file), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large() from None
    except Exception:  # decoders fail in many ways on a file that is none
        raise invalid(f"field 'document': not an image of type {', '.join(_FORMATS)}") from None


def _page(image: Image.Image, index: int) -> Page:
    try:
        if index:
            image.seek(index)
        width, height = image.size  # from the header: nothing is decoded yet
        if width * height > MAX_PIXELS:
            raise _too_large()
        if image.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE:
            width, height = height, width
        return Page(index, width, height, _dpi(image), _pixels(image))
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError):
        raise invalid(f"field 'document': page {index} of the image cannot be decoded") from None


def _pixels(image: Image.Image) -> np.ndarray:
    image.draft("RGB", (READ_SIDE, READ_SIDE))  # lets a large JPEG decode at a fraction of its size
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    upright = upright.convert("RGB")
    upright.thumbnail((READ_SIDE, READ_SIDE))
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])


def _dpi(image: Image.Image) -> int:
    dpi = round(float(image.info.get("dpi", (_USUAL_DPI,))[0]))
    return dpi if dpi > 1 else _USUAL_DPI  # 1 is what files say that do not know


def _too_large() -> Exception:
    return invalid(f"field 'document': the image has more than {MAX_PIXELS // 1_000_000} million pixels")
