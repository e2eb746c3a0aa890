-- Purpose: Find tasks by a filter, the latest sent first: at most `most` of those whose id is less than `before`
-- (null: any). `wanted` is the document that `TaskQuery.document` makes: for each field the alternatives, and the
-- values that exclude a task. Of the live tasks and of the ended ones, at most `looked_at` each are searched, and of
-- the ended ones only those that ended on the days of the filter. The searches read the primary keys backwards,
-- those of history's partitions in parallel. Returns the ids, and `next_before`, from which on the search can
-- continue (null: nothing is left). `is_cut` says that the search ended because `looked_at` tasks were searched.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: bulk_preview; queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.find_tasks(wanted json, before uuid, most int, looked_at int default 100000)
returns table (ids uuid[], next_before uuid, is_cut boolean)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    since constant timestamptz := coalesce((wanted ->> 'since_time')::timestamptz,
        clock - make_interval(secs => (wanted ->> 'since_ago')::double precision), '-infinity');
    until constant timestamptz := coalesce((wanted ->> 'until_time')::timestamptz,
        clock - make_interval(secs => (wanted ->> 'until_ago')::double precision), 'infinity');
    first_moment constant timestamptz := date_trunc('day', since at time zone 'UTC') at time zone 'UTC';
    end_moment constant timestamptz :=
        case when isfinite(until) then date_trunc('day', until at time zone 'UTC') at time zone 'UTC' + interval '24 h'
        else until end;
    only_ids constant uuid[] := array(select json_array_elements_text(wanted -> 'id')::uuid);
    no_ids constant uuid[] := array(select json_array_elements_text(wanted -> 'not_id')::uuid);
    runs constant uuid[] := array(select json_array_elements_text(wanted -> 'run')::uuid);
    no_runs constant uuid[] := array(select json_array_elements_text(wanted -> 'not_run')::uuid);
    statuses constant text[] := array(select json_array_elements_text(wanted -> 'status'));
    no_statuses constant text[] := array(select json_array_elements_text(wanted -> 'not_status'));
    queues constant text[] := array(select json_array_elements_text(wanted -> 'queue'));
    no_queues constant text[] := array(select json_array_elements_text(wanted -> 'not_queue'));
    names constant text[] := array(select json_array_elements_text(wanted -> 'task'));
    no_names constant text[] := array(select json_array_elements_text(wanted -> 'not_task'));
    codes constant text[] := array(select json_array_elements_text(wanted -> 'error'));
    no_codes constant text[] := array(select json_array_elements_text(wanted -> 'not_error'));
    hosts constant text[] := array(select json_array_elements_text(wanted -> 'worker'));
    no_hosts constant text[] := array(select json_array_elements_text(wanted -> 'not_worker'));
    keys constant text[] := array(select json_array_elements_text(wanted -> 'key'));
    -- Live tasks name their worker by its id. Joining the workers with each task would take a third of the time.
    workers constant uuid[] := array(
        select w.id from horsies.workers w where w.hostname like any (hosts) or w.process_name like any (hosts));
    no_workers constant uuid[] := array(
        select w.id from horsies.workers w where w.hostname like any (no_hosts) or w.process_name like any (no_hosts));
    no_keys constant text[] := array(select json_array_elements_text(wanted -> 'not_key'));
    live constant text[] := '{PENDING,CLAIMED,RUNNING}';
    ended constant text[] := '{COMPLETED,FAILED,CANCELLED,EXPIRED}';
    with_live constant boolean := codes = '{}' and not no_statuses @> live and (statuses = '{}' or statuses && live);
    with_ended constant boolean := not no_statuses @> ended and (statuses = '{}' or statuses && ended);
    least_id constant uuid := '00000000-0000-0000-0000-000000000000';
    -- An empty list of alternatives selects any. Comparing the lists for each row would take most of the time.
    any_status constant boolean := statuses = '{}';
    any_queue constant boolean := queues = '{}';
    any_name constant boolean := names = '{}';
    any_code constant boolean := codes = '{}';
    any_host constant boolean := hosts = '{}';
    any_key constant boolean := keys = '{}';
    any_run constant boolean := runs = '{}';
    without_ids constant boolean := only_ids = '{}';
    excludes_nothing constant boolean := no_statuses = '{}' and no_queues = '{}' and no_names = '{}'
        and no_codes = '{}' and no_hosts = '{}' and no_keys = '{}' and no_runs = '{}' and no_ids = '{}';
    cut uuid;
    -- Always a value, so that it is a condition of the index.
    next_id uuid := coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    new_ids uuid[];
    found_ids uuid[] := '{}';
    searched int := 0;
    total int;
    window_size int;
