"""What the slots of `unseen.py` draw: names, addresses and numbers, none taken from `people.py`'s lists.

Numbers follow the public standards (GB 11643, GB/T 2260, 3GPP TS 23.003 with Luhn, the national numbering plans);
foreign ones use blocks kept for examples where a plan has such.
"""

import random
from collections.abc import Callable

Draw = Callable[[random.Random], str]

#: As frequent as among the Chinese population, from the yearly report on names; then the rest of the hundred, rarer
#: ones, ones that are words too.
_SURNAMES = (
    "王" * 7 + "李" * 7 + "张" * 7 + "刘" * 5 + "陈" * 5 + "杨" * 3 + "黄" * 2 + "赵" * 2 + "吴" * 2 + "周" * 2
    + "徐孙马朱胡郭何林罗高郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江"
    "尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温常连应安成包时左华路牛车明全年甘古鲍岳齐季申翁章乐祁项楚柯阮尤游苗聂焦"
)  # fmt: skip
_COMPOUND = ("欧阳", "上官", "司徒", "诸葛", "东方", "令狐", "夏侯", "宇文")
_FIRST = (
    "建志国文明海春晓小玉秀雪丽美思雨子梓浩宇俊佳嘉天永家金德忠立少世成云红桂彩凤淑静慧婉诗梦若以锦书景承奕修沐亦希知清远宏振兆培启"
    "爱月巧冬秋夏雁青依芷语安"
)  # fmt: skip
_SECOND = (
    "军平华强伟杰涛辉斌鹏飞刚磊峰明亮生林海山江波超东梅兰英霞芳燕娟敏琴萍莉婷洁颖琳瑶怡妍涵萱轩然昊哲睿辰阳宸泽铭程毅航帆远舟儒廷川松柏"
    "龙虎贵财福寿康宁喜庆良善信诚仁义礼智香珍珠莲菊红玲"
)  # fmt: skip
_SINGLE = "伟芳娜敏静丽强磊军洋勇艳杰涛超明霞娟刚平燕鹏飞斌波辉健鑫宁佳琳琪瑞帅蕾莹倩雯晶旭凯亮龙岩峰"
_TRADITIONAL_SURNAMES = (
    "陳林黃張李王吳劉蔡楊許鄭謝郭洪曾邱廖賴徐周葉蘇莊呂江何羅高蕭潘朱簡鍾彭游詹胡施沈余趙盧梁顏柯翁魏孫戴"
)
_TRADITIONAL_GIVEN = "淑美雅惠怡君佳玲志明俊宏建家豪宗翰冠宇承恩柏詩涵婷雯欣郁品妍文彥廷宜蓁麗華秀英雪芬月嬌國榮金龍"

