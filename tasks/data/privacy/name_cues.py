"""What stands around Chinese names: titles, roles, form fields, verbs people are the subject of."""

from tasks.data.privacy.spans import COVER
from tasks.data.privacy.wordlists import word_list, word_set

#: After a surname alone, too: 李主任, 张工程师.
TITLES = word_list(
    "先生 女士 小姐 太太 夫人 同志 师傅 老师 教授 博士 院士 医生 大夫 护士 护士长 主任 副主任 经理 副经理 总监 总裁 "
    "总经理 副总经理 董事长 工程师 高工 总工 总师 副总 处长 副处长 科长 副科长 厂长 副厂长 局长 副局长 部长 副部长 "
    "书记 副书记 队长 副队长 班长 副班长 值长 副值长 组长 副组长 所长 副所长 站长 副站长 院长 副院长 校长 园长 市长 "
    "县长 镇长 乡长 村长 省长 司长 司令 连长 排长 营长 团长 船长 机长 店长 行长 会长 秘书 秘书长 律师 法官 检察官 警官 "
    "警员 教练 主管 专员 顾问 研究员 馆长 台长 同学 大爷 大妈 大娘 大叔 大哥 大姐 阿姨 叔叔 伯伯 爷爷 奶奶 婆婆 老板 "
    "导师 操作员 技术员 值班员 安全员 会计 出纳 司机 技师 医师 药师 主席 委员 老人"
)
ALL_TITLES = frozenset(TITLES)
_PEOPLE = word_list(
    "负责人 联系人 联络人 责任人 监护人 经办人 经手人 承办人 签发人 批准人 审核人 审批人 复核人 校核人 编制人 编写人 "
    "记录人 填表人 填报人 报告人 汇报人 举报人 投诉人 申请人 申报人 登记人 检查人 测量人 采样人 交班人 接班人 值班人 "
    "持有人 持卡人 收件人 寄件人 发件人 收货人 发货人 收款人 付款人 委托人 受托人 代理人 代表人 法人 当事人 嫌疑人 "
    "被告人 证人 担保人 受益人 投保人 被保险人 主持人 发言人 介绍人 撰稿人 投稿人 候选人 主治医 伤员 病人 家属 家长 "
    "乘客 旅客 业主 租客 租户 房东 客户 用户 客人 顾客 学生 居民 村民 市民 渔民 农民 户主 住户 邻居 朋友 好友 同事 "
    "队友 战友 室友 伙伴 亲属 新郎 新娘 本人 作者 笔者 司机 主值 副值 操作人 采访对象 被访者 死者 伤者 队员 甲方 乙方 "
    "父亲 母亲 爸爸 妈妈 妻子 丈夫 爱人 儿子 女儿 哥哥 弟弟 姐姐 妹妹 孙子 孙女 儿媳 女婿 主编 编辑 指挥 当班 接班 "
    "交班 领班 中班 早班 夜班 白班 晚班 专家 代表 新人 男友 女友 未婚妻 未婚夫 堂兄 表哥 表姐 表弟 舅舅 姑姑 嫂子"
)
_CALLED = word_list(
    "姓名 名字 本名 真名 原名 曾用名 叫做 叫作 名为 我是 自称 化名 署名 落款 签名 委托 委派 指派 任命 聘任 聘请 邀请 "
    "采访 转告 联系 通知 询问 告知 致电 找到 感谢 祝贺 岁的 族的 籍的 转交 交给 寄给 汇报给 陪同 会同 持卡 户名 抄送 "
    "主送 致 编制 审核 校对 批准 审批 签发 记录 填表 制表 经办 主检 收件 主持 致信 写给 转给 慰问 看望 护送 人员 叫"
)
STRONG_BEFORE = frozenset([*TITLES, *_PEOPLE, *_CALLED])
ROLE_ENDS = frozenset(word[-1] for word in STRONG_BEFORE)
_NO_PERSON = frozenset("前后或再二两三四")
#: Words for people end so: 防护员, 采样者; 成长 and 施工 do too, so 长 and 工 ask for the whole word.
_PERSON_ENDINGS = frozenset("员师者")
_LEADER = frozenset("成增生延最周波时特专全加见助伸拉细狭身擅")
_WORKER = frozenset("施加人手化军竣开完动分停返误罢民职员美")

