"""Evaluation: ask a benchmark, read the answers, judge them. Notebook 04 and `tunebook score`."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Asking": "protocol",  # how a study asks its problems
        "from_problems": "benchmark",  # a benchmark from rows
        "free_text_line": "shapes",  # long free texts as a benchmark of exact matches, named
        "load_benchmark": "benchmark",  # a benchmark by name or file
        "load_benchmarks": "benchmark",  # the task and what must not be forgotten
        "messages": "prompts",  # the conversation that asks a problem
        "fixed_examples": "prompts",  # worked examples, the same for every problem
        "Hosted": "hosted",  # a model behind an OpenAI-compatible server
        "answer_and_score": "measure",  # completions and their score
        "protocol_table": "measure",  # one model under several protocols
        "failure_examples": "measure",  # failed answers of each kind
        "unfinished_share": "score",  # of answers cut at the limit or inside a thought
        "score_line": "measure",  # k/n with its interval
        "measure_kept": "forgetting",  # bits of general text, distance from base
        "bits_per_byte": "forgetting",  # of general text
        "call_sizes": "forgetting",  # tokens in and out of each call
        "audit_sample": "audit",  # does the benchmark notice small mistakes?
        "Judging": "readiness",  # how programs are judged
        "read_scores": "score_folder",  # a score folder
    },
)
