"""The API callers have: one table of fields, the checks made from it, its OpenAPI document."""
