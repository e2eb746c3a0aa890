-- Purpose: Compute the samples of the minutes that have ended since the last call, and replace those of the three
-- minutes before if transactions have committed late in them. Returns the number of new minutes; call again while it
-- is 10 or more. After a pause, a call computes a few minutes, an hour or a day, depending on how much is missing.
-- The first call begins with the hour before. `errors_until` is set back to the first minute that was computed, so
-- that `sample_errors` compares its counts with the new samples.
--
-- If the clock was set back (in tests, for example), the hour of the present time is computed again, and the minutes
-- after it as time passes.
--
-- Samples of minutes are kept for a day, those of 10 minutes for a week, and those of hours and error groups for
-- `keep_hours` (null: for ever). What is deleted depends on how far the samples go, not on the clock, so that nothing
-- is deleted before it was rolled up. Minutes whose errors are not counted yet are kept for up to a week. The counts
-- of workers are deleted when their minute has samples.
-- Planner settings: see docs/architecture.md.
-- Locks: the row of `sampling`; at the end, rows of `current_counts`, SKIP LOCKED.
-- Called by: queries/monitoring.py.
-- Granted to: worker.
create function horsies.sample(keep_hours double precision) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off set timezone = 'UTC'
as $function$
declare
    this_minute constant timestamptz := date_trunc('minute', horsies.now());
    this_hour constant timestamptz := date_trunc('hour', this_minute);
    first timestamptz;
    done timestamptz;
    next timestamptz;
    since timestamptz;
    counted timestamptz;
    end_of_minutes timestamptz;
begin
    select s.first_minute, s.sampled_until, s.errors_until into first, done, counted
    from horsies.sampling s for update;
    if not found then
        first := this_hour - interval '1 hour';
        done := first;
        insert into horsies.sampling (first_minute, sampled_until) values (first, done);
    end if;
    if this_minute = done then
        return 0;
    end if;
    if this_minute < done then
        since := this_hour;
        perform horsies.summarize_history(since, since + interval '1 hour');
        perform horsies.sample_between(since, since + interval '1 hour');
        next := this_minute;
        first := least(first, this_hour);
    else
        next := least(this_minute, done + case when this_minute - done > interval '2 days' then interval '1 day'
                                               when this_minute - done > interval '2 hours' then interval '1 hour'
                                               else interval '10 minutes' end);
        since := greatest(first, done - interval '3 minutes');
        perform horsies.summarize_history(since, next);
        if horsies.is_sampled(since, done) then
            since := done;
        end if;
        perform horsies.sample_between(since, next);
    end if;
    update horsies.sampling g
    set first_minute = first, sampled_until = next, errors_until = least(counted, since);
    end_of_minutes := greatest(least(next - interval '1 day', counted, since), next - interval '7 days');
    delete from horsies.samples s where s.period_s = 60 and s.started_at < end_of_minutes;
    delete from horsies.samples s where s.period_s = 600 and s.started_at < next - interval '7 days';
    delete from horsies.samples s
    where s.period_s = 3600 and s.started_at < next - make_interval(secs => keep_hours * 3600);
    -- Hours are added up again from all of their minutes.
    delete from horsies.error_counts c where c.period_s = 60 and c.started_at < date_trunc('hour', end_of_minutes);
    delete from horsies.error_counts c
    where c.period_s = 3600 and c.started_at < next - make_interval(secs => keep_hours * 3600);
    delete from horsies.error_groups g where g.last_seen < next - make_interval(secs => keep_hours * 3600);
    -- A heartbeat that replaces such rows must neither wait long for this transaction nor deadlock with it. So they
    -- are deleted last, and those that a heartbeat has locked are left to it, or to the next call.
    delete from horsies.current_counts c
    where c.ctid = any (array(
        select old.ctid from horsies.current_counts old where old.started_at < next for update skip locked));
    return greatest(date_part('epoch', next - done) / 60, 0)::int;
end
$function$;
