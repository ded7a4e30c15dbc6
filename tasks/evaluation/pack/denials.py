"""Words that an answer holds and denies: 不应立即撤离, not recommended to shelter, 立即撤离没有必要.

A denial counts where it governs the words: in their clause, near before them or right behind them. A bound
(不超过 50 mSv), a double negation (不得不, 不能不), a denial of leaving something out (不要忘记, do not delay) and one
taken back (不是 A 而是 B) deny nothing. What is not clearly denied counts as said.
"""

import re

#: Denials of advice and fact. Longer forms first: what stands behind them decides.
_DENIES = re.compile(
    r"(?:没有?必要|无需|无须|毋须|毋需|用不着|不建议|不推荐|不主张|不提倡|不赞成|不支持|切勿|请勿|切忌|严禁|"
    r"禁止|避免|杜绝|反对|拒绝|并非|绝非|而非|"
    r"不(?:应该?当?|该|得|能|可以?|要|必|需要?|用|宜|是|属于|会|许|准|再)|未(?:宣布|发布|达到|进入|启动|要求|"
    r"建议|构成)|从不|绝不|决不|从未|还没有?|尚未|尚无|没有|错误的?(?:做法|说法|行为)(?:是|有|:|、)?)"
)
#: Denies what follows at once only: 不撤离, 未宣布, 没有撤离.
_DENIES_NEXT = re.compile(r"(?:(?<![特级区分类性个判鉴识])别|勿|(?<![淹沉])没|不|未|(?<!有)无|莫)\Z")
#: So far a denial reaches, in characters; 没有 and 未 less far.
_REACH, _SHORT_REACH = 10, 4
_SHORT = ("没有", "还没", "尚未", "尚无", "从未", "未")
_CANCELLED = re.compile(
    r"不得不|不能不|不可不|不会不|没有不|不应不|无不|莫不|无非|"
    r"(?:不|没有?|未|勿|莫|别|无需|禁止|避免|严禁|拒绝|反对)(?:应该?当?|该|得|能|可以?|要|必|需要?|用|宜|会|许|"
    r"有|请)?(?:擅自|随意|轻易|提前)?"
    r"(?:解除|取消|停止|中断|放松|放弃|忽视|忽略|轻视|省略|省去|遗漏|忘|缺|漏|推迟|拖延|延误|延迟|耽|错过|等|"
    r"只|仅|光|单|担心|惊慌|恐慌|慌|害怕|怕|"
    r"紧张|着急|犹豫|客气|怀疑|例外|经|影响|妨碍|阻止|阻碍|排除|管|论|难|但|限于|超|低于|少于|高于|大于|小于|足)"
)
#: Who must not undo a thing is told to keep it: 不得摘下剂量计, 不得隐瞒监测结果.
_UNDOES = re.compile(
    r"(?:不|没有?|未|勿|莫|别|禁止|避免|严禁)[^。;!?,]{0,4}?(?:摘|伪造|编造|虚构|冒充|篡改|隐瞒|谎报|瞒报|关闭|"
    r"拆|停用|违反|违背|离开|脱离|破坏|损坏)"
)
_TAKEN_BACK = re.compile(r"而[是要应需]|但|却|应当?(?!对)|必须|就|才|则|并(?!非|不)|然后|改为")
_BEHIND = re.compile(
    r"\A[\"”』」)]*(?:这种|这样的?|这类|这一|之类的?|的)?(?:做法|说法|表述|话|措辞|行为|要求|公告|结论)?(?:是|"
    r"都|均|也|并|就|本身|属于|显然)*"
    r"(?:不对|错误|错的|不正确|不可取|不成立|不可行|误解|谣言|不行|不合适|不妥|不恰当|违法|违规|造假|无关|"
    r"没有?依据|没有?根据|"
    r"不会(?:增加|提高|带来)[^。;]{0,4}(?:保护|好处|效果|安全)|(?:没有?必要|不必要|不必|不需要|多余|无效|"
    r"没有?用|没有?作用|不宜|禁止|不允许|不能[用写说]|不应出现)(?:的|了|的话)?\Z)"
)

