-- Lets the reader read the views and what explains them; the stored lists, rows set aside and the
-- job's own tables stay the writer's. Returns nothing. Placeholders: schema, reader.
grant usage on schema {schema} to {reader};

grant select on
{schema}.recommendations,
{schema}.recommendations_history,
{schema}.similar_items,
{schema}.similar_users,
{schema}.popular_items,
{schema}.user_status,
{schema}.item,
{schema}.blocked_item,
{schema}.run,
{schema}.live,
{schema}.publication,
{schema}.metric,
{schema}.check_result
to {reader};

grant execute on function {schema}.recommend to {reader};
