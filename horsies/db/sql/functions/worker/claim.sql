-- Purpose: Give up to `wanted` due tasks to a worker and mark them RUNNING, in the order of priority (1 first), due
-- time and id, across all queues of the worker. Only tasks whose name the worker has registered are taken. With
-- `lease_seconds`, the tasks are prefetched: they become CLAIMED for that time and must be passed to `start` before
-- they run.
--
-- Returns the tasks; `capped` says whether a limit applies to the task, and `due_in` is minus the number of seconds
-- for which it was due. The task of a workflow node comes with its root run and its inputs. If there are fewer tasks
-- than `wanted`, one last row without an id follows. Its `due_in` is the number of seconds until the next task of
-- these queues falls due (null: none is scheduled), and its `capped` says whether limits are active. `due_in` can be
-- earlier than the truth, but never later: after a search by name it may belong to a queue that the worker does not
-- serve, and it is 0 if a limit was locked by another claim. A worker without a row in `workers` has been declared
-- dead and gets nothing.
--
-- Queues whose keys take turns, or that have rates or holds, are regulated: they are left to `claim_regulated`, and
-- never prefetched. It always returns the last row, with `given_cursors` for the next claim of the worker.
--
-- With `singly`, each task is taken in a separate subtransaction (see `take_singly`). Workers ask for this after a row
-- made a claim fail.
-- Planner settings: see docs/architecture.md.
-- Locks: those of `claim_in_order`, or those of `claim_regulated`.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.claim(
    claiming_worker uuid, exchange bigint, wanted int, free int, lease_seconds double precision, queue_names text[],
    known_names text[], singly boolean default false, given_cursors json default null
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision, cursors json
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    has_settings boolean := false;
    regulated text[] := '{}';
    plain text[] := queue_names;
    last_priority constant int := 100;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    if exists (select from horsies.queues) then
        has_settings := exists (select from horsies.queues q where q.name = any (queue_names));
        if has_settings then
            regulated := array(select s.name from horsies.flow_settings(queue_names) as s);
        end if;
    end if;
    if cardinality(regulated) > 0 and lease_seconds is null then
        return query select r.* from horsies.claim_regulated(
            claiming_worker, exchange, wanted, free, queue_names, known_names, singly, given_cursors) as r;
        return;
    end if;
    if cardinality(regulated) > 0 then
        plain := array(select q.name from unnest(queue_names) as q (name) where q.name <> all (regulated));
    end if;
    return query select o.*, null::json from horsies.claim_in_order(
        claiming_worker, exchange, wanted, free, lease_seconds, plain, known_names, singly, has_settings, 0,
        last_priority, true) as o;
end
$function$;
