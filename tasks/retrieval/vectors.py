"""Search by meaning: vectors of any OpenAI-compatible /v1/embeddings, this project's own gateway's among them."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ConfigError, TransientError
from tasks.core.params.retrieval import VectorParams

URL, API_KEY = "TUNEGATE_VECTORS_URL", "TUNEGATE_VECTORS_API_KEY"
TIMEOUT_S = 30.0
BATCH = 32
Vectors = npt.NDArray[np.float32]


class Embedder:
    """Makes vectors of texts.

    Args:
        params: section `index.vectors`.
        url: of the endpoint, without /v1.
        key: bearer token, where it asks for one.
    """

    def __init__(self, params: VectorParams, url: str, key: str | None = None) -> None:
        self.params, self._url, self._key = params, url, key

    def of_passages(self, texts: list[str]) -> Vectors:
        """Return unit vectors of passages; shape (texts, dimensions)."""
        prefixed = [self.params.passage_prefix + text for text in texts]
        batches = [prefixed[start : start + BATCH] for start in range(0, len(prefixed), BATCH)]
        return np.concatenate([self._asked(batch) for batch in batches])

    def of_question(self, text: str) -> Vectors:
        """Return the unit vector of a question; shape (dimensions,)."""
        vector: Vectors = self._asked([self.params.query_prefix + text])[0]
        return vector

    def _asked(self, texts: list[str]) -> Vectors:
        """Return unit vectors; shape (texts, dimensions).

        Raises:
            TransientError: the endpoint does not answer, or not with a vector of numbers for each text.
        """
        body = json.dumps({"model": self.params.model, "input": texts, "encoding_format": "float"}).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(f"{self._url}/v1/embeddings", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return _unit(json.load(answer), len(texts))
        except (urllib.error.URLError, TimeoutError, ValueError, KeyError, TypeError) as error:
            message = f"the embedding model {self.params.model} at {self._url} gives no vectors: {error}"
            raise TransientError(message, f"curl {self._url}/v1/models; or set index.vectors: null") from error


def embedder_of(params: VectorParams | None) -> Embedder | None:
    """Return what makes vectors; None where the settings ask for none.

    Raises:
        ConfigError: they do, and the environment names no address.
    """
    if params is None:
        return None
    url = os.environ.get(URL, "").rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"index.vectors names the model {params.model}, but {URL} is no http(s) address",
            f"export {URL}=https://... (and {API_KEY}), or set index.vectors: null",
        )
    return Embedder(params, url, os.environ.get(API_KEY))


def _unit(answer: Any, count: int) -> Vectors:
    """Return an answer's vectors with length 1, in the order of the texts.

    Raises:
        ValueError: there is not one for each text, or one is no direction.
    """
    rows = sorted(answer["data"], key=lambda row: row["index"])
    vectors = np.asarray([row["embedding"] for row in rows], dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True) if vectors.ndim == 2 else np.zeros(1)
    if len(vectors) != count or not np.isfinite(vectors).all() or not (lengths > 0).all():
        raise ValueError(f"{len(vectors)} vectors for {count} texts, or one that is no direction")
    unit: Vectors = vectors / lengths
    return unit
