-- Purpose: Return the bucket of a duration in the histograms of `samples`. Bucket 0 has durations of up to 10
-- microseconds, and bucket n those of up to 1.2 times the limit of the bucket before. The middle of a bucket,
-- 0.00001 * 1.2 ^ (n - 0.5) seconds, is within 10 % of every duration in it.
-- Locks: none.
-- Called by: sample_between.
-- Granted to: nobody.
create function horsies.sample_bucket(seconds double precision) returns smallint
language sql immutable as $function$
    select greatest(ceil(ln(greatest(seconds, 0.00001::double precision) * 100000) / ln(1.2::double precision)),
                    0)::smallint
$function$;
