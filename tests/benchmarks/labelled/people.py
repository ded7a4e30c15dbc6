"""Invented people: random values of every type of personal data, with valid checksums where the type has them.

Places are real, since a recognizer may know them; roads, house numbers, people and their numbers are drawn at random.
Written from the public standards alone, without a look at the project's own recognizers.
"""

import random
from collections.abc import Callable
from datetime import date, timedelta

#: Surname and share, roughly as frequent as among Han Chinese; compound and rarer surnames included.
SURNAMES = (
    "王王王王李李李李张张张刘刘刘陈陈陈杨杨黄黄赵赵吴吴周周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢"
    "姚沈钟姜崔谭陆范汪廖石金贾韦夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常温康施文牛樊葛邢安齐易乔伍庞颜"
)
COMPOUND_SURNAMES = ("欧阳", "诸葛", "司马", "上官", "司徒", "尉迟", "皇甫", "慕容", "端木")
GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂英华玉兰秀梅红霖浩宇轩然博文思雨欣怡子涵佳慧晓东建国志鹏海燕雪婷梓萱俊凯鑫晨旭阳嘉诚立新"
    "永福德胜春生凤琴云飞振邦学义家豪美玲淑贞冬青若溪一帆承泽锦程舒窈景行润泽可心"
)
MINORITY_NAMES = (
    "阿依古丽·买买提", "多吉次仁", "巴特尔", "其木格", "热依汗·吐尔逊", "扎西平措", "斯琴高娃·乌兰", "艾力·库尔班",
)  # fmt: skip
FOREIGN_NAMES_ZH = ("约翰·帕克森", "玛丽亚·洛佩兹", "安德烈·库兹明", "田中健太郎", "詹姆斯·霍洛韦", "朴在彦")
FIRST_NAMES = (
    "Emily", "James", "Rachel", "Daniel", "Priya", "Michael", "Sofia", "Oliver", "Grace", "Thomas", "Hannah", "Ahmed",
    "Laura", "Peter", "Fatima", "George", "Nadia", "William", "Chloe", "Robert", "Ingrid", "Carlos", "Mei", "Samuel",
    "Alice", "Victor", "Megan", "Hiroshi", "Louise", "Patrick", "Wei", "Katherine",
)  # fmt: skip
LAST_NAMES = (
    "Carter", "Nguyen", "Patel", "O'Connor", "Smith-Hughes", "Thompson", "Kowalski", "García", "Whitfield", "Hassan",
    "Bennett", "Lindqvist", "Okafor", "Ramirez", "Fletcher", "Zhang", "Müller", "Dawson", "Ivanova", "Tanaka",
    "Holloway", "McAllister", "Reyes", "Sutherland", "Chowdhury", "Novak", "Pemberton", "Li", "Ashworth", "Delgado",
)  # fmt: skip
#: Division code of GB/T 2260, province and city, district or county, area code of the telephone.
PLACES = (
    ("110105", "北京市", "朝阳区", "010"), ("310115", "上海市", "浦东新区", "021"),
    ("510704", "四川省绵阳市", "游仙区", "0816"), ("510107", "四川省成都市", "武侯区", "028"),
    ("330424", "浙江省嘉兴市", "海盐县", "0573"), ("320703", "江苏省连云港市", "连云区", "0518"),
    ("440307", "广东省深圳市", "龙岗区", "0755"), ("350982", "福建省宁德市", "福鼎市", "0593"),
    ("210281", "辽宁省大连市", "瓦房店市", "0411"), ("370687", "山东省烟台市", "海阳市", "0535"),
    ("620102", "甘肃省兰州市", "城关区", "0931"), ("140105", "山西省太原市", "小店区", "0351"),
    ("450602", "广西壮族自治区防城港市", "港口区", "0770"), ("430408", "湖南省衡阳市", "蒸湘区", "0734"),
    ("150203", "内蒙古自治区包头市", "昆都仑区", "0472"), ("500106", "重庆市", "沙坪坝区", "023"),
    ("610113", "陕西省西安市", "雁塔区", "029"), ("420111", "湖北省武汉市", "洪山区", "027"),
    ("320106", "江苏省南京市", "鼓楼区", "025"), ("650104", "新疆维吾尔自治区乌鲁木齐市", "新市区", "0991"),
)  # fmt: skip
TOWNS = ("青龙镇", "石桥镇", "望江街道", "柳河乡", "新丰镇", "东港街道", "清溪乡", "白沙镇", "金水街道", "凤鸣镇")
VILLAGES = ("柳河村", "大王庄村", "上坪村", "石埠子村", "东湾村", "双桥村", "前进村", "李家坳村")
ROADS = (
    "长虹大道", "人民南路", "解放路", "滨海东路", "建设北街", "文昌巷", "迎宾大道中段", "锦绣三路", "西湖街",
    "杨柳胡同",    "中山路", "学府路", "幸福里", "梧桐巷", "科创二路", "和平大街",
)  # fmt: skip
ESTATES = ("翠湖花园", "阳光水岸小区", "核电家属院", "锦绣江南", "红星新村", "万和城", "碧水湾", "工人新村")
STREETS_EN = (
    "Maple Street", "Oakwood Avenue", "Church Lane", "Riverside Drive", "Queen's Road", "Elm Grove", "Station Road",
    "Hillcrest Boulevard", "Sycamore Court", "North 5th Street", "Harbour Terrace", "Millbrook Close", "Lakeview Rd",
    "W. Jefferson Ave", "Kingsway",
)  # fmt: skip
CITIES_US = (("Springfield", "IL", "62704"), ("Richland", "WA", "99352"), ("Augusta", "GA", "30901"),
             ("Toledo", "OH", "43604"), ("Plymouth", "MA", "02360"))  # fmt: skip
