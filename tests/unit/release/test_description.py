"""What MLflow shows of a version: the verdict, figures, links that MLflow can follow, never more than it takes."""

from types import SimpleNamespace

import pytest

from tasks.core.layout import HOPS
from tasks.release.description import MOST_CHARACTERS, PAGES, description
from tasks.release.registry import Registry

RUN = SimpleNamespace(info=SimpleNamespace(experiment_id="7", run_id="abc"))
VERDICT = {"verdict": "FAIL", "demo": True, "lineage_id": "tg-1", "summary_words": "Not shown.",
           "summary_words_zh": "未通过。"}  # fmt: skip


def test_it_says_the_verdict_in_both_languages_the_figures_and_where_the_reports_are():
    metrics = {hop: {"ceval_accuracy": 0.25} for hop in HOPS} | {"adapter": {}}
    text = description(VERDICT, metrics, RUN)
    assert text.startswith("**FAIL**, a demonstration · lineage `tg-1`\n\nNot shown.\n\n未通过。\n\n")
    for page in PAGES.values():
        assert f"(#/experiments/7/runs/abc/artifacts/{page})" in text
    assert text.endswith("| ceval_accuracy | 0.250 | – | 0.250 | 0.250 |")


@pytest.mark.parametrize(("names", "words"), [(400, 10), (1, 9000)])
def test_it_is_never_longer_than_mlflows_database_takes(names, words):
    metrics = {hop: {f"指标{number}": 0.5 for number in range(names)} for hop in HOPS}
    text = description(VERDICT | {"summary_words": "x" * words}, metrics, RUN)
    assert len(text) <= MOST_CHARACTERS
    assert text.startswith("**FAIL**")


def test_a_registered_version_has_it(registry: Registry):
    made = registry.client.get_model_version(registry.name, "2")
    assert made.description.startswith("**PASS**, a demonstration · lineage `tg-2`")
    assert f"/runs/{made.run_id}/artifacts/reports/dossier/index.html" in made.description
