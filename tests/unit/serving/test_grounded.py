"""Who is answered from documents, by mode, header, name, role and route, decided before anything is asked."""

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from tasks.core.errors import DataContractError, TransientError
from tasks.retrieval.index import Index
from tasks.retrieval.lexical import Lexical
from tasks.retrieval.words import words
from tasks.serving.admission import Admitted, Refusal
from tasks.serving.grounded import HEADER, Documents, Grounding, _in_sentences
from tasks.serving.keys import ApiKey
from tests.unit.retrieval.test_grounding import ABOUT, PARAMS, PASSAGES

CALLER, JUDGE = ApiKey("a", "caller", "x" * 64, ""), ApiKey("e", "evaluator", "y" * 64, "")


def an_index(name: str = "ix-1") -> Index:
    return Index({"lineage_id": name}, PASSAGES, ABOUT, Lexical.of([words(f"{p.heading}\n{p.text}") for p in PASSAGES]))


def decide(mode, *, model="champion", header=None, key=CALLER, kind="chat", documents=None, **payload):
    request = make_mocked_request("POST", "/", headers={HEADER: header} if header else {})
    asked = {"messages": [{"role": "user", "content": "成人碘化钾服多少？"}], "max_tokens": 9} | payload
    admitted = Admitted(asked, model, asked["messages"], payload.get("stream", False), 9, False, kind=kind)
    grounding = Grounding(PARAMS.model_copy(update={"mode": mode}), documents or Documents(an_index, lambda: 1))
    return asyncio.run(grounding.of(request, key, admitted))


@pytest.mark.parametrize(("mode", "asked", "grounded"), [
    ("never", {}, False), ("never", {"header": "false"}, False), ("asked", {}, False),
    ("asked", {"header": "TRUE"}, True), ("asked", {"model": "champion:grounded"}, True), ("always", {}, True),
    ("always", {"key": JUDGE}, False), ("always", {"key": JUDGE, "header": "true"}, True),
    ("always", {"key": JUDGE, "kind": "completion"}, False),
])  # fmt: skip
def test_by_mode_header_name_and_role(mode, asked, grounded):
    admitted, found = decide(mode, stream=True, stream_options={"include_usage": True}, **asked)
    assert (found is not None, admitted.model) == (grounded, "champion")
    # The model is asked for the whole answer, which is checked before any of it is sent.
    assert ("stream" in admitted.payload, admitted.stream) == ((False, False) if grounded else (True, True))
    assert found is None or found.stream is True
    assert admitted.prompt == [{"role": "user", "content": "成人碘化钾服多少？"}]


@pytest.mark.parametrize(("mode", "asked", "code"), [
    ("never", {"header": "true"}, "not_grounded"), ("never", {"model": "champion:grounded"}, "not_grounded"),
    ("always", {"header": "false"}, "grounded_only"), ("always", {"kind": "completion"}, "unsupported_field"),
    ("always", {"kind": "responses"}, "unsupported_field"), ("asked", {"header": "1"}, "invalid_value"),
    ("asked", {"header": "true", "n": 2}, "unsupported_field"), ("always", {"tools": [{}]}, "unsupported_field"),
])  # fmt: skip
def test_what_cannot_be_had_is_refused(mode, asked, code):
    with pytest.raises(Refusal) as caught:
        decide(mode, **asked)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_names_are_offered_where_there_is_an_index():
    there, gone = Documents(an_index, lambda: 1), Documents(an_index, lambda: None)
    assert Grounding(PARAMS, there).names_of(["champion"]) == ("champion:grounded",)
    assert Grounding(PARAMS, gone).names_of(["champion"]) == Grounding().names_of(["champion"]) == ()


def test_an_index_is_read_again_when_another_is_there_and_a_broken_one_leaves_the_old():
    stamps, reads = [1], []

    def read() -> Index:
        reads.append(stamps[0])
        if stamps[0] == 2:
            raise DataContractError("damaged")
        return an_index(f"ix-{stamps[0]}")

    documents = Documents(read, lambda: stamps[0])

    async def names() -> list[str]:
        found = []
        for stamp in (1, 1, 2, 3):
            stamps[0] = stamp
            found.append((await documents.index()).lineage_id)
        return found

    assert asyncio.run(names()) == ["ix-1", "ix-1", "ix-1", "ix-3"]
    assert reads == [1, 2, 3]


def test_no_index_and_a_search_that_fails_are_a_503():
    class Deaf(Index):
        def search(self, question, count):
            raise TransientError("the embedding model is gone")

    lost = Deaf({}, PASSAGES, ABOUT, Lexical.of([["a"]]))
    for documents in (Documents(an_index, lambda: None), Documents(lambda: lost, lambda: 1)):
        with pytest.raises(Refusal) as caught:
            decide("asked", header="true", documents=documents)
        assert (caught.value.status, caught.value.code) == (503, "no_documents")


@pytest.mark.parametrize("text", ["一。二！三", "One. Two.", "a：1\nb：2 [1]", "", "无"])
def test_the_pieces_of_a_stream_are_the_text(text):
    assert "".join(_in_sentences(text)) == text