CITIES_UK = (("Bristol", "BS8 1QE"), ("Leeds", "LS6 2AB"), ("Whitehaven", "CA28 7QY"), ("Norwich", "NR2 4SX"))
PLATE_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
PLATE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
CREDIT_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
MOBILE_PREFIXES = (
    "130", "131", "132", "133", "135", "136", "137", "138", "139", "147", "150", "152", "153", "158", "159", "166",
    "173", "176", "177", "180", "182", "185", "186", "187", "188", "189", "191", "193", "198", "199",
)  # fmt: skip
MAIL_DOMAINS = ("example.com", "example.org", "mail.example.net", "hr.example.com", "npp-ops.example.org")

Draw = Callable[[random.Random], str]


def digits(rng: random.Random, count: int) -> str:
    """Return random digits."""
    return "".join(rng.choice("0123456789") for _ in range(count))


def person_name(rng: random.Random) -> str:
    """Return a Chinese name: mostly Han, one in twelve of another tradition."""
    if rng.random() < 0.08:
        return rng.choice(MINORITY_NAMES + FOREIGN_NAMES_ZH)
    surname = rng.choice(COMPOUND_SURNAMES) if rng.random() < 0.06 else rng.choice(SURNAMES)
    return surname + "".join(rng.sample(GIVEN, 1 if rng.random() < 0.25 else 2))


def surname(rng: random.Random) -> str:
    """Return a Chinese surname, as it stands before a title."""
    return rng.choice(COMPOUND_SURNAMES) if rng.random() < 0.08 else rng.choice(SURNAMES)


def person_name_en(rng: random.Random) -> str:
    """Return a name in Latin letters, some with an initial."""
    initial = f" {rng.choice('ABDEHJKLMRST')}." if rng.random() < 0.12 else ""
    return f"{rng.choice(FIRST_NAMES)}{initial} {rng.choice(LAST_NAMES)}"


def surname_en(rng: random.Random) -> str:
    """Return a surname in Latin letters, as it stands after a title."""
    return rng.choice(LAST_NAMES)


def resident_id(rng: random.Random) -> str:
    """Return a resident identity number. Source: GB 11643-1999 (ISO 7064 MOD 11-2)."""
    born = date(1950, 1, 1) + timedelta(days=rng.randrange(20_500))
    body = rng.choice(PLACES)[0] + born.strftime("%Y%m%d") + digits(rng, 3)
    return body + resident_check(body)


def resident_check(body: str) -> str:
    """Return the check character of the first 17 digits of a resident identity number."""
    return "10X98765432"[sum(int(digit) * (2 ** (17 - place)) for place, digit in enumerate(body)) % 11]


def bank_card(rng: random.Random) -> str:
    """Return a card number with a valid Luhn digit: UnionPay of 16 to 19 digits, Visa or Mastercard of 16."""
    prefix, length = rng.choice((("6222", 19), ("6217", 19), ("6228", 19), ("6225", 16), ("4392", 16), ("5218", 16)))
    body = prefix + digits(rng, length - 5)
    return body + luhn_digit(body)


