"""A file of the user's own is found from where people stand, and its contents count: an edited file is another file."""

import pytest

from tunebook.errors import InputProblem
from tunebook.pipeline import inputs


@pytest.fixture
def root(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    for name in ("params", "notebooks", "elsewhere"):
        (checkout / name).mkdir(parents=True)
    monkeypatch.chdir(checkout / "elsewhere")
    return checkout


def resolve(root, **values):
    return inputs.resolve_paths(values, root, root / "params", "study.yaml")


@pytest.mark.parametrize("folder", ["params", "elsewhere", ".", "notebooks"])
def test_a_file_is_found_beside_the_study_here_and_in_the_checkout_without_its_machine(root, folder):
    (root / folder / "mine.jsonl").write_text("{}\n")
    found = resolve(root, rows="mine.jsonl", retained=["humaneval", "mine.jsonl"])
    assert found["rows"] == found["retained"][1] and found["retained"][0] == "humaneval"
    assert not found["rows"].startswith("/") and (root / "notebooks" / found["rows"]).is_file()


def test_a_file_outside_the_checkout_keeps_its_whole_path(root, tmp_path):
    (tmp_path / "far.csv").write_text("a\n")
    assert resolve(root, rows=str(tmp_path / "far.csv"))["rows"] == str(tmp_path / "far.csv")


@pytest.mark.parametrize("text", ["gone.jsonl", "./gone", "../gone.parquet", "gone.csv.gz"])
def test_a_path_that_leads_nowhere_is_refused_before_anything_runs(root, text):
    with pytest.raises(InputProblem, match="study.yaml: rows: .*no such file or folder"):
        resolve(root, rows=text)


def test_names_that_are_no_paths_stay(root):
    values = {"model": "owner/name", "benchmark": "", "retained": ["humaneval"], "rows": "owner/data-set", "seed": 1}
    assert resolve(root, **values) == values


def test_a_gguf_file_on_the_hub_is_a_model_and_nothing_else(root):
    values = {"model": "owner/name/q4/file.gguf", "teacher": "owner/name/file.gguf"}
    assert resolve(root, **values) == values and inputs.hashes(values, root) == {}
    for key, text in (("rows", "owner/name/file.gguf"), ("model", "./owner/name/file.gguf"), ("model", "file.gguf")):
        with pytest.raises(InputProblem, match="no such file or folder"):
            resolve(root, **{key: text})


def test_an_edited_file_and_an_edited_folder_have_other_hashes(root):
    (root / "params" / "mine.jsonl").write_text("{}\n")
    (root / "model").mkdir()
    (root / "model" / "config.json").write_text("1")
    (root / "params" / "base").mkdir()
    (root / "params" / "base" / "config.json").write_text("1")
    values = resolve(root, rows="mine.jsonl", model="model", adapter_base="base")
    before = inputs.hashes(values, root)
    assert len(before) == 3
    (root / "params" / "mine.jsonl").write_text("{} \n")
    (root / "model" / "config.json").write_text("2")
    (root / "params" / "base" / "config.json").write_text("2")
    after = inputs.hashes(values, root)
    assert before.keys() == after.keys() and all(before[name] != after[name] for name in before)
