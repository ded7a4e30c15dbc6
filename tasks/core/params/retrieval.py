"""Sections `index` and `serve.grounded`: the documents that answers are taken from, and how they are."""

from typing import Literal

from pydantic import Field

from tasks.core.params.section import Section


class VectorParams(Section):
    """Search by meaning beside search by words: a model behind /v1/embeddings, its address from the environment."""

    model: str = Field(min_length=1, description="the name it is asked by")
    query_prefix: str = Field(description="put before a question, as the model was trained: 'query: ' for e5")
    passage_prefix: str = Field(description="put before a passage: 'passage: ' for e5")
    least_similarity: float = Field(gt=-1, le=1, description="cosine from which a passage counts as found")


class IndexParams(Section):
    """What a corpus may be, and how it is cut."""

    corpus: str = Field(min_length=1, description="folder of the documents, from the project's root")
    max_file_mib: float = Field(gt=0)
    max_documents: int = Field(ge=1)
    passage_characters: int = Field(ge=60, description="longest passage; a table's row is never cut")
    vectors: VectorParams | None


class GroundedParams(Section):
    """When the gateway answers from documents, and what it demands of such an answer."""

    mode: Literal["never", "asked", "always"] = Field(
        description="asked: by the header x-tunegate-grounded or a model name that ends in :grounded"
    )
    passages: int = Field(ge=1, le=20, description="shown to the model at most")
    passage_characters: int = Field(ge=60, description="of all passages shown together")
    least_share: float = Field(gt=0, le=1, description="of what a question asks about, by weight, in one passage")
    least_agreement: float = Field(gt=0, le=1, description="of a sentence's words in the passage that it cites")
    otherwise: Literal["say_so", "quote"] = Field(
        description="where the model's answer is not proven: say that it is not in the documents, or quote them"
    )
