"""Make lexicon.json: ordinary Chinese words that end with a surname, given and last names in Latin letters.

`python -m tasks.data.privacy.make_lexicon DICT MEN WOMEN LAST` with `dict.txt` of jieba 0.42.1 (MIT licence, Sun
Junyi; a line is word, frequency, part of speech), and the lists of given and last names of the US Census of 1990 as the
package `names` 0.3.0 ships them (public domain; a line begins with a name, the most frequent first).
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.privacy.surnames import COMPOUND, MIXED, PURE
from tasks.data.privacy.wordlists import word_list, word_set

OUTPUT = Path(__file__).parent / "lexicon.json"
_LEAST_FREQUENCY = 60
#: The dictionary calls many words names (文明, 温泉); so frequent ones are words unless they begin with a pure surname.
_LEAST_FREQUENCY_OF_NAME = 150
TAKEN_FOR_NAMES = word_list(
    "陈述 陈列 陈设 陈旧 祝贺 祝福 胡说 胡闹 胡乱 张开 张贴 张嘴 张口 张扬 张罗 张望 张力 张狂 张家 顾问 顾客 顾忌 "
    "顾及 余晖 余波 余生 余光 雷达 雷霆 雷声 雷电 卢布 陆军 陆续 陆地 谢谢 谢恩 王朝 王宫 王子 王爷 王国 徐徐 刘海 "
    "杨柳 杨树 杨梅 宋代 宋朝 唐代 唐朝 汪洋 王水 金刚石 白云石 罗列 范文 蒋家 赵家 李家 刘家 王家 孙女 曾祖 董事 熊猫 "
    "熊掌 段落 毕竟 戴上 潘多 苗木 丁香 余下 余数 余额 秦代 秦朝 秦川 魏晋 吴越 韩国 许可 谭家 郭家 梁木 胡杨 胡椒 "
    "胡同 薛定 庞大 凌晨 凌空 曹家 熊熊 贺卡 贺岁 倪虹 焦点 焦急 苏醒 苏打 沈静 卓越 崔巍 范式 范本 莎士 宋体 谢意 "
    "谢绝 朴素 朴实 贺信 涂成 涂层 曾经 单击 高纤 欧冠 欧芹 欧元 欧美 罗汉 秦岭 范德 伊斯 卢旺 朴质 余量 余热 余震 "
    "金属 高温 高压 高能 高速 石墨 石灰 成像 成分 方法 方向 方程 余项 余弦 余集 小于 大于 高于 低于 等于 多于 少于 "
    "优于 早于 晚于 位于 处于 用于 由于 属于 基于 对于 至于 终于 便于 限于 源于 叶纤 温控 温升 温差 江河 安定 安装 "
    "安保 安防 常见 常温 常压 常态 关联 关节 任务 任意 任何 何时 何种 蓝莓 工况 普鲁 鲁士 苏格 北欧 西欧 东欧 鲍鱼 "
    "莫斯 安卓 罗非 罗勒 黎明 涂色 洛杉 鼻窦 丁尼 苏豪 曾订 鲍勃 熊科 丁拌 海王星 天王星 冥王星 郁金香 黄金屋 白雪公主 "
    "黄花鱼 白桦林 石榴石 金丝雀 金银花 金盏花 万年青 常春藤 牛蒡子 马齿苋 车前草 李子 杏子 梅子 桃子 石榴 柏子 黄连 "
    "白术 白芍 白芷 黄精 黄芩 黄芪 金橘 金枣 黄鱼 黄鳝 白果 马蹄 牛膝 牛蒡 石斛 石膏 麦冬 麻黄 杜仲 杜鹃 柏木 柳树 "
    "梅花 桂花 桂皮 桂枝 葛根 花椒 姜黄 常山 甘草 甘蓝 包菜 水仙 花生 白磷 黄铜 石棉 白鹭 金鱼 龙虾 龙眼 龙葵 龙胆 "
    "马兰 马鞭 白薇 白及 白芥 江米 高粱 黄麻 白话 文言 陶瓷 丘陵 解析 解旋 修建 水笔 通假 通假字 白话文 米派 何异 解列 "
    "安培力 万有引力 马力 牛顿力 水池 白天 夏天 马路 马达 车辆 车队 连续 连接 连锁 符合 符号 乐观 于是 于此 单一 单元 "
    "单位 路径 路由 包容 包括"
)
_NAMES = ("nr", "nrt", "nrfg")
#: What a title makes a person of alone (李主任), and what begins a surname of two characters.
_SURNAMES = PURE | MIXED | {surname[0] for surname in COMPOUND.split("|") if len(surname) == 2}
_MEN, _WOMEN = 1000, 1800
#: Given names that are English words, months, virtues, places or ranks: they head too many other phrases.
_WORDS = word_set(
    "april may june august summer dawn hope faith joy rose lily daisy violet iris ivy holly olive ginger pearl ruby "
    "jade crystal amber sandy sky star melody harmony precious mercedes paris florence victoria virginia georgia "
    "carolina savannah madison sydney chelsea london dallas austin houston denver jackson lincoln washington cleveland "
    "orlando santiago san jordan israel chad kenya china india america asia royal major king prince earl duke baron "
    "noble long young rich frank gene max miles dale glen cliff rocky sunny sterling grant chance chase hunter mason "
    "porter marshall price art guy buddy junior son forest clay reed rusty dusty buck drew pat rob wade lance pierce "
    "sage angel jesus christian cruz see an so in do my me will page love charity patience constance prudence candy "
    "cherry honey destiny heaven misty stormy mark bill jack ray rex roman norman francis lane heath dean beau ace "
    "general bishop abbey golden silver happy merry gay free early true white brown green black gray laurel hazel fern "
    "flora myrtle alba luna mars sol mercy justice liberty genesis eden trinity essence case cole ford winter autumn "
    "spring sierra dakota montana cheyenne nevada alexandria magnolia columbus milan vienna geneva cuba jersey bo le "
    "lo tai man ona the van von ola else dario lean basil berry brain brooks chi coral don era marvel meta numbers "
    "princess raven sang santa soon sun alta barb bud burl coy elba fawn gale hong hung lacy lon mai nova opal ora "
    "reta rico roma sal scot sue tad tera tory trey una vita ward zona delta gamma alpha kelvin electra sunday monday "
    "season berlin persia odessa cairo carmel marina domino easter carbon sharp stone temple garnet ivory cinnamon "
    "saffron clementine lavender valentine christmas noel magic wisdom honor honour valor tuesday friday wednesday "
    "thursday saturday january pilar santos cristal queen lady lord reatha blossom birdie dove robin lark echo fortune "
    "future eve arc bell belle luz ming hang"
)
#: Given names of the world that the census of one country has few of.
_WORLD = word_set(
    "hiroshi kenji yuki akira takeshi kenta haruka sakura naoko satoshi kazuo masako yoko emiko jun minho jisoo seojun "
    "anil sanjay deepak sunil rajesh suresh amit rahul arjun vikram ananya kavita lakshmi meera neha nisha pooja priya "
    "ravi rohan sunita vijay ahmed omar hassan ibrahim yusuf khalid leila nadia fatima aisha mohamed muhammad mahmoud "
    "mustafa tariq zainab yasmin karim rashid sergei dmitri vladimir nikolai alexei andrei boris igor mikhail oleg "
    "yuri anastasia ekaterina irina natalia olga svetlana tatiana lars sven bjorn erik ingrid astrid anders magnus "
    "henrik jurgen klaus dieter hans wolfgang heinrich gunther ulrich stefan matthias greta liesel pierre jacques "
    "francois jean-luc antoine mathieu celine amelie chloe sylvie giovanni giuseppe luca matteo marco paolo francesca "
    "giulia chiara alessandro lorenzo javier alejandro joaquin ignacio mateo xiomara guillermo sofia lucia paulo joao "
    "thiago luiz rafael chukwu amara kwame kofi ngozi oluwaseun abebe tariku siobhan niamh aoife ciaran liam declan "
    "eoin callum hamish fiona gareth rhys bronwyn imogen harriet freya elsie poppy alfie archie freddie nigel rupert "
    "clive geoffrey hugh giles piotr pawel agnieszka katarzyna jakub zofia milos goran dragan ivana mei ling siti "
    "nurul budi dewi thanh nguyen linh marek tomas lukas ondrej aleksandr elif mehmet ayse emre leyla tobias salma "
    "niall farah raj oskar sinead soren farid bjarne jens nils anneke pieter willem joost maarten sanne femke lotte "
    "ewa marta zuzana petra jana milan bohdan taras oksana yulia dmitry sergey yevgeny elena galina lyudmila ludmila "
    "pavel vasily grigory ivan kirill maksim timur rustam aslan nino giorgi levan ayesha bilal imran faisal hamza "
    "usman zahra maryam rania layla samir walid youssef amina khadija hussein jamal nasser noor reza parisa dariush "
    "shirin kaveh aditya akash ankit divya gaurav harish kiran lalit manish naveen nikhil pankaj prakash rakesh ramesh "
    "sandeep sanjeev shreya siddharth sneha swati tanvi uma varun vinod yash chinedu chioma emeka ifeanyi kelechi "
    "nkechi obinna olumide tunde yetunde zola thabo sipho nomsa lindiwe akosua adwoa kwabena yaw fatou mamadou ousmane "
    "aminata tadesse selam wanjiru kamau otieno akinyi haruto sota ren yuna aoi hina daiki kaori kenichi makoto noriko "
    "ryota shinji takashi tomoko yoshiko jiho minji hyun seung youngho soyeon wei xin jing ying hui fei mingyu xiaoyu "
    "anh duc hoa huong phuong quang thuy tuan minh nguyet arif agus bambang dian eko fitri joko putri rina sri wayan "
    "ayu maricel jomar rowena dalisay caio joana rodrigo thais vitor beatriz goncalo inigo xavi nerea ainhoa iker "
    "marisol rocio esteban gonzalo matias aurelie benoit camille clemence didier elodie etienne fabrice florian gaelle "
    "guillaume ines laurent maxime noemie pascal quentin remi solene thibault yannick alessia davide elisa enrico "
    "federica filippo ilaria martina simone tommaso valerio anja birgit dirk eike friederike gerd hannelore heike "
    "holger jochen jorg kai katrin lennart malte maren moritz sabine silke torsten ulrike uwe volker aino eero jari "
    "kirsi matti mikko outi paivi pekka sanna tuomas agneta gunnar hakan kjell linnea mats ragnar sigrid solveig "
    "torbjorn viggo ailsa angus catriona ewan lachlan morag struan cerys dylan eleri gwyn iestyn llinos mabel nia "
    "owain sian tomos aiden jayden brayden kayden noah mason logan ethan lucas elijah oliver landon caleb owen wyatt "
    "isaac levi gavin connor colton evan xavier jaxon jase easton nolan bentley hudson ryder axel maverick kingston "
    "zayden bryson ryker asher silas theo theodore finn otto jude milo ezra rowan beckett emmett atticus isabella mia "
    "harper abigail avery scarlett aria aubrey addison zoey zoe riley lillian nora camila penelope aaliyah ellie "
    "skylar peyton naomi kaylee brooklyn mila kinsley everly maya ariana piper delilah quinn kennedy adalynn eliana "
    "ximena emery valentina kaylani arya adeline lyla eloise isla alina khloe mckenzie makayla jasmine destinee kavya "
    "ishaan aarav vivaan advait reyansh sai anika ishita diya myra aadhya rhea tara kiara riya simran harpreet "
    "gurpreet manpreet jaspreet amrit balwinder chidi chinonso obi uche ifeoma adaeze tomasz krzysztof wojciech "
    "malgorzata joanna ewelina mateusz kacper szymon bartosz dorota beata soo-jin min-jun seo-yeon ji-woo jae-won "
    "hye-jin sung-min thi van-anh hanh trang tuyet camilo santiago emiliano ximeno valeria regina renata antonella "
    "julieta aitana paloma aidan cillian cormac fergus grainne oisin orla padraig roisin saoirse ryan"
)


#: Frequent last names that are words as well: a given name that is a word makes no name of these.
_LAST_WORDS = word_set(
    "hill hall king long young price cook green white brown black gray wood woods brooks stone rivers fields banks "
    "park parks church street west east north south day may bell ball base bond book bush butler baker fisher hunter "
    "mason carpenter bishop pope knight noble rich poor small little short strong sharp swift wise good best power "
    "powers hand hands head love hope faith grace joy light lake marsh meadows moon star summer summers winter winters "
    "rose flowers berry barley rice bread cotton house barn gates bridges ford pond pool waters snow frost storm gale "
    "field temple case chase chance change cross dew dolphin drew early english french german holland ireland england "
    "paris london york washington lincoln savage steel sterling silver gold diamond crystal pearl page parson parsons "
    "porter post rush rowe self sell speed spear staff stock story sweet terry tiger tucker wall walls ward waste "
    "watts weeks wells wheat wheeler wild winner wolf wing works worth sun song law lane dale glass glenn grant "
    "harvest hawk hay hazel heath horn hurt ivory jewel keys kind kitchen lamb land link loft lord lucky major marks "
    "means medley mills mint money moody moss nice oaks ocean odd pack pain palm peace person piper pitts plant press "
    "pride prince pulley quick raines ray read reading rock root ruffin sage sands school seal shields shine ships "
    "shore shot singer slaughter spring springs square stallion stamp state stern tall teal town train true upright "
    "valley vance view vine wade wagon walker waller water weaver webb well whale whip wick will wills wine witt "
    "worthy wren yard garden gardens island beach bay city county court drive center centre point port bank board "
    "company group inc"
)
_LAST = 4000


def make_lexicon(dictionary: Path, men: Path, women: Path, last: Path) -> dict[str, Any]:
    """Return the content of lexicon.json."""
    firsts: dict[str, list[str]] = defaultdict(list)
    for word in sorted(set(_ordinary_words(dictionary))):
        if len(word) == 2 and word[1] in _SURNAMES:
            firsts[word[1]].append(word[0])
    given = {*_most_frequent(men, _MEN), *_most_frequent(women, _WOMEN), *_WORLD}
    return {
        "wordlike": " ".join(sorted(_WORDS & given)),
        "last": " ".join(sorted({*_most_frequent(last, _LAST)} - _LAST_WORDS)),
        "latin": " ".join(sorted(name for name in given - _WORDS if len(name) > 2)),
        "words": {surname: "".join(firsts[surname]) for surname in sorted(firsts)},
    }


def _ordinary_words(dictionary: Path) -> Iterator[str]:
    """Yield the frequent words that are no names."""
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            word, frequency, part = line.split()
            if part not in _NAMES:
                least = _LEAST_FREQUENCY
            elif word[0] not in PURE:
                least = _LEAST_FREQUENCY_OF_NAME
            else:
                continue
            if int(frequency) >= least:
                yield word
    yield from TAKEN_FOR_NAMES


def _most_frequent(path: Path, number: int) -> list[str]:
    """Return the first names of a census file."""
    return [line.split()[0].casefold() for line in path.read_text(encoding="ascii").splitlines()[:number]]


if __name__ == "__main__":
    lexicon = make_lexicon(*map(Path, sys.argv[1:5]))
    OUTPUT.write_text(json.dumps(lexicon, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
