-- Purpose: Preview an action on many tasks: store the ids of the tasks that match, the latest sent first. `wanted` is
-- the document of a filter for `find_tasks`, which selects tasks of `statuses` only, and `filter_text` is what the
-- user wrote. At most `most` tasks are stored. The search continues window by window, `max_windows` at most; `is_cut`
-- of the row says that it ended before all tasks were searched. For the action 'rerun', tasks that have a rerun are
-- left out and counted. The action of `who` is recorded. Previews of more than a day ago that nobody has confirmed are
-- deleted.
-- Planner settings: see docs/architecture.md.
-- Locks: the old previews that are deleted.
-- Called by: queries/bulk.py.
-- Granted to: operator.
create function horsies.bulk_preview(
    new_id uuid, kind text, filter_text text, wanted json, statuses text[], who text, most int default 100000,
    max_windows int default 10
) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    page record;
    next_before uuid;
    found_ids uuid[] := '{}';
    kept_ids uuid[];
begin
    delete from horsies.bulk_actions b
    where b.id = any (array(
        select old.id from horsies.bulk_actions old
        where old.state = 'PREVIEW' and old.created_at < clock - interval '1 day'
        for update skip locked));
    for window_number in 1 .. max_windows loop
        select f.ids, f.next_before into page
        from horsies.find_tasks(wanted, next_before, most - cardinality(found_ids)) f;
        found_ids := found_ids || page.ids;
        next_before := page.next_before;
        exit when next_before is null or cardinality(found_ids) >= most;
    end loop;
    kept_ids := found_ids;
    if kind = 'rerun' then
        kept_ids := array(
            select given.id from unnest(found_ids) with ordinality as given (id, place)
            where not exists (select from horsies.reruns r where r.origin = given.id)
            order by given.place);
    end if;
    insert into horsies.bulk_actions
        (id, action, state, filter, statuses, task_ids, total, is_cut, left_out, created_at, created_by)
    values (new_id, kind, 'PREVIEW', filter_text, bulk_preview.statuses, kept_ids, cardinality(kept_ids),
            next_before is not null, cardinality(found_ids) - cardinality(kept_ids), clock,
            left(coalesce(nullif(who, ''), session_user), 200));
    perform horsies.record_action(who, 'bulk.preview', array[new_id::text], json_build_object(
        'action', kind, 'filter', filter_text, 'tasks', cardinality(kept_ids)));
end
$function$;
