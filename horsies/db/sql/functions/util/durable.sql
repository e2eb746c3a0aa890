-- Pins the durability of the calling transaction: an accepted send or outcome survives a crash of the server,
-- whatever `synchronous_commit` the session, role or database has. `remote_apply` is stronger and is left alone.
-- In the transaction and not as a SET of the function, for that one ends before the commit.
-- Called by: enqueue, claim, start, finish, cancel, cancel_many, rerun, rerun_many, schedule_run, schedule_tick, workflow_start, workflow_control,
-- workflow_attach, workflow_map.
create function horsies.durable() returns void
language plpgsql as $function$
begin
    if current_setting('synchronous_commit') not in ('on', 'remote_apply') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
end
$function$;