def luhn_digit(body: str) -> str:
    """Return the digit that makes a number valid after Luhn (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def credit_code(rng: random.Random) -> str:
    """Return a unified social credit code. Source: GB 32100-2015."""
    head = rng.choice(("91", "92", "93", "12", "51")) + rng.choice(PLACES)[0]
    organisation = "".join(rng.choice(CREDIT_CHARACTERS) for _ in range(8))
    body = head + organisation + organisation_check(organisation)
    return body + credit_check(body)


def organisation_check(body: str) -> str:
    """Return the check character of an organisation code of eight characters. Source: GB 11714-1997."""
    total = sum(int(character, 36) * weight for character, weight in zip(body, (3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    return "0123456789X"[-total % 11]


def credit_check(body: str) -> str:
    """Return the check character of the first 17 of a unified social credit code."""
    total = sum(CREDIT_CHARACTERS.index(character) * pow(3, place, 31) for place, character in enumerate(body))
    return CREDIT_CHARACTERS[-total % 31]


def mobile(rng: random.Random) -> str:
    """Return a Chinese mobile number."""
    return rng.choice(MOBILE_PREFIXES) + digits(rng, 8)


def landline(rng: random.Random) -> str:
    """Return a Chinese landline number with its area code."""
    area = rng.choice(PLACES)[3]
    return f"{area}-{rng.choice('2345678')}{digits(rng, 7 if len(area) == 3 or rng.random() < 0.4 else 6)}"


def phone_en(rng: random.Random) -> str:
    """Return a landline outside China, from blocks kept for fiction (NANP 555-01xx, Ofcom's drama numbers)."""
    last = f"01{digits(rng, 2)}"
    area = rng.choice(("212", "415", "509", "706", "312"))
    forms = (f"({area}) 555-{last}", f"+1 {area} 555 {last}", f"{area}-555-{last}", f"+44 20 7946 0{digits(rng, 3)}",
             f"+1-{area}-555-{last}", f"0117 496 0{digits(rng, 3)}")  # fmt: skip
    return rng.choice(forms)


def mobile_en(rng: random.Random) -> str:
    """Return a mobile number as English text has it: Ofcom's drama block, or a Chinese one with country code."""
    number = mobile(rng)
    return rng.choice((f"+44 7700 900{digits(rng, 3)}", f"+86 {number}", f"+86-{number[:3]}-{number[3:7]}-{number[7:]}",
                       f"07700 900{digits(rng, 3)}"))  # fmt: skip


def email(rng: random.Random) -> str:
    """Return an address at a domain kept for examples (RFC 2606)."""
    first, last = rng.choice(FIRST_NAMES).lower(), rng.choice(("zhang", "liwei", "carter", "wxm", "chen_y", "okafor"))
    local = rng.choice((f"{first}.{last}", f"{last}{digits(rng, 3)}", f"{first[0]}-{last}", f"{last}+oncall",
                        digits(rng, 9), f"{first}_{last}"))  # fmt: skip
    return f"{local}@{rng.choice(MAIL_DOMAINS)}"


def passport(rng: random.Random) -> str:
    """Return a Chinese passport number: ordinary electronic, its later series with two letters, service, older."""
    return rng.choice((f"E{digits(rng, 8)}", f"E{rng.choice('ABCDEFGHJKLM')}{digits(rng, 7)}", f"G{digits(rng, 8)}",
                       f"PE{digits(rng, 7)}", f"E{digits(rng, 8)}"))  # fmt: skip


def licence_plate(rng: random.Random) -> str:
    """Return a plate: ordinary, new-energy (small and large), police, learner."""
    head = rng.choice(PLATE_PROVINCES) + rng.choice("ABCDEFGHJK")
    letters = rng.sample(range(5), rng.choice((0, 0, 1, 1, 2)))  # at most two, after GA 36-2018
    tail = "".join(rng.choice(PLATE_LETTERS) if place in letters else digits(rng, 1) for place in range(5))
    kind = rng.random()
    if kind < 0.15:
        return head + rng.choice("DF") + digits(rng, 5)
    if kind < 0.20:
        return head + digits(rng, 5) + rng.choice("DF")
    if kind < 0.28:
        return head + digits(rng, 4) + rng.choice("警学挂")
    return head + tail


def ip(rng: random.Random) -> str:
    """Return an IPv4 address or, one in five, an IPv6 one of the documentation block."""
    if rng.random() < 0.2:
        tail = ":".join(f"{rng.randrange(1, 65536):x}" for _ in range(rng.choice((2, 6))))
        return f"2001:db8::{tail}" if tail.count(":") < 5 else f"2001:db8:{tail}"
    return ip4(rng)


def ip4(rng: random.Random) -> str:
    """Return an IPv4 address that looks public: private ones are everybody's."""
    head = rng.choice((f"47.{rng.randrange(256)}", "59.78", f"121.{rng.randrange(16, 32)}", "203.0", "198.51",
                       f"114.{rng.randrange(30, 220)}"))  # fmt: skip
    return f"{head}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def coordinates(rng: random.Random) -> str:
    """Return a position within China as people and instruments write it."""
    north, east = rng.uniform(20, 47), rng.uniform(98, 124)
    decimals = rng.choice((4, 5, 6))
    dms_n, dms_e = _sexagesimal(north), _sexagesimal(east)
    forms = (
        f"{north:.{decimals}f}, {east:.{decimals}f}", f"{north:.{decimals}f},{east:.{decimals}f}",
        f"{north:.{decimals}f}°N, {east:.{decimals}f}°E", f"N{north:.{decimals}f}°, E{east:.{decimals}f}°",
        f"{dms_n}N {dms_e}E", f"{dms_n} N, {dms_e} E",
    )  # fmt: skip
    return rng.choice(forms)


def coordinates_zh(rng: random.Random) -> str:
    """Return a position as Chinese text words it."""
    north, east = rng.uniform(20, 47), rng.uniform(98, 124)
    dms_n, dms_e = (_sexagesimal(value).replace("'", "′").replace('"', "″") for value in (north, east))
    return rng.choice((f"北纬{north:.4f}°，东经{east:.4f}°", f"东经{dms_e}，北纬{dms_n}", f"北纬{dms_n}、东经{dms_e}",
                       f"东经{east:.5f}度、北纬{north:.5f}度", f"经度{east:.6f}，纬度{north:.6f}"))  # fmt: skip


def _sexagesimal(degrees: float) -> str:
    """Return degrees, minutes and seconds."""
    minutes = degrees % 1 * 60
    return f"{int(degrees)}°{int(minutes):02d}'{int(minutes % 1 * 60):02d}\""


def address(rng: random.Random) -> str:
    """Return a Chinese postal address, from the province down or from the road or village down."""
    _, city, district, _ = rng.choice(PLACES)
    road, estate = rng.choice(ROADS), rng.choice(ESTATES)
    house, block, unit, room = (
        rng.randrange(1, 400),
        rng.randrange(1, 30),
        rng.randrange(1, 5),
        rng.randrange(101, 2904),
    )
    village = f"{rng.choice(TOWNS)}{rng.choice(VILLAGES)}{rng.choice('一二三四五六')}组{rng.choice(('', f'{house}号'))}"
    tails = (
        f"{road}{house}号{estate}{block}栋{unit}单元{room}室", f"{road}{house}号", f"{road}{house}号{block}号楼{room}",
        f"{village}", f"{rng.choice(TOWNS)}{road}{house}号", f"{estate}{block}幢{unit}单元{room}室",
        f"{road}{house}弄{block}号{room}室",
    )  # fmt: skip
    tail = rng.choice(tails)
    head = rng.choice(
        (f"{city}{district}", f"{city}{district}", f"{city.split('省')[-1].split('区')[-1]}{district}", "")
    )
    return (head if tail[0] not in "".join(TOWNS) or head else city + district) + tail


def address_en(rng: random.Random) -> str:
    """Return a postal address in the United States or the United Kingdom, with or without its town."""
    number, street = rng.randrange(1, 2400), rng.choice(STREETS_EN)
    city, state, code = rng.choice(CITIES_US)
    town, postcode = rng.choice(CITIES_UK)
    forms = (
        f"{number} {street}, {city}, {state} {code}",
        f"{number} {street}, Apt {rng.randrange(1, 40)}B, {city}, {state}",
        f"Flat {rng.randrange(1, 30)}, {number} {street}, {town} {postcode}", f"{number} {street}",
        f"{number} {street}, {town}, {postcode}", f"Unit {rng.randrange(1, 9)}, {number} {street}, {city}",
    )  # fmt: skip
    return rng.choice(forms)
