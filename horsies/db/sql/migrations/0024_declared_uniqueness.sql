-- In what a task is unique, as its app has declared, so that `send` obeys it: a JSON object with the names of the
-- compared parameters (`by`), `until`, `on_conflict` and `max_wait`. Null: any number of tasks may be live.
alter table horsies.declarations add column uniqueness json;
