"""Personal names in Latin letters: English ones by title, field or given name, Chinese ones in pinyin by syllables."""

import re
from collections.abc import Iterator

from tasks.data.privacy.public_names import is_public_latin
from tasks.data.privacy.spans import Span

#: Given names that are hardly ever another word at the head of two capitalized ones.
_GIVEN = frozenset(
    (
        "aaron abigail adam adrian aisha alan albert alejandro alex alexander alexandra alexis alfred alice alicia alison allison amanda amber"
        " amelia amy ana andrea andrew angela anita ann anna anne annie anthony antonio arthur ashley audrey barbara barry beatrice becky"
        " ben benjamin bernard beth betty beverly bob bonnie bradley brandon brenda brian bridget bruce bryan caitlin calvin cameron carl carla"
        " carlos carmen carol caroline carolyn catherine cathy cecilia chad charles charlie cheryl chris christina christine christopher"
        " cindy claire clara claudia colin connie connor craig crystal curtis cynthia daniel danielle danny darren dave david dawn dean deborah"
        " debra dennis derek diana diane diego dmitri donald donna dorothy doris douglas duncan dylan edith edward edwin eileen elaine eleanor elena"
        " elijah elizabeth ella ellen emily emma eric erica erik erin ernest ethan eugene eva evan evelyn fatima felix fernando fiona fred"
        " frederick gabriel gareth gary geoffrey george gerald gloria gordon graham gregory greg hannah harold harriet harry heather hector"
        " heidi helen henry herbert howard hugh ian ingrid irene isaac isabel isabella ivan jacob jacqueline jake james jamie jan jane janet"
        " janice jared jasmine jason javier jay jean jeff jeffrey jennifer jenny jeremy jerome jerry jesse jessica jill jim jimmy joan joanna"
        " joanne joe joel john johnny jonathan jorge jose joseph joshua joyce juan judith judy julia julian julie justin karen karl kate"
        " katherine kathleen kathryn kathy katie keith kelly kenneth kevin kim kimberly kristen kristin kyle larry laura lauren laurence laurie"
        " lawrence leah lee leo leonard leslie liam lillian linda lisa logan lois lorraine louis louise lucas lucy luis luke lydia lynn"
        " malcolm marcus margaret maria marie marilyn mario marjorie mark marsha martha martin marvin mary matt matthew maureen megan melanie"
        " melissa michael michelle miguel mike miriam mohamed mohammed molly monica muhammad nancy naomi natalie natasha nathan neil nicholas"
        " nicole nigel nikolai nina noah nora norman oliver olivia oscar owen pamela patricia patrick paul paula pauline pedro peggy penelope peter"
        " philip phillip phyllis priya rachel ralph raj ravi raymond rebecca rhonda ricardo richard robert roberta robin rodney roger roland"
        " ronald rosa rosemary ross roy russell ruth ryan sally samantha samuel sandra sara sarah scott sean sergio sharon shaun sheila shirley"
        " simon sofia sonia sophia sophie stanley stefan stella stephanie stephen steve steven stewart stuart susan suzanne sylvia tamara tanya"
        " teresa terry theodore theresa thomas tiffany tim timothy tina todd tom tommy tony tracy travis tyler valerie vanessa vera vernon"
        " veronica victor vincent vivian vladimir walter wanda warren wayne wendy wesley william willie xavier yolanda yvonne zachary zoe sergei"
        " olga hiroshi kenji yuki akira takeshi anil sanjay deepak sunil ahmed omar ali hassan ibrahim yusuf khalid leila nadia"
    ).split()
)
#: Capitalized words that follow a given name in something that is no person.
_NOT_SURNAME = frozenset(
    "street road avenue university college institute school hospital island bay river county city airport station hall center centre"
    " museum library park bridge theorem law effect equation constant method model distribution number test scale curve plot counter"
    " and or the of in on at is was has for with to from de day award prize foundation company inc ltd corporation laboratory lab"
    " reactor plant unit power nuclear data code act i ii iii iv says said asks".split()
)
_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mister|Madam|Dr|Doctor|Prof|Professor|Sir|Engr|Capt|Captain|Lt|Sgt|Sergeant|Nurse|Inspector|Operator|Engineer"
    r"|Technician|Supervisor|Manager|Director|Officer|Dosimetrist|Physicist|Judge|Coordinator|Foreman|Superintendent|Colonel|Major"
    r"|Patient|Employee|Worker|Colleague|Applicant|Attorney|Principal|Chief)"
)
_WORD = r"[A-Z](?:[a-zà-öø-ÿ]+|['’][A-Z][a-zà-öø-ÿ]+)(?:[A-Z][a-zà-öø-ÿ]+)?"
_PART = rf"(?:{_WORD}(?:-{_WORD})?|[A-Z]\.)"
_PARTICLE = r"(?:van|von|de|der|den|da|di|la|le|bin|ibn|al|el|dos)"
_NAME = rf"{_PART}(?:[ ](?:{_PARTICLE}[ ]){{0,2}}{_PART}){{0,3}}"
_TITLED = re.compile(rf"(?<![A-Za-z]){_TITLE}\.?[ ]({_NAME})(?![A-Za-z])")
#: Roles that also head other capitalized phrases (Engineer Manual) need two words after them.
_ALWAYS_PERSON = re.compile(r"(?:Mr|Mrs|Ms|Miss|Mister|Madam|Dr|Prof|Professor|Sir|Capt|Sgt|Nurse|Sergeant|Captain)\b")
_FIELD = re.compile(
    r"(?<![A-Za-z])(?:[Nn]ame|[Ff]ull [Nn]ame|[Cc]ontact(?: [Pp]erson)?|[Aa]ttn|[Aa]ttention|[Ss]igned(?: by)?|[Ss]ignature|[Pp]repared by"
    r"|[Rr]eviewed by|[Aa]pproved by|[Cc]hecked by|[Rr]eported by|[Ii]nspected by|[Rr]ecorded by|[Mm]easured by|[Aa]uthor(?:s|ed by)?|[Oo]perator"
    r"|[Cc]ardholder|[Aa]ccount [Hh]older|[Hh]older|[Rr]ecipient|[Ss]ender|[Aa]pplicant|[Pp]atient|[Ee]mployee|[Ww]itness(?:ed by)?|[Ww]orker"
    r"|[Mm]y name is|[Nn]ame is|[Nn]amed|[Cc]alled|I am|I'm|[Rr]egards,|[Ss]incerely,|Dear|[Cc]are of|c/o|[Ss]pouse|[Nn]ext of kin|[Dd]river"
    r"|[Ss]upervisor|[Mm]anager|[Ee]ngineer|[Ii]nspector|[Tt]echnician|[Oo]fficer|[Cc]olleague|[Ww]ife|[Hh]usband|[Dd]aughter|[Ss]on|[Nn]eighbou?r"
    rf"|[Ii]nterviewed|[Cc]onsultant|[Cc]oordinator)(?: is| was)?[ ]?[:,-]?[ \n]{{1,2}}({_NAME})(?![A-Za-z])"
)
_TWO = re.compile(
    rf"(?<![A-Za-z.'’-])({_WORD}(?:-{_WORD})?)((?:[ ][A-Z]\.?)?(?:[ ](?:{_PARTICLE}[ ])?{_WORD}(?:-{_WORD})?){{1,2}})(?![A-Za-z])"
)
_CAPITAL = re.compile(r"[A-Z][A-Za-z.]*[ ,:]{1,2}\(?[A-Z]|\b[Nn]ame is |[a-z] [A-Z][a-z]")