_FIRST_EN = ["Olivia", "Liam", "Noah", "Ava", "Isabella", "Mason", "Ethan", "Mia", "Lucas", "Harper", "Evelyn", "Logan", "Abigail", "Aiden", "Ella", "Jackson", "Scarlett", "Aria", "Jacob", "Amelia", "Jayden", "Nora", "Zoe", "Riley", "Leah", "Isaac", "Stella", "Hazel", "Caleb", "Violet", "Aurora", "Wyatt", "Julian", "Lily", "Henry", "Owen", "Deborah", "Kenneth", "Brenda", "Gary", "Sharon", "Timothy", "Donna", "Larry", "Cynthia", "Frank", "Kathleen", "Scott", "Amy", "Brandon", "Angela", "Gregory", "Shirley", "Raymond", "Anna", "Jerry", "Pamela", "Dennis", "Emma", "Walter", "Nicole", "Helen", "Samantha", "Christine", "Debra", "Janet", "Maria", "Heather", "Joan", "Judith", "Ruth", "Tyler", "Diana", "Aaron", "Julie", "Jose", "Joyce", "Adam", "Virginia", "Nathan", "Kelly", "Zachary", "Lauren", "Kyle", "Christina", "Diego", "Camila", "Mateo", "Valentina", "Javier", "Lucia", "Rafael", "Elena", "Arjun", "Ananya", "Rohan", "Kavya", "Vikram", "Deepa", "Omar", "Layla", "Yusuf", "Aisha", "Khalid", "Mariam", "Chidi", "Ngozi", "Kwame", "Amara", "Tomasz", "Agnieszka", "Dmitri", "Svetlana", "Lars", "Astrid", "Giulia", "Matteo", "Yuki", "Haruto", "Minh", "Thuy", "Soo-jin", "Ravi"]
_LAST_EN = (
    (
        "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson Anderson "
        "Thomas Taylor Moore Jackson Martin Lee Perez White Harris Sanchez Clark Lewis Robinson Walker Young Allen King "
        "Wright Scott Torres Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Roberts Gomez Phillips "
        "Evans Turner Diaz Parker Cruz Edwards Collins Stewart Morris Morales Murphy Cook Rogers Gutierrez Ortiz Morgan "
        "Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox Ward Richardson Watson Brooks Wood James Gray Mendoza Ruiz "
        "Hughes Price Alvarez Castillo Sanders Long Foster Jimenez Sharma Gupta Singh Iyer Khan Ali Rahman Haddad Mwangi "
        "Adeyemi Mensah Wojcik Petrov Sokolov Johansson Nielsen Rossi Bianchi Sato Yamamoto Tran Pham Choi Park O'Brien "
        "MacDonald van Dijk Fitzgerald Abernathy Cartwright Winslow Thornbury"
    )
    .replace("van Dijk", "van_Dijk")
    .split()
)
_PINYIN = ["Li", "Wang", "Zhang", "Chen", "Liu", "Zhao", "Huang", "Zhou", "Wu", "Xu", "Sun", "Hu", "Zhu", "Guo", "He", "Lin"]
_PINYIN_GIVEN = (
    ["Xiaoming", "Jiahui", "Wenbin", "Yuting", "Haoran", "Meiling", "Zhiqiang", "Lihua", "Jianguo", "Xinyi", "Chenxi", "Fang", "Wei", "Na", "Lei"]
)


def name_zh(rng: random.Random) -> str:
    """Return an invented Chinese name: three characters four times in five."""
    surname = rng.choice(_COMPOUND) if rng.random() < 0.02 else rng.choice(_SURNAMES)
    if rng.random() < 0.2:
        return surname + rng.choice(_SINGLE)
    return surname + rng.choice(_FIRST) + rng.choice(_SECOND)


def name_traditional(rng: random.Random) -> str:
    """Return an invented name in traditional characters."""
    return rng.choice(_TRADITIONAL_SURNAMES) + rng.choice(_TRADITIONAL_GIVEN) + rng.choice(_TRADITIONAL_GIVEN)


def name_en(rng: random.Random) -> str:
    """Return an invented name in Latin letters: with an initial, double, in pinyin, or plain."""
    chance = rng.random()
    if chance < 0.06:
        return f"{rng.choice(_PINYIN)} {rng.choice(_PINYIN_GIVEN)}"
    first, last = rng.choice(_FIRST_EN), rng.choice(_LAST_EN).replace("_", " ")
    if chance < 0.14:
        return f"{first} {rng.choice('ABCDEJKLMRST')}. {last}"
    if chance < 0.18:
        return f"{first} {last}-{rng.choice(_LAST_EN).split('_')[0]}"
    return f"{first} {last}"


def surname_en(rng: random.Random) -> str:
    """Return an English surname."""
    return rng.choice(_LAST_EN).replace("_", " ")


