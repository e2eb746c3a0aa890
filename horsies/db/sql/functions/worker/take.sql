-- Purpose: Give a worker up to `most` of these waiting tasks, in the given order, and mark them RUNNING, or CLAIMED
-- for `lease_seconds`. `rooms` tells which of their queues have a limit (null: none has). Rows that other workers have
-- locked and rows that have changed since they were read are skipped, and so are tasks whose deadline has passed
-- meanwhile: the claim may have waited for locks since it read its clock. Returns what `claim` returns.
--
-- The condition for a waiting row is `worker_id is null`, which a constraint makes equivalent to PENDING. A condition
-- on the status would let the planner use partial indexes where it should fetch rows by their ids. For the reason why
-- ids are compared with `any (array[…])`, here and in other functions, see docs/architecture.md, Planner settings.
--
-- If a task of a workflow run, or a rerun of any task, has secret arguments, its inputs contain the public ones
-- (`with_public_args`).
--
-- A task that is unique until it has started holds this no longer, whatever becomes of the claim.
--
-- Locks: the task rows that are taken, SKIP LOCKED. The caller holds the locks of limits.
-- Called by: claim_from_queue, claim_in_order, take_keys, take_singly.
-- Granted to: nobody.
create function horsies.take(
    claiming_worker uuid, exchange bigint, candidates uuid[], most int, clock timestamptz,
    lease_seconds double precision, queue_names text[], rooms int[]
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision
)
language plpgsql as $function$
declare
    max_inputs_bytes constant int := 65536;         -- for one task; see `workflow_inputs`
begin
    return query
    with locked as materialized (
        select t.id, candidate.place
        from unnest(candidates) with ordinality as candidate (id, place)
        join horsies.tasks t on t.id = any (array[candidate.id])
        where t.worker_id is null and not t.held and t.run_at <= clock
          and (t.good_until is null or t.good_until > horsies.now())
        order by candidate.place limit most
        for update of t skip locked
    ),
    claimed as (
        update horsies.tasks t
        set status = case when lease_seconds is null then 'RUNNING' else 'CLAIMED' end,
            worker_id = claiming_worker, exchange_no = exchange, claimed_at = clock,
            attempt = t.attempt + (lease_seconds is null)::int,
            started_at = case when lease_seconds is null then clock end,
            lease_until = horsies.server_time() + make_interval(secs => lease_seconds),
            holds_unique = case when t.holds_unique like 'ended:%' then t.holds_unique end
        from locked where t.id = any (array[locked.id])
        returning t.id, t.task_name, coalesce(t.secret_args, t.args) as args, t.attempt, t.timeout_ms, t.queue,
                  t.root_id, t.workflow_id, t.node_index, t.trace_context, t.run_at, locked.place,
                  case when t.secret_args is not null and num_nonnulls(t.root_id, t.rerun_of) > 0
                       then t.args end as public_args
    )
    select c.id, c.task_name, c.args, c.attempt, c.timeout_ms, c.queue,
           rooms is not null and exists (select from unnest(queue_names, rooms) as q (name, room)
                                         where q.name = c.queue and q.room is not null),
           c.root_id, case when c.root_id is not null or c.public_args is not null then
               horsies.with_public_args(
                   case when c.root_id is not null then
                       horsies.workflow_inputs(c.workflow_id, c.node_index, max_inputs_bytes) end,
                   c.public_args) end,
           c.trace_context::json,
           extract(epoch from c.run_at - clock)::double precision
    from claimed c order by c.place;
end
$function$;