_INITIAL = r"(?:[bpmfdtnlgkhjqxrzcsyw]|zh|ch|sh)"
_FINAL = r"(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|ai|an|ao|ei|en|er|ia|ie|in|iu|ou|ua|ue|ui|un|uo|a|e|i|o|u|v|ü|üe)"
_SYLLABLES = re.compile(rf"(?:{_INITIAL}{_FINAL}|ai|an|ang|ao|en|er|ou|e){{1,2}}")
_PINYIN_SURNAME = frozenset(
    "wang li zhang liu chen yang zhao huang zhou wu xu sun hu zhu gao lin he guo ma luo liang song zheng xie han tang feng yu dong xiao"
    " cheng cao yuan deng fu shen zeng peng lv lu su jiang cai jia ding wei xue ye yan pan du dai xia zhong tian ren fan fang shi yao"
    " tan liao zou xiong jin hao kong bai cui kang mao qiu qin gu hou shao meng long wan duan lei qian yin yi chang qiao lai gong wen"
    " ouyang sima zhuge shangguan tao hong qi mo ni ge yue qu jiao".split()
)
#: Surnames in pinyin that are English words: only a given name of two syllables makes them one.
_WORDLIKE_SURNAME = frozenset(
    "he long song sun pan tan fan fang yu yi shi long ding tang ma lei lai qi mo ni tian du ye hong gong".split()
)
_PINYIN_NOT = frozenset(
    "range change danger machine engine ranger chance gauge hang gang men ten pen den fan ban can man pan tan ran sun fun gun run sang"
    " she he me we be to do no so go in on an a ang lie die tie pie mine fine line wine nine shine shang one jiao china wan bang"
    " song long tong ding ping king bin din fin gin pin sin tin win hen yen zen beijing shanghai nanjing tianjin chongqing hainan"
    " hunan henan hebei yunnan taiwan taishan guangdong guangxi shandong shanxi shaanxi fujian anhui gansu guizhou sichuan jiangsu"
    " jiangxi zhejiang hubei liaoning jilin heilongjiang xinjiang ningxia qinghai hangzhou suzhou wuhan shenzhen guangzhou dayawan"
    " river bay island lake road nuclear power plant pinyin island shidao sanmen ningde tianwan haiyang hongyanhe changjiang".split()
)


