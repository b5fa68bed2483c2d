"""A setting that is misspelt, of another type or never read must stop the run, not change its result silently."""

from pathlib import Path

import pytest

from mini_study import DATA, DATA_PARAMETERS, make_root, write_notebook
from tunebook.errors import InputProblem
from tunebook.pipeline import notebooks, params, stages
from tunebook.pipeline import study as studies
from tunebook.pipeline.progress import Display

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path)


def study(root, text, *sets):
    path = root / "params" / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return params.load_study(path, list(sets), root)


def test_overlay_changes_one_value_and_keeps_the_rest(root):
    found = study(root, 'extends: demo\nrate: 1\n"04@base": {seed: 3}\n', "names=b,c", "rate=3e-4")
    assert found.stages == ["01_validate_data", "04_evaluate_pass_at_1@base", "06_verdict"]
    assert (found.params["rows"], found.params["rate"], found.params["names"]) == (7, 3e-4, ["b", "c"])
    assert found.overrides == {"04_evaluate_pass_at_1@base": {"seed": 3}}


def test_a_set_list_may_be_json_and_a_narrowed_study_drops_the_sections_of_what_it_leaves_out(root):
    found = study(root, 'extends: demo\n"04@base": {seed: 3}\n', 'names=["a, b", "c"]', 'stages=["01", "06"]')
    assert found.params["names"] == ["a, b", "c"] and found.overrides == {}
    assert found.stages == ["01_validate_data", "06_verdict"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("prompt_style", "nope", "choose from chat"), ("batch_size", 0, "above 0"), ("epochs", -1.0, "above 0"),
    ("n_test", -1, "negative"),
     ("top_p", 0.0, "at most 1"), ("ladder", ["few_shot", "bogus"], "choose from nearest")],
)  # fmt: skip
def test_a_value_that_means_nothing_is_refused_before_anything_runs(key, value, said):
    with pytest.raises(InputProblem, match=said):
        params.check(key, value, "here")
    for name, value in params.load_base(ROOT).items():
        params.check(name, value, "base.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: base\nrate: 2026-13-45\n", "put text into quotes"),
        ("extends: base\nnames: [2026-11-25]\n", "text"),
        ("extends: base\n? [a, b]\n: 1\n", "is not text"),
        ("extends: base\n? {a: b}\n: 1\n", "line 2: not YAML"),
        ("extends: base\nnames: &all [*all]\n", "declares text"),
        ("extends: base\nrows: !!python/object/apply:os.getcwd []\n", "line 2: not YAML"),
        ("extends: base\nnames: " + "[" * 20000 + "\n", "nested too deeply"),
        ("extends: base\nrows: " + "1" * 5000 + "\n", "4300 digits"),
        ("extends: base\nrws: 3\n", "did you mean 'rows'"),
        ('extends: base\n"04@base": {sed: 3}\n', "did you mean 'seed'"),
        ('extends: base\n"04@sft": {seed: 3}\n', "not in `stages`"),
        ("extends: base\nrows: 3.5\n", "a whole number"),
        ("extends: base\nrows: true\n", "a whole number"),
        ('extends: base\nrows: "3"\n', "a whole number"),
        ("extends: base\nrows:\n", "write a value"),
        ("extends: base\nrate: 2 e-4\n", "a number"),
        ("extends: base\nrate: .nan\n", "finite"),
        ("extends: base\nnames: [1]\n", "quotes"),
        ("extends: base\nrun: mine\n", "--run NAME"),
        ("extends: base\nrows: 3\nrows: 4\n", 'line 3: not YAML (found duplicate key "rows"'),
        ("rows: 3\n", "extends: base"),
        ("extends: bse\n", "did you mean 'base'"),
        ("extends: study\n", "circle: study.yaml -> study.yaml"),
        ("extends: base\nstages: [1, 4]\n", "quotes"),
        ('extends: base\nstages: ["04@base", "01"]\n', "put 01 before it"),
        ('extends: base\nstages: ["01", "04@sft"]\n', "reads 02, which is not in `stages`"),
        ('extends: base\nstages: ["01", "04@spt"]\n', "04@sft"),
        ("", "empty"),
        ("- 3\n", "found list"),
        ("extends: [\n", "not YAML"),
    ],
)
def test_a_wrong_study_is_refused_with_its_remedy(root, text, said):
    with pytest.raises(InputProblem, match="study.yaml") as problem:
        study(root, text)
    assert said in str(problem.value)


def test_numbers_and_words_are_read_as_people_write_them(root):
    """YAML 1.1 takes 2e-4 for a text, and off and no for false."""
    assert study(root, "extends: base\nrate: 2e-4\n").params["rate"] == 2e-4
    assert study(root, "extends: base\nrate: 1.5E6\n").params["rate"] == 1.5e6
    assert study(root, "extends: base\nnames: [off, no, 4:30]\n").params["names"] == ["off", "no", "4:30"]


def test_a_circle_through_two_files_ends(root):
    (root / "params" / "other.yaml").write_text("extends: study\n", encoding="utf-8")
    with pytest.raises(InputProblem, match="study.yaml -> other.yaml -> study.yaml"):
        study(root, "extends: other\n")


@pytest.mark.parametrize("setting", ["rows", "rows=many", "rws=3", "run=x"])
def test_a_wrong_set_is_refused(root, setting):
    with pytest.raises(InputProblem, match="--set"):
        study(root, "extends: base\n", setting)


