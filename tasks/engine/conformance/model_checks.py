"""Checks of an engine against the model's own tokenizer, template and evidence, in the engine's own way to be asked."""

from collections.abc import Awaitable, Callable

from tasks.chat.sequences import common_prefix
from tasks.chat.template import render
from tasks.engine.conformance.findings import Finding
from tasks.engine.conformance.probes import CHATS, TEXTS
from tasks.engine.conformance.subject import Subject
from tasks.engine.drivers.driver import CannotTellError, Driver
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, FINGERPRINT_TOKENS, Answers, agreement, likest

#: How far a score of one request may be from another's of the same token, in nats: batching moves bf16 sums.
CLOSE_NATS = 0.15


class ModelChecks:
    """Checks of one server against a model.

    Args:
        driver: of its engine.
        subject: the model it should be.
    """

    def __init__(self, driver: Driver, subject: Subject) -> None:
        self.driver, self.subject = driver, subject

    async def run(self) -> list[Finding]:
        """Return a finding for each check."""
        checks = (("tokens", self._tokens), ("template", self._template), ("fingerprint", self._fingerprint),
                  ("scores", self._scores))  # fmt: skip
        findings = [await _told(name, check) for name, check in checks]
        return [*findings, await _told("scores agree", self._scores_agree)]

    async def _tokens(self) -> Finding:
        """Compare the tokens of texts, special tokens between them."""
        marked = [f"{token}{TEXTS[0]}{token}\n" for token in self.subject.tokenizer.all_special_tokens]
        texts = [*TEXTS[:-1], *marked]
        for text in texts:
            expected = self.subject.tokenizer.encode(text, add_special_tokens=False)
            found = await self.driver.text_ids(text)
            if found != expected:
                place = common_prefix(found, expected)
                return Finding("tokens", False, f"{text!r} becomes other tokens from place {place}: "
                               f"{found[place:][:3]}, not {expected[place:][:3]}")  # fmt: skip
        return Finding("tokens", True, f"{len(texts)} texts become the same tokens")

    async def _template(self) -> Finding:
        """Compare what becomes of conversations."""
        for messages in CHATS:
            expected = render(self.subject.tokenizer, list(messages), True)
            found = await self.driver.chat_ids(messages)
            if found != expected:
                said = self.subject.tokenizer.decode(found)
                return Finding("template", False, f"{messages[0]['content']!r} is rendered otherwise: {said[:120]!r}")
        return Finding("template", True, f"{len(CHATS)} conversations become the same tokens")

    async def _fingerprint(self) -> Finding:
        """Hold the greedy answers to those of the evidence."""
        standard, answers = self.driver.standard, self.subject.answers
        if standard.hop not in answers:
            return Finding("fingerprint", None, f"no evidence of hop {standard.hop} to hold it to: tunegate run")
        try:
            found = await self._greedy()
        except CannotTellError:
            found, answers = await self._in_text(), {hop: self._as_text(ids) for hop, ids in answers.items()}
        share, nearest = agreement(found, answers[standard.hop]), likest(found, answers)[0]
        words = f"{share:.0%} of the tokens of hop {standard.hop}, at least {standard.least:.0%} must be"
        if nearest == standard.not_hop:
            return Finding("fingerprint", False, f"{words}; most like hop {nearest}")
        return Finding("fingerprint", share >= standard.least, words)

    async def _greedy(self) -> list[list[int]]:
        """Return the greedy token ids after each prompt of the fingerprint."""
        tokenizer, opening = self.subject.tokenizer, self.subject.opening
        prompts = [render(tokenizer, [{"role": "user", "content": text}], True) for text in FINGERPRINT_PROMPTS]
        return [await self.driver.greedy([*prompt, *opening], FINGERPRINT_TOKENS) for prompt in prompts]

    async def _in_text(self) -> list[list[int]]:
        """Return the tokens of the answers in text, of an engine that gives no ids."""
        if self.subject.opening:
            raise CannotTellError("asked in text alone, it cannot begin behind an empty thought, as the evidence does")
        said = [await self.driver.answer(text, FINGERPRINT_TOKENS) for text in FINGERPRINT_PROMPTS]
        return [self.subject.tokenizer.encode(text, add_special_tokens=False) for text in said]

    def _as_text(self, answers: Answers) -> list[list[int]]:
        """Return answers as they can be seen in text: up to their end of turn, read again."""
        tokenizer = self.subject.tokenizer
        cut = [list(ids)[: list(ids).index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else list(ids)
               for ids in answers]  # fmt: skip
        return [tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False) for ids in cut]

    async def _scores(self) -> Finding:
        """Ask for the log-probabilities of a given answer, as an evaluation does."""
        before, after = self._given()
        scores = await self.driver.score(before, after)
        usable = len(scores) == len(after) and all(-1e4 < score <= 1e-3 for score in scores)
        return Finding("scores", usable, f"{len(scores)} tokens of a given answer, sum {sum(scores):.2f}")

    async def _scores_agree(self) -> Finding:
        """Compare the scores of an answer that was given whole with those of its parts, given one after the other."""
        before, after = self._given()
        whole = await self.driver.score(before, after)
        middle = len(after) // 2
        parts = await self.driver.score(before, after[:middle])
        parts += await self.driver.score([*before, *after[:middle]], after[middle:])
        far = max(abs(one - other) for one, other in zip(whole, parts, strict=True))
        return Finding("scores agree", far <= CLOSE_NATS, f"whole and in parts at most {far:.3f} nats apart")

    def _given(self) -> tuple[list[int], list[int]]:
        """Return the tokens of a conversation and of an answer to it."""
        before = render(self.subject.tokenizer, [{"role": "user", "content": FINGERPRINT_PROMPTS[1]}], True)
        return before, self.subject.tokenizer.encode(TEXTS[0], add_special_tokens=False)


async def _told(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    """Return a check's finding, or that the engine cannot be asked."""
    try:
        return await check()
    except CannotTellError as missing:
        return Finding(name, None, str(missing))
