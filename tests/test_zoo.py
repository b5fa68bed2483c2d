"""The models that people bring, in the form in which their repositories ship them, through every step of the kit."""

from pathlib import Path

import pytest

import zoo
import zoo_matrix

README = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def split():
    with zoo_matrix.converter() as choose:
        yield choose


@pytest.mark.parametrize("name", zoo_matrix.QUICK)
def test_a_family_goes_from_rows_to_a_file_that_answers_alike(name, tmp_path, split):
    assert zoo_matrix.run(name, tmp_path, split) == zoo_matrix.EXPECTED[name]


def test_the_readme_shows_the_matrix():
    shown = README.split(zoo_matrix.MARKS[0])[1].split(zoo_matrix.MARKS[1])[0].strip()
    assert len(zoo.FAMILIES) >= 16 and shown == zoo_matrix.table(zoo_matrix.EXPECTED)
