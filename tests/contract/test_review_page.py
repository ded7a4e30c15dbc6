"""The review page over real HTTP: blind, marks on the disk at once, resumed, refused in words, no script, keyboard."""

import html
import http.client
import re
import urllib.parse
from contextlib import ExitStack

import pytest

from tasks.core.errors import ConfigError, MissingToolError
from tasks.release.page.loopback import listener
from tasks.review.marks import read_marks
from tasks.review.page.server import ReviewPage
from tests.contract.pages import serving
from tests.unit.review.conftest import cards as cards
from tests.unit.review.conftest import pack as pack
from tests.unit.review.conftest import reports as reports
from tests.unit.review.conftest import review as review


class Browser:
    """Asks as a browser does."""

    def __init__(self, port):
        self.port, self.host = port, f"127.0.0.1:{port}"

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Host": self.host} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        connection.close()
        return answer.status, answer.headers, text

    def get(self, path="/"):
        return self.ask("GET", path)

    def send(self, number, **fields):
        token = (
            fields.pop("token", None)
            or re.search(r'name="token" value="([^"]+)"', self.get(f"/answers/{number}")[2])[1]
        )
        headers = {"Origin": f"http://{self.host}", "Sec_Fetch_Site": "same-origin",
                   "Content_Type": "application/x-www-form-urlencoded"} | fields.pop("headers", {})  # fmt: skip
        body = urllib.parse.urlencode({"token": token, **fields})
        return self.ask("POST", f"/answers/{number}", body, **headers)


@pytest.fixture
def start(review):
    """Start the page of a reviewer; all are ended with the test."""
    with ExitStack() as stack:

        def begin(reviewer):
            page = ReviewPage(review, reviewer)
            return page, Browser(stack.enter_context(serving(page.app())))

        yield begin


def fields_of(card, value="yes", **more):
    names = [f"point-{place}" for place in range(len(card.points))] or ["right"]
    return dict.fromkeys(names, value) | {"error": "no", "severity": "none"} | more


def test_the_page_is_blind_bilingual_and_runs_nothing(start, review):
    page, browser = start("expert-1")
    for number, card in enumerate(page.cards, 1):
        status, headers, text = browser.get(f"/answers/{number}")
        assert status == 200
        assert html.escape(card.answer, quote=False) in text.replace("&#34;", '"').replace("&#39;", "'")
        shown = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
        assert not re.search(r"\b(awq|merged|adapter|tg-)", shown)
        assert card.card_id not in shown
        assert all(point in html.unescape(text) for point in card.points)
    assert "script" not in text
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert {"评分", "备注"} <= set(re.findall(r"评分|备注", text))
    # Reached and chosen without a mouse: a label around each choice, a key to the first one and one to keep. The page
    # begins at the question: a focused field would scroll it away.
    assert [text.count(f'accesskey="{key}"') for key in "ms"] == [1, 1]
    assert "autofocus" not in text
    assert len(re.findall(r'<label class="choice"><input type="radio"', text)) == text.count('type="radio"')


def test_marks_are_kept_at_once_and_gone_on_with(start, review, cards):
    page, browser = start("expert-1")
    assert browser.get()[1]["Location"] == "/answers/1"
    first = page.cards[0]
    status, headers, _ = browser.send(1, **fields_of(first, "no", comment="第一行\r\n第二行", corrected="正确的回答"))
    assert (status, headers["Location"]) == (303, "/")
    kept = read_marks(review, cards)["expert-1"][first.card_id]
    assert (kept.comment, kept.corrected, kept.factual_error) == ("第一行\n第二行", "正确的回答", False)
    assert kept.points == [False] * len(first.points)
    assert kept.right is (None if first.points else False)

    again, other = start("expert-1")  # another start: where it was left
    assert [card.card_id for card in again.cards] == [card.card_id for card in page.cards]
    assert other.get()[1]["Location"] == "/answers/2"
    assert "正确的回答" in other.get("/answers/1")[2]
    for number in range(2, len(again.cards) + 1):
        other.send(number, **fields_of(again.cards[number - 1]))
    assert "All answers are marked" in other.get()[2]


def test_two_reviewers_do_not_see_each_other_and_have_their_own_order(start, review, cards):
    (one, first), (two, second) = start("expert-1"), start("expert-2")
    assert [card.card_id for card in one.cards] != [card.card_id for card in two.cards]
    first.send(1, **fields_of(one.cards[0], comment="只有我看见"))
    place = [card.card_id for card in two.cards].index(one.cards[0].card_id) + 1
    assert "只有我看见" not in second.get(f"/answers/{place}")[2]
    second.send(1, **fields_of(two.cards[0]))
    assert {name: len(marks) for name, marks in read_marks(review, cards).items()} == {"expert-1": 1, "expert-2": 1}


def test_a_form_with_a_gap_is_not_kept_and_what_was_typed_stays(start, review, cards):
    page, browser = start("expert-1")
    fields = fields_of(page.cards[0], comment="不要丢")
    del fields["error"]
    status, _, text = browser.send(1, **fields)
    assert status == 422
    assert "not every question is answered" in text
    assert "不要丢" in text
    assert read_marks(review, cards) == {}


@pytest.mark.parametrize(("headers", "status"), [
    ({"Origin": "http://evil.example"}, 403), ({"Sec_Fetch_Site": "cross-site"}, 403), ({"Host": "evil.example"}, 403),
])  # fmt: skip
def test_other_sites_are_refused(start, review, cards, headers, status):
    page, browser = start("expert-1")
    assert browser.send(1, **fields_of(page.cards[0]), headers=headers)[0] == status
    assert read_marks(review, cards) == {}


def test_a_form_of_another_start_is_refused(start, review, cards):
    page, browser = start("expert-1")
    status, _, text = browser.send(1, **fields_of(page.cards[0]), token="x" * 43)
    assert (status, "another start" in text) == (422, True)
    assert read_marks(review, cards) == {}


def test_hostile_answers_stay_text(start, review, cards):
    page, browser = start("expert-1")
    object.__setattr__(page.cards[0], "answer", "<script>alert('核')</script>")
    assert "<script" not in browser.get("/answers/1")[2]


def test_no_such_answer_review_or_reviewer(start, review, tmp_path):
    _, browser = start("expert-1")
    assert [browser.get(f"/answers/{number}")[0] for number in ("0", "999", "x")] == [404, 404, 404]
    with pytest.raises(ConfigError, match="there is no review"):
        ReviewPage(tmp_path / "none", "expert-1")
    with pytest.raises(ConfigError, match="no id of a reviewer"):
        ReviewPage(review, "张三")


def test_a_taken_port_is_said():
    taken = listener(0, "tunegate review serve")
    with pytest.raises(MissingToolError, match="is not free"):
        listener(taken.getsockname()[1], "tunegate review serve")
    taken.close()