begin
    -- Most lists are full after a few rows, so smaller numbers of tasks are searched first, and each search continues
    -- where the one before has ended. It finds its last id by the primary keys alone, and then filters the rows from
    -- there on.
    foreach total in array array[
        least(looked_at, greatest(most, 1000)), least(looked_at, greatest(most, 20000)), looked_at] loop
        window_size := total - searched;
        continue when window_size <= 0;
        with edge as materialized (
            select greatest(
                (select t.id from horsies.tasks t
                 where with_live and t.id < next_id and without_ids
                 order by t.id desc offset window_size - 1 limit 1),
                (select h.id from horsies.history h
                 where with_ended and h.id < next_id and without_ids
                   and h.finished_at >= first_moment and h.finished_at < end_moment
                 order by h.id desc offset window_size - 1 limit 1)) as id
        ),
        candidate (id, status, queue, task_name, error_code, is_at_host, is_at_no_host, task_key, workflow_id, root_id,
                   at) as (
            select t.id, t.status, t.queue, t.task_name, null, t.worker_id = any (workers),
                   coalesce(t.worker_id = any (no_workers), '' like any (no_hosts)), t.task_key, t.workflow_id,
                   t.root_id, t.sent_at
            from horsies.tasks t
            where with_live and t.id < next_id and without_ids
              and t.id >= coalesce((select e.id from edge e), least_id)
            union all
            select h.id, h.status, h.queue, h.task_name, h.error_code,
                   h.worker_hostname like any (hosts) or h.worker_process_name like any (hosts),
                   coalesce(h.worker_hostname, '') like any (no_hosts)
                   or coalesce(h.worker_process_name, '') like any (no_hosts),
                   h.task_key, h.workflow_id, h.root_id, h.finished_at
            from horsies.history h
            where with_ended and h.id < next_id and without_ids
              and h.finished_at >= first_moment and h.finished_at < end_moment
              and h.id >= coalesce((select e.id from edge e), least_id)
            union all
            select t.id, t.status, t.queue, t.task_name, null, t.worker_id = any (workers),
                   coalesce(t.worker_id = any (no_workers), '' like any (no_hosts)), t.task_key, t.workflow_id,
                   t.root_id, t.sent_at
            from horsies.tasks t
            where t.id = any (only_ids) and (before is null or t.id < before)
            union all
            select h.id, h.status, h.queue, h.task_name, h.error_code,
                   h.worker_hostname like any (hosts) or h.worker_process_name like any (hosts),
                   coalesce(h.worker_hostname, '') like any (no_hosts)
                   or coalesce(h.worker_process_name, '') like any (no_hosts),
                   h.task_key, h.workflow_id, h.root_id, h.finished_at
            from unnest(only_ids) as given (id) cross join lateral horsies.find_ended(given.id) h
            where before is null or h.id < before
        ),
        matching as (
            select distinct c.id from candidate c
            where c.at >= since and c.at < until
              and (any_status or c.status = any (statuses))
              and (any_queue or c.queue like any (queues))
              and (any_name or c.task_name like any (names))
              and (any_code or c.error_code like any (codes))
              and (any_host or c.is_at_host)
              and (any_key or c.task_key like any (keys))
              and (any_run or c.workflow_id = any (runs) or c.root_id = any (runs))
              and (excludes_nothing
                   or c.status <> all (no_statuses) and not c.queue like any (no_queues)
                      and not c.task_name like any (no_names)
                      and (no_codes = '{}' or not coalesce(c.error_code, '') like any (no_codes))
                      and (no_hosts = '{}' or not c.is_at_no_host)
                      and (no_keys = '{}' or not coalesce(c.task_key, '') like any (no_keys))
                      and (no_runs = '{}' or c.workflow_id is null
                           or c.workflow_id <> all (no_runs) and c.root_id <> all (no_runs))
                      and c.id <> all (no_ids))
            order by c.id desc
        )
        select (select e.id from edge e),
               array(select m.id from matching m order by m.id desc
                     limit most::bigint + 1 - cardinality(found_ids))
        into cut, new_ids;
        found_ids := found_ids || new_ids;
        searched := total;
        next_id := cut;
        exit when cut is null or cardinality(found_ids) > most;
    end loop;
    is_cut := cut is not null and cardinality(found_ids) <= most;
    ids := found_ids[:most];
    next_before := case when cardinality(found_ids) > most then found_ids[most] when is_cut then cut end;
    return next;
end
$function$;
