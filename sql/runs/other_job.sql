-- Returns a job whose runs the schema holds, other than this one. Parameters: job.
select r.job
from {schema}.run as r
where r.job != %(job)s
order by r.run_id desc
limit 1
