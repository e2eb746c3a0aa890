-- Purpose: tell workers that a task was cancelled, by its id in 32 hex digits, so that the one that runs it kills it;
-- tell waiters that it ended, and workers that its place is free. A hint: a worker also compares, at every heartbeat.
-- Silent about a live task: this goes out behind every `cancel`, also behind one that failed, which must kill nobody.
-- Called by: notify_cancel_many; producers in a transaction of their own.
create function horsies.notify_cancel(unwanted uuid) returns void
language plpgsql
set enable_seqscan = off
as $function$
begin
    if not exists (select from horsies.tasks t where t.id = unwanted) then
        perform pg_notify('{horsies}.cancel', replace(unwanted::text, '-', ''));
        perform horsies.notify_done(array[unwanted]);
        perform horsies.notify_wake();
    end if;
end
$function$;
