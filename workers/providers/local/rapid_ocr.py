"""PP-OCRv6 small on ONNX Runtime: what `local/rapidocr` reads with."""

from typing import Any

from rapidocr import RapidOCR

from shared.schemas import Ocr
from workers.providers.base import Answer
from workers.providers.local.image import READ_SIDE, Page, data_of, pages
from workers.providers.local.package_files import package_directory
from workers.providers.local.reading_order import markdown
from workers.providers.local.task import Task, invalid, json_answer


class RapidOcr:
    """Finds lines of text in an image and reads them."""

    def __init__(self, threads: int) -> None:
        # Paths and not names: the library downloads what it is not given.
        weights = package_directory("rapidocr") / "models"
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.model_path": str(weights / "PP-OCRv6_det_small.onnx"),
                "Det.limit_type": "max",  # the other way enlarges every small image: five times slower, no better
                "Det.limit_side_len": READ_SIDE,
                "Rec.model_path": str(weights / "PP-OCRv6_rec_small.onnx"),
                "Cls.model_path": str(weights / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def answer(self, task: Task) -> Answer:
        """Reads the image of the request's data URL."""
        request = task.json(Ocr)
        file = data_of(_url(request))
        found: list[dict[str, Any]] = []
        for page in pages(file, request.pages):
            task.stop_if_abandoned()
            found.append(self._read(page))
        return json_answer(
            {
                "model": task.call.model,
                "pages": found,
                "usage_info": {"pages_processed": len(found), "doc_size_bytes": len(file)},
            }
        )

    def _read(self, page: Page) -> dict[str, Any]:
        found = self._engine(page.pixels)
        text = "" if found.txts is None else markdown(found.boxes.tolist(), found.txts)
        dimensions = {"dpi": page.dpi, "height": page.height, "width": page.width}
        return {"index": page.index, "markdown": text, "images": [], "dimensions": dimensions}


def load(threads: int) -> RapidOcr:
    """Prepares the networks; they load with the first image."""
    return RapidOcr(threads)


def _url(request: Ocr) -> str:
    if request.document_annotation_format or request.document_annotation_prompt or request.bbox_annotation_format:
        raise invalid("document annotations need a language model: this model gives the text only")
    document = request.document
    url = document and (document.document_url if document.type == "document_url" else document.image_url)
    if not url:
        raise invalid("field 'document': expected type document_url or image_url, and that URL")
    return url
