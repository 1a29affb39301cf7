#!/bin/bash
# Runs once, when the data folder is empty: a role and a database for Airflow, and for the jobs.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set airflow_password="$AIRFLOW_DB_PASSWORD" \
  --set recjobs_password="$RECJOBS_DB_PASSWORD" <<'SQL'
create role airflow login password :'airflow_password';
create database airflow owner airflow;
-- `recjobs migrate` makes a writer and a reader role for each job.
create role recjobs login createrole password :'recjobs_password';
create database recjobs owner recjobs;
revoke connect, temporary on database airflow, recjobs from public;
SQL
