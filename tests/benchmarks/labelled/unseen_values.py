"""Names and addresses that the slots of `unseen.py` draw, none taken from `people.py`'s lists."""

import random
from collections.abc import Callable

from people import Draw


def _words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


#: As frequent as among the Chinese population, from the yearly report on names; then the rest of the hundred, rarer
#: ones, ones that are words too.
_SURNAMES = (
    "王" * 7
    + "李" * 7
    + "张" * 7
    + "刘" * 5
    + "陈" * 5
    + "杨" * 3
    + "黄" * 2
    + "赵" * 2
    + "吴" * 2
    + "周" * 2
    + "徐孙马朱胡郭何林罗高郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏"
    "吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江"
    "尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温常连应安成包时左华路牛车明全年甘古鲍岳齐季申翁章乐祁项楚柯阮尤游苗聂焦"
)
_COMPOUND = ("欧阳", "上官", "司徒", "诸葛", "东方", "令狐", "夏侯", "宇文")
_FIRST = (
    "建志国文明海春晓小玉秀雪丽美思雨子梓浩宇俊佳嘉天永家金德忠立少世成云红桂彩凤淑静慧婉诗梦若以锦书景承奕修沐亦希知清远宏振兆培启"
    "爱月巧冬秋夏雁青依芷语安"
)
_SECOND = (
    "军平华强伟杰涛辉斌鹏飞刚磊峰明亮生林海山江波超东梅兰英霞芳燕娟敏琴萍莉婷洁颖琳瑶怡妍涵萱轩然昊哲睿辰阳宸泽铭程毅航帆远舟儒廷川松柏"
    "龙虎贵财福寿康宁喜庆良善信诚仁义礼智香珍珠莲菊红玲"
)
_SINGLE = "伟芳娜敏静丽强磊军洋勇艳杰涛超明霞娟刚平燕鹏飞斌波辉健鑫宁佳琳琪瑞帅蕾莹倩雯晶旭凯亮龙岩峰"
_TRADITIONAL_SURNAMES = (
    "陳林黃張李王吳劉蔡楊許鄭謝郭洪曾邱廖賴徐周葉蘇莊呂江何羅高蕭潘朱簡鍾彭游詹胡施沈余趙盧梁顏柯翁魏孫戴"
)
_TRADITIONAL_GIVEN = "淑美雅惠怡君佳玲志明俊宏建家豪宗翰冠宇承恩柏詩涵婷雯欣郁品妍文彥廷宜蓁麗華秀英雪芬月嬌國榮金龍"

_FIRST_EN = _words(
    "Olivia Liam Noah Ava Isabella Mason Ethan Mia Lucas Harper Evelyn Logan Abigail Aiden Ella Jackson Scarlett Aria "
    "Jacob Amelia Jayden Nora Zoe Riley Leah Isaac Stella Hazel Caleb Violet Aurora Wyatt Julian Lily Henry Owen "
    "Deborah Kenneth Brenda Gary Sharon Timothy Donna Larry Cynthia Frank Kathleen Scott Amy Brandon Angela Gregory "
    "Shirley Raymond Anna Jerry Pamela Dennis Emma Walter Nicole Helen Samantha Christine Debra Janet Maria Heather "
    "Joan Judith Ruth Tyler Diana Aaron Julie Jose Joyce Adam Virginia Nathan Kelly Zachary Lauren Kyle Christina "
    "Diego Camila Mateo Valentina Javier Lucia Rafael Elena Arjun Ananya Rohan Kavya Vikram Deepa Omar Layla Yusuf "
    "Aisha Khalid Mariam Chidi Ngozi Kwame Amara Tomasz Agnieszka Dmitri Svetlana Lars Astrid Giulia Matteo Yuki "
    "Haruto Minh Thuy Soo-jin Ravi"
)
_LAST_EN = _words(
    "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson "
    "Anderson "
    "Thomas Taylor Moore Jackson Martin Lee Perez White Harris Sanchez Clark Lewis Robinson Walker Young Allen King "
    "Wright Scott Torres Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Roberts Gomez Phillips "
    "Evans Turner Diaz Parker Cruz Edwards Collins Stewart Morris Morales Murphy Cook Rogers Gutierrez Ortiz Morgan "
    "Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox Ward Richardson Watson Brooks Wood James Gray Mendoza Ruiz "
    "Hughes Price Alvarez Castillo Sanders Long Foster Jimenez Sharma Gupta Singh Iyer Khan Ali Rahman Haddad Mwangi "
    "Adeyemi Mensah Wojcik Petrov Sokolov Johansson Nielsen Rossi Bianchi Sato Yamamoto Tran Pham Choi Park O'Brien "
    "MacDonald van_Dijk Fitzgerald Abernathy Cartwright Winslow Thornbury"
)
_PINYIN = _words("Li Wang Zhang Chen Liu Zhao Huang Zhou Wu Xu Sun Hu Zhu Guo He Lin")
_PINYIN_GIVEN = _words(
    "Xiaoming Jiahui Wenbin Yuting Haoran Meiling Zhiqiang Lihua Jianguo Xinyi Chenxi Fang Wei Na Lei"
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


_CITIES = _words(
    "江苏省徐州市铜山区 广东省佛山市禅城区 浙江省金华市婺城区 湖南省株洲市天元区 福建省泉州市丰泽区 "
    "河南省洛阳市涧西区 四川省泸州市江阳区 "
    "山东省潍坊市奎文区 安徽省芜湖市镜湖区 江西省赣州市章贡区 上海市普陀区 重庆市九龙坡区 天津市河西区 "
    "北京市丰台区 杭州市余杭区 武汉市江岸区"
)
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


_STREET_EN = _words(
    "Marston Kellerman Oak Hollow Winding Birch Pine Ridge Cedar Juniper Willow Sutton Barlow Hanover Prospect Granite "
    "Meadow Thornhill Ashford Colby Linden Preston Larkspur"
)
_SUFFIX_EN = _words(
    "Street St Avenue Ave Road Rd Lane Ln Drive Dr Court Ct Place Way Boulevard Blvd Terrace Circle Port "
    "Crossing Trail "
    "Parkway Loop Mews Close Crescent"
)
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
