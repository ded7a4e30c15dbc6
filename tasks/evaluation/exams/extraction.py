"""Read the chosen letter out of a generated answer, in Chinese or English."""


def extract_letter(text: str) -> str | None:
    """Return the letter an answer gives, or None where it gives none or more than one."""
    raise NotImplementedError
