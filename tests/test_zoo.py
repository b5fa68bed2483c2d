"""The models that people bring, in the form in which their repositories ship them, through every step of the kit."""

import json

import pytest

import zoo
import zoo_matrix


@pytest.fixture(scope="module")
def split():
    with zoo_matrix.converter() as choose:
        yield choose


@pytest.mark.parametrize("name", zoo_matrix.QUICK)
def test_a_family_goes_from_rows_to_a_file_that_answers_alike(name, tmp_path, split):
    assert zoo_matrix.run(name, tmp_path, split, is_quick=True) == zoo_matrix.EXPECTED[name]


def test_the_readme_shows_a_run_of_the_matrix_that_went_as_expected():
    shown = zoo_matrix.README.read_text(encoding="utf-8").split(zoo_matrix.MARKS[0])[1].split(zoo_matrix.MARKS[1])[0]
    record = json.loads(zoo_matrix.RECORD.read_text(encoding="utf-8"))
    assert shown.strip() == zoo_matrix.table(record)
    assert record["families"] == {
        name: zoo_matrix.EXPECTED[name] for name in zoo.FAMILIES if name in record["families"]
    }
    works = sum(steps.get("score") == zoo_matrix.WORKS for steps in record["families"].values())
    assert works >= 14 or record["families"].keys() < zoo.FAMILIES.keys()  # a part of the run is said to be one