_DENIES_EN = re.compile(
    r"(?:\b(?:not|never|cannot|avoid(?:ing)?|refrain from|rather than|instead of|nor|neither|(?:wrong|illegal|"
    r"unlawful|unsafe|dangerous) to|forbidden to|nobody|no one|"
    r"no need to|prohibited (?:to|from))|n't)\b(?!\s+(?:only|just|merely|simply|delay|wait|hesitate|forget|"
    r"fail|ignore|neglect|postpone|"
    r"skip|miss|stop|panic|worry|until|unless|without|exceed|less|more|later|to be (?:delayed|ignored))\w*\b)"
    r"|\b(?:no|against)\b(?!\s+(?:doubt|matter|more|less|later|longer|exception)\b)"
)
_SHORT_EN = ("no", "against")
#: Words between a denial and what it denies, at most.
_WORDS, _SHORT_WORDS = 7, 2
_TAKEN_BACK_EN = re.compile(r"\b(?:but|instead|however|then|rather(?! than)|because|so|should|must)\b")
_BEHIND_EN = re.compile(
    r"\A\w*[\"')]*(?:\s+\w+){0,2}?\s+(?:is|are|was|were|would|should|must|will|may|can(?=not))(?:\s+be)?\s*"
    r"(?:(?:\bnot|n't|\bnever)\s+(?:be\s+)?(?:recommended|needed|necessary|required|advised|advisable|"
    r"appropriate|allowed|permitted|acceptable|"
    r"correct|true|right|done|used|taken|given|started)|\b(?:unnecessary|unneeded|wrong|inadvisable|forbidden|"
    r"prohibited|avoided|false|"
    r"incorrect|inappropriate|a mistake))\b"
)
_CLAUSE_ENDS = re.compile(r"[。;!?,]|:(?!\Z)|\.(?!\d)")
#: A heading that denies what follows it: 禁止：进食、饮水.
_HEADING = re.compile(r"(?<=[止忌免勿])(?:的?(?:做法|行为|事项|事))?:|(?<=错误做法):|(?<=错误行为):")
_ASIDE = re.compile(r"(?<=not),[^,.;]{1,40},\s?|(?<=never),[^,.;]{1,40},\s?")
_OR_LATER = re.compile(r"\s*(?:,\s*\w+\s*)?,?\s*(?:or|nor)\b")


def is_denied(text: str, start: int, end: int, *, wanted: bool) -> bool:
    """Tell whether words of a folded answer are denied where they stand.

    Args:
        text: the answer, `folded`, with a clause's end where a line ended.
        start: of the words.
        end: behind them.
        wanted: whether they are wanted in the answer: then a denial of undoing them asks for them.
    """
    number = text[start].isdigit()
    before = _clause_before(text[:start])
    behind = re.split(r"[。;!?,]|\.(?!\d)", text[end : end + 80], maxsplit=1)[0]
    if re.match("[a-z0-9]", text[start]) and _denied_in_english(text[:start], behind, text[end:], number=number):
        return True
    if number:
        return re.search(r"(?:不是|并非|而非|不等于|不为)(?:约|大约)?\s?\Z", before) is not None
    if wanted and _UNDOES.search(before):
        return False
    return _denied_before(before) or _BEHIND.search(behind) is not None


def _denied_before(before: str) -> bool:
    """Tell whether what stands before the words in their clause denies them."""
    if _CANCELLED.search(before[-2 * _REACH :]):
        # The last denial may still stand alone: 不要忘记，不要外出 is split at the comma.
        return False
    if _DENIES_NEXT.search(before) and not re.search(r"除非|不仅|并非不\Z", before):
        return True
    denials = list(_DENIES.finditer(before))
    if not denials:
        return False
    gap = before[denials[-1].end() :]
    reach = _SHORT_REACH if denials[-1][0].startswith(_SHORT) else _REACH
    items = re.split(r"[、/和与及或]", gap)
    return max(map(len, items)) <= reach and not _TAKEN_BACK.search(gap)


def _denied_in_english(before: str, behind: str, after: str, *, number: bool) -> bool:
    """Tell whether English words are denied by what stands before or behind them."""
    clause = re.split(r"[.;:!?。](?!\d)", before[-200:])[-1]
    if number:
        return re.search(r"(?:\bnot|n't)(?: (?:a|the|about))? ?\Z", clause) is not None
    if _BEHIND_EN.search(behind):
        return True
    clause = _ASIDE.sub(" ", clause)
    denials = list(_DENIES_EN.finditer(clause))
    if not denials:
        return False
    gap = clause[denials[-1].end() :]
    limit = _SHORT_WORDS if denials[-1][0] in _SHORT_EN else _WORDS
    listed = "," not in gap or re.search(r"\b(?:or|nor)\b", gap) or _OR_LATER.match(after)
    return len(gap.split()) <= limit and bool(listed) and not _TAKEN_BACK_EN.search(gap)


def _clause_before(before: str) -> str:
    """Return what stands before a place in its clause."""
    text = _HEADING.sub("、", before[-80:])
    return _CLAUSE_ENDS.split(text)[-1]