def find_english_names(plain: str) -> Iterator[Span]:
    """Yield personal names in Latin letters in readable text."""
    if not _CAPITAL.search(plain):
        return
    for match in _TITLED.finditer(plain):
        if _titled_person(match):
            yield Span(*match.span(1), "person_name")
    for match in _FIELD.finditer(plain):
        if _person_in_field(match[1]):
            yield Span(*match.span(1), "person_name")
    for match in _TWO.finditer(plain):
        length = _person_length(match[0])
        if length:
            yield Span(match.start(), match.start() + length, "person_name")


def _titled_person(match: re.Match[str]) -> bool:
    """Tell whether a title and what follows it name somebody who is not of history."""
    words = match[1].split()
    if is_public_latin(words[-1]) or words[0].casefold() in _NOT_SURNAME:
        return False
    return bool(_ALWAYS_PERSON.match(match[0])) or _person_length(match[1]) > 0


def _person_in_field(name: str) -> bool:
    """Tell whether the words of a form field are a name: two at least, none of them a common noun."""
    words = name.split()
    if is_public_latin(words[-1]) or any(word.casefold() in _NOT_SURNAME for word in words):
        return False
    return _person_length(name) > 0


def _person_length(text: str) -> int:
    """Return how many characters of capitalized words are a name: by its given name, or as pinyin."""
    words = text.split(" ")
    while len(words) > 2 and words[-1].casefold() in _NOT_SURNAME:
        words.pop()
    if len(words) < 2 or is_public_latin(words[-1]):
        return 0
    if _is_pinyin(words[0], words[1]) or _is_pinyin(words[1], words[0]):
        return len(" ".join(words[:2]))
    if words[0].split("-")[0].casefold() in _GIVEN and words[-1].casefold() not in _NOT_SURNAME:
        return len(" ".join(words))
    return 0


def _is_pinyin(surname: str, given: str) -> bool:
    """Tell whether two words are a Chinese surname and a given name in pinyin."""
    low, rest = surname.casefold(), given.casefold().replace("-", "").replace("'", "")
    if low not in _PINYIN_SURNAME or rest in _PINYIN_NOT or len(rest) < 2 or not _SYLLABLES.fullmatch(rest):
        return False
    return low not in _WORDLIKE_SURNAME or len(rest) >= 5