WEAK_BEFORE_ONE = frozenset(
    " \t\n,.;:!?、(\"'“”‘’《【[|/。-由请找让给与和及向对跟同把被叫是为派问令帮替陪经含有因后的了到在据时按以如且则而"
)
WEAK_BEFORE_TWO = word_set(
    "其中 如果 因此 后来 接着 今天 昨天 昨日 明天 今日 当天 上午 下午 晚上 凌晨 目前 关于 按照 刚才 刚刚 包括 比方 "
    "分别 另外 尤其 虽然 即使 假设 据说 听说 得知 发现 知道 认识 喜欢 早上 傍晚 深夜 中午 周一 周二 周三 周四 周五 "
    "周六 周日"
)

_STRONG_AFTER_WORDS = word_list(
    "的电话 的联系 的身份 的护照 的邮箱 的住址 的工号 的银行 的账号 的微信 的生日 的儿子 的女儿 的妻子 的丈夫 的父亲 "
    "的母亲 的签名 手机 电话 护照 签字 签名 签发 生于 出生 本人 家住 住在 工号 夫妇 一家 (男 (女 ,男 ,女 (工号 (电话 "
    "(手机 (身份 ,身份 ,电话 ,手机 (联系 (证件 (出生 年龄 (现任 身份 姐 哥 叔 婶 嫂 伯 家的 同学 生日 一个人 两名 两位 "
    "两人 三名 二人 三人 等人 等三 等两 等二 等四 等五"
)
#: What people have, after 的: 何然的孩子.
_BELONGINGS = word_list(
    "孩子 快递 体温 血压 论文 剂量计 名义 名字 照片 宿舍 办公室 同事 邻居 配偶 爸爸 妈妈 奶奶 爷爷 哥哥 姐姐 弟弟 妹妹 "
    "家 遗体 病历 血样 尿样 签字 发言 简历 档案 工资 年假 话 建议 意见 请假 车 包裹 行李 生日 丈夫 老婆 老公 女友 男友 "
    "婚礼 住处 地址 户口 驾照 执照 工牌 胸卡 手 脚 眼睛 头发 脸 声音 微信 朋友 学生 老师 导师 领导 班 假条 钥匙"
)
STRONG_AFTER = frozenset([*TITLES, *_STRONG_AFTER_WORDS, *("的" + thing for thing in _BELONGINGS)])
_FIRST_AFTER = frozenset(word[0] for word in STRONG_AFTER)
#: Last characters of places, instruments and kinds of people.
THING_ENDS = frozenset("洲坝滩园苑圆仪柱桥湾岭峡渠闸塔碑器机表线者")
#: What follows a name that laws, circuits, plants and places are called by.
THINGS_AFTER = word_set(
    "等效 定理 定律 效应 方程 公式 系数 变换 电路 原理 模型 曲线 法则 常数 判据 准则 函数 分布 算法 单位 温标 图谱 "
    "射线 散射 辐射 核电 核燃 电站 电厂 水电 水库 水厂 变电 工业 大桥 隧道 机场 医院 小区 花园 综合 协定 节点 旁的 "
    "附近 断层 断裂 流域"
)
WEAK_AFTER_ONE = frozenset(
    " \t\n,.;:!?、()\"'“”’》】]|/。-说在于的去到来从已将会正曾因向对把被和与及是为就也还都又则"
    "未应可能想给用有等代替先再写住寄穿乘赶姓记发打请签做让叫带"
)
WEAK_AFTER_TWO = word_set(
    "表示 认为 指出 告诉 负责 担任 同意 确认 报告 汇报 提出 提交 提醒 提供 完成 接到 接班 交班 值班 检查 巡检 操作 "
    "通过 接受 参加 参与 进行 使用 需要 要求 组织 主持 申请 填写 登记 联系 通知 询问 回答 回复 回到 介绍 作为 毕业 "
    "工作 居住 今天 昨天 昨日 明天 当天 随即 立即 马上 没有 希望 准备 开始 继续 了解 收到 驾驶 驾车 测得 测量 采样 "
    "采集 核对 复核 审核 批准 牵头 佩戴 受伤 编制 编写 撰写 出席 离岗 上岗 拨打 撤离 服用 返回 进入 离开 前往 抵达 "
    "核实 补充 解释 建议 决定 承认 拒绝 答应 起草 领取 佩带 换班 顶班 值守 下令 授权 宣布 上报 汇总 整理 讲解 教授"
)
#: Only people do this.
PERSON_VERBS = word_set(
    "表示 认为 指出 告诉 负责 担任 同意 报告 汇报 提醒 接班 交班 值班 巡检 主持 申请 询问 回答 回复 介绍 毕业 驾驶 "
    "驾车 牵头 佩戴 受伤 撰写 出席 请假 离岗 上岗 到岗 拨打 服用 前往 解释 承认 答应 起草 换班 顶班 值守 下令 授权 "
    "签收 讲解 带队 承诺 坦言 回忆 哭着 笑着 笑了 在场 到场 辞职 退休 入职 结婚 离婚 怀孕 去世 病故 住院 出院 就诊 "
    "挂号 缴费 报名 报到 报案 报警 投诉 举报 签字 签名 突发 晕倒 摔倒 迟到 缺席 失联 来电 打来 买了 卖了 开车 骑车 "
    "上班 下班 加班 陪同 核实 当庭 来了 走了 去了 回家 没来 不在 听说 嘱咐 叮嘱 抱怨 道歉 感谢 补充 强调 建议"
)
_LONGEST_VERB = 2
_ADVERBS = frozenset("已正刚也都就又先再将未没曾不")
#: Between a role and the name: 负责人是王小明.
_LINKING = frozenset("是为叫有")
#: In front of a surname alone with 工: 由张工复核, 请李工到场; 施工 and 高工 are words.
SURNAME_BEFORE = frozenset('谢找听 \n,.;:!?、("“‘。由请找让给与和向对跟同问叫派是的被到')

