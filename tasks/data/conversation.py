"""A conversation, whatever format it came in."""

#: `role` (system, user, assistant or tool) and `content`.
Message = dict[str, str]
