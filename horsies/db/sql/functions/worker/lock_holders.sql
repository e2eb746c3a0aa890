-- Purpose: Find the transactions that hold the rows of tasks, or of their root runs, for outcomes that stay 'busy'.
-- The holder is found from the transaction id that a lock leaves in the row (`xmax`). If several transactions share a
-- lock, that id names the group of them. Returns for each holder one of the tasks, the number of tasks, and a
-- description: the server process, or the prepared transaction.
--
-- A row also keeps the id of a lock that was released. Only a transaction that still runs is a holder.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.lock_holders(ids uuid[])
returns table (
    task_id uuid, tasks bigint, pid int, username text, application text, state text, seconds double precision
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    row_lock record;
    members xid[];
    task_ids uuid[];
    holder_ids xid[];
begin
    for row_lock in
        select t.id, l.locker
        from horsies.tasks t
        left join horsies.workflows w on w.id = t.root_id
        cross join lateral (values (t.xmax), (w.xmax)) as l (locker)
        where t.id = any (ids) and l.locker::text <> '0'
    loop
        members := array[row_lock.locker];
        if not exists (select from pg_locks l where l.transactionid = row_lock.locker) then
            begin
                members := array(select m.xid from pg_get_multixact_members(row_lock.locker) as m);
            exception when others then  -- no group, but a transaction that has ended
                continue;
            end;
        end if;
        task_ids := task_ids || array_fill(row_lock.id, array[cardinality(members)]);
        holder_ids := holder_ids || members;
    end loop;
    return query
    select (array_agg(found.id))[1], count(distinct found.id), l.pid, a.usename::text, a.application_name,
           coalesce(a.state, format('prepared transaction %L', p.gid)),
           extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::double precision
    from unnest(task_ids, holder_ids) as found (id, holder)
    join pg_locks l on l.locktype = 'transactionid' and l.transactionid = found.holder and l.granted
    left join pg_stat_activity a on a.pid = l.pid
    left join pg_prepared_xacts p on l.pid is null and p.transaction = found.holder
    where l.pid is distinct from pg_backend_pid()
    group by l.pid, a.usename, a.application_name, a.state, a.xact_start, p.gid, p.prepared;
end
$function$;
