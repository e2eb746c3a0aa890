-- Purpose: Send the notifications that earlier transactions of this session have recorded (`announce_wake`,
-- `announce_ids`), and forget them. Callers make this call in a separate transaction, right after
-- the one that wrote: a full notification queue fails a transaction at its commit, where nothing can catch the error,
-- so a transaction that writes must not notify.
-- Locks: none.
-- Called by: queries/worker.py.
-- Granted to: producer, worker, operator.
create function horsies.announce() returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    wake constant text := current_setting('horsies_notices.wake', true);
    done constant text := current_setting('horsies_notices.done', true);
    cancelled constant text := current_setting('horsies_notices.cancel', true);
begin
    if wake <> '' then
        perform horsies.notify_wake(), set_config('horsies_notices.wake', '', false);
    end if;
    if done <> '' then
        perform horsies.notify_done(string_to_array(trim(done), ' ')::uuid[], false),
                set_config('horsies_notices.done', '', false);
    end if;
    if cancelled <> '' then
        perform pg_notify('{horsies}.cancel', gone.hex)
        from unnest(string_to_array(trim(cancelled), ' ')) as gone (hex);
        perform set_config('horsies_notices.cancel', '', false);
    end if;
end
$function$;