#: Before a surname that is a function word and its title.
INTRODUCING = frozenset("给找")
INTRODUCING_TWO = frozenset(("联系", "感谢", "谢谢", "通知", "询问", "转告"))

REACH = 8


def left_of(plain: str, start: int) -> str:
    """Return what stands close before a position, up to what is replaced already."""
    return plain[max(0, start - REACH) : start].rpartition(COVER)[2]


def right_of(plain: str, end: int) -> str:
    """Return what stands close after a position, up to what is replaced already."""
    return plain[end : end + REACH].partition(COVER)[0]


def role_before(left: str) -> bool:
    """Tell whether a role, a form field or a word for calling somebody ends here."""
    label = left.rstrip(" :")
    last = label[-1:]
    return (last in ROLE_ENDS and _is_role(label)) or (last in _LINKING and _is_role(label[:-1]))


def _is_role(label: str) -> bool:
    """Tell whether a word of up to four characters for a role ends a text; a loop takes twice as long."""
    return (
        label[-2:] in STRONG_BEFORE
        or label[-3:] in STRONG_BEFORE
        or label[-1:] in STRONG_BEFORE
        or label[-4:] in STRONG_BEFORE
    )


def role_ends_here(plain: str, start: int) -> bool:
    """Tell whether a role ends at `start`, and no longer title runs across: 班长江涛, but not 副总工程师."""
    crossing = any(
        plain[begin : begin + length] in ALL_TITLES
        for begin in range(max(0, start - 3), start)
        for length in range(start - begin + 1, 5)
    )
    return not crossing and role_before(left_of(plain, start))


def person_before(left: str) -> bool:
    """Tell whether a word that ends like the words for people ends here."""
    label = left.rstrip(" :")
    last, earlier = label[-1:], label[-2:-1]
    if last in _LINKING and earlier:
        last, earlier = label[-2], label[-3:-2]
    if not "\u4e00" <= earlier <= "\u9fff" or (last == "者" and earlier in _NO_PERSON):
        return False
    if last in _PERSON_ENDINGS or (last == "人" and len(label) < len(left)):
        return True
    return (last == "长" and earlier not in _LEADER) or (last == "工" and earlier not in _WORKER)


def strong_after(right: str) -> bool:
    """Tell whether a title or something only people have begins here."""
    right = right.lstrip(" ")
    if right[:2].isdigit() and right[2:3] == "岁":
        return True
    if right[:1] not in _FIRST_AFTER:
        return False
    return (
        right[:2] in STRONG_AFTER or right[:3] in STRONG_AFTER or right[:1] in STRONG_AFTER or right[:4] in STRONG_AFTER
    )


def titled(plain: str, start: int) -> bool:
    """Tell whether a title begins here."""
    return plain[start : start + 2] in ALL_TITLES or plain[start : start + 3] in ALL_TITLES


def person_after(right: str) -> bool:
    """Tell whether the clause goes on with what only people do."""
    if right[:1] == "说" or right[:_LONGEST_VERB] in PERSON_VERBS:
        return True
    return right[:1] in _ADVERBS and right[1 : 1 + _LONGEST_VERB] in PERSON_VERBS


def weak_before(left: str) -> bool:
    """Tell whether a clause or a phrase begins here."""
    return not left or left[-1] in WEAK_BEFORE_ONE or left[-2:] in WEAK_BEFORE_TWO


def weak_after(right: str) -> bool:
    """Tell whether a clause ends here or goes on with what people do."""
    return not right or right[0] in WEAK_AFTER_ONE or right[:2] in WEAK_AFTER_TWO
