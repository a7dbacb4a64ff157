"""Text in rendered images, read by the real model."""

import pytest
from PIL import Image, ImageOps

from tests.integration.local.sent import INVOICE, failure_of, ocr_call, png, rendered
from tests.unit.workers.local_models.calls import decoded, json_call
from workers.local_models.provider import LocalProvider


@pytest.mark.parametrize("angle", [0, 3])
async def test_a_rendered_page_is_read_line_by_line(provider: LocalProvider, angle: float) -> None:
    file = png(rendered(INVOICE, angle=angle))
    result = decoded(await provider.call(ocr_call(file)))
    [page] = result["pages"]
    assert page["markdown"].split("\n") == INVOICE
    assert result["model"] == "rapidocr"
    assert result["usage_info"] == {"pages_processed": 1, "doc_size_bytes": len(file)}
    if not angle:
        assert page["dimensions"] == {"dpi": 72, "height": 480, "width": 800}


async def test_an_image_on_its_side_or_see_through_is_read_too(provider: LocalProvider) -> None:
    line = rendered(["Punched cards"])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right by whoever shows it
    turned = png(line.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, dpi=(300, 300))
    [page] = decoded(await provider.call(ocr_call(turned, type="document_url", media_type="image/jpeg")))["pages"]
    assert page["markdown"] == "Punched cards"
    assert page["dimensions"] == {"dpi": 300, "height": line.height, "width": line.width}
    clear = Image.new("RGBA", line.size, "black")
    clear.putalpha(ImageOps.invert(line.convert("L")))
    [page] = decoded(await provider.call(ocr_call(png(clear))))["pages"]
    assert page["markdown"] == "Punched cards"


async def test_the_pages_of_a_tiff_are_read_and_chosen(provider: LocalProvider) -> None:
    sheets = [rendered([name]) for name in ("Alpha", "Bravo", "Charlie")]
    file = png(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
    result = decoded(await provider.call(ocr_call(file, media_type="image/tiff", pages=[0, 2])))
    assert [(page["index"], page["markdown"]) for page in result["pages"]] == [(0, "Alpha"), (2, "Charlie")]


async def test_an_empty_page_has_no_text(provider: LocalProvider) -> None:
    [page] = decoded(await provider.call(ocr_call(png(Image.new("RGB", (300, 200), "white")))))["pages"]
    assert page["markdown"] == ""


async def test_a_document_that_cannot_be_read_is_refused_with_the_reason(provider: LocalProvider) -> None:
    page = png(rendered(INVOICE))
    cases = [
        (ocr_call(page[: len(page) // 2]), "cannot be decoded"),
        (ocr_call(b"GIF89a"), "not an image"),
        (ocr_call(b"%PDF-1.7", type="document_url", media_type="application/pdf"), "not PDF"),
        (ocr_call(png(Image.new("1", (6500, 6500)))), "40 million pixels"),
        (ocr_call(png(Image.new("1", (14000, 14000)))), "40 million pixels"),
        (ocr_call(page, document_annotation_prompt="sum it up"), "annotations"),
    ]
    for url in ("https://example.com/a.png", "file:///etc/hostname", "/etc/hostname"):
        document = {"type": "image_url", "image_url": url}
        cases.append((json_call("ocr", "rapidocr", {"document": document}), "fetches no URLs"))
    document = {"type": "image_url", "image_url": "data:image/png;base64,AA!A"}
    cases.append((json_call("ocr", "rapidocr", {"document": document}), "not valid base64"))
    for call, words in cases:
        error = await failure_of(provider, call)
        assert (error.status_code, error.retryable) == (400, False)
        assert words in error.message
