"""The door of the gateway: who may come in, when, with how much; the cheapest check first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web

from tasks.core.settings import GatewayParams
from tasks.serving.admission import Admitted, Refusal, unavailable
from tasks.serving.asker import API_KEY
from tasks.serving.audit import AuditLog
from tasks.serving.audit.log import SHORT_CHARACTERS
from tasks.serving.door.body import read_body, require_size
from tasks.serving.door.estimate import body_cap, prompt_tokens, tools_tokens
from tasks.serving.door.evaluator import asks_for_prompt_logprobs, prompt_cost
from tasks.serving.door.meter import Meter
from tasks.serving.keys import ApiKey, KeyStore, Role


class Door:
    """Keys, rates, places, sizes and budgets of one gateway.

    Args:
        params: section `serve.gateway`.
        context_tokens: the model's context length.
        meter: what each key may have, by the count of this gateway or of all.
    """

    def __init__(
        self, params: GatewayParams, context_tokens: int, keys: KeyStore, audit: AuditLog, meter: Meter
    ) -> None:
        self.params, self.context_tokens, self.keys, self.audit = params, context_tokens, keys, audit
        self.meter = meter
        self.body_cap = body_cap(context_tokens, params.max_body_bytes)

    def follow(self, params: GatewayParams) -> None:
        """Go by other limits from the next request on; those under way and what was used stay counted."""
        self.params = params
        self.meter.follow(params)

    @asynccontextmanager
    async def entered(self, request: web.Request, key: ApiKey) -> AsyncIterator[None]:
        """Hold one of the places for a request; it may have waited for it.

        Raises:
            Refusal: 413, 429 or 503, before anything of the body was read.
        """
        # The first check, and the cheapest.
        await self.meter.request(key)
        require_size(request, self.body_cap)
        self._require_audit(request)
        async with self.meter.place(key):
            yield

    async def body(self, request: web.Request) -> bytes:
        """Return a request's body, read within its time and size."""
        return await read_body(request, self.params.door.body_timeout_s, self.body_cap)

    def require_key(self, request: web.Request, role: Role) -> ApiKey:
        """Return the caller's key.

        Raises:
            Refusal: 401 where there is none or it is unknown, 403 where it is revoked or its role does not reach.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(401, "missing_key", "send your key as 'Authorization: Bearer tg_...'")
        key = self.keys.find(token.strip())
        if key is None:
            raise Refusal(401, "unknown_key", "this key is not known here")
        request[API_KEY] = key
        if key.expired(datetime.now(UTC)):
            raise Refusal(403, "expired_key", f"key {key.name} expired at {key.expires_at}")
        if key.revoked_at is not None:
            raise Refusal(403, "revoked_key", f"key {key.name} was revoked at {key.revoked_at}")
        if role == "admin" and key.role != "admin":
            raise Refusal(403, "role_not_allowed", f"key {key.name} is a {key.role} key, this route needs an admin key")
        return key

    def _require_audit(self, request: web.Request) -> None:
        """Refuse what could not be recorded: everything, or what is long while long texts wait to be masked."""
        if not self.audit.healthy:
            raise unavailable("audit_unavailable", "the audit log cannot be written, so nothing is answered")
        if self.audit.behind and (request.content_length or self.body_cap) > SHORT_CHARACTERS:
            raise unavailable("audit_behind", "too many long prompts wait to be recorded; short ones are answered")

    async def reserve(self, key: ApiKey, admitted: Admitted, context_tokens: int | None = None) -> int:
        """Reserve the most tokens that prompt and answer may cost and return them.

        Args:
            context_tokens: the most that a prompt can have; None: the chat model's context.

        Raises:
            Refusal: 429 where the key has not that many left this minute, today or this month.
        """
        context = context_tokens or self.context_tokens
        most = min(prompt_tokens(admitted.prompt, context) + tools_tokens(admitted.payload), context)
        tokens = prompt_cost(key, admitted.payload, most, self.params.door) + admitted.most_tokens
        await self.meter.reserve(key, tokens)
        return tokens

    def settle(self, key: ApiKey, admitted: Admitted, reserved: int, used: int, prompt_tokens: int | None) -> None:
        """Charge what a request has cost instead of what was reserved.

        Args:
            used: tokens of prompt and answer.
            prompt_tokens: of the prompt alone, as vLLM counted them.
        """
        if asks_for_prompt_logprobs(admitted.payload):
            used += (self.params.door.evaluator_cost - 1) * (prompt_tokens or 0)
        self.meter.settle(key, reserved, used)
