-- Purpose: List the priorities at which tasks of a regulated queue wait in the order of their due times, and not for
-- their turns, as a JSON object with the due times of the first of them. The session keeps marks of the queue beside
-- many dead rows, as `claim_in_order` does; `marks_until` says when everything is looked at again.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: claim_regulated.
-- Granted to: nobody.
create function horsies.plain_heads(queue_name text, clock timestamptz) returns jsonb
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
set plan_cache_mode = force_generic_plan
as $function$
declare
    usual_blocks constant int := 200;
    last_priority constant int := 100;
    setting constant text := 'horsies.claim_marks_' || md5(queue_name);
    marks constant jsonb := horsies.claim_marks(array[queue_name], setting);
    uses_marks constant boolean := coalesce(
        clock between (marks ->> 'from')::timestamptz and (marks ->> 'until')::timestamptz, false);
    reached int := 0;
    first_due timestamptz;
    heads jsonb := '{}';
    blocks bigint := 0;
    looked_at int[] := '{}';
    looked_at_due timestamptz[] := '{}';
begin
    loop
        if uses_marks then
            select head.priority, head.run_at into reached, first_due
            from horsies.claim_head(array[queue_name], reached, marks) as head;
        else
            blocks := blocks - pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
            select t.priority, t.run_at into reached, first_due from horsies.tasks t
            where t.queue = queue_name and t.priority > reached and t.status = 'PENDING' and not t.held
              and t.turn_key is null
            order by t.priority, t.run_at limit 1;
            blocks := blocks + pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
        end if;
        exit when reached is null;
        looked_at := looked_at || reached;
        looked_at_due := looked_at_due || first_due;
        heads := heads || jsonb_build_object(reached::text, first_due);
    end loop;
    if blocks > usual_blocks or marks is not null then
        perform horsies.keep_claim_marks(
            array[queue_name], array[queue_name], marks, uses_marks, looked_at, looked_at_due, last_priority, blocks,
            usual_blocks, clock, setting);
    end if;
    return heads;
end
$function$;