_CITIES = ["江苏省徐州市铜山区", "广东省佛山市禅城区", "浙江省金华市婺城区", "湖南省株洲市天元区", "福建省泉州市丰泽区", "河南省洛阳市涧西区", "四川省泸州市江阳区", "山东省潍坊市奎文区", "安徽省芜湖市镜湖区", "江西省赣州市章贡区", "上海市普陀区", "重庆市九龙坡区", "天津市河西区", "北京市丰台区", "杭州市余杭区", "武汉市江岸区"]
_PLACE = "枫桥云龙翠柏紫荆银杏金桂南湖北苑东风西园望京春晖和谐富民康乐安泰学林松涛石榴梅岭桃源兰亭竹园松江青羊花溪月湖"
_ROAD = ("路", "街", "大道", "巷", "东路", "北街", "西路", "南街", "支路", "一路")
_ESTATE = ("家园", "花园", "小区", "公寓", "新村", "苑", "华庭", "名邸", "雅居", "广场", "佳苑", "国际城")
_BUILDING = ("大厦", "中心", "广场", "商务楼", "国际大厦")
_TOWN = ("镇", "乡", "街道")


def _place(rng: random.Random) -> str:
    start = rng.randrange(0, len(_PLACE) - 1, 2)
    return _PLACE[start : start + 2] if rng.random() < 0.6 else rng.choice(_PLACE) + rng.choice(_PLACE)


def _road(rng: random.Random) -> str:
    return _place(rng) + rng.choice(_ROAD)


def _estate(rng: random.Random) -> str:
    return _place(rng) + rng.choice(_ESTATE)


def _room(rng: random.Random) -> str:
    return f"{rng.randrange(1, 30)}{rng.randrange(1, 8):02d}"


def house_zh(rng: random.Random) -> str:
    """Return an invented address down to the house or the room, from a full one to the last part alone."""
    n, small = rng.randrange(1, 600), rng.randrange(1, 30)
    city = rng.choice(_CITIES) if rng.random() < 0.55 else ""
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"{city}{_road(rng)}{n}",
        lambda: f"{city}{_road(rng)}{n}号",
        lambda: f"{city}{_road(rng)}{n}号{_estate(rng)}{small}栋{small % 4 + 1}单元{_room(rng)}室",
        lambda: f"{city}{_estate(rng)}{small}-{small % 4 + 1}-{_room(rng)}",
        lambda: f"{city}{_estate(rng)}{small}号楼{_room(rng)}",
        lambda: f"{city}{_place(rng)}{rng.choice(_BUILDING)}{rng.choice('ABC')}座{_room(rng)}室",
        lambda: f"{city}{_road(rng)}{n}弄{small}号{_room(rng)}室",
        lambda: f"{city}{_place(rng)}{rng.choice(_TOWN)}{_place(rng)}村{small}组{n}号",
        lambda: f"{city}{_estate(rng)}{small}栋{_room(rng)}",
        lambda: f"{city}{_road(rng)}{n}号附{small}号",
        lambda: f"{city}{_estate(rng)}{small % 3 + 1}期{small}幢{small % 4 + 1}单元{_room(rng)}",
        lambda: f"{city}{_road(rng)}与{_road(rng)}交叉口{_estate(rng)}{small}号楼{small % 4 + 1}单元{_room(rng)}",
    )
    return rng.choice(forms)()


_TW_CITIES = (
    "臺北市大安區",
    "新北市板橋區",
    "臺中市西屯區",
    "高雄市左營區",
    "臺南市東區",
    "桃園市中壢區",
    "台北市信義區",
    "",
)
_TW_ROADS = ("和平東路", "忠孝西路", "民生路", "中正路", "復興南路", "建國北路", "文心路", "成功路", "光復路", "永康街")


def house_tw(rng: random.Random) -> str:
    """Return an invented address as Taiwan writes it."""
    text = rng.choice(_TW_CITIES) + rng.choice(_TW_ROADS)
    text += f"{rng.choice('一二三四')}段" if rng.random() < 0.6 and text[-1] == "路" else ""
    text += f"{rng.randrange(2, 300)}巷" if rng.random() < 0.4 else ""
    text += f"{rng.randrange(2, 60)}弄" if text[-1] == "巷" and rng.random() < 0.5 else ""
    text += f"{rng.randrange(1, 400)}號"
    return text + (
        f"{rng.randrange(2, 20)}樓" + rng.choice(("", f"之{rng.randrange(1, 9)}")) if rng.random() < 0.7 else ""
    )


