-- Purpose: Return the next priority after `after_priority` at which tasks of a queue may wait for their turns, or
-- null. At a priority of which the session keeps marks that may be used (see `keep_turn_marks`), dead rows may be
-- many, so it is returned without a look, and `is_marked` is true: the walk over its keys, which begins at the marks,
-- finds out. At another priority, a task is waiting.
--
-- If dead rows are many although nothing is waiting, `gaps` is kept in the marks: the time before which no task was
-- due at the priorities after `above` without marks. It ends with the marks of these priorities, at the latest.
-- Locks: none.
-- Called by: claim_regulated, has_waiting.
-- Granted to: nobody.
create function horsies.turn_head(
    queue_name text, after_priority int, clock timestamptz, out priority int, out is_marked boolean
)
language plpgsql as $function$
declare
    after_all constant int := 101;
    usual_blocks constant int := 200;
    longest constant interval := '5 s';
    marks jsonb := horsies.turn_marks(queue_name);
    gaps constant jsonb := case when clock between (marks -> 'gaps' ->> 'from')::timestamptz
                                           and (marks -> 'gaps' ->> 'until')::timestamptz then marks -> 'gaps' end;
    marked int[];
    marked_until timestamptz;
    blocks bigint;
begin
    select coalesce(array_agg(m.name::int), '{}'), min((m.value ->> 'until')::timestamptz) into marked, marked_until
    from jsonb_each(marks - 'gaps') as m (name, value)
    where case when clock between (m.value ->> 'from')::timestamptz and (m.value ->> 'until')::timestamptz
               then m.name::int > after_priority end;
    blocks := -pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
    select min(head.priority) into priority
    from (select g.low, lead(g.low, 1, after_all) over (order by g.low) as high,
                 case when g.low >= (gaps ->> 'above')::int then (gaps ->> 'since')::timestamptz
                      else '-infinity' end as since
          from unnest(after_priority || marked) as g (low)) as gap
    cross join lateral (
        select t.priority from horsies.tasks t
        where t.queue = queue_name and t.priority > gap.low and t.priority < gap.high and t.run_at >= gap.since
          and t.status = 'PENDING' and not t.held and t.turn_key is not null
        order by t.priority limit 1
    ) as head;
    blocks := blocks + pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
    if blocks > usual_blocks and priority is null and gaps is null then
        marks := coalesce(marks, jsonb_build_object(
            'table', '{horsies}.tasks'::regclass::oid::text, 'queue', queue_name));
        perform set_config('horsies.turn_marks_' || md5(queue_name), jsonb_set(marks, '{gaps}', jsonb_build_object(
            'from', clock, 'above', after_priority, 'since', clock - interval '1 s',
            'until', least(marked_until, clock + longest)))::text, false);
    end if;
    priority := least(priority, (select min(m) from unnest(marked) as m));
    is_marked := coalesce(priority = any (marked), false);
end
$function$;
