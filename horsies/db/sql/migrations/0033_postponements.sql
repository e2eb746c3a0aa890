-- The last time that the code of a task answered with `RateLimited` or `Snooze`, written by `postpone`: a JSON object
-- with code, scope, message, at, until, count, and worker_id and exchange_no of the fence that was given back. Null:
-- it never did.
alter table horsies.tasks add column postponed json;
alter table horsies.history add column postponed json;
