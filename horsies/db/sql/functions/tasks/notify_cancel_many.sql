-- Purpose: tell workers and waiters that tasks were cancelled, behind `cancel_many`; `notify_cancel` says how.
-- Called by: the broker object, in a transaction of its own.
create function horsies.notify_cancel_many(unwanted uuid[]) returns void
language plpgsql
set enable_seqscan = off
as $function$
begin
    perform horsies.notify_cancel(given.id) from unnest(unwanted) as given (id);
end
$function$;
