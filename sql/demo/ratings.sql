-- Moves the loaded rows into the application's table, with a time that is one. Returns nothing.
insert into movielens.ratings (user_id, movie_id, rating, rated_at)
select
    user_id,
    movie_id,
    rating,
    to_timestamp(epoch_seconds) as rated_at
from loading;
