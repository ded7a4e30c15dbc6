"""People of history, science, public life and fiction: their names are knowledge, not personal data.

Who is in a list is one of them where nothing says otherwise: a form, a telephone, an age beside the name make it an
ordinary person's of the same name. Less prominent ones need a word of books, history or science beside them as well.
A list holds whole names; what merely begins like one (陈云帆) is another name.
"""

import json
import re
from functools import lru_cache
from pathlib import Path

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.wordlists import word_set

_CHINESE = word_set(
    "毛泽东 周恩来 朱德 邓小平 江泽民 胡锦涛 习近平 李克强 温家宝 李鹏 刘少奇 陈云 叶剑英 彭德怀 林彪 贺龙 陈毅 聂荣臻 "
    "徐向前 罗荣桓 刘伯承 宋庆龄 孙中山 孙文 蒋介石 蒋经国 李大钊 陈独秀 瞿秋白 鲁迅 周树人 胡适 蔡元培 梁启超 康有为 "
    "谭嗣同 李鸿章 曾国藩 左宗棠 张之洞 林则徐 魏源 严复 洪秀全 袁世凯 张学良 杨虎城 黄兴 宋教仁 孔子 孟子 荀子 老子 "
    "庄子 墨子 韩非子 孙子 韩非 李斯 商鞅 吴起 孙膑 孙武 屈原 秦始皇 刘邦 项羽 韩信 张良 萧何 陈胜 吴广 刘彻 张骞 "
    "司马迁 司马光 司马懿 司马相如 班固 王莽 刘秀 曹操 曹丕 曹植 刘备 孙权 关羽 张飞 赵云 诸葛亮 周瑜 吕布 黄忠 马超 "
    "陶渊明 王羲之 谢安 祖冲之 李世民 李渊 李隆基 武则天 魏征 杨贵妃 李白 杜甫 白居易 王维 孟浩然 李商隐 杜牧 韩愈 "
    "柳宗元 刘禹锡 王勃 王昌龄 岑参 高适 贺知章 李贺 赵匡胤 王安石 欧阳修 苏轼 苏东坡 苏洵 苏辙 曾巩 李清照 辛弃疾 "
    "陆游 岳飞 文天祥 朱熹 程颢 程颐 陆九渊 张载 周敦颐 范仲淹 沈括 毕昇 成吉思汗 忽必烈 朱元璋 朱棣 郑和 戚继光 "
    "张居正 王阳明 王守仁 李时珍 徐光启 宋应星 李自成 郑成功 吴三桂 顾炎武 黄宗羲 王夫之 康熙 雍正 乾隆 曹雪芹 吴承恩 "
    "施耐庵 罗贯中 蒲松龄 吴敬梓 关汉卿 王实甫 汤显祖 唐寅 唐伯虎 郑板桥 张仲景 华佗 扁鹊 孙思邈 张衡 蔡伦 郭守敬 "
    "林黛玉 贾宝玉 薛宝钗 王熙凤 孙悟空 唐僧 宋江 武松 鲁智深 林冲 李逵 祥林嫂 孔乙己 白素贞 许仙 梁山伯 祝英台 钱学森 "
    "邓稼先 钱三强 王淦昌 于敏 朱光亚 周光召 彭桓武 程开甲 陈能宽 郭永怀 赵九章 李四光 竺可桢 华罗庚 陈景润 陈省身 "
    "吴健雄 杨振宁 李政道 丁肇中 袁隆平 屠呦呦 吴孟超 钟南山 黄旭华 赵忠尧 何泽慧 吴有训 严济慈 叶企孙 茅以升 侯德榜 "
    "童第周 詹天佑 梁思成 林徽因 钱伟长 钱钟书 杨绛 季羡林 陈寅恪 王国维 冯友兰 徐志摩 朱自清 郁达夫 郭沫若 茅盾 巴金 "
    "老舍 曹禺 冰心 沈从文 张爱玲 艾青 莫言 余华 贾平凹 王蒙 金庸 古龙 梁实秋 林语堂 丰子恺 齐白石 徐悲鸿 张大千 "
    "梅兰芳 聂耳 冼星海 雷锋 焦裕禄 孔繁森 王进喜 时传祥 张思德 白求恩 刘胡兰 董存瑞 黄继光 邱少云 方志敏 杨靖宇 "
    "赵一曼 姚明 刘翔 李娜 郎平 马云 马化腾 任正非 雷军 李彦宏 成龙 李小龙 周杰伦 杨利伟 景海鹏 王亚平 刘洋 陶行知 "
    "陈望道 恽代英 蔡和森 向警予 王选 吴文俊 孙家栋 南仁东 黄大年 罗阳 张桂梅 王昭君 貂蝉 西施 杨玉环 梁红玉 花木兰 "
    "穆桂英 包拯 海瑞 狄仁杰 程咬金 秦琼 尉迟恭 杨家将 王明 张国焘 李立三 王稼祥 张闻天 任弼时 博古 项英 粟裕 叶挺 "
    "许光达 罗瑞卿 王树声 黄克诚 陈赓 谭政 萧劲光 张云逸 徐海东 史铁生 郭靖 黄蓉 杨过 小龙女 令狐冲 韦小宝 张无忌 乔峰 "
    "段誉 虚竹 哪吒 猪八戒 沙僧 白骨精 诸葛孔明 舒婷 海子 马克思 列宁 贝多芬 莫扎特 马可波罗 金日成 朴正熙 安重根"
) - {"李娜", "刘洋", "王明"}  # as common as they are famous

