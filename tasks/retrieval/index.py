"""The index of a corpus: what is written, with a manifest of digests, and searching it by words and by meaning."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.digest import sha256_json, sha256_tree
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl, replaced_directory, write_jsonl
from tasks.core.layout import INDEX
from tasks.core.manifest import verify_manifest, write_manifest
from tasks.core.params.retrieval import IndexParams
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.data.privacy.desensitize import Desensitizer
from tasks.data.privacy.pseudonyms import environment_key
from tasks.retrieval.documents import Clean, read_corpus
from tasks.retrieval.lexical import Lexical
from tasks.retrieval.passages import Passage, passages_of
from tasks.retrieval.suspects import why_suspect
from tasks.retrieval.vectors import Embedder, Vectors, embedder_of
from tasks.retrieval.words import words

PASSAGES, DOCUMENTS, VECTORS = "passages.jsonl", "documents.jsonl", "vectors.npy"
LINEAGE_CHARACTERS = 16
#: How many of each side are fused, and how much a lower place counts less.
#: Source: Cormack, Clarke & Büttcher 2009, Reciprocal Rank Fusion.
DEPTH, RANK_K = 50, 60
#: What decides what an index holds, beside the corpus and the settings.
_HERE = Path(__file__).parents[2]
_CODE = (
    *(f"tasks/retrieval/{name}.py" for name in ("documents", "index", "lexical", "passages", "suspects", "words")),
    "tasks/retrieval/synonyms.json",
    "tasks/exams/pack/quantities.py", "tasks/exams/pack/spelling.py", "tasks/exams/pack/units.json",
    "tasks/core/folding.py",
)  # fmt: skip


@dataclass(frozen=True)
class Hit:
    """One passage found.

    Args:
        passage: what was found.
        score: BM25's, or the fused rank's where vectors are searched too; comparable within one question only.
        share: how much of the question, by weight, its words hold: from 0 to 1.
        similarity: cosine of its vector and the question's; None where there are no vectors.
    """

    passage: Passage
    score: float
    share: float
    similarity: float | None = None


class Index:
    """A corpus that can be searched.

    Args:
        manifest: of its folder; {} for one that was not written.
        passages: in order.
        about: document id -> title, source and version.
        lexical: search by words.
        vectors: one row a passage; None without.
        embedder: makes the vector of a question.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        passages: list[Passage],
        about: dict[str, dict[str, str]],
        lexical: Lexical,
        vectors: Vectors | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.manifest, self.passages, self.about = manifest, passages, about
        self._lexical, self._vectors, self._embedder = lexical, vectors, embedder

    @property
    def lineage_id(self) -> str:
        """Its name: changes with the corpus, the settings and the code."""
        return str(self.manifest.get("lineage_id", ""))

    @property
    def digest(self) -> str:
        """Digest of its manifest, and so of every byte in it."""
        return sha256_json(self.manifest)

    def search(self, question: str, count: int) -> list[Hit]:
        """Return the best passages for a question, best first; fewer where fewer have anything to do with it.

        Raises:
            TransientError: the embedding model does not answer.
        """
        asked = words(question)
        scores, shares = self._lexical.scores(asked), self._lexical.shares(asked)
        if self._vectors is None or self._embedder is None:
            order = [place for place in _best(scores, count) if scores[place] > 0]
            return [Hit(self.passages[place], float(scores[place]), float(shares[place])) for place in order]
        similar = self._vectors @ self._embedder.of_question(question)
        sides = [place for place in _best(scores, DEPTH) if scores[place] > 0], _best(similar, DEPTH)
        fused: Counter[int] = Counter()
        for side in sides:
            for rank, place in enumerate(side, start=1):
                fused[place] += 1 / (RANK_K + rank)  # type: ignore[assignment]
        best = sorted(fused, key=lambda place: (-fused[place], place))[:count]
        return [Hit(self.passages[one], float(fused[one]), float(shares[one]), float(similar[one])) for one in best]

    def is_found(self, hit: Hit, least_share: float) -> bool:
        """Tell whether a passage has to do with the question, by its words or by its meaning."""
        if self._embedder is not None and hit.similarity is not None:
            return hit.share >= least_share or hit.similarity >= self._embedder.params.least_similarity
        return hit.share >= least_share


def _best(scores: Any, count: int) -> list[int]:
    """Return the places of the highest scores, best first, equals in order of place."""
    return [int(place) for place in np.argsort(-scores, kind="stable")[:count]]


