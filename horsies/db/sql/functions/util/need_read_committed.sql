-- Refuses a transaction that cannot see what was committed after it began: in it the second look that makes replays,
-- claims and outcomes safe would see nothing. Called by: enqueue (replays only), claim, start, renew, finish, release,
-- reconcile, reap, return_stale_to_queue, expire, cancel, cancel_many, rerun, rerun_many, workflow_start (where the id
-- is taken), workflow_control, workflow_attach, workflow_map.
create function horsies.need_read_committed() returns void
language plpgsql as $function$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'horsies needs a READ COMMITTED transaction here, this one is %',
            upper(current_setting('transaction_isolation'))
            using errcode = 'feature_not_supported',
                  hint = 'set the transaction''s isolation level to READ COMMITTED, or call outside a transaction';
    end if;
end
$function$;
