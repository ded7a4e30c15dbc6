"""Texts in one spelling, so that an answer is not wrong for its width, its dashes or the name of its unit."""

import re
import unicodedata

from tasks.core.folding import simplified

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = re.compile(r"[⁺⁻⁰¹²³⁴-⁹]+")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣－", "-") | dict.fromkeys("～〜∼˜", "~") | dict.fromkeys("⋅•∙", "·"))
_APOSTROPHES = str.maketrans("‘’ʼ", "'''")
#: LaTeX and Markdown as models write them around numbers.
_LATEX = (
    (re.compile(r"\\mu(?![a-z])\s*"), "μ"),
    (re.compile(r"\\(?:text|mathrm|mathbf|boxed|rm)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\^\s*\{\s*([^{}]*?)\s*\}"), r"^\1"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\\approx\b"), "≈"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\[,;:! ()\[\]]|\$"), " "),
    (re.compile(r"\*\*|__|`"), ""),
)
#: One space and one to three digits at a time: 1,000,000 and 1 000 000.
_THOUSANDS = re.compile(r"(?<![\d.A-Za-z])(?<![A-Z] )\d{1,3}(?:(?:,\d{3})+|(?:[ \u00a0\u2009\u202f]\d{3})+)(?![\d,])")
_BLANK = re.compile(r"[^\S\n]+")
_INVERSE = re.compile(r"(?<=[A-Za-z\u4e00-\u9fff])[ ·*](kg|g|L|cm|km|m|min|h|s|d|a) ?\^?-([123])(?!\d)")
_POWER = re.compile(r"(\d)\s*[×xX*]\s*10\s*\^\s*\(?\s*([+-]?\d+)\)?")
_RANGE = re.compile(r"(?<=[\d%])\s*(?:~|-+|至|到|\bto\b)\s*(?=\d)")


def cleaned(text: str) -> str:
    """Return a text in one width and script, with one kind of dash, of power and of number; case and lines stay.

    Powers are written 3.7e10 (and 10^3 where no number stands before), thousands separators go.
    """
    text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    text = unicodedata.normalize("NFKC", text.translate(_DASHES)).translate(_DASHES).translate(_APOSTROPHES)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = _THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text.translate(simplified()))
    text = _INVERSE.sub(lambda unit: f"/{unit[1]}" + (f"^{unit[2]}" if unit[2] != "1" else ""), _BLANK.sub(" ", text))
    return _POWER.sub(r"\1e\2", text).strip()


def with_one_range_sign(text: str) -> str:
    """Return a cleaned text with `~` between the two ends of every range."""
    return _RANGE.sub("~", text)
