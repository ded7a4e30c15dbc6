"""Splits follow from content alone."""

from collections.abc import Callable

from tasks.data.conversation import ChatRow
from tasks.data.split import calibration_rows, in_validation

Chat = Callable[..., ChatRow]


def rows_of(chat: Chat, count: int, language: str = "zh") -> list[ChatRow]:
    return [
        chat(f"问题{number}？", f"{language}回答{number}。", f"r-{language}{number}", language)
        for number in range(count)
    ]


def test_the_fraction_is_met_and_a_row_never_moves(chat: Chat) -> None:
    rows = rows_of(chat, 2000)
    chosen = {row.row_id for row in rows if in_validation(row, 0.05)}
    assert 60 <= len(chosen) <= 140
    assert chosen <= {row.row_id for row in rows if in_validation(row, 0.1)}
    assert not any(in_validation(row, 0.0) for row in rows)
    assert all(in_validation(row, 1.0) for row in rows)


def test_width_and_punctuation_do_not_move_a_row(chat: Chat) -> None:
    for row in rows_of(chat, 50):
        twin = chat(row.messages[0]["content"].replace("？", " ? "), row.messages[1]["content"], "r-x")
        assert in_validation(row, 0.5) == in_validation(twin, 0.5)


def test_calibration_is_balanced_and_stable_when_rows_are_added(chat: Chat) -> None:
    zh, en = rows_of(chat, 40), rows_of(chat, 40, "en")
    chosen = calibration_rows(zh + en, 10)
    assert [row.language for row in chosen].count("zh") == 5
    assert chosen == calibration_rows((zh + en)[::-1], 10)
    more = calibration_rows(zh + en + rows_of(chat, 60)[40:], 10)
    assert len({row.row_id for row in chosen} & {row.row_id for row in more}) >= 6


def test_one_language_fills_up_for_the_other(chat: Chat) -> None:
    zh, en = rows_of(chat, 20), rows_of(chat, 2, "en")
    assert len(calibration_rows(zh + en, 10)) == 10
    assert len(calibration_rows(zh[:2] + rows_of(chat, 20, "en"), 10)) == 10
    assert len(calibration_rows(zh[:3], 10)) == 3
