-- How far the clocks of workers are from the server's, for those who look.

alter table horsies.workers
    add column clock_skew double precision;             -- seconds that its own is ahead; null: it has not said
