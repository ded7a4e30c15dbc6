"""Which candidate is kept: screening decides who gets the full work, the loss of the written models the rest."""

from pathlib import Path

from tasks.core.settings import QuantizeBars, QuantizeCandidate
from tasks.quantization.bars import judge_bars
from tasks.quantization.calibration import Calibration
from tasks.quantization.heldout import HeldOut, Measured
from tasks.quantization.search import Search, Tried, choose

FIRST, SECOND, THIRD = (
    QuantizeCandidate(scheme=scheme, group_size=size)
    for scheme, size in (("W4A16", 64), ("W4A16_ASYM", 64), ("W4A16_ASYM", 32))
)


WIDE = QuantizeCandidate(scheme="W8A8")
BARS = QuantizeBars(bits_per_byte_kept=0.97, top1_agreement=0.95)


def chosen(tried):
    return choose(tried, BARS, measured(1.0, 1.0)).candidate


def measured(loss: float, agreement: float | None = 0.9) -> Measured:
    return Measured(loss, loss, 2.0, 0.1, agreement)


class Scripted(Search):
    """A search whose models answer with known losses: rounding and AWQ may order the candidates differently."""

    ROUNDED, CALIBRATED = (3.0, 2.0, 1.0), (2.9, 0.5, 0.9)

    def _rounded(self, candidate):
        return measured(self.ROUNDED[[FIRST, SECOND, THIRD].index(candidate)])

    def _calibrated(self, tried, work):
        loss = self.CALIBRATED[[FIRST, SECOND, THIRD].index(tried.candidate)]
        return Tried(tried.candidate, tried.screened, measured(loss), work)


def search(params, finalists):
    params = params.model_copy(update={"finalists": finalists})
    return Scripted(params, Path("merged"), None, Calibration([], {}), HeldOut([], 0, 0), [])


def test_only_the_best_by_rounding_get_the_full_work(quantize_params, tmp_path):
    run = search(quantize_params, 1)
    tried = run.finals(run.screen([FIRST, SECOND, THIRD]), tmp_path)
    assert [one.candidate for one in tried] == [FIRST, SECOND, THIRD]
    assert [one.measured is not None for one in tried] == [False, False, True]
    assert chosen(tried) == THIRD


def test_the_loss_of_the_written_models_decides_not_the_screening(quantize_params, tmp_path):
    run = search(quantize_params, 2)
    assert chosen(run.finals(run.screen([FIRST, SECOND, THIRD]), tmp_path)) == SECOND


def test_nothing_is_screened_where_all_are_finalists(quantize_params, tmp_path):
    run = search(quantize_params, 3)
    screened = run.screen([FIRST, SECOND, THIRD])
    assert [one.screened for one in screened] == [None, None, None]
    assert chosen(run.finals(screened, tmp_path)) == SECOND


def test_of_equals_the_first_in_the_settings_is_kept():
    equal = [Tried(one, None, measured(1.0 + tiny), Path()) for one, tiny in ((FIRST, 1e-9), (SECOND, 0.0))]
    assert chosen(equal) == FIRST


def test_each_method_and_width_has_its_own_finalists(quantize_params, tmp_path):
    class Known(Scripted):
        def _rounded(self, candidate):
            return measured({None: 0.1, 32: 1.0, 64: 2.0}[candidate.group_size])

        def _calibrated(self, tried, work):
            return Tried(tried.candidate, tried.screened, measured(1.0), work)

    params = quantize_params.model_copy(update={"finalists": 1})
    run = Known(params, Path("merged"), None, Calibration([], {}), HeldOut([], 0, 0), [])
    gptq = [QuantizeCandidate(scheme="W4A16", method="gptq", group_size=size) for size in (64, 32)]
    tried = run.finals(run.screen([FIRST, THIRD, *gptq, WIDE]), tmp_path)
    assert [one.candidate for one in tried if one.measured] == [THIRD, gptq[1], WIDE]
    assert tried[-1].screened is None  # alone of its kind: nothing to screen it against


def test_eight_bits_are_kept_only_where_the_best_of_four_holds_no_bar():
    small, worse, wide = (Tried(one, None, measured(loss, agreement), Path()) for one, loss, agreement in (
        (FIRST, 1.02, 0.96), (SECOND, 1.03, 0.99), (WIDE, 1.001, 0.99)))  # fmt: skip
    assert chosen([wide, worse, small]) == FIRST
    lost = Tried(FIRST, None, measured(1.02, 0.8), Path())
    assert chosen([wide, worse, lost]) == WIDE
    assert chosen([worse, lost]) == FIRST
    assert chosen([wide]) == WIDE


def judged(after: Measured, rounded: Measured | None = None, **changed):
    facts = {"parameters": 134_515_008, "candidates": 4, "smallest_group": 32, "calibration_tokens": 5197,
             "bits": 4, "method": "AWQ"} | changed  # fmt: skip
    return judge_bars(BARS, before=measured(1.0, 1.0), after=after, rounded=rounded, facts=facts)


def test_bars_that_hold_need_no_words():
    found = judged(measured(1.02, 0.96))
    assert found["held"]
    assert found["why"] is None
    assert found["top1_agreement"] == {"bar": 0.95, "measured": 0.96, "held": True}


def test_a_bar_that_does_not_hold_says_why_in_both_languages():
    found = judged(measured(1.02, 0.81), measured(1.08, 0.71))
    assert (found["bits_per_byte_kept"]["held"], found["top1_agreement"]["held"], found["held"]) == (True, False, False)
    assert "135 million parameters" in found["why"]["en"]
    assert "Rounding alone keeps 92.6% of the bits per byte and 71.0% of the first choices" in found["why"]["en"]
    assert "5,197 个词元" in found["why"]["zh"]


def test_the_words_name_the_method_its_bits_and_no_group_where_there_is_none():
    why = judged(measured(1.1, 0.5), bits=8, method="SmoothQuant", smallest_group=None)["why"]
    assert "error of 8 bits" in why["en"]
    assert "SmoothQuant was calibrated" in why["en"]
    assert "group" not in why["en"]
    assert "8 位取整的误差。所选方案是 4 个候选中在留出答案上最好的。SmoothQuant 校准用了" in why["zh"]


def test_without_screening_the_words_do_not_speak_of_it():
    assert "Rounding alone" not in judged(measured(1.1, 0.5))["why"]["en"]
