"""Tunebook's pass@k as a metric of the `evaluate` library, for loading from this file's path; needs no network.

Judges with the same extractor, runner and counting as `tunebook score`. Is loaded by path, never imported by Tunebook.
"""

import datasets
import evaluate

_DESCRIPTION = "Unbiased pass@k of raw completions, judged in isolated processes, with k/n and a 95% interval."
_CITATION = "Chen et al. 2021, Evaluating large language models trained on code."
_INPUTS = """
predictions: list of lists of raw completions, the samples of one problem each
references: list of task_ids, in the order of predictions; every problem of the benchmark once
benchmark: "humaneval" or the path of a .jsonl file
k: list of numbers of samples, each at most the samples given
workers, allow_unisolated: as in `tunebook score`
"""


class TunebookPassAtK(evaluate.Metric):
    """Result: `pass@K` for each k, and `n_correct`, `n`, `interval` of pass@1."""

    def _info(self):
        features = {"predictions": datasets.Sequence(datasets.Value("string")), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, benchmark="humaneval", k=(1,), workers=None, allow_unisolated=False):
        from tunebook.evaluation import completions
        from tunebook.evaluation.benchmark import load_benchmark
        from tunebook.evaluation.reply import Reading
        from tunebook.evaluation.score import Judging, check_runner, estimate_pass_at_k, judge_completions, rates

        problems = load_benchmark(benchmark)
        rows = [
            {"task_id": task_id, "sample": sample, "completion": text}
            for task_id, texts in zip(references, predictions, strict=True)
            for sample, text in enumerate(texts)
        ]
        rows = completions.check_completions(rows, problems, "predictions")
        judging = Judging(workers, allow_unisolated, Reading(problems.reading))
        check_runner(problems, judging)
        passed = {}
        for row in judge_completions(problems, rows, judging):
            passed.setdefault(row["task_id"], []).append(row["passed"])
        part = rates(passed)
        result = {f"pass@{count}": estimate_pass_at_k(passed, count) for count in k}
        return {**result, "n_correct": part["k"], "n": part["n"], "interval": part["interval"]}
