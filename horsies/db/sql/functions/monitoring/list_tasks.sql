-- Purpose: List tasks by status, queue, name and error code (null: any) that ended from `since` until before `until`
-- (null: any time), the latest sent first, at most `most`. With codes or times, only ended tasks are listed. Of the
-- ended tasks between the two times, only the latest `looked_at` are searched: history has no index for this, because
-- every finish would have to maintain it. The search reads the primary keys backwards, those of history's partitions
-- in parallel.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.list_tasks(
    statuses text[], queue_name text, name text, codes text[], since timestamptz, until timestamptz, most int,
    looked_at int default 100000
) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
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
