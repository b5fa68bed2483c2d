"""Run completions against tests: a judge that knows the answers, a candidate process that does not, and what lies
between.

Import what you need from `tunebook.execution.runner` (`run_programs`) and `tunebook.execution.selfcheck`
(`self_check`); this package file imports nothing, because the judge and the candidate start from it thousands of times.
"""
