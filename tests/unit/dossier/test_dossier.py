"""The dossier and the model card: complete, safe to open, the same bytes each time."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json, write_jsonl
from tasks.core.settings import BaseModelParams, DossierParams
from tasks.dossier.charts import interval_chart, loss_chart
from tasks.dossier.dossier import dossier
from tasks.gate.gate import gate
from tasks.stages.table import STAGES

ROOT = Path(__file__).parents[3]
HOSTILE = "<script>alert('核')</script><img src=x onerror=alert(1)>\"&'|`</style>]]>"


LEAKS = {"items": 9, "unsearchable": 0, "leaked_items": 1, "leaked_rows": 1}


class Page(HTMLParser):
    """Collect tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


#: The gate's files on untouched evidence: it is the same in every test, and judging takes longer than writing a page.
UNTOUCHED: dict[str, bytes] = {}


def judged(run: Any, *, touched: bool = False) -> Any:
    """Run the gate on the evidence as it lies, or take what it said before about the same."""
    output = run.root / "data/reports/gate"
    output.mkdir(parents=True, exist_ok=True)
    if touched or not UNTOUCHED:
        gate(run.settings.gate, output=output, **run.gate_inputs)
        UNTOUCHED.update({} if touched else {path.name: path.read_bytes() for path in output.iterdir()})
    else:
        for name, content in UNTOUCHED.items():
            (output / name).write_bytes(content)
    return run


def write(run: Any, output: Path, **changes: Any) -> tuple[Page, str]:
    """Write the dossier; return the page and the card."""
    output.mkdir(parents=True, exist_ok=True)
    title = changes.pop("title", run.settings.dossier.title)
    dossier(DossierParams(title=title), output=output, **{**run.dossier_inputs, **changes})
    return Page((output / "index.html").read_text(encoding="utf-8")), (output / "model_card.md").read_text("utf-8")


def test_the_page_says_what_a_reviewer_asks(run: Any, tmp_path: Path) -> None:
    page, _ = write(judged(run), tmp_path / "out")
    for words in (
        "PASS", "通过", "demonstration", "the profile is laptop", "tg-cccccccccccccccc", "2.070",
        "bits per byte better",
        "This is not C-Eval: 104 own questions", "Social Science", "Failed by the quantized model", "mojibake",
        "instructions/planted_bad.jsonl lines 1, 2, 3", "resident id 身份证号", "few rows are dropped", "groups of 32",
        "96.7 %", "not held 未达到", "135 million parameters", "sha256:" + "b" * 64, "No GPU was used", "dequantized",
        "Apache-2.0", "Signature", "tunegate approve VERSION --reason TEXT", "Before you sign",
        "24 conversations were turned into tokens", "No token differs", "Must refuse", "searched 95 of 96",
        "not supported: the chat template does not tell",
    ):  # fmt: skip
        assert words in " ".join(page.text.split()), words
    assert page.text.index("PASS") < page.text.index("Rules")


def test_the_page_fetches_and_runs_nothing(run: Any, tmp_path: Path) -> None:
    page, _ = write(judged(run), tmp_path / "out")
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "srcset") or name.startswith("on")]
    ids = {f"#{value}" for name, value in page.attributes if name == "id"}
    assert {value for name, value in page.attributes if name == "href"} <= ids
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|https?://", text)


def test_hostile_text_stays_text(run: Any, tmp_path: Path) -> None:
    questions = [{"eval_set": "safety", "item_id": f"safety-{n:03d}", "options": [], "question": HOSTILE}
                 for n in range(44)]  # fmt: skip
    write_jsonl(run.root / "data/prepared/eval_questions.jsonl", questions)
    ledger = [{"row_id": "r-1", "source": f"instructions/{HOSTILE}.jsonl", "line": 1, "fate": "dropped",
               "reason": HOSTILE, "rule": HOSTILE, "evidence": {}}]  # fmt: skip
    write_jsonl(run.root / "data/prepared/ledger.jsonl", ledger)
    summary = read_json(run.root / "data/prepared/summary.json")
    hostile = {"sources": {HOSTILE: 9}, "concepts": {HOSTILE: 9}, "formats": {HOSTILE: 9}, "leaks": {HOSTILE: LEAKS}}
    write_json(run.root / "data/prepared/summary.json", summary | hostile)
    run.edit_results("awq", parity={"rows": 16, "mismatches": [{"row_id": "r-1", "words": HOSTILE}]})
    page, card = write(judged(run), tmp_path / "out", title=HOSTILE)
    assert not {"script", "img"} & set(page.tags)
    assert page.tags.count("style") == 1
    assert page.text.count("alert('核')") >= 14
    body = card.split("---\n", 2)[2]
    assert not re.search(r"(?<!\\)<script|(?<!\\)<img", body)


