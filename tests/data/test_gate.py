"""The parts around the checks: thresholds, the mask as HTML, the learning curve, time left."""

import io
import json
from pathlib import Path

import pytest

from planted_data import prose
from tiny_models import tokenizer
from tunebook.data.curve import fit_curve, read_curve
from tunebook.data.examples import Thresholds
from tunebook.data.gate_progress import Progress
from tunebook.data.rows import rows_from_records
from tunebook.data.sources import read_rows
from tunebook.data.validate import judge_data
from tunebook.errors import InputProblem
from tunebook.models.rendering import mask_html, measure_row
from tunebook.pipeline.params import load_base

ROOT = Path(__file__).parents[2]
PROMPT, ANSWER = [{"role": "user", "content": "<b>noon</b>"}], [{"role": "assistant", "content": "0 12 * * *"}]


def test_limits_equal_the_base_parameters():
    base = load_base(ROOT)
    assert {f"limit_{name}": value for name, value in vars(Thresholds()).items()} == {
        name: value for name, value in base.items() if name.startswith("limit_")
    }


def test_a_limit_changes_what_is_found_and_a_wrong_one_is_refused():
    rows = [{**row, "completion": "Yes." if n % 10 == 0 else row["completion"]} for n, row in enumerate(prose())]
    loose, strict = (
        judge_data(rows_from_records(rows, "rows", "memory"), limits=Thresholds(constant_answer=share))
        for share in (0.2, 0.1)
    )
    assert [item.check for item in loose.findings] == [] and [item.check for item in strict.findings] == [
        "constant_answer"
    ]
    with pytest.raises(InputProblem, match="limit_near_duplicate"):
        Thresholds(near_duplicate=1.5)


def test_mask_html_is_escaped_and_colours_the_answer_alone():
    page = mask_html(tokenizer(), [{"prompt": PROMPT, "completion": ANSWER}])
    assert "<b>" not in page and "&lt;b&gt;noon" in page
    [trained] = [part.split("</span>")[0] for part in page.split("<span")[1:] if "background" in part]
    assert trained.endswith("0 12 * * *&lt;|im_end|&gt;")


def test_a_template_that_never_closes_the_turn_is_found():
    spoken = tokenizer()
    spoken.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    spoken.chat_template += "{% if add_generation_prompt %}assistant: {% endif %}"
    assert measure_row(spoken)({"prompt": PROMPT, "completion": ANSWER})[2].startswith(
        "end_token: this model's ends are <|im_end|>"
    )
    spoken.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}GO{% endif %}"
    )
    assert measure_row(spoken)({"prompt": PROMPT, "completion": ANSWER})[2].startswith("prompt_prefix: the prompt ends")


def test_a_learning_curve_that_still_falls_and_one_that_is_flat():
    rows = [16 * step for step in range(1, 201)]
    falling = fit_curve(rows, [3 * n**-0.4 for n in rows])
    assert falling["gain"] == pytest.approx(1 - 2**-0.4, abs=0.03) and falling["low"] > 0.15
    assert fit_curve(rows, [0.5 + 20 / n for n in rows])["high"] < 0.1
    assert fit_curve(rows[:5], [1.0] * 5) == {}


def test_a_run_of_several_passes_has_no_learning_curve(tmp_path):
    folder = tmp_path / "02_train_sft"
    folder.mkdir()
    with pytest.raises(InputProblem, match="no finished 02_train_sft"):
        read_curve(tmp_path)
    (folder / "manifest.json").write_text(json.dumps({"params": {"epochs": 2.0, "batch_size": 8}}))
    with pytest.raises(InputProblem, match="2.0 epochs"):
        read_curve(tmp_path)


def test_progress_tells_the_part_and_the_time_left_on_a_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    progress = Progress(stream, 1)
    progress._bar.mininterval = 0.0
    progress(0, 10, "reading")
    for done in range(10):
        progress(done, 10, "reading")
    assert "reading, " in stream.getvalue() and "left" in stream.getvalue()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named_and_the_rows_are_read(tmp_path, encoding):
    path = tmp_path / "rows.jsonl"
    path.write_bytes("".join(json.dumps(row) + "\n" for row in prose(12)).encode(encoding))
    rows = read_rows(str(path))
    assert [item.check for item in rows.findings] == ["encoding"] and list(rows) == prose(12)


def test_csv_cells_that_hold_messages_as_python_wrote_them(tmp_path):
    path = tmp_path / "chats.csv"
    cells = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        for row in prose()
    ]
    path.write_text("messages\n" + "".join('"{}"\n'.format(str(cell).replace('"', '""')) for cell in cells))
    judgement = judge_data(read_rows(str(path)))
    assert (judgement.findings, len(judgement.examples)) == ([], 60)


def test_secrets_are_found_in_columns_and_rows_that_are_not_trained():
    key = "ghp_" + "a1B2c3D4e5F6" * 3
    rows = [*prose(), {"prompt": "x", "completion": "", "note": key}]
    rows[4]["metadata"] = {"auth": [key]}
    found = {item.check: item.rows for item in judge_data(rows_from_records(rows, "rows", "memory")).findings}
    assert found == {"secrets": [4, 60], "empty_field": [60]}
