-- Purpose: Describe why a send with an idempotency key or of a unique task gave up waiting, and for which transaction.
-- The detail of a deadlock names the process. After a time-out, the server does not say for whom it waited: the
-- blocker is known if exactly one other transaction has written to these tables and is as old as the wait. Sessions of
-- other roles can be described only if the owner of the schema may see them (`pg_read_all_stats`).
-- Locks: none.
-- Called by: enqueue_once.
-- Granted to: nobody.
create function horsies.send_blocker(failure text, detail text, waited_since timestamptz) returns text
language plpgsql as $function$
declare
    deadlock constant text := '40P01';
    what constant text := case failure
        when deadlock then 'a deadlock with another transaction that sends the same idempotency keys or unique tasks'
        else 'another transaction with the same idempotency key or unique task did not end in time' end;
    named_pid constant text := substring(detail from 'blocked by process ([0-9]+)');
    described text;
    blockers int;
begin
    select count(*),
           min(coalesce(format('process %s', found.pid), format('the prepared transaction %L', found.gid))
               || coalesce(format(' (%s%s)', 'user ' || found.usename,
                                  ', application ' || nullif(found.application_name, '')), '')
               || coalesce(format(', which began %s s ago',
                                  round(extract(epoch from clock_timestamp() - found.began))), ''))
    into blockers, described
    from (
        select distinct l.pid, a.usename, a.application_name, p.gid, coalesce(a.xact_start, p.prepared) as began
        from pg_locks l
        left join pg_stat_activity a on a.pid = l.pid
        left join pg_locks own on l.pid is null and own.pid is null and own.locktype = 'transactionid'
                              and own.virtualtransaction = l.virtualtransaction
        left join pg_prepared_xacts p on p.transaction = own.transactionid
        where l.locktype = 'relation' and l.granted and l.mode = 'RowExclusiveLock'
          and l.relation in (to_regclass('{horsies}.idempotency_keys'), to_regclass('{horsies}.tasks'))
          and l.database = (select d.oid from pg_database d where d.datname = current_database())
          and l.pid is distinct from pg_backend_pid()
          and case when failure = deadlock then l.pid::text = named_pid
                   else (coalesce(a.xact_start, p.prepared) < waited_since) is not false end
    ) as found;
    return what || case when blockers = 1 then ': ' || described
                        when named_pid is not null then ': process ' || named_pid
                        else '' end;
end
$function$;
