"""A retriever of LangChain or LlamaIndex in the place of our search: told by what it can do, neither is imported.

What it finds is held to like our own passages: cleaned of text that speaks to a model, shown behind the fence, and the
answer checked. It has no digest of its own; whoever wires it gives it a name that changes with its documents.
"""

from typing import Any

from tasks.core.digest import sha256_json
from tasks.core.errors import ConfigError
from tasks.retrieval.index import Hit
from tasks.retrieval.passages import ID_CHARACTERS, Passage
from tasks.retrieval.suspects import why_suspect
from tasks.retrieval.words import words


class ForeignIndex:
    """Searches by somebody else's retriever; stands where an `Index` stands.

    Args:
        retriever: has `invoke` (LangChain: documents with `page_content` and `metadata`) or `retrieve` (LlamaIndex:
            nodes with `get_content`, `metadata` and `score`).
        name: what records call it.

    Raises:
        ConfigError: it has neither.
    """

    def __init__(self, retriever: Any, name: str) -> None:
        ask = getattr(retriever, "invoke", None) or getattr(retriever, "retrieve", None)
        if ask is None:
            raise ConfigError(
                f"{type(retriever).__name__} has neither invoke nor retrieve",
                "give a LangChain or LlamaIndex retriever",
            )
        self._ask, self._name = ask, name
        self.about: dict[str, dict[str, str]] = {}

    @property
    def lineage_id(self) -> str:
        """Its name in records."""
        return self._name

    @property
    def digest(self) -> str:
        """Digest of its name: it has no other."""
        return sha256_json(self._name)

    def search(self, question: str, count: int) -> list[Hit]:
        """Return what it finds, in its order, without passages that speak to a model."""
        asked = set(words(question))
        found = [self._hit(one, asked) for one in self._ask(question)]
        return [hit for hit in found if why_suspect(hit.passage.text) is None][:count]

    def is_found(self, hit: Hit, least_share: float) -> bool:
        """Tell whether a passage has to do with the question, by its words: another's scores mean what they mean."""
        return hit.share >= least_share

    def _hit(self, found: Any, asked: set[str]) -> Hit:
        """Return a document or a node as a passage; each word of the question weighs the same."""
        node = getattr(found, "node", found)
        text = str(getattr(node, "page_content", None) or node.get_content())
        about = {name: str(value) for name, value in (getattr(node, "metadata", None) or {}).items()}
        document = about.get("id") or about.get("source") or about.get("file_name") or "?"
        title = about.get("title") or document
        self.about[document] = {"title": title, "source": about.get("source", document),
                                "version": about.get("version", "")}  # fmt: skip
        identity = sha256_json([document, title, text])[:ID_CHARACTERS]
        held = asked & set(words(f"{title}\n{text}"))
        score = float(getattr(found, "score", None) or 0.0)
        return Hit(Passage(f"p-{identity}", document, title, text), score, len(held) / len(asked) if asked else 0.0)
