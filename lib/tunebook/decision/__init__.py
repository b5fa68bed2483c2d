"""Decision: the specification, the gates, the ladder without training, the verdict and its page. Notebooks 00, 06
and 07.
"""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "spec_from": "spec",  # the specification of a study
        "spec_table": "spec",  # the specification as a table
        "check_names": "spec",  # slices and gates exist
        "freeze_for_run": "spec",  # write it down once, hashed
        "override_reason": "spec",  # the written reason against a gate
        "read_prices": "economics",  # what things cost
        "sweep": "economics",  # break-even over prices
        "Ladder": "ladder",  # the rungs to try
        "climb": "ladder",  # score every rung
        "rung_row": "gates",  # a rung of the ladder
        "rung_cost": "ladder",  # price and latency of a rung
        "Budget": "search",  # how long prompts are searched
        "search_prompts": "search",  # the best prompt on dev
        "prompting_effort": "effort",  # what each rung takes
        "effort_rows": "effort",  # prompting and training beside each other
        "task_gate": "gates",  # is the task described?
        "ladder_gate": "gates",  # is prompting enough?
        "audit_gate": "gates",  # does the benchmark measure it?
        "power_gate": "gates",  # can the benchmark show the gain?
        "operation_gate": "gates",  # who runs it?
        "kept_gate": "gates",  # what must not get worse?
        "budget_gate": "gates",  # does it fit the budget?
        "gather_evidence": "gather",  # every score of the run
        "decide": "verdict",  # the frozen rules on the evidence
        "headline": "report",  # the verdict in words
        "score_table": "comparisons",  # scores as rows
        "comparison_rows": "report",  # paired comparisons as rows
        "stage_rows": "report",  # stages as rows
        "build_report": "report",  # report.json
        "build_cascade": "cascade",  # which answers stay local, with a guarantee
        "write_page": "page",  # report.html
        "Teacher": "teacher",  # a larger model, local or behind a server
        "rows_to_ask": "teacher",  # training prompts as problems
        "ask_teacher": "teacher",  # its answers, judged
        "read_answers": "teacher",  # one row a prompt
        "student_rows": "teacher",  # what a student may learn
        "yield_row": "teacher",  # what was kept, and its price
        "agreement_rows": "teacher",  # what agreement is worth
        "slice_rows": "teacher",  # the same by slice
        "judge_student": "teacher",  # the data gate on the student's rows
        "answers_to_judge": "labels",  # what the models answered
        "ask_judge": "labels",  # a judge's word on each
        "label_queue": "labels",  # which problems a person labels
        "sheet_rows": "labels",  # what the person sees
        "write_sheet": "labels",  # the file to fill in
        "read_all_labels": "labels",  # what the people said
        "counted": "labels",  # the labels that count
        "label_estimates": "labels",  # rates and change from both
        "estimate_table": "labels",  # the same for a reader
        "doubtful_line": "labels",  # where the judge errs
        "label_here": "labels",  # labelling at the keyboard
        "judge_mass": "labels",  # does it say yes or no at all?
        "label_result": "labels",  # is it settled, and what would
        "read_run": "drift",  # a finished run
        "read_inputs": "drift",  # new inputs
        "input_drift": "drift",  # have the inputs moved?
        "open_shipped": "drift",  # the file that ships
        "canary": "drift",  # the frozen benchmark once more
        "advise": "drift",  # what the rules ask for
        "UPGRADE": "drift",  # when a new base is scored
    },
)
