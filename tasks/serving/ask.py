"""Ask the gateway questions, as a caller would: with a key, over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable

from tasks.core.errors import TransientError
from tasks.core.project import Project
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path

MAX_ANSWER_TOKENS = 96


def ask(project: Project, questions: Iterable[str], *, timeout_s: float) -> list[dict[str, str]]:
    """Return [{"question", "answer"}] as the champion answers.

    A key is made for this call alone and revoked after it.

    Raises:
        TransientError: the gateway did not answer, or answered with an error.
    """
    with KeyStore(keys_path(project)).temporary("run") as token:
        return [{"question": text, "answer": _answer(project, token, text, timeout_s)} for text in questions]


def _answer(project: Project, token: str, question: str, timeout_s: float) -> str:
    """Return the answer to one question."""
    body = {
        "model": "champion",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_ANSWER_TOKENS,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"{project.gateway_url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            answer: str = json.load(response)["choices"][0]["message"]["content"]
    except (urllib.error.URLError, TimeoutError, KeyError) as error:
        raise TransientError(
            f"the gateway at {project.gateway_url} did not answer: {error}", "tunegate status"
        ) from error
    return answer.strip()
