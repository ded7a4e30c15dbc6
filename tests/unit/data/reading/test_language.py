"""Chinese, English, or neither."""

import re

from tasks.data.reading.language import _latin, chinese_share, language_of


def test_languages() -> None:
    assert language_of("剂量率为1000 μSv/h，按GSR Part 7应撤离") == "zh"
    assert language_of("Stay indoors and close the windows.") == "en"
    assert language_of("What does 隐蔽 mean in the plan?") == "en"
    assert language_of("Закройте окна и двери") is None
    assert language_of("放射線はどのように測りますか、おしえてください") is None
    assert language_of("写个循环。\n```python\nfor name in sorted(names): print(name, end=separator)\n```") == "zh"
    assert language_of("1000") == language_of("") == "en"


def test_shares_leave_code_out_and_short_texts_undecided() -> None:
    assert chinese_share("隐蔽时关闭门窗和通风，收听官方消息。") == 1
    assert chinese_share("Go inside, close the windows and doors, and listen to the news on the radio.") == 0
    assert chinese_share("OK") is None
    assert chinese_share("```python\nfor a in range(3): print(a, 'one two three four five six')\n```") is None


def test_full_width_english_is_english():
    wide = str.maketrans({code: code + 0xFEE0 for code in range(0x21, 0x7F)})
    assert language_of("Close doors and windows, stop the ventilation.".translate(wide)) == "en"


def test_words_and_letters_beyond_ascii_count_like_others():
    text = "剂量率×10³ naïve Ａbc，µSv/h"
    assert _latin(text) == (
        len(words := re.findall("[A-Za-zÀ-ɏ\uff21-\uff3a\uff41-\uff5a]+", text)),
        len("".join(words)),
    )
