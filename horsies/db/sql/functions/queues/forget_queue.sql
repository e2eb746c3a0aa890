-- Purpose: Delete the row of a queue if nothing is left in it: no pause, no limit that was set or lifted at run time,
-- no keys or rates that an app declares, and no holds. Claims of a queue without a row are faster.
-- Locks: the queue's row.
-- Called by: declare_queues, limit_queue, promote, prune_flow, queue_control.
-- Granted to: nobody.
create function horsies.forget_queue(queue_name text) returns void
language sql volatile as $function$
    delete from horsies.queues q
    where q.name = queue_name and not q.paused and not q.has_holds and q.turns = 'off'
      and cardinality(q.lifted_limits) = 0
      and num_nonnulls(q.max_concurrency, q.declared_per_key, q.declared_rate::text, q.declared_rate_per_key::text,
                       q.max_concurrency_per_key, q.rate_limit::text, q.rate_limit_per_key::text) = 0
$function$;