_STREET_EN = ["Marston", "Kellerman", "Oak", "Hollow", "Winding", "Birch", "Pine", "Ridge", "Cedar", "Juniper", "Willow", "Sutton", "Barlow", "Hanover", "Prospect", "Granite", "Meadow", "Thornhill", "Ashford", "Colby", "Linden", "Preston", "Larkspur"]
_SUFFIX_EN = ["Street", "St", "Avenue", "Ave", "Road", "Rd", "Lane", "Ln", "Drive", "Dr", "Court", "Ct", "Place", "Way", "Boulevard", "Blvd", "Terrace", "Circle", "Port", "Crossing", "Trail", "Parkway", "Loop", "Mews", "Close", "Crescent"]
_TOWN_EN = ("Fairview", "Lake Dora", "Milton Bay", "Brookhaven", "Port Ellis", "Westmere", "Northfield", "Cedar Falls")
_STATES = ("OH", "TX", "CA", "NY", "PA", "WA", "IL", "GA", "Ohio", "Texas")


def house_en(rng: random.Random) -> str:
    """Return an invented English street address."""
    text = f"{rng.randrange(2, 9900)} {rng.choice(_STREET_EN)} {rng.choice(_SUFFIX_EN)}"
    chance = rng.random()
    if chance < 0.3:
        text += rng.choice((" Apt. {}", ", Apt {}", " Suite {}", ", Unit {}", " #{}")).format(rng.randrange(1, 900))
    if rng.random() < 0.5:
        text += f", {rng.choice(_TOWN_EN)}, {rng.choice(_STATES)} {rng.randrange(10000, 99999)}"
    return text


