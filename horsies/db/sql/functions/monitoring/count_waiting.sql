-- Purpose: Count all waiting tasks by queue and name for `waiting_figures`, if more of them wait than it counts itself
-- (`most` of each queue and kind); otherwise empty the table. A count that was slow is made less often: at most a
-- twentieth of the time is spent on it. Returns the number of counted tasks.
-- Planner settings: see docs/architecture.md.
-- Locks: none but those of the replaced rows; the caller holds the lock of maintenance.
-- Called by: queries/status.py.
-- Granted to: worker.
create function horsies.count_waiting(most int default 100000) returns bigint
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    idle_factor constant int := 20;
    clock constant timestamptz := horsies.now();
    began constant timestamptz := clock_timestamp();
    counted bigint;
begin
    if exists (select from horsies.waiting_counts c
               where c.counted_at <= clock
                 and c.counted_at + make_interval(secs => idle_factor * c.counting_s) > clock) then
        return 0;
    end if;
    if not exists (select from horsies.waiting_figures(clock, most) as f
                   where f.waiting_accuracy <> 'exact' or f.scheduled_accuracy <> 'exact') then
        delete from horsies.waiting_counts;
        return 0;
    end if;
    delete from horsies.waiting_counts;
    insert into horsies.waiting_counts (queue, task_name, waiting, scheduled, counted_at, counting_s)
    select t.queue, t.task_name, count(*) filter (where t.run_at <= clock), count(*) filter (where t.run_at > clock),
           clock, 0
    from horsies.tasks t where t.exchange_no is null and not t.held
    group by t.queue, t.task_name;
    update horsies.waiting_counts set counting_s = date_part('epoch', clock_timestamp() - began);
    select sum(c.waiting + c.scheduled) into counted from horsies.waiting_counts c;
    return coalesce(counted, 0);
end
$function$;
