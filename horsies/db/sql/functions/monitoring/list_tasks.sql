-- Purpose: tasks of certain statuses, of a queue, of a name, with certain error codes, that ended from `since` until before
-- `until` (null: any), the latest sent first, at most `most`. With codes or times, there are only ended tasks.
-- Of the ended tasks between the two times only the `looked_at` latest sent are looked at: history has no index for this,
-- which every finish would pay for.
-- How it looks: down the primary keys, of history's partitions side by side; the planner is pinned to that.
-- Locks: none. Called by: the broker object, for the command line.
create function horsies.list_tasks(
    statuses text[], queue_name text, name text, codes text[], since timestamptz, until timestamptz, most int,
    looked_at int default 100000
) returns setof uuid
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
as $function$
begin
    return query
    select found.id from (
        (select t.id from horsies.tasks t
         where (statuses is null or t.status = any (statuses)) and (queue_name is null or t.queue = queue_name)
           and (name is null or t.task_name = name) and codes is null and since is null and until is null
         order by t.id desc limit most)
        union all
        (select late.id from (
             select h.id, h.status, h.queue, h.task_name, h.error_code from horsies.history h
             where h.finished_at >= coalesce(since, '-infinity') and h.finished_at < coalesce(until, 'infinity')
             order by h.id desc limit looked_at
         ) as late
         where (statuses is null or late.status = any (statuses)) and (queue_name is null or late.queue = queue_name)
           and (name is null or late.task_name = name) and (codes is null or late.error_code = any (codes))
         order by late.id desc limit most)
    ) as found
    order by found.id desc limit most;
end
$function$;
