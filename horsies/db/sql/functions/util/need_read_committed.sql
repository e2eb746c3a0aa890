-- Purpose: Refuse a transaction that cannot see what was committed after it began. In such a transaction, the second
-- statement that makes replays, claims and outcomes safe would see nothing new.
-- Locks: none.
-- Called by: bulk_control, bulk_step, cancel, cancel_many, claim, enqueue, enqueue_many, expire, finish, finish_own,
-- key_control, limit_queue, reap, reconcile, release, renew, rerun, rerun_many, return_stale_to_queue, schedule_send,
-- start, workflow_attach, workflow_control, workflow_map, workflow_start.
-- Granted to: nobody.
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