def build_index(project: Project, settings: Settings) -> dict[str, Any]:
    """Read the corpus, write the index into data/index and return its manifest; nothing changes on an error.

    Raises:
        ConfigError: the corpus does not exist, or vectors are asked for without an address.
        DataContractError: documents that may not be used, each named.
        TransientError: the embedding model does not answer.
    """
    params, folder = settings.index, project.root / settings.index.corpus
    cleaner = Desensitizer(settings.prepare.privacy, project.root, environment_key())
    corpus = read_corpus(folder, params, _clean_by(cleaner))
    kept, left_out = _sound([one for document in corpus.documents
                             for one in passages_of(document, params.passage_characters)])  # fmt: skip
    if not kept:
        raise DataContractError(f"{folder}: no passage is left to search", "read left_out: tunegate index build")
    about = {one.id: {"title": one.title, "source": one.source, "version": one.version} for one in corpus.documents}
    parts = _parts(folder, params)
    header = {
        "stage": "index", "lineage_id": f"ix-{sha256_json(parts)[:LINEAGE_CHARACTERS]}", "parts": parts,
        "documents": len(about), "passages": len(kept), "masks": corpus.masks, "left_out": left_out,
    }  # fmt: skip
    embedder = embedder_of(params.vectors)
    with replaced_directory(project.root / INDEX) as output:
        write_jsonl(output / PASSAGES, [asdict(passage) for passage in kept])
        write_jsonl(output / DOCUMENTS, [{"id": name, **one} for name, one in about.items()])
        Lexical.of([words(f"{one.heading}\n{one.text}") for one in kept]).write(output)
        if embedder:
            np.save(output / VECTORS, embedder.of_passages([f"{one.heading}\n{one.text}" for one in kept]),
                    allow_pickle=False)  # fmt: skip
        return write_manifest(output, header)


def read_index(project: Project, settings: Settings) -> Index:
    """Return the index in data/index after checking every byte of it against its manifest.

    Raises:
        DataContractError: there is none, or it is not what was written.
        ConfigError: it has vectors, and the environment names no address.
    """
    folder = project.root / INDEX
    if not folder.is_dir():
        raise DataContractError(f"{folder} does not exist", "tunegate index build")
    manifest = verify_manifest(folder)
    if manifest["parts"]["settings"] != _settings_digest(settings.index):
        raise DataContractError(f"{folder} was built with other settings (index)", "tunegate index build")
    passages = [Passage(**row) for row in read_jsonl(folder / PASSAGES)]
    about = {row.pop("id"): row for row in read_jsonl(folder / DOCUMENTS)}
    embedder = embedder_of(settings.index.vectors)
    vectors = np.load(folder / VECTORS, allow_pickle=False) if embedder else None
    return Index(manifest, passages, about, Lexical.read(folder), vectors, embedder)


def is_stale(project: Project, settings: Settings, index: Index) -> bool:
    """Tell whether the corpus or the code changed since an index was built."""
    folder = project.root / settings.index.corpus
    return bool(index.manifest["parts"] != _parts(folder, settings.index))


def _sound(passages: list[Passage]) -> tuple[list[Passage], list[dict[str, str]]]:
    """Return the passages that speak to a reader, and those left out with why."""
    kept, left_out = [], []
    for passage in passages:
        why = why_suspect(f"{passage.heading}\n{passage.text}")
        if why is None:
            kept.append(passage)
        else:
            left_out.append({"passage": passage.id, "document": passage.document, "why": why})
    return kept, left_out


def _clean_by(cleaner: Desensitizer) -> Clean:
    """Return what takes personal data out of a document by the policies of `prepare.privacy`."""

    def clean(text: str) -> tuple[str, dict[str, int], tuple[str, ...]]:
        """Return a text without personal data, what was replaced by type, and the types that refuse it."""
        found = cleaner.clean([{"role": "user", "content": text}])
        return found.messages[0]["content"], dict(Counter(mask["type"] for mask in found.masks)), found.drop_types

    return clean


def _parts(corpus: Path, params: IndexParams) -> dict[str, str]:
    """Return what an index is made from, by digest."""
    code = {path: sha256_tree(_HERE / path) for path in _CODE}
    return {"corpus": sha256_tree(corpus), "settings": _settings_digest(params), "code": sha256_json(code)}


def _settings_digest(params: IndexParams) -> str:
    """Return the digest of section `index`."""
    return sha256_json(json.loads(params.model_dump_json()))
