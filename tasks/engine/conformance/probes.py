"""Texts and conversations in which tokenizers and templates differ, if they differ."""

#: Chinese, English, numbers, white space, signs, rare characters, and text that looks like special tokens.
TEXTS = (
    "碘片应当在照射前二十四小时内服用。",
    "操作干预水平OIL1的默认值是1000 μSv/h，距地面1 m处测量。",
    "Shelter: go inside, close doors and windows. Don't panic; it's an exercise!",
    "1 mSv = 1000 μSv, 3.14159, 2026-11-30, 12345678",
    "  leading blanks,\ttabs\t\tand\n\n\nlines \n end  ",
    "\r\nWindows\r\nlines",
    "“引号”、（括号）——省略……①②③ ㏖ ℃ ½",
    "𠮷野家 👩‍🚒🔥 ﷽ देवनागरी عربي",
    "I'LL we've THEY'RE 'S",
    "def f(x):\n    return {'a': [1, 2], \"b\": x ** 2}  # 注释",
    "",
)
CHATS = (
    [{"role": "user", "content": "什么是应急计划区？"}],
    [
        {"role": "system", "content": "你是核应急值班助手，只按官方预案回答。"},
        {"role": "user", "content": "现在要不要撤离？"},
    ],
    [
        {"role": "user", "content": "What does sheltering mean?"},
        {"role": "assistant", "content": "Go inside and close doors and windows."},
        {"role": "user", "content": "要多久？"},
    ],
)
