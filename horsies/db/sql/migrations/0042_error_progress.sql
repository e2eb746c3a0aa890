-- How far failed attempts are counted by error group.

-- The numbers of the minutes before this time are those of `samples`. `sample` sets it back to the first minute that
-- it computes again, and `sample_errors` sets it forward. Null until the next call of `sample`.
alter table horsies.sampling add column errors_until timestamptz;
update horsies.sampling set errors_until = sampled_until where errors_since is not null;
