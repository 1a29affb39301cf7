-- Records the outcome of one expectation, over an earlier one of the same run. Returns nothing.
-- Parameters: the columns.
insert into {schema}.check_result (run_id, stage, name, level, passed, observed, expected, message)
values (
    %(run_id)s,
    %(stage)s,
    %(name)s,
    %(level)s,
    %(passed)s,
    %(observed)s,
    %(expected)s,
    %(message)s
)
on conflict (run_id, stage, name) do update set
    level = excluded.level,
    passed = excluded.passed,
    observed = excluded.observed,
    expected = excluded.expected,
    message = excluded.message,
    checked_at = excluded.checked_at
