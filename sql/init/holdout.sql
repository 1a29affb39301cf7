-- Returns how many users acted in the last days, how many of these had acted before, how many had
-- acted before at all, and in how many rows. Parameters: none (the parts are filled in).
with recent as (
    select distinct {user_value} as user_id
    from {relation}
    where {since} and {until}
),

known as (
    select distinct {user_value} as user_id
    from {relation}
    where {before}
)

select
    (select count(*) from recent) as n_recent,
    (
        select count(*)
        from recent
        inner join known on recent.user_id = known.user_id
    ) as n_recent_known,
    (select count(*) from known) as n_known,
    (
        select count(*)
        from {relation}
        where {before}
    ) as n_rows
