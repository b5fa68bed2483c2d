"""Statistics: intervals, paired tests, power, comparisons. Values from EVALUATION are tests."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "compare_paired": "compare",  # B against A, problem by problem
        "fit_growth": "regression",  # a score against the rows that taught it
        "tried_on_the_next": "regression",  # each size predicted from the smaller ones
        "explained": "regression",  # how far one thing follows another
        "own_best": "tuned",  # a method where it does best, without reward for the choice
        "against": "tuned",  # methods with one of them
        "rate_line": "intervals",  # k/n with its interval
        "plan": "power",  # problems that a gain takes
        "nearest_rates": "published",  # which k/n a published number is
        "possible_splits": "published",  # gained and lost that fit two scores
        "most_lost_that_shows": "published",  # how few may be lost
        "usual_split": "published",  # at the usual correlation
        "verdict": "published",  # from the numbers alone
        "read_runs": "headroom",  # recorded trainings
        "expected_score": "headroom",  # what score a training will reach
    },
)
