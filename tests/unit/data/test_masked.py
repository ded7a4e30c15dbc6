"""The summary counts masks in answers and shows the commonest masked strings as hashes of the raw data."""

from tasks.data.passes.masked import Masked, masked_report, masked_strings

MESSAGES = ({"role": "user", "content": "电话13912345678"}, {"role": "assistant", "content": "请拨139 1234 5678"})


def mask(message: int, start: int, end: int) -> dict[str, object]:
    """Return the record of a mask."""
    return {"message": message, "type": "mobile", "start": start, "end": end, "policy": "mask"}


def several(number: int) -> list[Masked]:
    """Return so many different masked strings, one row each."""
    texts = [f"1390000{place:04d}" for place in range(number)]
    return [
        one
        for row, text in enumerate(texts)
        for one in masked_strings(row, ({"role": "user", "content": text},), [mask(0, 0, 11)])
    ]


def test_the_same_number_is_one_string_however_it_is_written() -> None:
    found = masked_strings(3, MESSAGES, [mask(0, 2, 13), mask(1, 2, 15), mask(2, 0, 4)])
    assert [one.role for one in found] == ["user", "assistant", "further"]
    assert found[0].digest == found[1].digest
    report = masked_report([*found, *several(9)])
    assert report["in_answers"] == {"mobile": 1}
    assert report["different"] == 10
    [commonest] = report["commonest"]
    assert commonest == {"type": "mobile", "hash": commonest["hash"], "spans": 2, "rows": 1,
                         "roles": {"assistant": 1, "user": 1}}  # fmt: skip


def test_hashes_depend_on_all_that_is_masked_and_are_none_where_that_is_too_little() -> None:
    found = masked_strings(0, MESSAGES, [mask(0, 2, 13), mask(1, 2, 15)])
    one, other = (masked_report([*found, *several(number)])["commonest"][0]["hash"] for number in (9, 10))
    assert one != other
    assert masked_report([*found, *several(3)])["commonest"] == []
    assert masked_report([]) == {"in_answers": {}, "different": 0, "commonest": []}
