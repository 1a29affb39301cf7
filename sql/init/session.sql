-- Returns the name of the database and the session's time zone. Parameters: none.
select
    current_database()::text as database_name,
    current_setting('TimeZone') as time_zone
