-- The difference between the clocks of workers and that of the server, for monitoring.

alter table horsies.workers
    add column clock_skew double precision;             -- seconds by which the worker's clock is ahead; null: unknown
