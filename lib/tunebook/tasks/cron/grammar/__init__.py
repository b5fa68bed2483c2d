"""The phrase grammar of the schedule task: one module per subject, all seeded by the `random.Random` they are given.

`words` has the small tools and vocabularies; `clock`, `days` and `dates` say one part of a schedule; `intervals`,
`windows`, `daily`, `weekly` and `monthly` build whole schedules as `Schedule(phrase, expression, slice)`; `guru` words
an expression in the two fixed styles of cron explainers; `noise` adds verbs, tails, casing and typing errors.

Each production is written as `choose(rng, "every day*5|daily*4|each day")`: alternatives with their weights.
"""
