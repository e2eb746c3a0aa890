-- Purpose: Elect the worker that performs maintenance. Returns false if another worker is performing it. The lock is a
-- row, because any role could hold an advisory lock.
-- Locks: the row 'maintenance' of `locks` until the end of the transaction, SKIP LOCKED.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.maintenance_lock() returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
begin
    insert into horsies.locks (name) select 'maintenance'
    where not exists (select from horsies.locks l where l.name = 'maintenance')
    on conflict do nothing;
    perform from horsies.locks l where l.name = 'maintenance' for update skip locked;
    return found;
end
$function$;
