-- Returns the name of the database and the session's time zone. Parameters: none.
-- Caller: recjobs.init.
select
    current_database()::text as database_name,
    current_setting('TimeZone') as time_zone