_REGIONS = (
    "110105",
    "310104",
    "320311",
    "330782",
    "350503",
    "370705",
    "410305",
    "430211",
    "440604",
    "510502",
    "500107",
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _id_body(rng: random.Random) -> str:
    date = f"{rng.randrange(1945, 2008)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
    return rng.choice(_REGIONS) + date + _digits(rng, 3)


def _id_check(body: str) -> str:
    return "10X98765432"[sum(int(d) * w for d, w in zip(body, _WEIGHTS, strict=True)) % 11]


def resident_id(rng: random.Random) -> str:
    """Return a resident id with a right check digit."""
    body = _id_body(rng)
    return body + _id_check(body)


def resident_id_mistyped(rng: random.Random) -> str:
    """Return a resident id whose check digit is wrong."""
    body = _id_body(rng)
    return body + rng.choice([digit for digit in "0123456789X" if digit != _id_check(body)])


def with_luhn(body: str) -> str:
    """Return digits with their Luhn check digit."""
    total = sum(sum(divmod(int(d) * (2 if n % 2 == 0 else 1), 10)) for n, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def imei(rng: random.Random) -> str:
    """Return an IMEI with its check digit."""
    return with_luhn(rng.choice(("35", "86", "01", "99")) + _digits(rng, 12))


def mobile(rng: random.Random) -> str:
    """Return a mainland mobile number."""
    return rng.choice(
        ("130", "135", "139", "150", "158", "166", "176", "177", "182", "187", "189", "191", "199")
    ) + _digits(rng, 8)


def mobile_spaced(rng: random.Random) -> str:
    """Return a mainland mobile number in groups, or with the country code."""
    value = mobile(rng)
    return rng.choice((f"{value[:3]} {value[3:7]} {value[7:]}", f"{value[:3]}-{value[3:7]}-{value[7:]}", f"+86{value}",
                       f"+86 {value}", f"0086{value}", f"(86){value}", f"86-{value}"))  # fmt: skip


def hong_kong(rng: random.Random) -> str:
    """Return a Hong Kong number with its code."""
    value = rng.choice("569") + _digits(rng, 7)
    return rng.choice((f"+852 {value[:4]} {value[4:]}", f"（852）{value}", f"00852{value}", f"+852{value}", f"(852) {value}",
                       f"852-{value}", f"+852-{value[:4]}-{value[4:]}"))  # fmt: skip


def macau(rng: random.Random) -> str:
    """Return a Macau number with its code."""
    value = rng.choice(("6", "28")) + _digits(rng, 7)
    value = value[:8]
    return rng.choice(
        (f"+853 {value[:4]} {value[4:]}", f"00853{value}", f"(853){value}", f"+853{value}", f"853-{value}")
    )


def taiwan_mobile(rng: random.Random) -> str:
    """Return a Taiwan mobile number."""
    value = "9" + _digits(rng, 8)
    return rng.choice((f"0{value[:3]}-{value[3:6]}-{value[6:]}", f"00886{value}", f"+886{value}", f"+886-{value[:3]}-{value[3:6]}-{value[6:]}",
                       f"0{value}", f"+886 {value[:3]} {value[3:]}", f"886-{value}"))  # fmt: skip


def taiwan_landline(rng: random.Random) -> str:
    """Return a Taiwan fixed line."""
    value = rng.choice("2345678") + _digits(rng, 7)
    return rng.choice((f"02-{value}", f"(02){value}", f"+886-2-{value}", f"(02){value[:4]}-{value[4:]}", f"+886 2 {value[:4]} {value[4:]}",
                       f"04-{value}"))  # fmt: skip


def e164(rng: random.Random) -> str:
    """Return a foreign number with its plus sign; blocks kept for fiction where there are such."""
    return rng.choice((f"+1 {rng.randrange(201, 989)}-555-01{_digits(rng, 2)}", f"+1{rng.randrange(201, 989)}55501{_digits(rng, 2)}",
                       f"+44 7700 900{_digits(rng, 3)}", f"+447700900{_digits(rng, 3)}", f"+61 491 570 {_digits(rng, 3)}",
                       f"+49 30 23125 {_digits(rng, 3)}", f"+33 6 39 98 {_digits(rng, 2)} {_digits(rng, 2)}", f"+81 90-{_digits(rng, 4)}-{_digits(rng, 4)}",
                       f"+65 9{_digits(rng, 3)} {_digits(rng, 4)}", f"+7 900 {_digits(rng, 3)}-{_digits(rng, 2)}-{_digits(rng, 2)}",
                       f"+60 12-{_digits(rng, 3)} {_digits(rng, 4)}", f"+919{_digits(rng, 9)}"))  # fmt: skip


def landline(rng: random.Random) -> str:
    """Return a mainland fixed line."""
    area = rng.choice(("010", "021", "0516", "0757", "0579", "0731", "0595", "0379", "0830"))
    return f"{area}-{rng.choice('245678')}{_digits(rng, 7)}"


def landline_glued(rng: random.Random) -> str:
    """Return a mainland fixed line without its hyphen, or with brackets."""
    area, rest = landline(rng).split("-")
    return rng.choice((f"{area}{rest}", f"({area}){rest}", f"（{area}）{rest}", f"{area} {rest}"))


def email(rng: random.Random) -> str:
    """Return an address in a domain kept for examples."""
    return f"{rng.choice(('a', 'lz', 'quan', 'river'))}{_digits(rng, rng.randrange(2, 6))}@{rng.choice(('example.com', 'mail.example.net', 'corp.example.org'))}"


def bank_card(rng: random.Random) -> str:
    """Return a debit card of 19 digits with its check digit."""
    return with_luhn(rng.choice(("622202", "621700", "622848", "623052", "621226")) + _digits(rng, 12))


def credit_card(rng: random.Random) -> str:
    """Return a credit card of 16 digits, in groups of four now and then."""
    value = with_luhn(rng.choice(("6225", "5187", "3568", "4392")) + _digits(rng, 11))
    return value if rng.random() < 0.6 else " ".join(value[n : n + 4] for n in range(0, 16, 4))


def public_ip(rng: random.Random) -> str:
    """Return a public IPv4 address."""
    return (
        f"{rng.choice((47, 59, 101, 121, 183, 220))}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    )


def plate(rng: random.Random) -> str:
    """Return a licence plate."""
    return (
        rng.choice("京沪苏浙粤川鲁豫皖闽")
        + rng.choice("ABCDEFG")
        + "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(4))
        + rng.choice("0123456789")
    )


def passport(rng: random.Random) -> str:
    """Return a Chinese passport number."""
    return (
        rng.choice(("E", "EA", "EB", "G")).ljust(1) + _digits(rng, 8) if rng.random() < 0.5 else "EC" + _digits(rng, 7)
    )


def qq(rng: random.Random) -> str:
    """Return a QQ number of six to ten digits."""
    return str(rng.randrange(1, 10)) + _digits(rng, rng.randrange(5, 10))


def wechat(rng: random.Random) -> str:
    """Return a WeChat account: six to twenty letters, digits, hyphens and underscores, a letter first."""
    return rng.choice((f"wxid_{''.join(rng.choice('abcdefghjkmnpqrstuvw0123456789') for _ in range(12))}", f"sunny_{_digits(rng, 4)}",
                       f"lx{_digits(rng, 7)}", f"hello-{rng.choice(('maple', 'ocean'))}{_digits(rng, 2)}", f"Tina{_digits(rng, 6)}"))  # fmt: skip


_PHONE, _FIXED = ("landline",), ("mobile",)
NAMES: dict[str, tuple[str, Draw, tuple[str, ...]]] = {
    "p": ("person_name", name_zh, ()),
    "pt": ("person_name", name_traditional, ()),
    "pe": ("person_name", name_en, ()),
    "sn": ("person_name", surname_en, ()),
}
ADDRESSES: dict[str, tuple[str, Draw, tuple[str, ...]]] = {
    "ah": ("address", house_zh, ()),
    "at": ("address", house_tw, ()),
    "ae": ("address", house_en, ()),
}
STRUCTURED: dict[str, tuple[str, Draw, tuple[str, ...]]] = {
    "qq": ("qq", qq, ()),
    "wx": ("wechat", wechat, ()),
    "imei": ("imei", imei, ()),
    "idn": ("resident_id", resident_id, ()),
    "idbad": ("resident_id", resident_id_mistyped, ()),
    "mob": ("mobile", mobile, ()),
    "mobsp": ("mobile", mobile_spaced, ()),
    "hk": ("mobile", hong_kong, _PHONE),
    "mo": ("mobile", macau, _PHONE),
    "tw": ("mobile", taiwan_mobile, _PHONE),
    "twl": ("landline", taiwan_landline, _FIXED),
    "e164": ("mobile", e164, _PHONE),
    "land": ("landline", landline, ()),
    "landglue": ("landline", landline_glued, ()),
    "mail": ("email", email, ()),
    "card": ("bank_card", bank_card, ()),
    "cc": ("bank_card", credit_card, ()),
    "pip": ("ip", public_ip, ()),
    "plate": ("licence_plate", plate, ()),
    "pp": ("passport", passport, ()),
}


def _number(length: int) -> Draw:
    return lambda rng: str(rng.randrange(10 ** (length - 1), 10**length))


NEGATIVES: dict[str, Draw] = {
    **{f"n{length}": _number(length) for length in (2, 3, 4, 5, 6, 7, 8, 10, 11)},
    "n11m": lambda rng: "2" + _digits(rng, 10),
    "order": lambda rng: "20" + f"{rng.randrange(15, 26)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}" + _digits(rng, 10),
    "order10": _number(10),
    "ts": lambda rng: str(rng.randrange(1_500_000_000, 1_750_000_000)),
    "ts13": lambda rng: str(rng.randrange(1_500_000_000_000, 1_750_000_000_000)),
}  # fmt: skip