#: Second halves of transliterated names whose first halves do not matter: 玛丽·居里.
_FOREIGN = word_set(
    "居里 爱因斯坦 牛顿 贝克勒尔 卢瑟福 玻尔 费米 希沃特 戈瑞 伦琴 奥本海默 薛定谔 海森堡 普朗克 狄拉克 泡利 查德威克 "
    "哈恩 迈特纳 麦克斯韦 法拉第 伽利略 开普勒 哥白尼 达尔文 孟德尔 门捷列夫 拉瓦锡 道尔顿 马克思 恩格斯 列宁 斯大林 "
    "赫鲁晓夫 戈尔巴乔夫 普京 华盛顿 林肯 罗斯福 杜鲁门 丘吉尔 拿破仑 希特勒 莎士比亚 托尔斯泰 高尔基 雨果 巴尔扎克 "
    "歌德 泰戈尔 海明威 贝多芬 莫扎特 巴赫 达芬奇 毕加索 梵高 康德 黑格尔 尼采 柏拉图 亚里士多德 苏格拉底 弗洛伊德 "
    "图灵 香农 霍金 费曼 诺贝尔 爱迪生 特斯拉 瓦特 贝尔 马斯克 盖茨 乔布斯 特朗普 奥巴马 拜登 克林顿 布什 肯尼迪 "
    "曼德拉 甘地 哥伦布 麦哲伦 凯恩斯 斯密 李嘉图 韦伯 杜威 卓别林 梅西 罗纳尔多 贝克汉姆 乔丹 安徒生 格林 狄更斯 "
    "简奥斯汀 奥斯汀 波特 罗琳 契诃夫 普希金 果戈里 福尔摩斯 华生 罗密欧 朱丽叶 哈姆雷特 柯南 道尔 哈利 甘道夫 简爱 "
    "安娜 包法利 浮士德 堂吉诃德 鲁滨逊 格列佛 匹诺曹 马尔克斯 莫泊桑 福楼拜 司汤达 大仲马 小仲马 凡尔纳 肖邦 李斯特 "
    "柴可夫斯基 舒伯特 巴甫洛夫 屠格涅夫 陀思妥耶夫斯基 卡夫卡 加缪 萨特 卢梭 伏尔泰 孟德斯鸠 洛克 霍布斯 培根 笛卡尔 "
    "莱布尼茨"
)
#: Last names of so few others that they stand for one.
_LATIN = word_set(
    "einstein becquerel rutherford bohr fermi sievert roentgen röntgen oppenheimer schrödinger schrodinger heisenberg "
    "planck dirac meitner faraday galilei galileo kepler copernicus mendel shakespeare hemingway beethoven mozart "
    "picasso churchill roosevelt obama biden mandela gandhi feynman zuckerberg bezos freud engels lenin stalin hitler "
    "napoleon poisson gauss fourier laplace euler bayes cherenkov szilard teller seaborg magellan orwell tolkien "
    "rowling presley hepburn hitchcock spielberg keats byron wordsworth chaplin rockefeller buffett curie nietzsche "
    "voltaire rousseau dostoevsky tolstoy chekhov kafka goethe homer plato socrates aristotle confucius caesar "
    "cleopatra michelangelo raphael rembrandt vermeer monet gogh matisse dali warhol chopin tchaikovsky vivaldi brahms "
    "schubert wagner mendeleev lavoisier pasteur darwin newton maxwell hawking turing tesla nobel edison dickens"
)
#: Other last names with the first names that make them known, and names known whole.
_FULL = {
    last: word_set(firsts)
    for last, firsts in {
        "king": "luther stephen", "jackson": "michael janet andrew", "ford": "henry harrison",
        "bell": "graham alexander",
        "watt": "james", "gates": "bill", "jobs": "steve", "bush": "george",
        "kennedy": "john fitzgerald robert jacqueline",
        "clinton": "bill hillary", "washington": "george denzel", "lincoln": "abraham", "gray": "dorian",
        "frost": "robert",
        "austen": "jane", "twain": "mark", "poe": "allan edgar", "dickinson": "emily", "plath": "sylvia",
        "dylan": "bob",
        "lennon": "john", "monroe": "marilyn james", "disney": "walt", "musk": "elon", "marx": "karl groucho",
        "columbus": "christopher", "bach": "sebastian johann", "pauli": "wolfgang", "hahn": "otto", "chadwick": "james",
        "trump": "donald", "carnegie": "dale andrew", "carlo": "monte", "geiger": "hans", "compton": "arthur",
        "potter": "harry beatrix", "granger": "hermione", "weasley": "ron", "holmes": "sherlock", "watson": "emma",
        "bond": "james", "parker": "peter", "wayne": "bruce john", "kent": "clark", "skywalker": "luke anakin",
        "baggins": "bilbo frodo", "finn": "huckleberry", "sawyer": "tom", "eyre": "jane", "bennet": "elizabeth",
        "darcy": "fitzwilliam", "gatsby": "jay great", "finch": "atticus", "caulfield": "holden", "poppins": "mary",
        "copperfield": "david", "twist": "oliver", "scrooge": "ebenezer", "montague": "romeo", "capulet": "juliet",
        "lee": "harper bruce", "wilde": "oscar", "woolf": "virginia", "joyce": "james", "eliot": "george",
        "bronte": "charlotte emily",
        "brontë": "charlotte emily", "shelley": "mary percy", "christie": "agatha", "doyle": "conan arthur",
        "wells": "herbert",
        "fitzgerald": "scott ella", "steinbeck": "john", "faulkner": "william", "morrison": "toni jim",
        "angelou": "maya",
        "parks": "rosa", "keller": "helen", "anthony": "susan", "douglass": "frederick",
        "tubman": "harriet", "malcolm": "x",
        "franklin": "benjamin aretha rosalind", "jefferson": "thomas", "adams": "quincy ansel",
        "hamilton": "alexander lewis",
        "madison": "james", "reagan": "ronald", "nixon": "richard", "carter": "jimmy",
        "thatcher": "margaret", "blair": "tony",
        "johnson": "boris lyndon", "merkel": "angela", "macron": "emmanuel", "putin": "vladimir",
        "jinping": "xi", "zedong": "mao",
        "kobe": "bryant", "bryant": "kobe", "jordan": "michael", "james": "lebron", "curry": "stephen",
        "messi": "lionel",
        "ronaldo": "cristiano", "beckham": "david", "federer": "roger", "nadal": "rafael",
        "williams": "serena venus robin",
        "bolt": "usain", "phelps": "michael", "woods": "tiger", "ali": "muhammad",
        "swift": "taylor jonathan", "grande": "ariana",
        "spears": "britney", "perry": "katy", "bieber": "justin", "mercury": "freddie", "mccartney": "paul",
        "starr": "ringo",
        "harrison": "george", "bowie": "david", "jagger": "mick", "cobain": "kurt", "winehouse": "amy",
        "houston": "whitney",
        "carey": "mariah", "lopez": "jennifer", "jolie": "angelina", "pitt": "brad", "dicaprio": "leonardo",
        "hanks": "tom",
        "cruise": "tom", "depp": "johnny", "streep": "meryl", "roberts": "julia", "freeman": "morgan",
        "nolan": "christopher",
        "cameron": "james david", "scorsese": "martin", "tarantino": "quentin", "kubrick": "stanley", "lovelace": "ada",
        "hopper": "grace edward", "torvalds": "linus", "knuth": "donald", "ritchie": "dennis",
        "page": "larry", "brin": "sergey",
        "cook": "tim captain", "nightingale": "florence", "fleming": "alexander ian", "jenner": "edward",
        "salk": "jonas",
        "crick": "francis", "goodall": "jane", "sagan": "carl", "armstrong": "neil louis lance", "aldrin": "buzz",
        "gagarin": "yuri", "glenn": "john", "wright": "orville wilbur lloyd", "lindbergh": "charles",
        "earhart": "amelia",
        "polo": "marco", "vinci": "leonardo", "lisa": "mona", "davidson": "harley", "claus": "santa",
        "mouse": "mickey minnie",
        "duck": "donald", "khan": "genghis kublai", "austin": "stephen", "smith": "adam", "keynes": "maynard",
        "hood": "robin", "pan": "peter", "gump": "forrest", "doe": "john jane", "roe": "jane", "public": "john",
        "freire": "paulo", "dewey": "john", "piaget": "jean", "maslow": "abraham", "bloom": "benjamin", "locke": "john",
        "hobbes": "thomas", "hume": "david", "kant": "immanuel", "hegel": "friedrich", "descartes": "rene rené",
        "sartre": "paul", "camus": "albert", "bacon": "francis", "mill": "stuart", "milton": "john",
        "chaucer": "geoffrey",
        "whitman": "walt", "thoreau": "david", "emerson": "waldo", "blake": "william", "yeats": "butler",
        "hardy": "thomas",
        "lawrence": "jennifer", "dahl": "roald", "seuss": "dr", "gaulle": "charles", "arc": "joan", "teresa": "mother",
    }.items()
}  # fmt: skip
_NEAR = 14
#: Beside less prominent names of the list these say that it is they.
_KNOWLEDGE = re.compile(
    r"[《》〈〉诗词曲帝朝]|作者|著[名作有]|作家|诗人|画家|书法|皇|将军|导演|主演|演员|歌手|歌星|影星|明星|科学家|学家|革命|总统|主席"
    r"|总理|大臣|丞相|宰相|提出|发明|创立|创作|代表作|小说|电影|电视剧|历史|古代|思想|教育家|主角|主人公|角色|人物|史记|三国|红楼|水浒|西游"
    r"|武侠|战役|起义|变法|改革|流派|唱腔|京剧|戏曲|名言|名句|典故|成语|寓言|童话|神话|传说|文学|艺术|哲学|音乐|奥运|冠军|球星|球队|国家队"
    r"|诺贝尔|院士|下列|选项|哪[位个一]|谁|原名|字[\u4e00-\u9fff]{1,2}[,、]|号[\u4e00-\u9fff]{2}居士|世纪|公元|年间|时期"
)
#: An ordinary person's name: a form, a sex, an age, a number or an address of e-mail beside it.
_PERSONAL_AFTER = re.compile(
    r"[,( ]{0,2}(?:[男女][,) ]|先生|女士|小姐|同学|的?(?:电话|手机|身份证|邮箱|快递|账户|学号|工号)|\d{1,2}岁)"
)
_NUMBER = re.compile(r"[0-9]{7}|@")


