"""Data: read rows, judge them, split them. Notebook 01 and `tunebook validate`."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "load_study_data": "study_data",  # a study's rows and problems, split
        "problems_of": "study_data",  # benchmark rows of rows
        "Sizes": "study_data",  # how many rows and problems it takes
        "row_groups": "splits",  # rows by where they come from
        "held_rows": "splits",  # some dev rows, each with its group
        "leave_rows_out": "splits",  # a study without the training rows of a group
        "without_thoughts": "study_data",  # the same for a model that does not think
        "reading_of": "mapping",  # mapping, drop and train_on as one value
        "demonstrations": "row_types",  # the rows that supervised training may imitate
        "Thresholds": "examples",  # the thresholds that a study may change
        "check_lengths": "lengths",  # rows cut or emptied by max_length
        "judge_study": "validate",  # every check that needs no model
        "merge_findings": "notes",  # lists of findings as one, errors first
        "status_of_findings": "notes",  # pass, warn or fail
        "findings_table": "views",  # findings as rows of a table
        "verdict_line": "views",  # the judgement in one line
        "compared_line": "views",  # how many problems of each benchmark could be compared
        "trained_line": "views",  # how many turns and tokens are trained
        "cluster_table": "views",  # groups of rows that repeat
        "contamination_table": "views",  # rows that hold a problem of a benchmark
        "write_rejects": "validate",  # rejects.jsonl
        "redact": "checks.secrets",  # text without secrets
        "redact_record": "checks.secrets",  # a record without secrets
    },
)
