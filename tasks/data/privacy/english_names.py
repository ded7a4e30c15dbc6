"""Personal names in Latin letters: English ones by title, field or given name, Chinese ones in pinyin by syllables.

A name is two capitalized words at least (one after Mr. and its like), so runs of capitalized words are read one by one.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from tasks.data.privacy.lexicon import latin_given_names, latin_last_names, wordlike_given_names
from tasks.data.privacy.public_names import is_public_latin
from tasks.data.privacy.screen import Likely
from tasks.data.privacy.spans import COVER, PUBLIC_PERSON, Span
from tasks.data.privacy.wordlists import word_set

# Possessive: no letter given back is a space or a stroke, and to try each takes twice as long.
_TOKEN = r"[A-Z][A-Za-zà-öø-ÿ]*+(?:['’][A-Z][A-Za-zà-öø-ÿ]++)?(?:-[A-Z]?[A-Za-zà-öø-ÿ]++)?"
_PARTICLE = r"(?:van|von|de|der|den|da|di|la|le|bin|ibn|al|el|dos)"
#: A full stop goes on only after an initial and a title; after other words a sentence ends.
_STOP = r"(?:\.(?:(?<=\b[A-Z]\.)|(?<=\b[MD]r\.)|(?<=\bMs\.)|(?<=\bMrs\.)|(?<=\b(?:Prof|Capt)\.)|(?<=\b(?:Sgt|Rev)\.)))?"
_RUN = re.compile(rf"{_TOKEN}{_STOP}(?:[ ](?=[A-Zabdeilv])(?:{_PARTICLE}[ ]){{0,2}}{_TOKEN}{_STOP})+")
_TOKENS = re.compile(rf"(?<![A-Za-z]){_TOKEN}")
_SMALL = re.compile(r"(?<![A-Za-z])[a-z]+")
_WORD = re.compile(rf"(?:{_PARTICLE}[ ])*{_TOKEN}")
#: These make a person of whoever follows, one word or more.
_TITLES = word_set(
    "mr mrs ms miss mister madam dr prof professor sir capt captain sgt sergeant nurse doctor lt lieutenant detective "
    "dame reverend rev officer inspector constable pastor coach"
)
_FIELD = re.compile(
    r"(?:\b[Nn]ame is|(?:[Ff]ull|[Pp]atient|[Ee]mployee|[Cc]ustomer|[Uu]ser)(?:'s)? [Nn]ame:"
    r"|\b[Cc]ontact(?: [Pp]erson)?:|\bATTN:?|\b[Aa]tt(?:ention|n):?|[Ss]igned(?: by)?:?|[Ss]ignature:"
    r"|\b(?:[Pp]repared|[Rr]eviewed|[Aa]pproved"
    r"|[Cc]hecked|[Rr]eported|[Ii]nspected|[Rr]ecorded|[Mm]easured|[Ww]itnessed|[Aa]uthori[sz]ed) by:?"
    r"|\b[Cc]ardholder:?|\b[Aa]ccount [Hh]older:?|\b[Rr]ecipient:"
    r"|\b[Pp]atient:?|\b[Aa]pplicant:?|\b[Ee]mployee:|\b[Ww]itness:|\b[Dd]river:|\b[Rr]egards,"
    r"|\b[Ss]incerely,|\bDear|\bc/o|\b[Nn]ext of kin:?|\b[Ww]orker:?|\b[Pp]assenger:?"
    r"|\b(?:[Ss]pouse|[Ww]ife|[Hh]usband|[Dd]aughter|[Ss]on|[Bb]rother|[Ss]ister|[Cc]olleague"
    r"|[Nn]eighbou?r|[Ff]riend)|\b[Aa]uthor:)[ \n]{1,2}$"
)
_PERSON_AFTER = re.compile(
    r",? (?:who|whose|lives?|lived|was born|works? (?:as|at|for|in|with|here|on|from|nights?)|worked"
    r"|is a \w+er|\(age|aged|asked|replied|phoned|called the|signed"
    r"|emailed|texted|swapped|apologi[sz]ed|resigned|retired|fainted|refused to|logged in|never answered|paid with"
    r"|rang|complained|volunteered|left (?:a|the|no|at)|took over)\b"
)
#: The last words of these fields, a test before the pattern.
_FIELD_LAST = word_set(
    "is name contact person attn attention attn. signed by signature cardholder holder recipient patient applicant "
    "employee witness driver regards sincerely dear c/o kin worker passenger spouse wife husband daughter son brother "
    "sister colleague neighbor neighbour friend author"
)
#: In small letters, or before a colon, these are somebody's role.
_ROLES = word_set(
    "reporter photographer medic lead leader user technician tenant visitor caller dosimetrist colleague neighbour "
    "neighbor uncle aunt cousin mother father guest student teacher supervisor interpreter paramedic welder "
    "electrician trainee attendee attendees participants resident apprentice assessor physicist nurse doctor foreman "
    "secretary minutes chair landlord buyer seller bride groom"
)
#: Who is asked, thanked and invited is a person.
_ADDRESSED = word_set(
    "Ask ask asked Invite invite invited Thank thanked Remind remind Tell told Phone phoned Congratulate"
)
#: Beside a person in a list.
_LISTED_AFTER = re.compile(rf"{COVER}(?:, and|,| and|;| &) $")
_GREETED = re.compile(
    r"(?<![A-Za-z])(?:Dear|Hi|Hello|Hey|Thank you,|Thanks,|Sincerely,|Regards,|[Mm]y name is|I am|I'm|[Tt]his is"
    r"|(?:[Mm]y|[Hh]is|[Hh]er|[Oo]ur|[Tt]heir|[Yy]our) (?:sister|brother|son|daughter|wife|husband|mother|father"
    r"|friend|neighbou?r|colleague|uncle|aunt|cousin|nephew|niece|boss|roommate|partner))[ \n]"
    r"([A-Z][a-z]+(?:-[A-Z][a-z]+)?)(?![A-Za-z'-])"
)
_GREETINGS = (
    "Dear ", "Hi ", "Hello ", "Hey ", "hank you,", "hanks,", "incerely,", "egards,", "name is", "I am ", "I'm ",
    "his is ",
    " sister ", "brother ", " mother ", " father ", " son ", " daughter ", " wife ", " husband ", " friend ",
    " neighbo", " colleague ", " uncle ", " aunt ", " cousin ", "nephew ", " niece ", " boss ", "mate ", " partner ",
)  # fmt: skip
#: Accents of given names that are listed without.
_ACCENTS = str.maketrans("àáâãäåçèéêëìíîïñòóôõöøùúûüýÿ", "aaaaaaceeeeiiiinoooooouuuuyy")
_FIELD_REACH = 24
#: Runs of capitalized words whose reading is remembered.
_REMEMBERED_RUNS = 1 << 15
_SPACE_OR_COMMA = frozenset(" ,")
#: Capitalized words of something that is no person.
_THINGS = word_set(
    "street road avenue lane drive university college institute school hospital island bay river county city airport "
    "station hall center centre museum library park bridge theorem law effect equation constant method model "
    "distribution number test scale curve plot counter day award prize foundation company inc ltd corporation corp "
    "laboratory lab reactor plant unit power nuclear data code act state position zoo assembly insertion withdrawal "
    "speed level temperature pressure flow valve pump switch signal cycle united national international north south "
    "east west new commission agency committee team group department ministry authority report office system control "
    "room safety radiation emergency energy energies health water press house court church bank times and or the of in "
    "on at is was has for with to from an a your my our their his her its this that these those why how what when who "
    "i ii iii iv version standard guide manual section chapter figure table monitor detector officer manager director "
    "engineer supervisor january february march april may june july august september october november december monday "
    "tuesday wednesday thursday friday saturday sunday mountain valley lake sea ocean beach forest world war series "
    "show cup league club union party training general checklist duties log procedure procedures desk shift"
)
_PLACES = frozenset(("hong kong", "san diego", "san jose", "san juan", "san antonio", "santa cruz", "los angeles"))
_INITIAL = r"(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])"
_FINAL = (
    r"(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|ai|an|ao|ei|en|er|ia|ie|in|iu|ou|ua|ue|ui|un|uo|a"
    r"|e|i|o|u|v|ü|üe)"
)
_SYLLABLES = re.compile(rf"(?:{_INITIAL}{_FINAL}|ai|an|ang|ao|en|er|ou|e){{1,2}}")
_PINYIN_SURNAMES = word_set(
    "wang li zhang liu chen yang zhao huang zhou wu xu sun hu zhu gao lin he guo ma luo liang song zheng xie han tang "
    "feng yu dong xiao cheng cao yuan deng fu shen zeng peng lv lu su jiang cai jia ding wei xue ye yan pan du dai xia "
    "zhong tian ren fan fang shi yao tan liao zou xiong jin hao kong bai cui kang mao qiu qin gu hou shao meng long "
    "wan duan lei qian yin yi chang qiao lai gong wen ouyang sima zhuge shangguan tao hong qi mo ni ge yue qu jiao"
)
#: Surnames in pinyin that are English words: only a given name of two syllables makes them one.
_WORDLIKE_SURNAMES = word_set("he long song sun pan tan fan fang yi shi ding tang lei lai mo du ye gong can china")
_NO_PINYIN = word_set(
    "range change danger machine ranger chance gang hang men ten pen den fan ban can man pan tan ran sun fun gun run "
    "sang she he me we be to do no so go in on an a lie die tie pie mine fine line wine nine shine one china wan bang "
    "song long tong ding ping king bin din fin gin pin sin tin win hen yen zen beijing shanghai nanjing tianjin "
    "chongqing hainan hunan henan hebei yunnan taiwan taishan guangdong guangxi shandong shanxi shaanxi fujian anhui "
    "gansu guizhou sichuan jiangsu jiangxi zhejiang hubei liaoning jilin xinjiang ningxia qinghai hangzhou suzhou "
    "wuhan shenzhen guangzhou dayawan qinshan ningde tianwan haiyang sanmen tone bone pine dine dance lance time same "
    "name game come home some more here there where were lake like make take women panel bandage engage manage"
)


_RUN_NAME, _GREETED_NAME = "capitalized words", "given name alone"
#: For `screen.Screen`.
ENGLISH_NAMES = {_RUN_NAME: _RUN.pattern, _GREETED_NAME: _GREETED.pattern}


def find_english_names(
    plain: str, likely: Likely = frozenset(ENGLISH_NAMES), *, sparing: bool = False
) -> Iterator[Span]:
    """Yield personal names in Latin letters in readable text, those of public and fictional people as `public_person`.

    Args:
        plain: readable text.
        likely: names of `ENGLISH_NAMES` that may match.
        sparing: leave out given names alone (Dear Mabel) and further mentions of parts of a name.
    """
    found: list[Span] = []
    for run in _RUN.finditer(plain) if _RUN_NAME in likely else ():
        if run.start() and (
            plain[run.start() - 1].isascii() and (plain[run.start() - 1].isalnum() or plain[run.start() - 1] == "_")
        ):
            continue
        found += _names_in(plain, run.start(), _words_of(run[0]))
    yield from found
    ordinary = [span for span in found if span.type == "person_name"]
    if ordinary and not sparing:
        yield from _mentioned_again(plain, ordinary)
    if not sparing and _GREETED_NAME in likely:
        yield from _greeted(plain)


def _greeted(plain: str) -> Iterator[Span]:
    """Yield given names alone after a greeting or a word for family: Dear Mabel."""
    given, known = latin_given_names(), set()
    for greeting in _GREETINGS:
        place = plain.find(greeting)
        while place >= 0:
            match = _GREETED.search(plain, max(0, place - len(" their ")), place + _FIELD_REACH)
            if match and match[1].casefold().partition("-")[0] in given and not is_public_latin(match[1]):
                known.add(match.span(1))
            place = plain.find(greeting, place + 1)
    for start, end in sorted(known):
        yield Span(start, end, "person_name")


class _Words(NamedTuple):
    """What a run of capitalized words says, wherever it stands.

    Args:
        words: in order.
        places: where each begins and ends in the run.
        names: for each word, first and last + 1 of the words that are a name when it begins it or is its title.
        unsure: for each word, last + 1 of the words that are one if what stands around says so; 0 for none.
    """

    words: list[str]
    places: list[tuple[int, int]]
    names: list[tuple[int, int]]
    unsure: list[int]


@lru_cache(maxsize=_REMEMBERED_RUNS)
def _words_of(run: str) -> _Words:
    """Return what a run says; the same ones come again and again (Nuclear Regulatory Commission)."""
    places = [token.span() for token in _WORD.finditer(run)]
    words = [run[start:end] for start, end in places]
    found = [_name_at(run, places, words, first) for first in range(len(words))]
    return _Words(words, places, [name for name, _ in found], [unsure for _, unsure in found])


def _names_in(plain: str, start: int, run: _Words) -> Iterator[Span]:
    """Yield the names in a run of capitalized words that begins at `start`."""
    first = 0
    while first < len(run.words):
        begin, last = run.names[first]
        if run.unsure[first] and _is_person_by_context(plain, start, run, first, run.unsure[first]):
            begin, last = first, run.unsure[first]
        if last > begin:
            name = Span(start + run.places[begin][0], start + run.places[last - 1][1], "person_name")
            public = is_public_latin(plain[name.start : name.end])
            yield replace(name, type=PUBLIC_PERSON) if public else name
            first = last
        else:
            first += 1


def _name_at(run: str, places: list[tuple[int, int]], words: list[str], first: int) -> tuple[tuple[int, int], int]:
    """Return first and last + 1 of the words that are a name when `words[first]` begins it or is its title.

    Then last + 1 of those that are one if what stands around says so; 0 for none.
    """
    low, none = words[first].casefold(), ((first, first), 0)
    if low in _TITLES and first + 1 < len(words) and words[first] != low.upper():
        return (first + 1, _until_thing(words, first + 1)), 0
    last = _until_thing(words, first)
    if first + 1 == len(words) or last - first < 2:
        return none
    following = words[first + 1]
    if len(words[first]) == len(following) == 1 and all(run[end : end + 1] == "." for _, end in places[first:][:2]):
        # J. R. Whitlock, but not U. S. Army.
        named = last - first >= 3 and low != "u" and len(words[last - 1]) > 2
        return ((first, last), 0) if named else none
    if f"{low} {following.casefold()}" in _PLACES:
        return none
    if _is_pinyin(words[first], following) or _is_pinyin(following, words[first]):
        return (first, first + 2), 0
    if _begins_with_given(words[first:last]):
        return (first, last), 0
    return (first, first), last


def _begins_with_given(words: list[str]) -> bool:
    """Tell whether words begin with a given name, or with one that is a word, beside a last name that is none."""
    # INES Level is a scale, INES ROMERO may be somebody.
    if words[0].isupper() and not words[1].isupper():
        return False
    first = words[0].casefold().translate(_ACCENTS)
    if not latin_given_names().isdisjoint((first, first.partition("-")[0])):
        return True
    # Violet Wilson, Mason Gomez.
    final = words[-1].casefold().partition("-")[0]
    return len(words) <= 3 and first in wordlike_given_names() and final in latin_last_names()


def _until_thing(words: list[str], first: int) -> int:
    """Return where a name that begins at `first` must end: before a common noun, after four words."""
    last = first
    while last < len(words) and last - first < 4 and (len(words[last]) == 1 or words[last].casefold() not in _THINGS):
        last += 1
    return last


def _is_person_by_context(plain: str, begin: int, run: _Words, first: int, last: int) -> bool:
    """Tell whether a form field before or a clause after makes unknown capitalized words a person.

    Args:
        plain: readable text.
        begin: where the run begins in it.
        run: of words.
        first: of the words asked about.
        last: behind them.
    """
    words = run.words
    if last - first > 3 or len(words[first]) == 1 or len(words[last - 1]) == 1:
        return False
    if any(word.isupper() and len(word) > 2 for word in words[first:last]):
        return False
    start, end = begin + run.places[first][0], begin + run.places[last - 1][1]
    if (first == 0 or words[first - 1] in _ADDRESSED) and _introduced(plain, start):
        return True
    if last < len(words) or last - first > 2:
        return False
    near, right = plain[max(0, start - 6) : start], plain[end : end + 2]
    if COVER in near and _LISTED_AFTER.search(near):
        return not right or right[0] in ",.;\n" or plain.startswith(" and ", end)
    if right[:1] not in _SPACE_OR_COMMA:
        return False
    return bool(_PERSON_AFTER.match(plain[end : end + _FIELD_REACH].partition(COVER)[0]))


def _introduced(plain: str, start: int) -> bool:
    """Tell whether a form field, a role or a verb with people for its object stands before a position."""
    left = plain[max(0, start - _FIELD_REACH) : start].rpartition(COVER)[2]
    cue = left.rstrip(" :,\n").rpartition(" ")[2]
    if cue in _ROLES or cue in _ADDRESSED:
        return True
    low = cue.casefold()
    if low in _ROLES and left.endswith(": "):
        return True
    return low in _FIELD_LAST and bool(_FIELD.search(left))


def _is_pinyin(surname: str, given: str) -> bool:
    """Tell whether two words are a Chinese surname and a given name in pinyin."""
    low = surname.casefold()
    if low not in _PINYIN_SURNAMES:
        return False
    rest = given.casefold().replace("-", "").replace("'", "")
    if rest in _NO_PINYIN or len(rest) < 2 or not _SYLLABLES.fullmatch(rest):
        return False
    return low not in _WORDLIKE_SURNAMES or len(rest) >= 5


def _mentioned_again(plain: str, found: list[Span]) -> Iterator[Span]:
    """Yield further mentions of a full name or one of its parts: Grace Novak ... Novak."""
    parts = {word for span in found for word in _TOKENS.findall(plain[span.start : span.end]) if len(word) > 2}
    # What is written small too is a word: Hope Miller ... hope.
    parts -= {part for part in parts if part.casefold() in _THINGS}
    small = {part.casefold() for part in parts}.intersection(_SMALL.findall(plain))
    for match in _TOKENS.finditer(plain):
        if match[0] in parts and match[0].casefold() not in small:
            yield Span(match.start(), match.end(), "person_name")