PAPERMILL_TRAPS = {
    "lost_tag": (DATA_PARAMETERS, (), "no cell has the tag"),
    "two_equal_signs_in_comment": (
        'run: str = "x"\nrows: int = 5  # rows=all',
        ("parameters",),
        "line 2: papermill does not see 'rows'",
    ),
    "union_type": ('run: str = "x"\nrows: int | None = 5', ("parameters",), "line 2: papermill does not see 'rows'"),
    "two_targets": ('run: str = "x"\nrows = other = 5', ("parameters",), "line 2: not one `name = literal`"),
    "hash_in_text": ('run: str = "x # y"\nrows: int = 5', ("parameters",), "line 1: papermill reads 'run'"),
    "computed": ('run: str = "x"\nrows: int = 2 + len("abc")', ("parameters",), "line 2: the value is computed"),
    "none": ('run: str = "x"\nrows: int = None', ("parameters",), "'' means absent"),
    "set_twice": ("# Where\nrows = 1\nrows = 2", ("parameters",), "line 3: 'rows' is set twice"),
    "alone": ('run: str = "x"', ("parameters",), "magic"),
}


@pytest.mark.parametrize("trouble", PAPERMILL_TRAPS)
def test_a_parameter_that_papermill_would_not_inject_is_refused(tmp_path, trouble):
    parameters, tags, said = PAPERMILL_TRAPS[trouble]
    path = write_notebook(tmp_path, "01_validate_data", parameters, DATA, tags)
    with pytest.raises(InputProblem, match="01_validate_data.ipynb") as problem:
        notebooks.check_papermill_agrees(path)
    assert said in str(problem.value)


def test_a_doubled_tag_names_both_cells(root):
    path = root / "notebooks" / "01_validate_data.ipynb"
    path.write_text(
        path.read_text().replace(
            '"id": "cell-1", "metadata": {}', '"id": "cell-1", "metadata": {"tags": ["parameters"]}'
        )
    )
    with pytest.raises(InputProblem, match="'parameters', 'cell-1'"):
        notebooks.declared(path)


def test_a_notebook_that_would_not_get_the_run_is_refused_before_anything_runs(root):
    write_notebook(root, "01_validate_data", "# Rows\nrows: int = 5", DATA)
    with pytest.raises(InputProblem, match="does not declare the parameter 'run'"):
        plan(root, "extends: base\n")


def test_an_own_value_that_the_notebook_never_reads_is_refused(root):
    with pytest.raises(InputProblem, match="sets 'rate', which 01_validate_data.ipynb does not declare"):
        plan(root, 'extends: base\n"01": {rate: 1.0}\n')


def test_a_parameter_that_base_lacks_is_refused(root):
    write_notebook(root, "01_validate_data", 'run: str = "by-hand"\nrowz: int = 5', DATA)
    with pytest.raises(InputProblem, match="declares 'rowz', .* did you mean 'rows'"):
        plan(root, "extends: base\n")


def plan(root, text):
    import io

    return studies.make_plan(root, root / "outputs" / "x", study(root, text), Display(io.StringIO()))


def test_reinforcement_starts_from_the_demonstrations_or_from_a_foreign_adapter():
    names = ["01_validate_data", "02_train_sft", "08_train_grpo", "05_export_gguf"]
    assert stages.upstream("08_train_grpo", names) == names[:2]
    assert stages.upstream("05_export_gguf", names) == names[:3]
    assert stages.upstream("09_recover", [*names, "09_recover"]) == names[:3]
    assert stages.upstream("08_train_grpo", ["01_validate_data", "08_train_grpo"]) == ["01_validate_data"]
    scored = ["01_validate_data", "08_train_grpo", "04_evaluate_pass_at_1@grpo"]
    assert stages.upstream(scored[2], scored) == scored[:2]


def test_labelling_reads_every_model_that_was_scored_before_it():
    names = ["01_validate_data", "04_evaluate_pass_at_1@base", "02_train_sft", "04_evaluate_pass_at_1@sft", "11_label"]
    assert stages.upstream("11_label", names) == [names[0], names[1], names[3]]
    assert stages.upstream("11_label", [names[0], "11_label"]) == [names[0]], "answers may come from files"


def test_a_recovery_is_read_where_it_stands_before_and_asked_for_by_who_scores_it():
    """A notebook that a person adds after the export must not make the export that was there out of date."""
    names = ["01_validate_data", "02_train_sft", "09_recover", "05_export_gguf"]
    assert stages.upstream("05_export_gguf", names) == names[:3]
    assert stages.upstream("05_export_gguf", [*names[:2], "05_export_gguf", "09_recover"]) == names[:2]
    assert stages.upstream("09_recover", ["01_validate_data", "09_recover"]) == ["01_validate_data"]
    foreign = ["01_validate_data", "09_recover", "05_export_gguf"]
    assert stages.upstream("05_export_gguf", foreign) == foreign[:2]
    with pytest.raises(InputProblem, match="reads 02, which is not in `stages`"):
        stages.upstream("05_export_gguf", [foreign[0], foreign[2]])
    with pytest.raises(InputProblem, match="reads 09, which is not in `stages`"):
        stages.upstream("04_evaluate_pass_at_1@recover", ["01_validate_data", "02_train_sft"])
