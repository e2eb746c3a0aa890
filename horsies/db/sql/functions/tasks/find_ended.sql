-- Purpose: Find the history row of a task. The day of the time inside the id is searched first, because most tasks end
-- on the day on which they are sent; then the later days, then the older ones (the sender's clock is only a hint).
--
-- A statement locks every partition that it may read, and a server has room for a few thousand locks. Therefore only
-- the partitions of a few days are searched at a time (see `find_ended_between`).
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: cancel, enqueue, find_sent, find_tasks, finish, insert_unique, lost_claims, notify_done, rerun,
-- rerun_many, run_of_task, task_attempts, task_info, task_result, why.
-- Granted to: nobody.
create function horsies.find_ended(wanted uuid) returns setof horsies.history
language plpgsql
set enable_seqscan = off
as $function$
declare
    group_size constant int := 16;
    day constant bigint := 86400;
    sent_on constant bigint :=
        floor(extract(epoch from least(horsies.uuid_time(wanted), horsies.now())))::bigint / day * day;
    bounds bigint[];
    since bigint;
    until bigint;
    ended horsies.history;
begin
    execute format(
        'select * from {horsies}.history h where h.id = $1 and h.finished_at >= to_timestamp(%s)'
        ' and h.finished_at < to_timestamp(%s)', sent_on, sent_on + day) into ended using wanted;
    if ended.id is null then
        select array_agg(b.epoch order by b.epoch) into bounds
        from (select extract(epoch from p.first_day)::bigint as epoch from horsies.history_partitions() as p) as b;
        since := sent_on - day;
        foreach until in array
            array(select b.epoch from unnest(bounds) with ordinality as b (epoch, place)
                  where b.epoch > sent_on and b.place % group_size = 0 order by b.epoch) || null::bigint
        loop
            ended := horsies.find_ended_between(wanted, since, until);
            exit when ended.id is not null;
            since := until;
        end loop;
    end if;
    if ended.id is null then
        until := sent_on - day;
        foreach since in array
            array(select b.epoch from unnest(bounds) with ordinality as b (epoch, place)
                  where b.epoch < sent_on - day and b.place % group_size = 0 order by b.epoch desc) || null::bigint
        loop
            ended := horsies.find_ended_between(wanted, since, until);
            exit when ended.id is not null;
            until := since;
        end loop;
    end if;
    if ended.id is not null then
        return next ended;
    end if;
end
$function$;
