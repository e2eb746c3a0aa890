-- Purpose: Find workflow runs, the most recently started first, without child runs: at most `most`. Conditions that
-- are null select any run. `wanted_name` is a pattern of LIKE for the name or the key of the definition. With
-- `before_at` and `before_id`, only runs after that place of the list are returned. At most `looked_at` runs are
-- searched; with a status, these are runs of this status. Returns the ids, and the place from which on the search can
-- continue (null: nothing is left). `is_cut` says that the search ended because `looked_at` runs were searched.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/runs.py.
-- Granted to: viewer, operator.
create function horsies.find_runs(
    wanted_status text, wanted_name text, before_at timestamptz, before_id uuid, most int, looked_at int default 100000
) returns table (ids uuid[], next_at timestamptz, next_id uuid, is_cut boolean)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    latest constant timestamptz := coalesce(before_at, 'infinity');
    last_id constant uuid := coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    least_id constant uuid := '00000000-0000-0000-0000-000000000000';
    edge timestamptz;
    found_ids uuid[];
    window_size int;
begin
    -- Most lists are full after a few rows, so smaller numbers of runs are searched first. A search includes all runs
    -- that were started at the time of its last one. An index has the runs of each status.
    foreach window_size in array array[
        least(looked_at, greatest(most, 1000)), least(looked_at, greatest(most, 20000)), looked_at] loop
        if wanted_status is not null then
            edge := (select w.started_at from horsies.workflows w
                     where w.status = wanted_status and w.parent_id is null and w.started_at <= latest
                     order by w.started_at desc offset window_size - 1 limit 1);
            found_ids := array(
                select w.id from horsies.workflows w
                where w.status = wanted_status and w.parent_id is null
                  and w.started_at between coalesce(edge, '-infinity') and latest
                  and (w.started_at, w.id) < (latest, last_id)
                  and (wanted_name is null or w.name like wanted_name or w.definition_key like wanted_name)
                order by w.started_at desc, w.id desc limit most::bigint + 1);
        else
            edge := (select w.started_at from horsies.workflows w where w.started_at <= latest
                     order by w.started_at desc offset window_size - 1 limit 1);
            found_ids := array(
                select w.id from horsies.workflows w
                where w.parent_id is null
                  and w.started_at between coalesce(edge, '-infinity') and latest
                  and (w.started_at, w.id) < (latest, last_id)
                  and (wanted_name is null or w.name like wanted_name or w.definition_key like wanted_name)
                order by w.started_at desc, w.id desc limit most::bigint + 1);
        end if;
        exit when edge is null or cardinality(found_ids) > most or window_size >= looked_at;
    end loop;
    ids := found_ids[:most];
    is_cut := edge is not null and cardinality(found_ids) <= most;
    if cardinality(found_ids) > most then
        next_id := found_ids[most];
        next_at := (select w.started_at from horsies.workflows w where w.id = next_id);
    elsif is_cut then
        next_id := least_id;
        next_at := edge;
    end if;
    return next;
end
$function$;
