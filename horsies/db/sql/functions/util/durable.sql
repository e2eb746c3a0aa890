-- Purpose: Make the calling transaction durable: an accepted send or outcome survives a crash of the server,
-- whatever `synchronous_commit` the session, role or database has. `remote_apply` is stronger and is kept. The
-- setting is made for the transaction, because a SET clause of the function would end before the commit.
-- Locks: none.
-- Called by: bulk_step, cancel, cancel_many, claim, enqueue, enqueue_many, enqueue_once, finish, finish_own, rerun,
-- rerun_many, schedule_run, schedule_tick, start, workflow_attach, workflow_control, workflow_map, workflow_start.
-- Granted to: nobody.
create function horsies.durable() returns void
language plpgsql as $function$
begin
    if current_setting('synchronous_commit') not in ('on', 'remote_apply') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
end
$function$;