@lru_cache(maxsize=1)
def _listed() -> tuple[frozenset[str], frozenset[str]]:
    """Return the prominent names of public_names.json and the others."""
    content = json.loads((Path(__file__).parent / "public_names.json").read_text(encoding="utf-8"))
    return frozenset(content["prominent"].split()), frozenset(content["others"].split())


def is_listed(name: str) -> bool:
    """Tell whether a Chinese name is one of history, public life or fiction, whoever is meant by it."""
    return name in _CHINESE or name in _FOREIGN or any(name in names for names in _listed())


def is_public(plain: str, start: int, end: int) -> bool:
    """Tell whether the Chinese name at these places is one of history, public life or fiction."""
    name = plain[start:end]
    prominent, others = _listed()
    famous = name in _CHINESE or name in _FOREIGN or name in prominent
    if not famous and name not in others:
        return False
    if name in _FOREIGN:
        return True
    if _is_personal(plain, start, end):
        return False
    return famous or bool(_KNOWLEDGE.search(plain[max(0, start - _NEAR) : start] + " " + plain[end : end + _NEAR]))


def _is_personal(plain: str, start: int, end: int) -> bool:
    """Tell whether a form, a sex, an age or a number says that somebody ordinary is meant."""
    left = cues.left_of(plain, start)
    if left.rstrip(" ")[-1:] == ":" and cues.role_before(left) and "作者" not in left:
        return True
    if _PERSONAL_AFTER.match(plain, end):
        return True
    return bool(_NUMBER.search(plain[max(0, start - _NEAR) : start] + " " + plain[end : end + _NEAR]))


def is_public_foreign(name: str) -> bool:
    """Tell whether a transliterated name (玛丽·居里) is one of history, public life or fiction."""
    first, *_, last = re.split("[·•・‧]", name)
    return last in _FOREIGN or name in _listed()[0] or name in _listed()[1] or f"{first}{last}" in _listed()[1]


def is_public_latin(name: str) -> bool:
    """Tell whether a name in Latin letters is one of history, public life or fiction.

    Args:
        name: first names and last name, or a last name alone.
    """
    *firsts, last = re.split(r"[ .-]+", name.casefold().strip(". "))
    return last in _LATIN or not _FULL.get(last, frozenset()).isdisjoint(firsts) or name.casefold() in _FULL