def test_same_evidence_same_bytes_in_another_process(run: Any, tmp_path: Path) -> None:
    write(judged(run), tmp_path / "here")
    code = (
        "import sys, json, pathlib; from tasks.core.settings import *\n"
        "from tasks.dossier.dossier import dossier\n"
        "s = load_settings(pathlib.Path(sys.argv[1]) / 'params.yaml'); out = pathlib.Path(sys.argv[3]); out.mkdir()\n"
        "paths = {k: pathlib.Path(v) for k, v in json.loads(sys.argv[2]).items()}\n"
        "dossier(s.dossier, output=out, profile=s.profile, hardware=s.hardware, base_model=s.base_model, **paths)"
    )
    paths = {name: str(value) for name, value in run.dossier_inputs.items() if isinstance(value, Path)}
    subprocess.run([sys.executable, "-c", code, str(ROOT), json.dumps(paths), str(tmp_path / "there")], check=True,
                   cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"})  # fmt: skip
    for name in ("index.html", "model_card.md"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_no_trace_of_this_machine_or_of_python(run: Any, tmp_path: Path) -> None:
    write(judged(run), tmp_path / "out")
    for name in ("index.html", "model_card.md"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert not re.search(r"object at 0x|built-in|None\b|Undefined", text)


def test_a_failed_check_stands_out_with_hop_cause_and_command(run: Any, tmp_path: Path) -> None:
    run.edit_results("merged", canary={"items": 10, "passed": False, "failures": ["x"]})
    page, card = write(judged(run, touched=True), tmp_path / "out")
    for words in ("FAIL", "不通过", "failed at merged", "Likely cause:", "tunegate stage evaluate@merged"):
        assert words in page.text
    assert "**FAILED** The scoring path works (hop merged)" in card


def test_nothing_measured_is_said_and_still_printed(run: Any, tmp_path: Path) -> None:
    rows = run.samples("awq")
    for row in rows:
        if row["suite"] == "domain_short":
            row["value"] = float("nan")
    run.rewrite("awq", rows)
    page, _ = write(judged(run, touched=True), tmp_path / "out")
    assert "Nothing was measured: a value is not a number." in page.text
    assert "–" in page.text


def test_a_judge_is_reported_beside_the_key_points(run: Any, tmp_path: Path) -> None:
    page, _ = write(judged(run), tmp_path / "without")
    assert "A second opinion" not in page.text
    run.edit_results("awq", judge={
        "model": "other-model", "version": 1, "answers": 64, "judged": 61, "nonsense": 3, "agreement": 0.9,
        "kappa": 0.71, "keypoint_share": 0.42, "judge_share": None, "points": 200, "differ": [], "nonsense_items": [],
    })  # fmt: skip
    page, _ = write(judged(run), tmp_path / "with")
    for words in ("other-model", "61 of 64 answers judged, 3 without a usable verdict", "0.71", "42.0"):
        assert words in page.text


@pytest.mark.slow
def test_an_item_lost_by_training_comes_first(run: Any, tmp_path: Path) -> None:
    rows = run.samples("awq")
    base = {row["item_id"]: row["value"] for row in run.samples("base") if row["suite"] == "safety"}
    lost = max(item for item, value in base.items() if value == 1)
    next(row for row in rows if row["item_id"] == lost)["value"] = 0.0
    run.rewrite("awq", rows)
    page, _ = write(judged(run, touched=True), tmp_path / "out")
    listed = re.findall(r"safety-\d{3}", page.text.partition("Failed by the quantized model")[2])
    assert listed[0] == lost
    assert "the base had it right" in page.text


@pytest.mark.slow
def test_no_refused_rows_and_no_failed_items(run: Any, tmp_path: Path) -> None:
    write_jsonl(run.root / "data/prepared/ledger.jsonl", [])
    for hop in ("base", "merged", "awq"):
        rows = run.samples(hop)
        for row in rows:
            row["value"] = 1.0 if row["suite"].startswith("safety") else row["value"]
        run.rewrite(hop, rows)
    page, _ = write(judged(run, touched=True), tmp_path / "out")
    assert "No item failed." in page.text
    assert "Refused rows 未采用的行 No row was refused." in " ".join(page.text.split())


def test_the_card_has_the_hubs_front_matter(run: Any, tmp_path: Path) -> None:
    _, card = write(judged(run), tmp_path / "out")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "apache-2.0"
    assert front["language"] == ["zh", "en"]
    assert front["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    names = {result["dataset"]["name"] for result in front["model-index"][0]["results"]}
    assert names == {row["suite"] for row in run.samples("awq")}
    for words in ("The base is a dequantized one", "## Intended use", "## Limitations", "`ceval_mini`, a stand-in"):
        assert words in card


def test_another_base_keeps_its_own_licence(run: Any, tmp_path: Path) -> None:
    base = BaseModelParams(source="huggingface", id="Qwen/Qwen2.5-7B-Instruct", revision="abc", digest=None)
    page, card = write(judged(run), tmp_path / "out", base_model=base)
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["base_model"]) == ("other", "Qwen/Qwen2.5-7B-Instruct")
    assert "dequantized" not in page.text
    assert "bound by the licence of their base model" in page.text


@pytest.mark.slow
def test_c_eval_proper_is_not_called_a_stand_in(run: Any, tmp_path: Path) -> None:
    for hop in ("base", "merged", "awq"):
        rows = run.samples(hop)
        for row in rows:
            row["suite"] = row["suite"].replace("ceval_mini", "ceval")
        results = read_json(run.report(hop) / "results.json")
        suites, exams = results["suites"], results["exams"]
        suites["ceval"] = {**suites.pop("ceval_mini"), "name": "ceval", "stand_in": False}
        exams[0] |= {"name": "ceval", "suite": "ceval", "stand_in": False}
        run.edit_results(hop, suites=suites, exams=exams)
        run.rewrite(hop, rows)
    page, card = write(judged(run, touched=True), tmp_path / "out")
    assert "ceval by category and subject" in page.text
    assert "stand-in" not in page.text + card


@pytest.mark.parametrize("missing", ["gate/verdict.json", "validation/validation.json", "eval/merged/results.json"])
def test_a_missing_file_is_named(run: Any, tmp_path: Path, missing: str) -> None:
    (judged(run).root / "data/reports" / missing).unlink()
    with pytest.raises(DataContractError, match=Path(missing).name):
        write(run, tmp_path / "out")


def test_the_stage_table_names_every_file_of_the_dossier() -> None:
    stage = next(stage for stage in STAGES if stage.key == "dossier")
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tasks/release").glob("dossier*.py")}
    assert own <= set(stage.code)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=30))
def test_any_loss_curve_draws(losses: list[float]) -> None:
    drawn = loss_chart([(step, loss) for step, loss in enumerate(losses, start=1) if abs(loss) < 1e6 or loss != loss])
    assert not re.search(r"nan|inf", drawn.replace("Training", ""))


@pytest.mark.parametrize("lower_is_better", [True, False])
@pytest.mark.parametrize("expect", ["better", "not_worse", "floor"])
def test_right_is_better_in_every_picture(expect: str, lower_is_better: bool) -> None:
    sign = -1 if lower_is_better else 1
    good = {"difference": sign * 0.5, "interval": sorted((sign * 0.4, sign * 0.6)), "line": sign * 0.1,
            "expect": expect, "lower_is_better": lower_is_better}  # fmt: skip
    drawn = interval_chart(good)
    line = float(re.search(r'class="line" x1="([\d.]+)"', drawn)[1])
    point = float(re.search(r'cx="([\d.]+)"', drawn)[1])
    assert point > line
    assert interval_chart({**good, "difference": None}) == ""


def test_a_folder_moved_elsewhere_opens_the_same(run: Any, tmp_path: Path) -> None:
    write(judged(run), tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    page = Page((tmp_path / "elsewhere/index.html").read_text(encoding="utf-8"))
    assert not [value for name, value in page.attributes if name == "href" and not str(value).startswith("#")]


def test_a_verdict_from_other_words_still_renders(run: Any, tmp_path: Path) -> None:
    path = judged(run).root / "data/reports/gate/verdict.json"
    verdict = read_json(path)
    verdict["demo"], verdict["demo_reasons"] = False, []
    write_json(path, verdict)
    page, _ = write(run, tmp_path / "out")
    assert "Why this is only a demonstration" not in page.text
