-- Purpose: Lock the limits of queues, or of the cluster, until the end of the transaction. Returns the names that are
-- locked now. A transaction may wait for these locks once, before it waits for nothing else; with `may_wait` false,
-- locks that others hold are left out. Rows are created by `worker_start` and `queue_control`; this function creates
-- them only if they are missing, because an insert may wait, too.
-- Locks: rows of `locks` in the order of their names.
-- Called by: backfill_turns, claim_in_order, claim_regulated, declare_queues, end_rates, hold, limit_queue.
-- Granted to: nobody.
create function horsies.lock_limits(names text[], may_wait boolean) returns text[]
language plpgsql as $function$
declare
    wanted_name text;
    locked_names text[] := '{}';
begin
    for wanted_name in select given.name from unnest(names) as given (name) order by given.name loop
        insert into horsies.locks (name) select wanted_name
        where not exists (select from horsies.locks l where l.name = wanted_name)
        on conflict do nothing;
        if may_wait then
            perform from horsies.locks l where l.name = wanted_name for update;
        else
            perform from horsies.locks l where l.name = wanted_name for update skip locked;
        end if;
        if found then
            locked_names := locked_names || wanted_name;
        end if;
    end loop;
    return locked_names;
end
$function$;
