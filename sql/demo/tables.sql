-- The demo's application tables, as an app would have them. Returns nothing.
create schema movielens;

create table movielens.movies (
    movie_id integer primary key,
    title text,
    year integer,
    genres text
);

create table movielens.ratings (
    user_id integer not null,
    movie_id integer not null references movielens.movies (movie_id),
    rating real not null,
    rated_at timestamptz not null,
    primary key (user_id, movie_id)
);

create index ratings_rated_at on movielens.ratings (rated_at);

-- MovieLens gives epoch seconds; an app would not.
create temporary table loading (
    user_id integer,
    movie_id integer,
    rating real,
    epoch_seconds bigint
) on commit drop;
