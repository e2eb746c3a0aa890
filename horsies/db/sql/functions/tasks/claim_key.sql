-- Purpose: Reserve an idempotency key for a new task. Returns no row if the key was free and now belongs to the new
-- task. If the key belongs to another task, returns that task and whether its send had the same arguments.
--
-- If a transaction that is still open has the key, the insert waits for its end. A key can disappear between the two
-- statements, because its task was pruned or its send was refused: then it is free again.
--
-- Locks: the row of the key.
-- Called by: enqueue_once.
-- Granted to: nobody.
create function horsies.claim_key(name text, wanted_key text, new_id uuid, arguments text)
returns table (task_id uuid, has_same_arguments boolean)
language plpgsql as $function$
declare
    digest constant bytea := horsies.json_digest(arguments);
begin
    loop
        insert into horsies.idempotency_keys as k (task_name, key, task_id, args_digest, sent_at)
        values (name, wanted_key, new_id, digest, horsies.now())
        on conflict on constraint idempotency_keys_pkey do nothing;
        exit when found;
        return query
        select k.task_id, k.args_digest = digest
        from horsies.idempotency_keys k where k.task_name = name and k.key = wanted_key;
        exit when found;
    end loop;
end
$function$;
