"""Whether a difference between two texts is a slip of the hand, or could be one, or says something else."""

from typing import NamedTuple

from tasks.data.matching.normalization import is_han_character
from tasks.data.privacy.wordlists import word_list, word_set

#: Shortest Latin word that can be mistyped into another without being one.
TYPABLE_WORD = 6
#: Where all else is the same, one this long with a letter too few.
LENIENT_WORD = 5
#: Most characters left out or put in at one place of a question.
MOST_PUT_IN = 2

#: Normalization takes the percent sign away, so the word beside a number says no more.
_PARTICLES = frozenset("的地得了着吗呢吧啊呀嘛哦之呐哈") | word_set("the a an and to of that please per cent percent")
#: Characters taken for each other by hand or by sound; a change from one to another of a group is a slip.
_CONFUSED = tuple(
    map(
        frozenset,
        word_list("""
的地得 做作 在再 那哪 已以 像象相 账帐 须需 度渡 份分 即既 震振 燥躁 辐幅福 射设 测侧 记计 至致 型形 暴爆
蔽避 泄泻 检捡 气汽 响向 他她它 座坐 戴带 练炼 密蜜 绩迹 园圆 制治 州洲 历厉 副幅 彩采 查察 措错 段断
反返 付附 杆竿 供共 故固 海害 合和 核合 很狠 化划 换幻 辩辨辫 诉述 拔拨 毫豪 竟竞 拦栏 粒立 联连 量亮
漏露 蒙朦 摸模 偏片 拼拚 其期 弃气 签鉴 清青情请晴 曲屈 驱趋 溶融熔 势式 输书 熟塾 送松 提题 体题 统通
托脱 稳隐 务物 析折 吸息 系细 陷限 象像 效校 协胁 泻泄 形行 修休 需须 训迅 验念 业夜 仪议 移疑 盈营
影映 预予 域遇 园元 原源 缘原 援缓 怨愿 运晕 札扎 章彰 仗杖 珍诊 争净 知只 执职 指致 志致 置制
种重 注住 装状 准淮 资咨 子字 综宗 组阻 罪醉 尊遵 后候
门们 因应 通同 时使 里理 到道 事是 必需 经径 只支 及级 记纪 建健 交教 接结 净静 具据 决绝
"""),
    )
)
_NUMERALS = "零一二三四五六七八九十百千万亿两半双倍几每各仅只单"
_DENIALS = "不没未无勿非莫否别禁免"
_OPPOSITES = (
    "左右上下高低大小多少前后内外男女阴阳早晚东南西北增减升降加乘除进出入正负反真假对错是甲乙丙丁戊老幼婴孕成儿童父母兄弟"
    "姐妹公私雌雄新旧冷热干湿快慢急缓轻重长短粗细强弱深浅开关起停始终首末先初主副总分年月日时秒克吨米升毫微纳皮兆厘公斤吋尺"
    "里亩元角毛刀镑"
)
_ELEMENTS = (
    "氢氦锂铍硼碳氮氧氟氖钠镁铝硅磷硫氯氩钾钙钛钒铬锰铁钴镍铜锌镓锗砷硒溴氪铷锶钇锆铌钼锝钌铑钯银镉铟锡锑碲碘氙铯钡镧铈"
    "镨钕钷钐铕钆铽镝钬铒铥镱镥铪钽钨铼锇铱铂金汞铊铅铋钋砹氡钫镭锕钍镤铀镎钚镅锔锫锎锿氘氚"
)
#: One of these more or less is meant; another in the place of one of these is another thing: no slip of the hand.
_MEANT = frozenset(_NUMERALS + _DENIALS + _ELEMENTS)
_TELLING = frozenset(_NUMERALS + _DENIALS + _OPPOSITES + _ELEMENTS)

Tokens = tuple[str, ...]


class Place(NamedTuple):
    """One place where two turns differ.

    Args:
        left: tokens of the one.
        right: tokens of the other.
        beside: the tokens around the place.
    """

    left: Tokens
    right: Tokens
    beside: Tokens


def is_slip(place: Place) -> bool:
    """Tell whether a difference is a known slip: particles, a word doubled or mistyped, characters often confused."""
    left, right = (tuple(token for token in side if token not in _PARTICLES) for side in (place.left, place.right))
    if left == right:
        return True
    if len(left) + len(right) == 1:
        return (left or right)[0] in place.beside and not is_numeral((left or right)[0])
    return len(left) == len(right) == 1 and _confused(left[0], right[0])


def _confused(left: str, right: str) -> bool:
    """Tell whether a word stands for another by a slip of the hand."""
    if is_han_character(left) or is_han_character(right):
        return any(left in group and right in group for group in _CONFUSED)
    if not (left.isalpha() and right.isalpha()) or max(len(left), len(right)) < TYPABLE_WORD:
        return left.isalpha() and right.isalpha() and min(len(left), len(right)) > 2 and _is_plural(left, right)
    return _is_plural(left, right) or _mistyped(*sorted((left, right), key=len))


def _is_plural(left: str, right: str) -> bool:
    """Tell whether one word is the other's plural."""
    return left in (f"{right}s", f"{right}es") or right in (f"{left}s", f"{left}es")


def _mistyped(shorter: str, longer: str) -> bool:
    """Tell whether two words are one letter apart, behind the first: changed, left out, or two swapped."""
    front = next((at for at, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    if not front:
        return False
    if len(shorter) != len(longer):
        return len(longer) - len(shorter) == 1 and shorter[front:] == longer[front + 1 :]
    swapped = shorter[front : front + 2] == longer[front : front + 2][::-1]
    return shorter[front + 1 :] == longer[front + 1 :] or (swapped and shorter[front + 2 :] == longer[front + 2 :])


def may_be_slip(place: Place) -> bool:
    """Tell whether a difference could be a slip: a few characters or a letter too many or too few, nothing telling.

    Another character in the place of one is a slip only where the two are often confused: red is not green.
    """
    changed = (*place.left, *place.right)
    if len(changed) == 1 and is_han_character(changed[0]):
        return changed[0] not in _MEANT
    if len(place.left) == len(place.right) == 1 and all(token.isascii() and token.isalpha() for token in changed):
        shorter, longer = sorted(changed, key=len)
        return len(longer) >= LENIENT_WORD and len(shorter) < len(longer) and _mistyped(shorter, longer)
    one_sided = not place.left or not place.right
    return one_sided and len(changed) <= MOST_PUT_IN and all(is_han_character(t) and not is_telling(t) for t in changed)


def is_telling(token: str) -> bool:
    """Tell whether another word in its place is another thing."""
    return token in _TELLING or is_numeral(token)


def is_numeral(token: str) -> bool:
    """Tell whether a word is, or holds, a number."""
    return token in _NUMERALS or any(map(str.isdigit, token))
